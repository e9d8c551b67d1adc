import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTestDatabase } from '../../test/support/database.ts';
import { eventually } from '../../test/support/wait.ts';
import { createAuditLog } from '../audit/index.ts';
import { connectStore, type Store } from '../store/index.ts';
import { ensurePartitions } from '../store/partitions.ts';
import {
  activePolicy,
  backtest,
  compilePolicy,
  diffDecisions,
  endShadow,
  getVersion,
  listVersions,
  policyTime,
  type EgressRequest,
  pruneLimits,
  publishPolicy,
  rollbackPolicy,
  shadowPolicy,
  takeLimit,
} from './index.ts';

const text = (...hosts: string[]) =>
  `version: 1\ndefault: deny\nrules:\n${hosts.map((host) => `  - {id: ${host}, host: ${host}, effect: allow}\n`).join('') || '  []'}`;

const request = (host: string): EgressRequest => ({
  kind: 'egress',
  principal: 'workflow:a',
  lease: { id: 'l', kind: 'run' },
  scheme: 'https',
  host,
  port: 443,
  method: 'GET',
  path: '/',
  bytes: 0,
  secrets: [],
  credentialed: false,
  listed: true,
  now: policyTime(Date.UTC(2026, 0, 5)),
});

async function setup() {
  const database = await createTestDatabase();
  const store = await connectStore({ url: database.url });
  await ensurePartitions(store, ['audit_log'], store.now());
  const audit = createAuditLog({ store, macKey: Buffer.alloc(32) });
  return {
    store,
    audit,
    parts: { store, audit },
    async [Symbol.asyncDispose]() {
      await audit.close();
      await store.close();
      await database.drop();
    },
  };
}

async function actions(store: Store): Promise<string[]> {
  const { rows } = await store.query<{ action: string }>(`select action from audit_log where action like 'policy.%' order by audit_id`);
  return rows.map((row) => row.action);
}

test('before anything is published, the built-in policy holds', async () => {
  await using t = await setup();
  const { version, policy, shadow } = await activePolicy(t.store);
  assert.equal(version, 0);
  assert.equal(shadow, undefined);
  assert.equal(policy.decide(request('a.com')).rule, 'bound-hosts');
});

test('a published version is active at once, in the audit log, and told to firewalls', async () => {
  await using t = await setup();
  let told = 0;
  await t.store.listener.on('centaur_firewall', () => (told += 1));
  const first = await publishPolicy(t.parts, 'key:1', { text: text('a.com'), message: 'first' });
  assert.equal(first.state, 'active');
  const second = await publishPolicy(t.parts, 'key:2', { text: text('b.com') });
  const { version, policy } = await activePolicy(t.store);
  assert.equal(version, second.version);
  assert.equal(policy.digest, second.digest);
  assert.equal(policy.decide(request('b.com')).effect, 'allow');
  assert.deepEqual(
    (await listVersions(t.store)).map((each) => [each.version, each.state, each.author, each.message]),
    [
      [second.version, 'active', 'key:2', null],
      [first.version, 'retired', 'key:1', 'first'],
    ],
  );
  assert.equal((await getVersion(t.store, first.version)).text, text('a.com'));
  assert.deepEqual(await actions(t.store), ['policy.publish', 'policy.publish']);
  await eventually(async () => told >= 2);
});

test('what does not compile is refused, and nothing changes', async () => {
  await using t = await setup();
  await publishPolicy(t.parts, 'key:1', { text: text('a.com') });
  for (const put of [publishPolicy, shadowPolicy]) {
    await assert.rejects(
      put(t.parts, 'key:1', { text: `${text('b.com')}  - {id: x}` }),
      (error: Error & { code?: string; problems?: readonly object[] }) => {
        assert.equal(error.code, 'INVALID_POLICY');
        assert.match(error.message, /^line 5: /);
        assert.ok((error.problems?.length ?? 0) > 0);
        return true;
      },
    );
  }
  assert.equal((await listVersions(t.store)).length, 1);
  assert.deepEqual(await actions(t.store), ['policy.publish']);
});

test('without its audit entry nothing is published', async () => {
  await using t = await setup();
  const audit = { ...t.audit, append: () => Promise.reject(new Error('the log is full')) };
  await assert.rejects(publishPolicy({ store: t.store, audit }, 'key:1', { text: text('a.com') }), /the log is full/);
  assert.deepEqual(await listVersions(t.store), []);
});

test('of many who publish at once, each is active once and one in the end', async () => {
  await using t = await setup();
  const published = await Promise.all(Array.from({ length: 8 }, (_, i) => publishPolicy(t.parts, `key:${i}`, { text: text(`h${i}.com`) })));
  const states = (await listVersions(t.store)).map(({ state }) => state);
  assert.deepEqual(states, ['active', ...Array.from({ length: 7 }, () => 'retired')]);
  assert.equal((await activePolicy(t.store)).version, Math.max(...published.map(({ version }) => version)));
});

test('a shadow is beside the active version until it is ended', async () => {
  await using t = await setup();
  await publishPolicy(t.parts, 'key:1', { text: text('a.com') });
  const shadow = await shadowPolicy(t.parts, 'key:1', { text: text('b.com') });
  const both = await activePolicy(t.store);
  assert.equal(both.policy.decide(request('b.com')).effect, 'deny');
  assert.equal(both.shadow?.version, shadow.version);
  assert.equal(both.shadow?.policy.decide(request('b.com')).effect, 'allow');
  assert.equal(await endShadow(t.parts, 'key:1'), true);
  assert.equal(await endShadow(t.parts, 'key:1'), false);
  assert.equal((await activePolicy(t.store)).shadow, undefined);
  assert.deepEqual(await actions(t.store), ['policy.publish', 'policy.shadow', 'policy.shadow_end']);
});

test('rolling back publishes the old text again', async () => {
  await using t = await setup();
  const first = await publishPolicy(t.parts, 'key:1', { text: text('a.com') });
  await publishPolicy(t.parts, 'key:1', { text: text() });
  const again = await rollbackPolicy(t.parts, 'key:2', first.version);
  assert.equal(again.digest, first.digest);
  assert.equal((await activePolicy(t.store)).policy.decide(request('a.com')).effect, 'allow');
  assert.equal((await listVersions(t.store)).length, 3);
  await assert.rejects(rollbackPolicy(t.parts, 'key:2', 99), { code: 'POLICY_NOT_FOUND' });
});

test('an active version that does not compile is an error, not an empty policy', async () => {
  await using t = await setup();
  await publishPolicy(t.parts, 'key:1', { text: text('a.com') });
  await t.store.query(`update policy_versions set source = 'version: 2'`);
  await assert.rejects(activePolicy(t.store), { code: 'POLICY_BROKEN' });
});

test('a backtest tells which recorded requests would be decided otherwise', async () => {
  await using t = await setup();
  await publishPolicy(t.parts, 'key:1', { text: text('a.com', 'b.com') });
  for (const host of ['a.com', 'b.com', 'b.com', 'c.com'])
    await t.audit.write({
      action: host === 'c.com' ? 'egress.deny' : 'egress.intent',
      actor: 'workflow:a',
      details: { request: request(host) },
    });
  await t.audit.write({ action: 'egress.intent', actor: 'workflow:a' });
  await t.audit.write({ action: 'egress.outcome', actor: 'workflow:a', details: { request: request('b.com') } });
  const report = await backtest(t.store, text('a.com', 'c.com'), { days: 1 });
  assert.deepEqual(
    {
      ...report,
      changed: report.changed.map((each) => [each.request.kind === 'egress' && each.request.host, each.before.rule, each.after.rule]),
    },
    {
      version: 1,
      requests: 4,
      counts: { 'deny to allow': 1, 'allow to deny': 2 },
      changed: [
        ['c.com', null, 'c.com'],
        ['b.com', 'b.com', null],
        ['b.com', 'b.com', null],
      ],
    },
  );
  assert.equal((await backtest(t.store, text(), { limit: 3 })).requests, 2, 'one of the newest three entries has no request');
  const gated = text('a.com', 'b.com').replace('default: deny', 'default: approve');
  assert.deepEqual((await backtest(t.store, gated)).counts, { 'deny to approve': 1 });
  await assert.rejects(backtest(t.store, 'version: 2'), { code: 'INVALID_POLICY' });
});

test('an approval at another gate is a change, another rule with the same effect is none', () => {
  const compile = (rule: string) => {
    const { policy } = compilePolicy(
      `version: 1\ndefault: deny\ngates: {eng: {quorum: 1}}\nrules:\n  - {host: a.com, effect: approve, ${rule}}`,
    );
    assert.ok(policy);
    return policy;
  };
  const recorded = { auditId: 'x', request: request('a.com') };
  assert.equal(diffDecisions(compile('id: a'), compile('id: a, gate: eng'), recorded)?.after.gate, 'eng');
  assert.equal(diffDecisions(compile('id: a'), compile('id: b'), recorded), undefined);
});

test('of many uses at once a limit lets through as many as it says, in each window and for each key', async () => {
  await using t = await setup();
  let now = 1_800_000_000_000;
  const store = { query: t.store.query, now: () => now };
  const take = (key: string) => takeLimit(store, 'refund', key, 5, 60_000);
  const taken = await Promise.all(Array.from({ length: 20 }, () => take('a')));
  assert.equal(taken.filter(Boolean).length, 5);
  assert.equal(await take('b'), true);
  assert.equal(await take('x'.repeat(5000)), true);
  assert.equal(await take('a'), false);
  now += 60_000;
  assert.equal(await take('a'), true);
  assert.equal(await pruneLimits(store), 0);
  now += 40 * 86_400_000;
  assert.equal(await pruneLimits(store), 4);
});
