/** What goes wrong around a run while it runs: refused rows, cut connections, cancellations at the worst moment. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTestEngine, type TestEngine } from '../../test/support/engine.ts';
import { eventually } from '../../test/support/wait.ts';

/** Ends every other session on the database, as a failover does. */
async function cutConnections(t: TestEngine, whose = '%'): Promise<void> {
  await t.store.query(
    'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and application_name like $1',
    [whose],
  );
}

test('a row that Postgres refuses fails its run alone, among many in the same commit', async () => {
  await using t = await createTestEngine();
  await t.store.query(`create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no poison here'; end $$`);
  await t.store.query(
    `create trigger refuse before insert on workflow_steps for each row when (new.name = 'poison') execute function refuse()`,
  );
  t.registry.define('steps', async (poison: boolean, ctx) => {
    await ctx.step('first', () => 1);
    await ctx.step(poison ? 'poison' : 'second', () => 2);
    return 'done';
  });
  const started = await t.engine.startMany(Array.from({ length: 120 }, (_, i) => ({ workflow_name: 'steps', input: i % 40 === 7 })));
  const runs = await Promise.all(started.map((run) => t.ended(run.run_id)));
  for (const [i, run] of runs.entries()) {
    if (i % 40 !== 7) assert.deepEqual([run.status, run.result, run.steps.length], ['completed', 'done', 2]);
    else {
      assert.deepEqual([run.status, run.error?.code], ['failed', 'ROW_REJECTED']);
      assert.match(run.error?.message ?? '', /no poison here/);
    }
  }
});

test('an error that the handler caught stays caught when the run is retried', async () => {
  await using t = await createTestEngine();
  const calls: string[] = [];
  t.registry.define(
    'careful',
    async (_: unknown, ctx) => {
      const first = await ctx
        .step('optional', () => {
          calls.push('optional');
          throw new Error('not today');
        })
        .catch((error: Error) => error.message);
      await ctx.step('needed', () => {
        calls.push('needed');
        if (ctx.attempt === 1) throw new Error('not yet');
      });
      return first;
    },
    { retry: { maxAttempts: 2, delay: 5 } },
  );
  const run = await t.run('careful');
  assert.deepEqual([run.status, run.attempt], ['completed', 2]);
  assert.match(run.result as string, /not today/);
  assert.deepEqual(calls, ['optional', 'needed', 'needed']);
});

test('a fork from one of two parallel branches keeps the other', async () => {
  await using t = await createTestEngine();
  const calls: string[] = [];
  t.registry.define('branches', async (_: unknown, ctx) => {
    const step = (name: string) => ctx.step(name, () => calls.push(name));
    await Promise.all([step('left'), step('right')]);
    await step('join');
  });
  const first = await t.run('branches');
  const fork = await t.engine.forkRun(first.run_id, { from_step: 'right' });
  assert.equal((await t.ended(fork.run_id)).status, 'completed');
  assert.deepEqual(calls.toSorted(), ['join', 'join', 'left', 'right', 'right']);
});

test('connections that are cut again and again lose no run and repeat no completed step', async () => {
  await using t = await createTestEngine();
  const committed = new Set<string>();
  const repeated: string[] = [];
  t.registry.define('steps', async (id: number, ctx) => {
    for (let k = 0; k < 6; k++) {
      await ctx.step(`step ${k}`, async () => {
        if (committed.has(`${id}/${k}`)) repeated.push(`${id}/${k}`);
        await new Promise((resolve) => setTimeout(resolve, 10));
      });
      committed.add(`${id}/${k}`);
    }
    return id;
  });
  const started = await t.engine.startMany(Array.from({ length: 60 }, (_, id) => ({ workflow_name: 'steps', input: id })));
  for (let i = 0; i < 5; i++) {
    await cutConnections(t);
    await new Promise((resolve) => setTimeout(resolve, 40));
  }
  for (const [id, { run_id }] of started.entries()) {
    const run = await t.ended(run_id);
    assert.deepEqual([run.status, run.result, run.steps.length], ['completed', id, 6]);
  }
  assert.deepEqual(repeated, []);
});

test('an event reaches a run whose worker has just lost its notifications', async () => {
  await using t = await createTestEngine();
  t.registry.define('waiter', (_: unknown, ctx) => ctx.waitForEvent('news', { eventType: 'news', correlationId: '1' }));
  const emitter = await t.another();
  const { run_id } = await t.engine.start({ workflow_name: 'waiter' });
  await eventually(async () => (await t.engine.getRun(run_id)).waiting_on.length === 1);
  await cutConnections(t, '%listener');
  await emitter.emitEvent({ event_type: 'news', correlation_id: '1', payload: 'heard' });
  assert.equal((await t.ended(run_id)).result, 'heard');
});

test('a run that is cancelled while it ends is either cancelled or completed, and the answer says which', async () => {
  await using t = await createTestEngine();
  t.registry.define('short', async (ms: number, ctx) => {
    await ctx.step('work', () => new Promise<void>((resolve) => void setTimeout(resolve, ms)));
    return 'done';
  });
  const seen = new Set<string>();
  const race = async () => {
    const started = await t.engine.startMany(Array.from({ length: 60 }, (_, i) => ({ workflow_name: 'short', input: i % 20 })));
    await Promise.all(
      started.map(async ({ run_id }, i) => {
        await new Promise((resolve) => setTimeout(resolve, (i * 7) % 25));
        const answer = await t.engine.cancelRun(run_id).then(
          (run) => run.status,
          (error: { code?: string }) => error.code,
        );
        const run = await t.ended(run_id);
        seen.add(run.status);
        assert.deepEqual([run.status, run.result], answer === 'cancelled' ? ['cancelled', null] : ['completed', 'done']);
        assert.ok(answer === 'cancelled' || answer === 'RUN_FINISHED', answer);
      }),
    );
    return seen.has('cancelled') && seen.has('completed');
  };
  // a machine that stands still for a moment gives it to one of the two
  await eventually(race, { what: 'both' });
  const { rows } = await t.store.query<{ n: number }>('select count(*) as n from workflow_runs');
  assert.equal(rows[0]?.n, 0);
});

test('a step that does not listen to its signal neither holds up a cancellation nor has a result afterwards', async () => {
  await using t = await createTestEngine();
  let release = () => {};
  let after = false;
  t.registry.define('deaf', async (_: unknown, ctx) => {
    await ctx.step('work', () => new Promise<void>((resolve) => (release = resolve)));
    after = true;
  });
  const { run_id } = await t.engine.start({ workflow_name: 'deaf' });
  await eventually(async () => t.engine.stats().steps_executed === 1);
  assert.equal((await t.engine.cancelRun(run_id)).status, 'cancelled');
  release();
  await new Promise((resolve) => setTimeout(resolve, 50));
  const run = await t.engine.getRun(run_id);
  assert.deepEqual([run.status, run.steps.length, after], ['cancelled', 0, false]);
});

test('a run that is cancelled within a transaction step leaves no transaction open', async () => {
  await using t = await createTestEngine();
  const inside = Promise.withResolvers<void>();
  const cancelled = Promise.withResolvers<void>();
  t.registry.define('paying', async (_: unknown, ctx) =>
    ctx.transaction('pay', async (tx) => {
      await tx.query('select 1');
      inside.resolve();
      await cancelled.promise;
    }),
  );
  const { run_id } = await t.engine.start({ workflow_name: 'paying' });
  await inside.promise;
  await t.engine.cancelRun(run_id);
  await eventually(() => t.engine.stats().resident_runs === 0);
  cancelled.resolve();
  await eventually(async () => {
    const { rows } = await t.store.query(
      `select 1 from pg_stat_activity where datname = current_database() and state = 'idle in transaction'`,
    );
    return rows.length === 0;
  });
});

test('a result that is too large or no JSON fails its step by name, and the run may catch that', async () => {
  await using t = await createTestEngine();
  t.registry.define('large', (_: unknown, ctx) => ctx.step('fetch', () => 'x'.repeat(1_100_000)));
  t.registry.define('cyclic', async (_: unknown, ctx) => {
    const loop: Record<string, unknown> = {};
    loop['self'] = loop;
    return ctx.step('loop', () => loop as never).catch((error: { code?: string }) => `caught ${error.code}`);
  });
  const large = await t.run('large');
  assert.equal(large.status, 'failed');
  assert.match(large.error?.message ?? '', /step "fetch": 1100002 bytes of JSON are over the limit of 1048576/);
  assert.match((await t.run('cyclic')).result as string, /^caught NOT_JSON$/);
});

test('two workers that race for one backlog execute each run once', async () => {
  await using t = await createTestEngine({ idle: true });
  const executed = new Map<string, number>();
  t.registry.define('once', (_: unknown, ctx) => {
    executed.set(ctx.runId, (executed.get(ctx.runId) ?? 0) + 1);
    return 1;
  });
  await t.engine.startMany(Array.from({ length: 400 }, () => ({ workflow_name: 'once' })));
  const second = await t.another();
  await Promise.all([t.engine.work(), second.work()]);
  await eventually(async () => (await t.store.query<{ n: number }>('select count(*) as n from workflow_runs')).rows[0]?.n === 0);
  assert.equal(executed.size, 400);
  assert.deepEqual(new Set(executed.values()), new Set([1]));
});

test('a run that is cancelled and retried at once keeps a late row from before, and completes', async () => {
  await using t = await createTestEngine();
  let reached = () => undefined as unknown;
  let release = () => undefined as unknown;
  t.registry.define('slow', async (_: unknown, ctx) => {
    const first = await ctx.step('first', async () => {
      reached();
      await new Promise<void>((resolve) => (release = () => resolve()));
      return 'second try';
    });
    return ctx.step('second', () => `${first}, and on`);
  });
  const inStep = new Promise((resolve) => (reached = () => resolve(undefined)));
  const { run_id } = await t.engine.start({ workflow_name: 'slow' });
  await inStep;
  await t.store.query(
    `insert into workflow_steps (run_id, seq, ord, name, outcome, started_at, ended_at) values ($1, 0, 0, 'first', '"late row"', now(), now())`,
    [run_id],
  );
  release();
  const run = await t.ended(run_id);
  assert.deepEqual([run.status, run.result], ['completed', 'late row, and on']);
});

test('runs that come and go while claims are slow are executed by one at a time', async () => {
  // the lease is renewed each 300 ms, while what a claim reads is locked most of the time
  await using t = await createTestEngine({ leaseMs: 900, residentMs: 0 });
  await t.another().then((second) => second.work());
  const committed = new Set<string>();
  const repeated: string[] = [];
  t.registry.define('restless', async (_: unknown, ctx) => {
    for (let k = 0; k < 16; k++) {
      await ctx.sleep(`sleep ${k}`, 4);
      await ctx.step(`step ${k}`, () => {
        if (committed.has(`${ctx.runId} ${k}`)) repeated.push(`${ctx.runId} ${k}`);
      });
      committed.add(`${ctx.runId} ${k}`);
    }
  });
  const started = await t.engine.startMany(Array.from({ length: 24 }, () => ({ workflow_name: 'restless' })));
  const ends = Promise.all(started.map((run) => t.ended(run.run_id)));
  let ended = false;
  void ends.finally(() => (ended = true));
  while (!ended) {
    await t.store.transaction(async (tx) => {
      await tx.query('lock table workflow_steps in access exclusive mode');
      await new Promise((resolve) => setTimeout(resolve, 500));
    });
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
  assert.deepEqual(new Set((await ends).map((run) => run.status)), new Set(['completed']));
  const released = t.logs.filter((entry) => entry.message.startsWith('released') || entry.message.startsWith('a row of this run'));
  assert.deepEqual(released, []);
  assert.deepEqual([committed.size, repeated], [384, []]);
});

test('a run whose workers keep dying is held back, also from its events, and fails at last', async () => {
  await using t = await createTestEngine({ leaseMs: 2000, residentMs: 20 });
  let executed = 0;
  t.registry.define('deadly', (_: unknown, ctx) => {
    executed += 1;
    return ctx.waitForEvent('go', { eventType: 'go' });
  });
  const { run_id } = await t.engine.start({ workflow_name: 'deadly' });
  const row = async () => {
    const { rows } = await t.store.query<{ status: string; wait: number }>(
      'select status::text, extract(epoch from wake_at - now())::float8 as wait from workflow_runs where run_id = $1',
      [run_id],
    );
    return rows[0] ?? { status: 'ended', wait: 0 };
  };
  const dies = async (times: number) => {
    const { rows } = await t.store.query<{ worker_id: number }>(
      `insert into workers (lease_until, host, pid) values (now() - interval '1s', 'elsewhere', 1) returning worker_id`,
    );
    await t.store.query(
      `update workflow_runs set status = 'r', wake_at = null, recoveries = $3, recovered_steps = 9, owner = $2 where run_id = $1`,
      [run_id, rows[0]?.worker_id, times],
    );
  };
  await eventually(async () => (await row()).status === 'w');
  // for half a minute, of which a slow machine needs some for what follows
  await dies(12);
  await eventually(async () => (await row()).wait > 5);
  const before = executed;
  await t.engine.emitEvent({ event_type: 'go', correlation_id: run_id, payload: 1 });
  // another death makes its worker look for what is forgotten
  await t.store.query(`insert into workers (lease_until, host, pid) values (now() - interval '1s', 'elsewhere', 1)`);
  await eventually(async () => (await t.store.query('select from workers where not dead')).rowCount === 1);
  await new Promise((resolve) => setTimeout(resolve, 300));
  const held = await row();
  assert.equal(held.status, 's');
  assert.ok(held.wait > 5, `${held.wait} s`);
  assert.equal(executed, before);
  await dies(30);
  await eventually(async () => (await row()).wait > 50);
  // on a slow machine its next worker may die of itself before it comes to that
  await eventually(async () => {
    await t.store.query(`update workflow_runs set wake_at = now() where run_id = $1 and status = 's'`, [run_id]);
    return (await row()).status === 'ended';
  });
  const run = await t.engine.getRun(run_id);
  assert.deepEqual([run.status, run.error?.code], ['failed', 'CRASH_LOOP']);
  assert.match(run.error?.message ?? '', /3\d times in a row/);
});
