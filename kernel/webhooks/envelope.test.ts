import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { utf8 } from './encoding.ts';
import { buildEnvelope, type Built, type Received } from './envelope.ts';
import { matchesFilter } from './filter.ts';
import type { Envelope, WebhookAuth } from './types.ts';

const JSON_TYPE = { 'content-type': 'application/json' };
const FORM_TYPE = { 'content-type': 'application/x-www-form-urlencoded' };

function build(received: Partial<Received>, auth: WebhookAuth = { type: 'none' }): Promise<Built> {
  const usual = {
    method: 'post',
    path: '/api/webhooks/a',
    query: new URLSearchParams(),
    headers: new Headers(),
    rawBody: utf8(''),
    sourceIp: null,
  };
  return buildEnvelope({ slug: 'a', provider: 'github', auth }, { ...usual, ...received });
}

async function webhookOf(...args: Parameters<typeof build>): Promise<Envelope['webhook']> {
  const built = await build(...args);
  assert.ok(built.ok, 'the body was refused');
  return built.envelope.webhook;
}

async function bodyOf(headers: Record<string, string>, body: string | Uint8Array): Promise<unknown> {
  return (await webhookOf({ headers: new Headers(headers), rawBody: typeof body === 'string' ? utf8(body) : body })).body;
}

async function refusalOf(headers: Record<string, string>, body: string | Uint8Array): Promise<string> {
  const built = await build({ headers: new Headers(headers), rawBody: typeof body === 'string' ? utf8(body) : body });
  return built.ok ? 'not refused' : built.message;
}

test('is the input that the documentation shows', async () => {
  const rawBody = utf8('{"action":"opened"}');
  const headers = new Headers({ ...JSON_TYPE, 'X-GitHub-Event': 'issues' });
  assert.deepEqual(await webhookOf({ rawBody, headers, query: new URLSearchParams('a=1&b=2&b=3'), sourceIp: '203.0.113.10' }), {
    slug: 'a',
    provider: 'github',
    method: 'POST',
    path: '/api/webhooks/a',
    headers: { 'content-type': 'application/json', 'x-github-event': 'issues' },
    query: { a: '1', b: ['2', '3'] },
    body: { action: 'opened' },
    raw_body_sha256: createHash('sha256').update(rawBody).digest('hex'),
    source_ip: '203.0.113.10',
  });
});

test('reads a body as its Content-Type says', async () => {
  assert.deepEqual(await bodyOf({}, ''), {});
  assert.deepEqual(await bodyOf(JSON_TYPE, ''), {});
  assert.deepEqual(await bodyOf({ 'content-type': 'Application/JSON; charset=utf-8' }, ' [1, null] '), [1, null]);
  assert.equal(await bodyOf(JSON_TYPE, '"text"'), 'text');
  assert.deepEqual(await bodyOf({ 'content-type': 'application/cloudevents+json' }, '{}'), {});
  assert.deepEqual(await bodyOf(FORM_TYPE, 'a=1&b=2&b=3&c=&d=%C3%A4+x'), { a: '1', b: ['2', '3'], c: '', d: 'ä x' });
  assert.equal(await bodyOf({ 'content-type': 'text/plain' }, '{"a":1}'), '{"a":1}');
  assert.equal(await bodyOf({}, 'plain'), 'plain');
});

test('the payload of a form is the body when it is JSON, as GitHub sends it', async () => {
  assert.deepEqual(await bodyOf(FORM_TYPE, `payload=${encodeURIComponent('{"issue":{"number":1}}')}`), { issue: { number: 1 } });
  assert.deepEqual(await bodyOf(FORM_TYPE, 'payload=%7Bno&x=1'), { payload: '{no', x: '1' });
  assert.deepEqual(await bodyOf(FORM_TYPE, 'payload=1&payload=2'), { payload: ['1', '2'] });
});

test('refuses what is not what it says it is', async () => {
  for (const body of ['{', '{"a":}', '{"a":1}x', 'undefined', '   ', "{'a':1}"])
    assert.equal(await refusalOf(JSON_TYPE, body), 'the body is not JSON', body);
  for (const type of [JSON_TYPE, FORM_TYPE, {}])
    assert.equal(await refusalOf(type, Uint8Array.of(0x22, 0xff, 0xfe, 0x22)), 'the body is not valid UTF-8');
});

test('refuses a body that is nested too deep, before parsing it', async () => {
  assert.deepEqual(await bodyOf(JSON_TYPE, `${'['.repeat(100)}${']'.repeat(100)}`), JSON.parse(`${'['.repeat(100)}${']'.repeat(100)}`));
  assert.match(await refusalOf(JSON_TYPE, '['.repeat(1_000_000)), /nested more than 100 deep/);
  assert.match(await refusalOf(JSON_TYPE, `${'{"a":'.repeat(101)}1${'}'.repeat(101)}`), /nested/);
  const brackets = JSON.stringify({ text: `"\\${'['.repeat(500)}` });
  assert.deepEqual(await bodyOf(JSON_TYPE, brackets), JSON.parse(brackets), 'brackets in a text are none');
  for (const text of ['\\', '\\\\', '"', '\\"', '\\\\"']) {
    const after = `${JSON.stringify(text)},`;
    assert.match(await refusalOf(JSON_TYPE, `[${after}${'['.repeat(500)}`), /nested/, 'a text ends where it ends');
    assert.deepEqual(await bodyOf(JSON_TYPE, JSON.stringify([text, '['.repeat(500)])), [text, '['.repeat(500)]);
  }
  assert.deepEqual(await bodyOf(FORM_TYPE, `payload=${'['.repeat(200)}`), { payload: '['.repeat(200) });
});

test('a member called __proto__ is a member like any other', async () => {
  const polluting = [
    await bodyOf(JSON_TYPE, '{"__proto__":{"admin":true}}'),
    await bodyOf(FORM_TYPE, '__proto__=admin&constructor=x'),
    (await webhookOf({ query: new URLSearchParams('__proto__=admin') })).query,
  ] as Record<string, unknown>[];
  for (const object of polluting) {
    assert.ok(Object.hasOwn(object, '__proto__'));
    assert.equal(Object.getPrototypeOf(object), Object.prototype);
    assert.equal(object['admin'], undefined);
  }
  assert.equal(({} as Record<string, unknown>)['admin'], undefined);
});

const SENSITIVE = [
  'Authorization',
  'Proxy-Authorization',
  'Cookie',
  'Set-Cookie',
  'X-Api-Key',
  'X-Centaur-Api-Key',
  'X-Hub-Signature',
  'X-Hub-Signature-256',
  'X-Slack-Signature',
  'Stripe-Signature',
  'X-Gitlab-Token',
  'X-Telegram-Bot-Api-Secret-Token',
  'X-Centaur-Edge',
  'X-Shopify-Hmac-Sha256',
  'Webhook-Signature',
  'Svix-Signature',
  'Paypal-Transmission-Sig',
  'X-Auth-Key',
  'X-Amz-Security-Token',
  'Cf-Access-Client-Secret',
  'X-Password',
  'Cf-Access-Jwt-Assertion',
  'ApiKey',
  'X-Access-Key',
  'X-Functions-Key',
  'Key',
  'X-Authentication',
  'X-Session-Id',
];

const HARMLESS = [
  'X-Github-Event',
  'X-Github-Delivery',
  'X-Event-Key',
  'Idempotency-Key',
  'X-Slack-Request-Timestamp',
  'Webhook-Id',
  'User-Agent',
  'X-Author',
  'X-Design-Id',
  'Content-Type',
  'X-Forwarded-For',
];

test('stores no header that proves who somebody is', async () => {
  const headers = new Headers([...SENSITIVE, ...HARMLESS].map((name) => [name, 'hunter2'] as [string, string]));
  const kept = Object.keys((await webhookOf({ headers })).headers).sort();
  assert.deepEqual(kept, HARMLESS.map((name) => name.toLowerCase()).sort());
});

test('stores no header that the webhook has its proof in, whatever it is called', async () => {
  const headers = new Headers({ 'x-proof': 'hunter2', 'x-time': '1' });
  const hmac = {
    type: 'hmac',
    secretRef: 'S',
    header: 'x-proof',
    prefix: '',
    encoding: 'hex',
    algorithm: 'sha256',
    timestampHeader: 'x-time',
  } as const;
  assert.deepEqual((await webhookOf({ headers }, hmac)).headers, { 'x-time': '1' });
  assert.deepEqual((await webhookOf({ headers }, { type: 'bearer', secretRef: 'S', header: 'x-proof', scheme: '' })).headers, {
    'x-time': '1',
  });
});

test('stores no query parameter that proves who somebody is', async () => {
  const query = new URLSearchParams(
    'token=x&access_token=x&api_key=x&apikey=x&key=x&sig=x&X-Amz-Signature=x&client_secret=x&password=x&page=1',
  );
  assert.deepEqual((await webhookOf({ query })).query, { page: '1' });
});

test('a filter reads headers and members, and what is missing matches nothing', async () => {
  const headers = new Headers({ ...JSON_TYPE, 'X-Event': 'issues' });
  const rawBody = utf8('{"action":"opened","n":3,"on":true,"none":null,"labels":["bug","ui"],"repo":{"name":"a/b"},"list":[{"id":7}]}');
  const envelope = { webhook: await webhookOf({ headers, rawBody }) };
  const leaf = (
    source: 'header' | 'body',
    key: string,
    op: 'equals' | 'in' | 'contains' | 'prefix',
    ...values: (string | number | boolean)[]
  ) => ({ source, key, op, values }) as const;
  const yes = leaf('header', 'x-event', 'equals', 'issues');
  const no = leaf('header', 'x-event', 'equals', 'push');
  for (const filter of [
    yes,
    leaf('header', 'x-event', 'in', 'push', 'issues'),
    leaf('header', 'x-event', 'prefix', 'iss'),
    leaf('body', 'n', 'equals', 3),
    leaf('body', 'n', 'equals', '3'),
    leaf('body', 'on', 'equals', true),
    leaf('body', 'labels', 'contains', 'ui'),
    leaf('body', 'repo.name', 'contains', 'a/'),
    leaf('body', '$.list[0].id', 'in', 6, 7),
    { any: [no, { all: [yes, yes] }] },
  ]) {
    assert.equal(matchesFilter(filter, envelope), true, JSON.stringify(filter));
  }
  for (const filter of [
    no,
    leaf('header', 'x-missing', 'contains', ''),
    leaf('header', 'constructor', 'contains', ''),
    leaf('body', 'toString', 'contains', ''),
    leaf('body', 'action.length', 'equals', 6),
    leaf('body', 'n', 'equals', 'three'),
    leaf('body', 'none', 'equals', 'null'),
    leaf('body', 'labels', 'contains', 'u'),
    leaf('body', 'repo', 'contains', 'a'),
    { any: [no, no] },
    { all: [yes, no] },
  ]) {
    assert.equal(matchesFilter(filter, envelope), false, JSON.stringify(filter));
  }
});
