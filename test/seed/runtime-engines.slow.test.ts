/** "Inside a running system" of the architecture document, telemetry bus, policy and replay engine, and all six: each sentence is a test named after it. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { BUILTIN_POLICY } from '../../kernel/policy/index.ts';
import { METRICS, type MetricSpec } from '../../kernel/telemetry/index.ts';
import { freePort } from '../support/ports.ts';
import { startOtlpServer } from '../support/otlp.ts';
import { eventually } from '../support/wait.ts';
import { watchConnections } from './connections.ts';
import type { Answer } from './installation.ts';
import {
  all,
  approve,
  arrived,
  asked,
  begin,
  DASHBOARD_KEY,
  end,
  familiesTold,
  LIMIT,
  ofTrace,
  otlp,
  PATIENCE,
  read,
  refused,
  says,
  scrape,
  settled,
  start,
  t,
  watch,
} from './running.ts';

before(begin);
after(end);

test('Structured events for every step.', LIMIT, async () => {
  const id = randomUUID();
  const run = await start('kinds', { id });
  const events = all(`/workflows/runs/${run}/events`);
  await t.ask('POST', '/workflows/events', { event_type: 'go', correlation_id: id, payload: { by: 'ann' } });
  const told = (await events).filter(({ event }) => event.startsWith('step.'));
  assert.equal((await t.server.ended(run)).result, 'done');
  const { steps } = await read(`/workflows/runs/${run}`);
  assert.deepEqual(
    told.map(({ data }) => data).toSorted((one, two) => one.seq - two.seq),
    steps,
    'one for each step, which says all that is known of it',
  );
  const of = (name: string) => told.find(({ data }) => data.name === name) ?? assert.fail(`no event of ${name}`);
  assert.deepEqual(
    ['look', 'fail', 'rest', 'hear', 'miss'].map((name) => [of(name).event, of(name).data.kind]),
    [
      ['step.completed', 'step'],
      ['step.failed', 'step'],
      ['step.completed', 'sleep'],
      ['step.completed', 'event'],
      ['step.timed_out', 'event'],
    ],
  );
  for (const { id: eventId, data } of told) {
    assert.match(eventId, /^\d+-\d+$/);
    assert.ok(Date.parse(data.started_at) <= Date.parse(data.ended_at), JSON.stringify(data));
    assert.ok(Number.isInteger(data.attempts));
  }
  assert.deepEqual([of('fail').data.error.message, of('look').data.result, of('hear').data.result], ['no', 'seen', { by: 'ann' }]);
  // for collectors, and in the log
  await eventually(() => ofTrace(run).some(({ name }) => name === 'invoke_workflow kinds'), PATIENCE);
  for (const { name } of steps)
    await eventually(() => ofTrace(run).some((span) => span.name.endsWith(` ${name}`)), { ...PATIENCE, what: `a span of ${name}` });
  for (const line of t.server
    .log()
    .split('\n')
    // what stands behind the last line break is not whole yet
    .slice(0, -1)
    .filter((each) => each.startsWith('{'))) {
    const { time, level, message, component } = JSON.parse(line);
    assert.ok(
      Date.parse(time) > 0 && typeof message === 'string' && typeof component === 'string' && /^(debug|info|warn|error)$/.test(level),
      line,
    );
  }
});

test('Streams to your dashboards (Grafana / Datadog / native) and to the operator console.', LIMIT, async () => {
  says.tick = 'go';
  const viewer = await t.person('vic', 'viewer');
  const before = await scrape();
  const run = await start('ticks');
  // the console's stream, while it happens, for a person who may look and no more
  const line = new AbortController();
  const seen: string[] = [];
  for await (const { event, data } of t.follow(`/workflows/runs/${run}/events`, { token: viewer, signal: line.signal })) {
    if (event === 'step.completed') seen.push(JSON.parse(data).name);
    if (seen.length === 6) break;
  }
  assert.deepEqual(seen.slice(0, 3), ['tick', 'pause', 'tick#2']);
  assert.equal((await read(`/workflows/runs/${run}`)).ended_at, null, 'it was told while it ran');
  assert.equal((await t.ask('POST', `/workflows/runs/${run}/cancel`, {}, viewer)).status, 403);
  // native: the same in a terminal
  const tail = t.server.place.start(['runs', 'tail', run]);
  await eventually(() => /tick/.test(tail.output.stdout), PATIENCE);
  // Prometheus, with a key for nothing else: each figure that the dashboard asks for, and they move
  await eventually(async () => {
    const now = await scrape();
    const value = (name: string, of = now) => of.get(name) ?? 0;
    // what the database holds is counted every few seconds: the first look may still be told of before
    return (
      value('centaur_steps_executed_total') > value('centaur_steps_executed_total', before) && value('centaur_runs{status="running"}') >= 1
    );
  }, PATIENCE);
  says.tick = 'stop';
  assert.equal((await tail.finished).code, 0);
  const dashboard = readFileSync(new URL('../../deploy/grafana/dashboards/centaur.json', import.meta.url), 'utf8');
  const asksFor = new Set([...dashboard.matchAll(/\b(?:centaur|process|nodejs)_\w+/g)].map(([name]) => name));
  assert.ok(asksFor.size > 20);
  const told = await familiesTold();
  // one with labels is told once there is something to tell
  const always = [...asksFor].filter((name) => (METRICS as Readonly<Record<string, MetricSpec>>)[name]?.labels.length === 0);
  assert.ok(always.length > 5);
  for (const name of [
    ...always,
    'centaur_policy_decisions_total',
    'centaur_egress_total',
    'centaur_audit_entries_total',
    'centaur_leases_total',
  ])
    assert.ok(asksFor.has(name) && told.has(name), `${name} is told by nobody`);
  // OTLP over HTTP, as Datadog and Grafana's own collectors take it, with the key that they ask for
  await eventually(() => ofTrace(run).some(({ name }) => name === 'invoke_workflow ticks'), PATIENCE);
  assert.ok(
    otlp.requests.every(({ headers }) => headers['dd-api-key'] === DASHBOARD_KEY && headers['content-type'] === 'application/json'),
  );
  assert.deepEqual(await t.findText(DASHBOARD_KEY), []);
});

test('Versioned policy that decides what each agent can do without asking, and what always requires a human approval.', LIMIT, async () => {
  const outbound = '  - {id: hosts, host: "*", effect: allow, when: "request.credentialed || request.listed"}\n';
  const first = `version: 1\ndefault: deny\nrules:\n${outbound}  - {id: clerks-note, tool: bank.note, principal: "thread:clerk*", effect: allow}\n  - {id: pay, tool: bank.pay, effect: approve, gate: money}\ngates: {money: {expires: 1h}}\n`;
  const publish = async (text: string): Promise<number> => {
    const { status, body } = await t.ask('POST', '/api/policy/publish', { text });
    assert.equal(status, 201, JSON.stringify(body));
    return body.version;
  };
  const agent = (thread: string, method: string, note: string) =>
    t.turn(thread, `run: centaur-tools call bank ${method} '${JSON.stringify({ note })}'`);
  const sent = (note: string) => arrived('/').filter(({ body }) => body === note).length;
  const [noted, forbidden, paid, again] = ['noted', 'forbidden', 'paid', 'again'].map((word) => `${word} ${randomUUID()}`) as [
    string,
    string,
    string,
    string,
  ];
  try {
    const version = await publish(first);
    await Promise.all([agent('clerk', 'note', noted), agent('guest', 'note', forbidden)]);
    assert.deepEqual([sent(noted), sent(forbidden)], [1, 0], 'what one agent may do without asking, another may not');
    // always: whoever it is, and however often it was approved before
    for (const note of [paid, again]) {
      const turn = agent('clerk', 'pay', note);
      const approval = await asked(note);
      assert.equal(sent(note), 0);
      // no agent approves, neither its own call nor another one's
      const vote = await t.turn(
        'guest',
        `run: curl -s -m 10 -o /dev/null -w '%{http_code}' -X POST "$CENTAUR_API_URL/api/approvals/${approval.approval_id}/approve" -H "Authorization: Bearer $CENTAUR_API_KEY" -H 'content-type: application/json' -d '{"reason":"please"}'`,
      );
      assert.match(vote.result_text, /\b(401|403|404)\b/);
      assert.equal((await read(`/api/approvals/${approval.approval_id}`)).state, 'pending');
      await approve(approval);
      await turn;
      assert.equal(sent(note), 1);
    }
    const second = await publish(first.replace('thread:clerk*', 'thread:guest*'));
    const [swapped, late] = [`swapped ${randomUUID()}`, `late ${randomUUID()}`];
    await Promise.all([agent('guest', 'note', swapped), agent('clerk', 'note', late)]);
    assert.deepEqual([sent(swapped), sent(late)], [1, 0], 'the next version decides otherwise');
    // the log has by which version each was decided, and the text of each is what it was
    const ruled = (await t.entries('tool.call')).filter(({ details }) => details.rule === 'clerks-note');
    assert.deepEqual(
      ruled.map(({ details, actor }) => [details.policy, actor]),
      [
        [version, 'thread:clerk'],
        [second, 'thread:guest'],
      ],
    );
    assert.equal((await read(`/api/policy/versions/${version}`)).text, first);
    const rolled = await t.ask('POST', '/api/policy/rollback', { version });
    assert.equal(rolled.status, 201, JSON.stringify(rolled.body));
    assert.equal((await read(`/api/policy/versions/${rolled.body.version}`)).text, first);
  } finally {
    await publish(BUILTIN_POLICY);
  }
});

test('Every task is replayable from its audit log.', LIMIT, async () => {
  const note = `replayed ${randomUUID()}`;
  const run = await start('clerk', { note });
  await approve(await asked(note));
  await t.server.ended(run);
  const replay = (...args: string[]) => t.server.place.run(['replay', ...args]);
  await eventually(async () => JSON.parse((await replay(run, '--json')).stdout).journal.state === 'intact', PATIENCE);
  await settled('i.trace_id = $1', run);
  const before = [await read(`/workflows/runs/${run}`), t.service.seen.length];
  const same = await replay(run);
  assert.deepEqual([same.code, /clerk.* same/.test(same.stdout)], [0, true], same.stdout + same.stderr);
  assert.deepEqual([await read(`/workflows/runs/${run}`), t.service.seen.length], before, 'nothing was done again');

  // from the log alone, on a machine with nothing but the export and the public key
  const [file, key] = ['export.jsonl', 'log.pub'].map((name) => path.join(t.server.place.folder, name)) as [string, string];
  // what is in no batch yet, since somebody writes to the database for long, is in the next export
  const [newest] = await t.sql('select audit_id from audit_log order by xid desc, audit_id desc limit 1');
  await eventually(async () => {
    await t.server.centaur('audit', 'export', '-o', file);
    return readFileSync(file, 'utf8').includes(newest.audit_id);
  }, PATIENCE);
  writeFileSync(key, await t.server.centaur('audit', 'key'));
  const apart = (...args: string[]) =>
    t.server.place.run(['replay', '--from-audit', '--file', file, '--key', key, ...args], {
      env: { CENTAUR_API_URL: 'http://127.0.0.1:9' },
    });
  const told = await apart('--run', run);
  assert.equal(told.code, 0, told.stdout + told.stderr);
  assert.match(told.stdout, new RegExp(`journal\\.seal .*clerk ${run} completed`));
  const trace = await apart('--trace', run.replaceAll('-', ''), '--json');
  const actions = JSON.parse(trace.stdout).entries.map(({ entry }: Answer) => entry.action);
  for (const action of [
    'lease.create',
    'approval.request',
    'approval.decide',
    'tool.call',
    'egress.intent',
    'egress.outcome',
    'tool.outcome',
  ])
    assert.ok(actions.includes(action), `${action} in ${actions.join(' ')}`);
  // every task that has ended is in it
  const log = readFileSync(file, 'utf8');
  const ended = await t.sql(
    'select run_id from workflow_runs_finished where ended_at <= (select ended_at from workflow_runs_finished where run_id = $1)',
    [run],
  );
  for (const { run_id: each } of ended) assert.ok(log.includes(each), `run ${each}`);

  // what somebody has changed is found: in the log, and in the journal
  const seal = log.split('\n').find((line) => line.includes('journal.seal') && line.includes(run)) ?? '';
  writeFileSync(file, log.replace(seal, seal.replace('completed', 'cancelled')));
  const forged = await apart('--run', run);
  assert.deepEqual([forged.code, /not as they were written/.test(forged.stdout)], [6, true], forged.stdout);
  const step = `update workflow_steps set outcome = $2 where run_id = $1 and name = 'begin'`;
  await t.sql(step, [run, '"otherwise"']);
  const tampered = await replay(run);
  assert.deepEqual([tampered.code, /tampered[^]*"begin": the step was changed/.test(tampered.stdout)], [6, true], tampered.stdout);
  await t.sql(step, [run, '"begun"']);
  assert.equal((await replay(run)).code, 0);
});

test('Failed runs resume from the last durable step, not from zero.', LIMIT, async () => {
  const id = randomUUID();
  refused.add('ship');
  const run = await start('order', { id });
  const failed = await t.server.ended(run);
  assert.deepEqual([failed.status, /answered 500/.test(failed.error.message)], ['failed', true], JSON.stringify(failed.error));
  const [reserved, charged] = failed.steps.map(({ result }: Answer) => result);
  // and nothing that knew of it is left
  await t.server.killed();
  refused.clear();
  await t.server.centaur('runs', 'retry', run);
  const resumed = await t.server.ended(run);
  assert.deepEqual([resumed.status, resumed.result?.slice(0, 2)], ['completed', [reserved, charged]]);
  assert.deepEqual(
    ['reserve', 'charge', 'ship'].map((step) => arrived(`/${step}/${id}`).length),
    [1, 1, 2],
  );
  assert.equal(arrived(`/ship/${id}`).at(-1)?.url, `/ship/${id}/${charged}`);
});

// the last one: it looks at what all of the others did
test('Six components, each replaceable, each observable, each owned by you.', LIMIT, async () => {
  const url = `${t.url}/six`;
  const known = await t.run('b', { url });
  const [backup, metrics] = [path.join(t.server.place.folder, 'six.backup'), await freePort()];
  await t.server.centaur('backup', '--out', backup);
  await using receiver = await startOtlpServer();
  await using mine = await t.elsewhere({
    DATABASE_URL: '',
    CENTAUR_DEMO: '0',
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: receiver.url,
    FIREWALL_METRICS_PORT: String(metrics),
  });
  const inside = watchConnections([mine.folder]);
  const centaur = async (...args: string[]) => {
    const { code, stdout, stderr } = await mine.run(args);
    assert.equal(code, 0, `centaur ${args.join(' ')}\n${stdout}${stderr}`);
    return stdout;
  };

  // state store: the Postgres that comes along, in place of another server; orchestrator: this process, in place of that one
  await centaur('restore', backup);
  const up = await mine.serve('up');
  const at = async (method: string, where: string, body?: object) => {
    const headers = { 'x-api-key': t.key, 'content-type': 'application/json' };
    const response = await fetch(up.url + where, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
    const answer = await response.json();
    assert.ok(response.ok, JSON.stringify(answer));
    return answer as Answer;
  };
  assert.deepEqual(await at('GET', `/workflows/runs/${known.run_id}`), await read(`/workflows/runs/${known.run_id}`));
  const run = async (): Promise<Answer> => {
    const { run_id } = await at('POST', '/workflows/runs', { workflow_name: 'b', input: { url } });
    return eventually(async () => {
      const seen = await at('GET', `/workflows/runs/${run_id}`);
      return seen.ended_at === null ? undefined : seen;
    }, PATIENCE);
  };

  // secrets vault: the value from a file, in place of the sealed one
  const [file, value] = [path.join(mine.folder, 'key-of-b'), 'sk-b-From0A1File2With3Enough4Letters'];
  writeFileSync(file, value);
  await at('PUT', '/api/secrets/B_KEY', { hosts: [new URL(t.url).host], source: { type: 'file', path: file } });
  const task = await eventually(async () => {
    const ended = await run();
    return ended.result?.status === 200 && arrived('/six').at(-1)?.headers['x-api-key'] === value ? ended : undefined;
  }, PATIENCE);
  assert.equal(task.result.status, 200);

  // telemetry bus: another receiver
  await eventually(() => ofTrace(task.run_id, receiver).some(({ name }) => name === 'invoke_workflow b'), PATIENCE);
  assert.deepEqual(ofTrace(task.run_id), []);

  // policy engine: another version
  await at('POST', '/api/policy/publish', {
    text: 'version: 1\ndefault: deny\nrules:\n  - {id: closed, host: "*", effect: deny, message: We are closed.}\n',
  });
  const closed = await eventually(async () => {
    const { result } = await run();
    return result?.status === 403 ? result.said : undefined;
  }, PATIENCE);
  assert.match(closed, /We are closed/);

  // replay engine: of a run that another one ran; and any program that reads the export
  const report = await eventually(async () => {
    const told = JSON.parse((await mine.run(['replay', known.run_id, '--json'])).stdout);
    return told.journal.state === 'intact' ? told : undefined;
  }, PATIENCE);
  assert.equal(report.verdict, 'same');

  // each is to be seen
  for (const name of [
    'centaur_worker',
    'centaur_database_up',
    'centaur_scanner_patterns',
    'centaur_http_streams',
    'centaur_policy_decisions_total',
    'centaur_steps_replayed_total',
    'centaur_audit_seal_lag_seconds',
  ]) {
    const isTold = async () => [...(await scrape(up.url, metrics, t.key)).keys()].some((each) => each.split('{', 1)[0] === name);
    await eventually(isTold, { ...PATIENCE, what: name });
  }
  const figures = await scrape(up.url, metrics, t.key);
  assert.deepEqual([figures.get('centaur_worker'), figures.get('centaur_database_up')], [1, 1]);
  assert.equal((await fetch(`${up.url}/readyz`)).status, 200);
  const checks: Answer[] = JSON.parse((await mine.run(['doctor', '--json'])).stdout);
  for (const name of ['API', 'Postgres', 'Tables', 'Master', 'Firewall', 'Workflows'])
    assert.ok(
      checks.some((each) => each.name === name && each.status === 'ok'),
      `${name}: ${JSON.stringify(checks)}`,
    );

  // and each is here: nothing listens for others, or is connected to anything else than this machine
  const [there, here] = [watch.stop(), inside.stop()];
  assert.deepEqual([there.beyond, here.beyond], [[], []]);
  for (const program of ['centaur up', 'centaur firewall', 'postgres']) assert.ok(here.programs.has(program), [...here.programs].join());
  assert.ok(there.sockets > 20 && here.sockets > 10, `${there.sockets} and ${here.sockets} sockets`);
});
