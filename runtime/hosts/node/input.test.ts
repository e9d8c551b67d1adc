import assert from 'node:assert/strict';
import { symlinkSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { EngineError, type RegisteredWorkflow } from '@centaur/kernel/engine';
import { directory, host } from './testing.ts';

const packages = path.resolve(fileURLToPath(import.meta.url), '../../../../node_modules');

const HANDLER = "export const WORKFLOW_NAME = 'order';\nexport const handler = (input: unknown) => input;\n";

async function load(t: Parameters<typeof directory>[0], schema: string): Promise<RegisteredWorkflow> {
  const dir = directory(t, { 'order.ts': `${schema}\n${HANDLER}` });
  symlinkSync(packages, dir.at('node_modules'));
  const made = await host(t, dir);
  assert.deepEqual(made.problems(), []);
  return made.registry.get('order')!;
}

const parse = async (workflow: RegisteredWorkflow, input: unknown): Promise<unknown> => workflow.parseInput?.(input);

async function refusal(workflow: RegisteredWorkflow, input: unknown): Promise<{ message: string; details: unknown }> {
  const error: unknown = await parse(workflow, input).then(
    () => assert.fail('was accepted'),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof EngineError);
  assert.equal(error.code, 'INVALID_INPUT');
  return { message: error.message, details: error.details };
}

const SCHEMAS = {
  zod: "import { z } from 'zod';\nexport const Input = z.object({ id: z.string(), lines: z.array(z.object({ sku: z.string() })), note: z.string().default('none') });",
  valibot:
    "import * as v from 'valibot';\nexport const Input = v.object({ id: v.string(), lines: v.array(v.object({ sku: v.string() })), note: v.optional(v.string(), 'none') });",
  arktype:
    "import { type } from 'arktype';\nexport const Input = type({ id: 'string', lines: type({ sku: 'string' }).array(), note: \"string = 'none'\" });",
};

for (const [library, schema] of Object.entries(SCHEMAS)) {
  test(`${library}: a valid input is passed on with its defaults`, async (t) => {
    const workflow = await load(t, schema);
    assert.deepEqual(await parse(workflow, { id: 'o1', lines: [{ sku: 'a' }] }), {
      id: 'o1',
      lines: [{ sku: 'a' }],
      note: 'none',
    });
  });

  test(`${library}: an invalid input names its fields`, async (t) => {
    const workflow = await load(t, schema);
    const { message, details } = await refusal(workflow, { id: 'o1', lines: [{ sku: 'a' }, { sku: 7 }] });
    assert.match(message, /^order: input\.lines\[1\]\.sku: ./);
    const { issues } = details as { issues: { path: string; message: string }[] };
    assert.deepEqual(
      issues.map((issue) => issue.path),
      ['lines[1].sku'],
    );
    assert.ok(issues[0]?.message);

    const several = await refusal(workflow, { id: 1, lines: 'no' });
    assert.match(several.message, /^order: input\.id: .* \(and 1 more\)$/);
    assert.match((await refusal(workflow, null)).message, /^order: input: ./);
  });
}

test('a schema may check asynchronously', async (t) => {
  const workflow = await load(
    t,
    "import { z } from 'zod';\nexport const Input = z.object({ id: z.string().refine(async (id) => id !== 'taken', 'is taken') });",
  );
  assert.deepEqual(await parse(workflow, { id: 'free' }), { id: 'free' });
  assert.equal((await refusal(workflow, { id: 'taken' })).message, 'order: input.id: is taken');
});

test('a path is written as one would write it in code', async (t) => {
  const workflow = await load(
    t,
    `export const Input = { '~standard': { version: 1, vendor: 'test', validate: () => ({ issues: [
       { message: 'a', path: ['a', 'b', 0, { key: 'c d' }, { key: 'größe' }] }, { message: 'b', path: [0] }, { message: 'c' }] }) } };`,
  );
  const { message, details } = await refusal(workflow, {});
  assert.equal(message, 'order: input.a.b[0]["c d"].größe: a (and 2 more)');
  assert.deepEqual(
    (details as { issues: { path: string }[] }).issues.map((issue) => issue.path),
    ['a.b[0]["c d"].größe', '[0]', ''],
  );
});

test('without a schema any input is passed on', async (t) => {
  const workflow = await load(t, '');
  assert.equal(workflow.parseInput, undefined);
});
