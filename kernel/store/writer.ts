import type { Duplex } from 'node:stream';
import type pg from 'pg';
import { classifyFailure, sqlState } from './errors.ts';
import type { StoreLogEntry } from './store.ts';

/** One write waiting for its commit. `settle` is called exactly once: without an error after the commit. */
export interface PendingWrite {
  /**
   * Rows of one group are never separated by a poisoned row of another; order within a group is kept, and those that were
   * pushed right after one another share one statement.
   */
  readonly group: string;
  /** Rough size in bytes, for the limit of a batch. */
  readonly bytes: number;
  settle(error?: Error): void;
}

export interface WriterOptions<Write extends PendingWrite> {
  readonly connect: () => Promise<pg.Client>;
  /** Sends the batch as one statement and puts what it returns into the writes. */
  readonly flush: (client: pg.Client, batch: readonly Write[]) => Promise<void>;
  /** Whether a batch whose connection broke had committed. The whole batch shares one fate. */
  readonly committed: (client: pg.Client, batch: readonly Write[]) => Promise<boolean>;
  /** True for an error that ends every write to come, such as a lost fence. */
  readonly isFatal: (error: unknown) => boolean;
  readonly log: (entry: StoreLogEntry) => void;
  /** A flush that takes longer has lost its connection without a word: it is cut, and the batch sent by another one. Default: never. */
  readonly hangMs?: number;
  readonly maxRows?: number;
  readonly maxBytes?: number;
  /** Writes that may wait before `room` makes callers wait too. */
  readonly maxQueued?: number;
}

/**
 * The group-commit writer: one flush is in flight, and whatever arrives meanwhile forms the next batch. So a lone write
 * costs one commit, and under load the batches grow by themselves; there is no timer to tune.
 *
 * A connection that breaks under a flush leaves its commit unknown: the writer reconnects, asks, and only then resolves
 * or sends again. A batch that Postgres refuses is split until the guilty group stands alone; only that one fails.
 */
export interface Writer<Write extends PendingWrite> {
  push(write: Write): void;
  /** Resolves when the queue has room; callers that take work from outside wait here. */
  room(): Promise<void>;
  /** Resolves when everything pushed so far is settled. */
  idle(): Promise<void>;
  readonly stats: { flushes: number; writes: number };
  /** Those that are not committed yet. */
  readonly queued: number;
  close(): Promise<void>;
}

const END_MS = 1000;
const RETRY_MS = [10, 50, 100, 250, 500, 1000];

export function createWriter<Write extends PendingWrite>(options: WriterOptions<Write>): Writer<Write> {
  const maxRows = options.maxRows ?? 2000;
  const maxBytes = options.maxBytes ?? 4 * 1024 * 1024;
  const maxQueued = options.maxQueued ?? 20_000;
  const stats = { flushes: 0, writes: 0 };
  let queue: Write[] = [];
  let inFlight = 0;
  let client: pg.Client | undefined;
  let scheduled = false;
  let flushing = false;
  let fatal: Error | undefined;
  let closed = false;
  let waiters: (() => void)[] = [];

  function push(write: Write): void {
    if (fatal !== undefined || closed) {
      write.settle(fatal ?? new Error('the writer is closed'));
      return;
    }
    queue.push(write);
    schedule();
  }

  /** After all microtasks have run: everything that the same wake-up produces then shares one flush. */
  function schedule(): void {
    if (scheduled || flushing) return;
    scheduled = true;
    queueMicrotask(() =>
      process.nextTick(() => {
        scheduled = false;
        void drain();
      }),
    );
  }

  async function drain(): Promise<void> {
    if (flushing) return;
    flushing = true;
    while (queue.length > 0) {
      const batch = takeBatch();
      inFlight = batch.length;
      try {
        await commit(batch);
        settleAll(batch);
      } catch (error) {
        if (options.isFatal(error)) fatal = error as Error;
        settleAll(batch, error as Error);
      }
      inFlight = 0;
      if (fatal !== undefined) {
        const rest = queue;
        queue = [];
        settleAll(rest, fatal);
      }
      // what the settled writes lead to, in microtasks, joins the next batch
      await new Promise<void>((resolve) => queueMicrotask(() => process.nextTick(resolve)));
      release();
    }
    flushing = false;
    release();
  }

  function takeBatch(): Write[] {
    let rows = 0;
    let bytes = 0;
    while (rows < queue.length && rows < maxRows && (rows === 0 || bytes + (queue[rows]?.bytes ?? 0) <= maxBytes)) {
      bytes += queue[rows]?.bytes ?? 0;
      rows += 1;
    }
    // what one group pushed together commits together
    while (rows < queue.length && queue[rows]?.group === queue[rows - 1]?.group) rows += 1;
    if (rows === queue.length) {
      const all = queue;
      queue = [];
      return all;
    }
    return queue.splice(0, rows);
  }

  async function commit(batch: readonly Write[]): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      let on: pg.Client | undefined;
      try {
        on = client ?? (client = await open());
        await flush(on, batch);
        stats.flushes += 1;
        stats.writes += batch.length;
        return;
      } catch (error) {
        if (options.isFatal(error)) throw error;
        const failure = on === undefined ? 'retry' : classifyFailure(error);
        if (failure === 'rejected') return splitOrReject(batch, error as Error);
        if (closed) throw error;
        // a server that only reads may have handed over to another one, which only a new connection finds
        if (on === undefined || failure === 'ambiguous' || sqlState(error) === '25006') drop();
        if (attempt === 0)
          options.log({ level: 'warn', message: 'a flush failed and is tried again', error: (error as Error).message, failure });
        await delay(attempt);
        if (failure === 'ambiguous' && (await askUntilKnown(batch))) return;
      }
    }
  }

  async function flush(on: pg.Client, batch: readonly Write[]): Promise<void> {
    const hung = options.hangMs === undefined ? undefined : setTimeout(() => cut(on), options.hangMs);
    try {
      await options.flush(on, batch);
    } finally {
      clearTimeout(hung);
    }
  }

  /** Asks the server, as often as it takes to get an answer, whether the batch had committed. */
  async function askUntilKnown(batch: readonly Write[]): Promise<boolean> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await options.committed((client ??= await open()), batch);
      } catch (error) {
        if (options.isFatal(error) || closed) throw error;
        drop();
        await delay(attempt);
      }
    }
  }

  async function splitOrReject(batch: readonly Write[], error: Error): Promise<void> {
    const groups = new Set(batch.map((write) => write.group));
    if (groups.size === 1) {
      options.log({ level: 'error', message: 'Postgres refused a write', group: batch[0]?.group, error: error.message });
      for (const write of batch) write.settle(error);
      for (const write of batch) settled.add(write);
      return;
    }
    const half = new Set([...groups].slice(0, Math.ceil(groups.size / 2)));
    await commit(batch.filter((write) => half.has(write.group)));
    await commit(batch.filter((write) => !half.has(write.group)));
  }

  const settled = new WeakSet<Write>();

  function settleAll(batch: readonly Write[], error?: Error): void {
    for (const write of batch) if (!settled.has(write)) write.settle(error);
  }

  async function open(): Promise<pg.Client> {
    if (closed) throw new Error('the writer is closed');
    const opened = await options.connect();
    if (!closed) return opened;
    // closed while it connected: nobody else would end it
    await end(opened);
    throw new Error('the writer is closed');
  }

  function drop(): void {
    const broken = client;
    client = undefined;
    void broken?.end().catch(() => {});
  }

  function release(): void {
    if (waiters.length === 0 || queue.length >= maxQueued) return;
    const ready = waiters;
    waiters = [];
    for (const resolve of ready) resolve();
  }

  async function room(): Promise<void> {
    while (queue.length >= maxQueued && fatal === undefined) await new Promise<void>((resolve) => waiters.push(resolve));
  }

  return {
    push,
    room,
    stats,
    get queued() {
      return queue.length + inFlight;
    },
    async idle() {
      while (queue.length > 0 || flushing || scheduled) await new Promise<void>((resolve) => setTimeout(resolve, 2));
    },
    async close() {
      closed = true;
      if (client !== undefined) await end(client);
    },
  };
}

/** A server that does not answer any more would keep whoever closes for ever. */
async function end(client: pg.Client): Promise<void> {
  const late = setTimeout(() => cut(client), END_MS);
  await client.end().catch(() => {});
  clearTimeout(late);
}

function cut(client: pg.Client): void {
  const { connection } = client as unknown as { readonly connection?: { readonly stream: Duplex } };
  connection?.stream.destroy();
}

function delay(attempt: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)]));
}
