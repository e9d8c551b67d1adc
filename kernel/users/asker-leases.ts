/** Leases that have something of who asked for a turn, when that is taken from them. */
import type { AuditLog } from '../audit/index.ts';
import type { Queryable } from '../store/index.ts';

export interface AskerGone {
  readonly accounts: readonly string[];
  readonly user: string;
  /** Leases for turns by these accounts that have something of the user; or all by the accounts, and all with something of the user. */
  readonly which: 'both' | 'either';
  readonly reason: string;
}

/**
 * What was leased for turns that were asked for by one of these, with something of who asked besides: when that ends. In effect as
 * leases that are revoked are.
 */
export async function endLeasesOfAsker(
  tx: Queryable,
  audit: AuditLog,
  actor: string,
  { accounts, user, which, reason }: AskerGone,
): Promise<void> {
  const { rows } = await tx.query<{ lease_id: string; thread_key: string | null }>(
    `select lease_id, thread_key from leases where revoked_at is null and expires_at > now() and besides <> '{}'
       and (case $3 when 'both' then account = any($1::text[]) and besides @> array[$2::text]
         else account = any($1::text[]) or besides @> array[$2::text] end) order by lease_id for update`,
    [accounts, `user:${user}`, which],
  );
  for (const { lease_id: leaseId, thread_key: threadKey } of rows)
    await audit.append(tx, {
      action: 'lease.revoke',
      actor,
      resource: `lease:${leaseId}`,
      leaseId,
      ...(threadKey === null ? {} : { threadKey }),
      details: { reason },
    });
  if (rows.length === 0) return;
  await tx.query('update leases set revoked_at = now() where lease_id = any($1::uuid[])', [rows.map(({ lease_id: id }) => id)]);
  await tx.query(`select pg_notify('centaur_firewall', '')`);
}
