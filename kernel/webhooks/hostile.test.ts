/** Requests that nobody sends by mistake. Each is refused or harmless, leaves nothing behind, and the next one is served. */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { GITHUB, SECRET, startTestWebhooks, type TestWebhooks } from '../../test/support/webhooks.ts';

const BODY = '{"action":"opened"}';

let t: TestWebhooks;

before(async () => {
  t = await startTestWebhooks();
  t.declare('triage', { ...GITHUB, max_body_bytes: 100_000, allowed_content_types: ['*/*'] });
  t.declare('bearer', { slug: 'bearer', auth: { type: 'bearer', secret_ref: 'GITHUB_WEBHOOK_SECRET' } });
  t.declare('path', { ...GITHUB, slug: 'path', trigger_key: { type: 'json_path', path: 'id' } });
  t.declare('open', { slug: 'open', auth: 'none' });
});

after(() => t[Symbol.asyncDispose]());

const sign = (body: string | Uint8Array) => `sha256=${createHmac('sha256', SECRET).update(body).digest('hex')}`;
const total = async () => Object.values(await t.rows()).reduce((sum, each) => sum + each, 0);

/** What comes back for bytes as they are, until nothing has come for a moment. `patienceMs`: until the first of it. */
function raw(bytes: string, patienceMs = 10_000): Promise<string> {
  return new Promise((resolve) => {
    const { hostname, port } = new URL(t.api.url);
    const socket = connect(Number(port), hostname);
    let answer = '';
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString('latin1');
      socket.setTimeout(60);
    });
    socket.on('close', () => resolve(answer));
    socket.on('error', () => {});
    socket.setTimeout(patienceMs, () => socket.destroy());
    socket.write(bytes);
  });
}

const request = (head: readonly string[], body: string, path = '/api/webhooks/issues') =>
  [`POST ${path} HTTP/1.1`, 'host: x', 'content-type: application/json', ...head, '', body].join('\r\n');
const statusesOf = (answer: string) => [...answer.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(([, status]) => Number(status));

test('a slug is compared as it is: no other spelling, no path around it, no member that every object has', async () => {
  const before = await total();
  for (const path of [
    'ISSUES',
    'issues/',
    'issues%00',
    'issues;x',
    'issues%20',
    '..%2Fissues',
    '__proto__',
    'constructor',
    'deliveries',
    '%',
    '%ff',
    'a'.repeat(5000),
  ])
    assert.ok([400, 404, 405].includes((await t.send(path, BODY)).status), path);
  for (const path of ['//api/webhooks/issues', '/api//webhooks/issues', '/api/webhooks/./issues/../bearer', '/webhooks', '/api/webhooks/'])
    assert.match((await raw(request(['content-length: 2'], '{}', path))).slice(0, 12), /^HTTP\/1\.1 4/, path);
  assert.equal(await total(), before);
});

test('a signature is of this body, in this header, once', async () => {
  const before = await total();
  const right = sign(BODY);
  const forged: readonly Readonly<Record<string, string>>[] = [
    {},
    { 'x-hub-signature-256': '' },
    { 'x-hub-signature-256': 'sha256=' },
    { 'x-hub-signature-256': right.slice(0, -2) },
    { 'x-hub-signature-256': `${right}00` },
    { 'x-hub-signature-256': right.slice('sha256='.length) },
    { 'x-hub-signature-256': right.replace('sha256', 'sha1') },
    { 'x-hub-signature-256': `sha256=${'0'.repeat(64)}` },
    { 'x-hub-signature-256': `${right},${right}` },
    { 'x-hub-signature': right },
    { 'x-signature': right },
    { 'x-original-header': `x-hub-signature-256: ${right}` },
    { 'x-hub-signature-256': sign('') },
    { 'x-hub-signature-256': `sha256=${createHmac('sha256', '').update(BODY).digest('hex')}` },
    { 'x-hub-signature-256': `sha256=${createHmac('sha256', 'GITHUB_WEBHOOK_SECRET').update(BODY).digest('hex')}` },
    { authorization: `Bearer ${SECRET}` },
  ];
  for (const headers of forged)
    assert.equal((await t.send('issues', BODY, { secret: null, headers })).status, 401, JSON.stringify(headers));
  for (const body of [`${BODY} `, BODY.replace('o', 'O'), ''])
    assert.equal((await t.send('issues', body, { secret: null, headers: { 'x-hub-signature-256': right } })).status, 401, body);
  const twice = await raw(request([`x-hub-signature-256: ${right}`, `x-hub-signature-256: ${sign('{}')}`, 'content-length: 2'], '{}'));
  assert.deepEqual(statusesOf(twice), [401]);
  for (const headers of [
    {},
    { authorization: 'Bearer' },
    { authorization: 'Bearer ' },
    { authorization: `Bearer ${SECRET}x` },
    { authorization: `Basic ${SECRET}` },
  ] as const)
    assert.equal((await t.send('bearer', BODY, { secret: null, headers })).status, 401, JSON.stringify(headers));
  assert.equal((await t.send('bearer', BODY, { secret: null, query: `?access_token=${SECRET}&token=${SECRET}` })).status, 401);
  assert.equal(await total(), before);
});

test('a method is what the request line says', async () => {
  const before = await total();
  const override = { 'x-http-method-override': 'POST', 'x-method-override': 'POST' };
  for (const method of ['GET', 'HEAD', 'OPTIONS', 'DELETE', 'PATCH'])
    assert.equal((await t.send('issues', BODY, { method, headers: override, query: '?_method=POST' })).status, 405, method);
  assert.equal(await total(), before);
});

test('one request is one delivery: nothing is smuggled behind it', async () => {
  const before = await total();
  const inner = request([`x-hub-signature-256: ${sign('{"in":1}')}`, 'content-length: 8'], '{"in":1}');
  const bad = `x-hub-signature-256: ${sign('x')}`;
  const both = await raw(request([bad, 'content-length: 4', 'transfer-encoding: chunked'], `0\r\n\r\n${inner}`));
  assert.deepEqual(statusesOf(both), [400]);
  const lengths = await raw(request([bad, 'content-length: 2', `content-length: ${inner.length}`], `{}${inner}`));
  assert.deepEqual(statusesOf(lengths), [400]);
  const odd = await raw(request([bad, 'transfer-encoding: xchunked'], `0\r\n\r\n${inner}`));
  assert.deepEqual(statusesOf(odd), [400]);
  // a body that is too large is not read; what follows it is no request
  const large = await raw(request([bad, 'content-length: 200000'], inner));
  assert.deepEqual(statusesOf(large), [413]);
  assert.equal(await total(), before);
});

test('a body that is cut off or compressed starts nothing', async () => {
  const before = await total();
  await raw(request([`x-hub-signature-256: ${sign(BODY)}`, `content-length: ${BODY.length + 5}`], BODY), 150);
  for (const encoding of ['gzip', 'br', 'deflate', 'identity, gzip', 'GZIP'])
    assert.equal((await t.send('issues', BODY, { headers: { 'content-encoding': encoding } })).status, 415, encoding);
  assert.equal(await total(), before);
});

test('a body that is signed and odd is refused, or stored as it is', async () => {
  const refused: readonly (string | Uint8Array)[] = [
    '{',
    '{"a":1}{"b":2}',
    "{'a':1}",
    '{"a":NaN}',
    '\uFEFF',
    new Uint8Array([0x22, 0xff, 0xfe, 0x22]),
    '['.repeat(50_000),
    `${'['.repeat(5000)}${']'.repeat(5000)}`,
    `${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}`,
  ];
  const before = await total();
  for (const body of refused) assert.equal((await t.send('issues', body)).status, 400, String(body).slice(0, 40));
  assert.equal(await total(), before);
  const odd = [
    '{"__proto__":{"admin":true},"constructor":{"prototype":{"admin":true}},"toString":1,"webhook":{"slug":"other"}}',
    '{"a":"\\u0000","b":"\\ud800"}',
    '{"a":1e400,"b":-0,"c":12345678901234567890}',
    '"text"',
    'null',
    `{"${'k'.repeat(60_000)}":1}`,
  ];
  for (const body of odd) {
    const { status, body: answer } = await t.send('issues', body);
    assert.ok(status === 202 || status === 422, `${status} ${JSON.stringify(answer)} ${body.slice(0, 60)}`);
  }
  assert.equal(({} as { admin?: unknown }).admin, undefined);
});

test('a trigger key may be long, empty or strange; it is still one delivery, and never another webhook’s', async () => {
  const ids = ['x'.repeat(12_000), '../../issues', 'a:b:c', 'é', "'; drop table workflow_runs; --", '%00'];
  for (const id of ids) {
    const headers = { 'x-github-delivery': Buffer.from(id).toString('latin1') };
    const [first, again] = [await t.send('issues', BODY, { headers }), await t.send('issues', BODY, { headers })];
    assert.deepEqual([first.status, again.status, again.body.run_id], [202, 200, first.body.run_id], id.slice(0, 40));
  }
  for (const id of ['\\u0000', '\\ud800', 'x'.repeat(5000), '']) {
    const body = `{"id":"${id}"}`;
    const [first, again] = [await t.send('path', body), await t.send('path', body)];
    assert.deepEqual([first.status, again.status], [202, 200], `${id.slice(0, 20)} ${JSON.stringify(first.body)}`);
  }
});

test('what a sender says of itself is believed in nothing', async () => {
  const headers = {
    'x-forwarded-for': '198.51.100.1',
    'x-real-ip': '198.51.100.1',
    forwarded: 'for=198.51.100.1',
    'x-api-key': 'ck_00000000_made-up',
    traceparent: '00-zz-zz-zz',
    'x-slack-signature': 'v0=1',
    cookie: 'a=b',
  };
  const { status, body } = await t.send('open', BODY, { secret: null, headers, query: '?token=t&key=k&signature=s&a=1' });
  assert.equal(status, 202);
  const { webhook } = (await t.api.call('GET', `/workflows/runs/${body.run_id}`)).body.input;
  assert.deepEqual([webhook.source_ip, webhook.query], ['127.0.0.1', { a: '1' }]);
  assert.doesNotMatch(JSON.stringify(webhook.headers), /made-up|a=b|v0=1/);
  // nobody is the edge by saying so
  assert.equal((await t.send('open', BODY, { secret: null, headers: { 'x-centaur-edge': 't=1,ip=198.51.100.1,v1=00' } })).status, 401);
});

test('after all that, a delivery is served', async () => {
  assert.equal((await t.send('issues', '{"last":true}')).status, 202);
  assert.deepEqual(
    t.api.t.logs.filter(({ level }) => level === 'error'),
    [],
  );
});
