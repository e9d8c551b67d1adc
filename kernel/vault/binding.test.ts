import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startEffort } from '../../test/support/effort.ts';
import { type BindingRequest, canonicalHost, matchesHost, matchesPath, parseBinding, parseHostPattern } from './index.ts';
import { formatHostPattern } from './binding.ts';

test('a host has one form, however it is written', () => {
  const forms: Record<string, string> = {
    'api.example.com': 'api.example.com',
    'API.Example.COM': 'api.example.com',
    'api.example.com.': 'api.example.com',
    localhost: 'localhost',
    my_service: 'my_service',
    'bücher.example': 'xn--bcher-kva.example',
    'XN--BCHER-KVA.example': 'xn--bcher-kva.example',
    'faß.de': 'xn--fa-hia.de',
    'ｅｘａｍｐｌｅ.com': 'example.com',
    'a。b': 'a.b',
    '127.0.0.1': '127.0.0.1',
    '127.0.0.1.': '127.0.0.1',
    '::1': '::1',
    '[::1]': '::1',
    '[0:0:0:0:0:0:0:1]': '::1',
    '[2001:DB8::0:1]': '2001:db8::1',
    '::ffff:127.0.0.1': '::ffff:7f00:1',
    '1.example.com': '1.example.com',
    '0x7f.example': '0x7f.example',
    [`${'a'.repeat(63)}.example`]: `${'a'.repeat(63)}.example`,
  };
  for (const [written, canonical] of Object.entries(forms)) assert.equal(canonicalHost(written), canonical, written);
});

test('what is no host, or an address in disguise, has no form', () => {
  for (const text of [
    '',
    '.',
    '..',
    'a..b',
    'example.com..',
    'example.com。',
    '.example.com',
    '127.1',
    '0x7f.1',
    '0x7f000001',
    '2130706433',
    '0177.0.0.1',
    '017700000001',
    '1.2.3',
    '1.2.3.4.5',
    '256.1.1.1',
    '127.0.0.01',
    'example.1',
    'example.0x1',
    '１２７.0.0.1',
    '①②⑦.0.0.1',
    '[127.0.0.1]',
    '[::1',
    '::1]',
    'fe80::1%eth0',
    '[fe80::1%25eth0]',
    'example.com:443',
    'user@example.com',
    'user:pass@example.com',
    'example.com/path',
    'example.com\\evil.com',
    'example.com?x',
    'example.com#x',
    'exa mple.com',
    'example.com\n',
    'example%2ecom',
    'exam％2eple.com',
    '-example.com',
    'example-.com',
    '*.example.com',
    `${'a'.repeat(64)}.example`,
    `${'a.'.repeat(127)}a`,
    `${'ü'.repeat(62)}.${'ü'.repeat(62)}.${'ü'.repeat(62)}.${'ü'.repeat(62)}`,
  ])
    assert.equal(canonicalHost(text), undefined, JSON.stringify(text));
});

test('patterns of hosts name scheme, host and port, and are written back as they are read', () => {
  const patterns: [text: string, scheme: string, host: string, port: number, back?: string][] = [
    ['api.example.com', 'https', 'api.example.com', 443],
    ['API.example.com.', 'https', 'api.example.com', 443, 'api.example.com'],
    ['api.example.com:443', 'https', 'api.example.com', 443, 'api.example.com'],
    ['api.example.com:8443', 'https', 'api.example.com', 8443],
    ['https://api.example.com/', 'https', 'api.example.com', 443, 'api.example.com'],
    ['http://internal', 'http', 'internal', 80, 'http://internal:80'],
    ['http://internal:8080', 'http', 'internal', 8080],
    ['*.example.com', 'https', '*.example.com', 443],
    ['*.Bücher.example:8443', 'https', '*.xn--bcher-kva.example', 8443, '*.xn--bcher-kva.example:8443'],
    ['[::1]', 'https', '::1', 443],
    ['[2001:db8:0::1]:8443', 'https', '2001:db8::1', 8443, '[2001:db8::1]:8443'],
    ['10.0.0.7:9000', 'https', '10.0.0.7', 9000],
  ];
  for (const [text, scheme, host, port, back] of patterns) {
    const pattern = parseHostPattern(text);
    assert.deepEqual(pattern, { scheme, host, port }, text);
    assert.equal(formatHostPattern(pattern), back ?? text);
    assert.deepEqual(parseHostPattern(formatHostPattern(pattern)), pattern);
  }
});

test('patterns that would be wider than they look are refused', () => {
  for (const text of [
    '',
    '*',
    '*.com',
    '*.localhost',
    '*.10.0.0.1',
    '*.[::1]',
    '**.example.com',
    'api.*.com',
    'a*.example.com',
    '*example.com',
    'user@example.com',
    'https://user:pw@example.com',
    'example.com/path',
    'ftp://example.com',
    'example.com:0',
    'example.com:65536',
    'example.com:',
    'example.com:https',
    '::1',
    '127.1',
    '2130706433',
    'example.com evil.com',
  ])
    assert.throws(() => parseHostPattern(text), { code: 'INVALID_SECRET', message: /^hosts: / }, text);
});

test('a pattern matches its host, scheme and port, a wildcard one label or more, never none', () => {
  const matches = (pattern: string, target: string) => matchesHost(parseHostPattern(pattern), parseHostPattern(target));
  assert.equal(matches('api.example.com', 'api.example.com'), true);
  assert.equal(matches('*.example.com', 'a.example.com'), true);
  assert.equal(matches('*.example.com', 'a.b.example.com'), true);
  for (const [pattern, target] of [
    ['api.example.com', 'example.com'],
    ['api.example.com', 'x.api.example.com'],
    ['api.example.com', 'api.example.com:8443'],
    ['api.example.com', 'http://api.example.com:443'],
    ['*.example.com', 'example.com'],
    ['*.example.com', 'evilexample.com'],
    ['*.example.com', 'a.example.com.evil.com'],
    ['*.example.com', 'a.example.com:444'],
  ] as const)
    assert.equal(matches(pattern, target), false, `${pattern} and ${target}`);
});

test('globs of paths: a star stays within a segment, at the end it stands for all below', () => {
  const table: [pattern: string, yes: readonly string[], no: readonly string[]][] = [
    ['/v1/charges', ['/v1/charges'], ['/v1/charges/', '/v1/charges/1', '/v1/charge', '/V1/charges']],
    ['/v1/*', ['/v1', '/v1/', '/v1/a', '/v1/a/b'], ['/v10', '/v10/a', '/v2/a', '/']],
    ['/v1/**', ['/v1', '/v1/a', '/v1/a/b'], ['/v10/a']],
    ['/*', ['/', '/a', '/a/b'], []],
    ['/v1/*/refunds', ['/v1/x/refunds'], ['/v1/x/y/refunds', '/v1/refunds', '/v1/x/refunds/1']],
    ['/v1/**/refunds', ['/v1/x/refunds', '/v1/x/y/refunds'], ['/v1/x/refund']],
    [
      '/repos/*/issues/*',
      ['/repos/a/issues', '/repos/a/issues/1', '/repos/a/issues/1/comments'],
      ['/repos/a/b/issues/1', '/repos/a/issuesx'],
    ],
    ['/file*', ['/file', '/file.txt'], ['/file/x', '/xfile']],
    ['/a.b(c)+', ['/a.b(c)+'], ['/axb(c)+', '/a.bcc']],
    ['/x*y', ['/xy', '/x%0Ay'], ['/x/y']],
  ];
  for (const [pattern, yes, no] of table) {
    for (const path of yes) assert.equal(matchesPath(pattern, path), true, `${pattern} should match ${path}`);
    for (const path of no) assert.equal(matchesPath(pattern, path), false, `${pattern} should not match ${path}`);
  }
});

test('no path makes a pattern slow, whoever wrote either', () => {
  const effort = startEffort();
  assert.equal(matchesPath('/*a*a*a*a*a*b/*', `/${'a'.repeat(8000)}`), false);
  assert.equal(matchesPath('/**a/**a/**a*b', `/${'a/'.repeat(4000)}`), false);
  const ms = effort();
  assert.ok(ms < 1000, `${Math.round(ms)} ms`);
});

test('a binding that says nothing of places counts in any header, and nowhere else', () => {
  assert.deepEqual(parseBinding({ hosts: ['a.example'] }).places, { headers: 'any', query: [], path: false, body: false });
  assert.deepEqual(parseBinding({ hosts: ['a.example'], match_body: true }).places, { headers: [], query: [], path: false, body: true });
  assert.deepEqual(parseBinding({ hosts: ['a.example'], match_headers: ['X-Key'], match_query: true }).places, {
    headers: ['x-key'],
    query: 'any',
    path: false,
    body: false,
  });
  const injected = parseBinding({ hosts: ['a.example'], inject: { header: 'Authorization', format: 'Bearer {value}' } });
  assert.deepEqual([injected.places.headers, injected.inject], [[], { header: 'authorization', format: 'Bearer {value}' }]);
});

test('bindings that make no sense are refused, and the field is named', () => {
  const hosts = ['a.example'];
  const refused: [BindingRequest, RegExp][] = [
    [{ hosts: [] }, /^hosts: /],
    [{ hosts, methods: ['GE T'] }, /^methods: /],
    [{ hosts, paths: ['v1'] }, /^paths: /],
    [{ hosts, paths: ['/v1/../admin'] }, /^paths: /],
    [{ hosts, paths: ['/v1?x'] }, /^paths: /],
    [{ hosts, match_headers: ['Host'] }, /^match_headers: /],
    [{ hosts, match_headers: ['transfer-encoding'] }, /^match_headers: /],
    [{ hosts, match_headers: ['a b'] }, /^match_headers: /],
    [{ hosts, match_query: [''] }, /^match_query: /],
    [{ hosts, inject: { header: 'connection' } }, /^inject\.header: /],
    [{ hosts, inject: { header: 'x', format: 'Bearer' } }, /^inject\.format: /],
    [{ hosts, inject: { header: 'x', format: 'a\r\nb: {value}' } }, /^inject\.format: /],
  ];
  for (const [request, message] of refused) assert.throws(() => parseBinding(request), { code: 'INVALID_SECRET', message });
});
