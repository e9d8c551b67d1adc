/** Values on their way out by a rotation: what makes them leave for another place, or say more than they should. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startService } from '../support/firewall.ts';
import { startKeys } from '../support/key-service.ts';
import { createTestRotations } from '../support/rotations.ts';
import type { SecretRequest } from '../../kernel/vault/index.ts';

test('rotation: a redirect is not followed, nor asked again; what surely made nothing is', async () => {
  await using r = await createTestRotations();
  await using elsewhere = await startService((_, response) => void response.writeHead(200).end('{}'));
  await using keys = await startKeys(r, {
    'POST /keys': (_, response) => void response.writeHead(307, { location: `https://localhost:${elsewhere.port}/keys` }).end(),
  });
  await r.put('KEY', keys.described());
  const run = await r.rotate('KEY');
  assert.deepEqual([run.error?.code, keys.asked('POST'), elsewhere.seen.length], ['MINT_UNKNOWN', 1, 0]);
  await using refusing = await startKeys(r, { 'POST /keys': (_, response) => void response.writeHead(403).end('{}') });
  await r.put('OTHER', refusing.described());
  assert.deepEqual([(await r.rotate('OTHER')).error?.code, refusing.asked('POST')], ['MINT_REFUSED', 2]);
});

test('rotation: a value goes to no host but its own, by no address that may not be dialled, and in no header that it could break', async () => {
  await using r = await createTestRotations();
  await using foreign = await startService((_, response) => void response.writeHead(200).end('{}'));
  await using keys = await startKeys(r);
  await r.configure({ allow_cidrs: ['127.0.0.1'], ca_pems: [keys.service.caPem] });
  const { mint } = keys.http;
  const outcome = async (request: SecretRequest) => {
    await r.put('KEY', request);
    return (await r.rotate('KEY')).error?.code;
  };
  const elsewhere = { ...mint, url: `https://localhost:${foreign.port}/keys` };
  assert.equal(await outcome(keys.described({ http: { mint: elsewhere } })), 'NOT_BOUND');
  assert.equal(await outcome(keys.described({ http: { mint: { ...elsewhere, headers: {} } } })), 'NOT_BOUND');
  const pem = '-----BEGIN KEY-----\r\nx-injected: yes\r\n-----END KEY-----';
  assert.equal(await outcome({ ...keys.described(), value: pem }), 'NOT_SENDABLE');
  await r.configure({ ca_pems: [keys.service.caPem] });
  assert.equal(await outcome(keys.described()), 'ADDRESS_DENIED');
  await r.configure({ allow_cidrs: ['127.0.0.1'] });
  assert.equal(await outcome(keys.described()), 'SERVICE_UNREACHABLE', 'its certificate is nobody’s');
  assert.deepEqual([foreign.bytes, keys.service.bytes], [0, 0]);
});

test('rotation: what is declared of requests is checked, covered by the MAC, and needs the value when it changes', async () => {
  await using r = await createTestRotations();
  await using keys = await startKeys(r);
  const { mint, revoke } = keys.http;
  const declared = (http: object) =>
    r.put('KEY', keys.described({ http: http as NonNullable<SecretRequest['rotation']>['http'] & object }));
  for (const [http, problem] of [
    [{ mint: { ...mint, headers: { 'x-a': 'b\r\nx-c: d' } } }, /http\.mint\.headers\.x-a: visible characters alone/],
    [{ mint: { ...mint, headers: { 'x-a\r\nx-b': 'c' } } }, /is no header that can be given/],
    [{ mint: { ...mint, headers: { Host: 'elsewhere.example.com' } } }, /"Host" is no header/],
    [{ mint: { ...mint, url: mint.url.replace('https', 'http') } }, /http\.mint\.url: expected an https/],
    [{ mint: { ...mint, url: 'https://a:b@localhost/' } }, /without a user/],
    [{ mint: { ...mint, url: 'https://{{id}}.example.com/' } }, /http\.mint\.url/],
    [{ mint: { ...mint, url: 'https:///{{id}}/keys' } }, /http\.mint\.url/],
    [{ mint: { ...mint, url: `${mint.url}?key={{current}}` } }, /only \{\{id\}\} may stand in it/],
    [{ mint: { ...mint, method: 'CONNECT' } }, /http\.mint\.method/],
    [{ mint: { ...mint, headers: { a: '{{new}}' } } }, /\{\{new\}\} stands for nothing/],
    [{ mint: { ...mint, headers: { a: '{{admin}}' } } }, /needs an admin_secret/],
    [{ mint: { ...mint, value: 'data.key' } }, /http\.mint\.value: expected a JSON pointer/],
    [{ mint: { ...mint, form: {} } }, /json or form/],
    [{ mint: { ...mint, json: { long: 'x'.repeat(20_000) } } }, /16384 characters/],
  ] as const)
    await assert.rejects(declared(http), problem);
  await r.put('KEY', keys.described());
  const { value: _, ...without } = keys.described({ http: { mint: { ...mint, url: keys.at('/echo') }, revoke } });
  await assert.rejects(r.put('KEY', without), /rotation\.http is another one; give its value again/);
  await r.t.store.query(`update secrets set rotation = replace(rotation::text, '/keys', '/echo')::json where name = 'KEY'`);
  await assert.rejects(r.ask('KEY'), { code: 'SEAL_BROKEN' });
  assert.equal(keys.service.seen.length, 0);
});
