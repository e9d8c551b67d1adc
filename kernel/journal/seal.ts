/**
 * The sealer: reads the runs that have ended, in the order in which their ends committed, and commits to each of their
 * journals in the audit log, many runs to an entry.
 *
 * A round is one transaction: digests, entries and the place that it has come to commit together or not at all, so a
 * sealer that is killed has sealed all of a round, or nothing of it. Any process with the installation's keys seals; the row
 * of the cursor lets one at a time. It takes a fiftieth of one connection's time,
 * and a tenth once it is ten minutes behind, however much there is to do.
 */
import type { AuditLog } from '../audit/index.ts';
import { binary, type Queryable, type Store, type StoreLogEntry } from '../store/index.ts';
import { RUN_RECORD, rootOf, STEP_RECORD } from './digest.ts';

export interface JournalSealer {
  /** Seals all that can be sealed now. Answers how many runs. */
  seal(): Promise<number>;
  close(): Promise<void>;
}

export interface JournalSealerOptions {
  readonly store: Store;
  readonly audit: AuditLog;
  readonly log?: (entry: StoreLogEntry) => void;
  /** How often to look for runs that have ended, ms. Default 1,000. */
  readonly everyMs?: number;
  /** How long the end of a run must be past where a worker may not have heard of it yet, ms. Default 10,000. */
  readonly settleMs?: number;
}

/** What one sealed run is in the details of an entry. */
export interface SealedRun {
  readonly run_id: string;
  readonly workflow: string;
  readonly attempt: number;
  readonly status: string;
  readonly started_at: string | null;
  readonly ended_at: string;
  readonly steps: number;
  /** Of its journal, in hex. */
  readonly root: string;
  readonly trace_id?: string;
  /** Who asked for it, where that is known: by the API, or the run whose child it is. */
  readonly by?: string;
}

export const SEAL_ACTION = 'journal.seal';

/** Of one round; their steps may be many more. */
const RUNS_MOST = 100;
/** Bytes of one entry's runs: an entry may have 64 KiB. */
const ENTRY_MOST = 48 * 1024;
/** It rests so many times as long as it worked, so that runs do not notice; less when it has fallen behind by so much. */
const RESTS = { usual: 49, behind: 9 } as const;
const BEHIND_MS = 10 * 60_000;
const SETTLE_MS = 10_000;
const STATUS: Readonly<Record<string, string>> = { c: 'completed', f: 'failed', n: 'cancelled' };

export function createJournalSealer(options: JournalSealerOptions): JournalSealer {
  const everyMs = options.everyMs ?? 1000;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<unknown> = Promise.resolve();
  look(everyMs);

  function look(afterMs: number): void {
    if (closed) return;
    timer = setTimeout(() => void go(), afterMs);
    timer.unref();
  }

  async function go(): Promise<void> {
    const began = performance.now();
    let sealed: Round = NOTHING;
    try {
      sealed = await round();
    } catch (error) {
      if (!closed) options.log?.({ level: 'warn', message: 'sealing journals failed; trying again', error: (error as Error).message });
    }
    const rest = (performance.now() - began) * (sealed.behindMs > BEHIND_MS ? RESTS.behind : RESTS.usual);
    look(Math.max(sealed.runs < RUNS_MOST ? everyMs : 0, rest));
  }

  /** One after the other in this process. */
  function round(): Promise<Round> {
    const next = running.catch(() => undefined).then(() => (closed ? NOTHING : sealRound(options)));
    running = next;
    return next;
  }

  return {
    async seal() {
      let all = 0;
      for (;;) {
        const { runs } = await round();
        all += runs;
        if (runs < RUNS_MOST) return all;
      }
    },
    async close() {
      closed = true;
      clearTimeout(timer);
      await running.catch(() => undefined);
    },
  };
}

interface Round {
  readonly runs: number;
  /** How long ago the last of them had ended. */
  readonly behindMs: number;
}

const NOTHING: Round = { runs: 0, behindMs: 0 };

interface Ended {
  readonly run_id: string;
  readonly ended_xid: string;
  readonly workflow_name: string;
  readonly attempt: number;
  readonly status: string;
  readonly trace_id: string | null;
  readonly parent_run_id: string | null;
  readonly actor: string | null;
  readonly started_at: number | null;
  readonly ended_at: number;
  /** A worker that has not heard of this end may still add a row. */
  readonly unsettled: boolean;
  readonly head: Buffer;
  readonly members: Buffer | null;
  readonly names: string[] | null;
}

async function sealRound({ store, audit, settleMs = SETTLE_MS }: JournalSealerOptions): Promise<Round> {
  return store.transaction(async (tx) => {
    // whoever holds it is at it
    const { rows: cursor } = await tx.query<{ last_xid: string; last_run: string }>(
      'select last_xid::text as last_xid, last_run from journal_cursor for update skip locked',
    );
    const [from] = cursor;
    if (from === undefined) return NOTHING;
    const ended = await readEnded(tx, from, settleMs);
    const cut = ended.findIndex(({ unsettled }) => unsettled);
    const runs = cut < 0 ? ended : ended.slice(0, cut);
    const last = runs.at(-1);
    if (last === undefined) return NOTHING;
    for (const { entry, rows } of entriesOf(runs)) {
      const auditId = await audit.append(tx, { action: SEAL_ACTION, actor: 'system', resource: 'journals', details: { runs: entry } });
      await tx.query(
        `insert into journal_seals (run_id, attempt, audit_id, head, members, names)
         select u.run_id, u.attempt, $1, u.head, u.members, array(select json_array_elements_text(u.names))
         from unnest($2::uuid[], $3::smallint[], $4::bytea[], $5::bytea[], $6::json[]) u(run_id, attempt, head, members, names)
         on conflict do nothing`,
        [
          auditId,
          binary.uuidArray(rows.map((row) => row.run_id)),
          binary.int2Array(rows.map((row) => row.attempt)),
          binary.byteaArray(rows.map((row) => row.head)),
          binary.byteaArray(rows.map((row) => row.members ?? Buffer.alloc(0))),
          binary.jsonArray(rows.map((row) => JSON.stringify(row.names ?? []))),
        ],
      );
    }
    await tx.query('update journal_cursor set last_xid = $1::xid8, last_run = $2', [last.ended_xid, last.run_id]);
    return { runs: runs.length, behindMs: store.now() - last.ended_at };
  });
}

/** Only transactions older than every open one: none that is still to come can sort before the cursor. */
async function readEnded(
  tx: Queryable,
  from: { readonly last_xid: string; readonly last_run: string },
  settleMs: number,
): Promise<readonly Ended[]> {
  const { rows } = await tx.query<Ended>(
    `with next as materialized (
       select f.* from workflow_runs_finished f
       where f.ended_xid is not null and (f.ended_xid, f.run_id) > ($1::xid8, $2::uuid) and f.ended_xid < audit_xmin()
       order by f.ended_xid, f.run_id limit $3)
     select f.run_id, f.ended_xid::text as ended_xid, f.workflow_name, f.attempt::int, f.status::text as status, f.trace_id, f.parent_run_id,
       f.started_at, f.ended_at, f.started_by as actor,
       (f.status = 'n' or (f.status = 'f' and f.error->>'code' = 'ROW_REJECTED'))
         and f.ended_at > clock_timestamp() - make_interval(secs => $4) as unsettled,
       sha256(record_send(row(${RUN_RECORD}))) || sha256(record_send(row(f.input))) || sha256(record_send(row(f.result, f.error))) as head,
       j.members, j.names
     from next f
       left join lateral (
         select string_agg(int4send(s.seq) || sha256(record_send(row(${STEP_RECORD}))), '' order by s.seq) as members,
           array_agg(s.name order by s.seq) as names
         from workflow_steps s where s.run_id = f.run_id) j on true
     order by f.ended_xid, f.run_id`,
    [from.last_xid, from.last_run, RUNS_MOST, settleMs / 1000],
  );
  return rows;
}

/** As many runs to an entry as fit. */
function* entriesOf(runs: readonly Ended[]): Generator<{ readonly entry: readonly SealedRun[]; readonly rows: readonly Ended[] }> {
  let entry: SealedRun[] = [];
  let rows: Ended[] = [];
  let bytes = 0;
  for (const run of runs) {
    const sealed = sealedRun(run);
    const size = Buffer.byteLength(JSON.stringify(sealed)) + 1;
    if (bytes + size > ENTRY_MOST) {
      yield { entry, rows };
      entry = [];
      rows = [];
      bytes = 0;
    }
    entry.push(sealed);
    rows.push(run);
    bytes += size;
  }
  if (rows.length > 0) yield { entry, rows };
}

function sealedRun(run: Ended): SealedRun {
  const members = run.members ?? Buffer.alloc(0);
  const by = run.actor ?? (run.parent_run_id === null ? undefined : `run:${run.parent_run_id}`);
  return {
    run_id: run.run_id,
    workflow: run.workflow_name,
    attempt: run.attempt,
    status: STATUS[run.status] ?? run.status,
    started_at: run.started_at === null ? null : new Date(run.started_at).toISOString(),
    ended_at: new Date(run.ended_at).toISOString(),
    steps: run.names?.length ?? 0,
    root: rootOf(run.head, members).toString('hex'),
    trace_id: (run.trace_id ?? run.run_id).replaceAll('-', ''),
    ...(by === undefined ? {} : { by }),
  };
}
