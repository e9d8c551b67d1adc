/** Appending to a thread's stream: in somebody's transaction, or from a turn through the group-commit writer. */
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import {
  binary,
  createWriter,
  lookUp,
  type PendingWrite,
  type Queryable,
  statementName,
  type Store,
  type StoreLogEntry,
} from '../store/index.ts';
import { ThreadError } from './errors.ts';
import type { NewEvent } from './types.ts';

const { int4Array, int8Array, textArray, jsonArray, uuidArray } = binary;

/** Notified with the thread's key after each commit that appended to it. */
export const EVENTS_CHANNEL = 'centaur_thread_events';

/** Who appends, for a turn: the run that runs it. */
export interface TurnOwner {
  readonly threadKey: string;
  readonly executionId: string;
  readonly runId: string;
  /** The life of the worker in which the turn was begun. Default: the present one. */
  readonly workerId?: number | null | undefined;
}

export interface EventLog {
  /**
   * By a turn; resolves when committed. Batches of one turn commit in the order in which they were given.
   *
   * @param logOffset how much of the sandbox's output these events tell of: stored with them, or not at all
   * @throws ThreadError TURN_TAKEN_OVER when the run is no longer this worker's
   */
  append(owner: TurnOwner, events: readonly NewEvent[], logOffset?: number): Promise<void>;
  readonly queued: number;
  idle(): Promise<void>;
  close(): Promise<void>;
}

export interface EventLogOptions {
  readonly store: Store;
  readonly workerId: () => number | null;
  readonly log: (entry: StoreLogEntry) => void;
}

interface Pending extends PendingWrite {
  readonly owner: TurnOwner;
  readonly workerId: number;
  readonly events: readonly { readonly kind: string; readonly json: string }[];
  readonly logOffset: number | null;
  /** Its worker's life was still going on when it was last sent. */
  sent: boolean;
  /** Said by the flush: the run was no longer ours. */
  refused: boolean;
}

/**
 * The thread's row is locked from here to the commit: that is what makes ids gap-free and visible in order. The run's row
 * is found to be ours under a lock that a takeover waits for.
 */
const APPEND = `with me as (select worker_id from workers where worker_id = $1 and not dead for key share),
  owned as (select u.thread_key, u.events, u.append_id, u.log_offset
    from unnest($2::text[], $3::uuid[], $4::int[], $5::uuid[], $6::bigint[]) u(thread_key, run_id, events, append_id, log_offset)
    join workflow_runs r on ${lookUp('r.run_id', 'u.run_id')}, me where r.owner = me.worker_id for key share of r),
  bumped as (update sandbox_sessions s set last_event = s.last_event + o.events, last_append = o.append_id,
      log_offset = coalesce(o.log_offset, s.log_offset), updated_at = now()
    from owned o where s.thread_key = o.thread_key returning s.thread_key, s.last_event - o.events as base, s.last_event as last),
  added as (insert into agent_execution_events (thread_key, event_id, execution_id, event_kind, event_json)
    select b.thread_key, b.base + e.n, e.execution_id, e.kind, e.event
    from unnest($7::text[], $8::int[], $9::uuid[], $10::text[], $11::json[]) e(thread_key, n, execution_id, kind, event)
    join bumped b on b.thread_key = e.thread_key)
  select thread_key, pg_notify('${EVENTS_CHANNEL}', last || ' ' || thread_key) from bumped`;

export function createEventLog({ store, workerId, log }: EventLogOptions): EventLog {
  const writer = createWriter<Pending>({
    connect: () => store.connect('thread events'),
    flush,
    committed,
    isFatal: () => false,
    log,
  });

  async function flush(client: pg.Client, batch: readonly Pending[]): Promise<void> {
    const me = workerId() ?? -1;
    for (const write of batch) write.sent = write.workerId === me;
    const threads = merge(batch);
    const events = threads.flatMap((thread) => thread.events.map((event, i) => ({ ...event, thread, n: i + 1 })));
    const { rows } = await client.query<{ thread_key: string }>({
      name: statementName(APPEND),
      text: APPEND,
      values: [
        me,
        textArray(threads.map(({ owner }) => owner.threadKey)),
        uuidArray(threads.map(({ owner }) => owner.runId)),
        int4Array(threads.map((thread) => thread.events.length)),
        uuidArray(threads.map(({ appendId }) => appendId)),
        int8Array(threads.map(({ logOffset }) => logOffset)),
        textArray(events.map(({ thread }) => thread.owner.threadKey)),
        int4Array(events.map(({ n }) => n)),
        uuidArray(events.map(({ executionId }) => executionId)),
        textArray(events.map(({ kind }) => kind)),
        jsonArray(events.map(({ json }) => json)),
      ],
    });
    tell(batch, rows);
  }

  /** The whole batch shares one fate, so one of its threads tells; a thread that is not there was refused. */
  async function committed(client: pg.Client, batch: readonly Pending[]): Promise<boolean> {
    const threads = merge(batch);
    const { rows } = await client.query<{ thread_key: string }>(
      `select s.thread_key from unnest($1::text[], $2::uuid[]) u(thread_key, append_id)
       join sandbox_sessions s on s.thread_key = u.thread_key and s.last_append = u.append_id`,
      [threads.map(({ owner }) => owner.threadKey), threads.map(({ appendId }) => appendId)],
    );
    if (rows.length > 0) tell(batch, rows);
    return rows.length > 0;
  }

  function tell(batch: readonly Pending[], rows: readonly { readonly thread_key: string }[]): void {
    const appended = new Set(rows.map((row) => row.thread_key));
    for (const write of batch) write.refused = !write.sent || !appended.has(write.owner.threadKey);
  }

  return {
    async append(owner, events, logOffset) {
      if (events.length === 0 && logOffset === undefined) return;
      const texts = events.map(({ kind, data }) => ({ kind, json: JSON.stringify(data) }));
      await new Promise<void>((resolve, reject) => {
        const write: Pending = {
          owner,
          workerId: owner.workerId ?? workerId() ?? -1,
          sent: false,
          events: texts,
          logOffset: logOffset ?? null,
          refused: false,
          group: owner.threadKey,
          bytes: texts.reduce((bytes, { json }) => bytes + json.length + 100, 200),
          settle(error) {
            if (error !== undefined) reject(error);
            else if (write.refused) reject(new ThreadError('TURN_TAKEN_OVER', 'another worker has taken this turn over'));
            else resolve();
          },
        };
        writer.push(write);
      });
    },
    get queued() {
      return writer.queued;
    },
    idle: () => writer.idle(),
    close: () => writer.close(),
  };
}

interface Merged {
  readonly owner: TurnOwner;
  readonly appendId: string;
  readonly events: { readonly executionId: string; readonly kind: string; readonly json: string }[];
  logOffset: number | null;
}

/** Ids of what a batch appended, the same each time it is sent. */
const appendIds = new WeakMap<Pending, string>();

/** One entry per thread: a statement may update a row once. */
function merge(batch: readonly Pending[]): Merged[] {
  const threads = new Map<string, Merged>();
  for (const write of batch) {
    if (!write.sent) continue;
    let appendId = appendIds.get(write);
    if (appendId === undefined) appendIds.set(write, (appendId = randomUUID()));
    let merged = threads.get(write.owner.threadKey);
    if (merged === undefined) threads.set(write.owner.threadKey, (merged = { owner: write.owner, appendId, events: [], logOffset: null }));
    for (const event of write.events) merged.events.push({ ...event, executionId: write.owner.executionId });
    if (write.logOffset !== null) merged.logOffset = write.logOffset;
  }
  return [...threads.values()];
}

/**
 * In the caller's transaction, in which it holds the thread's row, or takes it here.
 *
 * @returns the id of the last event
 */
export async function appendIn(tx: Queryable, threadKey: string, executionId: string | null, events: readonly NewEvent[]): Promise<number> {
  const { rows } = await tx.query<{ last: number }>(
    `with bumped as (update sandbox_sessions set last_event = last_event + $3, updated_at = now() where thread_key = $1 returning last_event),
     added as (insert into agent_execution_events (thread_key, event_id, execution_id, event_kind, event_json)
       select $1, b.last_event - $3 + e.n, $2, e.kind, e.event
       from unnest($4::text[], $5::json[]) with ordinality e(kind, event, n), bumped b)
     select last_event as last, pg_notify('${EVENTS_CHANNEL}', last_event || ' ' || $1) from bumped`,
    [threadKey, executionId, events.length, events.map(({ kind }) => kind), events.map(({ data }) => JSON.stringify(data))],
  );
  return rows[0]?.last ?? 0;
}
