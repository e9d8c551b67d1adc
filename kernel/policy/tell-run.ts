import { type Queryable, uuidv7 } from '../store/index.ts';

/** How a question has ended. */
export interface Ended {
  readonly approval_id: string;
  readonly state: 'approved' | 'denied' | 'expired' | 'cancelled';
  readonly run_id: string | null;
  readonly reason: string | null;
  readonly voters: readonly { readonly name: string; readonly verdict: string }[];
  /** Where a person put them in place of those that it was asked with. */
  readonly edited?: { readonly args: unknown; readonly edited_by: string | null } | undefined;
}

/**
 * Sends the run that has asked its answer, as an event, in the transaction of the decision: who waits finds it, however late.
 * Events of this type are of the platform alone: nobody can emit one. The run is woken by the notification `centaur_approvals`, which
 * comes once this is committed.
 */
export async function tellRun(tx: Queryable, now: number, { approval_id, state, run_id, reason, voters, edited }: Ended): Promise<void> {
  if (run_id === null) return;
  const told = { verdict: state, approval_id, reason, voters, edited: edited !== undefined, ...edited };
  await tx.query(`insert into workflow_events (event_id, event_type, correlation_id, payload) values ($1, '$approval', $2, $3::json)`, [
    uuidv7(now),
    approval_id,
    JSON.stringify(told),
  ]);
}
