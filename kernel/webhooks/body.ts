/** A delivery's body as the workflow receives it. */
import type { Bytes } from './encoding.ts';

export type Body = { readonly ok: true; readonly body: unknown } | { readonly ok: false; readonly message: string };

/** Deeper than any provider nests, shallower than what a later reader's stack or Postgres would refuse. */
const DEEPEST = 100;

const decoder = new TextDecoder('utf-8', { fatal: true });

/**
 * Nothing becomes `{}`; JSON what it says; a form an object, whose `payload`, if that is JSON, is the body itself, as
 * GitHub sends it; all else text.
 */
export function parseBody(type: string, rawBody: Bytes): Body {
  if (rawBody.length === 0) return { ok: true, body: {} };
  let text: string;
  try {
    text = decoder.decode(rawBody);
  } catch {
    return { ok: false, message: 'the body is not valid UTF-8' };
  }
  if (/^application\/(?:json|[\w.+-]+\+json)$/.test(type)) return parseJson(text);
  return type === 'application/x-www-form-urlencoded' ? parseForm(text) : { ok: true, body: text };
}

function parseJson(text: string): Body {
  if (isTooDeep(text)) return { ok: false, message: `the body is nested more than ${DEEPEST} deep` };
  try {
    return { ok: true, body: JSON.parse(text) };
  } catch {
    return { ok: false, message: 'the body is not JSON' };
  }
}

function parseForm(text: string): Body {
  const fields = new Map<string, string[]>();
  for (const [name, value] of new URLSearchParams(text)) {
    const values = fields.get(name);
    if (values === undefined) fields.set(name, [value]);
    else values.push(value);
  }
  const [payload, ...more] = fields.get('payload') ?? [];
  const parsed = payload === undefined || more.length > 0 ? undefined : parseJson(payload);
  if (parsed?.ok === true) return parsed;
  // fromEntries defines members, so that one called __proto__ is a member like any other
  const entries = [...fields].map(([name, values]) => [name, values.length === 1 ? values[0] : values] as const);
  return { ok: true, body: Object.fromEntries(entries) };
}

/** Before it is parsed: a megabyte of brackets is a million objects. */
function isTooDeep(text: string): boolean {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) i = endOfString(text, i);
    else if (code === OPEN_BRACE || code === OPEN_BRACKET) depth += 1;
    else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) depth -= 1;
    if (depth > DEEPEST) return true;
  }
  return false;
}

/** Offset of the closing quote: the next one that has no backslash, or an even number of them, before it. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let before = end;
    while (text.charCodeAt(before - 1) === BACKSLASH) before -= 1;
    if ((end - before) % 2 === 0) return end;
  }
  return text.length;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
