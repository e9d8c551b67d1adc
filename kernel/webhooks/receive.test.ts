import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { after, before, test } from 'node:test';
import { GITHUB, SECRET, type SendOptions, startTestWebhooks, type TestWebhooks } from '../../test/support/webhooks.ts';
import { eventually } from '../../test/support/wait.ts';
import { rotateSecret, putSecret } from '../vault/index.ts';
import { createDeliveries } from './deliveries.ts';
import { EDGE_SECRET, receive, type ReceiverParts } from './receive.ts';
import { signForward, FORWARD_HEADER } from './forward.ts';
import { createLimits, FLOOD_RATE } from './limits.ts';
import { createSources } from './source.ts';
import { parseWebhookSpecs } from './spec.ts';
import type { WebhookSpec } from './types.ts';

const BODY = JSON.stringify({ action: 'opened', issue: { number: 7 } });

let t: TestWebhooks;

before(async () => {
  const environment = {
    ONLY_HERE: 'from-the-environment',
    only_Here: 'by-another-name',
    BLANK: '',
    STRIPE: 'not-this',
    [EDGE_SECRET]: 'the-edges-own-key',
  };
  t = await startTestWebhooks({ environment, trustedProxies: ['127.0.0.0/8'] });
});

after(() => t[Symbol.asyncDispose]());

/** What is in the database more than before. */
async function added(work: () => Promise<void>) {
  const earlier = await t.rows();
  await work();
  const { runs, deliveries, triggers } = await t.rows();
  return { runs: runs - earlier.runs, deliveries: deliveries - earlier.deliveries, triggers: triggers - earlier.triggers };
}

const NOTHING = { runs: 0, deliveries: 0, triggers: 0 };

const named = (slug: string, more: object = {}) => ({ ...GITHUB, slug, ...more });
const by = (secret_ref: string) => ({ auth: { type: 'github', secret_ref } });
const deliveriesOf = async (slug: string) => (await t.api.call('GET', `/webhooks/deliveries?slug=${slug}`)).body.items;
const runOf = async (runId: string) => (await t.api.call('GET', `/workflows/runs/${runId}`)).body;

test('a signed delivery starts a run with its envelope, and its repetition finds it, whatever else of it changed', async () => {
  t.declare('triage', named('issues'));
  const headers = { 'x-github-delivery': 'd1', 'x-github-event': 'issues', cookie: 'session=1' };
  const more = await added(async () => {
    const first = await t.send('issues', BODY, { headers, query: '?a=1&a=2&token=t' });
    assert.deepEqual([first.status, first.body.created, first.body.idempotent, first.body.ok], [202, true, false, true]);
    const again = await t.send('issues', BODY, { headers: { ...headers, 'x-github-event': 'other', 'x-forwarded-for': '192.0.2.1' } });
    assert.deepEqual([again.status, again.body.created, again.body.run_id], [200, false, first.body.run_id]);
    const { input, ...run } = await runOf(first.body.run_id);
    const { headers: kept, raw_body_sha256, ...envelope } = input.webhook;
    assert.deepEqual(envelope, {
      slug: 'issues',
      provider: 'github',
      method: 'POST',
      path: '/api/webhooks/issues',
      query: { a: ['1', '2'] },
      body: JSON.parse(BODY),
      source_ip: '127.0.0.1',
    });
    assert.equal(raw_body_sha256, hashOf(BODY));
    assert.equal(kept['x-github-event'], 'issues');
    assert.doesNotMatch(Object.keys(kept).join(), /signature|cookie/);
    assert.deepEqual([run.workflow_name, run.trigger_key], ['triage', 'webhook:issues:x-github-delivery:d1']);
    const other = await t.send('issues', '{}', { headers });
    assert.deepEqual([other.status, other.body.created, other.body.run_id], [200, false, first.body.run_id], 'another body, too');
  });
  assert.deepEqual(more, { runs: 1, deliveries: 3, triggers: 1 });
  const items = (await deliveriesOf('issues')).slice(1);
  assert.deepEqual(
    items.map((each: { created: boolean; event: string; source_ip: string }) => [each.created, each.event, each.source_ip]),
    [
      [false, 'other', '192.0.2.1'],
      [true, 'issues', '127.0.0.1'],
    ],
  );
  assert.deepEqual([items[1].body_sha256, items[1].body_bytes], [hashOf(BODY), BODY.length]);
});

test('what is refused says why with its own status, and leaves nothing behind', async () => {
  const strict = { allowed_content_types: ['application/json', 'text/plain'], max_body_bytes: 1000 };
  t.declare('triage', named('strict', strict), named('off', { enabled: false }));
  t.declare('unset', named('unset', by('NOBODY_SET_THIS')), named('blank', by('BLANK')));
  const sign = (body: string) => `sha256=${createHmac('sha256', SECRET).update(body).digest('hex')}`;
  const refused: readonly (readonly [number, string, string, string, SendOptions?])[] = [
    [404, 'WEBHOOK_NOT_FOUND', 'nobody', BODY],
    [404, 'WEBHOOK_NOT_FOUND', 'off', BODY],
    [404, 'WEBHOOK_NOT_FOUND', 'strict%2F..', BODY],
    [405, 'METHOD_NOT_ALLOWED', 'strict', BODY, { method: 'PUT' }],
    [405, 'METHOD_NOT_ALLOWED', 'strict', BODY, { method: 'GET' }],
    [415, 'UNSUPPORTED_MEDIA_TYPE', 'strict', BODY, { headers: { 'content-type': 'application/xml' } }],
    [415, 'UNSUPPORTED_MEDIA_TYPE', 'strict', BODY, { headers: { 'content-encoding': 'gzip' } }],
    [413, 'TOO_LARGE', 'strict', 'x'.repeat(2000)],
    [401, 'BAD_SIGNATURE', 'strict', BODY, { secret: null }],
    [401, 'BAD_SIGNATURE', 'strict', BODY, { secret: 'another' }],
    [401, 'BAD_SIGNATURE', 'strict', BODY, { headers: { 'x-hub-signature-256': 'sha256=zz' } }],
    [401, 'BAD_SIGNATURE', 'strict', BODY, { headers: { 'x-hub-signature-256': `${sign(BODY)}, ${sign(BODY)}` } }],
    [400, 'MALFORMED_BODY', 'strict', '{"a": '],
    [503, 'WEBHOOK_SECRET_MISSING', 'unset', BODY],
    [503, 'WEBHOOK_SECRET_MISSING', 'unset', BODY, { secret: '' }],
    [503, 'WEBHOOK_SECRET_MISSING', 'blank', BODY, { secret: '' }],
  ];
  const more = await added(async () => {
    for (const [status, code, slug, body, options] of refused) {
      const answer = await t.send(slug, body, options);
      assert.deepEqual(
        [answer.status, answer.body.code],
        [status, code],
        `${slug} ${JSON.stringify(options)} ${JSON.stringify(answer.body)}`,
      );
      if (status === 405) assert.equal(answer.headers.get('allow'), 'POST');
      if (status === 503) assert.equal(answer.headers.get('retry-after'), '30');
      assert.doesNotMatch(JSON.stringify([answer.body, ...answer.headers]), /NOBODY_SET_THIS|BLANK|GITHUB_WEBHOOK_SECRET|whsec/);
    }
  });
  assert.deepEqual(more, NOTHING);
  assert.equal(t.api.t.logs.filter(({ secret }) => secret === 'NOBODY_SET_THIS').length, 1, 'the log names the secret');
});

test('what comes too often is refused, and nothing that is not signed counts', async () => {
  t.declare('scarce', named('scarce', { rate_limit: { limit: 1, period_seconds: 60 } }));
  for (let i = 0; i < 3; i++) assert.equal((await t.send('scarce', BODY, { secret: null })).status, 401);
  assert.equal((await t.send('scarce', BODY)).status, 202);
  const late = await t.send('scarce', BODY);
  assert.deepEqual([late.status, late.body.code], [429, 'RATE_LIMITED']);
  assert.ok(Number(late.headers.get('retry-after')) >= 50);
});

/** A webhook by itself, with clocks that stand still; `asked` is what a delivery had read. */
async function receiverOf(declared: object) {
  const { engine, store } = t.api.t;
  const spec = parseWebhookSpecs(declared).specs[0] as WebhookSpec;
  const served = { spec, workflow: 'triage', source: null };
  const asked: string[] = [];
  const parts: ReceiverParts = {
    engine,
    store,
    registry: { get: () => served, list: () => [served], problems: () => [], close() {} },
    secrets: {
      async get(ref) {
        asked.push(ref);
        return [SECRET];
      },
      close() {},
    },
    floods: createLimits(() => 0),
    limits: createLimits(() => 0),
    sources: createSources([]),
    deliveries: await createDeliveries({ store, log: () => {}, retentionDays: 30 }),
    now: store.now,
  };
  const deliver = (body: Uint8Array | undefined, headers: Record<string, string> = {}) =>
    receive(parts, {
      slug: spec.slug,
      method: 'POST',
      url: new URL(`http://api/webhooks/${spec.slug}`),
      headers: new Headers({ 'content-type': 'application/json', ...headers }),
      peer: undefined,
      traceId: undefined,
      async readBody(most) {
        asked.push(`body of ${most}`);
        return body;
      },
      authoriseForward: () => Promise.reject(new Error('nobody asked')),
    });
  return { parts, spec, asked, deliver, [Symbol.asyncDispose]: () => parts.deliveries.close() };
}

test('a flood is refused before its bodies are read, and leaves the declared rate to what is signed', async () => {
  await using flooded = await receiverOf(named('flooded', { rate_limit: { limit: 1, period_seconds: 60 } }));
  const { parts, spec, asked, deliver } = flooded;
  for (let i = 0; i < FLOOD_RATE.limit; i++) await assert.rejects(deliver(Buffer.from(BODY)), { code: 'BAD_SIGNATURE' });
  assert.equal(asked.length, 2 * FLOOD_RATE.limit);
  await assert.rejects(deliver(Buffer.from(BODY)), { code: 'RATE_LIMITED' });
  assert.equal(asked.length, 2 * FLOOD_RATE.limit, 'neither the body nor the secret was asked for');
  assert.equal(parts.limits.take(spec.slug, spec.rateLimit ?? FLOOD_RATE), 0);
});

test('no more of a body is asked for than its webhook takes, and more than that is never verified', async () => {
  for (const [declared, most] of [
    [{ max_body_bytes: 1000 }, 1000],
    [{}, 1024 * 1024],
  ] as const) {
    await using sized = await receiverOf(named('sized', declared));
    const { asked, deliver } = sized;
    await assert.rejects(deliver(Buffer.alloc(most)), { code: 'BAD_SIGNATURE' });
    assert.deepEqual(asked.splice(0), [`body of ${most}`, 'GITHUB_WEBHOOK_SECRET']);
    const message = `the body is over the limit of ${most} bytes`;
    for (const body of [undefined, Buffer.alloc(most + 1)]) await assert.rejects(deliver(body), { code: 'TOO_LARGE', message });
    assert.deepEqual(asked.splice(0), [`body of ${most}`, `body of ${most}`]);
    await assert.rejects(deliver(Buffer.alloc(1), { 'content-length': `${most + 1}` }), { code: 'TOO_LARGE', message });
    assert.deepEqual(asked, [], 'one that announces it is not read at all');
  }
});

test('what would not fit into a run’s input is refused, and says so', async () => {
  t.declare('full', named('full'));
  const more = await added(async () => {
    const { status, body } = await t.send('full', JSON.stringify({ p: 'x'.repeat(1_048_500) }));
    assert.deepEqual([status, body.code], [413, 'TOO_LARGE']);
    assert.match(body.message, /more than a run takes: 1 MiB/);
  });
  assert.deepEqual(more, NOTHING);
});

test('a body that says nothing of its length is read no further than the limit', async () => {
  t.declare('small', named('small', { max_body_bytes: 1000 }));
  const endless = new ReadableStream({
    pull(controller) {
      controller.enqueue(new Uint8Array(600));
    },
  });
  const more = await added(async () => {
    const response = await fetch(`${t.api.url}/webhooks/small`, { method: 'POST', body: endless, duplex: 'half' });
    assert.equal(response.status, 413);
  });
  assert.deepEqual(more, NOTHING);
});

test('a hundred of the same delivery at once are one run', async () => {
  t.declare('same', named('same'));
  const more = await added(async () => {
    const sent = await Promise.all(Array.from({ length: 100 }, () => t.send('same', BODY, { headers: { 'x-github-delivery': '1' } })));
    assert.equal(new Set(sent.map(({ body }) => body.run_id)).size, 1);
    assert.deepEqual([sent.filter(({ status }) => status === 202).length, sent.filter(({ status }) => status === 200).length], [1, 99]);
  });
  assert.deepEqual(more, { runs: 1, deliveries: 100, triggers: 1 });
});

test('a filter that does not match starts nothing, and Slack’s question is answered once it is signed', async () => {
  t.declare('closed', named('closed', { filter: { source: 'body', key: 'action', op: 'equals', value: 'closed' } }));
  t.declare('chat', { slug: 'chat', auth: { type: 'slack', secret_ref: 'GITHUB_WEBHOOK_SECRET' } });
  const question = JSON.stringify({ type: 'url_verification', challenge: 'c4a1' });
  const timestamp = String(Math.floor(Date.now() / 1000));
  const signature = `v0=${createHmac('sha256', SECRET).update(`v0:${timestamp}:${question}`).digest('hex')}`;
  const headers = { 'x-slack-request-timestamp': timestamp, 'x-slack-signature': signature };
  const more = await added(async () => {
    const filtered = await t.send('closed', BODY);
    assert.deepEqual([filtered.status, filtered.body], [200, { ok: true, filtered: true, run_id: null, created: false }]);
    assert.deepEqual((await t.send('chat', question, { secret: null, headers })).body, { challenge: 'c4a1' });
    assert.equal((await t.send('chat', question, { secret: null })).status, 401);
  });
  assert.deepEqual(more, NOTHING);
});

test('after a rotation both values verify, until the time of grace is over', async () => {
  await putSecret(t.installation, 'test', 'ROTATED', { type: 'webhook', value: SECRET });
  t.declare('rotated', named('rotated', by('ROTATED')));
  let count = 0;
  const statusWith = async (secret: string) => (await t.send('rotated', `${count++}`, { secret })).status;
  assert.equal(await statusWith(SECRET), 202);
  await rotateSecret(t.installation, 'test', 'ROTATED', 'the-second-secret-987', 600);
  await eventually(async () => (await statusWith('the-second-secret-987')) === 202);
  assert.equal(await statusWith(SECRET), 202, 'the first one still counts');
  await rotateSecret(t.installation, 'test', 'ROTATED', 'the-third-secret-654', 1);
  await eventually(async () => (await statusWith('the-third-secret-654')) === 202);
  await eventually(async () => (await statusWith('the-second-secret-987')) === 401);
  assert.equal(await statusWith('the-third-secret-654'), 202);
});

test('a secret is looked for in the vault, then in the environment; one of another type verifies nothing', async () => {
  t.declare('refs', named('env', by('ONLY_HERE')), named('case', by('only_Here')), named('other', by('STRIPE')));
  await putSecret(t.installation, 'test', 'STRIPE', { value: 'sk_live_0123456789abc', hosts: ['api.stripe.com'] });
  assert.equal((await t.send('env', BODY, { secret: 'from-the-environment' })).status, 202);
  assert.equal((await t.send('case', BODY, { secret: 'by-another-name' })).status, 202, 'the name is taken as it is written');
  assert.equal((await t.send('case', BODY, { secret: 'from-the-environment' })).status, 401);
  for (const secret of ['sk_live_0123456789abc', 'not-this']) assert.equal((await t.send('other', BODY, { secret })).status, 503);
  const { items } = (await t.api.call('GET', '/webhooks')).body;
  const problemOf = (slug: string) => items.find((each: { slug: string }) => each.slug === slug).secret_problem;
  assert.equal(problemOf('env'), null);
  assert.match(problemOf('other'), /STRIPE is of type http/);
});

test('the edge says where a delivery came from, with a key for that and its own signature', async () => {
  t.declare('edge', named('edge'));
  const key = await t.api.keyWith('webhooks:forward');
  const vouch = (signingKey: string, path = '/api/webhooks/edge') =>
    signForward(signingKey, { method: 'POST', path, sha256: hashOf(BODY), sourceIp: '203.0.113.7', nowSeconds: Date.now() / 1000 });
  const right = await vouch('the-edges-own-key');
  const sourceOf = async (headers: Record<string, string>) => {
    const { status, body } = await t.send('edge', BODY, { headers });
    return status === 202 ? (await runOf(body.run_id)).input.webhook.source_ip : status;
  };
  const more = await added(async () => {
    assert.equal(await sourceOf({ [FORWARD_HEADER]: right, 'x-api-key': key }), '203.0.113.7');
    assert.equal(await sourceOf({ [FORWARD_HEADER]: right }), 401);
    assert.equal(await sourceOf({ [FORWARD_HEADER]: right, 'x-api-key': await t.api.keyWith('workflows:*') }), 403);
    assert.equal(await sourceOf({ [FORWARD_HEADER]: await vouch('another key'), 'x-api-key': key }), 401);
    assert.equal(await sourceOf({ [FORWARD_HEADER]: await vouch('the-edges-own-key', '/api/webhooks/other'), 'x-api-key': key }), 401);
  });
  assert.equal(more.runs, 1);
});

function hashOf(body: string): string {
  return createHash('sha256').update(body).digest('hex');
}

test('a run and its delivery are written together: where one cannot be, neither is', async () => {
  t.declare('together', named('together'));
  const more = await added(async () => {
    await t.installation.store.query(`alter table webhook_deliveries add constraint no_more check (slug <> 'together') not valid`);
    try {
      assert.equal((await t.send('together', BODY, { headers: { 'x-github-delivery': 'w1' } })).status, 500);
    } finally {
      await t.installation.store.query('alter table webhook_deliveries drop constraint no_more');
    }
  });
  assert.deepEqual(more, NOTHING);
  const later = await added(async () => {
    const all = await Promise.all(
      Array.from({ length: 40 }, (_, i) => t.send('together', BODY, { headers: { 'x-github-delivery': `w${Math.floor(i / 4)}` } })),
    );
    assert.equal(all.filter(({ status }) => status === 202).length, 10);
    assert.equal(all.filter(({ status }) => status === 200).length, 30);
  });
  assert.deepEqual(later, { runs: 10, deliveries: 40, triggers: 10 });
});
