/**
 * From a request to a run, in the order in which it costs more and more: the slug, the head, the body, the signature, the rate,
 * what the body says, the run. The declared rate is spent by what is signed alone, or anybody could spend it for the provider. Nothing is written before the signature holds; the run and its delivery are committed before
 * the answer.
 */
import { type Beside, type Engine, EngineError } from '../engine/index.ts';
import { type Store, uuidv7 } from '../store/index.ts';
import { mediaType, type Refusal, refuseHead, refuseUntyped, tooLarge } from './admit.ts';
import { type Deliveries, DELIVERY } from './deliveries.ts';
import { sha256Hex } from './encoding.ts';
import { buildEnvelope } from './envelope.ts';
import { WebhookError } from './errors.ts';
import { matchesFilter } from './filter.ts';
import { FORWARD_HEADER, verifyForward } from './forward.ts';
import { FLOOD_RATE, type Limits, type Rate } from './limits.ts';
import type { ServedWebhook, WebhookRegistry } from './registry.ts';
import { SecretProblem, type WebhookSecrets } from './secrets.ts';
import type { Sources } from './source.ts';
import { triggerKeyFor } from './trigger.ts';
import type { Envelope, WebhookSpec } from './types.ts';
import { type Reason, verifyWebhook } from './verify.ts';

/** A request, as a server hands it over. */
export interface Incoming {
  readonly slug: string;
  readonly method: string;
  readonly url: URL;
  readonly headers: Headers;
  /** Address at the other end of the socket; undefined when there is none. */
  readonly peer: string | undefined;
  readonly traceId: string | undefined;
  /** The raw body. Undefined when it is over the limit in bytes, and then not read to its end. */
  readBody(most: number): Promise<Uint8Array | undefined>;
  /** Asked of who says that it is the edge. @throws unless the request has a key that may forward */
  authoriseForward(): Promise<void>;
}

export type Received =
  | { readonly outcome: 'created' | 'known'; readonly runId: string; readonly deliveryId: string }
  /** Not one that the workflow asked for: nothing was started. */
  | { readonly outcome: 'filtered' }
  /** Slack asks for this text before it sends anything. */
  | { readonly outcome: 'challenge'; readonly challenge: string };

export interface ReceiverParts {
  readonly engine: Engine;
  readonly store: Store;
  readonly registry: WebhookRegistry;
  readonly secrets: WebhookSecrets;
  /** Of what is looked at at all. */
  readonly floods: Limits;
  /** Of what is signed, as it is declared. */
  readonly limits: Limits;
  readonly sources: Sources;
  readonly deliveries: Deliveries;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** Name of the secret under which the edge signs. */
export const EDGE_SECRET = 'CENTAUR_EDGE_SIGNING_KEY';

export async function receive(parts: ReceiverParts, incoming: Incoming): Promise<Received> {
  const { slug, method, headers } = incoming;
  const receivedAt = parts.store.now();
  const served = parts.registry.get(slug);
  if (served === undefined) throw notFound(slug);
  const { spec } = served;
  refuse(refuseHead(spec, method, headers));
  spend(parts.floods, slug, FLOOD_RATE);
  const isForwarded = headers.has(FORWARD_HEADER);
  if (isForwarded) await incoming.authoriseForward();
  const rawBody = await incoming.readBody(spec.maxBodyBytes);
  if (rawBody === undefined || rawBody.length > spec.maxBodyBytes) return refuse(tooLarge(spec));
  refuse(refuseUntyped(spec, headers, rawBody));
  const sourceIp = isForwarded
    ? await forwardedSource(parts, incoming, rawBody)
    : parts.sources.addressOf(incoming.peer, headers.get('x-forwarded-for'));
  await verify(parts, spec, headers, rawBody);
  if (spec.rateLimit !== null) spend(parts.limits, slug, spec.rateLimit);

  const { pathname: path, searchParams: query } = incoming.url;
  const built = await buildEnvelope(spec, { method, path, query, headers, rawBody, sourceIp });
  if (!built.ok) throw new WebhookError('MALFORMED_BODY', built.message);
  const { envelope, sha256 } = built;
  const challenge = challengeOf(spec, envelope);
  if (challenge !== undefined) return { outcome: 'challenge', challenge };
  if (spec.filter !== null && !matchesFilter(spec.filter, envelope)) return { outcome: 'filtered' };
  const triggerKey = await triggerKeyFor(spec, { headers, search: incoming.url.search, body: envelope.webhook.body, sha256 });
  const delivery = {
    deliveryId: uuidv7(receivedAt),
    slug,
    workflow: served.workflow,
    receivedAt,
    triggerKey,
    method: envelope.webhook.method,
    sourceIp,
    contentType: mediaType(headers).slice(0, 200) || null,
    bodySha256: Buffer.from(sha256, 'hex'),
    bodyBytes: rawBody.length,
    provider: spec.provider,
    event: eventOf(envelope),
    redeliveryOf: null,
  };
  const beside = { companion: DELIVERY, row: delivery };
  const run = await start(parts.engine, served, envelope, { triggerKey, traceId: incoming.traceId, beside });
  if (!run.created) await parts.deliveries.add({ ...delivery, runId: run.run_id, created: false });
  return { outcome: run.created ? 'created' : 'known', runId: run.run_id, deliveryId: delivery.deliveryId };
}

function refuse(refusal: Refusal): never;
function refuse(refusal: Refusal | undefined): void;
function refuse(refusal: Refusal | undefined): void {
  if (refusal !== undefined) throw new WebhookError(refusal.code, refusal.message, { headers: refusal.headers });
}

function spend(limits: Limits, slug: string, rate: Rate): void {
  const wait = limits.take(slug, rate);
  if (wait === 0) return;
  throw new WebhookError('RATE_LIMITED', 'too many deliveries; send this one again later', {
    headers: { 'retry-after': String(Math.ceil(wait)) },
  });
}

/** The edge saw the sender's address; what it says counts when it is signed, and not because the header is there. */
async function forwardedSource(
  { secrets, now }: ReceiverParts,
  { method, url, headers }: Incoming,
  rawBody: Uint8Array,
): Promise<string | null> {
  const keys = await live(secrets, EDGE_SECRET);
  const path = `${url.pathname}${url.search}`;
  const nowSeconds = now() / 1000;
  const forwarded = await verifyForward(keys, headers.get(FORWARD_HEADER), { method, path, sha256: await sha256Hex(rawBody), nowSeconds });
  if (forwarded.ok) return forwarded.sourceIp;
  throw new WebhookError('BAD_SIGNATURE', `the edge’s own signature, in ${FORWARD_HEADER}, is ${WHY[forwarded.reason]}`);
}

async function verify({ secrets, now }: ReceiverParts, { auth }: WebhookSpec, headers: Headers, rawBody: Uint8Array): Promise<void> {
  const values = auth.type === 'none' ? [] : await live(secrets, auth.secretRef);
  const verdict = await verifyWebhook(auth, { headers, rawBody, nowSeconds: now() / 1000 }, values);
  if (!verdict.ok) throw new WebhookError('BAD_SIGNATURE', `the signature is ${WHY[verdict.reason]}`);
}

const WHY: Readonly<Record<Reason, string>> = {
  missing: 'missing',
  ambiguous: 'given more than once',
  malformed: 'not in the form that this webhook expects',
  invalid: 'wrong',
  stale: 'too old, or made by a clock that is ahead of ours',
};

/** Which secret is missing is for the log, which has it already, and not for whoever sends here. */
async function live(secrets: WebhookSecrets, ref: string): Promise<readonly string[]> {
  try {
    return await secrets.get(ref);
  } catch (error) {
    if (!(error instanceof SecretProblem)) throw error;
    throw new WebhookError('WEBHOOK_SECRET_MISSING', 'this webhook cannot verify deliveries right now; send this one again later', {
      cause: error,
      headers: { 'retry-after': '30' },
    });
  }
}

async function start(
  engine: Engine,
  { workflow, spec }: ServedWebhook,
  envelope: Envelope,
  { triggerKey, traceId, beside }: { readonly triggerKey: string; readonly traceId: string | undefined; readonly beside: Beside },
) {
  try {
    // the key alone says what is the same delivery: another body under it finds the first run, too
    const request = { workflow_name: workflow, input: envelope, trigger_key: triggerKey, trigger_identity: triggerKey, trace_id: traceId };
    return await engine.start(request, beside, `webhook:${spec.slug}`);
  } catch (error) {
    // its file was taken away just now
    if (error instanceof EngineError && error.code === 'UNKNOWN_WORKFLOW') throw notFound(spec.slug);
    if (error instanceof EngineError && error.code === 'TOO_LARGE')
      throw new WebhookError('TOO_LARGE', 'the delivery, as JSON with its headers, is more than a run takes: 1 MiB', { cause: error });
    throw error;
  }
}

function notFound(slug: string): WebhookError {
  return new WebhookError('WEBHOOK_NOT_FOUND', `there is no webhook ${JSON.stringify(slug.slice(0, 128))}`);
}

/** https://docs.slack.dev/reference/events/url_verification */
function challengeOf({ auth }: WebhookSpec, { webhook: { body } }: Envelope): string | undefined {
  if (auth.type !== 'slack') return undefined;
  return textAt(body, 'type') === 'url_verification' ? textAt(body, 'challenge') : undefined;
}

const EVENT_HEADERS = ['x-github-event', 'x-gitlab-event', 'x-event-key', 'x-shopify-topic', 'x-event-type'];
const EVENT_LONGEST = 200;

/** By a header, or by the member `type`, which Stripe, Slack and the standard webhooks have. */
function eventOf({ webhook: { headers, body } }: Envelope): string | null {
  const named = EVENT_HEADERS.map((name) => headers[name]).find(Boolean) ?? textAt(body, 'type');
  return named === undefined || named.includes('\0') ? null : named.slice(0, EVENT_LONGEST).toWellFormed();
}

function textAt(body: unknown, member: string): string | undefined {
  const value =
    typeof body === 'object' && body !== null && Object.hasOwn(body, member) ? (body as Record<string, unknown>)[member] : undefined;
  return typeof value === 'string' ? value : undefined;
}
