/** Reading of lines that anything may have written: every function answers with a value of its type, or with nothing. */

export type JsonObject = { readonly [key: string]: unknown };

/** One line as an object; undefined for whatever else it is. */
export function parseObject(line: string): JsonObject | undefined {
  // megabytes of brackets take JSON.parse seconds, and what it makes of them cannot be written again
  if (line.length > DEEPEST_LINE && nestsDeeper(line, DEEPEST_LINE)) return undefined;
  try {
    return object(JSON.parse(line));
  } catch {
    return undefined;
  }
}

export function object(value: unknown): JsonObject | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined;
}

/** The objects of an array, and none for what is no array. */
export function objects(value: unknown): readonly JsonObject[] {
  return Array.isArray(value) ? value.map(object).filter((item) => item !== undefined) : [];
}

/** A string that says something. */
export function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** For people: `String` of an object calls what is in it, and throws when that cannot be called, or nests too deep. */
export function words(value: unknown): string {
  return typeof value === 'object' && value !== null ? 'something that is no word' : String(value);
}

/** Within what can be counted and summed up. */
export function number(value: unknown): number | undefined {
  return typeof value === 'number' && Math.abs(value) <= Number.MAX_SAFE_INTEGER ? value : undefined;
}

export function count(value: unknown): number {
  return Math.max(0, number(value) ?? 0);
}

const DEEPEST_LINE = 2000;

function nestsDeeper(line: string, levels: number): boolean {
  let depth = 0;
  let quoted = false;
  for (let at = 0; at < line.length; at += 1) {
    const code = line.charCodeAt(at);
    if (quoted) {
      if (code === BACKSLASH) at += 1;
      else if (code === QUOTE) quoted = false;
    } else if (code === QUOTE) quoted = true;
    else if (code === BRACKET || code === BRACE) {
      depth += 1;
      if (depth > levels) return true;
    } else if (code === CLOSING_BRACKET || code === CLOSING_BRACE) depth -= 1;
  }
  return false;
}

const [QUOTE, BACKSLASH, BRACKET, CLOSING_BRACKET, BRACE, CLOSING_BRACE] = [0x22, 0x5c, 0x5b, 0x5d, 0x7b, 0x7d];

const DEEPEST = 100;

/**
 * A value that can be written again, and is null where there was none: JSON.parse reads any depth, JSON.stringify runs out of stack some thousand levels
 * down, and a sandbox decides about what is passed here.
 */
export function bounded(value: unknown): unknown {
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > DEEPEST) return { left_out: `nested more than ${DEEPEST} levels deep` };
    level = level.flatMap((item) => (typeof item === 'object' && item !== null ? Object.values(item) : []));
  }
  return value ?? null;
}

/** Without what is not there. */
export function defined<T extends object>(value: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as { [K in keyof T]?: NonNullable<T[K]> };
}

/** For people: what could not be read. */
export function excerpt(value: string, length = 200): string {
  return value.length <= length ? value : `${value.slice(0, length)}…`;
}
