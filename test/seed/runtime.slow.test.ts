/** "Inside a running system" of the architecture document, orchestrator, state store and secrets vault: each sentence is a test named after it. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { freePort } from '../support/ports.ts';
import { eventually } from '../support/wait.ts';
import type { Answer } from './installation.ts';
import {
  all,
  approve,
  arrived,
  asked,
  BANK_KEY,
  begin,
  end,
  held,
  LIMIT,
  ofTrace,
  other,
  otlp,
  PATIENCE,
  read,
  says,
  scrape,
  settled,
  start,
  t,
  TURNING_KEY,
  waiting,
} from './running.ts';

before(begin);
after(end);

test('Routes tasks between agents, holds task state, emits telemetry.', LIMIT, async () => {
  const id = randomUUID();
  const run = await start('handoff', { id });
  const parked = await eventually(async () => {
    const task = await read(`/workflows/runs/${run}`);
    return task.status === 'waiting' && task.waiting_on[0]?.name === 'go' ? task : undefined;
  }, PATIENCE);
  assert.deepEqual(parked.waiting_on.length, 1);
  const [research] = await t.sql(
    `select outcome ->> 'result_text' as said from workflow_steps where run_id = $1 and name = 'research.wait'`,
    [run],
  );
  assert.match(String(research?.said), new RegExp(`fact ${id}`), 'what the first agent said is state of the task');
  await t.ask('POST', '/workflows/events', { event_type: 'go', correlation_id: id, payload: { by: 'ann' } });
  const ended = await t.server.ended(run);
  assert.match(ended.result, new RegExp(`written from .*fact ${id}, ann`), 'it was routed from one agent to the other');
  const threads = await t.sql(
    `select thread_key, sandbox_id from sandbox_sessions where thread_key like 'workflow:' || $1 || ':%' order by thread_key`,
    [run],
  );
  assert.deepEqual(
    threads.map(({ thread_key: key }) => key),
    [`workflow:${run}:research`, `workflow:${run}:write`],
  );
  await eventually(() => {
    // one that was answered late comes again
    const spans = ofTrace(run).filter(({ name }) => name.startsWith('invoke_agent'));
    return new Set(spans.map(({ spanId }) => spanId)).size === 2;
  }, PATIENCE);
  const finished = async () => (await scrape()).get('centaur_runs_finished_total{status="completed"}') ?? 0;
  await eventually(async () => (await finished()) >= 3, { ...PATIENCE, what: 'the task and two turns' });
});

test('Stateless per task; persistent state lives in the store.', LIMIT, async () => {
  await t.turn('kept', 'say: blue 4711');
  held.add('charge');
  const id = randomUUID();
  const run = await start('order', { id });
  await eventually(() => waiting.length === 1, PATIENCE);
  // what the process has in its hands dies with it, and none of its files is where the next one is
  await t.server.killed(async () => {
    held.clear();
    await using machine = await t.elsewhere();
    const process = await machine.serve('up');
    const { code, stdout, stderr } = await machine.run(['runs', 'tail', run, '--json']);
    assert.equal(code, 0, stderr);
    const last = JSON.parse(stdout.trim().split('\n').at(-1) ?? '');
    const [reserved, charged] = last.data.result;
    assert.deepEqual(
      arrived(`/charge/${id}`).map(({ url }) => url),
      Array(2).fill(`/charge/${id}/${reserved}`),
      'it went on from what was stored',
    );
    assert.deepEqual([arrived(`/reserve/${id}`).length, arrived(`/ship/${id}/${charged}`).length], [1, 1]);
    // an agent goes on, too: its conversation is no file of the machine on which it was
    const turn = JSON.parse((await machine.run(['threads', 'send', 'kept', 'recall', '--wait', '--json'])).stdout);
    assert.match(turn.result_text, /blue 4711/, JSON.stringify(turn) + process.output.stderr);
  });
  assert.equal((await read(`/workflows/runs/${run}`)).status, 'completed', 'and the first machine knows of it');
  for (const answer of waiting.splice(0)) answer();
});

test('Task state, agent decisions, approvals, audit.', LIMIT, async () => {
  const note = `invoice ${randomUUID()}`;
  const run = await start('clerk', { note });
  const approval = await asked(note);
  await approve(approval);
  assert.equal((await t.server.ended(run)).status, 'completed');
  const thread = `workflow:${run}:pay`;
  const tell = async () => ({
    task: await read(`/workflows/runs/${run}`),
    agent: await all(
      `/agent/threads/${encodeURIComponent(thread)}/events?execution_id=${(await read(`/agent/threads/${encodeURIComponent(thread)}/executions`)).items[0].execution_id}`,
    ),
    approval: await read(`/api/approvals/${approval.approval_id}`),
    audit: (await read(`/audit?thread_key=${encodeURIComponent(thread)}&order=asc&limit=200`)).items,
  });
  // outcomes are written behind the answers
  await settled('i.thread_key = $1', thread);
  const before = await tell();
  await t.server.killed(async () => {
    // nothing of the platform runs: this is the store alone
    const one = async (text: string, value: string) => (await t.sql(text, [value]))[0];
    assert.deepEqual(
      await one(
        `select status, (select count(*)::int from workflow_steps s where s.run_id = r.run_id) as steps from workflow_runs_finished r where run_id = $1`,
        run,
      ),
      { status: 'c', steps: before.task.steps.length },
    );
    const decided = await t.sql(
      `select event_json ->> 'name' as name, event_json ->> 'input' as input from agent_execution_events where thread_key = $1 and event_kind = 'tool_use'`,
      [thread],
    );
    assert.deepEqual([decided.length, decided[0]?.input.includes(note)], [1, true], 'what the agent decided to do');
    assert.deepEqual(
      await one(
        'select a.state, v.voter, v.verdict, v.reason from approvals a join approval_votes v using (approval_id) where approval_id = $1',
        approval.approval_id,
      ),
      { state: 'consumed', voter: 'ann', verdict: 'approve', reason: 'ticket 4711' },
    );
    const actions = (await t.sql('select action from audit_log where thread_key = $1 order by audit_id', [thread])).map(
      ({ action }) => action,
    );
    for (const action of ['lease.create', 'approval.request', 'tool.call', 'tool.outcome'])
      assert.ok(actions.includes(action), `${action} in ${actions.join(' ')}`);
  });
  assert.deepEqual(await tell(), before, 'and whoever starts anew tells the same of it');
  assert.equal(arrived('/pay').filter(({ body }) => body === note).length, 1);
});

test('Outbox pattern guarantees every emitted event is durably recorded before it ships.', LIMIT, async () => {
  says.tick = 'go';
  const run = await start('ticks');
  const turn = (n: number) =>
    t.ask('POST', '/agent/execute', { thread_key: 'talks', message: 'slow: 10', delivery: { platform: 'chat' }, execute_id: `talk-${n}` });
  await turn(0);
  const streams = [
    {
      at: `/workflows/runs/${run}/events`,
      seen: [] as { id: string; data: string }[],
      /** Ids that were in the database when somebody last looked. */
      known: new Set<string>(),
      stored: `select attempt || '-' || ord as id from workflow_steps where run_id = $1 and ord is not null order by attempt, ord`,
      of: run,
    },
    {
      at: '/agent/threads/talks/events',
      seen: [] as { id: string; data: string }[],
      /** Ids that were in the database when somebody last looked. */
      known: new Set<string>(),
      stored: 'select event_id::text as id from agent_execution_events where thread_key = $1 order by event_id',
      of: 'talks',
    },
  ];
  const storedOf = async ({ stored, of }: (typeof streams)[number]) => (await t.sql(stored, [of])).map(({ id }) => String(id));
  const unrecorded: string[] = [];

  /** Reads on from what was seen last, until the line breaks, and holds each event against the rows in the moment in which it comes. */
  const readOn = async (stream: (typeof streams)[number], url: string, signal: AbortSignal) => {
    for await (const { id, event, data } of t.follow(stream.at, { url, after: stream.seen.at(-1)?.id, signal })) {
      // what is going on now, and how it ended: of no event's rank, and told from the run's own row
      if (id === null || event === 'run.completed') continue;
      if (!stream.known.has(id)) stream.known = new Set(await storedOf(stream));
      if (!stream.known.has(id)) unrecorded.push(`${stream.at} ${id}`);
      stream.seen.push({ id, data });
      if (signal.aborted) return;
    }
  };

  const port = String(await freePort());
  // it answers readers, and runs nothing
  await using front = await t.elsewhere({ PORT: port });
  const url = `http://127.0.0.1:${port}`;
  for (let kill = 0; kill < 3; kill++) {
    const { child, finished } = await front.serve('api');
    const line = new AbortController();
    const reading = streams.map((stream) => readOn(stream, url, line.signal).catch(() => undefined));
    const before = streams.map(({ seen }) => seen.length);
    await eventually(() => streams.every(({ seen }, n) => seen.length > (before[n] ?? 0) + 2), PATIENCE);
    // between the commit of an event and its delivery: it is not let run until there are some that it has not told
    child.kill('SIGSTOP');
    const told = await Promise.all(streams.map(storedOf));
    await turn(kill + 1);
    await eventually(
      async () => (await Promise.all(streams.map(storedOf))).every((ids, n) => ids.length > (told[n]?.length ?? 0)),
      PATIENCE,
    );
    child.kill('SIGKILL');
    await finished;
    line.abort();
    await Promise.all(reading);
    // and whoever emits them, in the middle of it
    if (kill === 1) await t.server.killed();
  }
  const { child, finished } = await front.serve('api');
  const line = new AbortController();
  const reading = streams.map((stream) => readOn(stream, url, line.signal).catch(() => undefined));
  says.tick = 'stop';
  assert.equal((await t.server.ended(run)).status, 'completed');

  const ended = async () =>
    (await t.sql(`select 1 from agent_execution_requests where thread_key = 'talks' and completed_at is null`)).length === 0;
  await eventually(ended, PATIENCE);
  for (const stream of streams) {
    const isAtEnd = async () => stream.seen.at(-1)?.id === (await storedOf(stream)).at(-1);
    await eventually(isAtEnd, { ...PATIENCE, what: `the end of ${stream.at}` });
  }
  line.abort();
  await Promise.all(reading);
  child.kill('SIGTERM');
  await finished;
  for (const stream of streams) {
    assert.deepEqual(
      stream.seen.map(({ id }) => id),
      await storedOf(stream),
      `${stream.at}: each once, in order, and no other`,
    );
    // what was told before somebody was killed is what is there now
    const again = new Map((await snapshot(stream.at, stream.seen.at(-1)?.id ?? '')).map(({ id, data }) => [id, data]));
    for (const { id, data } of stream.seen) assert.equal(data, again.get(id));
  }
  assert.deepEqual(unrecorded, []);

  // the answers are owed to the channel until it says that it has them, whoever dies meanwhile
  const claim = async (consumer: string): Promise<Answer[]> =>
    (await t.ask('POST', '/agent/final-deliveries/claim', { consumer_id: consumer, platform: 'chat', limit: 20, lease_seconds: 600 })).body
      .deliveries;
  const first = await claim('one');
  const owed = await t.sql(`select execution_id from agent_execution_requests where thread_key = 'talks' order by execution_id`);
  assert.deepEqual(
    first.map(({ execution_id: id }) => id),
    owed.map(({ execution_id: id }) => id),
  );
  assert.deepEqual(await claim('two'), [], 'they are with the first one');
  await t.sql('update agent_final_delivery_outbox set lease_expires_at = now()');
  const second = await claim('two');
  assert.deepEqual(
    second.map(({ final_payload: answer }) => answer),
    first.map(({ final_payload: answer }) => answer),
    'a consumer that says nothing loses nothing',
  );
  for (const { execution_id: id } of second) await t.ask('POST', `/agent/final-deliveries/${id}/delivered`, { consumer_id: 'two' });
  assert.deepEqual(await claim('three'), []);
});

/** From the beginning to the event of an id. */
async function snapshot(at: string, last: string): Promise<{ readonly id: string; readonly data: string }[]> {
  const seen: { id: string; data: string }[] = [];
  for await (const { id, data } of t.follow(at)) {
    if (id !== null) seen.push({ id, data });
    if (id === last) break;
  }
  return seen;
}

test('Credentials scoped to one integration and one workflow.', LIMIT, async () => {
  const call = async (tool: string, args: object) => {
    const { status, body } = await t.ask('POST', `/tools/${tool}`, args);
    assert.equal(status, 200, JSON.stringify(body));
    return body.result;
  };
  const run = async (workflow: string, input: object) => {
    const { status, result, error } = await t.run(workflow, input);
    assert.equal(status, 'completed', JSON.stringify(error));
    return result;
  };
  const url = `${t.url}/look`;
  // the service is a busy process of ours: who waits too long for it is told so, and asks again
  const reached = (ask: () => Promise<Answer>) => eventually(async () => [await ask()].find(({ status }) => status !== 502), PATIENCE);
  const look = await reached(() => call('bank/look', {}));
  const letter = await reached(() => call('post/send', {}));
  const b = await reached(() => run('b', { url }));
  assert.deepEqual([look.status, letter.status, b.status], [200, 200, 200]);
  const keys = arrived('/').map(({ headers }) => headers['x-api-key']);
  assert.ok(keys.includes(BANK_KEY), 'the service was shown the key itself');

  // an integration has its own and no other, and what stands for it is good for nothing in other hands
  assert.deepEqual([letter.foreign, letter.names.filter((name: string) => name !== 'POST_KEY')], [null, []]);
  assert.deepEqual(b.names, ['B_KEY']);
  const before = t.service.seen.length;
  const stolen = [await call('post/send', { use: look.key }), await run('b', { url, use: look.key }), await run('a', { url, use: b.key })];
  for (const { status, said } of stolen) assert.deepEqual([status, /PLACEHOLDER_OF_ANOTHER_LEASE/.test(said)], [403, true], said);
  // nor anywhere else than where it is for
  const elsewhere = `https://localhost:${other.port}/`;
  const undeclared = await t.ask('POST', '/tools/bank/look', { url: elsewhere });
  assert.deepEqual([undeclared.status, undeclared.body.code], [422, 'TOOL_REFUSED']);
  // the way there is refused before anything is said on it
  assert.equal((await t.run('b', { url: elsewhere })).status, 'failed');
  const denied = (await t.entries('egress.deny')).filter(({ resource }) => resource.includes(new URL(elsewhere).host));
  assert.deepEqual(
    denied.map(({ actor, details }) => [actor, details.code]),
    [
      ['tool:bank', 'HOST_NOT_DECLARED'],
      ['workflow:b', 'HOST_DENIED'],
    ],
  );
  assert.deepEqual([t.service.seen.length - before, other.seen.length], [0, 0], 'nothing of it was sent');
  // and nobody is given another's, also who may ask for all of them
  for (const [principal, secret] of [
    ['workflow:b', 'A_KEY'],
    ['tool:post', 'BANK_KEY'],
    ['thread:any', 'BANK_KEY'],
  ])
    assert.deepEqual((await t.ask('POST', '/api/leases', { principal, secrets: [secret] })).body.code, 'NOT_GRANTED', principal);
});

test('Rotated on schedule, never logged, never crossed between tenants.', LIMIT, async () => {
  const url = `${t.url}/echo`;
  await eventually(async () => (await read('/api/secrets/A_KEY')).version === 2, PATIENCE);
  const [rotated] = (await t.entries('secret.rotate')).filter(({ resource }) => resource === 'secret:A_KEY');
  assert.doesNotMatch(rotated.actor, /^(user|key):/, 'nobody asked for it');
  const answer = await eventually(async () => {
    const { result } = await t.run('a', { url });
    return arrived('/echo').at(-1)?.headers['x-api-key'] === TURNING_KEY ? undefined : result;
  }, PATIENCE);
  const value = String(arrived('/echo').at(-1)?.headers['x-api-key']);
  assert.match(value, /^sk_turning_\w{32}$/);
  // during its grace the one before is known, and nobody who may not see it is shown it
  assert.match(answer.said, /^yours is \*+, it was \*+$/);
  // the hour of its grace is over: the run that would have waited for it is told so
  await t.sql(`update secret_versions set grace_until = now() where name = 'A_KEY' and state = 'grace'`);
  const [{ run_id: rotation }] = await t.sql(`select run_id from workflow_runs where workflow_name = 'centaur.rotate'`);
  assert.equal((await t.ask('POST', `/api/workflows/runs/${rotation}/cancel`, {})).status, 200);

  // nobody else's: not by asking, not by its placeholder, and not by whoever can write to the database
  assert.equal((await t.ask('POST', '/api/leases', { principal: 'workflow:b', secrets: ['A_KEY'] })).body.code, 'NOT_GRANTED');
  const stolen = (await t.run('b', { url, use: answer.key })).result;
  assert.deepEqual([stolen.status, /PLACEHOLDER_OF_ANOTHER_LEASE/.test(stolen.said)], [403, true]);
  const sealed = `select ciphertext, wrapped_key, kek_id from secret_versions where name = $1 and state = 'active'`;
  const put = `update secret_versions set (ciphertext, wrapped_key, kek_id) = ($1, $2, $3) where name = 'B_KEY' and state = 'active'`;
  const [[theirs], [own]] = [await t.sql(sealed, ['A_KEY']), await t.sql(sealed, ['B_KEY'])];
  const columns = (row: Answer) => [row.ciphertext, row.wrapped_key, row.kek_id];
  await t.sql(put, columns(theirs));
  // with nothing in memory
  await t.server.killed();
  // no echo: what has had its grace is not known any more
  const look = `${t.url}/look`;
  const shown = arrived('/look').length;
  const crossed = (await t.run('b', { url: look })).result;
  assert.deepEqual([crossed?.status === 200, arrived('/look').length - shown], [false, 0], JSON.stringify(crossed));
  await t.sql(put, columns(own));
  await t.sql(`select pg_notify('centaur_firewall', '')`);
  await eventually(async () => (await t.run('b', { url: look })).result?.status === 200, PATIENCE);

  await eventually(
    async () => (await t.sql(`select 1 from secret_versions where name = 'A_KEY' and ciphertext is not null`)).length === 1,
    PATIENCE,
  );
  const told = [
    JSON.stringify(
      await all(
        `/workflows/runs/${(await t.sql(`select run_id from workflow_runs_finished where workflow_name = 'a' limit 1`))[0].run_id}/events`,
      ),
    ),
    otlp.requests.map(({ body }) => body).join(),
    await (await fetch(`${t.server.url}/audit/export`, { headers: { 'x-api-key': t.key } })).text(),
    [...(await scrape()).keys()].join(),
  ];
  for (const each of [value, TURNING_KEY]) {
    assert.deepEqual(await t.findText(each), []);
    for (const text of told) assert.ok(!text.includes(each));
  }
});
