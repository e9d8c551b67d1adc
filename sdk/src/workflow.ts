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
  /** Unique in the deployment. Default: the workflow's name, with `#2` for its second schedule, and so on. */
  readonly schedule_id?: string;
  /** Added to the input as `thread_key`, for turns that belong to one conversation. */
  readonly thread_key?: string;
  /** Added to the input as `delivery: { platform: 'slack', channel }`. */
  readonly slack_channel?: string;
  /** Added to the input as `metadata.no_delivery`: nobody is told of the result. */
  readonly no_delivery?: boolean;
}

export interface IntervalSchedule extends Omit<CronSchedule, 'type' | 'cron' | 'timezone'> {
  readonly type: 'interval';
  /** At least 1. Ticks fall on multiples of it since 1970, so that several processes agree. */
  readonly seconds: number;
}

export type Schedule = CronSchedule | IntervalSchedule;

declare const types: unique symbol;

/**
 * A workflow as another workflow or a client refers to it: its name, and for the compiler the types of what a start
 * is given and of what a run results in. A definition is one; where the code is elsewhere, write
 * `const report: WorkflowRef<{ topic: string }, string> = { name: 'nightly_report' }`.
 */
export interface WorkflowRef<Input = never, Result = unknown> {
  readonly name: string;
  /** Never set. */
  readonly [types]?: (input: Input) => Result;
}

/**
 * @typeParam Input what the handler gets
 * @typeParam Start what a start is given: the same, unless the schema fills in defaults or transforms
 */
export interface WorkflowDefinition<Input = unknown, Result = unknown, Step extends string = string, Start = Input> extends WorkflowRef<
  Start,
  Result
> {
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
  /** Where it is reachable at `POST /api/webhooks/{slug}`. */
  readonly webhooks?: readonly object[];
  readonly handler: (input: Input, ctx: WorkflowContext<Step>) => Promise<Result> | Result;
}

/** What a definition has beside its schema. */
type Rest<Input, Result, Step extends string> = Omit<WorkflowDefinition<Input, Result, Step>, 'input' | typeof types>;

/**
 * Declares a workflow; use it as a file's default export. What it adds is types: the handler's input is what the
 * schema yields (without a schema, what the handler's parameter says), and with `steps` a wrong step name does not
 * compile.
 */
export function defineWorkflow<Schema extends StandardSchemaV1, Result, const Step extends string = string>(
  definition: Rest<StandardSchemaV1.InferOutput<Schema>, Result, Step> & { readonly input: Schema },
): WorkflowDefinition<StandardSchemaV1.InferOutput<Schema>, Result, Step, StandardSchemaV1.InferInput<Schema>>;
export function defineWorkflow<Input, Result, const Step extends string = string>(
  definition: Rest<Input, Result, Step> & { readonly input?: undefined },
): WorkflowDefinition<Input, Result, Step>;
export function defineWorkflow(definition: object): object {
  return { ...definition, [mark]: true };
}

/** Tells a default export that `defineWorkflow` made from any other, across copies of this package. */
const mark = Symbol.for('@centaur/sdk:workflow');

export function isWorkflowDefinition(value: unknown): value is WorkflowDefinition {
  return typeof value === 'object' && value !== null && mark in value;
}
