import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import pg from 'pg';
import { ProxyAgent, request } from 'undici';
import { callThrough, createTestFirewall, startService, type TestFirewall } from '../../test/support/firewall.ts';
import { eventually } from '../../test/support/wait.ts';
import { contextOfCall } from '../store/index.ts';
import { getApproval, listApprovals, publishPolicy } from '../policy/index.ts';
import { addGrant, type CallLease, closeCallLease, createLease, openCallLease } from '../vault/index.ts';

const TOOL = 'tool:shop';

/** Opens a call as the kernel does. Answers its id. */
async function openCall(t: TestFirewall, of: Partial<CallLease> = {}): Promise<string> {
  const callId = randomUUID();
  const auditId = await t.installation.audit.write({ action: 'tool.call', actor: 'key:test' });
  const none = { onBehalfOf: undefined, runId: undefined, threadKey: undefined, traceId: undefined };
  await openCallLease(t.store, { callId, principal: TOOL, ...none, seconds: 60, auditId, ...of });
  return callId;
}

const agentThrough = (t: TestFirewall, token: string) => {
  const agent = new ProxyAgent({
    uri: `http://127.0.0.1:${t.firewall.port}`,
    token: `Basic ${Buffer.from(`lease:${token}`).toString('base64')}`,
    requestTls: { ca: t.firewall.caPem },
  });
  return Object.assign(agent, { [Symbol.asyncDispose]: () => agent.destroy() });
};

async function shopWith(t: TestFirewall, host: string) {
  await t.secret('SHOP_KEY', { value: 'a-value-of-some-length-0123', hosts: [host] });
  await addGrant(t.installation, 'test', TOOL, 'SHOP_KEY');
  const lease = await createLease(t.installation, 'test', {
    kind: 'tool',
    principal: TOOL,
    secrets: ['SHOP_KEY'],
    ttlSeconds: 600,
    egress: [{ host }],
  });
  const key = { authorization: `Bearer ${lease.placeholders['SHOP_KEY']}` };
  return { lease, key };
}

test('the secrets of a tool are given out while one of its calls is open, and not before or after', async () => {
  await using service = await startService((_, response) => response.end('ok'));
  const host = `localhost:${service.port}`;
  await using t = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1'], ca_pems: [service.caPem] } });
  const { lease, key } = await shopWith(t, host);
  const ask = async (headers: Record<string, string>) => {
    const answer = await callThrough(t, lease.token, `https://${host}/`, { headers });
    return answer.status === 200 ? 200 : (JSON.parse(answer.body) as { code: string }).code;
  };
  assert.equal(await ask(key), 'NO_OPEN_CALL');
  assert.equal(await ask({}), 200, 'what needs no secret needs no call');
  const [runId, traceId] = [randomUUID(), randomUUID()];
  const callId = await openCall(t, { runId, traceId, threadKey: 'a' });
  assert.equal(await ask(key), 200);
  const intent = (await t.entries('egress.intent')).at(-1);
  assert.deepEqual(
    [intent?.['run_id'], intent?.['trace_id'], intent?.['thread_key'], intent?.['details'].calls],
    [runId, traceId, 'a', [callId]],
    'a request belongs to the call in which it is made',
  );
  // of two at a time, nobody knows which it is
  const other = await openCall(t, { runId: randomUUID(), traceId });
  assert.equal(await ask(key), 200);
  const shared = (await t.entries('egress.intent')).at(-1);
  assert.deepEqual([shared?.['run_id'], shared?.['trace_id'], shared?.['details'].calls.length], [undefined, traceId, 2]);
  await closeCallLease(t.store, callId);
  await closeCallLease(t.store, other);
  assert.equal(await ask(key), 'NO_OPEN_CALL');
  const denial = (await t.entries('egress.deny')).at(-1);
  assert.deepEqual([denial?.['details'].code, denial?.['lease_id']], ['NO_OPEN_CALL', lease.leaseId]);
  assert.equal(service.seen.filter(({ headers }) => headers.authorization !== undefined).length, 2);
});

test('a call of another tool, of another user, or whose time is up, opens nothing', async () => {
  await using service = await startService((_, response) => response.end('ok'));
  const host = `localhost:${service.port}`;
  await using t = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1'], ca_pems: [service.caPem] } });
  const { lease, key } = await shopWith(t, host);
  await openCall(t, { principal: 'tool:shopper' });
  await openCall(t, { onBehalfOf: 'user:ann' });
  await openCall(t, { seconds: 0 });
  const answer = await callThrough(t, lease.token, `https://${host}/`, { headers: key });
  assert.equal((JSON.parse(answer.body) as { code: string }).code, 'NO_OPEN_CALL');
  assert.deepEqual(service.seen, []);
});

test('a session with a database is opened in a call, lasts while there is one, and is cut soon after', async () => {
  await using t = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1'] } });
  await using cleanup = new AsyncDisposableStack();
  const { host, pathname } = new URL(t.database.url);
  const reader = `reader_${pathname.slice(1)}`;
  await t.store.query(`create role ${reader}`);
  cleanup.defer(async () => void (await t.store.query(`drop role ${reader}`)));
  await t.secret('DB', { type: 'pg_dsn', value: `${t.database.url}?sslmode=disable`, hosts: [host], options: { role: reader } });
  await addGrant(t.installation, 'test', TOOL, 'DB');
  const lease = await createLease(t.installation, 'test', { kind: 'tool', principal: TOOL, secrets: ['DB'], ttlSeconds: 600, egress: [] });
  const open = async () => {
    const port = t.firewall.postgresPort as number;
    const client = new pg.Client({ host: '127.0.0.1', port, user: 'anyone', database: 'x', password: lease.placeholders['DB'] as string });
    const ended = new Promise<void>((resolve) => client.once('end', resolve));
    client.on('error', () => undefined);
    await client.connect();
    return { client, ended };
  };
  await assert.rejects(open(), /NO_OPEN_CALL/);
  const first = await openCall(t);
  const { client, ended } = await open();
  const second = await openCall(t);
  await closeCallLease(t.store, first);
  // the firewall looks every half second
  await new Promise((resolve) => setTimeout(resolve, 1500));
  assert.equal((await client.query('select 1')).rowCount, 1, 'another call may use it');
  await closeCallLease(t.store, second);
  await ended;
  await assert.rejects(open(), /NO_OPEN_CALL/);
  await eventually(async () => (await t.entries('egress.outcome')).length > 0);
});

test('the connections of a tool outlast its calls, what it streams with a secret does not', async () => {
  const writing: (() => void)[] = [];
  await using service = await startService((request, response) => {
    response.write('begun');
    if (request.url === '/long') writing.push(() => void response.write('more'));
    else response.end();
  });
  const host = `localhost:${service.port}`;
  await using t = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1'], ca_pems: [service.caPem] } });
  const { lease, key } = await shopWith(t, host);
  await using agent = agentThrough(t, lease.token);
  const ask = async (path: string, headers: Record<string, string>) => request(`https://${host}${path}`, { dispatcher: agent, headers });
  const callId = await openCall(t);
  await (await ask('/', key)).body.text();
  const plain = await ask('/long', {});
  const secret = await ask('/long', key);
  const ended = secret.body.text().then(
    () => 'whole',
    () => 'cut',
  );
  await closeCallLease(t.store, callId);
  assert.equal(await ended, 'cut');
  const parts: string[] = [];
  plain.body.on('data', (part: Buffer) => parts.push(part.toString()));
  for (const write of writing) write();
  await eventually(() => parts.join('') === 'begunmore');
  assert.equal((await ask('/', {})).statusCode, 200);
  plain.body.destroy();
});

test('whoever is behind the calls of a tool asks for what the tool sends', async () => {
  await using service = await startService((_, response) => response.end('ok'));
  const host = `localhost:${service.port}`;
  await using t = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1'], ca_pems: [service.caPem] } });
  const { lease, key } = await shopWith(t, host);
  const text = `version: 1
default: deny
gates: {money: {exclude: [requester]}}
rules: [{id: ask, host: localhost, effect: approve, gate: money}]
`;
  const { version } = await publishPolicy(t.installation, 'user:zoe', { text });
  await eventually(
    async () => (await t.store.query('select 1 from firewall_processes where policy_version = $1', [version])).rowCount === 1,
  );
  const [ofAnn, ofBob] = [randomUUID(), randomUUID()];
  for (const [run, by] of [
    [ofAnn, 'user:ann'],
    [ofBob, 'user:bob'],
  ])
    await t.store.query(`insert into workflow_runs (run_id, workflow_name, status, started_by) values ($1, 'pay', 'r', $2)`, [run, by]);
  const asking = async (path: string, headers: Record<string, string>) => {
    const answer = callThrough(t, lease.token, `https://${host}/${path}`, { headers });
    answer.catch(() => undefined);
    const id = await eventually(async () =>
      (await listApprovals(t.store, { state: 'pending' })).items.find(({ summary }) => JSON.stringify(summary).includes(`/${path}`)),
    );
    return eventually(async () => {
      const { involved, run_id } = await getApproval(t.store, id.approval_id);
      return involved.requester.length > 0 ? { requester: [...involved.requester].toSorted(), run: run_id } : undefined;
    });
  };
  await openCall(t, { runId: ofAnn });
  assert.deepEqual(await asking('one', key), { requester: ['ann'], run: ofAnn });
  await openCall(t, { runId: ofBob });
  // a request that names its call is that call's
  const traceId = randomUUID();
  const audited = {
    action: 'tool.call',
    actor: 'workflow:pay',
    resource: `${TOOL}.pay`,
    decision: 'allow',
    traceId,
    runId: ofBob,
  } as const;
  const { tracestate } = contextOfCall(traceId, await t.installation.audit.write(audited));
  assert.deepEqual((await asking('named', { ...key, tracestate })).requester, ['bob']);
  // of two at a time nobody knows which it is: neither may decide
  const both = asking('both', key);
  await eventually(async () => {
    const { items } = await listApprovals(t.store, { state: 'pending' });
    const id = items.find(({ summary }) => JSON.stringify(summary).includes('/both'))?.approval_id;
    return id !== undefined && (await getApproval(t.store, id)).involved.requester.length === 2;
  });
  await both;
});
