import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseWebhookSpecs } from './spec.ts';
import type { WebhookAuth, WebhookSpec } from './types.ts';

const NONE = { slug: 'a', auth: 'none' };

function one(declared: unknown): WebhookSpec {
  const { specs, problems } = parseWebhookSpecs(declared);
  assert.deepEqual(problems, []);
  assert.equal(specs.length, 1);
  return specs[0] as WebhookSpec;
}

function problemsOf(declared: unknown): string[] {
  const { specs, problems } = parseWebhookSpecs(declared);
  assert.deepEqual(specs, [], 'nothing of a webhook with a problem is served');
  return problems.map(({ field, message }) => `${field}: ${message}`);
}

test('reads the example of the documentation, in Python spelling and in TypeScript spelling', () => {
  const expected: WebhookSpec = {
    slug: 'github-issue-triage',
    provider: 'github',
    auth: { type: 'github', secretRef: 'GITHUB_WEBHOOK_SECRET' },
    triggerKey: { type: 'header', header: 'x-github-delivery' },
    allowedMethods: ['POST'],
    allowedContentTypes: ['application/json', 'application/x-www-form-urlencoded'],
    maxBodyBytes: 1024 * 1024,
    rateLimit: null,
    filter: null,
    enabled: true,
  };
  const common = { slug: 'github-issue-triage', provider: 'github' };
  assert.deepEqual(
    one([
      {
        ...common,
        auth: { type: 'github_hmac', secret_ref: 'GITHUB_WEBHOOK_SECRET' },
        trigger_key: { type: 'header', name: 'X-GitHub-Delivery' },
        allowed_methods: ['post'],
        allowed_content_types: ['application/json', 'Application/X-WWW-Form-Urlencoded'],
      },
    ]),
    expected,
  );
  assert.deepEqual(
    one({
      ...common,
      auth: { type: 'github', secretRef: 'GITHUB_WEBHOOK_SECRET' },
      triggerKey: { header: 'X-GitHub-Delivery' },
      allowedContentTypes: ['application/json', 'application/x-www-form-urlencoded'],
    }),
    expected,
  );
});

test('nothing declared is nothing served', () => {
  for (const declared of [undefined, null, []]) assert.deepEqual(parseWebhookSpecs(declared), { specs: [], problems: [], refused: [] });
});

test('reads the auth shapes of both generations', () => {
  const hmac = {
    type: 'hmac',
    secretRef: 'S',
    header: 'x-webhook-signature',
    prefix: 'sha256=',
    encoding: 'hex',
    algorithm: 'sha256',
  } as const;
  const shapes: [unknown, WebhookAuth][] = [
    ['none', { type: 'none' }],
    [{ type: 'none' }, { type: 'none' }],
    [{ kind: 'none' }, { type: 'none' }],
    [
      { kind: 'github', secret_ref: 'S' },
      { type: 'github', secretRef: 'S' },
    ],
    [{ secret_ref: 'S' }, hmac],
    [{ secretRef: 'S' }, hmac],
    [{ type: 'hmac', secret_ref: 'S', timestamp_header: null }, hmac],
    [
      { secret_ref: 'S', signature_header: 'X-Hub-Signature-256', algorithm: 'sha256', signature_prefix: 'sha256=', encoding: 'hex' },
      { ...hmac, header: 'x-hub-signature-256' },
    ],
    [
      { type: 'hmac', secret_ref: 'S', algorithm: 'sha1' },
      { ...hmac, algorithm: 'sha1', prefix: 'sha1=' },
    ],
    [
      { type: 'hmac', secret_ref: 'S', header: 'X-S', prefix: '', encoding: 'base64', timestamp_header: 'X-T', tolerance_seconds: 60 },
      { ...hmac, header: 'x-s', prefix: '', encoding: 'base64', timestampHeader: 'x-t', toleranceSeconds: 60 },
    ],
    [
      { type: 'bearer', secret_ref: 'S' },
      { type: 'bearer', secretRef: 'S', header: 'authorization', scheme: 'Bearer' },
    ],
    [
      { type: 'bearer', secret_ref: 'S', header: 'X-Gitlab-Token', scheme: '' },
      { type: 'bearer', secretRef: 'S', header: 'x-gitlab-token', scheme: '' },
    ],
    [
      { type: 'slack', secret_ref: 'S' },
      { type: 'slack', secretRef: 'S', toleranceSeconds: 300 },
    ],
    [
      { type: 'stripe', secret_ref: 'S', tolerance: 60 },
      { type: 'stripe', secretRef: 'S', toleranceSeconds: 60 },
    ],
    [
      { type: 'standard_webhooks', secret_ref: 'S' },
      { type: 'standard_webhooks', secretRef: 'S', toleranceSeconds: 300 },
    ],
  ];
  for (const [auth, expected] of shapes) assert.deepEqual(one({ slug: 'a', auth }).auth, expected, JSON.stringify(auth));
});

test('never makes an auth that it does not understand public', () => {
  const auths: unknown[] = [
    undefined,
    null,
    '',
    'github',
    'None',
    'NONE',
    'open',
    0,
    false,
    true,
    [],
    ['none'],
    [{ type: 'none' }],
    {},
    { type: 'githb', secret_ref: 'S' },
    { type: null },
    { type: '' },
    { type: 'None' },
    { kind: 'oauth' },
    { type: ['none'] },
    { type: 'none', secret_ref: 'S' },
    { type: 'none', kind: 'github' },
    { type: 'github' },
    { type: 'github', secret_ref: '' },
    { type: 'github', secret_ref: 7 },
    { type: 'github', secret_ref: 'S', secretRef: 'T' },
    { type: 'github', secret: 'S' },
    { type: 'github', secret_ref: 'S', colour: 'red' },
    { type: 'hmac', secret_ref: 'S', algorithm: 'md5' },
    { type: 'hmac', secret_ref: 'S', encoding: 'base32' },
    { type: 'hmac', secret_ref: 'S', header: 'no header' },
    { type: 'hmac', secret_ref: 'S', header: '' },
    { type: 'hmac', secret_ref: 'S', header: 'x', signature_header: 'y' },
    { type: 'hmac', secret_ref: 'S', tolerance_seconds: 60 },
    { type: 'hmac', secret_ref: 'S', prefix: 7 },
    { type: 'hmac', secret_ref: 'S', prefix: 'v1,' },
    { type: 'stripe', secret_ref: 'S', tolerance_seconds: 0 },
    { type: 'stripe', secret_ref: 'S', tolerance_seconds: -1 },
    { type: 'stripe', secret_ref: 'S', tolerance_seconds: '300' },
    { type: 'bearer', secret_ref: 'S', scheme: 'a b' },
    JSON.parse('{"__proto__": {"type": "none"}}'),
    { constructor: 'none' },
  ];
  for (const auth of auths) assert.notEqual(problemsOf({ slug: 'a', auth }).length, 0, JSON.stringify(auth));
  assert.match(problemsOf('a-slug-alone')[0] as string, /^WEBHOOKS\.auth: is missing: expected an object with a type, or "none"/);
});

test('never quotes what stands where a name should: it may be the secret', () => {
  const messages = problemsOf({ slug: 'a', auth: { type: 'github', secret_ref: 'whsec-hunter2/+', scheme: 'hunter2' } }).join('\n');
  assert.match(messages, /WEBHOOKS\.auth\.secret_ref: expected the name of a secret/);
  assert.doesNotMatch(messages, /hunter2/);
});

test('a webhook with a problem is left out, and the others are served', () => {
  const { specs, problems } = parseWebhookSpecs([
    NONE,
    { slug: 'b', auth: 'nobody' },
    { slug: 'c', auth: 'none' },
    { slug: 'a', auth: 'none' },
  ]);
  assert.deepEqual(
    specs.map(({ slug }) => slug),
    ['a', 'c'],
  );
  assert.deepEqual(
    problems.map(({ field }) => field),
    ['WEBHOOKS[1].auth', 'WEBHOOKS[3].slug'],
  );
});

test('takes slugs that are safe in a URL, and not those of the chat bots', () => {
  for (const slug of ['a', '0', 'a.b_c-d', 'a'.repeat(128)]) assert.equal(one({ slug, auth: 'none' }).slug, slug);
  for (const slug of ['', 'A', '-a', '.a', '_a', 'a/b', 'a b', 'ä', 'a\n', 'a'.repeat(129), 'slack', null, 1, undefined, ['a']]) {
    assert.notEqual(problemsOf({ slug, auth: 'none' }).length, 0, String(slug));
  }
});

test('reads trigger keys of every kind', () => {
  const key = (trigger_key: unknown): unknown => one({ ...NONE, trigger_key }).triggerKey;
  assert.deepEqual(key(undefined), { type: 'body' });
  assert.deepEqual(key('nightly'), { type: 'static', value: 'nightly' });
  assert.deepEqual(key({ type: 'static', value: 'nightly' }), { type: 'static', value: 'nightly' });
  assert.deepEqual(key({ type: 'header', header: 'X-Id' }), { type: 'header', header: 'x-id' });
  assert.deepEqual(key({ kind: 'header', name: 'X-Id' }), { type: 'header', header: 'x-id' });
  assert.deepEqual(key({ type: 'json_path', path: '$.data[0].id' }), { type: 'json_path', path: '$.data[0].id' });
  assert.deepEqual(key({ type: 'body' }), { type: 'body' });
  const wrong = [
    '',
    '  ',
    7,
    [],
    {},
    { type: 'cookie' },
    { type: 'header' },
    { header: 'a', name: 'b' },
    { type: 'json_path', path: 'a..b' },
    { type: 'body', x: 1 },
  ];
  for (const trigger_key of wrong) assert.notEqual(problemsOf({ ...NONE, trigger_key }).length, 0, JSON.stringify(trigger_key));
});

test('reads limits within bounds', () => {
  const spec = one({
    ...NONE,
    max_body_bytes: 1024 * 1024,
    rate_limit: { limit: 100, period_seconds: 60 },
    enabled: false,
    allowed_content_types: ['*/*'],
  });
  assert.equal(spec.maxBodyBytes, 1024 * 1024);
  assert.deepEqual(spec.rateLimit, { limit: 100, periodSeconds: 60 });
  assert.equal(spec.enabled, false);
  assert.equal(spec.allowedContentTypes, null);
  const wrong = [
    { max_body_bytes: 1024 * 1024 + 1 },
    { allowed_methods: ['POST', 'head'] },
    { max_body_bytes: 0 },
    { max_body_bytes: '1' },
    { rate_limit: 5 },
    { rate_limit: {} },
    { rate_limit: { limit: 1, per: 'minute' } },
    { enabled: 'no' },
    { allowed_methods: [] },
    { allowed_methods: 'POST' },
    { allowed_methods: ['P T'] },
    { allowed_content_types: [] },
    { allowed_content_types: ['json'] },
    { alowed_methods: ['POST'] },
    { provider: 7 },
    { filter: [] },
  ];
  for (const each of wrong) assert.notEqual(problemsOf({ ...NONE, ...each }).length, 0, JSON.stringify(each));
});

test('reads a tree of filters, and refuses one that would let through what nobody meant', () => {
  const leaf = { source: 'header', key: 'X-GitHub-Event', op: 'in', values: ['issues', 'push'] };
  assert.deepEqual(one({ ...NONE, filter: { any: [leaf, { all: [{ key: 'a.b', value: true }] }] } }).filter, {
    any: [
      { source: 'header', key: 'x-github-event', op: 'in', values: ['issues', 'push'] },
      { all: [{ source: 'body', key: 'a.b', op: 'equals', values: [true] }] },
    ],
  });
  let deep: object = leaf;
  for (let i = 0; i < 11; i++) deep = { all: [deep] };
  const wrong = [
    {},
    { any: [] },
    { all: {} },
    { any: [leaf], all: [leaf] },
    { any: [leaf], key: 'x' },
    { ...leaf, op: 'regex' },
    { ...leaf, source: 'query' },
    { ...leaf, values: [] },
    { ...leaf, values: [{}] },
    { ...leaf, values: 'issues' },
    { source: 'body', value: 'x' },
    { ...leaf, key: 'Authorization' },
    deep,
    'x',
  ];
  for (const filter of wrong) assert.notEqual(problemsOf({ ...NONE, filter }).length, 0, JSON.stringify(filter));
});

test('a tolerance without the time that it is for is a promise that nothing keeps', () => {
  assert.deepEqual(problemsOf({ slug: 'a', auth: { type: 'hmac', secret_ref: 'S', tolerance: 60 } }), [
    'WEBHOOKS.auth.tolerance_seconds: needs a timestamp_header',
  ]);
});

test('says in which field of which webhook the problem is', () => {
  assert.deepEqual(problemsOf([{ slug: 'a', auth: { type: 'hmac', secretRef: 'S', hedder: 'x' }, trigger_key: { type: 'header' } }]), [
    'WEBHOOKS[0].auth.hedder: is not known here',
    'WEBHOOKS[0].trigger_key.header: is missing: expected the name of a header',
  ]);
});
