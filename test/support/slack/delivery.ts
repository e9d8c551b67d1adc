/**
 * How payloads reach the app: signed requests or sockets, an event again until it is acknowledged within 3 seconds
 * (docs.slack.dev: Events API, "Retries": nearly at once, after 1 minute, after 5 minutes), and on demand twice, late or in another order.
 */
import { createHmac, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import type { Clock, Json } from './world.ts';

export interface Parcel {
  readonly kind: 'event' | 'interactive' | 'slash';
  readonly body: Json;
}

export interface Outcome {
  readonly acknowledged: boolean;
  /** Of an HTTP answer. */
  readonly status?: number;
  /** What came with the acknowledgement. */
  readonly answer?: string;
  /** Why not, in Slack's words of x-slack-retry-reason. */
  readonly reason?: string;
  /** The app asked not to be asked again (x-slack-no-retry). */
  readonly noRetry?: boolean;
}

export interface Retry {
  readonly num: number;
  readonly reason: string;
}

/** One way to the app. */
export type Transport = (parcel: Parcel, retry: Retry | undefined, ackMs: number) => Promise<Outcome>;

export interface Delivered {
  readonly kind: Parcel['kind'];
  readonly body: Json;
  readonly attempts: readonly (Outcome & { readonly at: number; readonly ms: number; readonly retryNum: number })[];
  readonly state: 'under way' | 'acknowledged' | 'given up';
}

export interface Delivery {
  readonly all: readonly Delivered[];
  /** Sends it, again until it is acknowledged; while events are held, it waits. */
  event(body: Json): void;
  /** An interaction or a command: once. */
  interaction(parcel: Parcel): Promise<Outcome>;
  /** Sends a delivered event once more, as it was: Slack does not promise "exactly once". */
  again(body: Json): void;
  /** The next events come twice at the same time. */
  duplicateNext(events: number): void;
  /** Keeps events back until they are released. */
  hold(): void;
  /** One after the other: each when the one before was sent, acknowledged or not. */
  release(order?: 'as they happened' | 'last first'): Promise<void>;
  /** When every event of `all` from this one on was sent once, acknowledged or not. */
  sentOnce(from: number): Promise<void>;
  /** When nothing is under way. */
  settled(): Promise<void>;
  close(): void;
}

export interface DeliveryOptions {
  readonly clock: Clock;
  readonly transport: () => Transport;
  readonly ackMs: number;
  readonly retryMs: readonly number[];
}

export function createDelivery({ clock, transport, ackMs, retryMs }: DeliveryOptions): Delivery {
  const all: Delivered[] = [];
  const firsts: Promise<void>[] = [];
  const underWay = new Set<Promise<unknown>>();
  const closing = new AbortController();
  let held: Json[] | undefined;
  let duplicates = 0;

  return {
    all,
    event(body) {
      if (held !== undefined) held.push(body);
      else dispatch(body);
    },
    again: (body) => void send(body),
    interaction: (parcel) => track(interact(parcel)),
    duplicateNext: (events) => void (duplicates += events),
    hold: () => void (held ??= []),
    release(order = 'as they happened') {
      const waiting = held ?? [];
      held = undefined;
      return track(dispatchInTurn(order === 'last first' ? waiting.toReversed() : waiting));
    },
    async settled() {
      while (underWay.size > 0) await Promise.allSettled(underWay);
    },
    sentOnce,
    close: () => closing.abort(),
  };

  function dispatch(body: Json): void {
    void send(body);
    if (duplicates === 0) return;
    duplicates -= 1;
    void send(body);
  }

  async function dispatchInTurn(bodies: readonly Json[]): Promise<void> {
    for (const body of bodies) {
      const from = all.length;
      dispatch(body);
      await sentOnce(from);
    }
  }

  async function sentOnce(from: number): Promise<void> {
    await Promise.all(firsts.slice(from));
  }

  async function send(body: Json): Promise<void> {
    await track(sendUntilAcknowledged(body));
  }

  async function track<T>(work: Promise<T>): Promise<T> {
    underWay.add(work);
    try {
      return await work;
    } finally {
      underWay.delete(work);
    }
  }

  async function sendUntilAcknowledged(body: Json): Promise<void> {
    const attempts: Delivered['attempts'][number][] = [];
    const entry: { -readonly [K in keyof Delivered]: Delivered[K] } = { kind: 'event', body, attempts, state: 'under way' };
    const first = Promise.withResolvers<void>();
    all.push(entry);
    firsts.push(first.promise);
    let retry: Retry | undefined;
    for (let num = 0; ; num += 1) {
      const outcome = await attempt({ kind: 'event', body }, retry, attempts);
      first.resolve();
      if (outcome.acknowledged) entry.state = 'acknowledged';
      const wait = retryMs[num];
      if (outcome.acknowledged || wait === undefined || outcome.noRetry === true || !(await pause(wait))) break;
      retry = { num: num + 1, reason: outcome.reason ?? 'unknown_error' };
    }
    if (entry.state === 'under way') entry.state = 'given up';
  }

  async function interact(parcel: Parcel): Promise<Outcome> {
    const attempts: Delivered['attempts'][number][] = [];
    const entry: { -readonly [K in keyof Delivered]: Delivered[K] } = { ...parcel, attempts, state: 'under way' };
    all.push(entry);
    firsts.push(Promise.resolve());
    const outcome = await attempt(parcel, undefined, attempts);
    entry.state = outcome.acknowledged ? 'acknowledged' : 'given up';
    return outcome;
  }

  async function attempt(parcel: Parcel, retry: Retry | undefined, attempts: Delivered['attempts'][number][]): Promise<Outcome> {
    const at = clock.now();
    const started = performance.now();
    const outcome = await transport()(parcel, retry, ackMs);
    attempts.push({ ...outcome, at, ms: performance.now() - started, retryNum: retry?.num ?? 0 });
    return outcome;
  }

  /** @returns whether Slack is still there after it */
  async function pause(ms: number): Promise<boolean> {
    if (closing.signal.aborted) return false;
    return new Promise((resolve) => {
      const stop = () => {
        clearTimeout(timer);
        resolve(false);
      };
      const timer = setTimeout(() => {
        closing.signal.removeEventListener('abort', stop);
        resolve(true);
      }, ms);
      closing.signal.addEventListener('abort', stop, { once: true });
    });
  }
}

/** Where the app takes requests of each kind. */
export interface Endpoints {
  events: string;
  interactivity: string;
  commands: string;
}

/** Headers of a request that Slack signed (docs.slack.dev: Verifying requests). @param timestamp in seconds; default: now */
export function signature(secret: string, body: string, timestamp = Math.floor(Date.now() / 1000)): Record<string, string> {
  const signed = createHmac('sha256', secret).update(`v0:${timestamp}:${body}`).digest('hex');
  return { 'x-slack-request-timestamp': String(timestamp), 'x-slack-signature': `v0=${signed}` };
}

export function createHttpTransport(endpoints: Endpoints, secret: string): Transport {
  return async ({ kind, body }, retry, ackMs) => {
    const url = { event: endpoints.events, interactive: endpoints.interactivity, slash: endpoints.commands }[kind];
    const text = kind === 'event' ? JSON.stringify(body) : formOf(kind, body);
    const headers = {
      'user-agent': 'Slackbot 1.0 (+https://api.slack.com/robots)',
      'content-type': kind === 'event' ? 'application/json' : 'application/x-www-form-urlencoded',
      ...signature(secret, text),
      ...(retry === undefined ? {} : { 'x-slack-retry-num': String(retry.num), 'x-slack-retry-reason': retry.reason }),
    };
    const late = AbortSignal.timeout(ackMs);
    try {
      const { status, noRetry, answer } = await post(url, headers, text, late);
      const isOk = status >= 200 && status < 300;
      return { acknowledged: isOk, status, answer, ...(isOk ? {} : { reason: 'http_error' }), ...(noRetry ? { noRetry } : {}) };
    } catch {
      return { acknowledged: false, reason: late.aborted ? 'http_timeout' : 'connection_failed' };
    }
  };
}

/** With a connection of its own for each, so that one to an app that has gone is not taken for one to the app that is there now. */
async function post(
  url: string,
  headers: Readonly<Record<string, string>>,
  text: string,
  signal: AbortSignal,
): Promise<{ readonly status: number; readonly noRetry: boolean; readonly answer: string }> {
  const send = url.startsWith('https:') ? https.request : http.request;
  const request = send(url, { method: 'POST', headers: { ...headers, 'content-length': Buffer.byteLength(text) }, agent: false, signal });
  // what comes while the answer is read is an error of the answer too
  request.on('error', () => {});
  request.end(text);
  const [response] = (await once(request, 'response', { signal })) as [http.IncomingMessage];
  let answer = '';
  for await (const part of response.setEncoding('utf8')) answer += part;
  return { status: response.statusCode ?? 0, noRetry: response.headers['x-slack-no-retry'] === '1', answer };
}

function formOf(kind: 'interactive' | 'slash', body: Json): string {
  const fields = kind === 'interactive' ? { payload: JSON.stringify(body) } : (body as Record<string, string>);
  return new URLSearchParams(fields).toString();
}

export function newEventId(): string {
  return `Ev0${randomUUID().replaceAll('-', '').slice(0, 9).toUpperCase()}`;
}
