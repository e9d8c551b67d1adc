/** Turns as runs of the engine: it queues them, one at a time for each thread, and hands those of a dead worker to another. */
import type { RegisteredWorkflow, WorkflowRegistry } from '@centaur/kernel/engine';
import type { WorkflowContext } from '@centaur/sdk';
import { runTurn, type TurnParts } from './turn.ts';

export const TURN_WORKFLOW = 'centaur.turn';
const QUEUE = 'agents';

export interface TurnInput {
  readonly thread_key: string;
  readonly execution_id: string;
}

/** What a run that waits for a turn gets. */
export interface TurnResult extends TurnInput {
  readonly status: string;
  readonly terminal_reason: string | null;
  readonly result_text: string;
  readonly error_text: string | null;
  readonly usage: unknown;
}

/** Longer ones are in the execution. */
const RESULT_TEXT_LONGEST = 200_000;

export function turnWorkflow(parts: TurnParts, concurrency: number): RegisteredWorkflow {
  return {
    name: TURN_WORKFLOW,
    version: '1',
    source: 'built in',
    queue: { name: QUEUE, concurrency, concurrencyPerKey: 1 },
    concurrencyKey: keyOf,
    handler: (input: TurnInput, ctx: WorkflowContext) =>
      ctx.step(
        'turn',
        async ({ signal, attempt }): Promise<TurnResult> => {
          const owner = { threadKey: input.thread_key, executionId: input.execution_id, runId: ctx.runId };
          const { status, terminal_reason, result_text, error_text, usage } = await runTurn(
            parts,
            owner,
            AbortSignal.any([signal, parts.detached]),
          ).catch((error: Error) => {
            if (!signal.aborted && !parts.detached.aborted)
              parts.log({
                level: 'warn',
                message: 'a turn was interrupted by an error of the platform; it goes on',
                ...input,
                attempt,
                error: error.message,
              });
            throw error;
          });
          return {
            ...input,
            status,
            terminal_reason,
            result_text: (result_text ?? '').slice(0, RESULT_TEXT_LONGEST),
            error_text,
            usage,
          };
        },
        // what fails here is Postgres or the platform: the turn itself ends in its execution
        { retry: { maxAttempts: 1000, delay: 100, maxDelay: 30_000, nonRetryable: ['TURN_TAKEN_OVER', 'EXECUTION_NOT_FOUND'] } },
      ),
  };
}

/** Workflows from files, and those that the platform brings. Names that begin with `centaur.` are the platform's. */
export function withBuiltIn(registry: WorkflowRegistry, builtIn: () => readonly RegisteredWorkflow[]): WorkflowRegistry {
  return {
    get: (name, version) => builtIn().find((workflow) => workflow.name === name) ?? registry.get(name, version),
    list: () => {
      const own = builtIn();
      return [...registry.list().filter(({ name }) => own.every((workflow) => workflow.name !== name)), ...own];
    },
    onChange: (listener) => registry.onChange(listener),
  };
}

/** Of a process that accepts turns and runs none. */
export function standIn(): RegisteredWorkflow {
  return {
    name: TURN_WORKFLOW,
    version: '1',
    source: 'built in',
    queue: QUEUE,
    concurrencyKey: keyOf,
    // a replay has the outcome of the step
    handler: (_input: TurnInput, ctx: WorkflowContext) =>
      ctx.step('turn', () => {
        throw new Error('this process runs no turns');
      }),
  };
}

const keyOf = (input: never) => (input as TurnInput).thread_key;
