/** Erasure and retention that are cut in two, or in the middle of which something comes: a hold, a message, a fork, a seal. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CANARY, type CarePlace, openCarePlace, say, seed, tablesWith } from '../../test/support/care.ts';
import { eventually } from '../../test/support/wait.ts';
import { sealPrivate } from '../audit/index.ts';
import type { RetentionPeriods } from '../config/index.ts';
import { applyRetention } from '../engine/index.ts';
import { type Queryable, type Store, uuidv7 } from '../store/index.ts';
import { beginErasure, getErasure, placeHold, pruneDue, releaseHold, runErasures } from './index.ts';

const KEPT: RetentionPeriods = {
  runs: 3000,
  webhookDeliveries: 3000,
  threads: null,
  toolCalls: 3000,
  leases: 3000,
  audit: null,
  auditExport: 'none',
};

/** Calls `before` before each transaction, with its number: it may throw, as if the process had been killed there. */
function watched(store: Store, before: (n: number) => Promise<void> | void): Store {
  let n = 0;
  return new Proxy(store, {
    get(target, name, receiver) {
      if (name !== 'transaction') return Reflect.get(target, name, receiver) as unknown;
      return async (work: (tx: Queryable) => Promise<unknown>) => {
        await before((n += 1));
        return target.transaction(work);
      };
    },
  });
}

async function begin({ store, installation }: CarePlace, subject: string): Promise<string> {
  return (await beginErasure({ store, audit: installation.audit }, 'user:admin', subject)).erasure_id;
}

/** Rows of the database by table, but for what is written about erasing. */
async function countAll(store: Store): Promise<string> {
  const { rows } = await store.query<{ name: string }>(
    `select c.oid::regclass::text as name from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
       and c.relname not like 'audit%' and c.relname not in ('data_erasures', 'data_holds', 'workers') order by 1`,
  );
  const counts: string[] = [];
  for (const { name } of rows)
    counts.push(`${name} ${(await store.query<{ n: string }>(`select count(*)::text as n from ${name}`)).rows[0]?.n}`);
  return counts.join('\n');
}

/** A run that the first one of the thread started, and what that one started, and a fork of the last. Oldest first. */
async function family(store: Store, thread: string, canary: string): Promise<readonly string[]> {
  const { rows } = await store.query<{ run_id: string }>(
    'select run_id from agent_execution_requests where thread_key = $1 order by created_at desc limit 1',
    [thread],
  );
  let [of] = rows.map(({ run_id }) => run_id);
  const made: string[] = [];
  for (const column of ['parent_run_id', 'parent_run_id', 'seed']) {
    const { rows: born } = await store.query<{ run_id: string }>(
      `insert into workflow_runs_finished (run_id, workflow_name, status, queue, priority, attempt, ${column}, input, created_at)
       values ($3, 'w', 'c', 'default', 0, 1, $1, json_build_object('said', $2::text), now()) returning run_id`,
      [of, canary, uuidv7(store.now())],
    );
    of = born[0]?.run_id;
    made.push(of ?? '');
  }
  return made;
}

test('an erasure that is killed before any of its transactions leaves nothing behind, once another process has gone on', async () => {
  await using place = await openCarePlace();
  const { store, installation } = place;
  await seed(place, 'mine', 'ann', CANARY);
  await seed(place, 'ours', 'bert', 'other-77aa');
  await say(place, 'ours', 'ann', `psst ${CANARY}`);
  for (const thread of ['mine', 'ours']) await family(store, thread, CANARY);
  await installation.audit.write({
    action: 'test.said',
    actor: 'user:ann',
    private: await store.transaction((tx) => sealPrivate(tx, installation.master, 'thread:mine', { said: CANARY })),
  });
  // as channels do it: the message says who it is, the turn does not
  await store.query('update agent_execution_requests set user_id = null');
  const id = await begin(place, 'user:ann');
  let killed = 0;
  for (let most = 1; ; most++) {
    const dying = watched(store, (n) => {
      if (n > most) throw new Error('killed');
    });
    await runErasures({ store: dying, audit: installation.audit }).catch(() => (killed += 1));
    if ((await getErasure(store, id)).state === 'done') break;
  }
  assert.ok(killed > 12, `killed ${killed} times`);
  assert.deepEqual(await tablesWith(store, CANARY), []);
  assert.ok((await tablesWith(store, 'other-77aa')).includes('agent_message_requests'), 'what another person said stays');
  const { rows } = await store.query(`select 1 from sandbox_sessions where thread_key = 'mine'`);
  assert.equal(rows.length, 0);
  const { rows: keys } = await store.query<{ subject: string }>('select subject from audit_subjects where wrapped_key is null order by 1');
  assert.deepEqual(
    keys.map(({ subject }) => subject),
    ['thread:mine', 'user:ann'],
  );
});

for (const held of ['thread:mine', 'user:ann'])
  test(`a hold on ${held} that is placed while the thread is erased stops it before the next row, until it is released`, async () => {
    await using place = await openCarePlace();
    const { store, installation } = place;
    const parts = { store, audit: installation.audit };
    await seed(place, 'mine', 'ann', CANARY);
    await family(store, 'mine', CANARY);
    const id = await begin(place, held === 'user:ann' ? 'user:ann' : 'thread:mine');
    let stopped = 0;
    for (let at = 1; ; at++) {
      let hold: string | undefined;
      let before = '';
      const slow = watched(store, async (n) => {
        if (n !== at) return;
        hold = (await placeHold(parts, 'user:lawyer', held, `case ${at}`)).hold_id;
        before = await countAll(store);
      });
      await runErasures({ store: slow, audit: installation.audit });
      const { state, problem } = await getErasure(store, id);
      if (state === 'done') break;
      stopped += 1;
      assert.match(problem ?? '', /a legal hold keeps/);
      assert.equal(await countAll(store), before, `nothing goes after the hold, placed before transaction ${at}`);
      const { rows: keys } = await store.query('select 1 from audit_subjects where wrapped_key is null');
      assert.equal(keys.length, 0, 'nor does a key');
      await releaseHold(parts, 'user:lawyer', hold ?? '');
    }
    assert.ok(stopped > 12, `stopped ${stopped} times`);
    assert.deepEqual(await tablesWith(store, CANARY), []);
  });

test('whoever joins a thread while its only other person is erased keeps what they said', async () => {
  await using place = await openCarePlace();
  const { store, installation, t } = place;
  await seed(place, 'mine', 'ann', CANARY);
  await say(place, 'mine', 'ann', `more of ${CANARY}`);
  const id = await begin(place, 'user:ann');
  let joined = false;
  const slow = watched(store, async () => {
    const { rows } = await store.query('select 1 from attachments');
    if (joined || rows.length > 0) return;
    joined = true;
    const { assignment_generation } = await t.threads.spawn({ thread_key: 'mine' });
    await t.threads.message({ thread_key: 'mine', assignment_generation, parts: [{ type: 'text', text: 'other-77aa' }], user_id: 'bert' });
  });
  await runErasures({ store: slow, audit: installation.audit });
  assert.match((await getErasure(store, id)).problem ?? '', /somebody else/);
  await runErasures({ store, audit: installation.audit });
  assert.equal((await getErasure(store, id)).state, 'done');
  assert.deepEqual(await tablesWith(store, CANARY), []);
  assert.ok((await tablesWith(store, 'other-77aa')).includes('agent_message_requests'));
});

for (const [thread, subject] of [
  ['mine', 'thread:mine'],
  ['ours', 'user:ann'],
] as const)
  test(`a turn that comes and goes while ${subject} is erased goes too, with its run`, async () => {
    await using place = await openCarePlace();
    const { store, installation } = place;
    await say(place, thread, 'ann', CANARY);
    if (thread === 'ours') await say(place, thread, 'bert', 'other-77aa');
    const id = await begin(place, subject);
    for (let at = 1; at < 60 && (await getErasure(store, id)).state !== 'done'; at++) {
      let came = false;
      const busy = watched(store, async (n) => {
        if (came || n !== at) return;
        came = true;
        await say(place, thread, 'ann', `again ${CANARY}`);
        await store.query('update agent_execution_requests set user_id = null');
      });
      await runErasures({ store: busy, audit: installation.audit });
      if (!came) break;
      // whoever speaks after the end speaks in a thread that is new, or is somebody else by then
      if ((await tablesWith(store, CANARY)).length > 0) {
        const again = await begin(place, subject);
        await runErasures({ store, audit: installation.audit });
        assert.equal((await getErasure(store, again)).state, 'done');
      }
      assert.deepEqual(await tablesWith(store, CANARY), [], `it came before transaction ${at}`);
      await store.query(`update data_erasures set state = 'running' where erasure_id = $1`, [id]);
      await say(place, thread, 'ann', CANARY);
    }
  });

test('a thread that comes back to life while retention deletes it keeps what is said then', async () => {
  await using place = await openCarePlace();
  const { store, installation } = place;
  await seed(place, 'old', 'ann', CANARY);
  await store.query(`update sandbox_sessions set last_used_at = now() - interval '40 days'`);
  let came = false;
  const busy = watched(store, async () => {
    const { rows } = await store.query('select 1 from attachments');
    if (came || rows.length > 0) return;
    came = true;
    await say(place, 'old', 'ann', 'still here-42');
  });
  assert.equal((await pruneDue({ store: busy, audit: installation.audit }, { ...KEPT, threads: 30 }))['threads'], undefined);
  assert.ok(came);
  const found = await tablesWith(store, 'still here-42');
  assert.ok(found.includes('agent_message_requests') && found.includes('agent_execution_events'), found.join());
});

test('retention keeps what held runs started, and their forks, and takes those of others', async () => {
  await using place = await openCarePlace();
  const { store, installation } = place;
  const parts = { store, audit: installation.audit };
  await say(place, 'kept', 'ann', 'hello');
  await say(place, 'old', 'bert', 'hello');
  const kept = await family(store, 'kept', CANARY);
  await family(store, 'old', 'other-77aa');
  await placeHold(parts, 'user:lawyer', 'thread:kept', 'case 12');
  await store.query(`update workflow_runs_finished set ended_at = now()`);
  const later = new Date(store.now() + 60 * 86_400_000);
  await applyRetention(store, { retentionDays: 1, now: later, audit: installation.audit });
  const { rows } = await store.query<{ run_id: string }>(`select run_id from workflow_runs_finished where workflow_name = 'w'`);
  assert.deepEqual(rows.map(({ run_id }) => run_id).toSorted(), kept.toSorted());
});

test('of a run that is forked while its thread is erased no copy stays', async () => {
  await using place = await openCarePlace();
  const { store, installation, t } = place;
  t.engine.registry.define('asker', async (_: unknown, ctx) => {
    const said = await ctx.step('said', () => CANARY);
    return ctx.step('again', () => `${said} twice`);
  });
  await say(place, 'mine', 'ann', 'hello');
  const asker = (await t.engine.run('asker')).run_id;
  await store.query('update agent_execution_requests set asked_by = $1', [asker]);
  await t.engine.engine.forkRun(asker, { from_step: 'again' });
  await eventually(async () => {
    const { rows } = await store.query(`select 1 from workflow_runs_finished where workflow_name = 'asker'`);
    return rows.length === 2;
  });
  const id = await begin(place, 'thread:mine');
  // one that is made while the erasure has begun
  const forking = await store.connect('test');
  try {
    await forking.query('begin');
    await forking.query('select 1 from workflow_runs_finished where run_id = $1 for key share', [asker]);
    const erasing = runErasures({ store, audit: installation.audit });
    await eventually(async () => {
      const { rows } = await store.query(
        `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%workflow_runs_finished%'`,
      );
      return rows.length > 0;
    });
    await forking.query(
      `insert into workflow_runs_finished (run_id, workflow_name, status, queue, priority, attempt, seed, input, created_at)
       values ($3, 'asker', 'c', 'default', 0, 1, $1, $2, now())`,
      [asker, JSON.stringify(CANARY), uuidv7(store.now())],
    );
    await forking.query('commit');
    await erasing;
  } finally {
    await forking.end();
  }
  await runErasures({ store, audit: installation.audit });
  assert.equal((await getErasure(store, id)).state, 'done');
  assert.deepEqual(await tablesWith(store, CANARY), []);
  await assert.rejects(t.engine.engine.forkRun(asker, { from_step: 'again' }), { code: 'RUN_NOT_FOUND' });
});

test('a sealer that has read a run adds nothing about it once it is erased', async () => {
  await using place = await openCarePlace();
  const { store, installation } = place;
  await say(place, 'mine', 'ann', CANARY);
  const id = await begin(place, 'thread:mine');
  const { rows } = await store.query<{ run_id: string }>('select run_id from agent_execution_requests');
  const sealing = await store.connect('test');
  try {
    await sealing.query('begin');
    await sealing.query('select 1 from journal_cursor for update');
    const erasing = runErasures({ store, audit: installation.audit });
    await Promise.race([
      erasing,
      eventually(async () => {
        const { rows } = await store.query(
          `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%journal_cursor%'`,
        );
        return rows.length > 0;
      }),
    ]);
    await sealing.query(
      `insert into journal_seals (run_id, attempt, audit_id, head, members, names)
       values ($1, 1, gen_random_uuid(), '', '', array[$2])`,
      [rows[0]?.run_id, CANARY],
    );
    await sealing.query('commit');
    await erasing;
  } finally {
    await sealing.end();
  }
  assert.equal((await getErasure(store, id)).state, 'done');
  assert.deepEqual(await tablesWith(store, CANARY), []);
});
