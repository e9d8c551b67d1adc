import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestApi } from '../../test/support/api.ts';
import { createTestDatabase } from '../../test/support/database.ts';
import { connectStore } from '../store/index.ts';
import { createCounter, createEntryCounts, createHistogram, METRICS, type MetricName, renderFamilies } from '../telemetry/index.ts';
import { readDatabase } from './database-metrics.ts';

/** Every line of a text, held against the registry. */
function checkText(text: string): void {
  for (const line of text
    .trimEnd()
    .split('\n')
    .filter((each) => !each.startsWith('#'))) {
    const [, name = '', labels = ''] = /^([a-z_0-9]+)(?:\{(.*)\})? /.exec(line) ?? [];
    const known = name in METRICS ? name : name.replace(/_(?:bucket|sum|count)$/, '');
    const found = METRICS[known as MetricName];
    assert.ok(found !== undefined, `${name} is in the registry`);
    const given = [...labels.matchAll(/([a-z_]+)="/g)].map((match) => match[1] as string).filter((label) => label !== 'le');
    if (name === known || !['_sum', '_count', '_bucket'].some((suffix) => name.endsWith(suffix)) || found.labels.length > 0)
      assert.deepEqual(given.toSorted(), [...found.labels].toSorted(), line);
  }
}

test('everything that a process tells is in the registry, with its labels', async () => {
  await using api = await startTestApi();
  await api.run('greet', { name: 'ann' });
  const text: string = (await api.call('GET', '/metrics', undefined, { key: await api.keyWith('metrics.read') })).body;
  checkText(text);
  assert.match(text, /^centaur_step_seconds_bucket\{le="\+Inf"\} 1$/m);
  assert.match(text, /^centaur_outbox_dead 0$/m);
  assert.match(text, /^centaur_inbox_dead 0$/m);
  // no gate has a question
  assert.doesNotMatch(text, /centaur_approvals_pending/);
});

test('labels from outside have a bounded number of values, and decisions are counted by their rule', () => {
  const counts = createEntryCounts();
  for (let i = 0; i < 2000; i++)
    counts.count({ action: 'egress.deny', details: { rule: `rule-${i}`, request: { host: `${i}.example.com` } } });
  counts.count({ action: 'egress.intent', decision: 'allow', details: { rule: 'open', request: { host: 'api.example.com' } } });
  counts.count({ action: 'tool.call', decision: 'allow', details: { rule: 'asked', approval_id: 'x' } });
  counts.count({ action: 'approval.request', details: { rule: 'asked', gate: 'finance' } });
  counts.count({ action: 'approval.decide', decision: 'deny', details: { gate: 'finance' } });
  counts.count({ action: 'lease.create' });
  const text = renderFamilies(counts.families());
  checkText(text);
  assert.match(text, /^centaur_egress_total\{host="other",verdict="deny"\} 2000$/m);
  assert.match(text, /^centaur_egress_total\{host="api.example.com",verdict="allow"\} 1$/m);
  assert.match(text, /^centaur_policy_decisions_total\{decision="other",rule="other"\} 15\d\d$/m);
  assert.match(text, /^centaur_policy_decisions_total\{decision="other",rule="other"\}/m);
  assert.match(text, /^centaur_approvals_decided_total\{gate="finance",decision="denied"\} 1$/m);
  assert.match(text, /^centaur_leases_total\{result="issued"\} 1$/m);
  assert.ok(text.split('\n').length < 600);
  const counter = createCounter('centaur_leak_hits_total');
  counter.add({ secret: 'a"b\\c\nd' });
  assert.match(renderFamilies([counter.family()]), /\{secret="a\\"b\\\\c\\nd"\} 1/);
  const histogram = createHistogram('centaur_step_seconds');
  for (const seconds of [0.0005, 0.003, 100]) histogram.add(seconds);
  const drawn = renderFamilies([histogram.family()]);
  assert.match(drawn, /le="0.001"\} 1\n.*le="0.002"\} 1\n.*le="0.005"\} 2\n/);
  assert.match(drawn, /le="60"\} 2\n.*le="\+Inf"\} 3\n.*_sum 100.0035\n.*_count 3\n/);
});

test('what is told of the database is read by an index, however long its past', async () => {
  await using database = await (async () => {
    const made = await createTestDatabase();
    const store = await connectStore({ url: made.url });
    return {
      store,
      async [Symbol.asyncDispose]() {
        await store.close();
        await made.drop();
      },
    };
  })();
  const { store } = database;
  // answers that were delivered long ago, threads without a sandbox, what threads have spent
  await store.query(
    `insert into agent_final_delivery_outbox (thread_key, execution_id, platform, delivery, final_payload, state)
     select 't' || n, gen_random_uuid(), 'slack', '{}', '{}', 'delivered' from generate_series(1, 30000) n`,
  );
  await store.query(
    `insert into sandbox_sessions (thread_key, trace_id) select 't' || n, gen_random_uuid() from generate_series(1, 30000) n`,
  );
  await store.query(
    `insert into usage_days select 'thread', 't' || n, current_date, 1, 1, 1, 1, 1, 1, 1, 1 from generate_series(1, 30000) n`,
  );
  await store.query('analyze');
  const plans: string[] = [];
  const explaining = {
    async query<Row extends object>(text: string, values?: unknown[]) {
      const plan = await store.query<{ 'QUERY PLAN': string }>(`explain ${text}`, values);
      plans.push(plan.rows.map((row) => row['QUERY PLAN']).join('\n'));
      return store.query<Row>(text, values);
    },
  };
  await readDatabase(explaining);
  for (const plan of plans) assert.doesNotMatch(plan, /Seq Scan on (?:agent_final_delivery_outbox|sandbox_sessions|usage_days)/, plan);
  assert.ok(plans.length >= 9);
});
