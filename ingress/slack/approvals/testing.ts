/** What the tests of this room share: an approval of which each test says only what it is about. */
import type { ShownApproval } from '@centaur/sdk';

export const ID = '0198c0de-0000-7000-8000-000000000001';
export const DIGEST = 'b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c';

export function approvalWith(more: Partial<ShownApproval> = {}): ShownApproval {
  return {
    approval_id: ID,
    state: 'pending',
    version: 1,
    kind: 'tool',
    risk: 'write',
    gate: 'money',
    rule: 'much',
    principal: 'thread:slack:C1:1700000000.000100',
    summary: { tool: 'bank.pay', risk: 'write', input: '{"amount":200}' },
    digest: DIGEST,
    quorum: 2,
    approvals: 0,
    approvers: ['role:finance'],
    exclude: ['requester'],
    editable: [],
    edited_by: null,
    overridden: false,
    asked: 1,
    thread_key: 'slack:C1:1700000000.000100',
    lease_id: null,
    run_id: null,
    reason: null,
    decided_by: null,
    created_at: '2026-01-02T03:04:05.000Z',
    expires_at: '2026-01-02T04:04:05.000Z',
    escalate_at: null,
    decided_at: null,
    use_by: null,
    consumed_at: null,
    audit_id: ID,
    decided_audit_id: null,
    votes: [],
    args: { amount: 200, to: 'Ann' },
    edited_args: null,
    changed: [],
    policy_diff: null,
    involved: { requester: ['ann'], run_owner: [], trigger_actor: [], policy_author: [] },
    ...more,
  };
}

export function vote(voter: string, more: Partial<ShownApproval['votes'][number]> = {}): ShownApproval['votes'][number] {
  return {
    voter,
    verdict: 'approve',
    counts: true,
    digest: DIGEST,
    reason: null,
    channel: 'slack',
    at: '2026-01-02T03:05:00Z',
    audit_id: ID,
    ...more,
  };
}
