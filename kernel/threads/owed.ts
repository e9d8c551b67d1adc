/** What a turn owes to the platform that asked for it: from its beginning, so that somebody may show it while it runs, to its end. */
import type { Queryable } from '../store/index.ts';
import type { TurnOwner } from './events.ts';
import type { ExecutionStatus, NewEvent, TerminalReason } from './types.ts';

/** Tells the platform's name when an answer may be claimed. */
export const DELIVERIES_CHANNEL = 'centaur_deliveries';

type Owner = Pick<TurnOwner, 'threadKey' | 'executionId'>;

interface Place {
  /** `dev`: nobody is owed anything. */
  readonly platform: string;
  /** JSON, as the client gave it. */
  readonly delivery: string;
}

interface End {
  readonly status: ExecutionStatus;
  readonly reason: TerminalReason;
  readonly text: string;
  readonly errorText: string | null;
}

export async function openDelivery(tx: Queryable, { threadKey, executionId }: Owner, { platform, delivery }: Place): Promise<void> {
  if (platform === 'dev') return;
  await tx.query(
    `insert into agent_final_delivery_outbox (thread_key, execution_id, platform, delivery, state, final_payload) values ($1, $2, $3, $4, 'live', 'null')`,
    [threadKey, executionId, platform, delivery],
  );
  await tx.query(`select pg_notify('${DELIVERIES_CHANNEL}', $1)`, [platform]);
}

/** The turn has ended. Whoever has shown it so far keeps it. Answers the events that say so. */
export async function oweDelivery(
  tx: Queryable,
  { threadKey, executionId }: Owner,
  { platform, delivery }: Place,
  end: End,
): Promise<readonly NewEvent[]> {
  if (platform === 'dev') return [];
  const payload = {
    type: 'final_delivery.ready',
    execution_id: executionId,
    thread_key: threadKey,
    status: end.status,
    terminal_reason: end.reason,
    result_text: end.text,
    ...(end.errorText === null ? {} : { error_text: end.errorText }),
  };
  // one that was accepted by an earlier release has no row yet
  await tx.query(
    `insert into agent_final_delivery_outbox as o (thread_key, execution_id, platform, delivery, final_payload) values ($1, $2, $3, $4, $5)
     on conflict (thread_key, execution_id) do update set final_payload = excluded.final_payload, next_attempt_at = now(), updated_at = now(),
       state = case when o.lease_expires_at > now() then 'sending' else 'pending' end,
       attempt_count = case when o.lease_expires_at > now() then 1 else 0 end`,
    [threadKey, executionId, platform, delivery, JSON.stringify(payload)],
  );
  await tx.query(`select pg_notify('${DELIVERIES_CHANNEL}', $1)`, [platform]);
  return [{ kind: 'final_delivery_ready', data: payload }];
}
