/**
 * Reading a thread's stream: what was missed, then what comes, in order and without gaps.
 *
 * All readers of a thread in this process share one look at the database for each notification, and the frames that they
 * get are the same bytes: a thousand of them cost little more than one.
 */
import type { Store } from '../store/index.ts';

/** A part of the stream as it is sent: whole events, already in the form of server-sent events. */
export interface Frames {
  readonly bytes: Uint8Array;
  /** Id of the last event in it. */
  readonly last: number;
}

export interface Tails {
  /**
   * Ends when the signal aborts, or with the terminal event of `executionId`.
   *
   * @param after id of the last event that the reader has seen
   */
  follow(
    threadKey: string,
    after: number,
    options: { readonly executionId?: string | undefined; readonly signal: AbortSignal },
  ): AsyncGenerator<Frames>;
  readonly readers: number;
  /** A commit of this process or another appended to the thread. */
  touched(threadKey: string, last: number): void;
  /** Notifications may have been lost: every reader looks. */
  lookAll(): void;
}

const PAGE = 1000;
/** Of one page, unless its first event is longer: what agents say can be large. */
const PAGE_BYTES = 4 * 1024 * 1024;
/** Looking without being told: notifications are hints. */
const POLL_MS = 5000;

/**
 * One row per page, made to frames by Postgres: parsing each event here would cost ten times as much. Ids have no gaps, so a
 * page is a range of them: no plan, however little the planner knows, visits more rows than that.
 */
const READ = `select coalesce(max(event_id), 0) as last, count(*)::int as events, coalesce(max(found), 0)::int as found,
    coalesce(bool_or(case when event_kind = 'execution_state' and mine
      then event_json->>'status' in ('completed', 'failed_permanent', 'cancelled') end), false) as over,
    string_agg('id: ' || event_id || e'\\nevent: ' || event_kind || e'\\ndata: ' || event_json::text || e'\\n\\n', '' order by event_id)
      filter (where mine) as frames
  from (select event_id, event_kind, event_json, $3::uuid is null or execution_id is not distinct from $3::uuid as mine,
      count(*) over () as found, row_number() over (order by event_id rows unbounded preceding) as n,
      -- to take the length of what is small costs more than to send it
      sum(case when pg_column_size(event_json) < 600 then 600 else octet_length(event_json::text) end)
        over (order by event_id rows unbounded preceding) as bytes
    from (select event_id, event_kind, event_json, execution_id from agent_execution_events
      where thread_key = $1 and event_id > $2::bigint and event_id <= $2::bigint + ${PAGE} order by event_id) few) sized
  where n = 1 or bytes <= ${PAGE_BYTES}`;

interface ReadPage extends Frames {
  /** There may be more. */
  readonly full: boolean;
  /** It has the last event of a turn in it. */
  readonly over: boolean;
}

interface Hub {
  readonly threadKey: string;
  readers: number;
  /** Id of the newest event that is known to be committed. */
  last: number;
  /** Grows with each reason to look. */
  news: number;
  /** Reads under way, by what they read: readers at the same place share one. */
  readonly reads: Map<string, Promise<ReadPage>>;
  readonly waiting: Set<() => void>;
}

export function createTails(store: Store): Tails {
  const hubs = new Map<string, Hub>();
  let readers = 0;

  function wake(hub: Hub): void {
    for (const resolve of hub.waiting) resolve();
  }

  function read(hub: Hub, after: number, executionId: string | undefined): Promise<ReadPage> {
    // one that began before the newest event was known may lack it
    const key = `${hub.news} ${after} ${executionId ?? ''}`;
    let reading = hub.reads.get(key);
    if (reading === undefined) {
      reading = readPage(store, hub.threadKey, after, executionId).finally(() => hub.reads.delete(key));
      hub.reads.set(key, reading);
    }
    return reading;
  }

  return {
    get readers() {
      return readers;
    },
    touched(threadKey, last) {
      const hub = hubs.get(threadKey);
      if (hub === undefined || last <= hub.last) return;
      hub.last = last;
      hub.news += 1;
      wake(hub);
    },
    lookAll() {
      for (const hub of hubs.values()) {
        hub.news += 1;
        wake(hub);
      }
    },
    async *follow(threadKey, after, { executionId, signal }) {
      let hub = hubs.get(threadKey);
      if (hub === undefined) hubs.set(threadKey, (hub = { threadKey, readers: 0, last: 0, news: 0, reads: new Map(), waiting: new Set() }));
      hub.readers += 1;
      readers += 1;
      let cursor = after;
      try {
        // asked first: all its events are then surely read
        let over = executionId !== undefined && (await isOver(store, threadKey, executionId));
        while (!signal.aborted) {
          const seen = hub.news;
          for (let full = true; full && !signal.aborted;) {
            const page = await read(hub, cursor, executionId);
            full = page.full;
            if (page.last > cursor) {
              cursor = page.last;
              over ||= executionId !== undefined && page.over;
              // of another turn
              if (page.bytes.length > 0) yield page;
            }
          }
          if (over) return;
          await pause(hub, seen, signal);
        }
      } finally {
        hub.readers -= 1;
        readers -= 1;
        if (hub.readers === 0) hubs.delete(threadKey);
      }
    },
  };
}

/** Until there is more reason to look than at `seen`, or it is time to look anyway. */
function pause(hub: Hub, seen: number, signal: AbortSignal): Promise<void> {
  if (hub.news !== seen || signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      hub.waiting.delete(done);
      resolve();
    };
    const timer = setTimeout(done, POLL_MS);
    hub.waiting.add(done);
    signal.addEventListener('abort', done, { once: true });
  });
}

async function readPage(store: Store, threadKey: string, after: number, executionId: string | undefined): Promise<ReadPage> {
  const { rows } = await store.query<{ last: number; events: number; found: number; over: boolean; frames: string | null }>(READ, [
    threadKey,
    after,
    executionId ?? null,
  ]);
  const [row] = rows;
  const { last = 0, frames = null, found = 0, events = 0, over = false } = row ?? {};
  return { last, bytes: Buffer.from(frames ?? ''), full: found === PAGE || found > events, over };
}

async function isOver(store: Store, threadKey: string, executionId: string): Promise<boolean> {
  const { rows } = await store.query<{ over: boolean }>(
    'select completed_at is not null as over from agent_execution_requests where thread_key = $1 and execution_id = $2',
    [threadKey, executionId],
  );
  return rows[0]?.over === true;
}
