import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startEffort } from '../../test/support/effort.ts';
import { compileSchema, schemaIssues } from './schema.ts';

function issues(schema: Record<string, unknown>, value: unknown): string[] {
  assert.deepEqual(schemaIssues(schema), []);
  return compileSchema(schema)(value).map(({ path, message }) => `${path}: ${message}`);
}

const object = (properties: Record<string, unknown>, more = {}) => ({ type: 'object', properties, ...more });

for (const [keyword, schema, fitting, wrong, message, place = ''] of [
  ['type', { type: 'string' }, 'a', 1, 'expected a string, got a number'],
  ['types', { type: ['integer', 'null'] }, null, 1.5, 'expected an integer or null, got a number'],
  ['enum', { enum: ['a', 2] }, 2, 'b', 'expected one of "a", 2'],
  ['const', { const: { a: 1, b: 2 } }, { b: 2, a: 1 }, {}, 'expected {"a":1,"b":2}'],
  ['minLength', { type: 'string', minLength: 2 }, 'é\u{1f600}', '\u{1f600}', 'expected 2 characters or more'],
  ['maxLength', { type: 'string', maxLength: 1 }, '\u{1f600}', 'ab', 'expected 1 characters at most'],
  ['pattern', { type: 'string', pattern: '^\\d+$' }, '12', '1x', 'does not match ^\\d+$'],
  ['format', { type: 'string', format: 'date' }, '2026-02-28', '2026-02-28T00:00:00Z', 'expected the form date'],
  ['format of a time', { type: 'string', format: 'date-time' }, '2026-02-28T10:00:00+01:00', '2026-02-28', 'expected the form date-time'],
  ['format of an address', { type: 'string', format: 'uri' }, 'https://a.example/b', 'a b', 'expected the form uri'],
  ['a format that nobody knows', { type: 'string', format: 'tea' }, 'x', 1, 'expected a string, got a number'],
  ['minimum', { type: 'number', minimum: 1 }, 1, 0, 'expected 1 or more'],
  ['exclusiveMaximum', { type: 'number', exclusiveMaximum: 1 }, 0.9, 1, 'expected less than 1'],
  ['multipleOf', { type: 'number', multipleOf: 0.1 }, 0.3, 0.35, 'expected a multiple of 0.1'],
  ['items', { type: 'array', items: { type: 'string' } }, ['a'], [1], 'expected a string, got a number', '[0]'],
  ['prefixItems', { prefixItems: [{ type: 'string' }], items: false }, ['a'], ['a', 1], 'is not allowed here', '[1]'],
  [
    'items of earlier drafts',
    { items: [{ type: 'string' }], additionalItems: { type: 'null' } },
    ['a', null],
    ['a', 1],
    'expected null, got a number',
    '[1]',
  ],
  ['contains', { contains: { const: 1 } }, [2, 1], [2], 'has too few or too many items of the form that it must contain'],
  [
    'uniqueItems',
    { uniqueItems: true },
    [{ a: 1 }, { a: 2 }],
    [
      { a: 1, b: 1 },
      { b: 1, a: 1 },
    ],
    'has an item twice',
  ],
  ['required', { required: ['a'], properties: { a: { type: 'array' } } }, { a: [] }, {}, 'is required: expected an array', '.a'],
  ['additionalProperties', object({ a: true }, { additionalProperties: false }), { a: 1 }, { b: 1 }, 'unknown; known are a', '.b'],
  [
    'additionalProperties with a schema',
    { additionalProperties: { type: 'null' } },
    { a: null },
    { a: 1 },
    'expected null, got a number',
    '.a',
  ],
  [
    'patternProperties',
    { patternProperties: { '^x': { type: 'null' } }, additionalProperties: false },
    { x: null },
    { x: 1 },
    'expected null, got a number',
    '.x',
  ],
  ['propertyNames', { propertyNames: { maxLength: 1 } }, { a: 1 }, { ab: 1 }, 'is a name that is not allowed', '.ab'],
  ['minProperties', { minProperties: 1 }, { a: 1 }, {}, 'expected 1 members or more'],
  ['dependentRequired', { dependentRequired: { a: ['b'] } }, { a: 1, b: 1 }, { a: 1 }, 'is required beside a', '.b'],
  ['dependentSchemas', { dependentSchemas: { a: { required: ['b'] } } }, { b: 1 }, { a: 1 }, 'is required', '.b'],
  ['allOf', { allOf: [{ required: ['a'] }, { required: ['b'] }] }, { a: 1, b: 1 }, { a: 1 }, 'is required', '.b'],
  ['anyOf', { anyOf: [{ type: 'string' }, { type: 'null' }] }, null, 1, 'expected a string or null, got a number'],
  [
    'anyOf of objects',
    { anyOf: [{ type: 'null' }, object({ a: { type: 'string' } })] },
    { a: 'x' },
    { a: 1 },
    'expected a string, got a number',
    '.a',
  ],
  ['oneOf', { oneOf: [{ type: 'number' }, { type: 'integer' }] }, 1.5, 1, 'fits more than one of the forms that exclude each other'],
  ['not', { not: { type: 'string' } }, 1, 'a', 'is of a form that is not allowed'],
  ['if', { if: { type: 'string' }, then: { minLength: 2 }, else: { type: 'null' } }, 'ab', 'a', 'expected 2 characters or more'],
  ['else', { if: { type: 'string' }, else: { type: 'null' } }, null, 1, 'expected null, got a number'],
  [
    'a keyword without its type',
    { properties: { a: { type: 'null' } } },
    'a text has no members',
    { a: 1 },
    'expected null, got a number',
    '.a',
  ],
  ['false', false, undefined, 1, 'is not allowed here'],
] satisfies readonly (readonly [string, unknown, unknown, unknown, string, string?])[])
  test(`${keyword} holds`, () => {
    const whole = object({ v: schema });
    if (fitting !== undefined) assert.deepEqual(issues(whole, { v: fitting }), []);
    assert.deepEqual(issues(whole, { v: wrong }), [`v${place}: ${message}`]);
  });

test('references lead to places of the schema, also around', () => {
  const tree = {
    type: 'object',
    properties: { child: { $ref: '#/$defs/node' } },
    $defs: { node: object({ name: { type: 'string' }, child: { $ref: '#/$defs/node' } }) },
  };
  assert.deepEqual(issues(tree, { child: { child: { child: { name: 1 } } } }), ['child.child.child.name: expected a string, got a number']);
  assert.deepEqual(issues({ type: 'object', $defs: { 'a/b': { type: 'null' } }, properties: { v: { $ref: '#/$defs/a~1b' } } }, { v: 1 }), [
    'v: expected null, got a number',
  ]);
});

test('members of the prototype are no members', () => {
  assert.deepEqual(issues(object({}, { required: ['constructor'] }), {}), ['constructor: is required']);
  assert.deepEqual(issues(object({}, { additionalProperties: false }), JSON.parse('{"__proto__": 1}')), ['__proto__: unknown']);
});

/** Without a bound it would take minutes, or end with the memory. */
const soon = (work: () => string[]): string[] => {
  const effort = startEffort();
  const found = work();
  const ms = effort();
  assert.ok(ms < 20_000, `${ms} ms`);
  return found;
};

test('no schema and no argument takes the process for itself', () => {
  const text = `${'a'.repeat(50_000)}!`;
  assert.deepEqual(
    soon(() => issues(object({ v: { type: 'string', pattern: '^(a+)+$' } }), { v: text })),
    ['v: does not match ^(a+)+$'],
  );
  assert.deepEqual(
    soon(() => issues({ type: 'object', allOf: [{ $ref: '#' }, { $ref: '#' }] }, {})),
    [': takes too long to check'],
  );
  // each level doubles the work
  const $defs: Record<string, unknown> = { d0: { type: 'string' } };
  for (let i = 1; i <= 25; i++) $defs[`d${i}`] = { anyOf: [{ $ref: `#/$defs/d${i - 1}` }, { $ref: `#/$defs/d${i - 1}` }] };
  assert.deepEqual(
    soon(() => issues(object({ v: { $ref: '#/$defs/d25' } }, { $defs }), { v: 1 })),
    [': takes too long to check'],
  );
  const numbers = Array.from({ length: 150_000 }, (_, i) => i);
  assert.deepEqual(
    soon(() => issues(object({ v: { type: 'array', uniqueItems: true } }), { v: numbers })),
    [],
  );
  assert.match(soon(() => issues(object({ v: { type: 'array', items: { type: 'string' } } }), { v: numbers })).join(), /v\[0\]/);
  const deep = JSON.parse(`${'['.repeat(100_000)}${']'.repeat(100_000)}`) as unknown;
  assert.deepEqual(
    soon(() => issues(object({}), { v: deep })),
    [': nested more than 64 deep'],
  );
});

test('a pattern with more than RE2 has is the tool’s to check', () => {
  assert.deepEqual(issues(object({ v: { type: 'string', pattern: '^(?!x)' } }), { v: 'x' }), []);
});
