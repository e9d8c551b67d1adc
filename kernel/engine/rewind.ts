import type { Queryable } from '../store/index.ts';

/**
 * Takes back the end of a run's history, so that its next attempt repeats the step that failed and keeps what came
 * before it. Without `seq` the last failed step is meant; without any failed step the history stays whole.
 *
 * Rows that were stored before their outcome was known (waits, patch marks) have no ord. One that was called after the
 * failure has a higher seq than everything kept, so it goes; one from before stays, with its deadline.
 *
 * @returns ids of approvals that calls which went have waited for
 */
export async function rewindForRetry(tx: Queryable, runId: string, seq: number | null): Promise<readonly string[]> {
  const { rows } = await tx.query<{ seq: number; ord: number }>(
    `select seq, ord from workflow_steps
     where run_id = $1 and ord is not null and status in ('e', 't') and ($2::int is null or seq = $2)
     order by ord desc limit 1`,
    [runId, seq],
  );
  const from = rows[0];
  return from === undefined ? [] : cutHistory(tx, runId, from.ord, from.seq);
}

/** Removes every outcome from position `ord` on, and what was called after it. */
async function cutHistory(tx: Queryable, runId: string, ord: number, seq: number): Promise<readonly string[]> {
  const { rows } = await tx.query<{ approval: string | null }>(
    `delete from workflow_steps where run_id = $1 and (ord >= $2 or (ord is null and seq >= greatest($3, (
       select coalesce(max(seq), 0) from workflow_steps where run_id = $1 and ord < $2))))
     returning case when status = 'p' then detail->>'approval_id' end as approval`,
    [runId, ord, seq],
  );
  await tx.query(
    `delete from workflow_waits w where run_id = $1 and not exists (
       select from workflow_steps s where s.run_id = $1 and s.seq = w.seq and s.status = 'p')`,
    [runId],
  );
  return rows.flatMap(({ approval }) => approval ?? []);
}

/** Copies the history before a step to another run. What waits for a person is left out: the other run asks for itself. */
export async function copyHistory(tx: Queryable, from: string, to: string, ord: number, seq: number): Promise<void> {
  await tx.query(
    `insert into workflow_steps (run_id, seq, ord, attempt, attempts, kind, status, name, outcome, detail, wake_at, started_at, ended_at)
     select $2, seq, ord, 1, attempts, kind, status, name, outcome, detail, wake_at, started_at, ended_at
     from workflow_steps
     where run_id = $1 and (status <> 'p' or detail->>'approval_id' is null) and (ord < $3 or (ord is null and seq < greatest($4, (
       select coalesce(max(seq), 0) from workflow_steps where run_id = $1 and ord < $3))))`,
    [from, to, ord, seq],
  );
  await tx.query(
    `insert into workflow_waits (run_id, seq, event_type, correlation_id)
     select $1, seq, coalesce(detail->>'event_type', '$run'), coalesce(detail->>'correlation_id', detail->>'run_id')
     from workflow_steps where run_id = $1 and status = 'p' and kind in ('e', 'w')`,
    [to],
  );
}
