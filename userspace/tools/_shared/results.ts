/** Without what is null, undefined or empty text: agents pay for every word. */
export function compact<T extends Readonly<Record<string, unknown>>>(value: T): Partial<T> {
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== null && each !== undefined && each !== '')) as Partial<T>;
}

/** Text of at most so many characters, with a word on what is missing. */
export function cut(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most)}… (${text.length - most} more characters)`;
}
