import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NonRetryableError, type WorkflowContext } from '@centaur/sdk';
import { createRegistry } from '../../test/support/registry.ts';
import { createTestEngine } from '../../test/support/engine.ts';
import { eventually } from '../../test/support/wait.ts';
import { EngineError } from './errors.ts';

const rejectsWith = (code: string, pattern?: RegExp) => (error: unknown) => {
  assert.ok(error instanceof EngineError, String(error));
  assert.equal(error.code, code);
  if (pattern !== undefined) assert.match(error.message, pattern);
  return true;
};

test('a step returns what JSON gives back, on the first run already', async () => {
  await using t = await createTestEngine();
  t.registry.define('round', async (_: unknown, ctx) => ctx.step('make', () => ({ at: new Date(0), gone: undefined, n: 1 })));
  const run = await t.run('round');
  assert.deepEqual(run.result, { at: '1970-01-01T00:00:00.000Z', n: 1 });
  assert.deepEqual(
    run.steps.map((step) => [step.name, step.kind, step.status]),
    [['make', 'step', 'completed']],
  );
});

test('repeats of a step name are numbered', async () => {
  await using t = await createTestEngine();
  t.registry.define('loop', async (_: unknown, ctx) => {
    for (let i = 0; i < 3; i++) await ctx.step('again', () => i);
  });
  assert.deepEqual(
    (await t.run('loop')).steps.map((step) => step.name),
    ['again', 'again#2', 'again#3'],
  );
});

test('a run that is handed to another worker repeats no completed step and sees the same values', async () => {
  await using t = await createTestEngine({ residentMs: 50 });
  const calls: string[] = [];
  const seen: unknown[][] = [];
  t.registry.define('replayed', async (_: unknown, ctx) => {
    const values: unknown[] = [ctx.uuid(), ctx.random(), ctx.now().getTime()];
    seen.push(values);
    await ctx.step('before', () => calls.push('before'));
    values.push(ctx.now().getTime());
    await ctx.sleep('pause', 2000);
    await ctx.step('after', () => calls.push('after'));
  });
  assert.equal((await t.run('replayed')).status, 'completed');
  assert.deepEqual(calls, ['before', 'after']);
  assert.equal(seen.length, 2, 'the sleep was long enough to be evicted');
  assert.deepEqual(seen[0], seen[1]);
});

test('a race and interleaved branches take the same way on replay', async () => {
  await using t = await createTestEngine({ residentMs: 50 });
  const orders: string[][] = [];
  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  t.registry.define('branches', async (_: unknown, ctx) => {
    const order: string[] = [];
    orders.push(order);
    const branch = async (name: string, ms: number) => {
      await ctx.step('first', async () => pause(ms));
      order.push(name);
      return ctx.step('second', () => name);
    };
    const results = await Promise.all([branch('slow', 60), branch('fast', 5), branch('middle', 30)]);
    const winner = await Promise.race([ctx.sleep('long', 90).then(() => 'long'), ctx.sleep('short', 10).then(() => 'short')]);
    await ctx.sleep('evicted', 2000);
    return { results, winner };
  });
  const run = await t.run('branches');
  assert.deepEqual(run.result, { results: ['slow', 'fast', 'middle'], winner: 'short' });
  assert.ok(orders.length > 1, 'the sleep was long enough to be evicted');
  for (const order of orders) assert.deepEqual(order, ['fast', 'middle', 'slow']);
});

test('a failing step is tried again as its policy says, and its final failure is stored once', async () => {
  await using t = await createTestEngine({ residentMs: 50 });
  let tries = 0;
  t.registry.define('flaky', async (_: unknown, ctx) => {
    const caught = await ctx
      .step(
        'never',
        () => {
          tries += 1;
          throw new RangeError('no');
        },
        { retry: { maxAttempts: 3, delay: 10, backoff: 'fixed' } },
      )
      .catch((error: Error & { code: string; attempts: number; causeName: string }) => [
        error.name,
        error.causeName,
        error.message,
        error.attempts,
      ]);
    await ctx.sleep('evicted', 200);
    return caught;
  });
  assert.deepEqual((await t.run('flaky')).result, ['StepError', 'RangeError', 'no', 3]);
  assert.equal(tries, 3);
});

test('a non-retryable error ends the attempts, and a timeout counts as one', async () => {
  await using t = await createTestEngine();
  let tries = 0;
  t.registry.define('stop', async (_: unknown, ctx) =>
    ctx.step(
      'once',
      () => {
        tries += 1;
        throw new NonRetryableError('broken for good');
      },
      { retry: { maxAttempts: 5, delay: 1 } },
    ),
  );
  t.registry.define('slow', async (_: unknown, ctx) => ctx.step('hang', () => new Promise(() => {}), { timeout: 30 }));
  assert.equal((await t.run('stop')).error?.message, 'broken for good');
  assert.equal(tries, 1);
  assert.equal((await t.run('slow')).error?.code, 'STEP_TIMEOUT');
});

test('a run retry keeps completed steps, repeats the failed one, and shows its attempts', async () => {
  await using t = await createTestEngine();
  const calls: string[] = [];
  t.registry.define(
    'again',
    async (_: unknown, ctx) => {
      await ctx.step('kept', () => calls.push('kept'));
      await ctx.step('fails twice', () => {
        calls.push('tried');
        if (ctx.attempt < 3) throw new Error(`attempt ${ctx.attempt}`);
      });
      return ctx.attempt;
    },
    { retry: { maxAttempts: 3, delay: 5 } },
  );
  const run = await t.run('again');
  assert.equal(run.status, 'completed');
  assert.equal(run.attempt, 3);
  assert.deepEqual(calls, ['kept', 'tried', 'tried', 'tried']);
  assert.deepEqual(
    run.attempts.map((attempt) => attempt.error?.message),
    ['attempt 1', 'attempt 2'],
  );
});

test('an event sent before the wait counts, the n-th wait gets the n-th event, and a timeout is typed', async () => {
  await using t = await createTestEngine();
  t.registry.define('listens', async (_: unknown, ctx) => {
    const first = await ctx.waitForEvent('one', { eventType: 'note', correlationId: 'c' });
    const second = await ctx.waitForEvent('two', { eventType: 'note', correlationId: 'c' });
    const third = await ctx
      .waitForEvent('three', { eventType: 'note', correlationId: 'c', timeout: 30 })
      .catch((error: { code: string }) => error.code);
    return [first, second, third];
  });
  await t.engine.emitEvent({ event_type: 'note', correlation_id: 'c', payload: 1 });
  await t.engine.emitEvent({ event_type: 'note', correlation_id: 'c', payload: 2 });
  assert.deepEqual((await t.run('listens')).result, [1, 2, 'WAIT_TIMEOUT']);
});

test('an evicted wait is woken by its event, from any process', async () => {
  await using t = await createTestEngine({ residentMs: 30 });
  const other = await t.another();
  t.registry.define('parked', async (_: unknown, ctx) => ctx.waitForEvent('go', { eventType: 'go' }));
  const { run_id } = await t.engine.start({ workflow_name: 'parked' });
  const waiting = await eventually(async () => {
    const run = await t.engine.getRun(run_id);
    return run.status === 'waiting' ? run : undefined;
  });
  assert.deepEqual(waiting.waiting_on, [{ type: 'event', name: 'go', event_type: 'go', correlation_id: run_id, deadline: null }]);
  // on a busy machine it may be looked at once more before it rests
  const rests = async () => (await t.store.query(`select from workflow_runs where run_id = $1 and status = 'w'`, [run_id])).rowCount === 1;
  await eventually(async () => (await rests()) && (await new Promise((resolve) => setTimeout(resolve, 200)), await rests()));
  const emitted = await other.emitEvent({ event_type: 'go', correlation_id: run_id, payload: { ok: true } });
  assert.equal(emitted.runs_woken, 1);
  assert.deepEqual((await t.ended(run_id)).result, { ok: true });
});

test('children run, fail and are waited for; cancelling the parent reaches them', async () => {
  await using t = await createTestEngine();
  let hanging = false;
  let aborted = false;
  t.registry.define('double', async (input: { n: number }, ctx) => ctx.step('double', () => input.n * 2));
  t.registry.define('fails', async () => {
    throw new Error('child broke');
  });
  t.registry.define('family', async (_: unknown, ctx) => {
    const sums = await Promise.all([1, 2, 3].map((n) => ctx.runWorkflow(`child ${n}`, { workflow: 'double', input: { n } })));
    const failure = await ctx.runWorkflow('bad', { workflow: 'fails' }).catch((error: { code: string }) => error.code);
    return { sums, failure };
  });
  t.registry.define('forever', async (_: unknown, ctx) =>
    ctx.step(
      'hang',
      ({ signal }) =>
        new Promise((_resolve, reject) => {
          hanging = true;
          signal.addEventListener('abort', () => {
            aborted = true;
            reject(new Error('stopped'));
          });
        }),
    ),
  );
  t.registry.define('guardian', async (_: unknown, ctx) => ctx.runWorkflow('child', { workflow: 'forever' }));
  assert.deepEqual((await t.run('family')).result, { sums: [2, 4, 6], failure: 'CHILD_FAILED' });
  const { run_id } = await t.engine.start({ workflow_name: 'guardian' });
  const child = await eventually(async () => (await t.engine.getRun(run_id)).children[0]);
  await eventually(() => hanging);
  assert.equal((await t.engine.cancelRun(run_id)).status, 'cancelled');
  assert.equal((await t.engine.getRun(child.run_id)).status, 'cancelled');
  await eventually(() => aborted);
  await assert.rejects(t.engine.cancelRun(run_id), rejectsWith('RUN_FINISHED'));
});

test('a transaction step commits with its work, or not at all', async () => {
  await using t = await createTestEngine();
  await t.store.query('create table account (n int)');
  t.registry.define('pays', async (input: { fail: boolean }, ctx) =>
    ctx.transaction('pay', async (tx) => {
      await tx.query('insert into account values (1)');
      if (input.fail) throw new Error('refused');
      return (await tx.query<{ n: number }>('select count(*)::int as n from account')).rows[0]?.n;
    }),
  );
  assert.equal((await t.run('pays', { fail: true })).status, 'failed');
  assert.equal((await t.run('pays', { fail: false })).result, 1);
});

test('a run whose code no longer matches its history is stuck, shows the difference, and goes on when the code is back', async () => {
  await using t = await createTestEngine({ residentMs: 20 });
  const original = async (_: unknown, ctx: WorkflowContext) => {
    await ctx.step('old name', () => 1);
    await ctx.waitForEvent('go', { eventType: 'go' });
    return 'done';
  };
  t.registry.define('changes', original);
  const { run_id } = await t.engine.start({ workflow_name: 'changes' });
  await eventually(async () => (await t.engine.getRun(run_id)).status === 'waiting');
  t.registry.define('changes', async (_: unknown, ctx) => ctx.step('new name', () => 1));
  await t.engine.emitEvent({ event_type: 'go', correlation_id: run_id });
  const stuck = await t.ended(run_id);
  assert.equal(stuck.status, 'stuck');
  assert.equal(stuck.error?.code, 'HISTORY_MISMATCH');
  assert.match(stuck.error?.message ?? '', /step "old name".*step "new name"/);
  t.registry.define('changes', original);
  await t.engine.retryRun(run_id);
  assert.equal((await t.ended(run_id)).result, 'done');
});

test('ctx.patched lets old runs keep their way and gives new runs the new one', async () => {
  await using t = await createTestEngine({ residentMs: 20 });
  t.registry.define('patches', async (_: unknown, ctx) => {
    await ctx.step('a', () => 1);
    await ctx.waitForEvent('go', { eventType: 'go' });
    return ctx.step('b', () => 'b');
  });
  const old = await t.engine.start({ workflow_name: 'patches' });
  await eventually(async () => (await t.engine.getRun(old.run_id)).status === 'waiting');
  t.registry.define('patches', async (_: unknown, ctx) => {
    const extra = ctx.patched('extra') ? await ctx.step('extra', () => 'new') : 'old';
    await ctx.step('a', () => 1);
    await ctx.waitForEvent('go', { eventType: 'go' });
    return `${extra} ${await ctx.step('b', () => 'b')}`;
  });
  const fresh = await t.engine.start({ workflow_name: 'patches' });
  for (const id of [old.run_id, fresh.run_id]) await t.engine.emitEvent({ event_type: 'go', correlation_id: id });
  assert.equal((await t.ended(old.run_id)).result, 'old b');
  assert.equal((await t.ended(fresh.run_id)).result, 'new b');
});

test('a fork copies the history before a step and runs on from there', async () => {
  await using t = await createTestEngine();
  const calls: string[] = [];
  t.registry.define('forks', async (_: unknown, ctx) => {
    for (const name of ['a', 'b', 'c']) await ctx.step(name, () => calls.push(name));
    return ctx.uuid();
  });
  const first = await t.run('forks');
  const fork = await t.engine.forkRun(first.run_id, { from_step: 'b' });
  const second = await t.ended(fork.run_id);
  assert.deepEqual(calls, ['a', 'b', 'c', 'b', 'c']);
  assert.equal(second.result, first.result, 'a fork draws what its origin drew');
  await assert.rejects(t.engine.forkRun(first.run_id, { from_step: 'zzz' }), rejectsWith('STEP_NOT_FOUND', /zzz/));
});

test('a trigger key starts one run however many callers race, and refuses another input', async () => {
  await using t = await createTestEngine();
  const other = await t.another();
  t.registry.define('once', async () => 1);
  const starts = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      (i % 2 ? t.engine : other).start({ workflow_name: 'once', input: { a: 1, b: 2 }, trigger_key: 'k' }),
    ),
  );
  assert.equal(new Set(starts.map((start) => start.run_id)).size, 1);
  assert.equal(starts.filter((start) => start.created).length, 1);
  assert.equal((await t.engine.start({ workflow_name: 'once', input: { b: 2, a: 1 }, trigger_key: 'k' })).idempotent, true);
  await assert.rejects(t.engine.start({ workflow_name: 'once', input: { a: 2 }, trigger_key: 'k' }), rejectsWith('TRIGGER_KEY_MISMATCH'));
});

test('limits of a queue hold across workers: at one time, per key, and per period', async () => {
  await using t = await createTestEngine();
  await t.another().then((other) => other.work());
  let now = 0;
  let most = 0;
  const perKey = new Map<string, number>();
  let mostPerKey = 0;
  t.registry.define('busy', async (input: { key: string }, ctx) => {
    await ctx.step('work', async () => {
      most = Math.max(most, ++now);
      perKey.set(input.key, (perKey.get(input.key) ?? 0) + 1);
      mostPerKey = Math.max(mostPerKey, perKey.get(input.key) ?? 0);
      // the first one until there are two, however slowly they come
      await eventually(() => most > 1, { what: 'a second one at one time' });
      await new Promise((resolve) => setTimeout(resolve, 20));
      perKey.set(input.key, (perKey.get(input.key) ?? 0) - 1);
      now -= 1;
    });
  });
  await t.engine.setQueue('narrow', { concurrency: 3, concurrency_per_key: 1 });
  const runs = await t.engine.startMany(
    Array.from({ length: 12 }, (_, i) => ({
      workflow_name: 'busy',
      input: { key: `k${i % 2}` },
      queue: 'narrow',
      concurrency_key: `k${i % 2}`,
    })),
  );
  for (const run of runs) await t.ended(run.run_id);
  assert.ok(most <= 3 && most > 1, `at one time: ${most}`);
  assert.equal(mostPerKey, 1);

  await t.engine.setQueue('paced', { rate_limit: { limit: 3, period_ms: 500 } });
  const paced = await t.engine.startMany(Array.from({ length: 7 }, () => ({ workflow_name: 'busy', input: { key: 'x' }, queue: 'paced' })));
  const starts: number[] = [];
  for (const run of paced) starts.push(Date.parse((await t.ended(run.run_id)).started_at as string));
  starts.sort((a, b) => a - b);
  for (let i = 3; i < starts.length; i++)
    assert.ok(
      (starts[i] as number) - (starts[i - 3] as number) >= 495,
      `4 starts within ${(starts[i] as number) - (starts[i - 3] as number)} ms`,
    );
});

test('a limit holds for a worker that has not heard of it yet', async () => {
  await using t = await createTestEngine();
  let now = 0;
  let most = 0;
  t.registry.define('busy', async (_, ctx) => {
    await ctx.step('work', async () => {
      most = Math.max(most, ++now);
      await eventually(() => most > 1, { what: 'a second one at one time' });
      await new Promise((resolve) => setTimeout(resolve, 20));
      now -= 1;
    });
  });
  await t.store.query(`insert into workflow_queues (name, concurrency) values ('narrow', 2)`);
  const later = new Date(Date.now() + 100).toISOString();
  const runs = await t.engine.startMany(
    Array.from({ length: 12 }, (_, i) => ({
      workflow_name: 'busy',
      queue: 'narrow',
      eager_start: false,
      ...(i % 2 === 0 ? { run_at: later } : {}),
    })),
  );
  for (const run of runs) await t.ended(run.run_id);
  assert.equal(most, 2);
});

test('a key with a long backlog does not hold up another key', async () => {
  await using t = await createTestEngine();
  const order: string[] = [];
  t.registry.define('turn', async (input: { key: string }, ctx) => ctx.step('note', () => order.push(input.key)));
  await t.engine.setQueue('fair', { concurrency: 1 });
  const starts = (key: string, count: number) =>
    Array.from({ length: count }, () => ({ workflow_name: 'turn', input: { key }, queue: 'fair', concurrency_key: key }));
  // together, so that none of them has its turn before the few are there
  for (const run of await t.engine.startMany([...starts('many', 30), ...starts('few', 3)])) await t.ended(run.run_id);
  assert.ok(order.lastIndexOf('few') < 15, `the last of "few" came at place ${order.lastIndexOf('few')} of ${order.length}`);
});

test('a higher priority goes first, and run_at delays', async () => {
  await using t = await createTestEngine();
  const order: number[] = [];
  t.registry.define('ranked', async (input: { p: number }, ctx) => ctx.step('note', () => order.push(input.p)));
  await t.engine.setQueue('ranked', { concurrency: 1 });
  const runs = await t.engine.startMany(
    [0, 5, -5, 10].map((p) => ({ workflow_name: 'ranked', input: { p }, queue: 'ranked', priority: p })),
  );
  for (const run of runs) await t.ended(run.run_id);
  assert.deepEqual(order, [10, 5, 0, -5]);
  const [run_at, never] = [new Date(Date.now() + 300).toISOString(), '2100-01-01T00:00:00Z'];
  const [soon, later] = await t.engine.startMany([run_at, never].map((at) => ({ workflow_name: 'ranked', input: { p: 1 }, run_at: at })));
  assert.ok(Date.parse((await t.ended(soon?.run_id ?? '')).started_at as string) >= Date.parse(run_at));
  assert.equal((await t.engine.getRun(later?.run_id ?? '')).status, 'queued');
});

test('bad input is refused with the field, and changes nothing', async () => {
  await using t = await createTestEngine();
  t.registry.define('fine', async (_: unknown, ctx) => ctx.step('s', () => Number.NaN));
  await assert.rejects(t.engine.start({ workflow_name: 'fin' }), rejectsWith('UNKNOWN_WORKFLOW', /did you mean fine/));
  await assert.rejects(t.engine.start({ workflow_name: 'fine', priority: 1.5 }), rejectsWith('INVALID_REQUEST', /priority/));
  await assert.rejects(t.engine.start({ workflow_name: 'fine', run_at: 'tomorrow' }), rejectsWith('INVALID_REQUEST', /run_at/));
  await assert.rejects(t.engine.start({ workflow_name: 'fine', queue: 'no spaces' }), rejectsWith('INVALID_REQUEST', /queue/));
  await assert.rejects(t.engine.start({ workflow_name: 'fine', input: { n: 1n } }), rejectsWith('NOT_JSON', /\$\.n is a bigint/));
  await assert.rejects(t.engine.start({ workflow_name: 'fine', input: 'x'.repeat(1_100_000) }), rejectsWith('TOO_LARGE'));
  await assert.rejects(
    t.engine.startMany([{ workflow_name: 'fine' }, { workflow_name: 'nope' }]),
    rejectsWith('UNKNOWN_WORKFLOW', /^\[1\]/),
  );
  await assert.rejects(t.engine.getRun('nope'), rejectsWith('RUN_NOT_FOUND'));
  await assert.rejects(t.engine.emitEvent({ event_type: '', correlation_id: 'x' }), rejectsWith('INVALID_REQUEST', /event_type/));
  assert.equal((await t.engine.listRuns({})).items.length, 0);
  assert.match((await t.run('fine')).error?.message ?? '', /step "s": \$ is NaN/);
});

test('a tail that reconnects with the last id it saw gets exactly what followed', async () => {
  await using t = await createTestEngine();
  t.registry.define('steps', async (_: unknown, ctx) => {
    for (let i = 0; i < 6; i++) await ctx.step(`s${i}`, () => i);
  });
  const run = await t.run('steps');
  const all: string[] = [];
  for await (const event of t.engine.tailRun(run.run_id)) if (event.id !== null) all.push(event.id);
  assert.equal(all.length, 7);
  for (let i = 0; i < 6; i++) {
    const rest: string[] = [];
    for await (const event of t.engine.tailRun(run.run_id, { afterId: all[i] })) if (event.id !== null) rest.push(event.id);
    assert.deepEqual(rest, all.slice(i + 1));
  }
});

test('a tail tells of each sleep once, also of those whose end nobody wrote down', async () => {
  // it waits in memory below, for as long as that takes
  await using t = await createTestEngine({ residentMs: 60_000 });
  let failing = true;
  const told = Promise.withResolvers<void>();
  t.registry.define(
    'sleeps',
    async (_: unknown, ctx) => {
      await ctx.sleep('first', 5);
      await ctx.step('between', () => 1);
      await ctx.sleep('second', 5);
      await ctx.sleep('third', 5);
      void ctx.sleep('never', '1h');
      await Promise.race([ctx.sleep('written', 5), ctx.waitForEvent('nothing', { eventType: 'nothing' })]);
      try {
        await ctx.step('fails once', () => {
          if (failing) throw new Error('not yet');
        });
      } catch (error) {
        // the retry does away with what had failed: a tail that looked later would never tell of it
        await told.promise;
        throw error;
      }
      await ctx.sleep('after', 5);
      return ctx.step('ends', () => 1);
    },
    { retry: { maxAttempts: 2, delay: '1h' } },
  );
  const { run_id } = await t.engine.start({ workflow_name: 'sleeps' });
  const retried = () =>
    t.store.query(
      `with due as (update workflow_runs set wake_at = now() where run_id = $1 and status = 's' returning 1)
      select pg_notify('centaur_work', '') from due`,
      [run_id],
    );
  const live: string[] = [];
  for await (const { id, event, data } of t.engine.tailRun(run_id)) {
    if (id !== null) live.push(`${id} ${'name' in data ? data.name : event}`);
    if (event !== 'step.failed') continue;
    failing = false;
    told.resolve();
    await eventually(async () => (await retried()).rowCount === 1);
  }
  const names = live.map((each) => each.split(' ').slice(1).join(' '));
  assert.deepEqual(names, [
    'first',
    'between',
    'second',
    'third',
    'written',
    'fails once',
    'run.retrying',
    'fails once',
    'after',
    'ends',
    'run.completed',
  ]);
  for (let i = -1; i < live.length - 1; i++) {
    const rest: string[] = [];
    const afterId = live[i]?.split(' ')[0];
    for await (const { id, event, data } of t.engine.tailRun(run_id, afterId === undefined ? {} : { afterId }))
      if (id !== null) rest.push(`${id} ${'name' in data ? data.name : event}`);
    // what failed and was done again is not in the history any more
    const stays = live.filter((each, n) => n > i && !(each.endsWith('fails once') && each.startsWith('1-')));
    assert.deepEqual(rest, stays, `after ${afterId}`);
  }
});

test('a tail tells of a sleep with which the run ended, and of none that a cancelled run did not sleep', async () => {
  await using t = await createTestEngine();
  t.registry.define('rests', async (input: { ms: number }, ctx) => {
    await ctx.step('one', () => 1);
    await ctx.sleep('last', input.ms);
  });
  const told = async (run: string) => {
    const names: string[] = [];
    for await (const { id, event, data } of t.engine.tailRun(run)) if (id !== null) names.push('name' in data ? data.name : event);
    return names;
  };
  const { run_id } = await t.run('rests', { ms: 5 });
  assert.deepEqual(await told(run_id), ['one', 'last', 'run.completed']);
  const { run_id: long } = await t.engine.start({ workflow_name: 'rests', input: { ms: 3_600_000 } });
  await eventually(async () => (await t.engine.getRun(long)).status === 'sleeping');
  await t.engine.cancelRun(long);
  assert.deepEqual(await told(long), ['one', 'run.cancelled']);
  assert.deepEqual(
    [await t.engine.getRun(run_id), await t.engine.getRun(long)].map((run) => run.steps.map((step) => step.status)),
    [
      ['completed', 'completed'],
      ['completed', 'pending'],
    ],
  );
});

test('a drained worker hands its runs back at once', async () => {
  await using t = await createTestEngine();
  const other = await t.another();
  t.registry.define('drained', async (_: unknown, ctx) => {
    await ctx.step('a', () => 1);
    await ctx.waitForEvent('go', { eventType: 'go' });
    return ctx.step('b', () => 2);
  });
  const { run_id } = await other.work().then(() => other.start({ workflow_name: 'drained' }));
  await eventually(async () => (await t.engine.getRun(run_id)).steps.length > 1);
  await other.drain(100);
  await t.engine.emitEvent({ event_type: 'go', correlation_id: run_id });
  assert.equal((await t.ended(run_id)).result, 2);
});

test('a run waits for a worker that has its workflow, and costs the others nothing', async () => {
  await using t = await createTestEngine();
  t.registry.define('both', () => 'done');
  const elsewhere = createRegistry();
  elsewhere.define('both', () => 'done');
  elsewhere.define('theirs', async (_input, ctx) => {
    await ctx.sleep('nap', 1);
    return 'theirs';
  });
  const client = await t.another({ registry: elsewhere });
  const { run_id } = await client.start({ workflow_name: 'theirs' });
  assert.equal((await t.run('both')).result, 'done');
  assert.equal((await t.engine.getRun(run_id)).status, 'queued');
  await client.work();
  assert.equal((await t.ended(run_id)).result, 'theirs');
});
