/**
 * The inbox of chat services: what they send is stored before they are answered, and handed to whoever acts on it, with a lease.
 * Events of one conversation are handed out one at a time and in their order; one that fails holds up its own conversation until it
 * succeeds or is given up. An event is acted on at least once: that it has its effect once is the consumer's part, by its id.
 *
 * An event is open while `settled_at` is null. Only statements that walk along open events say so; those that name events by their ids
 * speak of `state`, so that the planner cannot take the index of the open ones for theirs (decision 31).
 */
import { claimWaiting, lookUp, type Store } from '../store/index.ts';
import { ThreadError } from './errors.ts';
import { INBOX_CHANNEL, type InboxWrites, lockConversation } from './inbox-writes.ts';
import type { Page } from './types.ts';

const ATTEMPTS_MOST = 10;
/** Before the next try, by how often it failed: a conversation waits for it. */
const BACKOFF_S = [1, 2, 5, 10, 30, 60, 120, 300, 600];
/** How long an event that was acted on is known: services repeat theirs for up to a day. */
const KNOWN_DAYS = 3;
const DEAD_DAYS = 30;
const PRUNED_AT_ONCE = 1000;

export type InboxState = 'pending' | 'claimed' | 'retry_wait' | 'done' | 'dead_letter';

export interface InboxEvent {
  readonly platform: string;
  readonly event_id: string;
  /** Those of one are in order. */
  readonly conversation: string;
  /** JSON, as the service sent it. */
  readonly body: unknown;
}

export interface ClaimedEvent extends InboxEvent {
  readonly attempt_count: number;
  readonly received_at: string;
  readonly lease_expires_at: string;
}

export interface EventName {
  readonly platform: string;
  readonly event_id: string;
}

/** Stored when it answers. One that is known already is not stored again, whatever is in it. */
export async function putEvent(
  store: Store,
  writes: InboxWrites,
  event: InboxEvent,
): Promise<{ readonly created: boolean; readonly state: InboxState }> {
  if (await writes.put(event)) return { created: true, state: 'pending' };
  const { rows: known } = await store.query<{ state: InboxState }>('select state from agent_inbox where platform = $1 and event_id = $2', [
    event.platform,
    event.event_id,
  ]);
  return { created: false, state: known[0]?.state ?? 'done' };
}

export interface InboxClaim {
  readonly consumer_id: string;
  readonly platform: string;
  readonly limit: number;
  readonly lease_seconds: number;
  /** How long to wait for one when there is none. */
  readonly wait_ms?: number | undefined;
}

/** The first of each conversation that nobody has. Oldest first. */
export function claimEvents(store: Store, request: InboxClaim, signal?: AbortSignal): Promise<readonly ClaimedEvent[]> {
  return claimWaiting(store, INBOX_CHANNEL, request, signal, () => claimNow(store, request));
}

/**
 * The row is locked and looked at again: of two who saw the same first event one gets it. Whoever comes when it is done
 * sees the next one as the first, so that nobody overtakes. Each part leaves the planner one way, whatever it takes the table for:
 * the walk is by the one index that is in this order, and then each is looked at by its id, oldest first, until there are enough.
 */
export const CLAIM = `with recursive firsts as (
    (select event_id, conversation, position from agent_inbox where platform = $1 and settled_at is null
     order by conversation, position limit 1)
    union all
    select next.event_id, next.conversation, next.position from firsts f, lateral (
      select event_id, conversation, position from agent_inbox
      where platform = $1 and settled_at is null and conversation > f.conversation
      order by conversation, position limit 1) next),
  due as (
    select i.platform, i.event_id from (select event_id from firsts order by position) f, lateral (
      select i.platform, i.event_id from agent_inbox i
      where i.platform = $1 and i.event_id = f.event_id and i.attempt_count < ${ATTEMPTS_MOST}
        and ((i.state in ('pending', 'retry_wait') and i.next_attempt_at <= now()) or (i.state = 'claimed' and i.lease_expires_at <= now()))
      for update skip locked) i
    limit $3)
  update agent_inbox i set state = 'claimed', lease_owner = $2, lease_expires_at = now() + make_interval(secs => $4),
    attempt_count = i.attempt_count + 1
  from due where ${lookUp('i.platform', 'due.platform')} and ${lookUp('i.event_id', 'due.event_id')}
  returning i.platform, i.event_id, i.conversation, i.position, i.body, i.attempt_count, i.received_at, i.lease_expires_at`;

async function claimNow(store: Store, request: InboxClaim): Promise<readonly ClaimedEvent[]> {
  const { rows } = await store.query<Omit<ClaimedEvent, 'body' | 'received_at' | 'lease_expires_at'> & Times>(CLAIM, [
    request.platform,
    request.consumer_id,
    request.limit,
    request.lease_seconds,
  ]);
  return rows
    .toSorted((a, b) => a.position - b.position)
    .map(({ platform, event_id, conversation, body, attempt_count, received_at, lease_expires_at }) => ({
      platform,
      event_id,
      conversation,
      body: JSON.parse(body) as unknown,
      attempt_count,
      received_at: new Date(received_at).toISOString(),
      lease_expires_at: new Date(lease_expires_at).toISOString(),
    }));
}

interface Times {
  readonly position: number;
  readonly body: string;
  readonly received_at: number;
  readonly lease_expires_at: number;
}

/** @throws ThreadError EVENT_NOT_CLAIMED */
export async function renewEvent(store: Store, { platform, event_id }: EventName, consumerId: string, leaseSeconds: number): Promise<void> {
  const { rowCount } = await store.query(
    `update agent_inbox set lease_expires_at = now() + make_interval(secs => $4)
     where platform = $1 and event_id = $2 and state = 'claimed' and lease_owner = $3`,
    [platform, event_id, consumerId, leaseSeconds],
  );
  if (rowCount !== 1) throw notClaimed(event_id);
}

/** It was acted on: what it said is not kept here. @throws ThreadError EVENT_NOT_CLAIMED */
export async function settleEvent(
  store: Store,
  writes: InboxWrites,
  event: EventName,
  consumerId: string,
): Promise<{ readonly idempotent: boolean }> {
  if (await writes.settle(event, consumerId)) return { idempotent: false };
  const { rowCount: before } = await store.query(
    `select 1 from agent_inbox where platform = $1 and event_id = $2 and state = 'done' and lease_owner = $3`,
    [event.platform, event.event_id, consumerId],
  );
  if (before === 1) return { idempotent: true };
  throw notClaimed(event.event_id);
}

/** It is tried again later, or never. @throws ThreadError EVENT_NOT_CLAIMED */
export async function failEvent(
  store: Store,
  { platform, event_id }: EventName,
  request: {
    readonly consumer_id: string;
    readonly error: string;
    readonly retry_after_seconds?: number | undefined;
    readonly non_retryable?: boolean | undefined;
  },
): Promise<{ readonly state: 'retry_wait' | 'dead_letter' }> {
  const { rows } = await store.query<{ state: 'retry_wait' | 'dead_letter' }>(
    `update agent_inbox
     set state = case when $5 or attempt_count >= ${ATTEMPTS_MOST} then 'dead_letter' else 'retry_wait' end, last_error = $4,
       settled_at = case when $5 or attempt_count >= ${ATTEMPTS_MOST} then now() end, lease_owner = null, lease_expires_at = null,
       next_attempt_at = now() + make_interval(secs => coalesce($6, (array[${BACKOFF_S.join(', ')}])[least(attempt_count, ${BACKOFF_S.length})]))
     where platform = $1 and event_id = $2 and state = 'claimed' and lease_owner = $3 returning state`,
    [
      platform,
      event_id,
      request.consumer_id,
      request.error.slice(0, 2000).replaceAll('\0', ''),
      request.non_retryable ?? false,
      request.retry_after_seconds ?? null,
    ],
  );
  const [row] = rows;
  if (row === undefined) throw notClaimed(event_id);
  // the next one of its conversation may be due now
  if (row.state === 'dead_letter') await store.query(`select pg_notify('${INBOX_CHANNEL}', $1)`, [platform]);
  return row;
}

/** What was given up, or waits, is due at once; what was given up comes last in its conversation. @throws ThreadError EVENT_NOT_CLAIMED */
export async function retryEvent(store: Store, { platform, event_id }: EventName): Promise<void> {
  const isDue = await store.transaction(async (tx) => {
    const named = [platform, event_id];
    const { rows } = await tx.query<{ conversation: string }>(
      'select conversation from agent_inbox where platform = $1 and event_id = $2',
      named,
    );
    const [known] = rows;
    if (known === undefined) return false;
    await lockConversation(tx, { platform, conversation: known.conversation });
    const waited = await tx.query(
      `update agent_inbox set state = 'pending', attempt_count = 0, next_attempt_at = now()
       where platform = $1 and event_id = $2 and state = 'retry_wait'`,
      named,
    );
    // at its old place it would be before one that is being acted on; a place is drawn by `default` alone, so it cannot be one statement
    const givenUp = await tx.query(
      `update agent_inbox set state = 'pending', attempt_count = 0, next_attempt_at = now(), settled_at = null, position = default
       where platform = $1 and event_id = $2 and state = 'dead_letter' and body is not null`,
      named,
    );
    await tx.query(`select pg_notify('${INBOX_CHANNEL}', $1)`, [platform]);
    return waited.rowCount + givenUp.rowCount === 1;
  });
  if (!isDue)
    throw new ThreadError('EVENT_NOT_CLAIMED', `the event ${JSON.stringify(event_id)} of ${platform} does not wait and was not given up`);
}

/** For people who look after them: what an event says is not told. */
export interface InboxView extends EventName {
  readonly conversation: string;
  readonly state: InboxState;
  readonly attempt_count: number;
  readonly lease_owner: string | null;
  readonly last_error: string | null;
  readonly next_attempt_at: string | null;
  readonly received_at: string;
  readonly settled_at: string | null;
}

/** Newest first. `after` is the `position` of the last one that was seen. */
export async function listEvents(
  store: Store,
  filter: {
    readonly platform?: string | undefined;
    readonly state?: InboxState | undefined;
    readonly after?: string | undefined;
    readonly limit: number;
  },
): Promise<Page<InboxView>> {
  const { rows } = await store.query<
    Omit<InboxView, 'next_attempt_at' | 'received_at' | 'settled_at'> & {
      readonly position: number;
      readonly next_attempt_at: number;
      readonly received_at: number;
      readonly settled_at: number | null;
    }
  >(
    `select platform, event_id, conversation, position, state, attempt_count, lease_owner, last_error, next_attempt_at, received_at, settled_at
     from agent_inbox where ($1::text is null or platform = $1) and ($2::text is null or state = $2) and ($3::bigint is null or position < $3)
     order by position desc limit $4`,
    [filter.platform ?? null, filter.state ?? null, filter.after ?? null, filter.limit + 1],
  );
  const shown = rows.slice(0, filter.limit);
  return {
    items: shown.map((row) => ({
      platform: row.platform,
      event_id: row.event_id,
      conversation: row.conversation,
      state: row.state,
      attempt_count: row.attempt_count,
      lease_owner: row.lease_owner,
      last_error: row.last_error,
      next_attempt_at: row.state === 'pending' || row.state === 'retry_wait' ? new Date(row.next_attempt_at).toISOString() : null,
      received_at: new Date(row.received_at).toISOString(),
      settled_at: row.settled_at === null ? null : new Date(row.settled_at).toISOString(),
    })),
    next: rows.length > filter.limit ? String(shown.at(-1)?.position) : null,
  };
}

/** Events whose consumers fell silent each time are given up, too. Answers how many. */
export async function giveUpEvents(store: Store): Promise<number> {
  const { rowCount } = await store.query(
    `with over as (
       update agent_inbox set state = 'dead_letter', settled_at = now(), lease_owner = null, lease_expires_at = null,
         last_error = 'whoever acted on it fell silent ${ATTEMPTS_MOST} times'
       where settled_at is null and state = 'claimed' and lease_expires_at <= now() and attempt_count >= ${ATTEMPTS_MOST}
       returning platform)
     select pg_notify('${INBOX_CHANNEL}', platform) from over`,
  );
  return rowCount;
}

/** Forgets events that were acted on long enough ago, and later those that were given up. Answers how many. */
export async function pruneEvents(store: Store): Promise<number> {
  const { rowCount } = await store.query(
    `delete from agent_inbox where (platform, event_id) in (
       select platform, event_id from agent_inbox
       where settled_at < now() - interval '${KNOWN_DAYS} days' and (state = 'done' or settled_at < now() - interval '${DEAD_DAYS} days')
       limit ${PRUNED_AT_ONCE} for update skip locked)`,
  );
  return rowCount;
}

function notClaimed(eventId: string): ThreadError {
  return new ThreadError('EVENT_NOT_CLAIMED', `the event ${JSON.stringify(eventId)} is not claimed by this consumer, or is over`);
}
