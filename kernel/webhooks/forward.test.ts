import assert from 'node:assert/strict';
import { test } from 'node:test';
import { signForward, verifyForward } from './forward.ts';

const REQUEST = { method: 'POST', path: '/api/webhooks/a?b=1', sha256: 'a'.repeat(64), nowSeconds: 1_800_000_000 };

test('what the edge signed is believed, under any key that is live', async () => {
  for (const sourceIp of ['203.0.113.9', '2001:db8::1', '::ffff:203.0.113.9', null]) {
    const header = await signForward('key', { ...REQUEST, sourceIp });
    assert.deepEqual(await verifyForward(['new', 'key'], header, REQUEST), { ok: true, sourceIp });
  }
  assert.deepEqual(await verifyForward(['key'], await signForward('key', { ...REQUEST, sourceIp: '2001:DB8::1' }), REQUEST), {
    ok: true,
    sourceIp: '2001:db8::1',
  });
});

test('an address that is none is not passed on', async () => {
  for (const sourceIp of ['unknown', 'a,v1=b', '1.2.3.4.POST./x']) {
    assert.match(await signForward('key', { ...REQUEST, sourceIp }), /^t=1800000000,ip=,v1=/);
  }
});

test('nothing that was signed can be changed', async () => {
  const header = await signForward('key', { ...REQUEST, sourceIp: '203.0.113.9' });
  const reason = async (text: string | null, changed: Partial<typeof REQUEST> = {}, keys = ['key']): Promise<string> => {
    const forwarded = await verifyForward(keys, text, { ...REQUEST, ...changed });
    return forwarded.ok ? 'ok' : forwarded.reason;
  };
  assert.equal(await reason(header), 'ok');
  assert.equal(await reason(header, { method: 'PUT' }), 'invalid');
  assert.equal(await reason(header, { path: '/api/webhooks/a?b=2' }), 'invalid');
  assert.equal(await reason(header, { sha256: 'b'.repeat(64) }), 'invalid');
  assert.equal(await reason(header.replace('203', '204')), 'invalid');
  assert.equal(await reason(header.replace('t=18', 't=19')), 'invalid');
  assert.equal(await reason(header, {}, []), 'invalid');
  assert.equal(await reason(header, {}, ['']), 'invalid');
  assert.equal(await reason(header, { nowSeconds: REQUEST.nowSeconds + 61 }), 'stale');
  assert.equal(await reason(null), 'missing');
  for (const text of ['x', `${header}, ${header}`, header.replace('ip=', 'ip=evil'), header.toUpperCase(), header.slice(0, -1)]) {
    assert.equal(await reason(text), 'malformed', text);
  }
});
