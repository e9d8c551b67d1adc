/** Which names of headers and query parameters hold what proves somebody's identity: their values are never stored. */
import type { WebhookAuth } from './types.ts';

/** Anywhere in the name. A provider's signature counts: with it a delivery could be played back. */
const PARTS = /secret|token|signature|hmac|api[-_]?key|access[-_]?key|authorization|authentication|session|cookie|passw|credential|jwt/;
/** A word of the name by itself. */
const WORDS = /(?:^|[-_.])(?:auth|sig|pwd)(?:$|[-_.])/;
/** Of keys all but those that name a thing: which event, or which try. */
const KEYS = /(?:^|(?<!idempotency|event)[-_])key$/;
/** Ours: the edge's word for a delivery. */
const OURS = 'x-centaur-edge';

export function isSensitiveName(name: string): boolean {
  const lower = name.toLowerCase();
  let sensitive = seen.get(lower);
  if (sensitive === undefined) {
    sensitive = PARTS.test(lower) || WORDS.test(lower) || KEYS.test(lower) || lower === OURS;
    // names come from outside
    if (seen.size >= SEEN_MOST) seen.clear();
    if (lower.length <= SEEN_LONGEST) seen.set(lower, sensitive);
  }
  return sensitive;
}

/** Each delivery has the same names. */
const seen = new Map<string, boolean>();
const SEEN_MOST = 1000;
const SEEN_LONGEST = 100;

/** In lower case, without what is sensitive and without the header that this webhook's proof stands in. */
export function safeHeaders(headers: Headers, auth: WebhookAuth): Record<string, string> {
  const proof = 'header' in auth ? auth.header : undefined;
  const kept: [name: string, value: string][] = [];
  for (const entry of headers) if (entry[0] !== proof && !isSensitiveName(entry[0])) kept.push(entry);
  return Object.fromEntries(kept);
}

/** One value as it is, several as a list. */
export function safeQuery(query: URLSearchParams): Record<string, string | string[]> {
  const names = [...new Set(query.keys())].filter((name) => !isSensitiveName(name));
  return Object.fromEntries(
    names.map((name) => {
      const values = query.getAll(name);
      return [name, values.length === 1 ? (values[0] as string) : values];
    }),
  );
}
