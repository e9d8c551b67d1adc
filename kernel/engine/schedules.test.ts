import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Schedule } from '@centaur/sdk';
import { createTestEngine, type TestEngine } from '../../test/support/engine.ts';
import { eventually } from '../../test/support/wait.ts';
import { listSchedules, runDueSchedules, syncSchedules, tickInput } from './schedules.ts';

const EVERY_MINUTE: Schedule = { type: 'cron', cron: '* * * * *', input: { from: 'clock' } };
const workflow = (schedule: Schedule | Schedule[]) => [{ name: 'ticking', version: 'v1', handler: () => 1, schedules: [schedule].flat() }];
const at = (text: string) => new Date(`2030-01-01T${text}Z`);

async function countRuns(t: TestEngine): Promise<number> {
  return (await t.engine.listRuns({ workflow_name: 'ticking', limit: 200 })).items.length;
}

test('each tick starts one run, however many processes look at the same moment', async () => {
  await using t = await createTestEngine({ idle: true });
  await syncSchedules(t.store, workflow({ ...EVERY_MINUTE, allow_overlap: true }), { now: at('00:00:30') });
  assert.equal(await runDueSchedules(t.store, ['ticking'], at('00:00:59')), 0);
  const started = await Promise.all(Array.from({ length: 8 }, () => runDueSchedules(t.store, ['ticking'], at('00:01:01'))));
  assert.equal(
    started.reduce((sum, n) => sum + n),
    1,
  );
  assert.equal(await runDueSchedules(t.store, ['ticking'], at('00:02:00')), 1);
  assert.equal(await countRuns(t), 2);
  assert.equal((await t.engine.listRuns({ workflow_name: 'ticking' })).items[0]?.trigger_key, 'schedule:ticking:2030-01-01T00:02:00.000Z');
});

test('a tick is passed over while the previous run is unfinished', async () => {
  await using t = await createTestEngine({ idle: true });
  await syncSchedules(t.store, workflow(EVERY_MINUTE), { now: at('00:00:30') });
  assert.equal(await runDueSchedules(t.store, ['ticking'], at('00:01:00')), 1);
  assert.equal(await runDueSchedules(t.store, ['ticking'], at('00:02:00')), 0);
  assert.equal((await listSchedules(t.store))[0]?.skipped, 1);
});

test('after an outage only as many ticks are made up for as catchup allows', async () => {
  await using t = await createTestEngine({ idle: true });
  await syncSchedules(t.store, workflow({ ...EVERY_MINUTE, allow_overlap: true, catchup: 2 }), { now: at('00:00:30') });
  assert.equal(await runDueSchedules(t.store, ['ticking'], at('00:10:30')), 2);
  assert.equal((await listSchedules(t.store))[0]?.skipped, 8);
});

test('an unchanged schedule keeps its next tick, a changed one begins anew, a vanished one is off', async () => {
  await using t = await createTestEngine({ idle: true });
  const next = async () => (await listSchedules(t.store))[0]?.next_at;
  await syncSchedules(t.store, workflow(EVERY_MINUTE), { now: at('00:00:30') });
  await syncSchedules(t.store, workflow(EVERY_MINUTE), { now: at('00:05:30') });
  assert.equal(await next(), '2030-01-01T00:01:00.000Z');
  await syncSchedules(t.store, workflow({ ...EVERY_MINUTE, cron: '0 * * * *' }), { now: at('00:05:30') });
  assert.equal(await next(), '2030-01-01T01:00:00.000Z');
  await syncSchedules(t.store, [], { now: at('00:05:30') });
  assert.equal((await listSchedules(t.store))[0]?.enabled, false);
});

test('one bad schedule is reported and turns off only itself', async () => {
  await using t = await createTestEngine({ idle: true });
  const { problems } = await syncSchedules(t.store, workflow([EVERY_MINUTE, { type: 'cron', cron: 'nonsense' }]), { now: at('00:00:30') });
  assert.match(problems[0] ?? '', /ticking#2.*five fields/);
  assert.equal((await listSchedules(t.store)).length, 1);
});

test('workers with different files leave each other’s schedules alone, and each fires its own', async () => {
  await using t = await createTestEngine({ idle: true });
  const other = [{ name: 'other', version: 'v1', handler: () => 1, schedules: [EVERY_MINUTE] }];
  await t.store.query(`insert into workers (lease_until, host, pid) values (now() + interval '1 minute', 'elsewhere', 1)`);
  await syncSchedules(t.store, workflow(EVERY_MINUTE), { now: at('00:00:30') });
  await syncSchedules(t.store, other, { now: at('00:00:30') });
  assert.deepEqual(
    (await listSchedules(t.store)).map((each) => [each.schedule_id, each.enabled]),
    [
      ['other', true],
      ['ticking', true],
    ],
  );
  assert.equal(await runDueSchedules(t.store, ['other'], at('00:01:01')), 1);
  assert.equal(await countRuns(t), 0);
  assert.equal(await runDueSchedules(t.store, ['ticking'], at('00:01:01')), 1);
  await syncSchedules(t.store, [{ ...workflow(EVERY_MINUTE)[0], schedules: [] }] as never, { now: at('00:01:30') });
  assert.deepEqual(
    (await listSchedules(t.store)).map((each) => [each.schedule_id, each.enabled]),
    [
      ['other', true],
      ['ticking', false],
    ],
  );
});

test('a destination that a schedule declares is in the input of its runs', async () => {
  await using t = await createTestEngine({ idle: true });
  const declared = {
    ...EVERY_MINUTE,
    thread_key: 'ops',
    slack_channel: 'C1',
    no_delivery: true,
    input: { topic: 'x', metadata: { a: 1 } },
  };
  await syncSchedules(t.store, workflow(declared), { now: at('00:00:30') });
  assert.equal(await runDueSchedules(t.store, ['ticking'], at('00:01:00')), 1);
  const { rows } = await t.store.query<{ input: string }>('select input from workflow_runs');
  assert.deepEqual(JSON.parse(rows[0]?.input ?? ''), {
    topic: 'x',
    thread_key: 'ops',
    delivery: { platform: 'slack', channel: 'C1' },
    metadata: { a: 1, source: 'workflow_schedule', workflow_name: 'ticking', no_delivery: true },
  });
  assert.deepEqual(tickInput(EVERY_MINUTE, 'ticking'), { from: 'clock' });
});

test('a schedule has the id that it chose, and of two with one id the second alone is off', async () => {
  await using t = await createTestEngine({ idle: true });
  const named = (name: string, schedule_id: string) => ({
    name,
    version: 'v1',
    handler: () => 1,
    schedules: [{ ...EVERY_MINUTE, schedule_id }],
  });
  const { problems } = await syncSchedules(
    t.store,
    [named('a', 'mornings'), named('b', 'mornings'), named('c', 'ticking'), ...workflow(EVERY_MINUTE)],
    { now: at('00:00:30') },
  );
  assert.deepEqual(
    (await listSchedules(t.store)).map((each) => [each.schedule_id, each.workflow_name]),
    [
      ['mornings', 'a'],
      ['ticking', 'ticking'],
    ],
  );
  assert.match(problems.join('\n'), /^b: .*"mornings" is also the id of a schedule of a; .*\nc: .*"ticking" is also/);
});

for (const [queue, most] of [
  ['etl', 5],
  [{ name: 'etl', concurrency: 1 }, 1],
] as const) {
  const limit = most === 1 ? ', also when that queue is full' : '';
  test(`a worker of the queue "etl" starts its runs and no others, and holds up nobody else${limit}`, async () => {
    await using t = await createTestEngine({ idle: true });
    let release = (): void => undefined;
    const released = new Promise<void>((resolve) => (release = resolve));
    t.registry.define('report', () => 'done');
    t.registry.define('sync', () => released, { queue, schedules: [{ ...EVERY_MINUTE, catchup: 5, allow_overlap: true }] });
    await syncSchedules(t.store, t.registry.list(), { now: at('00:00:30') });
    assert.equal(await runDueSchedules(t.store, ['sync'], at('00:05:00')), 5);
    const report = await t.engine.start({ workflow_name: 'report' });
    const woken = await t.engine.start({ workflow_name: 'report', run_at: new Date(Date.now() + 60_000).toISOString() });
    await t.store.query(`update workflow_runs set wake_at = now() where run_id = $1`, [woken.run_id]);
    const running = async () => (await t.engine.listRuns({ workflow_name: 'sync', status: 'running' })).items.length;

    await (await t.another({ queues: ['etl'] })).work();
    await eventually(async () => (await running()) === most);
    for (const { run_id } of [report, woken]) assert.equal((await t.engine.getRun(run_id)).status, 'queued');

    await t.engine.work();
    for (const { run_id } of [report, woken]) assert.equal((await t.ended(run_id)).status, 'completed');
    assert.equal(await running(), most);
    release();
  });
}
