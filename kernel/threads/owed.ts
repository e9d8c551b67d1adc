/** What a turn owes to the platform that asked for it: from its beginning, so that somebody may show it while it runs, to its end. */
import type { Queryable, Store } from '../store/index.ts';
import { appendIn, type TurnOwner } from './events.ts';
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
  // it takes the place of the row that is live, with the lease and the progress of whoever has that: see the trigger
  await tx.query(
    'insert into agent_final_delivery_outbox (thread_key, execution_id, platform, delivery, final_payload) values ($1, $2, $3, $4, $5)',
    [threadKey, executionId, platform, delivery, JSON.stringify(payload)],
  );
  await tx.query(`select pg_notify('${DELIVERIES_CHANNEL}', $1)`, [platform]);
  return [{ kind: 'final_delivery_ready', data: payload }];
}

/**
 * Answers of turns that are over and were ended by a process that knows of no live answers: they are owed now. Each in a
 * transaction of its own, under the lock of its thread.
 */
export async function oweForgotten(store: Store): Promise<number> {
  const { rows } = await store.query<{ thread_key: string; execution_id: string }>(
    `select o.thread_key, o.execution_id from agent_final_delivery_outbox o join agent_execution_requests e using (thread_key, execution_id)
     where o.state = 'live' and e.completed_at < now() - interval '5 seconds' limit 100`,
  );
  for (const { thread_key: threadKey, execution_id: executionId } of rows)
    await store.transaction(async (tx) => {
      await tx.query('select 1 from sandbox_sessions where thread_key = $1 for update', [threadKey]);
      const { rows: ended } = await tx.query<
        Place & { status: ExecutionStatus; reason: TerminalReason; text: string; error: string | null }
      >(
        `select e.platform, e.delivery, e.status, e.terminal_reason as reason, coalesce(e.result_text, '') as text, e.error_text as error
         from agent_execution_requests e join agent_final_delivery_outbox o using (thread_key, execution_id)
         where e.thread_key = $1 and e.execution_id = $2 and o.state = 'live' and e.completed_at is not null`,
        [threadKey, executionId],
      );
      const [end] = ended;
      if (end === undefined) return;
      const events = await oweDelivery(tx, { threadKey, executionId }, end, { ...end, errorText: end.error });
      await appendIn(tx, threadKey, executionId, events);
    });
  return rows.length;
}
