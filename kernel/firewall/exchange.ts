/**
 * One request, from its first line to the last byte of its answer.
 *
 * The order is the promise: read and limit; lease, and what was declared for it; placeholders and where they stand; policy;
 * approval; use; the audit entry, durable; only then the credential; dial; search the answer; the outcome. Whatever fails on
 * the way refuses.
 */
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { AuditEntry, AuditLog } from '../audit/index.ts';
import { spanIdOf, type StoreLogEntry, traceparentOf } from '../store/index.ts';
import type { OpenCall, Target } from '../vault/index.ts';
import { type BodyIn, ENCODINGS, openBody, readHead } from './answer.ts';
import type { Credentials } from './credentials.ts';
import { refuseUndeclared } from './declared.ts';
import type { Gate, Verdict } from './gate.ts';
import type { LeaseBook, LiveLease } from './lease-book.ts';
import type { FirewallMetrics } from './metrics.ts';
import { callIds, causeOf, causesOf, isRecorded, markRecorded, outcome, recordIntent, recordRefusal, resourceOf } from './records.ts';
import { sendRefusal, toRefusal } from './refusals.ts';
import type { EgressRules } from './rules.ts';
import type { Hit, Scanner } from './scanner/index.ts';
import { findPlaceholders, type HeaderLines, type OutgoingRequest, type Sorted, sortFound, suspiciousWords } from './substitute.ts';
import { authorityText, parseAuthority, parsePath, RefusedError, sameTarget } from './target.ts';
import { type RequestTrace, TRACE_HEADERS, type TraceBook } from './trace.ts';
import type { Upstreams } from './upstream.ts';

/** How a request came in. */
export interface Channel {
  readonly via: 'tunnel' | 'absolute' | 'base_url' | 'postgres';
  readonly peer: string;
  readonly target: Target;
  readonly lease: LiveLease;
  /** Where the request says it goes, when that is not its Host header. */
  readonly path?: string;
}

export interface Parts {
  readonly audit: AuditLog;
  readonly leases: LeaseBook;
  readonly traces: TraceBook;
  readonly gate: Gate;
  readonly credentials: Credentials;
  readonly metrics: FirewallMetrics;
  readonly log: (entry: StoreLogEntry) => void;
  rules(): EgressRules;
  scanner(): Scanner;
  upstreams(): Upstreams;
}

/** What the HTTP/1 and HTTP/2 responses of Node have in common. */
export interface ClientResponse {
  headersSent: boolean;
  writableEnded: boolean;
  writeHead(status: number, headers: readonly [string, string][] | Record<string, string | string[]>): unknown;
  write(chunk: Buffer): boolean;
  end(chunk?: Buffer | string): unknown;
  destroy(error?: Error): unknown;
  once(event: 'close' | 'drain', listener: () => void): unknown;
  flushHeaders(): void;
}

const HEADERS_MOST = 100;
const HEADER_BYTES_MOST = 16 * 1024;

const NOTHING: ReadonlySet<string> = new Set();
/** Between two parts of a request's body. */
const BODY_IDLE_MS = 30_000;

/** With these, a service reads another method or path than the one that was checked. */
const OVERRIDES = new Set([
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
  'x-original-url',
  'x-rewrite-url',
  'x-original-method',
]);

/** Headers that are about this connection only, or that the firewall writes itself. */
const OWN = new Set([
  'connection',
  'keep-alive',
  'proxy-authorization',
  'proxy-authenticate',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'expect',
  'content-length',
  'accept-encoding',
  'host',
  'http2-settings',
  'alt-used',
]);

/** Of those that got far enough, for what is said of their refusal. */
export const requestTraces = new WeakMap<IncomingMessage, RequestTrace>();

/** Answers the request, or refuses it. Never throws. */
export async function exchange(parts: Parts, request: IncomingMessage, response: ClientResponse, channel: Channel): Promise<void> {
  const began = performance.now();
  let prepared: Prepared | undefined;
  let left = false;
  const isGone = () => left;
  response.once('close', () => (left = true));
  channel.lease.busy += 1;
  try {
    prepared = await prepare(parts, request, channel, { isGone });
    if (prepared.answer === undefined) await send(parts, { ...prepared, request, response, channel, began, isGone });
    else {
      response.writeHead(200, {
        'content-type': 'application/json',
        'content-length': String(prepared.answer.length),
        'cache-control': 'no-store',
      });
      response.end(prepared.answer);
      outcome(parts, prepared.intent, prepared.intentId, {
        status: 200,
        answered_here: true,
        ...prepared.took,
        ms: Math.round(performance.now() - began),
      });
    }
  } catch (error) {
    const refusal = toRefusal(error);
    if (prepared !== undefined) {
      parts.metrics.count('refused', refusal.code);
      outcome(parts, prepared.intent, prepared.intentId, {
        ...refusal.details,
        error: refusal.code,
        ...prepared.took,
        ms: Math.round(performance.now() - began),
      });
    } else if (refusal.code !== 'CLIENT_GONE' && !isRecorded(refusal)) {
      const trace = requestTraces.get(request);
      await recordRefusal(parts, refusal, { channel, trace, method: request.method ?? '', url: channel.path ?? request.url ?? '' });
    }
    sendRefusal(response, refusal);
    // what is left of its body is not read: the connection cannot be used on
    if (!request.complete) request.destroy();
  } finally {
    channel.lease.busy -= 1;
  }
}

export interface Prepared {
  readonly outgoing: OutgoingRequest;
  readonly sent: { readonly path: string; readonly headers: HeaderLines; readonly body: Buffer | undefined };
  /** Of a long body: all of it, as it comes. */
  readonly rest: Readable | undefined;
  /** It has a credential outside of its body. */
  readonly authenticated: boolean;
  /** It uses a secret. */
  readonly credentialed: boolean;
  readonly scanner: Scanner;
  readonly intent: AuditEntry;
  readonly intentId: string;
  /** Until the intent was committed, and from then until the secrets were in place, ms. */
  readonly took: { readonly audit_ms: number; readonly lease_ms: number };
  /** The firewall answers by itself. */
  readonly answer: Buffer | undefined;
}

/** Everything that comes before the first byte is sent. @throws RefusedError, recorded in the log or not yet */
export async function prepare(
  parts: Parts,
  request: IncomingMessage,
  channel: Channel,
  { isGone, alsoDropped = NOTHING }: { readonly isGone: () => boolean; readonly alsoDropped?: ReadonlySet<string> },
): Promise<Prepared> {
  const { lease, target } = channel;
  const method = request.method ?? '';
  const given = readHeaders(request, channel, alsoDropped);
  const headers = given.filter(([name]) => !TRACE_HEADERS.has(name));
  const path = parsePath(channel.path ?? request.url ?? '');
  if (!/^[A-Z]{1,20}$/.test(method) || method === 'CONNECT' || method === 'TRACE')
    throw new RefusedError(405, 'BAD_METHOD', `${method} requests are not sent on`);
  // one lease must not take the connections of all
  const { tunnelsPerLease } = parts.rules().limits;
  if (lease.busy > tunnelsPerLease) throw new RefusedError(429, 'TOO_MANY_REQUESTS', `the lease has ${tunnelsPerLease} requests under way`);
  await parts.leases.checkTurn(lease);
  const trace = await parts.traces.of(lease, given);
  requestTraces.set(request, trace);
  const body = await readBody(request, parts.rules().limits.bufferedBody);
  refuseUndeclared(lease, target, method, path.path);
  const outgoing: OutgoingRequest = { method, target, path, headers, body: body.whole };
  if (body.whole !== undefined && body.whole.length > 0) refuseSecrets(parts.scanner(), body.whole, 'body');
  const token = parts.credentials.tokenAnswer(outgoing, lease);
  const answer = token?.body;
  const sorted: Sorted =
    token === undefined
      ? sortFound(findPlaceholders(lease, outgoing), parts.credentials.binding, outgoing)
      : { used: [{ secret: token.secret, placeholder: '', place: 'token' }], inert: [], authenticated: false };
  const found = sorted.used;
  const verdict = await judge(parts, channel, outgoing, sorted, body.length, isGone, trace);
  refuseGone(isGone);
  if (verdict.approval !== undefined) await parts.leases.checkNow(lease);
  // a name that leads to an address of our own is refused before anything is spent on it
  await parts.upstreams().check(target);
  const calls = await parts.leases.callsOf(lease, verdict.request.credentialed ? 'secrets' : 'nothing');
  await parts.leases.consume(lease);

  // no entry, no credential
  const intent = intentOf(channel, trace, outgoing, sorted, verdict, calls);
  const recording = performance.now();
  const intentId = await recordIntent(parts, intent);
  const recorded = performance.now();
  try {
    await parts.leases.check(lease);
    const filled =
      answer === undefined ? await parts.credentials.apply(outgoing, found, lease) : { path: '', headers: [], body: undefined };
    const took = { audit_ms: hundredths(recorded - recording), lease_ms: hundredths(performance.now() - recorded) };
    const sent = { ...filled, headers: [...filled.headers, ...traceHeaders(parts, channel, trace, intentId)] };
    // only now: a token that was made for this request is among what is looked for
    const scanner = parts.scanner();
    const { credentialed } = verdict.request;
    return { outgoing, sent, rest: body.rest, authenticated: sorted.authenticated, credentialed, scanner, intent, intentId, took, answer };
  } catch (error) {
    const refusal = toRefusal(error);
    outcome(parts, intent, intentId, { ...refusal.details, error: refusal.code });
    parts.metrics.count('refused', refusal.code);
    markRecorded(refusal);
    throw refusal;
  }
}

/** Only hosts that the operator named hear of our traces. What the program wrote into these headers is sent to nobody. */
function traceHeaders({ rules }: Parts, { target }: Channel, { traceId }: RequestTrace, intentId: string): HeaderLines {
  if (traceId === undefined || !rules().isTraced(target)) return [];
  return [['traceparent', traceparentOf(traceId, spanIdOf('egress', intentId))]];
}

const hundredths = (ms: number): number => Math.round(ms * 100) / 100;

/** Lines in lower case, without those that are not sent on. @throws RefusedError 400, 421, 431 */
function readHeaders(request: IncomingMessage, channel: Channel, alsoDropped: ReadonlySet<string>): HeaderLines {
  const { rawHeaders } = request;
  if (rawHeaders.length / 2 > HEADERS_MOST) throw new RefusedError(431, 'TOO_MANY_HEADERS', `more than ${HEADERS_MOST} headers`);
  let named: readonly string[] = [];
  const lines: [string, string][] = [];
  let authority: string | undefined;
  let bytes = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] as string).toLowerCase();
    const value = rawHeaders[i + 1] as string;
    bytes += name.length + value.length + 4;
    if (name === 'host' || name === ':authority') {
      if (authority !== undefined && authority !== value) throw new RefusedError(400, 'TWO_HOSTS', 'the request names two hosts');
      authority = value;
    }
    if (name === 'connection') named = [...named, ...value.split(',').map((each) => each.trim().toLowerCase())];
    if (OVERRIDES.has(name))
      throw new RefusedError(400, 'OVERRIDE_HEADER', `${name} would make the service do something else than what was asked for`);
    if (!name.startsWith(':')) lines.push([name, value]);
  }
  if (bytes > HEADER_BYTES_MOST) throw new RefusedError(431, 'HEADERS_TOO_LARGE', `the headers have more than ${HEADER_BYTES_MOST} bytes`);
  if (channel.via !== 'base_url') {
    if (authority === undefined) throw new RefusedError(400, 'NO_HOST', 'the request names no host');
    if (!sameTarget(parseAuthority(authority, channel.target.scheme, 'default'), channel.target))
      throw new RefusedError(421, 'OTHER_HOST', 'the request names another host than its connection', { host: authority.slice(0, 255) });
  }
  return lines.filter(([name]) => !OWN.has(name) && !alsoDropped.has(name) && !named.includes(name));
}

/** Where placeholders stand, what must not be in it, and what the rules say. */
async function judge(
  parts: Parts,
  channel: Channel,
  outgoing: OutgoingRequest,
  { used: found, authenticated }: Sorted,
  bytes: number,
  isGone: () => boolean,
  trace: RequestTrace,
): Promise<Verdict> {
  const { lease } = channel;
  const scanner = parts.scanner();
  const suspicious = suspiciousWords(lease, authenticated ? { ...outgoing, body: undefined } : outgoing);
  const strangers = await parts.leases.ownersOf(suspicious);
  const [stranger] = strangers;
  if (stranger !== undefined) {
    throw new RefusedError(403, 'PLACEHOLDER_OF_ANOTHER_LEASE', 'the request has a placeholder in it that belongs to another lease', {
      lease_id: lease.leaseId,
      other_lease_id: stranger.leaseId,
      secret: stranger.secret,
    });
  }
  const text = [outgoing.path.raw, ...outgoing.headers.map(([name, value]) => `${name}: ${value}`)].join('\n');
  refuseSecrets(scanner, Buffer.from(text, 'latin1'), 'head');
  const causes = async () => causesOf(lease, await parts.leases.callsOf(lease, 'nothing'), trace);
  return parts.gate.decide({ channel, outgoing, found, bytes, isGone, causes });
}

function refuseGone(isGone: () => boolean): void {
  if (isGone()) throw new RefusedError(499, 'CLIENT_GONE', 'the client went away');
}

function refuseSecrets(scanner: Scanner, data: Buffer, where: string): void {
  const { hits } = scanner.scan(data);
  if (hits.length > 0)
    throw new RefusedError(
      403,
      'SECRET_IN_REQUEST',
      'the request has the real value of a secret in it; it must come from somewhere it should not',
      {
        leaks: hits.map((hit) => ({ ...hit, where })),
        alert: true,
      },
    );
}

interface ReadBody {
  /** The whole body; undefined when it is longer than what is kept in memory. */
  readonly whole: Buffer | undefined;
  /** All of it, as it comes, when it is longer. */
  readonly rest: Readable | undefined;
  readonly length: number;
}

/** @throws RefusedError CLIENT_GONE */
async function readBody(request: IncomingMessage, most: number): Promise<ReadBody> {
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers;
  // HTTP/2 needs neither header for a body
  if (length === undefined && encoding === undefined && request.httpVersionMajor < 2)
    return { whole: Buffer.alloc(0), rest: undefined, length: 0 };
  const chunks: Buffer[] = [];
  let bytes = 0;
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => settle(() => reject(tooSlow())), BODY_IDLE_MS);
    const settle = (act: () => void) => {
      clearTimeout(timer);
      request.off('data', take).off('end', done).off('error', gone).off('close', gone);
      act();
    };
    const take = (chunk: Buffer) => {
      timer.refresh();
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > most) settle(() => (request.pause(), resolve()));
    };
    const done = () => settle(resolve);
    const gone = () => settle(() => reject(new RefusedError(499, 'CLIENT_GONE', 'the client went away')));
    request.on('data', take).once('end', done).once('error', gone).once('close', gone);
  });
  if (bytes <= most) return { whole: Buffer.concat(chunks), rest: undefined, length: bytes };
  async function* all() {
    yield* chunks;
    const parts = request[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    for (let part = await soon(parts.next()); part.done !== true; part = await soon(parts.next())) yield part.value;
  }
  return { whole: undefined, rest: Readable.from(all(), { objectMode: false }), length: length === undefined ? bytes : Number(length) };
}

/** The next part of a body, or a refusal when it does not come. */
async function soon<T>(part: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(tooSlow()), BODY_IDLE_MS);
  });
  return Promise.race([part, late]).finally(() => clearTimeout(timer));
}

function tooSlow(): RefusedError {
  return new RefusedError(408, 'REQUEST_TOO_SLOW', 'the body of the request does not come');
}

/**
 * A long body on its way: searched as it goes, and cut off before a byte of what must not pass.
 *
 * @param placeholders that would have to be exchanged, or refused, in a body that is held in memory
 */
function guardUpload(rest: Readable, scanner: Scanner, placeholders: readonly string[]): Readable {
  const stream = scanner.open();
  const longest = Math.max(0, ...placeholders.map((placeholder) => placeholder.length));
  function refusePlaceholder(data: Buffer): void {
    if (placeholders.some((placeholder) => data.includes(placeholder)))
      throw new RefusedError(413, 'BODY_TOO_LONG', 'a body with a placeholder in it is too long to be held in memory');
  }
  async function* guarded() {
    let tail = Buffer.alloc(0);
    for await (const chunk of rest as AsyncIterable<Buffer>) {
      const clean = stream.push(chunk);
      if (stream.hits.length > 0)
        throw new RefusedError(403, 'SECRET_IN_REQUEST', 'the request has the real value of a secret in it', {
          leaks: stream.hits,
          alert: true,
        });
      const joined = Buffer.concat([tail, clean]);
      refusePlaceholder(joined);
      const safe = Math.max(0, joined.length - longest);
      tail = Buffer.from(joined.subarray(safe));
      if (safe > 0) yield joined.subarray(0, safe);
    }
    const last = Buffer.concat([tail, stream.end()]);
    refusePlaceholder(last);
    if (last.length > 0) yield last;
  }
  return Readable.from(guarded(), { objectMode: false });
}

interface Sending extends Prepared {
  readonly request: IncomingMessage;
  readonly response: ClientResponse;
  readonly channel: Channel;
  readonly began: number;
  readonly isGone: () => boolean;
}

/** Resolves when the answer has ended; rejects when there was none. */
function send(parts: Parts, sending: Sending): Promise<void> {
  const { response, channel, outgoing, sent, scanner, intent, intentId, took, began } = sending;
  const { lease, target } = channel;
  const { action } = parts.rules().scan;
  // its 'close' has been: nothing would ever end what is begun now
  if (sending.isGone()) return Promise.reject(new RefusedError(499, 'CLIENT_GONE', 'the client went away'));
  const { idleMs } = parts.rules().limits;
  return new Promise((resolve, reject) => {
    let abortUpstream: (error: Error) => void = () => undefined;
    let resumeUpstream: () => void = () => undefined;
    let body: BodyIn | undefined;
    let status = 0;
    let bytes = 0;
    let headHits: readonly Hit[] = [];
    let ended = false;
    let stalled: NodeJS.Timeout | undefined;

    const cut = () => finish(new RefusedError(407, 'LEASE_REVOKED', 'the lease ended'));
    lease.open.add(cut);
    if (sending.credentialed) lease.withSecrets.add(cut);
    response.once('close', () => {
      if (!ended) finish(new RefusedError(499, 'CLIENT_GONE', 'the client went away'));
    });

    /** Once: with an error, nothing more goes out in either direction. */
    function finish(error?: Error): void {
      if (ended) return;
      ended = true;
      clearTimeout(stalled);
      lease.open.delete(cut);
      lease.withSecrets.delete(cut);
      const leaks = [...headHits, ...(body?.hits ?? [])];
      const ms = Math.round(performance.now() - began);
      if (leaks.length > 0) parts.metrics.count('leaks', leaks[0]?.secret ?? '');
      if (error !== undefined) {
        abortUpstream(error);
        body?.abort(error);
        if (status === 0) return reject(error);
        response.destroy(error);
      }
      outcome(parts, intent, intentId, {
        status,
        bytes,
        ms,
        ...took,
        ...(leaks.length > 0 ? { leaks, alert: true } : {}),
        ...(error === undefined ? {} : { error: toRefusal(error).code }),
      });
      parts.metrics.exchange(ms, bytes);
      resolve();
    }

    parts
      .upstreams()
      .pool(target)
      .dispatch(
        {
          origin: '',
          path: sent.path,
          method: outgoing.method,
          headers: sent.headers
            .flatMap(([name, value]) => [name, value])
            .concat('host', authorityText(target), 'accept-encoding', acceptEncoding(sending.request)),
          body:
            sending.rest === undefined
              ? sent.body !== undefined && sent.body.length > 0
                ? sent.body
                : emptyBody(outgoing.method)
              : guardUpload(
                  sending.rest,
                  scanner,
                  sending.authenticated ? parts.credentials.inBodies(outgoing, lease) : [...lease.placeholders.keys()],
                ),
        },
        {
          onRequestStart(controller) {
            abortUpstream = (error) => controller.abort(error);
            resumeUpstream = () => controller.resume();
            if (ended) controller.abort(new Error('it has ended already'));
          },
          onResponseStart(controller, statusCode, _headers, _message) {
            if (statusCode < 200 || ended) return;
            const raw = (controller.rawHeaders ?? []) as readonly (string | Buffer)[];
            const lines = raw.map((part) => (typeof part === 'string' ? part : part.toString('latin1')));
            try {
              const head = readHead(statusCode, lines, scanner);
              headHits = head.hits;
              if (head.hits.length > 0 && action === 'block')
                throw new RefusedError(502, 'SECRET_IN_ANSWER', 'the answer had a secret in it', { leaks: head.hits });
              status = statusCode;
              response.writeHead(statusCode, forHttp2(sending.request) ? asObject(head.headers) : (head.headers.flat() as never));
              // with the first of the body when that is here already, else by itself: nobody waits for the other
              setImmediate(() => {
                if (bytes === 0 && !ended) response.flushHeaders();
              });
              body = openBody({
                encodings: hasNoBody(outgoing.method, statusCode) ? [] : head.encodings,
                contentType: head.contentType,
                scanner,
                out: {
                  write: (chunk) => ((bytes += chunk.length), response.write(chunk)),
                  onDrain(resume) {
                    stalled = setTimeout(() => finish(new RefusedError(408, 'CLIENT_TOO_SLOW', 'the client does not read on')), idleMs);
                    response.once('drain', () => {
                      clearTimeout(stalled);
                      resume();
                    });
                  },
                  end: () => (response.end(), finish()),
                  abort: finish,
                },
                resume: () => resumeUpstream(),
                onHit: () => action !== 'block',
              });
            } catch (error) {
              status = 0;
              finish(error as Error);
            }
          },
          onResponseData(controller, chunk) {
            if (body?.push(chunk) === false) controller.pause();
          },
          onResponseEnd() {
            body?.end();
          },
          onResponseError(_controller, error) {
            finish(error);
          },
        },
      );
  });
}

function forHttp2(request: IncomingMessage): boolean {
  return request.httpVersionMajor >= 2;
}

function asObject(headers: readonly [string, string][]): Record<string, string | string[]> {
  const object: Record<string, string | string[]> = {};
  for (const [name, value] of headers) {
    const key = name.toLowerCase();
    const before = object[key];
    object[key] = before === undefined ? value : [...(Array.isArray(before) ? before : [before]), value];
  }
  return object;
}

function hasNoBody(method: string, status: number): boolean {
  return method === 'HEAD' || status === 204 || status === 304;
}

/** A POST without a body says so; a GET does not. */
function emptyBody(method: string): Buffer | null {
  return method === 'POST' || method === 'PUT' || method === 'PATCH' ? Buffer.alloc(0) : null;
}

function acceptEncoding(request: IncomingMessage): string {
  const accepted = request.headers['accept-encoding'];
  return accepted === undefined || accepted === 'identity' ? 'identity' : ENCODINGS;
}

/** What is told of a request before anything of it is sent. */
function intentOf(
  channel: Channel,
  trace: RequestTrace,
  outgoing: OutgoingRequest,
  { used: found, inert }: Sorted,
  verdict: Verdict,
  calls: readonly OpenCall[] | undefined,
): AuditEntry {
  const { lease } = channel;
  return {
    action: 'egress.intent',
    actor: lease.principal,
    resource: resourceOf(channel.target, outgoing.path),
    decision: 'allow',
    ...causeOf(lease, calls, trace),
    details: {
      ...(trace.causedBy === undefined ? {} : { caused_by: trace.causedBy }),
      policy_ms: verdict.policyMs,
      via: channel.via,
      method: outgoing.method,
      ...callIds(calls),
      secrets: found.map(({ secret, place }) => ({ secret, place })),
      ...(inert.length === 0 ? {} : { inert: inert.map(({ secret }) => secret) }),
      rule: verdict.rule,
      policy: verdict.policy,
      request: verdict.request,
      ...(verdict.approval === undefined ? {} : { approval_id: verdict.approval }),
      ...(verdict.exhausted === undefined ? {} : { limits_used_up: verdict.exhausted }),
      ...(verdict.errors === undefined ? {} : { policy_errors: verdict.errors }),
      ...(verdict.shadow === undefined ? {} : { shadow: verdict.shadow }),
    },
  };
}
