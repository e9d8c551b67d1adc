/** The steps, in their order, and what becomes of one that fails. */
import type { RegisteredWorkflow } from '@centaur/kernel/engine';
import type { Rotations } from '@centaur/kernel/rotation';
import { FOR_GOOD, ROTATE_WORKFLOW } from '@centaur/kernel/vault';
import { type RetryPolicy, StepError, type WorkflowContext } from '@centaur/sdk';

export interface RotateInput {
  readonly rotation_id: string;
}

export interface RotateResult {
  readonly secret: string;
  /** `done`, or why nothing was put in place. */
  readonly outcome: string;
  readonly version?: number;
}

/** At a service: some minutes. */
const TRIES: RetryPolicy = { maxAttempts: 6, delay: 2000, maxDelay: 60_000, nonRetryable: [...FOR_GOOD] };
/** Of what needs the database, or a key service: some days. */
const PATIENT: RetryPolicy = { maxAttempts: 1000, delay: 1000, maxDelay: 300_000, nonRetryable: [...FOR_GOOD] };

/** Half a day: the value before is destroyed here when it is over, and may be good there. */
const REVOKE_TRIES: RetryPolicy = { ...TRIES, maxAttempts: 24, maxDelay: 3_600_000 };

/** @param tries how often, and with what in between, a service is asked */
export function rotateWorkflow(rotations: Rotations, tries: RetryPolicy = {}): RegisteredWorkflow {
  const atService = { retry: { ...TRIES, ...tries } };
  const patient = { retry: PATIENT };
  return {
    name: ROTATE_WORKFLOW,
    version: '1',
    source: 'built in',
    async handler({ rotation_id }: RotateInput, ctx: WorkflowContext): Promise<RotateResult> {
      const { runId } = ctx;
      const begun = await ctx.step('begin', () => rotations.begin(rotation_id, runId), patient);
      if (begun.state === 'ended') return { secret: begun.name, outcome: begun.reason ?? 'ended' };
      const { name: secret, driver } = begun;
      if (driver === 'manual') {
        await ctx.step('remind', () => rotations.remind(runId), patient);
        return { secret, outcome: 'REMINDED' };
      }
      let active: { readonly version: number; readonly grace_until: number };
      try {
        await ctx.step('mint', () => rotations.mint(driver, runId), atService);
        await ctx.step('probe', () => rotations.probe(driver, runId), atService);
        active = await ctx.step('activate', () => rotations.activate(runId), patient);
      } catch (error) {
        // a run that was cancelled does nothing more: whoever looks after rotations sees that it has ended
        if (!(error instanceof StepError)) throw error;
        const { code } = error;
        const ended = await ctx.step('give up', () => rotations.giveUp(driver, runId, code), patient);
        if (ended.state === 'ended') return { secret, outcome: ended.reason ?? 'ended' };
        throw error;
      }
      await ctx.sleepUntil('grace', new Date(active.grace_until));
      try {
        const ended = await ctx.step('revoke', () => rotations.revoke(driver, runId), { retry: { ...REVOKE_TRIES, ...tries } });
        if (ended.state === 'ended') return { secret, outcome: 'SUPERSEDED' };
      } catch (error) {
        if (!(error instanceof StepError)) throw error;
        const { code } = error;
        await ctx.step('leave unrevoked', () => rotations.leaveUnrevoked(runId, code), patient);
        throw error;
      }
      return { secret, outcome: 'done', version: active.version };
    },
  };
}
