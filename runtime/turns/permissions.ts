/**
 * Questions of a harness: may it run this tool? The active policy answers, as it does for requests; where it says that a
 * person must approve, a person is asked, and the tool waits. A question has one answer, whichever worker hears it.
 *
 * What asks is in the sandbox, and so is what it asks about. This is for tools that nobody should run without being asked,
 * not a boundary: that is the sandbox.
 */
import { createHash } from 'node:crypto';
import {
  activePolicy,
  askApproval,
  consumeApproval,
  type Decision,
  decideCounted,
  decisionOn,
  PolicyError,
  policyTime,
  takeLimit,
  type ToolRequest,
  withdrawApprovals,
} from '@centaur/kernel/policy';
import { canonicalJson } from '@centaur/kernel/store';
import type { Installation } from '@centaur/kernel/vault';
import type { ApprovalAnswer } from '../harness/index.ts';
import { principalOf } from './access.ts';

export interface PermissionRequest {
  readonly threadKey: string;
  readonly executionId: string;
  readonly runId: string;
  readonly harness: string;
  /** Of the question, within its turn. */
  readonly id: string;
  readonly tool: string;
  readonly input: unknown;
  /** How long a person has. */
  readonly ms: number;
}

export interface Waiting {
  readonly approvalId: string;
  readonly gate: string;
  readonly expiresAt: number;
  /** It was asked just now, and not by a worker before this one. */
  readonly isNew: boolean;
}

export interface Permissions {
  /** @param onWaits a person was asked */
  answer(request: PermissionRequest, signal: AbortSignal, onWaits: (waiting: Waiting) => Promise<void>): Promise<ApprovalAnswer>;
  /** After a turn: nobody waits for what is still open. */
  withdraw(runId: string): Promise<void>;
}

/** Tools of harnesses that look at files and change none; whatever is in neither list may do anything. */
const READING = new Set(['Read', 'Glob', 'Grep', 'LS', 'NotebookRead', 'TodoRead', 'TodoWrite', 'read']);
const WRITING = new Set(['Write', 'Edit', 'MultiEdit', 'NotebookEdit', 'edit', 'write']);
/** More than a person reads, and than a row should have. */
const SHOWN_INPUT = 4000;

export function createPermissions({ store, audit }: Installation): Permissions {
  return {
    async answer(request, signal, onWaits) {
      const { threadKey, executionId, runId, harness, id, tool, input, ms } = request;
      const asked: ToolRequest = {
        kind: 'tool',
        principal: principalOf(threadKey),
        run: runId,
        thread: threadKey,
        tool: { name: `${harness}.${tool}`, risk: READING.has(tool) ? 'read' : WRITING.has(tool) ? 'write' : 'destructive' },
        args: input,
        now: policyTime(store.now()),
      };
      const digest = createHash('sha256')
        .update(canonicalJson({ execution_id: executionId, id, tool: asked.tool.name, input }))
        .digest();
      const { version, decision } = await decide(asked);
      const { effect, gate, exhausted } = await decideCounted(decision, (...limit) => takeLimit(store, ...limit));
      const rule = decision.rule ?? 'default';
      const shown = JSON.stringify(input).slice(0, SHOWN_INPUT);
      const about = { tool: asked.tool.name, risk: asked.tool.risk, input: shown, thread: threadKey, execution_id: executionId };
      if (effect !== 'approve') {
        await audit.write({
          action: 'tool.permission',
          actor: asked.principal,
          resource: `tool:${asked.tool.name}`,
          decision: effect,
          runId,
          threadKey,
          details: {
            rule,
            policy: version,
            digest: digest.toString('hex'),
            ...about,
            ...(decision.errors.length > 0 ? { errors: decision.errors } : {}),
          },
        });
        return effect === 'allow' ? { allow: true } : denied(decision.message ?? 'the policy does not allow this');
      }
      const { approvalId, expiresAt, isNew } = await askApproval(
        { store, audit },
        {
          digest,
          gate,
          rule,
          principal: asked.principal,
          summary: { ...about, ...(exhausted.length > 0 ? { exhausted } : {}) },
          runId,
          seconds: ms / 1000,
          askAgainAfter: 'never',
        },
      );
      await onWaits({ approvalId, gate, expiresAt, isNew });
      const { state, reason } = await decisionOn(store, approvalId, Number.POSITIVE_INFINITY, () => signal.aborted);
      signal.throwIfAborted();
      if (state === 'approved') await consumeApproval(store, approvalId);
      // used already, by a worker that died before the harness had the answer: the question is the same
      if (state === 'approved' || state === 'consumed') return { allow: true };
      if (state === 'denied') return denied(reason === null ? 'a person denied this' : `a person denied this: ${reason}`);
      return denied('nobody has approved this in time');
    },
    withdraw: (runId) => withdrawApprovals({ store }, runId),
  };

  async function decide(request: ToolRequest): Promise<{ readonly version: number; readonly decision: Decision }> {
    try {
      const { version, policy } = await activePolicy(store);
      return { version, decision: policy.decide(request) };
    } catch (error) {
      if (!(error instanceof PolicyError)) throw error;
      const decision: Decision = { effect: 'deny', rule: null, message: error.message, limits: [], shadow: [], errors: [] };
      return { version: 0, decision };
    }
  }
}

function denied(message: string): ApprovalAnswer {
  return { allow: false, message };
}
