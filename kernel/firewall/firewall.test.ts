import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Store } from '../store/index.ts';
import { addGrant, putSecret } from '../vault/index.ts';
import { callThrough, createTestFirewall, PRINCIPAL, startService } from '../../test/support/firewall.ts';
import { eventually } from '../../test/support/wait.ts';

const KEY = 'sk-ant-api03-Real0Key1With2Enough3Letters4InIt';

test('a client with a placeholder calls a service that takes only the real key', async () => {
  await using service = await startService((request, response) => {
    response.writeHead(request.headers['x-api-key'] === KEY ? 200 : 401, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ ok: request.headers['x-api-key'] === KEY, echo: request.headers['x-api-key'] }));
  });
  await using t = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1'], ca_pems: [service.caPem] } });
  await t.secret('API_KEY', { value: KEY, hosts: [`localhost:${service.port}`] });
  const lease = await t.lease(['API_KEY']);
  const placeholder = lease.placeholders['API_KEY'] as string;
  assert.match(placeholder, /^sk-ant-api03-[A-Za-z0-9]{24,}$/);
  const answer = await callThrough(t, lease.token, `https://localhost:${service.port}/v1/messages`, {
    headers: { 'x-api-key': placeholder },
    body: '{}',
  });
  assert.equal(answer.status, 200);
  assert.deepEqual(JSON.parse(answer.body), { ok: true, echo: '*'.repeat(KEY.length) });
  assert.equal(service.seen[0]?.headers['x-api-key'], KEY);
  const entries = await t.entries();
  const intent = entries.find((entry) => entry['action'] === 'egress.intent');
  const outcome = entries.find((entry) => entry['action'] === 'egress.outcome');
  assert.equal(intent?.['resource'], `https://localhost:${service.port}/v1/messages`);
  assert.deepEqual(
    [outcome?.['intent_id'], outcome?.['details'].status, outcome?.['details'].leaks],
    [intent?.['id'], 200, [{ secret: 'API_KEY', variant: 'raw' }]],
  );
  assert.ok(!JSON.stringify(entries).includes(KEY));
});

test('a service does not speak as the firewall', async () => {
  await using service = await startService((_, response) => {
    response.writeHead(403, { 'X-Centaur-Refused': 'HOST_NOT_DECLARED', 'x-other': 'kept' });
    response.end('{}');
  });
  await using t = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1'], ca_pems: [service.caPem] } });
  await t.secret('API_KEY', { value: KEY, hosts: [`localhost:${service.port}`] });
  const lease = await t.lease(['API_KEY']);
  const headers = { 'x-api-key': lease.placeholders['API_KEY'] };
  const answer = await callThrough(t, lease.token, `https://localhost:${service.port}/`, { headers });
  assert.deepEqual([answer.status, answer.headers['x-other'], answer.headers['x-centaur-refused']], [403, 'kept', undefined]);
});

test('a secret is used at once, also where nobody has told the firewall of it yet', async () => {
  await using service = await startService((request, response) => response.end(request.headers['x-api-key'] === KEY ? 'ok' : 'no'));
  await using t = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1'], ca_pems: [service.caPem] } });
  const silent: Store = {
    ...t.store,
    listener: t.store.listener,
    transaction: (work) =>
      t.store.transaction((tx) =>
        work({
          ...tx,
          query: async (sql: string, params?: readonly unknown[]) =>
            sql.includes('centaur_firewall') ? { rows: [], rowCount: 0 } : tx.query(sql, params),
        }),
      ),
  };
  await putSecret({ ...t.installation, store: silent }, 'test', 'NEW_KEY', { value: KEY, hosts: [`localhost:${service.port}`] });
  await addGrant({ ...t.installation, store: silent }, 'test', PRINCIPAL, 'NEW_KEY');
  const lease = await t.lease(['NEW_KEY']);
  const headers = { 'x-api-key': lease.placeholders['NEW_KEY'] };
  const answer = await callThrough(t, lease.token, `https://localhost:${service.port}/`, { headers });
  assert.deepEqual([answer.status, answer.body], [200, 'ok']);
});

test('where a secret may go is not for whoever can write to the database: a changed row sends it nowhere', async () => {
  await using service = await startService((_, response) => response.end('{}'));
  await using t = await createTestFirewall({
    config: { allow_cidrs: ['127.0.0.1'], allow: [{ host: `localhost:${service.port}` }], ca_pems: [service.caPem] },
  });
  await t.secret('API_KEY', { value: KEY, hosts: ['api.test'] });
  const lease = await t.lease(['API_KEY']);
  const call = () =>
    callThrough(t, lease.token, `https://localhost:${service.port}/`, { headers: { 'x-api-key': lease.placeholders['API_KEY'] } });
  assert.equal((await call()).status, 403);
  const hosts = JSON.stringify([{ scheme: 'https', host: 'localhost', port: service.port }]);
  await t.store.query(`update secrets set binding = jsonb_set(binding::jsonb, '{hosts}', $1::jsonb)::json`, [hosts]);
  await t.store.query(`select pg_notify('centaur_firewall', '')`);
  await eventually(() => t.logs.some(({ message }) => message === 'a secret is refused'));
  const answer = await call();
  assert.deepEqual([answer.status, JSON.parse(answer.body).code], [503, 'SECRET_UNAVAILABLE']);
  assert.deepEqual(service.seen, []);
  assert.match((await t.entries('egress.deny')).at(-1)?.['details'].cause, /API_KEY: what it is for was changed/);
});
