/** The idempotency key of a delivery's run: a delivery that comes again finds the run that it started. */
import { sha256Hex, utf8 } from './encoding.ts';
import { valueAt } from './path.ts';
import { isSensitiveName } from './redact.ts';
import type { WebhookSpec } from './types.ts';

/** Of the engine. */
const LONGEST = 512;

export interface TriggerParts {
  /** As received. */
  readonly headers: Headers;
  /** As parsed. */
  readonly body: unknown;
  /** Of the raw body, in hex. */
  readonly sha256: string;
}

/**
 * `webhook:{slug}:{header}:{value}`, `webhook:{slug}:{value}`, or `webhook:{slug}:{SHA-256 of the raw body}`, which also
 * stands in where the header or member is missing or empty.
 */
export async function triggerKeyFor(spec: Pick<WebhookSpec, 'slug' | 'triggerKey'>, parts: TriggerParts): Promise<string> {
  const { slug, triggerKey } = spec;
  switch (triggerKey.type) {
    case 'header':
      return named(slug, triggerKey.header, parts.headers.get(triggerKey.header)?.trim() ?? '', parts);
    case 'json_path':
      return named(slug, triggerKey.path, scalarText(valueAt(parts.body, triggerKey.path)), parts);
    case 'static':
      return `webhook:${slug}:${triggerKey.value}`;
    case 'body':
      return `webhook:${slug}:${parts.sha256}`;
  }
}

/** What is too long, no text for Postgres or not to be stored stands in the key as its hash. */
async function named(slug: string, name: string, value: string, { sha256 }: TriggerParts): Promise<string> {
  if (value === '') return `webhook:${slug}:${sha256}`;
  const key = `webhook:${slug}:${name}:${value}`;
  if (key.length <= LONGEST && !value.includes('\0') && value.isWellFormed() && !isSensitiveName(name)) return key;
  return `webhook:${slug}:${name}:sha256:${await sha256Hex(utf8(value))}`;
}

function scalarText(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? String(value) : '';
}
