import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startEffort } from '../../test/support/effort.ts';
import { hostMatcher, nameMatcher, pathMatcher } from './glob.ts';

const TABLES = {
  host: [
    ['*', 'example.com', true],
    ['example.com', 'example.com', true],
    ['example.com', 'a.example.com', false],
    ['*.example.com', 'a.example.com', true],
    ['*.example.com', 'a.b.example.com', true],
    ['*.example.com', 'example.com', false],
    ['*.example.com', '.example.com', false],
    ['*.example.com', 'notexample.com', false],
    ['*.example.com', 'a.example.com.evil.org', false],
  ],
  name: [
    ['*', '', true],
    ['github.get_*', 'github.get_', true],
    ['github.get_*', 'github.get_repo', true],
    ['github.get_*', 'github.merge', false],
    ['*.read', 'slack.read', true],
    ['*.read', 'slack.read.all', false],
    ['a*b*c', 'a/x/b.c', true],
    ['a*b*c', 'acb', false],
    ['a.c', 'abc', false],
  ],
  path: [
    ['/v1/*', '/v1', true],
    ['/v1/*', '/v1/a/b', true],
    ['/v1/*', '/v10', false],
    ['/v1/**', '/v1/a/b', true],
    ['/v1/*/refunds', '/v1/charges/refunds', true],
    ['/v1/*/refunds', '/v1/charges/9/refunds', false],
    ['/v1/**/refunds', '/v1/charges/9/refunds', true],
    ['/repos/*/*/issues', '/repos/a/b/issues', true],
    ['/repos/*/*/issues', '/repos/a/issues', false],
    ['/a*/**/z', '/ab/c/d/z', true],
    ['/a*/**/z', '/b/c/z', false],
    ['/v1/items', '/v1/items/', false],
  ],
} as const;

for (const [what, matcher] of [
  ['host', hostMatcher],
  ['name', nameMatcher],
  ['path', pathMatcher],
] as const) {
  test(`a pattern of a ${what} matches what it says and nothing else`, () => {
    for (const [pattern, text, expected] of TABLES[what]) assert.equal(matcher(pattern)(text), expected, `${pattern} on ${text}`);
  });
}

test('no path makes a pattern slow', () => {
  const pattern = pathMatcher('/**a**a**a**a**a**a**a/end');
  const effort = startEffort();
  assert.equal(pattern(`/${'a'.repeat(8000)}`), false);
  assert.ok(effort() < 500);
});
