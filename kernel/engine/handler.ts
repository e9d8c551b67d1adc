/** Calling a workflow's code, in this process or in another, and what is kept of its failure: the same live and in a replay. */
import type { WorkflowContext } from '@centaur/sdk';
import { describeError } from '@centaur/sdk/values';
import { thrownBy } from './context.ts';
import type { Frame } from './frame.ts';
import type { HostedRun, RegisteredWorkflow, StoredError } from './types.ts';

/** Resolves with the handler's result. @throws what it threw */
export async function callHandler(
  workflow: RegisteredWorkflow,
  input: string | null,
  ctx: WorkflowContext,
  hosted: () => HostedRun,
): Promise<unknown> {
  const raw: unknown = input === null ? null : JSON.parse(input);
  if (workflow.hosted !== undefined) return workflow.hosted(raw, ctx, hosted());
  return workflow.handler((workflow.parseInput === undefined ? raw : await workflow.parseInput(raw)) as never, ctx);
}

/** What a host is told of a run besides its calls. */
export function hostedRunOf(frame: Frame, crashes: number, leaseHeldUntil: () => number): HostedRun {
  const { run, history } = frame;
  return {
    traceId: (run.traceId ?? run.runId).replaceAll('-', ''),
    seed: run.seed,
    crashes,
    get live() {
      return frame.live;
    },
    historyLength: history.length,
    get nextIsSettled() {
      return frame.nextIsSettled;
    },
    patches: history.flatMap((row) => (row?.kind === 'p' ? [{ seq: row.seq, id: row.name }] : [])),
    get leaseHeldUntil() {
      return leaseHeldUntil();
    },
    onOutcome(rest, isAtRest) {
      frame.rest = rest;
      frame.isAtRest = isAtRest;
    },
    onClose(listener) {
      frame.onClose = listener;
      if (frame.closed) listener(frame.closeReason);
    },
  };
}

/** The error of a run as it is stored, with the step whose error it is, also through `cause`. */
export function failureOf(error: unknown): StoredError & { readonly step?: string; readonly step_seq?: number } {
  const source = failedStep(error);
  return { ...describeError(error), ...(source === undefined ? {} : { step: source.name, step_seq: source.seq }) };
}

function failedStep(error: unknown): { seq: number; name: string } | undefined {
  for (let at = error, depth = 0; at instanceof Error && depth < 10; at = at.cause, depth++) {
    const step = thrownBy.get(at);
    if (step !== undefined) return step;
  }
  return undefined;
}
