import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestApi, type TestApi } from '../../test/support/api.ts';

const RULES = (effect: string) => `version: 1
default: deny
rules:
  - {id: stripe, host: api.stripe.com, effect: ${effect}, when: request.bytes < 1000}
`;
const NO_ID = '0198c0de-0000-7000-8000-000000000000';

const open = () => startTestApi({ idle: true, vault: 'alone' });
const publish = (api: TestApi, text: string, more: object = {}) => api.call('POST', '/policy/publish', { text, ...more });

/** As the firewall records it. */
async function record(api: TestApi, host: string, action = 'egress.intent'): Promise<string> {
  const now = { iso: '2026-01-05T12:00:00.000Z', hour: 12, weekday: 1, weekend: false };
  const request = {
    kind: 'egress',
    principal: 'user:ann',
    now,
    lease: { id: 'l', kind: 'run' },
    scheme: 'https',
    host,
    port: 443,
    method: 'GET',
    path: '/',
    bytes: 0,
    secrets: [],
    credentialed: true,
    listed: false,
  };
  return api.installation.audit.write({ action, actor: 'user:ann', details: { request } });
}

test('the built-in policy holds until one is published, and each version stays to be read', async () => {
  await using api = await open();
  const builtin = (await api.call('GET', '/policy')).body;
  assert.deepEqual([builtin.version, builtin.state, builtin.shadow], [0, 'active', null]);
  assert.match(builtin.text, /bound-hosts/);
  const first = await publish(api, RULES('allow'), { message: 'reading' });
  const [admin] = (await api.call('GET', '/keys')).body.items;
  assert.deepEqual([first.status, first.body.state, first.body.author, first.body.problems], [201, 'active', `key:${admin.key_id}`, []]);
  const second = (await publish(api, RULES('deny'))).body;
  assert.deepEqual(
    (await api.call('GET', '/policy/versions')).body.items.map((each: { version: number; state: string }) => [each.version, each.state]),
    [
      [second.version, 'active'],
      [first.body.version, 'retired'],
    ],
  );
  assert.equal((await api.call('GET', '/policy/versions?limit=1')).body.items.length, 1);
  const back = await api.call('POST', '/policy/rollback', { version: first.body.version });
  assert.deepEqual([back.status, back.body.message], [201, `version ${first.body.version} again`]);
  const now = (await api.call('GET', '/api/policy')).body;
  assert.deepEqual([now.version, now.text], [back.body.version, RULES('allow')]);
  assert.equal((await api.call('GET', `/policy/versions/${second.version}`)).body.text, RULES('deny'));
  assert.equal((await api.call('GET', '/policy/versions/0')).body.state, 'retired');
  assert.equal((await api.call('GET', '/policy/versions/999')).body.code, 'POLICY_NOT_FOUND');
  assert.equal((await api.call('POST', '/policy/rollback', { version: 999 })).status, 404);
  assert.match((await api.call('GET', '/policy/versions/one')).body.message, /^path version: expected a number/);
});

test('a text with an error in it is refused with its lines, and what held before holds on', async () => {
  await using api = await open();
  const broken = 'version: 1\ndefault: deny\nrules:\n  - {id: a, host: x.com, effect: maybe}\n';
  const refused = await publish(api, broken);
  assert.deepEqual([refused.status, refused.body.code, refused.body.details.problems[0].line], [422, 'INVALID_POLICY', 4]);
  const checked = await api.call('POST', '/policy/check', { text: broken });
  assert.deepEqual([checked.status, checked.body.ok, checked.body.problems], [200, false, refused.body.details.problems]);
  assert.deepEqual((await api.call('POST', '/policy/check', { text: RULES('deny') })).body, { ok: true, problems: [] });
  for (const path of ['/policy/shadow', '/policy/backtest'])
    assert.equal((await api.call('POST', path, { text: broken })).body.code, 'INVALID_POLICY');
  assert.equal((await api.call('GET', '/policy')).body.version, 0);
});

test('a stored version that does not compile is told as such, not as what it could be', async () => {
  await using api = await open();
  const { version } = (await publish(api, RULES('allow'))).body;
  await api.t.store.query(`update policy_versions set source = 'nonsense' where version = $1`, [version]);
  for (const answer of [await api.call('GET', '/policy'), await api.call('POST', '/policy/explain', { request: { host: 'x.com' } })])
    assert.deepEqual([answer.status, answer.body.code], [503, 'POLICY_BROKEN']);
  assert.equal((await api.call('GET', `/policy/versions/${version}`)).body.text, 'nonsense');
  assert.equal((await api.call('GET', '/policy/versions/0')).status, 200);
});

test('a text in shadow is shown beside the active version until it ends', async () => {
  await using api = await open();
  await publish(api, RULES('allow'));
  const shadow = await api.call('POST', '/policy/shadow', { text: RULES('deny') });
  assert.deepEqual([shadow.status, shadow.body.state], [201, 'shadow']);
  const { problems: _, ...version } = shadow.body;
  assert.deepEqual((await api.call('GET', '/policy')).body.shadow, version);
  assert.deepEqual((await api.call('DELETE', '/policy/shadow')).body, { ended: true });
  assert.deepEqual((await api.call('DELETE', '/policy/shadow')).body, { ended: false });
  assert.equal((await api.call('GET', '/policy')).body.shadow, null);
});

test('a decision is explained clause by clause, for a request or for one of the log', async () => {
  await using api = await open();
  await publish(api, RULES('allow'));
  const explain = async (request: object) => (await api.call('POST', '/policy/explain', { request })).body;
  const small = await explain({ host: 'API.stripe.com', method: 'get' });
  assert.deepEqual(
    [small.decision.effect, small.decision.rule, small.request.host, small.request.method],
    ['allow', 'stripe', 'api.stripe.com', 'GET'],
  );
  const large = await explain({ host: 'api.stripe.com', bytes: 5000 });
  assert.deepEqual([large.decision.effect, large.decision.rule, large.rules[0].matched], ['deny', null, false]);
  assert.deepEqual(large.rules[0].clauses.at(-1), { clause: 'request.bytes < 1000', result: false });

  await publish(
    api,
    `version: 1
default: deny
rules:
  - {id: weekend, tool: "deploy.*", effect: deny, when: now.weekend}
  - {id: refund, tool: stripe.refund, effect: approve, gate: default, when: args.amount > 100}
  - {id: deploy, tool: "deploy.*", effect: allow, limit: {key: principal, max: 5, per: 1h}}
`,
  );
  const refund = await explain({ tool: { name: 'stripe.refund', risk: 'financial' }, args: { amount: 500 } });
  assert.deepEqual([refund.decision.effect, refund.decision.gate], ['approve', 'default']);
  const deploy = (now: string) => explain({ tool: { name: 'deploy.web' }, principal: 'user:ann', now });
  assert.deepEqual((await deploy('2026-01-05T12:00:00Z')).decision.limits, [
    { rule: 'deploy', key: 'user:ann', max: 5, per_seconds: 3600, gate: 'default' },
  ]);
  assert.equal((await deploy('2026-01-03T12:00:00+01:00')).decision.rule, 'weekend');

  const entry = await record(api, 'example.com', 'egress.deny');
  const recorded = (await api.call('POST', '/policy/explain', { audit_id: entry.toUpperCase() })).body;
  assert.deepEqual([recorded.request.host, recorded.request.principal, recorded.decision.effect], ['example.com', 'user:ann', 'deny']);
});

test('what cannot be explained is refused by name', async () => {
  await using api = await open();
  const other = await api.installation.audit.write({ action: 'lease.create', actor: 'test' });
  const refused: [number, object, RegExp][] = [
    [422, {}, /^request: is required/],
    [422, { request: {} }, /^request: expected either a host or a tool/],
    [422, { request: { host: 'a.com', tool: { name: 'x' } } }, /^request: expected either/],
    [422, { request: { host: 'a.com', now: 'today' } }, /^request\.now: expected an RFC 3339 time/],
    [422, { request: { host: 'a.com', metod: 'GET' } }, /^request\.metod: unknown field; known are host/],
    [422, { audit_id: other }, /^audit_id: that entry has no request/],
    [404, { audit_id: NO_ID }, /no audit entry/],
    [404, { audit_id: 'nope' }, /no audit entry "nope"/],
  ];
  for (const [status, body, message] of refused) {
    const answer = await api.call('POST', '/policy/explain', body);
    assert.equal(answer.status, status, JSON.stringify(answer.body));
    assert.match(answer.body.message, message);
  }
});

test('a backtest tells which recorded requests would be decided otherwise', async () => {
  await using api = await open();
  await publish(api, RULES('allow'));
  await record(api, 'example.com');
  const stripe = await record(api, 'api.stripe.com');
  const report = await api.call('POST', '/policy/backtest', { text: RULES('approve'), days: 7 });
  assert.deepEqual([report.body.requests, report.body.counts], [2, { 'allow to approve': 1 }]);
  assert.deepEqual([report.body.changed[0].audit_id, report.body.changed[0].after.rule], [stripe, 'stripe']);
});

test('what the log recorded is told only to a key that may read the log', async () => {
  await using api = await open();
  const entry = await record(api, 'example.com');
  const [policy, both] = [await api.keyWith('policy.read'), await api.keyWith('policy.read', 'audit.read')];
  for (const [path, body] of [
    ['/policy/backtest', { text: RULES('deny') }],
    ['/policy/explain', { audit_id: entry }],
  ] as const) {
    const refused = await api.call('POST', path, body, { key: policy });
    assert.deepEqual([refused.status, refused.body.details.needed], [403, ['audit.read', 'admin']]);
    assert.equal((await api.call('POST', path, body, { key: both })).status, 200);
  }
  assert.equal((await api.call('POST', '/policy/explain', { request: { host: 'a.com' } }, { key: policy })).status, 200);
});
