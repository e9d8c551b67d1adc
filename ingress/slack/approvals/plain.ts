/** Words and values of others, as they are: what could not be seen of them is written out, so that what is read is what is decided on. */

/** A text with what is hidden in it written as in JSON: `\u202e`. Lines stay lines. */
export function visible(text: string): string {
  return text.replaceAll('\r\n', '\n').replace(HIDDEN, (found) => (found === '\n' ? found : escaped(found)));
}

/** On one line, for names. */
export function visibleLine(text: string): string {
  return visible(text.trim().replaceAll(/\s+/g, ' '));
}

/** A value as JSON of which every character can be seen: the same value can be read from it. */
export function visibleJson(value: unknown): string {
  return visible(JSON.stringify(value, null, 2) ?? 'null');
}

/**
 * What controls, joins, turns round or fills without being seen; spaces that are not the one of the keyboard; and accents beyond three on
 * one letter, which would cover the lines around it.
 */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]|(?! )\p{Zs}|(?<=\p{M}{3})\p{M}/gu;

function escaped(found: string): string {
  if (found === '\t') return String.raw`\t`;
  return Array.from({ length: found.length }, (_, at) => `\\u${found.charCodeAt(at).toString(16).padStart(4, '0')}`).join('');
}

export interface Change {
  readonly path: string;
  /** Undefined: nothing was there. */
  readonly before: unknown;
  /** Undefined: nothing is there any more. */
  readonly after: unknown;
}

/** What was changed, shallowest first. */
export function changesOf(before: unknown, after: unknown, path = ''): Change[] {
  if (JSON.stringify(before) === JSON.stringify(after)) return [];
  if (!isHolder(before) || !isHolder(after) || Array.isArray(before) !== Array.isArray(after)) return [{ path, before, after }];
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  return names.flatMap((name) => changesOf(own(before, name), own(after, name), path === '' ? name : `${path}.${name}`));
}

/** Places that a pattern such as `items.*.price` means in these arguments, with what stands there; undefined: it could be added. */
export function placesOf(args: unknown, pattern: string): { readonly path: string; readonly value: unknown }[] {
  let places: { path: string; value: unknown }[] = [{ path: '', value: args }];
  for (const part of pattern.split('.')) {
    places = places.flatMap(({ path, value }) => {
      if (!isHolder(value)) return [];
      const names = part === '*' ? Object.keys(value) : Array.isArray(value) && !Object.hasOwn(value, part) ? [] : [part];
      return names.map((name) => ({ path: path === '' ? name : `${path}.${name}`, value: own(value, name) }));
    });
  }
  return places;
}

const isHolder = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null;
const own = (value: Readonly<Record<string, unknown>>, name: string): unknown => (Object.hasOwn(value, name) ? value[name] : undefined);
