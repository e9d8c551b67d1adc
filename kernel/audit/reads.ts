/** Reading the log. */
import type { Store } from '../store/index.ts';
import { uuidAt } from '../store/partitions.ts';

export interface AuditFilter {
  readonly action?: string | undefined;
  readonly actor?: string | undefined;
  readonly resource?: string | undefined;
  readonly decision?: string | undefined;
  readonly leaseId?: string | undefined;
  readonly runId?: string | undefined;
  readonly traceId?: string | undefined;
  readonly threadKey?: string | undefined;
  /** Newest first before this id; with `forward`, oldest first after it. */
  readonly after?: string | undefined;
  readonly forward?: boolean | undefined;
  /** Most entries of the answer. Default 50. */
  readonly limit?: number | undefined;
}

export interface AuditView {
  readonly id: string;
  readonly at: string;
  readonly action: string;
  readonly actor: string;
  readonly [field: string]: unknown;
}

export async function listEntries(
  store: Store,
  filter: AuditFilter,
): Promise<{ readonly items: readonly AuditView[]; readonly next: string | null }> {
  const limit = filter.limit ?? 50;
  const { rows } = await store.query<{ audit_id: string; entry: string }>(
    `select audit_id, entry from audit_log
     where ($1::text is null or action = $1 or action like $1 || '.%') and ($2::text is null or actor = $2) and ($3::text is null or resource = $3)
       and ($4::text is null or decision = $4) and ($5::uuid is null or lease_id = $5) and ($6::uuid is null or run_id = $6)
       and ($7::uuid is null or trace_id = $7) and ($10::text is null or thread_key = $10) and ($8::uuid is null or audit_id ${filter.forward === true ? '>' : '<'} $8)
     order by audit_id ${filter.forward === true ? 'asc' : 'desc'} limit $9`,
    [
      filter.action ?? null,
      filter.actor ?? null,
      filter.resource ?? null,
      filter.decision ?? null,
      filter.leaseId ?? null,
      filter.runId ?? null,
      filter.traceId ?? null,
      filter.after ?? null,
      limit + 1,
      filter.threadKey ?? null,
    ],
  );
  const items = rows.slice(0, limit).map((row) => JSON.parse(row.entry) as AuditView);
  return { items, next: rows.length > limit ? (items.at(-1)?.id ?? null) : null };
}

const MINUTE_MS = 60_000;

/**
 * Calls of the last two hours of which nobody knows how they ended: their firewall died, or lost its database. Younger ones
 * than a quarter of an hour may still be under way.
 *
 * @returns their number, 1,000 at most, and the id of the latest
 */
export async function openIntents(store: Store): Promise<{ readonly count: number; readonly latest: string | null }> {
  const { rows } = await store.query<{ count: number; latest: string | null }>(
    `select count(*)::int as count, max(audit_id::text) as latest from (
       select audit_id from audit_log i where action = 'egress.intent' and audit_id between $1 and $2
         and not exists (select from audit_log o where o.intent_id = i.audit_id) order by audit_id desc limit 1000) open`,
    [uuidAt(store.now() - 120 * MINUTE_MS), uuidAt(store.now() - 15 * MINUTE_MS)],
  );
  return rows[0] as { count: number; latest: string | null };
}
