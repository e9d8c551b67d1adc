/** From a verified delivery to its run's input. */
import { mediaType } from './admit.ts';
import { parseBody } from './body.ts';
import { type Bytes, sha256Hex } from './encoding.ts';
import { safeHeaders, safeQuery } from './redact.ts';
import type { Envelope, WebhookSpec } from './types.ts';

export interface Received {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: Headers;
  readonly rawBody: Bytes;
  /** As far as it can be trusted; null when unknown. */
  readonly sourceIp: string | null;
}

export type Built =
  | { readonly ok: true; readonly envelope: Envelope; readonly sha256: string }
  /** The body is not what its Content-Type says: to be answered with 400. */
  | { readonly ok: false; readonly message: string };

export async function buildEnvelope(spec: Pick<WebhookSpec, 'slug' | 'provider' | 'auth'>, received: Received): Promise<Built> {
  const { headers, rawBody } = received;
  const parsed = parseBody(mediaType(headers), rawBody);
  if (!parsed.ok) return parsed;
  const sha256 = await sha256Hex(rawBody);
  const envelope = {
    webhook: {
      slug: spec.slug,
      provider: spec.provider,
      method: received.method.toUpperCase(),
      path: received.path,
      headers: safeHeaders(headers, spec.auth),
      query: safeQuery(received.query),
      body: parsed.body,
      raw_body_sha256: sha256,
      source_ip: received.sourceIp,
    },
  };
  return { ok: true, envelope, sha256 };
}
