/**
 * Reads the members of what a workflow file declares, under their Python or their TypeScript spelling. What is not
 * understood becomes a problem that names its field, never a default: a webhook is public.
 */

export interface Problem {
  /** Where in the file, such as `WEBHOOKS[0].auth.header`. */
  readonly field: string;
  readonly message: string;
}

export interface Fields {
  /** The member under the first of these names that is given; null counts as not given, as Python's None does. */
  take(...names: readonly string[]): unknown;
  text(name: string, fallback: string, rule: Rule, ...aliases: readonly string[]): string;
  requiredText(name: string, rule: Rule, ...aliases: readonly string[]): string;
  wholeNumber(name: string, fallback: number, least: number, most: number, ...aliases: readonly string[]): number;
  oneOf<Choice extends string>(name: string, fallback: Choice, choices: readonly Choice[]): Choice;
  /** Path of a member, for a problem. */
  at(name: string): string;
  refuse(name: string, message: string): void;
  /** To be called last: whatever nobody took is a problem. */
  end(): void;
}

export interface Rule {
  readonly pattern: RegExp;
  /** In words, after "expected". */
  readonly expected: string;
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function readFields(declared: Readonly<Record<string, unknown>>, field: string, problems: Problem[]): Fields {
  const given = new Map<string, { readonly name: string; readonly value: unknown }>();
  const refuse = (name: string, message: string): void => void problems.push({ field: `${field}.${name}`, message });
  for (const [name, value] of Object.entries(declared)) {
    if (value === null || value === undefined) continue;
    const snake = snakeCase(name);
    if (given.has(snake)) refuse(name, `is given twice, also as ${given.get(snake)?.name}`);
    given.set(snake, { name, value });
  }
  const taken = new Set<string>();

  const find = (names: readonly string[]): { readonly name: string; readonly value: unknown } | undefined => {
    const found = names.filter((name) => given.has(name));
    for (const name of found) taken.add(name);
    if (found.length > 1) refuse(found[1] as string, `is another name of ${found[0]}: give one of them`);
    return given.get(found[0] ?? '');
  };

  const text = (names: readonly string[], rule: Rule): string | undefined => {
    const member = find(names);
    if (member === undefined) return undefined;
    if (typeof member.value === 'string' && rule.pattern.test(member.value)) return member.value;
    refuse(member.name, `expected ${rule.expected}`);
    return '';
  };

  return {
    take: (...names) => find(names)?.value,
    text: (name, fallback, rule, ...aliases) => text([name, ...aliases], rule) ?? fallback,
    requiredText(name, rule, ...aliases) {
      const value = text([name, ...aliases], rule);
      if (value === undefined) refuse(name, `is missing: expected ${rule.expected}`);
      return value ?? '';
    },
    wholeNumber(name, fallback, least, most, ...aliases) {
      const member = find([name, ...aliases]);
      if (member === undefined) return fallback;
      const { value } = member;
      if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value;
      refuse(member.name, `expected a whole number from ${least} to ${most}`);
      return fallback;
    },
    oneOf(name, fallback, choices) {
      const member = find([name]);
      if (member === undefined) return fallback;
      const choice = choices.find((each) => each === member.value);
      if (choice === undefined) refuse(member.name, `expected ${choices.join(', ')}`);
      return choice ?? fallback;
    },
    at: (name) => `${field}.${name}`,
    refuse,
    end() {
      for (const [snake, { name }] of given) if (!taken.has(snake)) refuse(name, 'is not known here');
    },
  };
}

function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
