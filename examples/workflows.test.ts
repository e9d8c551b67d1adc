/** The samples, run on a real engine against services of straw: a sample that does not work teaches the wrong thing. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { listApprovals } from '../kernel/policy/index.ts';
import { createNodeHost } from '../runtime/hosts/node/index.ts';
import { createApprovals } from '../runtime/outside/index.ts';
import { startTestApi } from '../test/support/api.ts';
import { createTestEngine } from '../test/support/engine.ts';
import { eventually } from '../test/support/wait.ts';
import { decideApproval } from '../test/support/decide.ts';

const directory = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

async function engineWithSamples(t: TestContext) {
  const host = await createNodeHost({ dirs: [directory('workflows')], watch: false });
  t.after(() => host.close());
  return createTestEngine({ registry: host.registry });
}

/** A server that answers each `METHOD /path` as told, or with 200 and `{}`, and remembers what was asked. */
async function serve(t: TestContext, answers: Readonly<Record<string, readonly [number, unknown]>> = {}) {
  const asked: string[] = [];
  const bodies: string[] = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const route = `${request.method} ${request.url?.split('?')[0]}`;
    asked.push(route);
    bodies.push(body);
    const [status, answer] = answers[route] ?? [200, {}];
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked, bodies };
}

test('the sample workflows load', async (t) => {
  const host = await createNodeHost({ dirs: [directory('workflows'), directory('demo/workflows')], watch: false });
  t.after(() => host.close());
  assert.deepEqual(host.problems(), []);
  assert.deepEqual(
    host.registry.list().map((workflow) => workflow.name),
    [
      'approve_expense',
      'ask_in_slack',
      'fulfil_order',
      'morning_digest',
      'nightly_report',
      'refund_order',
      'region_summary',
      'sales_report',
      'ship_parcel',
      'transfer_points',
    ],
  );
});

test('the nightly report is collected twice and posted once', async (t) => {
  await using engine = await engineWithSamples(t);
  const shop = await serve(t, { 'GET /figures': [200, { orders: 3, revenue: 100, refunds: 20 }] });
  const run = await engine.run('nightly_report', { source: shop.url, target: `${shop.url}/post`, settle: '5ms' });
  assert.equal(run.status, 'completed', JSON.stringify(run.error));
  assert.deepEqual(shop.asked, ['GET /figures', 'GET /figures', 'POST /post']);
  assert.match(JSON.parse(shop.bodies[2] ?? '').text, /80\.00 net, 20\.00 refunded$/);
});

const LINES = [
  { sku: 'a', count: 1, warehouse: 'w1' },
  { sku: 'b', count: 2, warehouse: 'w2' },
];

test('an order is shipped by a child for each warehouse', async (t) => {
  await using engine = await engineWithSamples(t);
  const shop = await serve(t, {
    'POST /reservations': [200, { id: 'r' }],
    'POST /payments': [200, { id: 'p' }],
    'POST /parcels': [200, { tracking: 'T1' }],
  });
  const input = { shop: shop.url, orderId: 'o1', customerId: 'c1', lines: LINES };
  const { run_id: runId } = await engine.engine.start({ workflow_name: 'fulfil_order', input });
  const children = await eventually(async () => {
    const found = (await engine.engine.getRun(runId)).children;
    return found.length === 2 ? found : undefined;
  });
  // Both parcels carry the same number here, and each wait takes an event of its own
  for (const _ of children) {
    await engine.engine.emitEvent({ event_type: 'parcel_scanned', correlation_id: 'T1', payload: { at: 'dock 4' } });
  }
  const run = await engine.ended(runId);
  assert.deepEqual(run.result, { orderId: 'o1', status: 'shipped', tracking: ['T1', 'T1'] });
  assert.equal(shop.asked.at(-1), 'POST /orders/o1/confirm');
});

test('an order whose card is refused gives back what it had reserved', async (t) => {
  await using engine = await engineWithSamples(t);
  const shop = await serve(t, { 'POST /reservations': [200, { id: 'r' }], 'POST /payments': [402, {}] });
  const run = await engine.run('fulfil_order', { shop: shop.url, orderId: 'o1', customerId: 'c1', lines: LINES });
  assert.deepEqual(run.result, { orderId: 'o1', status: 'failed', reason: '/payments answered 402' });
  assert.deepEqual(shop.asked.slice(-3), ['POST /payments', 'POST /reservations/r/release', 'POST /reservations/r/release']);
});

test('an order with a field missing is refused by that field', async (t) => {
  await using engine = await engineWithSamples(t);
  const input = { shop: 'http://127.0.0.1', orderId: 'o1', customerId: 'c1', lines: [{ sku: 'a', count: 0, warehouse: 'w' }] };
  await assert.rejects(engine.engine.start({ workflow_name: 'fulfil_order', input }), {
    code: 'INVALID_INPUT',
    message: /input\.lines\[0\]\.count: /,
  });
});

test('an expense is decided by policy, or by whoever sends the event, also before it is waited for', async (t) => {
  await using engine = await engineWithSamples(t);
  assert.deepEqual((await engine.run('approve_expense', { expenseId: 'e1', amount: 50 })).result, {
    by: 'policy',
    approved: true,
    reminders: 0,
  });
  await engine.engine.emitEvent({ event_type: 'expense_decided', correlation_id: 'e2', payload: { by: 'ann', approved: false } });
  assert.deepEqual((await engine.run('approve_expense', { expenseId: 'e2', amount: 51 })).result, {
    by: 'ann',
    approved: false,
    reminders: 0,
  });
});

test('points are moved in one transaction, or not at all', async (t) => {
  await using engine = await engineWithSamples(t);
  await engine.store.query('create table points (account text primary key, balance int not null)');
  await engine.store.query("insert into points values ('ann', 10)");
  const input = { from: 'ann', to: 'bob', points: 7 };
  assert.deepEqual((await engine.run('transfer_points', input)).result, { left: 3 });
  assert.equal((await engine.run('transfer_points', input)).error?.code, 'TOO_FEW_POINTS');
  const { rows } = await engine.store.query('select account, balance from points order by account');
  assert.deepEqual(rows, [
    { account: 'ann', balance: 3 },
    { account: 'bob', balance: 7 },
  ]);
});

test('a small refund goes through; a large one is done when people have signed it off, and only then', async (t) => {
  const host = await createNodeHost({ dirs: [directory('workflows')], watch: false });
  t.after(() => host.close());
  await using engine = await createTestEngine({ idle: true });
  await using api = await startTestApi({ on: engine, vault: 'alone' });
  const worker = await engine.another({ registry: host.registry, approvals: createApprovals(api.installation) });
  await worker.work();
  const shop = await serve(t, {});
  const run = async (amount: number, state?: 'approved' | 'denied') => {
    const { run_id: runId } = await worker.start({ workflow_name: 'refund_order', input: { shop: shop.url, orderId: 'o1', amount } });
    if (state !== undefined) {
      const asked = await eventually(async () => (await listApprovals(engine.store, { state: 'pending' })).items[0]);
      assert.deepEqual(shop.asked.length, state === 'denied' ? 1 : 2, 'nothing is done before the decision');
      await decideApproval(api.installation, 'ann', asked.approval_id, { state, reason: 'because' });
    }
    return (await engine.ended(runId)).result;
  };
  assert.deepEqual(await run(500), { orderId: 'o1', refunded: 500, verdict: 'approved', reason: null });
  assert.deepEqual(await run(9000, 'denied'), { orderId: 'o1', refunded: 0, verdict: 'denied', reason: 'because' });
  await run(500);
  assert.deepEqual(await run(9000, 'approved'), { orderId: 'o1', refunded: 9000, verdict: 'approved', reason: null });
  assert.deepEqual(
    shop.bodies.map((body) => (JSON.parse(body) as { amount: number }).amount),
    [500, 500, 9000],
  );
});
