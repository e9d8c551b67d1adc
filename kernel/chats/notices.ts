/**
 * Approvals that are to be shown on a platform: a version that is not shown there yet is due, handed to one consumer at a time with a lease,
 * until somebody says that it is shown. Nothing is written with an approval or a vote: a claim looks for what is new, so that platforms that
 * nobody claims for cost nothing, and voting costs the same as ever.
 */
import type { SlackPlace } from '@centaur/sdk';
import type { ApprovalDetail } from '../policy/index.ts';
import { getApproval, PolicyError } from '../policy/index.ts';
import { claimWaiting, isUuid, type Queryable, type Store, uuidAt } from '../store/index.ts';
import { ChatError } from './errors.ts';

/** Ends and votes that are told on it; for the rest it is looked once a second. */
const APPROVALS_CHANNEL = 'centaur_approvals';
const ATTEMPTS_MOST = 20;
/** Before the next try, by how often it failed. */
const BACKOFF_S = [1, 2, 5, 10, 30, 60, 120, 300, 600];
/**
 * Ids follow the clock of whoever asks, and are seen at their commit: so what is looked through reaches back. What is pending is always
 * found; this is how long a question may be under way, or a clock behind, that is decided before anybody has claimed it.
 */
const BACK_MINUTES = 10;
/** What was used can be given back, and then used again: so its end is not the end at once. */
const SETTLED_HOURS = 1;
const IS_ERASED = `summary::text = '{"erased": true}'`;
const ENDED = `('denied', 'expired', 'cancelled', 'consumed')`;

export interface NoticeClaim {
  readonly platform: string;
  readonly consumer_id: string;
  readonly limit: number;
  readonly lease_seconds: number;
  readonly wait_ms?: number | undefined;
}

export interface Notice {
  readonly approval: ApprovalDetail;
  readonly thread_key: string | null;
  /** Of the turn that raised it. */
  readonly delivery: unknown;
  readonly shown: { readonly version: number; readonly ref: unknown } | null;
  readonly lease_expires_at: string;
}

/** Oldest first. */
export function claimNotices(store: Store, request: NoticeClaim, signal?: AbortSignal): Promise<readonly Notice[]> {
  const { wait_ms } = request;
  return claimWaiting(store, APPROVALS_CHANNEL, { wait_ms }, signal, () => claimNow(store, request));
}

async function claimNow(store: Store, { platform, consumer_id, limit, lease_seconds }: NoticeClaim): Promise<readonly Notice[]> {
  await enrol(store, platform);
  const { rows } = await store.query<{
    approval_id: string;
    shown_version: number;
    ref: string | null;
    lease_expires_at: number;
    thread_key: string | null;
    delivery: string | null;
  }>(
    `with due as (
       select n.approval_id, a.version from chat_notices n join approvals a using (approval_id)
       where n.platform = $1 and n.settled_at > now() - interval '${SETTLED_HOURS} hours' and a.version > n.shown_version
         and n.next_attempt_at <= now() and coalesce(n.lease_expires_at <= now(), true)
         and (a.version > n.claimed_version or n.attempt_count < ${ATTEMPTS_MOST})
       order by n.approval_id limit $3 for update of n skip locked),
     claimed as (
       update chat_notices n set lease_owner = $2, lease_expires_at = now() + make_interval(secs => $4), claimed_version = due.version,
         attempt_count = case when n.claimed_version = due.version then n.attempt_count + 1 else 1 end
       from due where n.approval_id = due.approval_id and n.platform = $1
       returning n.approval_id, n.shown_version, n.ref, n.lease_expires_at)
     select c.*, a.thread_key, (
         -- of the turn that ran when it was asked
         select e.delivery from agent_execution_requests e where e.thread_key = a.thread_key and e.started_at <= a.created_at
         order by e.started_at desc limit 1) as delivery
     from claimed c join approvals a using (approval_id) order by c.approval_id`,
    [platform, consumer_id, limit, lease_seconds],
  );
  const notices: Notice[] = [];
  for (const row of rows) {
    const approval = await getApproval(store, row.approval_id).catch(isGone);
    if (approval === undefined) continue;
    notices.push({
      approval,
      thread_key: row.thread_key,
      delivery: row.delivery === null ? null : (JSON.parse(row.delivery) as unknown),
      shown:
        row.shown_version === 0 ? null : { version: row.shown_version, ref: row.ref === null ? null : (JSON.parse(row.ref) as unknown) },
      lease_expires_at: new Date(row.lease_expires_at).toISOString(),
    });
  }
  return notices;
}

/** Deleted meanwhile, and its notice with it. */
function isGone(error: unknown): undefined {
  if (!(error instanceof PolicyError && error.code === 'APPROVAL_NOT_FOUND')) throw error;
}

/** Finds what has come since the last look. The first claim of a platform begins with what is pending then. */
async function enrol(store: Store, platform: string): Promise<void> {
  const { rows } = await store.query<{ since: number; looked_at: number; stale: boolean }>(
    `with made as (insert into chat_platforms (platform) select $1::text where not exists (select from chat_platforms where platform = $1)
       on conflict do nothing returning since, looked_at, false as stale)
     select since, looked_at, stale from made
     union all select since, looked_at, looked_at < now() - interval '1 minute' from chat_platforms where platform = $1`,
    [platform],
  );
  const [known] = rows;
  // another process makes it just now: the next look finds it
  if (known === undefined) return;
  const from = Math.max(known.since, known.looked_at - BACK_MINUTES * 60_000);
  await store.query(
    `with looked as (update chat_platforms set looked_at = now() where platform = $1 and $4)
     insert into chat_notices (approval_id, platform)
     select a.approval_id, $1::text from (
       select approval_id from approvals where state = 'pending'
       union select approval_id from approvals where approval_id >= $2 and created_at >= $3) a
     where not exists (select from chat_notices n where n.approval_id = a.approval_id and n.platform = $1)
     -- all in one order: two that look at once wait for each other, and not in a ring
     order by a.approval_id
     on conflict do nothing`,
    [platform, uuidAt(from), new Date(known.since), known.stale],
  );
}

/**
 * @param ref the bot's own: where it is shown; null: there is no place for it
 * @throws ChatError NOTICE_NOT_CLAIMED
 */
export async function noticeShown(
  store: Store,
  approvalId: string,
  shown: {
    readonly platform: string;
    readonly consumer_id: string;
    readonly version: number;
    readonly ref: unknown;
    /** Messages with its buttons. */
    readonly places: readonly SlackPlace[];
  },
): Promise<void> {
  if (!isUuid(approvalId)) throw notClaimed(approvalId);
  // nobody else has claimed it since: so what is said twice is said once. Under a lock that an erasure has: where the card of what was
  // erased is, is nowhere noted any more once it says so
  const { rowCount } = await store.query(
    `with a as materialized (select approval_id, version, state, ${IS_ERASED} as is_erased from approvals
       where approval_id = $1 for share)
     update chat_notices n set shown_version = greatest(n.shown_version, $4), attempt_count = 0, last_error = null,
       ref = case when a.is_erased and $4 >= a.version then null else $5::json end, places = case when a.is_erased then '[]' else $6::jsonb end,
       -- a newer version that is claimed already is still this consumer's to show
       lease_expires_at = case when $4 = n.claimed_version then null else n.lease_expires_at end, next_attempt_at = now(),
       settled_at = case when a.version = $4 and a.state in ${ENDED} then least(n.settled_at, now()) else 'infinity' end
     from a
     where a.approval_id = n.approval_id and n.approval_id = $1 and n.platform = $2 and n.lease_owner = $3 and $4 <= n.claimed_version`,
    [
      approvalId,
      shown.platform,
      shown.consumer_id,
      shown.version,
      shown.ref === null ? null : JSON.stringify(shown.ref),
      JSON.stringify(shown.places),
    ],
  );
  if (rowCount !== 1) throw notClaimed(approvalId);
}

/** It is due again after a while; after many tries not before there is a newer version. @throws ChatError NOTICE_NOT_CLAIMED */
export async function noticeFailed(
  store: Store,
  approvalId: string,
  failed: {
    readonly platform: string;
    readonly consumer_id: string;
    readonly error: string;
    readonly retry_after_seconds?: number | undefined;
  },
): Promise<{ readonly state: 'retry_wait' | 'given_up' }> {
  if (!isUuid(approvalId)) throw notClaimed(approvalId);
  const { rows } = await store.query<{ attempt_count: number }>(
    `update chat_notices n set lease_expires_at = null, lease_owner = null, last_error = $4,
       next_attempt_at = now() + make_interval(secs => coalesce($5, (array[${BACKOFF_S.join(', ')}])[least(attempt_count, ${BACKOFF_S.length})])),
       -- nothing comes after its end: it is looked at no more
       settled_at = case when n.attempt_count >= ${ATTEMPTS_MOST} and n.claimed_version = a.version and a.state in ${ENDED}
         then least(n.settled_at, now()) else n.settled_at end,
       ref = case when n.attempt_count >= ${ATTEMPTS_MOST} and n.claimed_version = a.version and ${IS_ERASED} then null else n.ref end
     from approvals a
     where a.approval_id = n.approval_id and n.approval_id = $1 and n.platform = $2 and n.lease_owner = $3 and n.lease_expires_at is not null
     returning n.attempt_count`,
    [approvalId, failed.platform, failed.consumer_id, failed.error.slice(0, 2000).replaceAll('\0', ''), failed.retry_after_seconds ?? null],
  );
  const [row] = rows;
  if (row === undefined) throw notClaimed(approvalId);
  return { state: row.attempt_count >= ATTEMPTS_MOST ? 'given_up' : 'retry_wait' };
}

function notClaimed(approvalId: string): ChatError {
  return new ChatError(
    'NOTICE_NOT_CLAIMED',
    `the notice of ${approvalId.slice(0, 64)} is not claimed by this consumer, or was claimed by another since`,
  );
}

/**
 * Whether this message is a card of the approval. Whoever has the token of the bot can draw its buttons anywhere, under any words; only what the bot
 * has said that it shows is one.
 *
 * @returns `not yet`: a card is being shown just now, and may be this one
 */
export async function isCardOf(on: Queryable, approvalId: string, platform: string, place: SlackPlace): Promise<'yes' | 'no' | 'not yet'> {
  const { rows } = await on.query<{ is_card: boolean; is_due: boolean }>(
    `select n.places @> $3::jsonb as is_card,
       n.settled_at = 'infinity' and a.version > n.shown_version and (a.version > n.claimed_version or n.attempt_count < ${ATTEMPTS_MOST}) as is_due
     from chat_notices n join approvals a using (approval_id) where n.approval_id = $1 and n.platform = $2`,
    [approvalId, platform, JSON.stringify([{ channel: place.channel, ts: place.ts }])],
  );
  const [known] = rows;
  if (known?.is_card === true) return 'yes';
  return known?.is_due === true ? 'not yet' : 'no';
}
