/**
 * A run's events as a `text/event-stream`.
 *
 * The stream ends with the run, when the client leaves, when the server closes or when its key is revoked, and
 * whichever comes first stops the engine's tail.
 */
import { isTransient } from '../store/index.ts';
import type { RunEvent } from '../engine/index.ts';
import type { Frames } from '../threads/index.ts';
import type { Log } from './services.ts';

export interface StreamOptions<Item> {
  open(signal: AbortSignal): AsyncIterable<Item>;
  /** Aborts when the client left. */
  readonly client: AbortSignal;
  /** Aborts when the server closes. */
  readonly server: AbortSignal;
  /** Asked each second. */
  isAllowed(): Promise<boolean>;
  /** Called with 1 when the stream opens and -1 when it has ended. */
  onChange(open: 1 | -1): void;
  readonly log: Log;
}

export const STREAM_HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  // nginx would hold events back until its buffer is full
  'x-accel-buffering': 'no',
};

/** Proxies close lines that are silent for a minute or so. */
const COMMENT_EVERY_S = 15;

/** Resolves when the first event is there: an unknown run is refused with a status, not within a stream. */
export async function eventStream(options: StreamOptions<RunEvent>): Promise<Response> {
  const encoder = new TextEncoder();
  const { events, stop } = openEvents(options);
  return respond(options, events, stop, Promise.resolve(await events.next()), (event) => encoder.encode(format(event)));
}

/** Of something that is known to be there: its first event may be long in coming. */
export function frameStream(options: StreamOptions<Pick<Frames, 'bytes'>>): Response {
  const { events, stop } = openEvents(options);
  return respond(options, events, stop, undefined, ({ bytes }) => bytes);
}

function openEvents<Item>(options: StreamOptions<Item>): { readonly events: AsyncIterator<Item>; readonly stop: AbortController } {
  const stop = new AbortController();
  const events = options.open(AbortSignal.any([options.client, options.server, stop.signal]))[Symbol.asyncIterator]();
  return { events, stop };
}

function respond<Item>(
  options: StreamOptions<Item>,
  events: AsyncIterator<Item>,
  stop: AbortController,
  first: Promise<IteratorResult<Item>> | undefined,
  encode: (item: Item) => Uint8Array,
): Response {
  const encoder = new TextEncoder();
  let pending = first;
  let ticks = 0;
  let timer: NodeJS.Timeout | undefined;
  let ended = false;

  function end(controller?: ReadableStreamDefaultController<Uint8Array>): void {
    if (ended) return;
    ended = true;
    clearInterval(timer);
    stop.abort();
    options.onChange(-1);
    controller?.close();
  }

  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      options.onChange(1);
      timer = setInterval(() => {
        ticks += 1;
        // A client that does not read gets no comments either: they would pile up here
        if (ticks % COMMENT_EVERY_S === 0 && (controller.desiredSize ?? 0) > 0) controller.enqueue(encoder.encode(': still here\n\n'));
        options.isAllowed().then(
          (allowed) => (allowed ? undefined : end(controller)),
          // Postgres is away for a moment, and so is everything that could be told
          () => undefined,
        );
      }, 1000);
    },
    async pull(controller) {
      try {
        const { value, done } = await (pending ?? events.next());
        pending = undefined;
        if (ended) return;
        if (done) end(controller);
        else controller.enqueue(encode(value));
      } catch (error) {
        // The client comes back with the last id it saw, and is refused with a status if need be
        if (!ended && !isTransient(error))
          options.log({ level: 'error', message: 'an event stream broke off', error: (error as Error).stack });
        end(controller);
      }
    },
    cancel: () => end(),
  });
  return new Response(body, { headers: STREAM_HEADERS });
}

function format({ id, event, data }: RunEvent): string {
  // JSON has no line breaks of its own, so one data line holds it
  return `${id === null ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}
