/** Questions of workflows to people: asked at a gate of the policy in force, decided like every other approval. */
import { createHash } from 'node:crypto';
import type { Approvals } from '@centaur/kernel/engine';
import { activePolicy, askApprovalIn, expireApproval, useApproval, withdrawApprovals } from '@centaur/kernel/policy';
import { canonicalJson } from '@centaur/kernel/store';
import type { Installation } from '@centaur/kernel/vault';
import { NonRetryableError } from '@centaur/sdk';

/** What asks is the code of the workflow, and no rule of the policy. */
const RULE = 'ctx.approval';

export function createApprovals({ store, audit }: Pick<Installation, 'store' | 'audit'>): Approvals {
  return {
    async ask(tx, { runId, workflow, step, summary, gate, tool, args, shortenedMs }) {
      const { version, policy } = await activePolicy(tx);
      const declared = policy.gates.get(gate);
      if (declared === undefined) {
        const known = [...policy.gates.keys()].join(', ').slice(0, 1000);
        throw new NonRetryableError(
          `approval "${step}": the policy in force (version ${version}) has no gate ${JSON.stringify(gate)}; it has ${known}`,
          { code: 'UNKNOWN_GATE' },
        );
      }
      const principal = `workflow:${workflow}`;
      return askApprovalIn(
        tx,
        { store, audit },
        {
          digest: createHash('sha256')
            .update(canonicalJson({ kind: 'workflow', run: runId, step, tool: tool ?? null, args, summary, gate }))
            .digest(),
          gate,
          rule: RULE,
          principal,
          // whole: what is approved is what is shown
          summary: { summary, tool, args, workflow, step },
          // the words and the arguments are in the approval's row, and not here for good
          audited: { policy: version, tool, workflow, step },
          runId,
          // else the gate's own time: twice that where others are asked when nobody answers
          seconds: shortenedMs === undefined ? undefined : shortenedMs / 1000,
          // what was answered before was answered to another attempt
          askAgainAfter: 0,
        },
      );
    },
    expire: (approvalId) => expireApproval({ store, audit }, approvalId),
    use: (approvalId) => useApproval(store, approvalId),
    withdraw: (tx, approvalIds) => withdrawApprovals(tx, { approvalIds }),
  };
}
