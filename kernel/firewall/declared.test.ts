import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import pg from 'pg';
import { callThrough, createTestFirewall, sendOn, startService, type TestFirewall } from '../../test/support/firewall.ts';
import { eventually } from '../../test/support/wait.ts';
import { dropSchema, makeSchema, workflowSession } from '../../test/support/workflow-schema.ts';
import { publishPolicy } from '../policy/index.ts';
import { createLease } from '../vault/index.ts';

async function publish(t: TestFirewall, text: string): Promise<void> {
  const { version } = await publishPolicy({ store: t.store, audit: t.installation.audit }, 'test', { text });
  await eventually(
    async () => (await t.store.query('select 1 from firewall_processes where policy_version = $1', [version])).rowCount === 1,
  );
}

test('what a lease was declared is open to it alone, without the configuration, and the policy is asked all the same', async () => {
  await using service = await startService((_, response) => response.end('ok'));
  await using t = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1'], ca_pems: [service.caPem] } });
  const host = `localhost:${service.port}`;
  const lease = await t.lease([], { egress: [{ host, paths: ['/v1/*'] }] });
  const call = async (path: string, of = lease) => {
    const answer = await callThrough(t, of.token, `https://${host}${path}`);
    return answer.status === 200 ? 200 : (JSON.parse(answer.body) as { code: string }).code;
  };
  assert.deepEqual(
    [await call('/v1/x'), await call('/v2'), await call('/v1/x', await t.lease([]))],
    [200, 'HOST_NOT_DECLARED', 'HOST_DENIED'],
  );
  const [intent] = await t.entries('egress.intent');
  assert.deepEqual([intent?.['details'].request.listed, intent?.['details'].request.credentialed], [true, false]);

  await publish(
    t,
    'version: 1\ndefault: deny\nrules:\n  - id: closed\n    host: localhost\n    paths: [/v1/closed]\n    effect: deny\n  - id: rest\n    host: localhost\n    effect: allow\n',
  );
  assert.deepEqual([await call('/v1/x'), await call('/v1/closed'), await call('/v2')], [200, 'POLICY_DENIED', 'HOST_NOT_DECLARED']);
  await publish(t, 'version: 1\ndefault: deny\nrules:\n  - id: people\n    host: localhost\n    effect: approve\n');
  assert.equal(await call('/v2'), 'HOST_NOT_DECLARED');
  assert.equal((await t.store.query('select 1 from approvals')).rowCount, 0, 'nobody is asked about what is refused in any case');
  const denials = (await t.entries('egress.deny')).map(({ resource, decision, lease_id: id, details }) => [
    resource,
    decision,
    id,
    details.rule,
  ]);
  assert.deepEqual(denials.at(-1), [`https://${host}/v2`, 'deny', lease.leaseId, 'lease.egress']);
});

test('a lease is refused by every door when what it reaches cannot be read', async () => {
  await using service = await startService((_, response) => response.end('ok'));
  const host = `localhost:${service.port}`;
  await using t = await createTestFirewall({
    config: { allow_cidrs: ['127.0.0.1'], allow: [{ host }, { host: 'http://localhost:80' }], ca_pems: [service.caPem] },
  });
  await t.secret('API_KEY', { value: 'a-value-of-some-length-0123', hosts: [host] });
  for (const broken of ['{}', 'null', '"all"', '[{"host":"*","methods":[],"paths":[]}]', `[{"host":"${host}","methods":[]}]`]) {
    const { leaseId, token, placeholders } = await t.lease(['API_KEY'], { egress: [{ host }] });
    await t.store.query('update leases set egress = $2 where lease_id = $1', [leaseId, broken]);
    const door = net.connect(t.firewall.port, '127.0.0.1');
    const headers = { host: 'firewall', 'x-api-key': placeholders['API_KEY'] };
    const based = await sendOn(door, { method: 'GET', path: `/to/${host}/`, headers });
    door.destroy();
    assert.deepEqual([based.status, JSON.parse(based.body).code], [407, 'LEASE_BROKEN'], broken);
    const tunnelled = await callThrough(t, token, `https://${host}/`);
    assert.deepEqual([tunnelled.status, JSON.parse(tunnelled.body).code], [407, 'LEASE_BROKEN'], broken);
    await assert.rejects(workflowSession(t, token), /LEASE_BROKEN/, broken);
    const [entry] = (await t.entries('egress.deny')).slice(-1);
    assert.deepEqual([entry?.['lease_id'], entry?.['actor']], [leaseId, 'user:test']);
  }
  assert.deepEqual(service.seen, []);
});

test('a lease that was declared no host still has the databases among its secrets, and no other', async () => {
  await using t = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1'], allow: [{ host: 'localhost' }] } });
  await using cleanup = new AsyncDisposableStack();
  const { host, pathname } = new URL(t.database.url);
  const reader = `reader_${pathname.slice(1)}`;
  await t.store.query(`create role ${reader}`);
  cleanup.defer(async () => void (await t.store.query(`drop role ${reader}`)));
  const dsn = { type: 'pg_dsn' as const, value: `${t.database.url}?sslmode=disable`, hosts: [host], options: { role: reader } };
  await t.secret('DB', dsn);
  const session = async (password: string) => {
    const port = t.firewall.postgresPort as number;
    const client = new pg.Client({ host: '127.0.0.1', port, user: 'anyone', database: 'anything', password });
    client.on('error', () => undefined);
    await client.connect();
    const { rows } = await client.query<{ name: string }>('select current_user as name');
    await client.end();
    return rows[0]?.name;
  };
  const lease = await t.lease(['DB'], { egress: [] });
  assert.equal(await session(lease.placeholders['DB'] as string), reader);
  const answer = await callThrough(t, lease.token, `https://${host}/`);
  assert.deepEqual(
    [answer.status, JSON.parse(answer.body).code],
    [403, 'HOST_NOT_DECLARED'],
    'the host of the database is not open for requests',
  );

  const place = await makeSchema(t.store, 'nightly');
  cleanup.defer(() => dropSchema(t.store, place));
  const ofWorkflow = { principal: 'workflow:nightly', secrets: [], ttlSeconds: 600 };
  await (await workflowSession(t, (await createLease(t.installation, 'test', ofWorkflow)).token)).end();
  const declared = await createLease(t.installation, 'test', { ...ofWorkflow, egress: [{ host }] });
  await assert.rejects(workflowSession(t, declared.token), /HOST_NOT_DECLARED/);
  const [entry] = (await t.entries('egress.deny')).slice(-1);
  assert.deepEqual([entry?.['lease_id'], entry?.['details'].reason], [declared.leaseId, 'database']);
});
