import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { parsePath, valueAt } from './path.ts';
import { triggerKeyFor } from './trigger.ts';
import type { TriggerKey, WebhookAuth } from './types.ts';

const SHA = 'a'.repeat(64);

function keyFor(triggerKey: TriggerKey, headers: Record<string, string> = {}, body: unknown = {}, more: object = {}): Promise<string> {
  const spec = { slug: 'hook', auth: { type: 'none' } as WebhookAuth, triggerKey, ...more };
  return triggerKeyFor(spec, { headers: new Headers(headers), search: '', body, sha256: SHA, ...more });
}

test('a header, a fixed text, a member or the raw body makes two deliveries the same', async () => {
  assert.equal(await keyFor({ type: 'header', header: 'x-id' }, { 'X-Id': ' 7 ' }), 'webhook:hook:x-id:7');
  assert.equal(await keyFor({ type: 'static', value: 'once' }), 'webhook:hook:once');
  assert.equal(await keyFor({ type: 'json_path', path: 'event.id' }, {}, { event: { id: 'evt_1' } }), 'webhook:hook:event.id:evt_1');
  assert.equal(await keyFor({ type: 'json_path', path: 'n' }, {}, { n: 0 }), 'webhook:hook:n:0');
  assert.equal(await keyFor({ type: 'body' }), `webhook:hook:${SHA}`);
});

test('the raw body stands in for a header or member that is missing, empty or no single value', async () => {
  assert.equal(await keyFor({ type: 'header', header: 'x-id' }), `webhook:hook:${SHA}`);
  assert.equal(await keyFor({ type: 'header', header: 'x-id' }, { 'x-id': '' }), `webhook:hook:${SHA}`);
  for (const body of [{}, { id: 2 ** 53 }, { id: 1.5 }, { id: null }, { id: '' }, { id: {} }, { id: ['x'] }, 'text', null, 7]) {
    assert.equal(await keyFor({ type: 'json_path', path: 'id' }, {}, body), `webhook:hook:${SHA}`, JSON.stringify(body));
  }
});

test('a key is never longer than the engine takes, and long ones stay apart', async () => {
  const long = await keyFor({ type: 'header', header: 'x-id' }, { 'x-id': 'b'.repeat(5000) });
  assert.match(long, /^webhook:hook:x-id:sha256:[0-9a-f]{64}$/);
  assert.notEqual(long, await keyFor({ type: 'header', header: 'x-id' }, { 'x-id': 'b'.repeat(5001) }));
  const most = await triggerKeyFor(
    { slug: 's'.repeat(128), auth: { type: 'none' }, triggerKey: { type: 'json_path', path: 'p'.repeat(200) } },
    { headers: new Headers(), search: '', body: { ['p'.repeat(200)]: 'x'.repeat(5000) }, sha256: SHA },
  );
  assert.ok(most.length <= 512, String(most.length));
});

test('what Postgres cannot store, and what nobody should read, stands in the key as its hash', async () => {
  for (const id of ['a\0b', '\ud800'])
    assert.match(await keyFor({ type: 'json_path', path: 'id' }, {}, { id }), /^webhook:hook:id:sha256:/);
  const secret = await keyFor({ type: 'header', header: 'x-hub-signature-256' }, { 'x-hub-signature-256': 'sha256=hunter2' });
  assert.match(secret, /^webhook:hook:x-hub-signature-256:sha256:/);
  assert.doesNotMatch(secret, /hunter2/);
});

test('reads paths with dots, indices and quoted names, and no member that every object has', () => {
  const body = { a: { b: [{ c: 1 }] }, 'x.y': { z: 2 }, 'with space': 3 };
  for (const [path, value] of [
    ['a.b.0.c', 1],
    ['a.b[0].c', 1],
    ['$.a.b[0].c', 1],
    ["$['x.y'].z", 2],
    ['with space', 3],
    ['a.b.length', 1],
    ['a.b[1]', undefined],
    ['constructor.name', undefined],
    ['__proto__', undefined],
  ] as const) {
    assert.equal(valueAt(body, path), value, path);
  }
  for (const path of ['', '$', '.', '.a', 'a.', 'a..b', 'a[', 'a[x]', 'a]', '[]', "['a]"]) assert.equal(parsePath(path), undefined, path);
});

test('without a body the query makes the difference', async () => {
  const nothing = createHash('sha256').update('').digest('hex');
  const byQuery = (search: string, sha256: string) => keyFor({ type: 'body' }, {}, {}, { search, sha256 });
  assert.notEqual(await byQuery('?a=1', nothing), await byQuery('?a=2', nothing));
  assert.equal(await byQuery('?a=1', nothing), await byQuery('?a=1', nothing));
  assert.equal(await byQuery('', nothing), `webhook:hook:${nothing}`);
  assert.equal(await byQuery('?a=1', SHA), await byQuery('?a=2', SHA));
  assert.equal(
    await keyFor({ type: 'header', header: 'x-id' }, {}, {}, { search: '?a=1', sha256: nothing }),
    await byQuery('?a=1', nothing),
  );
});

test('the header of the proof stands in the key as its hash, whatever it is called', async () => {
  const auth = { type: 'hmac', secretRef: 'S', header: 'x-digest', prefix: '', encoding: 'hex', algorithm: 'sha256' };
  assert.match(
    await keyFor({ type: 'header', header: 'x-digest' }, { 'x-digest': 'hunter2' }, {}, { auth }),
    /^webhook:hook:x-digest:sha256:/,
  );
});
