import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { callThrough, createTestFirewall, startService } from '../../test/support/firewall.ts';
import { eventually } from '../../test/support/wait.ts';
import { publishPolicy } from '../policy/index.ts';
import { contextOfCall, contextOfRun, newTraceId, readReference, spanIdOf, traceUuidOf } from '../store/index.ts';
import { renewThreadLeases } from '../vault/index.ts';

const hex = (uuid: string) => uuid.replaceAll('-', '');

test('a request belongs to the call or run that is under way for its process, and to no other, whatever it says', async () => {
  await using service = await startService((_, response) => response.end('ok'));
  const host = `localhost:${service.port}`;
  await using t = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1'], ca_pems: [service.caPem], allow: [{ host }] } });
  const { audit } = t.installation;
  const call = (tool: string, traceId: string) =>
    audit.write({ action: 'tool.call', actor: 'key:x', resource: `tool:${tool}.list`, decision: 'allow', traceId });
  const [ours, theirs, done] = [randomUUID(), randomUUID(), randomUUID()];
  const [own, other, over] = [await call('shop', ours), await call('shop_2', theirs), await call('shop', done)];
  await audit.write({ action: 'tool.outcome', actor: 'key:x', resource: 'tool:shop.list', intentId: over, traceId: done });
  const [run, ended] = [randomUUID(), randomUUID()];
  await t.store.query(`insert into workflow_runs (run_id, workflow_name, status) values ($1, 'nightly', 'r')`, [run]);
  const [tool, workflow, plain] = await Promise.all([
    t.lease([], { principal: 'tool:shop', egress: [{ host }] }),
    t.lease([], { principal: 'workflow:nightly' }),
    t.lease([], { traceId: theirs }),
  ]);
  const { traceparent } = contextOfCall(theirs, own);
  // what is said, and to which trace it leads
  const cases = [
    [tool, contextOfCall(ours, own).tracestate, ours],
    [tool, `a=1, ${contextOfCall(ours, own).tracestate} ,b=2`, ours],
    [tool, contextOfCall(theirs, other).tracestate, undefined],
    [tool, contextOfCall(done, over).tracestate, undefined],
    [tool, contextOfRun(run, run).tracestate, undefined],
    [tool, `centaur=c${hex(randomUUID())}`, undefined],
    [workflow, contextOfRun(theirs, run).tracestate, run],
    [workflow, contextOfRun(ended, ended).tracestate, undefined],
    [workflow, contextOfCall(ours, own).tracestate, undefined],
    [workflow, 'centaur=', undefined],
    [workflow, 'x'.repeat(8000), undefined],
    [plain, contextOfCall(ours, own).tracestate, theirs],
  ] as const;
  for (const [i, [lease, tracestate]] of cases.entries()) {
    const answer = await callThrough(t, lease.token, `https://${host}/${i}`, { headers: { traceparent, tracestate } });
    assert.equal(answer.status, 200, answer.body);
  }
  const intents = await t.entries('egress.intent');
  assert.deepEqual(
    intents.map((entry) => [entry['resource'].split('/').at(-1), entry['trace_id']]),
    cases.map(([, , trace], i) => [String(i), trace]),
  );
  assert.equal(intents[0]?.['details'].caused_by, own);
  for (const { headers } of service.seen) assert.deepEqual([headers['traceparent'], headers['tracestate']], [undefined, undefined]);
  // a host that is named hears of ours, with the span of this very request, and of nothing that was made up
  await t.configure({ allow_cidrs: ['127.0.0.1'], ca_pems: [service.caPem], allow: [{ host }], trace_hosts: [host] });
  await eventually(async () => {
    await callThrough(t, tool.token, `https://${host}/told`, { headers: { tracestate: contextOfCall(ours, own).tracestate } });
    return service.seen.at(-1)?.headers['traceparent'] !== undefined;
  });
  const told = (await t.entries('egress.intent')).at(-1);
  assert.equal(service.seen.at(-1)?.headers['traceparent'], `00-${hex(ours)}-${spanIdOf('egress', told?.['id'])}-01`);
  await callThrough(t, tool.token, `https://${host}/made-up`, { headers: { traceparent } });
  assert.equal(service.seen.at(-1)?.headers['traceparent'], undefined);
  // refusals are part of the task, too
  await callThrough(t, tool.token, 'https://localhost:1/', { headers: { tracestate: contextOfCall(ours, own).tracestate } });
});

test('a lease that goes on with another turn belongs to that from then on', async () => {
  await using service = await startService((_, response) => response.end('ok'));
  const host = `localhost:${service.port}`;
  await using t = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1'], ca_pems: [service.caPem], allow: [{ host }] } });
  const [first, second, third] = [randomUUID(), randomUUID(), randomUUID()];
  const lease = await t.lease([], { principal: 'thread:x', threadKey: 'x', traceId: first });
  // a notification may come after the request
  const goesOnIn = (turn: string) =>
    t.store.query('update leases set trace_id = $2, run_id = $2 where lease_id = $1', [lease.leaseId, turn]);
  await callThrough(t, lease.token, `https://${host}/1`);
  await goesOnIn(second);
  await callThrough(t, lease.token, `https://${host}/2`);
  await goesOnIn(third);
  await callThrough(t, lease.token, 'https://localhost:1/');
  assert.deepEqual(
    (await t.entries())
      .filter(({ action }) => action === 'egress.intent' || action === 'egress.deny')
      .map((entry) => [entry['action'], entry['trace_id'], entry['run_id'] ?? null]),
    [
      ['egress.intent', first, null],
      ['egress.intent', second, second],
      ['egress.deny', third, third],
    ],
  );
});

test('a request is decided on by who asked for the turn and where, and a lease goes on for nobody else', async () => {
  await using service = await startService((_, response) => response.end('ok'));
  const host = `localhost:${service.port}`;
  await using t = await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1'], ca_pems: [service.caPem], allow: [{ host }] } });
  const text = `version: 1
default: deny
rules:
  - {id: here, host: localhost, effect: allow, when: 'run.user == "slack:T1:UA" && run.channel == "channel:slack:C1"'}
`;
  const { version } = await publishPolicy({ store: t.store, audit: t.installation.audit }, 'test', { text });
  await eventually(
    async () => (await t.store.query('select 1 from firewall_processes where policy_version = $1', [version])).rowCount === 1,
  );
  const askedBy = (user: string, channel = 'C1') => ({ account: `slack:T1:${user}`, channel: `channel:slack:${channel}` });
  const leaseFor = (asker: ReturnType<typeof askedBy>) => t.lease([], { principal: 'thread:x', threadKey: 'x', asker });
  const goesOnFor = (asker: ReturnType<typeof askedBy>) =>
    renewThreadLeases(t.installation, 'test', { principal: 'thread:x', threadKey: 'x' }, 60, {
      runId: randomUUID(),
      traceId: randomUUID(),
      asker,
    });
  const lease = await leaseFor(askedBy('UA'));
  const status = async ({ token }: { readonly token: string } = lease) => (await callThrough(t, token, `https://${host}/`)).status;
  assert.equal(await status(), 200);
  assert.equal(await goesOnFor(askedBy('UA')), true);
  assert.equal(await status(), 200);
  for (const other of [askedBy('UB'), askedBy('UA', 'C2')]) assert.equal(await goesOnFor(other), false);
  for (const other of [askedBy('UB'), askedBy('UA', 'C2')]) assert.equal(await status(await leaseFor(other)), 403);
});

test('only what is a trace id is one, and only what is a reference is read', () => {
  const id = newTraceId();
  assert.match(id, /^[\da-f]{32}$/);
  assert.equal(traceUuidOf(id)?.replaceAll('-', ''), id);
  for (const bad of ['', '0'.repeat(32), 'g'.repeat(32), `${id}0`, `${id} `, undefined]) assert.equal(traceUuidOf(bad), undefined, bad);
  for (let i = 0; i < 2000; i++) {
    const noise = randomBytes(1 + (i % 80)).toString('latin1');
    const read = readReference(`${noise}centaur=c${i % 2 === 0 ? id : noise}`);
    assert.ok(read === undefined || read.id === traceUuidOf(id));
  }
  for (const bad of [
    `xcentaur=c${id}`,
    `centaur=x${id}`,
    `centaur=c${id}0`,
    `centaur=c${'0'.repeat(32)}`,
    `a=${'1'.repeat(600)},centaur=c${id}`,
  ])
    assert.equal(readReference(bad), undefined, bad);
});
