/**
 * Leases that reach only what was declared for them: those of tools. Whatever a binding, the configuration or the policy
 * opens besides is closed to them, and what is declared has to pass the policy, too.
 */
import { mentions, opens, type Target } from '../vault/index.ts';
import type { LiveLease } from './lease-book.ts';
import { RefusedError } from './target.ts';

/** At the door of a tunnel, where nobody knows yet whether TLS will be inside. @throws RefusedError 403 */
export function refuseUndeclaredHost(lease: LiveLease, target: Target): void {
  const { egress } = lease;
  if (egress === undefined || mentions(egress, target) || mentions(egress, { ...target, scheme: 'http' })) return;
  throw undeclared(lease, 'host');
}

/** @param path canonical, without the query. @throws RefusedError 403 */
export function refuseUndeclared(lease: LiveLease, target: Target, method: string, path: string): void {
  const { egress } = lease;
  if (egress === undefined || opens(egress, target, method, path)) return;
  throw undeclared(lease, mentions(egress, target) ? 'method or path' : 'host');
}

export function undeclared({ leaseId, principal }: LiveLease, reason: 'host' | 'method or path' | 'database'): RefusedError {
  return new RefusedError(403, 'HOST_NOT_DECLARED', `this ${reason} was not declared for the lease: a tool reaches what it declares`, {
    rule: 'lease.egress',
    reason,
    lease_id: leaseId,
    principal,
  });
}
