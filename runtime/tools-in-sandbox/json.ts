/** Values of which nothing is known. */
export type JsonObject = { readonly [key: string]: unknown };

/** Undefined when it is none. `null` is one, but nobody here asks for it. */
export function parseJson(said: string): unknown {
  try {
    return (JSON.parse(said) as unknown) ?? undefined;
  } catch {
    return undefined;
  }
}

export function object(value: unknown): JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : {};
}

export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** For people: what is no text is shown as it is written in JSON. */
export function words(value: unknown, otherwise = ''): string {
  return typeof value === 'string' ? value : value === undefined || value === null ? otherwise : JSON.stringify(value);
}
