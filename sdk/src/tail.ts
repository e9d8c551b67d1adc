/** Following an event stream, of a run or a thread, across lost connections and restarts of the API. */
import { readEvents, type ServerSentEvent } from './sse.ts';
import { CentaurApiError, parseJson, refusal, send, type Transport, unreachable } from './transport.ts';

export interface TailOptions {
  readonly signal?: AbortSignal;
  /** Id of the last event already seen. */
  readonly afterId?: string;
  /** Called before each pause that follows a lost connection. */
  readonly onDisconnect?: (error: Error, retryInMs: number) => void;
  /** How long to try when nothing answers. Milliseconds, default five minutes. */
  readonly giveUpAfter?: number;
}

/** What is followed. */
export interface Tailed<Event> {
  /** Undefined for an event that was seen before. */
  read(event: ServerSentEvent): Event | undefined;
  /** Whether nothing follows this one. */
  isLast(event: Event): boolean;
  /** Asked when the server ended the stream without a last event: whether what is followed has ended all the same. */
  isOver?(): Promise<boolean>;
}

/** Three times the server's comment interval: one may be late without the line being dead. */
const IDLE_MS = 45_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;

/** @throws CentaurApiError when the API refuses or stays away too long; the signal's reason when it aborts */
export async function* tail<Event>(
  api: Transport,
  path: string,
  tailed: Tailed<Event>,
  { signal, afterId, onDisconnect, giveUpAfter = 300_000 }: TailOptions = {},
): AsyncGenerator<Event> {
  let lastId = afterId;
  /** Known to have ended before the stream was opened. */
  let isOver = false;
  let failures = 0;
  let downSince: number | undefined;
  const opened = (): void => {
    downSince = undefined;
  };
  for (;;) {
    signal?.throwIfAborted();
    let lost: Error;
    try {
      for await (const sent of connect(api, path, lastId, signal, opened)) {
        lastId = sent.id ?? lastId;
        failures = 0;
        const event = tailed.read(sent);
        if (event === undefined) continue;
        yield event;
        if (tailed.isLast(event)) return;
      }
      // a stream that was opened after the end has had all there is; one opened before may have been cut off
      if (isOver) return;
      isOver = (await tailed.isOver?.()) ?? false;
      if (isOver) continue;
      lost = new CentaurApiError(0, 'UNREACHABLE', `${api.base} closed the stream before its end`);
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (!isTransient(error)) throw error;
      lost = error;
    }
    downSince ??= performance.now();
    if (performance.now() - downSince >= giveUpAfter) throw lost;
    const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures) * (0.5 + Math.random() / 2);
    failures += 1;
    onDisconnect?.(lost, pause);
    await sleep(pause, signal);
  }
}

async function* connect(
  api: Transport,
  path: string,
  lastId: string | undefined,
  signal: AbortSignal | undefined,
  opened: () => void,
): AsyncGenerator<ServerSentEvent> {
  const response = await send(api, path, {
    headers: { ...api.headers, accept: 'text/event-stream', ...(lastId === undefined ? {} : { 'last-event-id': lastId }) },
    ...(signal ? { signal } : {}),
  });
  if (!response.ok) throw refusal(response.status, parseJson(await response.text()));
  if (response.body === null) throw new CentaurApiError(response.status, 'NOT_A_STREAM', `${api.base} sent no stream`);
  opened();
  const events = readEvents(response.body, IDLE_MS);
  try {
    for (;;) {
      // Only what reading throws is a lost connection; what the consumer throws at `yield` is not
      const next = await events.next().catch((error: unknown) => Promise.reject(unreachable(api, error)));
      if (next.done) return;
      yield next.value;
    }
  } finally {
    await events.return(undefined);
  }
}

/** Whether the same request may succeed later: nothing answered, or the answer says that it is not the request's fault. */
function isTransient(error: unknown): error is CentaurApiError {
  return error instanceof CentaurApiError && (error.status === 0 || error.status === 429 || error.status >= 500);
}

function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    signal?.addEventListener('abort', stop, { once: true });
  });
}
