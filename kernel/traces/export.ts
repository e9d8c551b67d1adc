/**
 * Sends spans to a receiver of OpenTelemetry, from the same rows that a trace is read from. One process at a time does it, from where the last one
 * had come to: that is stored when the receiver has taken what was before it. So a process that is killed, or a receiver that is away, loses
 * nothing; some spans are sent twice then, with the same ids.
 */
import type pg from 'pg';
import { setTimeout as pause } from 'node:timers/promises';
import type { Store, StoreLogEntry } from '../store/index.ts';
import { type TracedSpan, tracesRequest } from './otlp.ts';
import { type Cursor, endedRuns, newEntries } from './pending.ts';
import { type OtlpReceiver, type PostOutcome, postOtlp } from '../telemetry/post.ts';

export interface TraceExportOptions {
  readonly store: Store;
  readonly receiver: OtlpReceiver;
  /** Attributes of the resource. */
  readonly resource: Readonly<Record<string, string>>;
  /** Of this release. */
  readonly version: string;
  /** Of all traces, those that are exported: 0 to 1. */
  readonly ratio: number;
  /** Between two looks, ms. */
  readonly delayMs: number;
  /** Told of what became of each request. */
  readonly count?: (outcome: PostOutcome) => void;
  readonly log: (entry: StoreLogEntry) => void;
}

export interface TraceExport {
  readonly stats: () => { readonly exported: number; readonly dropped: number; readonly failures: number };
  close(): Promise<void>;
}

const LOCK = 7_226_022;
const NAME = 'otlp';
/** Spans of one request. */
const SPANS_MOST = 500;
const AGAIN_LEAST_MS = 1000;
const AGAIN_MOST_MS = 60_000;
/** After the first, failures of one kind are told of this seldom. */
const TOLD_MS = 60_000;

export function startTraceExport(options: TraceExportOptions): TraceExport {
  const { store, receiver, delayMs, log } = options;
  const closing = new AbortController();
  const stats = { exported: 0, dropped: 0, failures: 0 };
  let told = Number.NEGATIVE_INFINITY;
  const count = (outcome: PostOutcome) => options.count?.(outcome);
  const take = (trace: string) => isSampled(trace, options.ratio);
  const done = run();

  async function run(): Promise<void> {
    while (!closing.signal.aborted) {
      try {
        await whileMine(exportAll);
      } catch (error) {
        if (!closing.signal.aborted) complain('exporting traces failed; trying again', (error as Error).message);
      }
      await sleep(delayMs);
    }
  }

  /** The lock is that of a connection: whoever dies lets go of it. */
  async function whileMine(work: (isMine: () => boolean) => Promise<void>): Promise<void> {
    const client: pg.Client = await store.connect('traces');
    let ended = false;
    client.once('end', () => (ended = true));
    try {
      const { rows } = await client.query<{ mine: boolean }>('select pg_try_advisory_lock($1) as mine', [LOCK]);
      if (rows[0]?.mine === true) await work(() => !ended);
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  async function exportAll(isMine: () => boolean): Promise<void> {
    let cursor = await readCursor(store);
    while (!closing.signal.aborted && isMine()) {
      const before = cursor;
      let more = false;
      for await (const batch of endedRuns(store, cursor, take)) {
        await send(batch.spans, isMine);
        cursor = batch.cursor;
        ({ more } = batch);
      }
      const entries = await newEntries(store, cursor, take);
      await send(entries.spans, isMine);
      ({ cursor } = entries);
      if (JSON.stringify(cursor) !== JSON.stringify(before)) await writeCursor(store, cursor);
      if (!more && !entries.more) await sleep(delayMs);
    }
  }

  /** Returns when it is taken, or will never be. */
  async function send(spans: readonly TracedSpan[], isMine: () => boolean): Promise<void> {
    for (let from = 0; from < spans.length; from += SPANS_MOST) {
      const some = spans.slice(from, from + SPANS_MOST);
      const body = tracesRequest(some, options.resource, options.version);
      for (let waitMs = AGAIN_LEAST_MS; ; waitMs = Math.min(AGAIN_MOST_MS, waitMs * 2)) {
        if (closing.signal.aborted || !isMine()) throw new Error('another process goes on with it');
        const posted = await postOtlp(receiver, body, closing.signal);
        if (posted.outcome === 'taken') {
          stats.exported += some.length - posted.rejected;
          stats.dropped += posted.rejected;
          count(posted.rejected > 0 ? 'taken_in_part' : 'taken');
          if (posted.rejected > 0)
            complain('the receiver of traces rejected spans', posted.message ?? `${posted.rejected} of ${some.length}`);
          break;
        }
        if (posted.outcome === 'refused') {
          stats.dropped += some.length;
          count('refused');
          complain(`the receiver of traces refused ${some.length} spans, which are lost`, posted.message);
          break;
        }
        stats.failures += 1;
        count('again');
        complain('the receiver of traces takes nothing; trying again', posted.message);
        await sleep(Math.min(AGAIN_MOST_MS, posted.afterMs ?? waitMs));
      }
    }
  }

  function complain(message: string, error: string): void {
    if (performance.now() - told < TOLD_MS) return;
    told = performance.now();
    log({ level: 'warn', message, error });
  }

  async function sleep(ms: number): Promise<void> {
    await pause(ms, undefined, { signal: closing.signal, ref: false }).catch(() => undefined);
  }

  return {
    stats: () => ({ ...stats }),
    async close() {
      closing.abort();
      await done;
    },
  };
}

/** By the id's last 56 bits, which are random in every kind of id that is used here (W3C Trace Context, level 2). */
export function isSampled(trace: string, ratio: number): boolean {
  return Number(BigInt(`0x${trace.replaceAll('-', '').slice(-14)}`)) < ratio * 2 ** 56;
}

/** The first time, from now on: the past is not exported. */
async function readCursor(store: Store): Promise<Cursor> {
  const { rows } = await store.query<Cursor>(
    `with made as (insert into trace_exports (name, ended_at, run_id, audit_xid, audit_id)
       select $1, now() - interval '2 seconds', $2::uuid, audit_xmin(), $2::uuid on conflict do nothing returning *)
     select ended_at::text as "endedAt", run_id as "runId", audit_xid::text as "auditXid", audit_id as "auditId"
     from (select * from made union all select * from trace_exports where name = $1) e limit 1`,
    [NAME, '00000000-0000-0000-0000-000000000000'],
  );
  return rows[0] as Cursor;
}

async function writeCursor(store: Store, cursor: Cursor): Promise<void> {
  await store.query(
    `update trace_exports set ended_at = $2::timestamptz, run_id = $3::uuid, audit_xid = $4::text::xid8, audit_id = $5::uuid, updated_at = now()
     where name = $1`,
    [NAME, cursor.endedAt, cursor.runId, cursor.auditXid, cursor.auditId],
  );
}
