/**
 * The outbox of final answers. A consumer claims with a lease and renews it while it works; one that is silent loses the
 * claim to another. So an answer is delivered at least once; that it is shown once is the consumer's part, by the
 * execution's id. Whoever shows a turn while it runs claims its answer before there is one, and keeps the claim to the end.
 */
import { claimWaiting, type Store } from '../store/index.ts';
import { ThreadError } from './errors.ts';
import { appendIn } from './events.ts';
import { DELIVERIES_CHANNEL } from './owed.ts';
import { checkExecutionId } from './requests.ts';
import type { Page } from './types.ts';

const ATTEMPTS_MOST = 50;
/** Before the next try, by how often it failed. */
const BACKOFF_S = [5, 15, 30, 60, 120, 300, 600];

export interface ClaimedDelivery {
  readonly execution_id: string;
  readonly thread_key: string;
  readonly trace_id: string;
  readonly platform: string;
  readonly attempt_count: number;
  readonly delivery: unknown;
  /** Null while the turn has not ended. */
  readonly final_payload: unknown;
  /** What a consumer has noted of how far it has come. */
  readonly progress: unknown;
  readonly lease_expires_at: string;
}

export interface DeliveryClaim {
  readonly consumer_id: string;
  readonly limit: number;
  readonly lease_seconds: number;
  readonly platform?: string | undefined;
  /** Also answers of turns that have not ended. Default false. */
  readonly live?: boolean | undefined;
  /** How long to wait for one when there is none. */
  readonly wait_ms?: number | undefined;
}

export function claimDeliveries(store: Store, request: DeliveryClaim, signal?: AbortSignal): Promise<readonly ClaimedDelivery[]> {
  return claimWaiting(store, DELIVERIES_CHANNEL, request, signal, () => claimNow(store, request));
}

async function claimNow(store: Store, request: DeliveryClaim): Promise<readonly ClaimedDelivery[]> {
  const { rows } = await store.query<{
    execution_id: string;
    thread_key: string;
    trace_id: string;
    platform: string;
    attempt_count: number;
    delivery: string;
    final_payload: string;
    progress: string | null;
    lease_expires_at: number;
  }>(
    `with due as (
       select thread_key, execution_id from agent_final_delivery_outbox
       where ($4::text is null or platform = $4) and state in ('live', 'pending', 'sending', 'retry_wait') and next_attempt_at <= now()
         and (state in ('pending', 'retry_wait') or (state = 'sending' and lease_expires_at <= now())
           or ($5 and state = 'live' and coalesce(lease_expires_at <= now(), true)))
       order by next_attempt_at limit $2 for update skip locked)
     update agent_final_delivery_outbox o
     set state = case when o.state = 'live' then 'live' else 'sending' end, lease_owner = $1, lease_expires_at = now() + make_interval(secs => $3), attempt_count = o.attempt_count + 1,
       last_attempt_at = now(), updated_at = now()
     from due join sandbox_sessions s using (thread_key)
       left join agent_execution_requests e on e.thread_key = due.thread_key and e.execution_id = due.execution_id
     where o.thread_key = due.thread_key and o.execution_id = due.execution_id
     returning o.execution_id, o.thread_key, coalesce(e.trace_id, s.trace_id) as trace_id, o.platform, o.attempt_count, o.delivery, o.final_payload, o.progress, o.lease_expires_at`,
    [request.consumer_id, request.limit, request.lease_seconds, request.platform ?? null, request.live ?? false],
  );
  return rows
    .toSorted((a, b) => (a.execution_id < b.execution_id ? -1 : 1))
    .map((row) => ({
      ...row,
      delivery: JSON.parse(row.delivery) as unknown,
      final_payload: JSON.parse(row.final_payload) as unknown,
      progress: row.progress === null ? null : (JSON.parse(row.progress) as unknown),
      lease_expires_at: new Date(row.lease_expires_at).toISOString(),
    }));
}

/**
 * @param progress what the next consumer is told of how far this one has come; what was noted before stays when nothing is given
 * @returns `live` until the turn has ended
 * @throws ThreadError DELIVERY_NOT_CLAIMED, EXECUTION_NOT_FOUND
 */
export async function renewDelivery(
  store: Store,
  executionId: string,
  consumerId: string,
  leaseSeconds: number,
  progress?: unknown,
): Promise<{ readonly state: 'live' | 'sending' }> {
  checkExecutionId(executionId);
  const row = await evenAsItEnds(async () => {
    const { rows } = await store.query<{ state: 'live' | 'sending' }>(
      `update agent_final_delivery_outbox set lease_expires_at = now() + make_interval(secs => $3), progress = coalesce($4, progress), updated_at = now()
       where execution_id = $1 and state in ('live', 'sending') and lease_owner = $2 returning state`,
      [executionId, consumerId, leaseSeconds, progress === undefined ? null : JSON.stringify(progress)],
    );
    return rows[0];
  });
  if (row === undefined) throw notClaimed(executionId);
  return row;
}

/**
 * A turn that ends puts a new row in the place of the one that is live. Whoever waited for that one's lock finds it gone, and does not
 * see the new one before it looks again.
 */
async function evenAsItEnds<T>(change: () => Promise<T | undefined>): Promise<T | undefined> {
  return (await change()) ?? change();
}

/** @throws ThreadError DELIVERY_NOT_CLAIMED, EXECUTION_NOT_FOUND */
export async function settleDelivery(store: Store, executionId: string, consumerId: string): Promise<{ readonly idempotent: boolean }> {
  checkExecutionId(executionId);
  return store.transaction(async (tx) => {
    // the thread first, as everybody else who changes both
    await tx.query(
      `select 1 from sandbox_sessions where thread_key in (select thread_key from agent_final_delivery_outbox where execution_id = $1) for update`,
      [executionId],
    );
    const { rows } = await tx.query<{ thread_key: string }>(
      `update agent_final_delivery_outbox set state = 'delivered', delivered_at = now(), lease_owner = $2, lease_expires_at = null, updated_at = now()
       where execution_id = $1 and state = 'sending' and lease_owner = $2 returning thread_key`,
      [executionId, consumerId],
    );
    const [row] = rows;
    if (row === undefined) {
      const { rows: before } = await tx.query<{ state: string; lease_owner: string | null }>(
        'select state, lease_owner from agent_final_delivery_outbox where execution_id = $1',
        [executionId],
      );
      if (before[0]?.state === 'delivered' && before[0].lease_owner === consumerId) return { idempotent: true };
      throw notClaimed(executionId);
    }
    await appendIn(tx, row.thread_key, executionId, [
      {
        kind: 'final_delivery_delivered',
        data: { type: 'final_delivery.delivered', execution_id: executionId, thread_key: row.thread_key },
      },
    ]);
    return { idempotent: false };
  });
}

/** It is tried again later, or never. @throws ThreadError DELIVERY_NOT_CLAIMED, EXECUTION_NOT_FOUND */
export async function failDelivery(
  store: Store,
  executionId: string,
  request: {
    readonly consumer_id: string;
    readonly error: string;
    readonly retry_after_seconds?: number | undefined;
    readonly non_retryable?: boolean | undefined;
  },
): Promise<{ readonly state: 'live' | 'retry_wait' | 'dead_letter' }> {
  checkExecutionId(executionId);
  const row = await evenAsItEnds(async () => {
    const { rows } = await store.query<{ state: 'live' | 'retry_wait' | 'dead_letter' }>(
      `update agent_final_delivery_outbox
       set state = case when state = 'live' then 'live' when $4 or attempt_count >= ${ATTEMPTS_MOST} then 'dead_letter' else 'retry_wait' end,
         next_attempt_at = now() + make_interval(secs => coalesce($5, (array[${BACKOFF_S.join(', ')}])[least(attempt_count, ${BACKOFF_S.length})])),
         lease_owner = null, lease_expires_at = null, last_error = $3, updated_at = now()
       where execution_id = $1 and state in ('live', 'sending') and lease_owner = $2 returning state`,
      [
        executionId,
        request.consumer_id,
        request.error.slice(0, 2000).replaceAll('\0', ''),
        request.non_retryable ?? false,
        request.retry_after_seconds ?? null,
      ],
    );
    return rows[0];
  });
  if (row === undefined) throw notClaimed(executionId);
  return row;
}

export type DeliveryState = 'live' | 'pending' | 'sending' | 'retry_wait' | 'delivered' | 'dead_letter';

/** For people who look after them: the answer itself is in the execution. */
export interface DeliveryView {
  readonly execution_id: string;
  readonly thread_key: string;
  readonly platform: string;
  readonly state: DeliveryState;
  readonly attempt_count: number;
  readonly lease_owner: string | null;
  readonly last_error: string | null;
  readonly next_attempt_at: string | null;
  readonly created_at: string;
  readonly delivered_at: string | null;
}

/** Newest first. */
export async function listDeliveries(
  store: Store,
  filter: {
    readonly state?: DeliveryState | undefined;
    readonly platform?: string | undefined;
    readonly after?: string | undefined;
    readonly limit: number;
  },
): Promise<Page<DeliveryView>> {
  if (filter.after !== undefined) checkExecutionId(filter.after);
  const { rows } = await store.query<
    Omit<DeliveryView, 'next_attempt_at' | 'created_at' | 'delivered_at'> & {
      readonly next_attempt_at: number;
      readonly created_at: number;
      readonly delivered_at: number | null;
    }
  >(
    `select execution_id, thread_key, platform, state, attempt_count, lease_owner, last_error, next_attempt_at, created_at, delivered_at
     from agent_final_delivery_outbox
     where ($1::text is null or state = $1) and ($2::text is null or platform = $2) and ($3::uuid is null or execution_id < $3)
     order by execution_id desc limit $4`,
    [filter.state ?? null, filter.platform ?? null, filter.after ?? null, filter.limit + 1],
  );
  const views = rows.map((row) => ({
    ...row,
    next_attempt_at: row.state === 'pending' || row.state === 'retry_wait' ? new Date(row.next_attempt_at).toISOString() : null,
    created_at: new Date(row.created_at).toISOString(),
    delivered_at: row.delivered_at === null ? null : new Date(row.delivered_at).toISOString(),
  }));
  const items = views.slice(0, filter.limit);
  return { items, next: views.length > filter.limit ? (items.at(-1)?.execution_id ?? null) : null };
}

/** A dead letter, or one that waits, is due at once. @throws ThreadError EXECUTION_NOT_FOUND */
export async function retryDelivery(store: Store, executionId: string): Promise<void> {
  checkExecutionId(executionId);
  const { rowCount } = await store.query(
    `update agent_final_delivery_outbox set state = 'pending', attempt_count = 0, next_attempt_at = now(), updated_at = now()
     where execution_id = $1 and state in ('dead_letter', 'retry_wait') and final_payload::text <> '{"erased": true}' returning 1`,
    [executionId],
  );
  if (rowCount !== 1) throw notClaimed(executionId);
}

function notClaimed(executionId: string): ThreadError {
  return new ThreadError('DELIVERY_NOT_CLAIMED', `the delivery of ${executionId} is not claimed by this consumer, or is over`);
}
