/**
 * Questions of a harness: may it run this tool? The active policy answers, as it does for requests; where it says that a
 * person must approve, a person is asked, and the tool waits. What a person was asked is not asked of the policy again,
 * whichever worker hears the question next. (What the policy answers may be counted twice by its limits, when a worker
 * dies just then.)
 *
 * What asks is in the sandbox, and so is what it asks about. This is for tools that nobody should run without being asked,
 * not a boundary: that is the sandbox.
 */
import { createHash } from 'node:crypto';
import {
  activePolicy,
  askApproval,
  consumeApproval,
  decideCounted,
  decisionOn,
  findApproval,
  PolicyError,
  policyTime,
  takeLimit,
  type ToolRequest,
  withdrawApprovals,
} from '@centaur/kernel/policy';
import { canonicalJson, isTransient, type StoreLogEntry } from '@centaur/kernel/store';
import { type Installation, principalOfThread } from '@centaur/kernel/vault';
import type { ApprovalAnswer } from '../harness/index.ts';

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
  /**
   * @param onWaits a person was asked
   * @throws the signal's reason, and what is wrong with the store for a while
   */
  answer(request: PermissionRequest, signal: AbortSignal, onWaits: (waiting: Waiting) => Promise<void>): Promise<ApprovalAnswer>;
  /** The harness has taken the question back. */
  withdraw(request: PermissionRequest): Promise<void>;
}

type Asked = Awaited<ReturnType<typeof askApproval>>;

/** Tools of harnesses that look at files and change none; whatever is in neither list may do anything. */
const READING = new Set(['Read', 'Glob', 'Grep', 'LS', 'NotebookRead', 'TodoRead', 'TodoWrite', 'read']);
const WRITING = new Set(['Write', 'Edit', 'MultiEdit', 'NotebookEdit', 'edit', 'write']);
const LONGEST_NAME = 120;
/** Of the input, what a person is shown: more is not read. */
const SHOWN_BEGINNING = 3000;
const SHOWN_END = 1000;

export function createPermissions({ store, audit }: Installation, log: (entry: StoreLogEntry) => void): Permissions {
  return {
    async answer(request, signal, onWaits) {
      const question = toQuestion(request);
      try {
        const known = await findApproval(store, question.digest, 'never');
        const asked = known ?? (await askPolicy(request, question));
        return 'allow' in asked ? asked : await askPerson(request, question, asked, signal, onWaits);
      } catch (error) {
        if (signal.aborted || isTransient(error)) throw error;
        if (error instanceof PolicyError && error.code === 'TOO_MANY_PENDING') return denied(error.message);
        // what the sandbox has asked cannot be decided, and never will be
        log({
          level: 'warn',
          message: 'a question of a harness could not be decided',
          thread_key: request.threadKey,
          error: (error as Error).message,
        });
        return denied('the platform cannot decide on this');
      }
    },
    withdraw: (request) => store.transaction((tx) => withdrawApprovals(tx, { digest: toQuestion(request).digest })),
  };

  async function askPolicy(request: PermissionRequest, question: Question): Promise<ApprovalAnswer | Asked> {
    const { version, policy } = await activePolicy(store);
    const decision = policy.decide({ ...question.asked, now: policyTime(store.now()) });
    const { effect, gate, exhausted } = await decideCounted(decision, (...limit) => takeLimit(store, ...limit));
    const rule = decision.rule ?? 'default';
    const about = {
      rule,
      policy: version,
      ...(exhausted.length > 0 ? { exhausted } : {}),
      ...(decision.errors.length > 0 ? { errors: decision.errors } : {}),
    };
    if (effect !== 'approve') {
      await record(request, question, effect, about);
      return effect === 'allow' ? { allow: true } : denied(decision.message ?? 'the policy does not allow this');
    }
    const { tool, principal } = question.asked;
    const summary = { tool: tool.name, risk: tool.risk, input: shown(request.input), thread: request.threadKey };
    return askApproval(
      { store, audit },
      {
        digest: question.digest,
        gate,
        rule,
        principal,
        kind: 'permission',
        risk: tool.risk,
        summary,
        audited: { ...about, tool: tool.name, risk: tool.risk, execution_id: request.executionId },
        runId: request.runId,
        threadKey: request.threadKey,
        seconds: request.ms / 1000,
        askAgainAfter: 'never',
      },
    );
  }

  async function askPerson(
    request: PermissionRequest,
    question: Question,
    { approvalId, gate, expiresAt, isNew }: Asked,
    signal: AbortSignal,
    onWaits: (waiting: Waiting) => Promise<void>,
  ): Promise<ApprovalAnswer> {
    await onWaits({ approvalId, gate, expiresAt, isNew });
    const { state, reason } = await decisionOn(store, approvalId, Number.POSITIVE_INFINITY, { signal });
    signal.throwIfAborted();
    if (state === 'approved') {
      // a person takes time: what the policy denies by now is not done
      const { version, policy } = await activePolicy(store);
      const { effect, rule, message } = policy.decide({ ...question.asked, now: policyTime(store.now()) });
      if (effect === 'deny') {
        await record(request, question, 'deny', { approval_id: approvalId, rule: rule ?? 'default', policy: version });
        return denied(message ?? 'the policy does not allow this');
      }
    }
    // used already, by a worker that died before the harness had the answer: the question is the same
    const allowed = state === 'consumed' || (state === 'approved' && (await consumeOrKnow(approvalId)));
    await record(request, question, allowed ? 'allow' : 'deny', { approval_id: approvalId, state });
    if (allowed) return { allow: true };
    if (state === 'denied') return denied(reason === null ? 'a person denied this' : `a person denied this: ${reason}`);
    return denied('nobody has approved this in time');
  }

  /** False when its time was over before it was used. */
  async function consumeOrKnow(approvalId: string): Promise<boolean> {
    if (await consumeApproval(store, approvalId)) return true;
    return (await decisionOn(store, approvalId, 0, {})).state === 'consumed';
  }

  /** What the harness is told. Of its input the log has the digest. */
  async function record(request: PermissionRequest, { asked, digest }: Question, decision: 'allow' | 'deny', about: object): Promise<void> {
    await audit.write({
      action: 'tool.permission',
      actor: asked.principal,
      resource: `tool:${asked.tool.name}`,
      decision,
      runId: request.runId,
      threadKey: request.threadKey,
      details: {
        ...about,
        tool: asked.tool.name,
        risk: asked.tool.risk,
        digest: digest.toString('hex'),
        execution_id: request.executionId,
      },
    });
  }
}

interface Question {
  readonly asked: Omit<ToolRequest, 'now'>;
  readonly digest: Buffer;
}

function toQuestion({ threadKey, executionId, runId, harness, id, tool, input }: PermissionRequest): Question {
  const name = `${harness}.${tool.replaceAll(/[^\x21-\x7e]/g, '_').slice(0, LONGEST_NAME)}`;
  return {
    asked: {
      kind: 'tool',
      principal: principalOfThread(threadKey),
      run: runId,
      thread: threadKey,
      tool: { name, risk: READING.has(tool) ? 'read' : WRITING.has(tool) ? 'write' : 'destructive' },
      args: input,
    },
    digest: createHash('sha256')
      .update(canonicalJson({ execution_id: executionId, id, harness, tool, input }))
      .digest(),
  };
}

/** Its beginning and its end, and how much there is between them. */
function shown(input: unknown): string {
  const text = JSON.stringify(input);
  const left = text.length - SHOWN_BEGINNING - SHOWN_END;
  if (left <= 0) return text;
  return `${text.slice(0, SHOWN_BEGINNING)} [… ${left} characters are not shown; the events of the thread have them …] ${text.slice(-SHOWN_END)}`.toWellFormed();
}

function denied(message: string): ApprovalAnswer {
  return { allow: false, message };
}
