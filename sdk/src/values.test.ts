import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StepError } from './errors.ts';
import { describeError, toJson } from './values.ts';

class Refused extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

const json = (value: unknown): string => toJson(value, 'it', Refused);

function refusal(value: unknown): string {
  try {
    json(value);
  } catch (error) {
    assert.ok(error instanceof Refused, String(error));
    return `${error.code} ${error.message}`;
  }
  return 'none';
}

test('a value becomes the text that JSON makes of it', () => {
  const table: [unknown, string][] = [
    [undefined, 'null'],
    [null, 'null'],
    [{ a: undefined, b: [undefined] }, '{"b":[null]}'],
    [new Date(0), '"1970-01-01T00:00:00.000Z"'],
    [{ toJSON: () => 'its own word', n: 1n }, '"its own word"'],
    [Object.create(null), '{}'],
    [
      new (class {
        n = 1;
      })(),
      '{"n":1}',
    ],
  ];
  for (const [value, text] of table) assert.equal(json(value), text);
});

test('what JSON would drop or bend is refused, and the message says where it is', () => {
  const cycle: Record<string, unknown> = {};
  cycle['self'] = [cycle];
  const table: [unknown, RegExp][] = [
    [{ n: Number.NaN }, /^NOT_JSON it: \$\.n is NaN, which JSON cannot hold$/],
    [[0, -Infinity], /^NOT_JSON it: \$\[1\] is -Infinity/],
    [{ a: [{ b: 1n }] }, /^NOT_JSON it: \$\.a\[0\]\.b is a bigint/],
    [() => 1, /^NOT_JSON it: \$ is a function/],
    [{ s: Symbol('x') }, /\$\.s is a symbol/],
    [new Map(), /\$ is a Map/],
    [{ set: new Set() }, /\$\.set is a Set/],
    [new Uint8Array(1), /\$ is a Uint8Array/],
    [new ArrayBuffer(1), /\$ is a ArrayBuffer/],
    [{ p: Promise.resolve() }, /\$\.p is a Promise/],
    [cycle, /nested too deeply, or refers to itself/],
  ];
  for (const [value, expected] of table) assert.match(refusal(value), expected);
});

test('the limit counts bytes, not characters', () => {
  const most = 1024 * 1024;
  assert.equal(json('x'.repeat(most - 2)).length, most);
  assert.match(refusal('x'.repeat(most - 1)), /^TOO_LARGE it: 1048577 bytes of JSON are over the limit of 1048576/);
  assert.equal(refusal('€'.repeat(349_524)), 'none');
  assert.match(refusal('€'.repeat(349_525)), /^TOO_LARGE it: 1048577 bytes/);
});

test('an error is told by name, code and message, whatever was thrown', () => {
  const stepFailed = new StepError({ stepName: 's', attempts: 2, causeName: 'TypeError', code: 'E_NO', message: 'no' });
  const table: [unknown, object][] = [
    [new TypeError('no'), { code: 'ERROR', message: 'no', name: 'TypeError' }],
    [stepFailed, { code: 'E_NO', message: 'no', name: 'TypeError' }],
    [Object.assign(new Error('no'), { code: 7, causeName: { length: 1000 } }), { code: 'ERROR', message: 'no', name: 'Error' }],
    ['no', { code: 'ERROR', message: 'no', name: 'Error' }],
    [{ n: 1 }, { code: 'ERROR', message: '{"n":1}', name: 'Error' }],
    [1n, { code: 'ERROR', message: '1', name: 'Error' }],
    [undefined, { code: 'ERROR', message: 'undefined', name: 'Error' }],
    [
      Object.assign(new Error('m'.repeat(9000)), { code: 'c'.repeat(200), name: 'n'.repeat(200) }),
      { code: `${'c'.repeat(128)}…`, message: `${'m'.repeat(8192)}…`, name: `${'n'.repeat(128)}…` },
    ],
  ];
  for (const [error, told] of table) assert.deepEqual(describeError(error), told);
});
