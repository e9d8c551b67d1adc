/**
 * What authors must be told by the compiler, and what they must be given by it. `npm run types` is what checks this
 * file: every `@ts-expect-error` fails the build when its line starts to compile.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { type Jsonify, type WorkflowContext, type WorkflowRef, createClient, defineWorkflow } from './index.ts';

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
/** Compiles only for two identical types. */
const same = <A, B>(_proof: Same<A, B>): void => undefined;

interface Order {
  readonly id: string;
  readonly lines: readonly { sku: string; count: number }[];
}

const ship = defineWorkflow({
  name: 'ship_order',
  input: fake<{ id: string; express?: boolean }, { id: string; express: boolean }>(),
  steps: ['pick', 'label'],
  handler: async (input, ctx) => {
    same<typeof input, { id: string; express: boolean }>(true);
    const label = await ctx.step('label', async () => ({ code: `L-${input.id}`, printedAt: new Date(0) }));
    same<typeof label, { code: string; printedAt: string }>(true);
    return { label: label.code, shippedAt: new Date(0) };
  },
});

const tidy = defineWorkflow({ name: 'tidy', handler: async () => 3 });
const typedByParameter = defineWorkflow({ name: 'typed', handler: (input: Order, ctx) => `${input.id} ${ctx.runId}` });

/** Never called: the compiler reads it. */
async function insideHandlers(ctx: WorkflowContext<'pick' | 'label'>): Promise<void> {
  // @ts-expect-error a step that the definition does not list
  await ctx.step('lable', () => 1);
  // @ts-expect-error the same for a timer
  await ctx.sleep('nap', '5s');

  same<Awaited<ReturnType<typeof oneStep>>, { n: number }>(true);
  const nothing = await ctx.step('pick', async () => {});
  same<typeof nothing, null>(true);

  const shipped = await ctx.runWorkflow('pick', { workflow: ship, input: { id: 'a' } });
  same<typeof shipped, { label: string; shippedAt: string }>(true);
  const child = await ctx.startWorkflow('pick', { workflow: ship, input: { id: 'a', express: true } });
  const waited = await ctx.waitForWorkflow('pick', { runId: child.run_id });
  same<typeof waited, { label: string; shippedAt: string }>(true);

  // @ts-expect-error a field of another type
  await ctx.startWorkflow('pick', { workflow: ship, input: { id: 7 } });
  // @ts-expect-error a field that the child does not know
  await ctx.startWorkflow('pick', { workflow: ship, input: { id: 'a', exprss: true } });
  // @ts-expect-error a field is missing
  await ctx.runWorkflow('pick', { workflow: ship, input: {} });
  // @ts-expect-error the input is missing
  await ctx.runWorkflow('pick', { workflow: ship });
  // @ts-expect-error an option that does not exist
  await ctx.runWorkflow('pick', { workflow: ship, input: { id: 'a' }, timout: '5s' });

  same<Awaited<ReturnType<typeof runTidy>>, number>(true);
  const typed = await ctx.runWorkflow('pick', { workflow: typedByParameter, input: { id: 'a', lines: [] } });
  same<typeof typed, string>(true);
  // @ts-expect-error the handler's own parameter says what the input is
  await ctx.runWorkflow('pick', { workflow: typedByParameter, input: { id: 'a' } });

  // A name instead of a definition: nothing is known, unless the caller says it
  const unknownResult = await ctx.runWorkflow('pick', { workflow: 'elsewhere', input: { anything: true } });
  same<typeof unknownResult, unknown>(true);
  const elsewhere: WorkflowRef<{ topic: string }, { pages: number }> = { name: 'elsewhere' };
  const report = await ctx.runWorkflow('label', { workflow: elsewhere, input: { topic: 'x' } });
  same<typeof report, { pages: number }>(true);
  // @ts-expect-error the reference carries the input's type
  await ctx.runWorkflow('label', { workflow: elsewhere, input: { topc: 'x' } });
}
const oneStep = (ctx: WorkflowContext) => ctx.step('a', async () => ({ n: 1 }));
const runTidy = (ctx: WorkflowContext) => ctx.runWorkflow('tidy', { workflow: tidy });

/** Never called. */
function definitions(): void {
  defineWorkflow({
    name: 'wrong_step',
    steps: ['collect'],
    handler: async (_input, ctx) => {
      // @ts-expect-error not in `steps`
      await ctx.step('colect', () => 1);
    },
  });
  defineWorkflow({
    name: 'wrong_field',
    input: fake<{ topic: string }>(),
    handler: async (input) => {
      // @ts-expect-error not in the schema
      return input.topc;
    },
  });
  // @ts-expect-error the handler's parameter contradicts the schema
  defineWorkflow({ name: 'contradiction', input: fake<{ topic: string }>(), handler: (input: { topic: number }) => input });
  // @ts-expect-error no handler
  defineWorkflow({ name: 'nothing' });
}

/** Never called. */
async function clients(): Promise<void> {
  const client = createClient({ url: 'http://127.0.0.1:1', apiKey: 'k' });
  const run = await client.startRun(ship, { id: 'a' }, { triggerKey: 'k' });
  const finished = await client.waitForRun(run.run_id);
  if (finished.status === 'completed') same<typeof finished.result, { label: string; shippedAt: string }>(true);
  else same<typeof finished.result, null>(true);
  await client.startRun(tidy);
  await client.startRun('by_name', { anything: 1 });
  await client.startRun('by_name');

  // @ts-expect-error a field of another type
  await client.startRun(ship, { id: 7 });
  // @ts-expect-error the input is missing
  await client.startRun(ship);
  // @ts-expect-error an option that does not exist
  await client.startRun(ship, { id: 'a' }, { trigger_key: 'k' });
  const byName = await client.waitForRun('0199');
  if (byName.status === 'completed') same<typeof byName.result, unknown>(true);
}

test('Jsonify says what a value is after JSON', () => {
  same<Jsonify<Date>, string>(true);
  same<Jsonify<undefined>, null>(true);
  same<Jsonify<void>, null>(true);
  same<Jsonify<unknown>, unknown>(true);
  same<Jsonify<string | undefined>, string | null>(true);
  same<Jsonify<'a' | 7 | true | null>, 'a' | 7 | true | null>(true);
  same<Jsonify<{ at: Date; deep: { at?: Date }[] }>, { at: string; deep: { at?: string }[] }>(true);
  same<Jsonify<{ a?: number }>, { a?: number }>(true);
  same<Jsonify<{ a: number | undefined }>, { a: number | undefined }>(true);
  same<Jsonify<[Date, number?]>, [string, (number | null)?]>(true);
  same<Jsonify<readonly [Date, undefined]>, [string, null]>(true);
  same<Jsonify<(Date | undefined)[]>, (string | null)[]>(true);
  same<Jsonify<Record<string, Date>>, { [x: string]: string }>(true);
  same<Jsonify<{ body: unknown; [Symbol.iterator]: 1; read(): string }>, { body: unknown }>(true);
  same<Jsonify<bigint>, never>(true);
  same<Jsonify<{ total: bigint }>, { total: never }>(true);
  same<Jsonify<Map<string, number>>, never>(true);
  same<Jsonify<Uint8Array>, never>(true);
  same<Jsonify<Date | { n: number }>, string | { n: number }>(true);
  assert.equal(new Date(0).toJSON(), '1970-01-01T00:00:00.000Z');
});

test('a definition is what was passed in, marked', () => {
  assert.equal(tidy.name, 'tidy');
  assert.equal([insideHandlers, definitions, clients].length, 3);
});

/** A schema of nothing but types. */
function fake<In, Out = In>(): StandardSchemaV1<In, Out> {
  return { '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value: value as Out }) } };
}
