import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { startEffort } from '../../test/support/effort.ts';
import { createTestEngine } from '../../test/support/engine.ts';
import { readTrace } from './index.ts';

test('a trace of 20,000 steps and 20,000 entries is read within its limits, and says that there is more', async () => {
  await using t = await createTestEngine({ idle: true });
  const runId = randomUUID();
  await t.store.query(
    `insert into workflow_runs_finished (run_id, workflow_name, status, queue, priority, attempt, created_at, started_at)
     values ($1, 'huge', 'c', 'default', 0, 1, now() - interval '1 hour', now() - interval '1 hour')`,
    [runId],
  );
  await t.store.query(
    `insert into workflow_steps (run_id, seq, ord, name, outcome, started_at, ended_at)
     select $1, n, n, 'step ' || n, to_json(repeat('x', 1000)), now() - interval '1 hour' + n * interval '100 ms', now() - interval '1 hour' + n * interval '100 ms' + interval '50 ms'
     from generate_series(0, 19999) n`,
    [runId],
  );
  await t.store.query('create table audit_log_default partition of audit_log default');
  // entries are large: nothing but a few numbers of each comes here
  await t.store.query(
    `insert into audit_log (audit_id, action, actor, resource, decision, run_id, trace_id, entry, mac, leaf)
     select id, 'tool.call', 'workflow:huge', 'tool:shop.list', 'allow', $1, $1,
       json_build_object('id', id, 'at', now() - interval '1 hour', 'details', json_build_object('policy_ms', 1, 'shadow', repeat('s', 2000)))::text, '', ''
     from (select ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid as id from generate_series(1, 20000) n) e`,
    [runId],
  );
  const heap = process.memoryUsage().rss;
  const effort = startEffort();
  const trace = await readTrace(t.store, runId, { limit: 10_000, workflows: 'all' });
  const took = effort();
  const grown = (process.memoryUsage().rss - heap) / 2 ** 20;
  assert.deepEqual([trace?.spans.length, trace?.truncated], [10_000, true]);
  assert.ok(took < 15_000, `${Math.round(took)} ms of the processor`);
  assert.ok(grown < 300, `${Math.round(grown)} MiB`);
  const small = await readTrace(t.store, runId, { limit: 10, workflows: 'all' });
  assert.deepEqual([small?.spans.length, small?.truncated], [10, true]);
});
