/**
 * Erasure as a job: a row says what is to go, and how much has gone. A process that dies leaves the row, and the next one goes
 * on; a turn that is live, or a hold that was placed meanwhile, makes it wait and say so.
 */
import { randomUUID } from 'node:crypto';
import { type AuditLog, erasePrivate } from '../audit/index.ts';
import { isUuid, type Queryable, type Store, type StoreLogEntry } from '../store/index.ts';
import { CareError } from './errors.ts';
import { eraseThread, erasePerson, refuseHeldIn, refuseLastAdminOf, RUNS_OF_THREADS, threadsOf } from './erase.ts';
import { refuseHeld } from './holds.ts';
import { namesOf, principalsOf } from './names.ts';
import { parseSubject, type Subject } from './subject.ts';

export interface ErasureView {
  readonly erasure_id: string;
  readonly subject: string;
  readonly state: 'running' | 'done';
  /** Rows that were deleted or emptied, by table. */
  readonly counts: Readonly<Record<string, number>>;
  /** Why it waits. */
  readonly problem: string | null;
  readonly requested_by: string;
  readonly created_at: string;
  readonly finished_at: string | null;
}

export interface CareParts {
  readonly store: Store;
  readonly audit: AuditLog;
  readonly log?: (entry: StoreLogEntry) => void;
}

/** What there is of the subject now, by table, and what would be in the way. Changes nothing. */
export interface ErasurePlan {
  readonly subject: string;
  readonly counts: Readonly<Record<string, number>>;
  /** Threads that would go as a whole. */
  readonly threads: readonly string[];
  /** Threads of several, in which what the person said would be emptied. */
  readonly shared: readonly string[];
  readonly in_the_way: readonly string[];
  /** What no erasure reaches. */
  readonly not_covered: readonly string[];
}

/** Class of the locks by which one process works at a job. */
const JOB_LOCKS = 7_226_032;

export const NOT_COVERED: readonly string[] = [
  'entries of the audit log: names, keys and ids in them stay, and what is private in them becomes unreadable',
  'backups and exports that were made before',
  'what tools wrote into other systems, and notes of the memory tool in a database of its own or shared by all threads',
  'what workflows kept elsewhere: tables of their own, and runs that were only told of the answer by another run',
];

/** @throws CareError INVALID_SUBJECT */
export async function planErasure(store: Store, text: string): Promise<ErasurePlan> {
  const subject = parseSubject(text);
  const names = subject.kind === 'user' ? await namesOf(store, subject.name) : undefined;
  const { own, shared } = names === undefined ? { own: [subject.text.slice('thread:'.length)], shared: [] } : await threadsOf(store, names);
  const counts: Record<string, number> = {};
  const add = async (what: string, sql: string, params: readonly unknown[]) => {
    const { rows } = await store.query<{ n: number }>(sql, params);
    if ((rows[0]?.n ?? 0) > 0) counts[what] = (counts[what] ?? 0) + (rows[0]?.n ?? 0);
  };
  for (const table of [
    'sandbox_sessions',
    'agent_message_requests',
    'agent_execution_requests',
    'agent_execution_events',
    'agent_execution_signals',
    'agent_final_delivery_outbox',
    'attachments',
    'session_snapshots',
  ])
    await add(table, `select count(*)::int as n from ${table} where thread_key = any($1::text[])`, [own]);
  await add('workflow_runs_finished', `select count(*)::int as n from workflow_runs_finished where run_id in (${RUNS_OF_THREADS})`, [own]);
  if (names !== undefined) {
    for (const table of ['agent_message_requests', 'agent_execution_requests', 'agent_execution_signals'])
      await add(table, `select count(*)::int as n from ${table} where thread_key = any($1::text[]) and user_id = any($2::text[])`, [
        shared,
        names,
      ]);
    await add('oauth_connections', 'select count(*)::int as n from oauth_connections where user_name = $1', [names[0]]);
    await add(
      'tool_calls',
      `select count(*)::int as n from tool_calls where principal = any($1::text[]) or split_part(principal, ' ', 2) = any($1::text[])`,
      [principalsOf(names)],
    );
  }
  const { rows: alive } = await store.query<{ execution_id: string; thread_key: string }>(
    'select execution_id, thread_key from agent_execution_requests where thread_key = any($1::text[]) and completed_at is null limit 100',
    [[...own, ...shared]],
  );
  const held = await store
    .transaction(async (tx) => {
      await refuseHeld(tx, subject);
      await refuseHeldIn(tx, own, shared);
    })
    .then(
      () => [],
      (error: unknown) => (error instanceof CareError ? [error.message] : Promise.reject(error as Error)),
    );
  return {
    subject: subject.text,
    counts,
    threads: own,
    shared,
    in_the_way: [
      ...held,
      ...alive.map(({ execution_id, thread_key }) => `the turn ${execution_id} of the thread ${JSON.stringify(thread_key)} has not ended`),
    ],
    not_covered: NOT_COVERED,
  };
}

/**
 * The job, begun; `runErasures` does it. One that runs already is answered as it is.
 *
 * @throws CareError INVALID_SUBJECT, HELD, TURN_LIVE, LAST_ADMIN; SUBJECT_NOT_FOUND for a thread of which there is nothing
 */
export async function beginErasure({ store, audit }: CareParts, actor: string, text: string): Promise<ErasureView> {
  const subject = parseSubject(text);
  const plan = await planErasure(store, text);
  const erasureId = randomUUID();
  return store.transaction(async (tx) => {
    await refuseHeld(tx, subject);
    await refuseHeldIn(tx, plan.threads, plan.shared);
    if (subject.kind === 'user') await refuseLastAdminOf(tx, subject.name);
    const { rows: running } = await tx.query<Row>(`select ${COLUMNS} from data_erasures where subject = $1 and state = 'running'`, [text]);
    if (running[0] !== undefined) return toView(running[0]);
    if (plan.in_the_way.length > 0)
      throw new CareError('TURN_LIVE', `${plan.in_the_way[0]}: cancel it, or wait for its end`, { in_the_way: plan.in_the_way });
    if (subject.kind === 'thread' && Object.keys(plan.counts).length === 0)
      throw new CareError('SUBJECT_NOT_FOUND', `there is nothing of ${JSON.stringify(text)}, or nothing any more`);
    const auditId = await audit.append(tx, {
      action: 'data.erase',
      actor,
      resource: text,
      details: { erasure_id: erasureId, found: plan.counts },
    });
    const { rows } = await tx.query<Row>(
      `insert into data_erasures (erasure_id, subject, requested_by, audit_id) values ($1, $2, $3, $4) returning ${COLUMNS}`,
      [erasureId, text, actor, auditId],
    );
    return toView(rows[0] as Row);
  });
}

/** Goes on with every job that nobody works at. Any process may call this as often as it likes. */
export async function runErasures(parts: CareParts): Promise<void> {
  const { rows } = await parts.store.query<{ erasure_id: string }>(
    `select erasure_id from data_erasures where state = 'running' order by created_at`,
  );
  const failures: Error[] = [];
  // one that is broken does not keep the later ones from their turn
  for (const { erasure_id } of rows) await runErasure(parts, erasure_id).catch((error: Error) => failures.push(error));
  if (failures[0] !== undefined) throw failures[0];
}

async function runErasure({ store, audit, log }: CareParts, erasureId: string): Promise<void> {
  // a session of its own, whose lock ends with the process
  const client = await store.connect('erasure');
  try {
    const { rows } = await client.query<{ mine: boolean }>('select pg_try_advisory_lock($1, hashtext($2)) as mine', [JOB_LOCKS, erasureId]);
    if (rows[0]?.mine !== true) return;
    const { rows: found } = await store.query<Row>(`select ${COLUMNS} from data_erasures where erasure_id = $1 and state = 'running'`, [
      erasureId,
    ]);
    if (found[0] === undefined) return;
    const { subject: text, requested_by: actor } = found[0];
    const count = async (tx: Queryable, what: string, n: number) => {
      await tx.query(
        `update data_erasures set updated_at = now(), problem = null, counts = (counts::jsonb || jsonb_build_object($2::text, coalesce((counts ->> $2)::int, 0) + $3::int))::json
         where erasure_id = $1`,
        [erasureId, what, n],
      );
    };
    const subject: Subject = parseSubject(text);
    if (subject.kind === 'thread') await eraseThread({ store, audit, actor, count }, subject);
    else await erasePerson({ store, audit, actor, count }, subject);
    await store.transaction(async (tx) => {
      const { rows: job } = await tx.query<Row>(
        `update data_erasures set state = 'done', finished_at = now(), updated_at = now(), problem = null where erasure_id = $1 and state = 'running' returning ${COLUMNS}`,
        [erasureId],
      );
      if (job[0] !== undefined)
        await audit.append(tx, {
          action: 'data.erased',
          actor,
          resource: text,
          details: { erasure_id: erasureId, erased: JSON.parse(job[0].counts) as unknown },
        });
    });
  } catch (error) {
    const problem = (error as Error).message;
    log?.({ level: 'warn', message: 'an erasure waits; trying again', erasure: erasureId, error: problem });
    await store.query('update data_erasures set problem = $2, updated_at = now() where erasure_id = $1', [erasureId, problem]);
    if (!(error instanceof CareError)) throw error;
  } finally {
    await client.end();
  }
}

/**
 * The key of what is private of a subject, and nothing else. Entries may be about other subjects than threads and people.
 *
 * @throws CareError HELD
 */
export async function eraseKey({ store, audit }: CareParts, actor: string, subject: string): Promise<boolean> {
  return store.transaction(async (tx) => {
    if (/^(?:thread|user):[^]/.test(subject)) await refuseHeld(tx, parseSubject(subject));
    return erasePrivate(tx, audit, actor, subject);
  });
}

/** @throws CareError ERASURE_NOT_FOUND */
export async function getErasure(store: Store, erasureId: string): Promise<ErasureView> {
  const { rows } = isUuid(erasureId)
    ? await store.query<Row>(`select ${COLUMNS} from data_erasures where erasure_id = $1`, [erasureId])
    : { rows: [] };
  if (rows[0] === undefined) throw new CareError('ERASURE_NOT_FOUND', `there is no erasure ${JSON.stringify(erasureId.slice(0, 100))}`);
  return toView(rows[0]);
}

/** Newest first. */
export async function listErasures(store: Store): Promise<readonly ErasureView[]> {
  const { rows } = await store.query<Row>(`select ${COLUMNS} from data_erasures order by created_at desc limit 200`);
  return rows.map(toView);
}

interface Row {
  readonly erasure_id: string;
  readonly subject: string;
  readonly state: 'running' | 'done';
  /** JSON. */
  readonly counts: string;
  readonly problem: string | null;
  readonly requested_by: string;
  readonly created_at: number;
  readonly finished_at: number | null;
}

const COLUMNS = 'erasure_id, subject, state, counts, problem, requested_by, created_at, finished_at';

function toView({ counts, created_at, finished_at, ...row }: Row): ErasureView {
  return {
    ...row,
    counts: JSON.parse(counts) as Record<string, number>,
    created_at: new Date(created_at).toISOString(),
    finished_at: finished_at === null ? null : new Date(finished_at).toISOString(),
  };
}
