/** From what a host tells of its workflow to what the engine serves: checked here, since a host may tell anything. */
import type { QueueOptions, RetryPolicy, Schedule } from '@centaur/sdk';
import { parseSchedule } from '../../../kernel/engine/cron.ts';
import { checkQueueName } from '../../../kernel/engine/queues.ts';
import { resolveRetry } from '../../../kernel/engine/retry.ts';
import type { Discovery, HostProblem, HostWorkflow } from '../protocol/messages.ts';

/** What is wrong with it, and in which of the file's names. */
export class MetadataError extends Error {
  readonly field: string;
  constructor(field: string, message: string) {
    super(message);
    this.name = 'MetadataError';
    this.field = field;
  }
}

export interface Metadata {
  readonly name: string;
  readonly queue: string | QueueOptions | undefined;
  readonly retry: RetryPolicy | undefined;
  readonly schedules: readonly Schedule[] | undefined;
  readonly webhooks: readonly unknown[];
  readonly hasInput: boolean;
}

/**
 * @param name under which its process was started: it decides what the process may use
 * @throws MetadataError
 */
export function readMetadata(found: HostWorkflow, name: string): Metadata {
  if (found.workflow_name !== name)
    throw new MetadataError(
      'WORKFLOW_NAME',
      `the workflow calls itself ${JSON.stringify(found.workflow_name)}, and the file says "${name}": the name must be a text written in place`,
    );
  if (!/^[A-Za-z0-9_.-]{1,128}$/.test(name))
    throw new MetadataError('WORKFLOW_NAME', `must be 1 to 128 letters, digits, "_", "-" or "."; it is ${JSON.stringify(name)}`);
  const own = [`workflow-${name}`, `workflow:${name}`];
  if (found.principal != null && typeof found.principal !== 'boolean' && !own.includes(found.principal as string))
    throw new MetadataError('WORKFLOW_PRINCIPAL', `must be true, or its own name "workflow:${name}": a workflow is no other than itself`);
  return {
    name,
    queue: found.queue == null ? undefined : checked('QUEUE', () => readQueue(found.queue)),
    retry: found.retry == null ? undefined : checked('RETRY', () => readRetry(found.retry)),
    schedules: found.schedule == null ? undefined : readSchedules(found.schedule),
    webhooks: Array.isArray(found.webhooks) ? found.webhooks.map((each) => each?.spec) : [],
    hasInput: found.has_input || found.has_concurrency_key,
  };
}

function readQueue(queue: unknown): string | QueueOptions {
  const name = typeof queue === 'string' ? queue : (queue as { name?: unknown }).name;
  if (typeof name !== 'string') throw new Error("expected a queue's name, or { name, concurrency … }");
  checkQueueName(name);
  return queue as string | QueueOptions;
}

/** Also in the spelling of Python. */
function readRetry(retry: unknown): RetryPolicy {
  if (typeof retry !== 'object' || retry === null || Array.isArray(retry)) throw new Error('expected { maxAttempts, delay … }');
  const names: Readonly<Record<string, string>> = {
    max_attempts: 'maxAttempts',
    delay_ms: 'delay',
    max_delay_ms: 'maxDelay',
    max_delay: 'maxDelay',
    non_retryable: 'nonRetryable',
  };
  const policy = Object.fromEntries(Object.entries(retry).map(([name, value]) => [names[name] ?? name, value as unknown]));
  resolveRetry(policy, 'RETRY');
  return policy;
}

function readSchedules(schedule: unknown): readonly Schedule[] {
  const all: readonly unknown[] = Array.isArray(schedule) ? schedule : [schedule];
  return all.map((each, index) => {
    const field = Array.isArray(schedule) ? `SCHEDULE[${index}]` : 'SCHEDULE';
    return checked(field, () => parseSchedule(each, field));
  });
}

function checked<T>(field: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new MetadataError(field, (error as Error).message);
  }
}

/** The one workflow of a host that was started for one file, or what is wrong with it. */
export function onlyWorkflow(discovery: Discovery): HostWorkflow | HostProblem | undefined {
  const [problem] = Array.isArray(discovery.problems) ? discovery.problems : [];
  const [workflow] = Array.isArray(discovery.workflows) ? discovery.workflows : [];
  return problem ?? workflow;
}
