/** Questions of workflows to people: asked at a gate of the policy in force, decided like every other approval. */
import { createHash } from 'node:crypto';
import type { Approvals } from '@centaur/kernel/engine';
import { activePolicy, askApprovalIn, covers, expireApproval, redact, useApproval, withdrawApprovals } from '@centaur/kernel/policy';
import { canonicalJson } from '@centaur/kernel/store';
import { checkSchema, schemaIssues, sensitivePaths } from '@centaur/kernel/tools';
import type { Installation } from '@centaur/kernel/vault';
import { NonRetryableError } from '@centaur/sdk';

/** What asks is the code of the workflow, and no rule of the policy. */
const RULE = 'ctx.approval';

export function createApprovals({ store, audit }: Pick<Installation, 'store' | 'audit'>): Approvals {
  return {
    async ask(tx, { runId, workflow, step, summary, gate, tool, args, editable, schema, shortenedMs }) {
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
      if (schema !== undefined) refuseSchema(step, schema, args);
      const sensitive = schema === undefined ? [] : sensitivePaths(schema);
      const bound = { kind: 'workflow', run: runId, step, tool: tool ?? null, summary, gate };
      return askApprovalIn(
        tx,
        { store, audit },
        {
          digest: createHash('sha256')
            .update(canonicalJson({ ...bound, args }))
            .digest(),
          gate,
          // the workflow says what it can go on with; a gate that names paths lets no others be
          terms: { ...declared, editable: editable.filter((path) => isLeft(declared.editable, path)) },
          editing: { args, bound, schema: schema ?? null, sensitive },
          rule: RULE,
          principal,
          // whole, but for what the schema marks as sensitive: what is approved is what is shown
          summary: { summary, tool, args: redact(args, sensitive), workflow, step },
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
    use: (approvalId, args) => useApproval(store, approvalId, args),
    withdraw: (tx, approvalIds) => withdrawApprovals(tx, { approvalIds }),
  };
}

/** @throws NonRetryableError naming the place */
function refuseSchema(step: string, schema: Readonly<Record<string, unknown>>, args: unknown): void {
  const [issue] = schemaIssues(schema);
  const problem =
    issue !== undefined
      ? `schema${issue.path === '' ? '' : ` ${issue.path}`}: ${issue.message}`
      : checkSchema(schema, args).map((each) => `args: ${each}`)[0];
  if (problem !== undefined) throw new NonRetryableError(`approval "${step}": ${problem}`, { code: 'INVALID_REQUEST' });
}

const isLeft = (named: readonly string[], path: string): boolean => named.length === 0 || named.some((each) => covers(each, path));
