/** The idempotency key of a delivery's run: a delivery that comes again finds the run that it started. */
import { sha256Hex, utf8 } from './encoding.ts';
import { valueAt } from './path.ts';
import { isSensitiveName } from './redact.ts';
import type { WebhookAuth, WebhookSpec } from './types.ts';

/** Of the engine. */
const LONGEST = 512;
const SHA256_OF_NOTHING = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

export interface TriggerParts {
  /** As received. */
  readonly headers: Headers;
  /** The query with its question mark, or empty. */
  readonly search: string;
  /** As parsed. */
  readonly body: unknown;
  /** Of the raw body, in hex. */
  readonly sha256: string;
}

/**
 * `webhook:{slug}:{header}:{value}`, `webhook:{slug}:{value}`, or `webhook:{slug}:{SHA-256 of the raw body}`, which also
 * stands in where the header or member is missing or empty. Where there is no body, the query stands for it.
 */
export async function triggerKeyFor(spec: Pick<WebhookSpec, 'slug' | 'auth' | 'triggerKey'>, parts: TriggerParts): Promise<string> {
  const { slug, auth, triggerKey } = spec;
  switch (triggerKey.type) {
    case 'header':
      return named(slug, triggerKey.header, parts.headers.get(triggerKey.header)?.trim() ?? '', parts, auth);
    case 'json_path':
      return named(slug, triggerKey.path, scalarText(valueAt(parts.body, triggerKey.path)), parts, auth);
    case 'static':
      return `webhook:${slug}:${triggerKey.value}`;
    case 'body':
      return byContent(slug, parts);
  }
}

/** What is too long, no text for Postgres or not to be stored stands in the key as its hash. */
async function named(slug: string, name: string, value: string, parts: TriggerParts, auth: WebhookAuth): Promise<string> {
  if (value === '') return byContent(slug, parts);
  const key = `webhook:${slug}:${name}:${value}`;
  const isProof = 'header' in auth && auth.header === name;
  if (key.length <= LONGEST && !value.includes('\0') && value.isWellFormed() && !isProof && !isSensitiveName(name)) return key;
  return `webhook:${slug}:${name}:sha256:${await sha256Hex(utf8(value))}`;
}

async function byContent(slug: string, { sha256, search }: TriggerParts): Promise<string> {
  const stands = sha256 === SHA256_OF_NOTHING && search !== '' ? await sha256Hex(utf8(search)) : sha256;
  return `webhook:${slug}:${stands}`;
}

/** Of a number that JSON cannot hold exactly nothing: two such ids might be read as one. */
function scalarText(value: unknown): string {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? String(value) : '';
  return typeof value === 'string' || typeof value === 'boolean' ? String(value) : '';
}
