/** From a request to the API's answer, in the API's own order of refusals. */
import { readRawBody, refuseHead, refuseUntyped } from '../../kernel/webhooks/admit.ts';
import { buildEnvelope } from '../../kernel/webhooks/envelope.ts';
import { WEBHOOK_ERRORS, type WebhookErrorCode } from '../../kernel/webhooks/errors.ts';
import { matchesFilter } from '../../kernel/webhooks/filter.ts';
import type { WebhookSpec } from '../../kernel/webhooks/types.ts';
import { verifyWebhook } from '../../kernel/webhooks/verify.ts';
import { answer, refusal } from './answer.ts';
import { forward } from './forward.ts';

export interface EdgeWebhook {
  readonly spec: WebhookSpec;
  /** All that are live; none when the secret is not configured, and then nothing passes. */
  readonly secrets: readonly string[];
}

/** Never holds a body, a header's value or a secret. */
export type EdgeLog = (entry: { readonly level: 'warn' | 'error'; readonly message: string; readonly [field: string]: unknown }) => void;

export interface EdgeOptions {
  readonly webhooks: ReadonlyMap<string, EdgeWebhook>;
  /** Where the API is, such as `https://centaur.example.com`. */
  readonly forwardTo: string;
  /** An API key of scope `webhooks:forward`. */
  readonly key: string;
  /** What the API knows as `CENTAUR_EDGE_SIGNING_KEY`. */
  readonly signingKey: string;
  /** For the API's answer, a second try included. Default 10,000. */
  readonly timeoutMs?: number;
  readonly log?: EdgeLog;
  readonly fetch?: (request: Request) => Promise<Response>;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}

export interface Edge {
  /** @param sourceIp the sender's address as the platform tells it, not as a header of the sender's does */
  fetch(request: Request, sourceIp: string | null): Promise<Response>;
}

export function createEdge(options: EdgeOptions): Edge {
  const { webhooks, log = () => {}, now = Date.now } = options;

  async function receive(request: Request, sourceIp: string | null): Promise<Response> {
    const url = new URL(request.url);
    const slug = /^\/(?:api\/)?webhooks\/([^/]+)$/.exec(url.pathname)?.[1] ?? '';
    const webhook = webhooks.get(slug);
    if (webhook?.spec.enabled !== true) return refuse('WEBHOOK_NOT_FOUND', 'there is no such webhook');
    const { spec, secrets } = webhook;
    const { method, headers } = request;
    const refused = refuseHead(spec, method, headers);
    if (refused !== undefined) return refuse(refused.code, refused.message, refused.headers);
    const rawBody = await readRawBody(request.body, spec);
    if ('status' in rawBody) return refuse(rawBody.code, rawBody.message);
    const untyped = refuseUntyped(spec, headers, rawBody);
    if (untyped !== undefined) return refuse(untyped.code, untyped.message);
    if (spec.auth.type !== 'none' && secrets.length === 0) {
      log({ level: 'error', message: 'the secret of a webhook is not configured', slug, secret_ref: spec.auth.secretRef });
      return refuse('WEBHOOK_SECRET_MISSING', 'this webhook cannot verify deliveries right now; send this one again later');
    }
    const verdict = await verifyWebhook(spec.auth, { headers, rawBody, nowSeconds: now() / 1000 }, secrets);
    if (!verdict.ok) {
      log({ level: 'warn', message: 'a delivery was refused', slug, reason: verdict.reason });
      return refuse('BAD_SIGNATURE', `the signature is ${verdict.reason}`);
    }
    const built = await buildEnvelope(spec, { method, path: url.pathname, query: url.searchParams, headers, rawBody, sourceIp });
    if (!built.ok) return refuse('MALFORMED_BODY', built.message);
    // Slack's question for a challenge is the API's to answer, whatever the filter says
    if (spec.filter !== null && spec.auth.type !== 'slack' && !matchesFilter(spec.filter, built.envelope)) {
      return answer(200, { ok: true, filtered: true, run_id: null, created: false });
    }
    return forward(options, { slug, method, query: url.search, headers, rawBody, sha256: built.sha256, sourceIp });
  }

  return {
    async fetch(request, sourceIp) {
      try {
        return await receive(request, sourceIp);
      } catch (error) {
        // a sender that went away while it sent, or a fault of ours
        log({ level: 'error', message: 'a request failed', error: (error as Error).name });
        return refusal(500, 'INTERNAL', 'something went wrong at the edge');
      }
    },
  };
}

function refuse(code: WebhookErrorCode, message: string, headers: Readonly<Record<string, string>> = {}): Response {
  const { allow } = headers;
  return refusal(WEBHOOK_ERRORS[code], code, message, allow === undefined ? {} : { allow });
}
