/** Legal holds: while one stands, what is of its subject is neither pruned nor erased. */
import type { AuditLog } from '../audit/index.ts';
import { isUuid, type Queryable, type Store, uuidv7 } from '../store/index.ts';
import { CareError } from './errors.ts';
import { namesOf } from './names.ts';
import { parseSubject, type Subject } from './subject.ts';

export interface HoldView {
  readonly hold_id: string;
  readonly subject: string;
  readonly reason: string;
  readonly created_by: string;
  readonly created_at: string;
  readonly released_at: string | null;
}

interface Parts {
  readonly store: Store;
  readonly audit: AuditLog;
}

/** That of `lock_holds()`, which whatever deletes shares. */
const HOLD_LOCK = 7_226_031;

/** @throws CareError INVALID_SUBJECT */
export async function placeHold({ store, audit }: Parts, actor: string, subject: string, reason: string): Promise<HoldView> {
  const { text } = parseSubject(subject);
  const holdId = uuidv7(store.now());
  await store.transaction(async (tx) => {
    // waits for deletions that are under way, a batch each
    await tx.query('select pg_advisory_xact_lock($1)', [HOLD_LOCK]);
    const auditId = await audit.append(tx, { action: 'data.hold', actor, resource: text, details: { hold_id: holdId, reason } });
    await tx.query('insert into data_holds (hold_id, subject, reason, created_by, audit_id) values ($1, $2, $3, $4, $5)', [
      holdId,
      text,
      reason,
      actor,
      auditId,
    ]);
  });
  return (await readHold(store, holdId)) as HoldView;
}

/** Releasing twice changes nothing. @throws CareError HOLD_NOT_FOUND */
export async function releaseHold({ store, audit }: Parts, actor: string, holdId: string): Promise<HoldView> {
  const hold = isUuid(holdId) ? await readHold(store, holdId) : undefined;
  if (hold === undefined) throw new CareError('HOLD_NOT_FOUND', `there is no hold ${JSON.stringify(holdId.slice(0, 100))}`);
  await store.transaction(async (tx) => {
    const { rowCount } = await tx.query('select 1 from data_holds where hold_id = $1 and released_at is null for update', [holdId]);
    if (rowCount === 0) return;
    const auditId = await audit.append(tx, { action: 'data.release', actor, resource: hold.subject, details: { hold_id: holdId } });
    await tx.query('update data_holds set released_at = now(), released_audit_id = $2 where hold_id = $1', [holdId, auditId]);
  });
  return (await readHold(store, holdId)) as HoldView;
}

/** Newest first. */
export async function listHolds(store: Store, which: 'standing' | 'all'): Promise<readonly HoldView[]> {
  const { rows } = await store.query<Row>(
    `select ${COLUMNS} from data_holds where $1 = 'all' or released_at is null order by hold_id desc limit 1000`,
    [which],
  );
  return rows.map(toView);
}

/**
 * Keeps holds from being placed until the transaction ends; whoever deletes asks first.
 *
 * @throws CareError HELD
 */
export async function refuseHeld(tx: Queryable, subject: Subject): Promise<void> {
  await tx.query('select lock_holds()');
  const { rows } = await tx.query<{ hold_id: string; reason: string }>(
    `select hold_id, reason from data_holds where released_at is null
       and (subject = $1 or ($2::text is not null and hold_id in (select n.hold_id from held_names n where n.name in (
         select m.user_id from agent_message_requests m where m.thread_key = $2
         union select e.user_id from agent_execution_requests e where e.thread_key = $2
         union select s.user_id from agent_execution_signals s where s.thread_key = $2)))
       or ($3::text[] is not null and substr(subject, 8) in (
         select m.thread_key from agent_message_requests m where m.user_id = any($3)
         union select e.thread_key from agent_execution_requests e where e.user_id = any($3)
         union select s.thread_key from agent_execution_signals s where s.user_id = any($3)) and subject like 'thread:%')) limit 1`,
    [subject.text, subject.kind === 'thread' ? subject.key : null, subject.kind === 'user' ? await namesOf(tx, subject.name) : null],
  );
  const [hold] = rows;
  if (hold !== undefined)
    throw new CareError('HELD', `a legal hold keeps it (${hold.reason}): it is not erased before the hold is released`, {
      hold_id: hold.hold_id,
    });
}

/** The same for threads and runs by themselves: somebody else's hold may keep them. @throws CareError HELD */
export async function refuseHeldParts(tx: Queryable, { threads = [], runs = [] }: HeldParts): Promise<void> {
  await tx.query('select lock_holds()');
  const { rows } = await tx.query<{ what: string }>(
    `select 'the thread ' || thread_key as what from held_threads where thread_key = any($1::text[])
     union all select 'the run ' || run_id from held_runs where run_id = any($2::uuid[]) limit 1`,
    [threads, runs],
  );
  if (rows[0] !== undefined)
    throw new CareError('HELD', `a legal hold keeps ${rows[0].what}: it is not erased before the hold is released`);
}

interface HeldParts {
  readonly threads?: readonly string[];
  readonly runs?: readonly string[];
}

interface Row {
  readonly hold_id: string;
  readonly subject: string;
  readonly reason: string;
  readonly created_by: string;
  readonly created_at: number;
  readonly released_at: number | null;
}

const COLUMNS = 'hold_id, subject, reason, created_by, created_at, released_at';

async function readHold(store: Store, holdId: string): Promise<HoldView | undefined> {
  const { rows } = await store.query<Row>(`select ${COLUMNS} from data_holds where hold_id = $1`, [holdId]);
  return rows[0] === undefined ? undefined : toView(rows[0]);
}

function toView({ created_at, released_at, ...row }: Row): HoldView {
  return {
    ...row,
    created_at: new Date(created_at).toISOString(),
    released_at: released_at === null ? null : new Date(released_at).toISOString(),
  };
}
