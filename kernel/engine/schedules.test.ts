import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Schedule } from '@centaur/sdk';
import { createTestEngine, type TestEngine } from '../../test/support/engine.ts';
import { listSchedules, runDueSchedules, syncSchedules } from './schedules.ts';

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
