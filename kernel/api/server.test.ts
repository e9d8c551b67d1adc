import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EngineError } from '../engine/index.ts';
import { startTestApi } from '../../test/support/api.ts';
import { eventually } from '../../test/support/wait.ts';

const START = { workflow_name: 'greet', input: { name: 'ann' }, trigger_key: 'k1' };
const TRACE = '0af7651916cd43dd8448eb211c80319c';

test('a start answers 201, its repetition 200 with the first run, and another input 409', async () => {
  await using api = await startTestApi();
  const first = await api.call('POST', '/api/workflows/runs', START);
  assert.deepEqual([first.status, first.body.created, first.body.idempotent], [201, true, false]);
  const again = await api.call('POST', '/workflows/runs', START);
  assert.deepEqual([again.status, again.body.run_id, again.body.idempotent], [200, first.body.run_id, true]);
  const other = await api.call('POST', '/workflows/runs', { ...START, input: { name: 'bob' } });
  assert.deepEqual([other.status, other.body.code, other.body.details.run_id], [409, 'TRIGGER_KEY_MISMATCH', first.body.run_id]);
});

test('an array of starts answers with an array in its order', async () => {
  await using api = await startTestApi();
  const first = await api.call('POST', '/workflows/runs', START);
  const many = await api.call('POST', '/workflows/runs', [START, { workflow_name: 'other' }]);
  assert.equal(many.status, 201);
  assert.deepEqual(
    many.body.map((run: { workflow_name: string; created: boolean }) => [run.workflow_name, run.created]),
    [
      ['greet', false],
      ['other', true],
    ],
  );
  assert.equal(many.body[0].run_id, first.body.run_id);
  const known = await api.call('POST', '/workflows/runs', [START]);
  assert.deepEqual([known.status, known.body.length], [200, 1]);
  assert.deepEqual((await api.call('POST', '/workflows/runs', [])).body, []);
});

test('a run is read with its steps, and listed by workflow and status', async () => {
  await using api = await startTestApi();
  const runId = await api.run('greet', { name: 'ann' });
  await api.run('other');
  const run = (await api.call('GET', `/workflows/runs/${runId}`)).body;
  assert.deepEqual([run.status, run.result, run.steps[0].name], ['completed', 'hello ann', 'greet']);
  const listed = (await api.call('GET', '/workflows/runs?workflow_name=greet&status=completed')).body;
  assert.deepEqual(
    listed.items.map((each: { run_id: string }) => each.run_id),
    [runId],
  );
  const page = (await api.call('GET', '/workflows/runs?limit=1')).body;
  const rest = (await api.call('GET', `/workflows/runs?limit=1&after=${page.next}`)).body;
  assert.deepEqual([page.items[0].workflow_name, rest.items[0].workflow_name, rest.next], ['other', 'greet', null]);
});

test('the trace id of a traceparent header becomes the run’s, unless the body names one', async () => {
  await using api = await startTestApi();
  const start = async (body: object, traceparent: string) => {
    const { run_id } = (await api.call('POST', '/workflows/runs', { workflow_name: 'other', ...body }, { headers: { traceparent } })).body;
    return (await api.call('GET', `/workflows/runs/${run_id}`)).body.trace_id;
  };
  assert.equal(await start({}, `00-${TRACE}-b7ad6b7169203331-01`), TRACE);
  assert.equal(await start({ trace_id: 'a'.repeat(32) }, `00-${TRACE}-b7ad6b7169203331-01`), 'a'.repeat(32));
  for (const malformed of [
    'nonsense',
    `00-${'0'.repeat(32)}-b7ad6b7169203331-01`,
    `00-${TRACE}-0000000000000000-01`,
    `ff-${TRACE}-b7ad6b7169203331-01`,
  ]) {
    assert.notEqual(await start({}, malformed), TRACE);
  }
});

test('bad input gets an error that names the field, and nothing is started', async () => {
  await using api = await startTestApi();
  const refused: [number, string, RegExp, unknown][] = [
    [422, 'UNKNOWN_WORKFLOW', /"gret"; did you mean greet/, { workflow_name: 'gret' }],
    [422, 'INVALID_INPUT', /input\.name/, { workflow_name: 'greet', input: { nam: 'x' } }],
    [422, 'INVALID_INPUT', /input\.name/, { workflow_name: 'greet' }],
    [
      422,
      'INVALID_REQUEST',
      /^workflow_nam: unknown field; known are workflow_name, input,/,
      { workflow_name: 'other', workflow_nam: 'greet' },
    ],
    [422, 'INVALID_REQUEST', /^workflow_name: is required: expected a string \(and 1 more\)/, { workflow_nam: 'greet' }],
    [422, 'INVALID_REQUEST', /^__proto__: unknown field/, '{"workflow_name": "other", "__proto__": {"a": 1}}'],
    [422, 'INVALID_REQUEST', /^priority: expected a number, got a string/, { workflow_name: 'other', priority: 'high' }],
    [422, 'INVALID_REQUEST', /^priority: too big: expected number to be <=100/, { workflow_name: 'other', priority: 1000 }],
    [422, 'INVALID_REQUEST', /^run_at: expected an RFC 3339 time/, { workflow_name: 'other', run_at: 'tomorrow' }],
    [422, 'INVALID_REQUEST', /^trace_id: /, { workflow_name: 'other', trace_id: 'abc' }],
    [422, 'INVALID_REQUEST', /^queue: /, { workflow_name: 'other', queue: 'no spaces' }],
    [422, 'INVALID_REQUEST', /^trigger_key: too small/, { workflow_name: 'other', trigger_key: '' }],
    [422, 'INVALID_REQUEST', /^trigger_key: /, { workflow_name: 'other', trigger_key: 'a\0b' }],
    [422, 'INVALID_REQUEST', /^the body: expected an object, got a string/, '"greet"'],
    [422, 'INVALID_REQUEST', /^the body: expected an object, got null/, 'null'],
    [
      422,
      'INVALID_REQUEST',
      /^\[1\]\.priorty: unknown field; known are/,
      [{ workflow_name: 'other' }, { workflow_name: 'other', priorty: 1 }],
    ],
    [422, 'UNKNOWN_WORKFLOW', /^\[1\] workflow_name/, [{ workflow_name: 'other' }, { workflow_name: 'nope' }]],
    [422, 'INVALID_INPUT', /^\[0\] .*input\.name/, [{ workflow_name: 'greet' }, { workflow_name: 'other' }]],
    [422, 'NOT_JSON', /nested too deeply/, `{"workflow_name": "other", "input": ${'['.repeat(5000)}${']'.repeat(5000)}}`],
    [400, 'MALFORMED_JSON', /it ends too early, at line 1, column 19/, '{"workflow_name": '],
    [400, 'MALFORMED_JSON', /unexpected "'" at line 1, column 2/, "{'workflow_name': 'other'}"],
    [400, 'MALFORMED_JSON', /empty/, ''],
    [413, 'TOO_LARGE', /limit of 1048576 bytes/, { workflow_name: 'other', input: 'x'.repeat(2_000_000) }],
  ];
  for (const [status, code, message, body] of refused) {
    const answer = await api.call('POST', '/workflows/runs', body);
    assert.deepEqual([answer.status, answer.body.code], [status, code], JSON.stringify(answer.body).slice(0, 300));
    assert.match(answer.body.message, message);
  }
  assert.equal((await api.t.engine.listRuns({})).items.length, 0);
});

test('every issue of a request is in the details', async () => {
  await using api = await startTestApi({ idle: true });
  const { body } = await api.call('PUT', '/workflows/queues/mail', { concurency: 1, rate_limit: { limit: 0, per: 1 } });
  assert.deepEqual(
    body.details.issues.map((issue: { path: string }) => issue.path),
    ['rate_limit.limit', 'rate_limit.period_ms', 'rate_limit.per', 'concurency'],
  );
  assert.match(body.details.issues[2].message, /known are limit, period_ms/);
});

test('an array may be larger than a single start, up to its own limit', async () => {
  await using api = await startTestApi({ idle: true, maxBodyBytes: 1000, maxBulkBodyBytes: 5000 });
  const start = { workflow_name: 'other', input: 'x'.repeat(900) };
  assert.equal((await api.call('POST', '/workflows/runs', start)).status, 201);
  assert.equal((await api.call('POST', '/workflows/runs', [start, start, start])).status, 201);
  assert.equal((await api.call('POST', '/workflows/runs', { ...start, input: 'x'.repeat(1100) })).body.code, 'TOO_LARGE');
  assert.match(
    (
      await api.call(
        'POST',
        '/workflows/runs',
        Array.from({ length: 10 }, () => start),
      )
    ).body.message,
    /limit of 5000 bytes/,
  );
  assert.equal((await api.call('POST', '/workflows/events', [1, 'x'.repeat(1100)])).body.code, 'TOO_LARGE', 'only starts come in arrays');
});

test('a body that is not sent as JSON is 415', async () => {
  await using api = await startTestApi({ idle: true });
  for (const type of ['text/plain', 'application/x-www-form-urlencoded']) {
    const answer = await api.call('POST', '/workflows/runs', 'a=1', { headers: { 'content-type': type } });
    assert.deepEqual([answer.status, answer.body.code], [415, 'UNSUPPORTED_MEDIA_TYPE']);
  }
});

test('a query parameter that is unknown, out of range or given twice is refused by name', async () => {
  await using api = await startTestApi({ idle: true });
  const refused: [string, RegExp][] = [
    ['stauts=failed', /^query stauts: unknown field; known are workflow_name, status, after, limit/],
    ['status=done', /^query status: expected one of "queued"/],
    ['limit=1000', /^query limit: too big/],
    ['limit=', /^query limit: too small/],
    ['limit=ten', /^query limit: /],
    ['after=zzz', /^after: expected the cursor/],
    ['after=%00', /^after: expected the cursor/],
    ['workflow_name=a%00b', /^query workflow_name: expected the name of a workflow/],
    ['limit=1&limit=2', /^query limit: given 2 times/],
  ];
  for (const [query, message] of refused) {
    const { status, body } = await api.call('GET', `/workflows/runs?${query}`);
    assert.deepEqual([status, body.code], [422, 'INVALID_REQUEST'], query);
    assert.match(body.message, message);
  }
  assert.match((await api.call('GET', '/healthz?x=1')).body.message, /query x: unknown field/);
});

test('an unknown run is 404 wherever a run is named, whatever its id looks like', async () => {
  await using api = await startTestApi({ idle: true });
  for (const id of ['nope', '0198c0de-0000-7000-8000-000000000000', '%00', "'; drop table workflow_runs; --", '%zz']) {
    for (const [method, path, body] of [
      ['GET', '', undefined],
      ['GET', '/events', undefined],
      ['POST', '/cancel', undefined],
      ['POST', '/retry', undefined],
      ['POST', '/fork', { from_step: 'a' }],
    ] as const) {
      const answer = await api.call(method, `/workflows/runs/${encodeURI(id)}${path}`, body);
      assert.deepEqual([answer.status, answer.body.code], [404, 'RUN_NOT_FOUND'], `${method} ${id}${path}`);
    }
  }
});

test('a finished run can be forked, but neither cancelled nor retried', async () => {
  await using api = await startTestApi();
  const runId = await api.run('greet', { name: 'ann' });
  const cancel = await api.call('POST', `/workflows/runs/${runId}/cancel`);
  assert.deepEqual([cancel.status, cancel.body.code], [409, 'RUN_FINISHED']);
  const retry = await api.call('POST', `/workflows/runs/${runId}/retry`);
  assert.deepEqual([retry.status, retry.body.code], [409, 'RUN_NOT_RETRYABLE']);
  assert.equal((await api.call('POST', `/workflows/runs/${runId}/fork`, { from_step: 'nope' })).body.code, 'STEP_NOT_FOUND');
  assert.match(
    (await api.call('POST', `/workflows/runs/${runId}/fork`, { from_step: true })).body.message,
    /^from_step: expected the name of a step, or its seq/,
  );
  const fork = await api.call('POST', `/workflows/runs/${runId}/fork`, { from_step: 'greet', input: { name: 'bob' } });
  assert.equal(fork.status, 201);
  assert.equal((await api.t.ended(fork.body.run_id)).result, 'hello bob');
});

test('a run is cancelled and retried', async () => {
  await using api = await startTestApi();
  api.t.registry.define('waits', (_: unknown, ctx) => ctx.waitForEvent('go', { eventType: 'go' }));
  const { run_id } = (await api.call('POST', '/workflows/runs', { workflow_name: 'waits' })).body;
  assert.equal((await api.call('POST', `/workflows/runs/${run_id}/cancel`)).body.status, 'cancelled');
  assert.equal((await api.call('POST', `/workflows/runs/${run_id}/retry`)).body.attempt, 2);
  const emitted = await api.call('POST', '/workflows/events', { event_type: 'go', correlation_id: run_id, payload: { by: 'ann' } });
  assert.equal(emitted.status, 202);
  assert.deepEqual((await api.t.ended(run_id)).result, { by: 'ann' });
});

test('an event with a key answers 202, its repetition 200 with the first one, and another payload 409', async () => {
  await using api = await startTestApi({ idle: true });
  const body = { event_type: 'go', correlation_id: 'a', payload: { n: 1 }, event_key: 'k1' };
  const emit = (more: object = {}) => api.call('POST', '/workflows/events', { ...body, ...more });
  const first = await emit();
  const again = await emit();
  assert.deepEqual([first.status, first.body.idempotent], [202, false]);
  assert.deepEqual([again.status, again.body.idempotent, again.body.event_id], [200, true, first.body.event_id]);
  const other = await emit({ payload: { n: 2 } });
  assert.deepEqual([other.status, other.body.code, other.body.details.event_id], [409, 'EVENT_KEY_MISMATCH', first.body.event_id]);
  const long = await emit({ event_key: 'x'.repeat(513) });
  assert.deepEqual([long.status, long.body.code, long.body.message.split(' ')[0]], [422, 'INVALID_REQUEST', 'event_key:']);
});

test('an event with a reserved type, without an id or with a payload that is too large is refused', async () => {
  await using api = await startTestApi({ idle: true, maxBodyBytes: 3_000_000 });
  const emit = (body: object) => api.call('POST', '/workflows/events', body);
  assert.match((await emit({ event_type: '$run', correlation_id: 'a' })).body.message, /reserved/);
  assert.match((await emit({ event_type: 'go' })).body.message, /^correlation_id: is required/);
  assert.match((await emit({ event_type: 'go', correlation_id: 'a\0' })).body.message, /^correlation_id: /);
  const large = await emit({ event_type: 'go', correlation_id: 'a', payload: 'x'.repeat(2_000_000) });
  assert.deepEqual([large.status, large.body.code], [413, 'TOO_LARGE']);
});

test('workflows, schedules and queues are listed, and a queue’s limits are set field by field', async () => {
  await using api = await startTestApi({ problems: () => [{ file: '/flows/broken.ts', line: 3, message: 'no' }] });
  api.t.registry.define('timed', async () => 1, {
    source: '/flows/timed.ts',
    queue: { name: 'slow', concurrency: 2 },
    schedules: [{ type: 'cron', cron: '0 9 * * 1-5', timezone: 'Europe/Berlin' }],
  });
  const workflows = (await api.call('GET', '/workflows')).body;
  const { name, queue, source, schedules } = workflows.items.find((each: { name: string }) => each.name === 'timed');
  assert.deepEqual([name, queue, source, schedules[0].cron], ['timed', 'slow', '/flows/timed.ts', '0 9 * * 1-5']);
  assert.deepEqual(workflows.problems, [{ file: '/flows/broken.ts', line: 3, message: 'no' }]);

  await api.call('PUT', '/workflows/queues/mail', { concurrency: 5, rate_limit: { limit: 10, period_ms: 1000 } });
  const set = await api.call('PUT', '/workflows/queues/mail', { concurrency: null });
  assert.deepEqual([set.body.concurrency, set.body.rate_limit], [null, { limit: 10, period_ms: 1000 }]);
  const queues = (await api.call('GET', '/workflows/queues')).body.items;
  assert.ok(queues.some((each: { name: string }) => each.name === 'mail'));
  assert.equal((await api.call('PUT', '/workflows/queues/no%20spaces', { concurrency: 1 })).body.code, 'INVALID_REQUEST');
});

test('schedules that the files declare are listed with their next tick', async () => {
  await using api = await startTestApi({ idle: true });
  api.t.registry.define('timed', async () => 1, {
    schedules: [
      { type: 'cron', cron: '0 9 * * 1-5', timezone: 'Europe/Berlin', input: { a: 1 } },
      { type: 'interval', seconds: 3600 },
    ],
  });
  await api.t.engine.work();
  const { items } = (await api.call('GET', '/workflows/schedules')).body;
  assert.deepEqual(
    items.map((each: { schedule_id: string; spec: { type: string } }) => [each.schedule_id, each.spec.type]),
    [
      ['timed', 'cron'],
      ['timed#2', 'interval'],
    ],
  );
  assert.ok(Date.parse(items[0].next_at) > Date.now());
});

test('a path that is not there is 404, and a method that is not is 405 with those that are', async () => {
  await using api = await startTestApi({ idle: true });
  for (const path of ['/nowhere', '/api', '/api/api/workflows', '/workflows/', '/workflows/runs/a/b/c']) {
    const { status, body } = await api.call('GET', path);
    assert.deepEqual([status, body.code], [404, 'NOT_FOUND'], path);
  }
  const { status, body, headers } = await api.call('DELETE', '/api/workflows/runs', undefined, { key: null });
  assert.deepEqual([status, body.code, headers.get('allow')], [405, 'METHOD_NOT_ALLOWED', 'POST, GET, HEAD']);
  assert.equal((await api.call('OPTIONS', '/workflows')).status, 405);
  assert.equal((await api.call('HEAD', '/workflows')).status, 200);
});

test('a fault of ours is told by an id that the log has, and by nothing else', async () => {
  await using api = await startTestApi({ idle: true });
  api.t.registry.define('throws', async () => 1, {
    parseInput() {
      throw new Error('select secret from somewhere');
    },
  });
  const { status, body } = await api.call('POST', '/workflows/runs', { workflow_name: 'throws' });
  assert.deepEqual([status, body.code], [500, 'INTERNAL']);
  assert.ok(!JSON.stringify(body).includes('secret') && !JSON.stringify(body).includes('.ts:'));
  const logged = api.t.logs.find((entry) => entry['error_id'] === body.details.error_id);
  assert.match(String(logged?.['error']), /select secret from somewhere\n.*at /);
  assert.equal(logged?.['route'], 'startRun');
});

test('a row that Postgres refuses is not quoted in the answer', async () => {
  await using api = await startTestApi({ idle: true });
  api.t.registry.define('refused', async () => 1, {
    parseInput() {
      throw new EngineError('ROW_REJECTED', 'Postgres refused the run: secret detail');
    },
  });
  const { status, body } = await api.call('POST', '/workflows/runs', { workflow_name: 'refused' });
  assert.deepEqual([status, body.code], [500, 'INTERNAL']);
  assert.ok(!JSON.stringify(body).includes('secret'));
});

test('a database whose connections end is ridden out', async () => {
  await using api = await startTestApi();
  await api.call('GET', '/workflows/runs');
  await api.t.store.query(
    'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
  );
  await eventually(
    async () => {
      const { status, body } = await api.call('POST', '/workflows/runs', { workflow_name: 'other' });
      if (status !== 201) assert.deepEqual([status, body.code], [503, 'STORE_UNAVAILABLE']);
      return status === 201;
    },
    { what: 'the API to come back' },
  );
});

test('closing answers what has begun and then stops listening', async () => {
  await using api = await startTestApi();
  const begun = Promise.withResolvers<void>();
  const going = Promise.withResolvers<void>();
  api.t.registry.define('slow', async () => 1, {
    async parseInput(input) {
      begun.resolve();
      await going.promise;
      return input;
    },
  });
  const answer = api.call('POST', '/workflows/runs', { workflow_name: 'slow' });
  await begun.promise;
  const closed = api.api.close();
  going.resolve();
  assert.equal((await answer).status, 201);
  await closed;
  await assert.rejects(api.call('GET', '/healthz'));
});

test('a port in use is an error of listen', async () => {
  await using api = await startTestApi({ idle: true });
  await using other = await startTestApi({ idle: true });
  await other.api.close();
  await assert.rejects(other.api.listen({ host: '127.0.0.1', port: Number(new URL(api.url).port) }), { code: 'EADDRINUSE' });
});
