/** From a file's exports to a workflow: what it defines, checked by the engine while the author can still see the line. */
import type { RegisteredWorkflow } from '@centaur/kernel/engine';
import type { QueueOptions, RetryPolicy, Schedule } from '@centaur/sdk';
import { parseSchedule } from '../../../kernel/engine/cron.ts';
import { checkQueueName } from '../../../kernel/engine/queues.ts';
import { resolveRetry } from '../../../kernel/engine/retry.ts';
import { DefinitionError, readExports } from '../program/definition.ts';
import { inputParser } from './input.ts';

/** What the engine needs, and what other rooms will ask the host for. */
export interface LoadedWorkflow extends RegisteredWorkflow {
  readonly source: string;
  /** As exported: the webhook routes check them. */
  readonly webhooks: readonly unknown[];
}

/**
 * Reads a module's workflow; undefined for a helper module, which has none.
 *
 * @throws DefinitionError
 */
export function readDefinition(module: Readonly<Record<string, unknown>>, source: string, version: string): LoadedWorkflow | undefined {
  const definition = readExports(module);
  if (definition === undefined) return undefined;
  const { name, handler, input, webhooks, concurrencyKey, fields } = definition;
  return {
    name,
    version,
    source,
    handler: handler as LoadedWorkflow['handler'],
    parseInput: input && inputParser(name, input),
    queue: checkQueue(definition.queue as string | QueueOptions | undefined, fields.queue),
    retry: checkRetry(definition.retry as RetryPolicy | undefined, fields.retry),
    schedules: checkSchedules(definition.schedule, fields.schedule),
    concurrencyKey: concurrencyKey as LoadedWorkflow['concurrencyKey'],
    webhooks,
  };
}

function checkQueue(queue: string | QueueOptions | undefined, field: string): string | QueueOptions | undefined {
  if (queue !== undefined) byTheEngine(field, () => checkQueueName(typeof queue === 'string' ? queue : queue.name));
  return queue;
}

function checkRetry(retry: RetryPolicy | undefined, field: string): RetryPolicy | undefined {
  if (retry !== undefined) byTheEngine(field, () => resolveRetry(retry, field));
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
