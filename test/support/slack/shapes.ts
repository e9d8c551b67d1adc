/**
 * A small language for the shapes of Block Kit: each check says what Slack would say, with a JSON pointer to the place.
 * Fields that a shape does not name are refused, as Slack refuses them.
 */

/** @returns what is wrong, each as `must be … [json-pointer:/…]`; none when it is right */
export type Check = (value: unknown, at: string) => string[];

export const problem = (what: string, at: string): string => `${what} [json-pointer:${at}]`;

export const text =
  (max: number, min = 1): Check =>
  (value, at) => {
    if (typeof value !== 'string') return [problem('must be a string', at)];
    if (value.length < min) return [problem(`must be more than ${min - 1} characters`, at)];
    if (value.length > max) return [problem(`must be less than ${max + 1} characters`, at)];
    return [];
  };

export const flag: Check = (value, at) => (typeof value === 'boolean' ? [] : [problem('must be a boolean', at)]);

export const count: Check = (value, at) => (Number.isInteger(value) ? [] : [problem('must be an integer', at)]);

export const anything: Check = () => [];

export const oneOf =
  (...values: readonly string[]): Check =>
  (value, at) =>
    typeof value === 'string' && values.includes(value) ? [] : [problem(`must be a valid enum value`, at)];

export const list =
  (item: Check, max: number, min = 1): Check =>
  (value, at) => {
    if (!Array.isArray(value)) return [problem('must be an array', at)];
    if (value.length < min) return [problem(`no fewer than ${min} items allowed`, at)];
    if (value.length > max) return [problem(`no more than ${max} items allowed`, at)];
    return value.flatMap((one, place) => item(one, `${at}/${place}`));
  };

export const object =
  (required: Readonly<Record<string, Check>>, optional: Readonly<Record<string, Check>> = {}): Check =>
  (value, at) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return [problem('must be an object', at)];
    const fields = value as Readonly<Record<string, unknown>>;
    return [
      ...Object.keys(required)
        .filter((name) => fields[name] === undefined)
        .map((name) => problem(`missing required field: ${name}`, at)),
      ...Object.entries(fields).flatMap(([name, field]) => {
        const check = required[name] ?? optional[name];
        if (check === undefined) return name === 'type' ? [] : [problem(`invalid additional property: ${name}`, at)];
        return field === undefined ? [] : check(field, `${at}/${name}`);
      }),
    ];
  };

/** By its field `type`; a type that is not among them is refused. */
export const typed =
  (kinds: Readonly<Record<string, Check>>): Check =>
  (value, at) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return [problem('must be an object', at)];
    const { type } = value as { readonly type?: unknown };
    if (type === undefined) return [problem('missing required field: type', at)];
    const check = typeof type === 'string' && Object.hasOwn(kinds, type) ? kinds[type] : undefined;
    return check === undefined
      ? [problem(`unsupported type: ${JSON.stringify(type).replaceAll('"', '')}`, `${at}/type`)]
      : check(value, at);
  };
