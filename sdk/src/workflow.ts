import type { StandardSchemaV1 } from '@standard-schema/spec';
import type { RetryPolicy, WorkflowContext } from './context.ts';
import type { Duration } from './duration.ts';

/** Limits of a queue. They hold across all workers. */
export interface QueueOptions {
  readonly name: string;
  /** Most runs that execute at the same moment. Sleeping and waiting runs do not count. */
  readonly concurrency?: number;
  /** Most unfinished runs per concurrency key, sleeping and waiting ones included. */
  readonly concurrencyPerKey?: number;
  /** Most runs started in any window of `period`. `limit` is at most 10,000. */
  readonly rateLimit?: { readonly limit: number; readonly period: Duration };
}

export interface CronSchedule {
  readonly type: 'cron';
  /** Five Unix fields: minute, hour, day of month, month, day of week (0 or 7 is Sunday; names allowed). */
  readonly cron: string;
  /** IANA zone. Default `UTC`. */
  readonly timezone?: string;
  readonly input?: unknown;
  /** Start a run even while the previous one of this schedule is unfinished. Default false. */
  readonly allow_overlap?: boolean;
  readonly queue?: string;
  /** How many missed ticks are started after an outage, newest last. Default 1; 0 starts none. */
  readonly catchup?: number;
  readonly enabled?: boolean;
}

export interface IntervalSchedule extends Omit<CronSchedule, 'type' | 'cron' | 'timezone'> {
  readonly type: 'interval';
  /** At least 1. Ticks fall on multiples of it since 1970, so that several processes agree. */
  readonly seconds: number;
}

export type Schedule = CronSchedule | IntervalSchedule;

export interface WorkflowDefinition<Input = unknown, Result = unknown, Step extends string = string> {
  /** Unique in the deployment. Letters, digits, `_`, `-`, `.`; 128 at most. */
  readonly name: string;
  /** Any Standard Schema (zod, valibot, arktype …). Checked when a run is started. */
  readonly input?: StandardSchemaV1<unknown, Input>;
  /** Names of the steps. When listed, `ctx.step('tpyo', …)` does not compile. */
  readonly steps?: readonly Step[];
  /** Retries of the whole run. A retry keeps every completed step and repeats the failed one. Default: none. */
  readonly retry?: RetryPolicy;
  /** Queue of its runs, with limits when it is an object. Default `default`. */
  readonly queue?: string | QueueOptions;
  /** Key of a run, from its input: runs with one key take turns. */
  readonly concurrencyKey?: (input: Input) => string | undefined;
  readonly schedule?: Schedule | readonly Schedule[];
  readonly handler: (input: Input, ctx: WorkflowContext<Step>) => Promise<Result> | Result;
}

/** A definition as another workflow or a client refers to it: it carries the types of input and result. */
export interface WorkflowRef<Input = unknown, Result = unknown> {
  readonly name: string;
  readonly handler: (input: Input, ctx: never) => Promise<Result> | Result;
}

type Output<Schema> = Schema extends StandardSchemaV1<unknown, infer Value> ? Value : unknown;

/**
 * Declares a workflow; use it as a file's default export. It returns its argument: what it adds is types. The
 * handler's input has the schema's type, and with `steps` a wrong step name is a compile error.
 */
export function defineWorkflow<
  Schema extends StandardSchemaV1 | undefined = undefined,
  Result = unknown,
  const Step extends string = string,
>(
  definition: Omit<WorkflowDefinition<Output<Schema>, Result, Step>, 'input'> & { readonly input?: Schema },
): WorkflowDefinition<Output<Schema>, Result, Step> {
  return definition as WorkflowDefinition<Output<Schema>, Result, Step>;
}
