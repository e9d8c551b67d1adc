import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalJson } from '../store/index.ts';
import { canonicalOpenings, mentions, opens, readOpenings } from './openings.ts';

const at = (host: string, port = 443, scheme: 'https' | 'http' = 'https') => ({ scheme, host, port });

test('openings are written in one way, each once', () => {
  const given = [
    { host: 'B.test.', methods: ['post', 'GET', 'get'], paths: ['/b/*', '/a', '/a'] },
    { host: 'http://b.test', paths: [] },
    { host: '*.Bücher.test:8443' },
    { host: '[::0001]' },
    { host: 'b.test:443', methods: ['GET', 'POST'], paths: ['/a', '/b/*'] },
  ];
  const written = canonicalOpenings(given);
  assert.deepEqual(written, [
    { host: '*.xn--bcher-kva.test:8443', methods: [], paths: [] },
    { host: '[::1]', methods: [], paths: [] },
    { host: 'b.test', methods: ['GET', 'POST'], paths: ['/a', '/b/*'] },
    { host: 'http://b.test:80', methods: [], paths: [] },
  ]);
  assert.deepEqual(canonicalOpenings(written), written);
  assert.deepEqual(canonicalOpenings(given.toReversed()), written);
  assert.deepEqual(canonicalOpenings([]), []);
});

test('an opening that is none is refused, and named', () => {
  const refused = [
    [{ host: 'ok.test' }, { host: '*.test' }, /^egress\[1\]\.hosts: "\*\.test": a wildcard needs/],
    [{ host: 'user@a.test' }, /^egress\[0\]\.hosts/],
    [{ host: 'a.test/path' }, /^egress\[0\]\.hosts/],
    [{ host: '127.1' }, /^egress\[0\]\.hosts/],
    [{ host: '*' }, /^egress\[0\]\.hosts/],
    [{ host: 'ftp://a.test' }, /^egress\[0\]\.hosts/],
    [{ host: 'a.test', methods: ['G T'] }, /^egress\[0\]\.methods/],
    [{ host: 'a.test', paths: ['v1'] }, /^egress\[0\]\.paths/],
    [{ host: 'a.test', paths: ['/v1/../v2'] }, /^egress\[0\]\.paths/],
    [{ host: 'a.test', paths: ['/v1?a=b'] }, /^egress\[0\]\.paths/],
  ] as const;
  for (const row of refused) {
    const openings = row.slice(0, -1) as { host: string }[];
    assert.throws(() => canonicalOpenings(openings), { code: 'INVALID_SECRET', message: row.at(-1) as RegExp }, JSON.stringify(openings));
  }
  const many = (count: number) => Array.from({ length: count }, (_, i) => ({ host: `h${i}.test` }));
  assert.equal(canonicalOpenings(many(200)).length, 200);
  assert.throws(() => canonicalOpenings(many(201)), { code: 'INVALID_SECRET', message: /^egress: 200 openings are the most/ });
  const long = [{ host: 'a.test', paths: Array.from({ length: 100 }, (_, i) => `/${i}${'x'.repeat(400)}`) }];
  assert.throws(() => canonicalOpenings(long), { code: 'INVALID_SECRET', message: /^egress: 32768 characters/ });
});

test('what is read opens what was written, and nothing else', () => {
  const openings = readOpenings(
    canonicalJson(
      canonicalOpenings([
        { host: 'a.test', methods: ['get'], paths: ['/v1/*', '/exact', '/x/*/z'] },
        { host: '*.w.test:8443' },
        { host: 'http://p.test:8080' },
      ]),
    ),
  );
  for (const [target, method, path, expected] of [
    [at('a.test'), 'GET', '/v1/x/y', true],
    [at('a.test'), 'GET', '/v1', true],
    [at('a.test'), 'GET', '/exact', true],
    [at('a.test'), 'GET', '/x/y/z', true],
    [at('a.test'), 'GET', '/x/y/y/z', false],
    [at('a.test'), 'GET', '/exact/x', false],
    [at('a.test'), 'GET', '/v1x', false],
    [at('a.test'), 'GET', '/V1/x', false],
    [at('a.test'), 'POST', '/v1/x', false],
    [at('a.test', 8443), 'GET', '/v1/x', false],
    [at('a.test', 443, 'http'), 'GET', '/v1/x', false],
    [at('b.a.test'), 'GET', '/v1/x', false],
    [at('x.w.test', 8443), 'DELETE', '/', true],
    [at('x.y.w.test', 8443), 'DELETE', '/', true],
    [at('w.test', 8443), 'GET', '/', false],
    [at('.w.test', 8443), 'GET', '/', false],
    [at('xw.test', 8443), 'GET', '/', false],
    [at('x.w.test'), 'GET', '/', false],
    [at('p.test', 8080, 'http'), 'GET', '/', true],
    [at('p.test', 8080), 'GET', '/', false],
  ] as const)
    assert.equal(opens(openings, target, method, path), expected, JSON.stringify([target, method, path]));
  assert.deepEqual(
    [at('a.test'), at('x.w.test', 8443), at('p.test', 8080, 'http'), at('p.test', 8080), at('c.test')].map((each) =>
      mentions(openings, each),
    ),
    [true, true, true, false, false],
  );
  assert.equal(mentions(readOpenings('[]'), at('a.test')), false);
});

test('what was not written here is not guessed at', () => {
  const whole = '[{"host":"a.test","methods":[],"paths":[]}]';
  assert.equal(readOpenings(whole).length, 1);
  for (const text of [
    '',
    'null',
    '{}',
    '"a.test"',
    '5',
    '[null]',
    '["a.test"]',
    '[[]]',
    '[{}]',
    '[{"host":5,"methods":[],"paths":[]}]',
    // without its methods it would open more
    '[{"host":"a.test","paths":[]}]',
    '[{"host":"a.test","methods":null,"paths":[]}]',
    '[{"host":"a.test","methods":"GET","paths":[]}]',
    '[{"host":"a.test","methods":["get"],"paths":[]}]',
    '[{"host":"a.test","methods":[],"paths":[""]}]',
    '[{"host":"A.test","methods":[],"paths":[]}]',
    '[{"host":"*","methods":[],"paths":[]}]',
    // a word of a later release
    '[{"host":"a.test","methods":[],"paths":[],"bytes_most":10}]',
    '[{"host":"a.test","host":"b.test","methods":[],"paths":[]}]',
    `${whole} `,
    whole.slice(0, -1),
    `[${Array.from({ length: 201 }, (_, i) => `{"host":"h${i}.test","methods":[],"paths":[]}`).join(',')}]`,
  ])
    assert.throws(() => readOpenings(text), Error, text.slice(0, 100));
});
