/** From a file's exports to a workflow. Everything an author can get wrong is said in the words of the file. */
import type { RegisteredWorkflow } from '@centaur/kernel/engine';
import { type QueueOptions, type RetryPolicy, type Schedule, isWorkflowDefinition } from '@centaur/sdk';
import { parseSchedule } from '../../../kernel/engine/cron.ts';
import { checkQueueName } from '../../../kernel/engine/queues.ts';
import { resolveRetry } from '../../../kernel/engine/retry.ts';
import { inputParser, isStandardSchema } from './input.ts';

/** What the engine needs, and what other rooms will ask the host for. */
export interface LoadedWorkflow extends RegisteredWorkflow {
  readonly source: string;
  /** As exported: the webhook routes check them. */
  readonly webhooks: readonly object[];
}

/** A definition that cannot be served. `field` is where to look for it in the file. */
export class DefinitionError extends Error {
  readonly field: string;
  constructor(field: string, message: string) {
    super(message);
    this.name = 'DefinitionError';
    this.field = field;
  }
}

type Exports = Readonly<Record<string, unknown>>;

/** The names of one export style for the same things. */
const STYLES = {
  exports: {
    name: 'WORKFLOW_NAME',
    handler: 'handler',
    input: 'Input',
    queue: 'QUEUE',
    retry: 'RETRY',
    schedule: 'SCHEDULE',
    webhooks: 'WEBHOOKS',
    concurrencyKey: 'concurrencyKey',
  },
  definition: {
    name: 'name',
    handler: 'handler',
    input: 'input',
    queue: 'queue',
    retry: 'retry',
    schedule: 'schedule',
    webhooks: 'webhooks',
    concurrencyKey: 'concurrencyKey',
  },
} as const;

/**
 * Reads a module's workflow; undefined for a helper module, which has none.
 *
 * @throws DefinitionError
 */
export function readDefinition(module: Exports, source: string, version: string): LoadedWorkflow | undefined {
  const byDefault = isWorkflowDefinition(module.default);
  const byName = 'WORKFLOW_NAME' in module;
  if (byDefault && byName) {
    throw new DefinitionError('WORKFLOW_NAME', 'exports both WORKFLOW_NAME and a default definition; a file holds one workflow');
  }
  if (!byDefault && !byName) return undefined;

  const style = byDefault ? STYLES.definition : STYLES.exports;
  const from = (byDefault ? module.default : module) as Exports;
  const name = checkName(from[style.name], style.name);
  const handler = from[style.handler];
  if (typeof handler !== 'function') {
    throw new DefinitionError(style.handler, `${style.handler} must be a function (input, ctx); it is ${kindOf(handler)}`);
  }
  const input = from[style.input];
  if (input !== undefined && !isStandardSchema(input)) {
    throw new DefinitionError(style.input, `${style.input} must be a schema (zod, valibot, arktype …); it is ${kindOf(input)}`);
  }
  const concurrencyKey = from[style.concurrencyKey];
  if (concurrencyKey !== undefined && typeof concurrencyKey !== 'function') {
    throw new DefinitionError(
      style.concurrencyKey,
      `${style.concurrencyKey} must be a function of the input; it is ${kindOf(concurrencyKey)}`,
    );
  }
  return {
    name,
    version,
    source,
    handler: handler as LoadedWorkflow['handler'],
    parseInput: input && inputParser(name, input),
    queue: checkQueue(from[style.queue], style.queue),
    retry: checkRetry(from[style.retry], style.retry),
    schedules: checkSchedules(from[style.schedule], style.schedule),
    concurrencyKey: concurrencyKey as LoadedWorkflow['concurrencyKey'],
    webhooks: checkWebhooks(from[style.webhooks], style.webhooks),
  };
}

function checkName(name: unknown, field: string): string {
  if (typeof name !== 'string' || !/^[A-Za-z0-9_.-]{1,128}$/.test(name)) {
    const shown = typeof name === 'string' ? JSON.stringify(name) : kindOf(name);
    throw new DefinitionError(field, `${field} must be 1 to 128 letters, digits, "_", "-" or "."; it is ${shown}`);
  }
  return name;
}

function checkQueue(queue: unknown, field: string): string | QueueOptions | undefined {
  if (queue === undefined) return undefined;
  if (typeof queue !== 'string' && !(isRecord(queue) && typeof queue.name === 'string')) {
    throw new DefinitionError(field, `${field} must be a queue's name, or { name, concurrency … }; it is ${kindOf(queue)}`);
  }
  const checked = queue as string | QueueOptions;
  byTheEngine(field, () => checkQueueName(typeof checked === 'string' ? checked : checked.name));
  return checked;
}

function checkRetry(retry: unknown, field: string): RetryPolicy | undefined {
  if (retry === undefined) return undefined;
  if (!isRecord(retry)) throw new DefinitionError(field, `${field} must be { maxAttempts, delay … }; it is ${kindOf(retry)}`);
  byTheEngine(field, () => resolveRetry(retry, field));
  return retry;
}

function checkSchedules(schedule: unknown, field: string): readonly Schedule[] | undefined {
  if (schedule === undefined) return undefined;
  if (!Array.isArray(schedule)) return [byTheEngine(field, () => parseSchedule(schedule, field))];
  return schedule.map((each, index) => byTheEngine(field, () => parseSchedule(each, `${field}[${index}]`)));
}

/** The engine's own checks, made early: here the author sees the file and the line. */
function byTheEngine<T>(field: string, check: () => T): T {
  try {
    return check();
  } catch (error) {
    throw new DefinitionError(field, (error as Error).message);
  }
}

function checkWebhooks(webhooks: unknown, field: string): readonly object[] {
  if (webhooks === undefined) return [];
  if (!Array.isArray(webhooks) || !webhooks.every(isRecord)) {
    throw new DefinitionError(field, `${field} must be an array of webhooks; it is ${kindOf(webhooks)}`);
  }
  return webhooks;
}

const isRecord = (value: unknown): value is Exports => typeof value === 'object' && value !== null && !Array.isArray(value);

function kindOf(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  return Array.isArray(value) ? 'an array' : `${typeof value === 'object' ? 'an' : 'a'} ${typeof value}`;
}
