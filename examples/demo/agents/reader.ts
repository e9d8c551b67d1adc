/** A reader of a thread's event stream over plain HTTP: it notes what arrives as it arrives, and puts nothing right. */
import { readEvents } from '../../../sdk/src/sse.ts';

export interface Seen {
  readonly id: number;
  readonly kind: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface Reader {
  readonly events: readonly Seen[];
  /** The first event for which this holds, of those that came and of those that come. */
  until(what: string, holds: (event: Seen) => boolean): Promise<Seen>;
  /** Closes the connection, as a lost network would. */
  cut(): void;
}

export interface StreamPlace {
  readonly api: string;
  readonly key: string;
  readonly thread: string;
}

const PATIENCE_MS = 120_000;
const SILENCE_MS = 45_000;

/** @param resume the id that was seen last, and the way in which the API is told */
export function readThread(
  { api, key, thread }: StreamPlace,
  resume?: { readonly by: 'Last-Event-ID' | 'after_event_id'; readonly after: number },
): Reader {
  const events: Seen[] = [];
  const waiting = new Set<{ holds: (event: Seen) => boolean; resolve: (event: Seen) => void; reject: (error: Error) => void }>();
  const connection = new AbortController();
  let failure: Error | undefined;
  const fail = (error: Error): void => {
    failure ??= error;
    for (const { reject } of waiting) reject(error);
  };
  read().catch((error: Error) => {
    if (!connection.signal.aborted) fail(error);
  });

  async function read(): Promise<void> {
    const query = resume?.by === 'after_event_id' ? `?after_event_id=${resume.after}` : '';
    const response = await fetch(`${api}/api/agent/threads/${encodeURIComponent(thread)}/events${query}`, {
      headers: { 'x-api-key': key, ...(resume?.by === 'Last-Event-ID' ? { 'last-event-id': String(resume.after) } : {}) },
      signal: connection.signal,
    });
    if (!response.ok || response.body === null) throw new Error(`the stream of the thread answered ${response.status}`);
    for await (const { id, event, data } of readEvents(response.body, SILENCE_MS)) {
      if (connection.signal.aborted) return;
      const seen: Seen = { id: Number(id), kind: event, data: JSON.parse(data) as Seen['data'] };
      events.push(seen);
      for (const waiter of waiting) {
        if (!waiter.holds(seen)) continue;
        waiting.delete(waiter);
        waiter.resolve(seen);
      }
      // what is still waited for will not come
      if (seen.data['status'] === 'failed_permanent') fail(new Error(`the turn of the agent failed: ${String(seen.data['error_text'])}`));
    }
  }

  return {
    events,
    async until(what, holds) {
      const before = events.find(holds);
      if (before !== undefined) return before;
      if (failure !== undefined) throw failure;
      const { promise, resolve, reject } = Promise.withResolvers<Seen>();
      waiting.add({ holds, resolve, reject });
      const timer = setTimeout(() => reject(new Error(`waited ${PATIENCE_MS / 1000} s for ${what}`)), PATIENCE_MS);
      return promise.finally(() => clearTimeout(timer));
    },
    cut: () => connection.abort(),
  };
}
