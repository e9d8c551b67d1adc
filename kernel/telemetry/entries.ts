/**
 * Figures from what this process says to the audit log: every decision, lease and request is there anyway. Counted when it is
 * said; a transaction that is rolled back afterwards has been counted too.
 */
import { createCounter } from './counts.ts';
import type { Family } from './text.ts';

interface Entry {
  readonly action: string;
  readonly decision?: string | undefined;
  readonly details?: object | undefined;
}

export interface EntryCounts {
  count(entry: Entry): void;
  families(): readonly Family[];
}

const LEASES: Readonly<Record<string, string>> = { 'lease.create': 'issued', 'lease.renew': 'renewed', 'lease.revoke': 'revoked' };
/** Hosts with a label of their own: the first to which something was let through. Others come from agents, who may name any. */
const HOSTS_MOST = 100;

export function createEntryCounts(): EntryCounts {
  const entries = createCounter('centaur_audit_entries_total');
  const decisions = createCounter('centaur_policy_decisions_total');
  const decided = createCounter('centaur_approvals_decided_total');
  const leases = createCounter('centaur_leases_total');
  const egress = createCounter('centaur_egress_total');
  const hosts = new Set<string>();

  function countEgress(verdict: 'allow' | 'approve' | 'deny', host: string | undefined): void {
    if (verdict !== 'deny' && host !== undefined && hosts.size < HOSTS_MOST) hosts.add(host);
    egress.add({ host: host !== undefined && hosts.has(host) ? host : 'other', verdict });
  }

  return {
    count({ action, decision, details }) {
      const facts = (details ?? {}) as Readonly<Record<string, unknown>>;
      entries.add({ action });
      const result = LEASES[action];
      if (result !== undefined) leases.add({ result });
      const rule = typeof facts['rule'] === 'string' ? facts['rule'] : 'default';
      const isDecided = 'rule' in facts;
      switch (action) {
        case 'tool.call':
        case 'egress.intent': {
          const wasAsked = typeof facts['approval_id'] === 'string';
          // that a person was asked is counted when they are
          if (isDecided && !wasAsked) decisions.add({ decision: 'allow', rule });
          if (action === 'egress.intent') countEgress(wasAsked ? 'approve' : 'allow', hostOf(facts));
          break;
        }
        case 'tool.deny':
        case 'egress.deny':
          if (isDecided && typeof facts['approval_id'] !== 'string') decisions.add({ decision: 'deny', rule });
          if (action === 'egress.deny') countEgress('deny', hostOf(facts));
          break;
        case 'approval.request':
          decisions.add({ decision: 'approve', rule });
          break;
        case 'approval.decide':
          decided.add({ gate: String(facts['gate']), decision: decision === 'approve' ? 'approved' : 'denied' });
          break;
        default:
      }
    },
    families: () => [entries, decisions, decided, leases, egress].map((counter) => counter.family()),
  };
}

function hostOf({ request }: Readonly<Record<string, unknown>>): string | undefined {
  const host = (request as { readonly host?: unknown } | undefined)?.host;
  return typeof host === 'string' ? host : undefined;
}
