/**
 * From a file's exports to what it defines. Everything an author can get wrong about its shape is said in the words of
 * the file; what a schedule or a queue means is for those who know: the engine. Imports nothing but the SDK, so that it
 * runs where only the host's own files are.
 */
import type { StandardSchemaV1 } from '../../../sdk/src/index.ts';
import { isWorkflowDefinition } from '../../../sdk/src/workflow.ts';
import { isStandardSchema } from './input.ts';

export interface Definition {
  readonly name: string;
  readonly handler: (input: never, ctx: never) => unknown;
  readonly input: StandardSchemaV1 | undefined;
  readonly concurrencyKey: ((input: never) => unknown) | undefined;
  /** The rest as the file gives it. */
  readonly queue: unknown;
  readonly retry: unknown;
  readonly schedule: unknown;
  readonly webhooks: readonly unknown[];
  readonly principal: unknown;
  readonly agentDefaults: Readonly<Record<string, unknown>> | undefined;
  /** What each of them is called in the file. */
  readonly fields: Fields;
}

type Field = 'name' | 'handler' | 'input' | 'queue' | 'retry' | 'schedule' | 'webhooks' | 'principal' | 'agentDefaults' | 'concurrencyKey';
type Fields = Readonly<Record<Field, string>>;
type Exports = Readonly<Record<string, unknown>>;

/** A definition that cannot be served. `field` is where to look for it in the file. */
export class DefinitionError extends Error {
  readonly field: string;
  constructor(field: string, message: string) {
    super(message);
    this.name = 'DefinitionError';
    this.field = field;
  }
}

/** The names of one export style for the same things. */
const EXPORTS: Fields = {
  name: 'WORKFLOW_NAME',
  handler: 'handler',
  input: 'Input',
  queue: 'QUEUE',
  retry: 'RETRY',
  schedule: 'SCHEDULE',
  webhooks: 'WEBHOOKS',
  principal: 'WORKFLOW_PRINCIPAL',
  agentDefaults: 'AGENT_DEFAULTS',
  concurrencyKey: 'concurrencyKey',
};
const DEFAULT_EXPORT: Fields = {
  name: 'name',
  handler: 'handler',
  input: 'input',
  queue: 'queue',
  retry: 'retry',
  schedule: 'schedule',
  webhooks: 'webhooks',
  principal: 'principal',
  agentDefaults: 'agentDefaults',
  concurrencyKey: 'concurrencyKey',
};

/**
 * Reads a module's workflow; undefined for a helper module, which has none.
 *
 * @throws DefinitionError
 */
export function readExports(module: Exports): Definition | undefined {
  const byDefault = isWorkflowDefinition(module.default);
  const byName = 'WORKFLOW_NAME' in module;
  if (byDefault && byName) {
    throw new DefinitionError('WORKFLOW_NAME', 'exports both WORKFLOW_NAME and a default definition; a file holds one workflow');
  }
  if (!byDefault && !byName) return undefined;

  const fields = byDefault ? DEFAULT_EXPORT : EXPORTS;
  const from = (byDefault ? module.default : module) as Exports;
  const handler = from[fields.handler];
  const input = from[fields.input];
  const concurrencyKey = from[fields.concurrencyKey];
  const agentDefaults = from[fields.agentDefaults];
  const name = checkName(from[fields.name], fields.name);
  expect(typeof handler === 'function', fields.handler, 'be a function (input, ctx)', handler);
  expect(input === undefined || isStandardSchema(input), fields.input, 'be a schema (zod, valibot, arktype …)', input);
  expect(
    concurrencyKey === undefined || typeof concurrencyKey === 'function',
    fields.concurrencyKey,
    'be a function of the input',
    concurrencyKey,
  );
  expect(agentDefaults === undefined || isRecord(agentDefaults), fields.agentDefaults, 'be an object of agent options', agentDefaults);
  return {
    name,
    handler: handler as Definition['handler'],
    input: input as Definition['input'],
    concurrencyKey: concurrencyKey as Definition['concurrencyKey'],
    queue: checkQueue(from[fields.queue], fields.queue),
    retry: checkRetry(from[fields.retry], fields.retry),
    schedule: from[fields.schedule],
    webhooks: asList(from[fields.webhooks]),
    principal: from[fields.principal],
    agentDefaults: agentDefaults as Definition['agentDefaults'],
    fields,
  };
}

function checkName(name: unknown, field: string): string {
  if (typeof name !== 'string' || !/^[A-Za-z0-9_.-]{1,128}$/.test(name)) {
    const shown = typeof name === 'string' ? JSON.stringify(name) : kindOf(name);
    throw new DefinitionError(field, `${field} must be 1 to 128 letters, digits, "_", "-" or "."; it is ${shown}`);
  }
  return name;
}

function checkQueue(queue: unknown, field: string): unknown {
  const named = queue === undefined || typeof queue === 'string' || (isRecord(queue) && typeof queue.name === 'string');
  expect(named, field, "be a queue's name, or { name, concurrency … }", queue);
  return queue;
}

function checkRetry(retry: unknown, field: string): unknown {
  expect(retry === undefined || isRecord(retry), field, 'be { maxAttempts, delay … }', retry);
  return retry;
}

function asList(webhooks: unknown): readonly unknown[] {
  if (webhooks === undefined) return [];
  // what each may be is for whoever serves them to judge
  return Array.isArray(webhooks) ? webhooks : [webhooks];
}

function expect(holds: boolean, field: string, must: string, found: unknown): void {
  if (!holds) throw new DefinitionError(field, `${field} must ${must}; it is ${kindOf(found)}`);
}

const isRecord = (value: unknown): value is Exports => typeof value === 'object' && value !== null && !Array.isArray(value);

function kindOf(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  return Array.isArray(value) ? 'an array' : `${typeof value === 'object' ? 'an' : 'a'} ${typeof value}`;
}
