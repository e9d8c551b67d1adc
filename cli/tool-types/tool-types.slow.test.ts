/** The compiler says what the types are worth: whatever a schema allows has to compile, and what its type can know to be wrong must not. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { compileSchema, schemaIssues } from '../../kernel/tools/schema.ts';
import { createPlace } from '../../test/support/cli.ts';
import { toolTypes, type TypedTool, writeTypes } from './index.ts';
import { typeText } from './schema-type.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

type Schema = Readonly<Record<string, unknown>>;

/** A schema of a member, values that it allows, and values that must not compile. */
interface Case {
  readonly schema: unknown;
  readonly right: readonly unknown[];
  readonly wrong?: readonly unknown[];
  /** More of the whole schema. */
  readonly root?: Schema;
}

const TREE = { type: 'object', properties: { leaf: { type: 'string' }, more: { type: 'array', items: { $ref: '#/$defs/Tree' } } } };

const CASES: readonly Case[] = [
  { schema: true, right: [1, 'a', null, [1], { a: 1 }] },
  { schema: {}, right: [1, 'a', null, [1], { a: 1 }] },
  { schema: { type: 'string', minLength: 1, pattern: '^a', format: 'date' }, right: [], wrong: [1, null, ['a']] },
  { schema: { type: 'string' }, right: ['a'], wrong: [1, null, {}] },
  { schema: { type: 'integer' }, right: [1, -3], wrong: ['1', true] },
  { schema: { type: ['number', 'null'] }, right: [1.5, null], wrong: ['1', false] },
  { schema: { type: 'boolean' }, right: [true, false], wrong: [0, 'true'] },
  { schema: { type: 'null' }, right: [null], wrong: [0, {}] },
  {
    schema: { enum: ['a', 1, -2, null, true, [1, 'x'], { deep: 'b' }] },
    right: ['a', 1, -2, null, true, [1, 'x'], { deep: 'b' }],
    wrong: ['b', 2, false, [1]],
  },
  { schema: { type: 'string', const: 'it"s\u2028' }, right: ['it"s\u2028'], wrong: ['its', 1] },
  { schema: { type: 'array', items: { type: ['string', 'number'] } }, right: [[], ['a', 1]], wrong: [[true], 'a', {}] },
  { schema: { type: 'array' }, right: [[], [1, 'a', null]], wrong: [{}, 1] },
  { schema: { type: 'array', items: { enum: [-1, 1] } }, right: [[-1, 1]], wrong: [[0]] },
  { schema: { type: 'array', items: { type: 'array', items: { type: 'number' } } }, right: [[[1], []]], wrong: [[1]] },
  {
    schema: { type: 'array', prefixItems: [{ type: 'string' }, { type: ['number', 'null'] }], items: { type: 'boolean' }, minItems: 1 },
    right: [['a'], ['a', 1], ['a', null, true, false]],
    wrong: [[], [1], ['a', 'b'], ['a', 1, 2]],
  },
  { schema: { type: 'array', prefixItems: [{ type: 'string' }] }, right: [[], ['a'], ['a', 1, null]], wrong: [[1]] },
  { schema: { type: 'array', items: [{ type: 'string' }], additionalItems: false }, right: [[], ['a']], wrong: [[1], ['a', 1]] },
  { schema: { type: 'array', items: false }, right: [[]], wrong: [[1]] },
  { schema: { type: 'array', contains: { type: 'string' } }, right: [[1, 'a']], wrong: ['a'] },
  {
    schema: { type: 'object', properties: { a: { type: 'string' }, b: { type: 'number' } }, required: ['a'] },
    right: [{ a: 'x' }, { a: 'x', b: 1 }],
    wrong: [{}, { b: 1 }, { a: 1 }, { a: 'x', b: 'y' }, { a: 'x', c: 1 }, []],
  },
  { schema: { type: 'object' }, right: [{}, { any: [1] }], wrong: [1, 'a'] },
  { schema: { type: 'object', additionalProperties: false }, right: [{}], wrong: [{ a: 1 }, 1] },
  { schema: { type: 'object', properties: { a: true }, additionalProperties: false }, right: [{}, { a: [1] }], wrong: [{ b: 1 }] },
  {
    schema: { type: 'object', properties: { a: { type: 'string' } }, additionalProperties: true },
    right: [{ a: 'x', b: 1 }],
    wrong: [{ a: 1 }],
  },
  {
    schema: { type: 'object', properties: { a: { type: 'string' } }, additionalProperties: { type: 'number' } },
    right: [{ a: 'x', b: 1 }],
    wrong: [{ a: 1 }],
  },
  { schema: { type: 'object', additionalProperties: { type: 'number' } }, right: [{}, { a: 1 }], wrong: [{ a: 'x' }, 1] },
  { schema: { type: 'object', required: ['a'] }, right: [{ a: null }, { a: 1 }], wrong: [{}] },
  {
    schema: { type: 'object', patternProperties: { '^n': { type: 'number' }, '^s': { type: 'string' } }, additionalProperties: false },
    right: [{ n1: 1, s1: 'x' }],
    wrong: [{ n1: true }],
  },
  { schema: { type: 'object', patternProperties: { '^n': { type: 'number' } } }, right: [{ n: 1, other: 'x' }] },
  {
    schema: { type: 'object', properties: { a: { type: 'string' } }, patternProperties: { '^n': { type: 'number' } } },
    right: [{ a: 'x', n: 1 }],
    wrong: [{ a: 1 }],
  },
  {
    schema: {
      type: 'object',
      properties: {
        'not-a-name': { type: 'number' },
        class: { type: 'number' },
        '1': { type: 'number' },
        constructor: { type: 'number' },
        'a"\n': { type: 'number' },
        readonly: { type: 'number' },
        new: { type: 'number' },
      },
      required: ['new', 'readonly'],
    },
    right: [{ 'not-a-name': 1, class: 2, '1': 3, constructor: 4, 'a"\n': 5, readonly: 6, new: 7 }],
    wrong: [{ 'not-a-name': 'x', readonly: 6, new: 7 }, { class: 'x', readonly: 6, new: 7 }, { readonly: 6 }],
  },
  {
    schema: { anyOf: [{ type: 'string' }, { type: 'object', properties: { a: { type: 'number' } }, required: ['a'] }] },
    right: ['x', { a: 1 }],
    wrong: [1, {}, { a: 'x' }],
  },
  { schema: { oneOf: [{ const: 1 }, { type: 'boolean' }] }, right: [1, true], wrong: [2, 'x'] },
  { schema: { anyOf: [{ type: 'string' }, {}] }, right: [1, 'x', null] },
  { schema: { anyOf: [] }, right: [], wrong: [1, 'x'] },
  {
    schema: {
      type: 'object',
      properties: { a: { type: 'string' }, b: { type: 'number' } },
      anyOf: [{ required: ['a'] }, { required: ['b'] }],
    },
    right: [{ a: 'x' }, { b: 1 }, { a: 'x', b: 1 }, { a: 'x', c: true }],
    wrong: [{}, { a: 1 }],
  },
  {
    schema: {
      allOf: [
        { type: 'object', properties: { a: { type: 'string' } }, required: ['a'] },
        { type: 'object', properties: { b: { type: 'number' } } },
      ],
    },
    right: [{ a: 'x' }, { a: 'x', b: 1 }, { a: 'x', c: 1 }],
    wrong: [{ b: 1 }, { a: 'x', b: 'y' }],
  },
  {
    schema: { allOf: [{ type: ['string', 'number'] }, { anyOf: [{ type: 'string' }, { type: 'boolean' }] }] },
    right: ['x'],
    wrong: [true, 1],
  },
  { schema: { type: 'object', properties: { a: { type: 'string' } }, allOf: [{ $ref: '#' }] }, right: [], root: {} },
  {
    schema: {
      type: 'object',
      properties: { kind: { enum: ['a', 'b'] } },
      if: { properties: { kind: { const: 'a' } } },
      then: { properties: { x: { type: 'number' } } },
    },
    right: [
      { kind: 'a', x: 1 },
      { kind: 'b', x: 'y' },
    ],
    wrong: [{ kind: 'c' }],
  },
  { schema: { not: { type: 'string' } }, right: [1, null] },
  { schema: { type: 'number', not: { const: 3 } }, right: [4], wrong: ['x'] },
  {
    schema: {
      type: 'object',
      properties: { a: { type: 'number' } },
      dependentSchemas: { a: { required: ['b'] } },
      dependentRequired: { a: ['b'] },
    },
    right: [{ a: 1, b: 2 }],
    wrong: [{ a: 'x' }],
  },
  {
    schema: { type: 'object', properties: { a: { type: 'number' } }, propertyNames: { maxLength: 3 } },
    right: [{ a: 1, b: 2 }],
    wrong: [{ a: 'x' }],
  },
  // members that are named without a type: of what is no object they say nothing
  { schema: { properties: { a: { type: 'number' } }, required: ['a'] }, right: [{ a: 1 }, 'x', 3] },
  { schema: { $ref: '#/$defs/Id' }, root: { $defs: { Id: { type: 'integer' } } }, right: [7], wrong: ['7'] },
  {
    schema: { $ref: '#/$defs/a~1b%25', description: 'beside' },
    root: { $defs: { 'a/b%': { type: 'integer' } } },
    right: [7],
    wrong: ['7'],
  },
  {
    schema: { $ref: '#/$defs/A', properties: { b: { type: 'string' } } },
    root: { $defs: { A: { type: 'object', properties: { a: { type: 'number' } } } } },
    right: [{ a: 1, b: 'x' }],
    wrong: [{ a: 'x' }],
  },
  {
    schema: { $ref: '#/$defs/Tree' },
    root: { $defs: { Tree: TREE } },
    right: [{ leaf: 'x', more: [{ leaf: 'y', more: [] }] }],
    wrong: [{ leaf: 1 }, { more: 1 }],
  },
  { schema: { $ref: '#/$defs/Loop' }, root: { $defs: { Loop: { anyOf: [{ type: 'string' }, { $ref: '#/$defs/Loop' }] } } }, right: ['x'] },
];

const wholeOf = ({ schema, root }: Case): Schema => ({ ...root, type: 'object', properties: { value: schema }, required: ['value'] });

test('whatever a schema allows compiles, and what its type can tell apart does not', (t) => {
  const lines: string[] = [];
  for (const [i, each] of CASES.entries()) {
    const whole = wholeOf(each);
    assert.deepEqual(schemaIssues(whole), [], `case ${i}`);
    const check = compileSchema(whole);
    lines.push(`type Case${i} = ${typeText(whole, 'arguments')};`);
    for (const value of each.right) {
      assert.deepEqual(check({ value }), [], `case ${i}: ${JSON.stringify(value)}`);
      lines.push(`export const right${lines.length}: Case${i} = ${JSON.stringify({ value })};`);
    }
    for (const value of each.wrong ?? []) {
      // a name that nobody mentions is taken for a mistake, where the schema says nothing of others
      if (check({ value }).length === 0) assert.ok(JSON.stringify(value) === '{"a":"x","c":1}', `case ${i}: ${JSON.stringify(value)}`);
      lines.push('// @ts-expect-error wrong', `export const wrong${lines.length}: Case${i} = ${JSON.stringify({ value })};`);
    }
  }
  assert.equal(compile(t, { 'cases.ts': lines.join('\n') }), '');
});

test('random schemas: no value that one allows is refused by its type', (t) => {
  const random = seeded(20_261_122);
  const lines: string[] = [];
  let values = 0;
  for (let i = 0; i < 300; i++) {
    const $defs = { A: randomSchema(random, 1), B: randomSchema(random, 1) };
    const whole = { type: 'object', properties: { value: randomSchema(random, 0) }, required: ['value'], $defs };
    assert.deepEqual(schemaIssues(whole), []);
    const check = compileSchema(whole);
    const right = Array.from({ length: 30 }, () => randomValue(random, 0)).filter((value) => check({ value }).length === 0);
    lines.push(`// ${JSON.stringify(whole)}`, `type Case${i} = ${typeText(whole, 'arguments')};`);
    for (const value of right.slice(0, 8)) {
      values += 1;
      lines.push(
        `const value${values} = ${JSON.stringify({ value })} as const;`,
        `export const right${values}: Case${i} = value${values};`,
      );
    }
  }
  assert.ok(values > 500, String(values));
  assert.equal(compile(t, { 'random.ts': lines.join('\n') }), '');
});

test('a result is never taken for something that it is not', () => {
  const of = (schema: unknown): string => typeText(schema, 'result');
  for (const [schema, type] of [
    [{ type: 'string', nullable: true }, 'string | null'],
    [{ nullable: true, allOf: [{ type: 'string' }] }, 'string | null'],
    // in older drafts nothing counts beside a reference
    [{ $ref: '#/$defs/A', type: 'number', $defs: { A: { type: 'string' } } }, 'string'],
    [{ $ref: 'https://example.com/schema' }, 'unknown'],
    [{ $ref: '#anchor' }, 'unknown'],
    [{ type: 'array', items: { $id: 'https://example.com/', $ref: '#/$defs/A' }, $defs: { A: { type: 'string' } } }, 'readonly unknown[]'],
    [{ type: 'date' }, 'unknown'],
    [{ type: 7, properties: [], required: 'x' }, 'unknown'],
    [{ type: 'object', properties: 'x', required: [1], additionalProperties: 5 }, '{ readonly [name: string]: unknown }'],
    [{ type: 'array', items: 'x', prefixItems: 3, minItems: 'y' }, 'readonly unknown[]'],
    [{ anyOf: 'x', enum: 'y', allOf: {} }, 'unknown'],
    [7, 'unknown'],
  ] as const)
    assert.equal(of(schema).replace('unknown; }', 'unknown }'), type, JSON.stringify(schema));
});

test('references that mean very much come to an end', () => {
  const doubled = Object.fromEntries(
    Array.from({ length: 60 }, (_, i) => [
      `d${i}`,
      { type: 'array', prefixItems: [{ $ref: `#/$defs/d${i + 1}` }, { $ref: `#/$defs/d${i + 1}` }] },
    ]),
  );
  const text = typeText(
    { type: 'object', properties: { a: { $ref: '#/$defs/d0' } }, $defs: { ...doubled, d60: { type: 'string' } } },
    'arguments',
  );
  assert.ok(text.length < 4 * 1024 * 1024 && text.includes('unknown'), String(text.length));
});

const GITHUB: TypedTool = {
  name: 'github',
  description: 'Issues */ declare const broken: 1; /* of\u2028a repository.\n@ts-expect-error\u202e',
  methods: [
    {
      name: 'issue_get',
      description: 'An issue.',
      input: {
        type: 'object',
        properties: { number: { type: 'integer', description: 'As in #7.\nNot the id. */' }, repo: { type: 'string' } },
        required: ['repo', 'number'],
        additionalProperties: false,
      },
      output: {
        type: 'object',
        properties: { title: { type: 'string' }, labels: { type: 'array', items: { type: 'string' } } },
        required: ['title'],
      },
    },
    { name: 'rate', description: '', input: { type: 'object', properties: {}, additionalProperties: false }, output: null },
  ],
};
const CRM: TypedTool = {
  name: 'crm-eu',
  description: 'Customers.',
  methods: [
    {
      name: 'find-one',
      description: 'One.',
      input: { type: 'object', properties: { name: { type: 'string' } } },
      output: { type: 'string' },
    },
  ],
};

const WORKFLOW = `import { defineWorkflow, type ToolArguments, type ToolResult } from '@centaur/sdk';

export default defineWorkflow({
  name: 'typed',
  async handler(input: { readonly tool: string }, ctx) {
    const issue = await ctx.callTool('github', 'issue_get', { repo: 'acme/shop', number: 7 });
    const title: string = issue.title;
    const label: string | undefined = issue.labels?.[0];
    // @ts-expect-error not in the result
    issue.titel;
    // @ts-expect-error an argument is missing
    await ctx.callTool('github', 'issue_get', { repo: 'acme/shop' });
    // @ts-expect-error of another type
    await ctx.callTool('github', 'issue_get', { repo: 'acme/shop', number: '7' });
    // @ts-expect-error a name that the method does not know
    await ctx.callTool('github', 'issue_get', { repo: 'acme/shop', number: 7, labels: [] });
    // @ts-expect-error the arguments are missing
    await ctx.callTool('github', 'issue_get');
    // @ts-expect-error there is no such method
    await ctx.callTool('github', 'isue_get', { repo: 'acme/shop', number: 7 });
    // @ts-expect-error an annotation does not make it right
    const other: { readonly id: string } = await ctx.callTool('github', 'issue_get', { repo: 7 });
    await ctx.callTool('github', 'rate');
    const rate = (await ctx.callTool('github', 'rate', {}, { name: 'how_often' })) as { readonly left: number };
    // @ts-expect-error it has no arguments
    await ctx.callTool('github', 'rate', { now: true });
    const found: string = await ctx.callTool('crm-eu', 'find-one', { name: 'Ada' });
    // without types, as before
    const result: unknown = await ctx.callTool('elsewhere', 'anything', { at: 'all' });
    const annotated: { readonly n: number } = await ctx.callTool('elsewhere', 'anything');
    const named = await ctx.callTool<{ readonly n: number }>('elsewhere', 'anything', { x: 1 }, { name: 'mine' });
    const dynamic: unknown = await ctx.callTool(input.tool, 'anything', { x: 1 });
    const said = await ctx.callTool<{ readonly n: number }>('github', 'issue_get', { repo: 'a', number: 1 });
    const args: ToolArguments<'github', 'issue_get'> = { repo: 'a', number: 1 };
    const typed: ToolResult<'github', 'issue_get'> = await ctx.callTool('github', 'issue_get', args);
    return { title, label, other, left: rate.left, found, result, n: annotated.n + named.n + said.n, dynamic, typed };
  },
});
`;

test('a workflow is checked against the tools, and untyped use goes on as it was', (t) => {
  assert.equal(compile(t, { 'tools.d.ts': toolTypes([GITHUB, CRM]), 'workflow.ts': WORKFLOW }), '');
});

const BUILT_IN = `import type { WorkflowContext } from '@centaur/sdk';

export async function handler(_input: unknown, ctx: WorkflowContext) {
  const at = { owner: 'acme', repo: 'shop', number: 7 };
  await ctx.callTool('github', 'create_review', { ...at, event: 'APPROVE', comments: [{ path: 'a.ts', line: 1, body: 'Well done.' }] });
  // @ts-expect-error it is in capitals
  await ctx.callTool('github', 'create_review', { ...at, event: 'approve' });
  await ctx.callTool('postgres', 'query', { sql: 'select $1::int', params: [1, null, { a: 1 }] });
  // @ts-expect-error a list
  await ctx.callTool('postgres', 'query', { sql: 'select 1', params: 'one' });
}
`;

test('the types of the built-in tools compile, and say what they take', async (t) => {
  await using place = createPlace();
  const { code, stdout, stderr } = await place.run(['tools', 'types', '--dir', path.join(ROOT, 'userspace/tools')]);
  assert.deepEqual([code, stderr], [0, '']);
  assert.equal(compile(t, { 'tools.d.ts': stdout, 'handler.ts': BUILT_IN }), '');
});

test('without the file, nothing is checked', (t) => {
  const errors = compile(t, { 'workflow.ts': WORKFLOW });
  assert.match(errors, /TS2578: Unused '@ts-expect-error' directive/);
  assert.doesNotMatch(errors, /TS2345|TS2322/);
});

test('the same tools give the same text, in whatever order they come; descriptions are in it, and end nothing', () => {
  const text = toolTypes([GITHUB, CRM]);
  const turned = { ...GITHUB, methods: GITHUB.methods.toReversed() };
  assert.equal(toolTypes([CRM, turned]), text);
  assert.ok(text.indexOf('"crm-eu"') < text.indexOf('github'));
  assert.match(text, /\/\*\* An issue\. \*\/\n {6}readonly issue_get: \{/);
  assert.match(text, / {10}\/\*\*\n {10} \* As in #7\.\n {10} \* Not the id\. \*\\\/\n {10} \*\/\n {10}readonly number: number;/);
  assert.match(text, / {4}\/\*\*\n {5}\* Issues \*\\\/ declare const broken: 1; \/\* of\n {5}\* a repository\.\n {5}\* ts-expect-error\n/);
  assert.doesNotMatch(text, /[\u2028\u202e]|@ts-/);
});

test('a file of somebody else is left alone, and one that is as it should be is not touched', (t) => {
  const folder = folderIn(t);
  const file = path.join(folder, 'tools.d.ts');
  const text = toolTypes([CRM]);
  assert.equal(writeTypes(file, text), true);
  const { mtimeMs, ino } = statSync(file);
  assert.equal(writeTypes(file, text), false);
  assert.deepEqual([statSync(file).mtimeMs, statSync(file).ino], [mtimeMs, ino]);
  assert.equal(writeTypes(file, toolTypes([])), true);
  writeFileSync(file, '// mine\n');
  assert.throws(() => writeTypes(file, text), /is there already, and this command has not written it/);
  assert.equal(readFileSync(file, 'utf8'), '// mine\n');
  assert.throws(() => writeTypes(path.join(folder, 'no/such/tools.d.ts'), text), /--out: cannot write/);
});

const NAMES = ['a', 'b', 'c', 'toString'];
const TYPES = ['string', 'number', 'integer', 'boolean', 'null', 'object', 'array'];

/** 0 to 1, the same for a seed. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

function randomValue(random: () => number, depth: number): unknown {
  const r = random();
  const plain = ['x', 'y', '', 1, 2, -1, 1.5, true, false, null];
  if (depth > 2 || r < 0.55) return plain[Math.floor(random() * plain.length)];
  if (r < 0.75) return Array.from({ length: Math.floor(random() * 3) }, () => randomValue(random, depth + 1));
  return Object.fromEntries(NAMES.filter(() => random() < 0.4).map((name) => [name, randomValue(random, depth + 1)]));
}

/** Every keyword now and then; always one that speaks of names beside those it lists, which are taken for mistakes else. */
function randomSchema(random: () => number, depth: number): unknown {
  const one = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const inner = () => randomSchema(random, depth + 1);
  const value = () => randomValue(random, 1);
  const sometimes = (share: number, made: () => object): object => (random() < share ? made() : {});
  if (depth > 1 || random() < 0.08) return one([true, {}, { type: 'string' }, { type: 'number' }, false]);
  return {
    ...sometimes(0.7, () => ({ type: random() < 0.7 ? one(['object', 'array', ...TYPES]) : [one(TYPES), one(TYPES)] })),
    ...sometimes(0.12, () => ({ enum: [value(), value(), value()] })),
    ...sometimes(0.05, () => ({ const: value() })),
    ...sometimes(0.5, () => ({
      properties: Object.fromEntries(NAMES.filter(() => random() < 0.5).map((name) => [name, inner()])),
      additionalProperties: true,
    })),
    ...sometimes(0.25, () => ({ required: NAMES.filter(() => random() < 0.3) })),
    ...sometimes(0.3, () => ({ additionalProperties: one([true, false, inner()]) })),
    ...sometimes(0.1, () => ({ patternProperties: { '^a': inner() } })),
    ...sometimes(0.4, () => ({ items: inner() })),
    ...sometimes(0.15, () => ({ prefixItems: [inner(), inner()] })),
    ...sometimes(0.1, () => ({ minItems: one([0, 1, 2]) })),
    ...['anyOf', 'oneOf', 'allOf']
      .map((keyword) => sometimes(0.12, () => ({ [keyword]: [inner(), inner()] })))
      .reduce((a, b) => ({ ...a, ...b })),
    ...sometimes(0.06, () => ({ not: inner() })),
    ...sometimes(0.06, () => ({ if: inner(), then: inner() })),
    ...sometimes(depth < 1 ? 0.1 : 0, () => ({ $ref: one(['#/$defs/A', '#/$defs/B']) })),
  };
}

/** Inside of the repository, so that its packages are found. */
function folderIn(t: TestContext): string {
  const folder = mkdtempSync(path.join(ROOT, 'test', '.types-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** @returns what the compiler says */
function compile(t: TestContext, files: Readonly<Record<string, string>>): string {
  const folder = folderIn(t);
  for (const [name, text] of Object.entries(files)) writeFileSync(path.join(folder, name), text);
  writeFileSync(
    path.join(folder, 'tsconfig.json'),
    JSON.stringify({
      extends: path.join(ROOT, 'tsconfig.json'),
      compilerOptions: { typeRoots: [path.join(ROOT, 'node_modules/@types')], skipLibCheck: false },
      include: ['*.ts'],
      exclude: [],
    }),
  );
  const { status, stdout } = spawnSync(path.join(ROOT, 'node_modules/.bin/tsc'), ['-p', folder], { encoding: 'utf8' });
  assert.equal(status === 0, stdout === '', stdout);
  return stdout;
}
