import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startTestApi } from '../../test/support/api.ts';
import { GITHUB, startTestWebhooks, type TestWebhooks } from '../../test/support/webhooks.ts';

let t: TestWebhooks;

before(async () => {
  t = await startTestWebhooks();
  t.declare('triage', GITHUB);
  t.declare('deploy', { ...GITHUB, slug: 'deploys' }, { slug: 'broken', auth: 'magic' });
  await t.send('issues', '{"n": 1}');
  await t.send('deploys', '{"n": 2}');
});

after(() => t[Symbol.asyncDispose]());

const slugs = (items: readonly { slug: string }[]) => items.map(({ slug }) => slug);

test('a key sees the webhooks and deliveries of the workflows that it may read', async () => {
  const all = (await t.api.call('GET', '/webhooks')).body;
  assert.deepEqual(slugs(all.items), ['deploys', 'issues']);
  assert.match(all.problems[0].message, /WEBHOOKS\[1\]/);
  assert.deepEqual((await t.api.call('GET', '/workflows')).body.problems, all.problems);
  const key = await t.api.keyWith('workflows:triage');
  const own = (await t.api.call('GET', '/webhooks', undefined, { key })).body;
  assert.deepEqual([slugs(own.items), own.problems], [['issues'], []]);
  assert.deepEqual(slugs((await t.api.call('GET', '/webhooks/deliveries')).body.items), ['deploys', 'issues']);
  assert.deepEqual(slugs((await t.api.call('GET', '/webhooks/deliveries', undefined, { key })).body.items), ['issues']);
  for (const scope of ['webhooks:forward', 'threads.read'])
    assert.equal((await t.api.call('GET', '/webhooks/deliveries', undefined, { key: await t.api.keyWith(scope) })).status, 403);
  assert.equal((await t.api.call('GET', '/webhooks', undefined, { key: null })).status, 401);
});

test('a delivery is sent again as a run of its own, by who may start the workflow', async () => {
  const [deploy, issue] = (await t.api.call('GET', '/webhooks/deliveries')).body.items;
  const again = (id: string, key?: string) =>
    t.api.call('POST', `/webhooks/deliveries/${id}/redeliver`, undefined, key === undefined ? {} : { key });
  const first = await again(issue.delivery_id);
  const second = await again(issue.delivery_id);
  assert.deepEqual([first.status, second.status, first.body.redelivery_of], [201, 201, issue.delivery_id]);
  assert.equal(new Set([issue.run_id, first.body.run_id, second.body.run_id]).size, 3);
  const inputs = await Promise.all(
    [issue, first.body, second.body].map(async ({ run_id }) => (await t.api.call('GET', `/workflows/runs/${run_id}`)).body.input),
  );
  assert.deepEqual([inputs[1], inputs[2]], [inputs[0], inputs[0]]);
  const [newest] = (await t.api.call('GET', '/webhooks/deliveries?limit=1')).body.items;
  assert.deepEqual([newest.redelivery_of, newest.run_id, newest.created], [issue.delivery_id, second.body.run_id, true]);
  const key = await t.api.keyWith('workflows:triage');
  assert.equal((await again(issue.delivery_id, key)).status, 201);
  assert.equal((await again(deploy.delivery_id, key)).status, 403);
  assert.equal((await again(issue.delivery_id, await t.api.keyWith('workflows.read'))).status, 403);
  for (const id of ['0198c0de-0000-7000-8000-000000000000', 'nonsense'])
    assert.deepEqual([(await again(id)).status, (await again(id)).body.code], [404, 'DELIVERY_NOT_FOUND']);
});

test('what came of requests is counted, by webhooks that are served and none that are made up', async () => {
  await t.send('issues', '{"n": 1}');
  await t.send('issues', '{}', { secret: 'wrong' });
  await t.send('made-up', '{}');
  const text: string = (await t.api.call('GET', '/metrics')).body;
  assert.match(text, /^centaur_webhooks_total\{slug="issues",outcome="created"\} 1$/m);
  assert.match(text, /^centaur_webhooks_total\{slug="issues",outcome="known"\} 1$/m);
  assert.match(text, /^centaur_webhooks_total\{slug="issues",outcome="BAD_SIGNATURE"\} 1$/m);
  assert.doesNotMatch(text, /made-up/);
});

test('a process without webhooks says so', async () => {
  await using bare = await startTestApi({ on: t.api.t });
  for (const [method, path] of [
    ['GET', '/webhooks'],
    ['POST', '/webhooks/issues'],
  ] as const)
    assert.deepEqual([(await bare.call(method, path)).status, (await bare.call(method, path)).body.code], [503, 'WEBHOOKS_UNAVAILABLE']);
});
