/** "Inside a running system" of the architecture document: each sentence is a test named after it, on a whole installation. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { BUILTIN_POLICY } from '../../kernel/policy/index.ts';
import { METRICS, type MetricSpec } from '../../kernel/telemetry/index.ts';
import { freePort } from '../hosts-e2e/server.ts';
import { type Service, startService } from '../support/firewall.ts';
import { type OtlpServer, startOtlpServer } from '../support/otlp.ts';
import { eventually } from '../support/wait.ts';
import { watchConnections } from './connections.ts';
import { type Answer, type FollowOptions, type Installation, startInstallation } from './installation.ts';

/** A machine that others use too is slow. */
const PATIENCE = { timeoutMs: 120_000 };
const LIMIT = { timeout: 420_000 };
const BANK_KEY = 'sk-bank-Real0Key1With2Enough3Letters';
const TURNING_KEY = 'sk_turning_First0Value1With2Enough3Letters';
const DASHBOARD_KEY = 'dd-Real0Key1With2Enough3Letters';

/** A task of three steps, each of which asks the service, and hands on what it said. */
const order = (url: string) => `export const WORKFLOW_NAME = 'order';
const tell = async (path: string) => {
  const answer = await fetch('${url}' + path, { method: 'POST', headers: { authorization: 'Bearer ' + process.env.ORDER_KEY } });
  if (answer.status !== 200) throw new Error('the service answered ' + answer.status);
  return await answer.text();
};
export async function handler(input: any, ctx: any) {
  const reserved = await ctx.step('reserve', () => tell('/reserve/' + input.id));
  const charged = await ctx.step('charge', () => tell('/charge/' + input.id + '/' + reserved));
  const shipped = await ctx.step('ship', () => tell('/ship/' + input.id + '/' + charged));
  return [reserved, charged, shipped];
}
`;

/** Says something as long as the service does not say stop. */
const ticks = (url: string) => `export const WORKFLOW_NAME = 'ticks';
export async function handler(input: any, ctx: any) {
  for (let n = 1; ; n++) {
    const said = await ctx.step('tick', async () => {
      const answer = await fetch('${url}/tick/' + n, { headers: { authorization: 'Bearer ' + process.env.ORDER_KEY } });
      return n + ' ' + await answer.text();
    }, { retry: { maxAttempts: 20, delay: '200ms' } });
    if (said.endsWith('stop')) return n;
    await ctx.step('pause', () => new Promise((resolve) => setTimeout(resolve, 20)));
  }
}
`;

const HANDOFF = `export const WORKFLOW_NAME = 'handoff';
export async function handler(input: any, ctx: any) {
  const found = await ctx.runAgent('research', { text: 'say: fact ' + input.id, harness: 'demo' });
  const go = await ctx.waitForEvent('go', { eventType: 'go', correlationId: input.id, timeout: '2m' });
  const written = await ctx.runAgent('write', { text: 'say: written from ' + found.result_text + ', ' + go.by, harness: 'demo' });
  return written.result_text;
}
`;

/** A step of each kind. */
const KINDS = `export const WORKFLOW_NAME = 'kinds';
export async function handler(input: any, ctx: any) {
  await ctx.step('look', () => 'seen');
  await ctx.step('fail', () => { throw new Error('no'); }).catch(() => 0);
  await ctx.sleep('rest', 20);
  await ctx.waitForEvent('hear', { eventType: 'go', correlationId: input.id, timeout: '2m' });
  await ctx.waitForEvent('miss', { eventType: 'never', correlationId: input.id, timeout: 50 }).catch(() => 0);
  await ctx.callTool('bank', 'look', {});
  await ctx.runWorkflow('delegate', { workflow: 'child', input: {} });
  return 'done';
}
`;
const CHILD = `export const WORKFLOW_NAME = 'child';
export async function handler(input: any, ctx: any) { return ctx.step('only', () => 1); }
`;

/** Asks an agent, which asks a tool. */
const CLERK = `export const WORKFLOW_NAME = 'clerk';
export async function handler(input: any, ctx: any) {
  await ctx.step('begin', () => 'begun');
  const answer = await ctx.runAgent('pay', { text: "run: centaur-tools call bank pay '" + JSON.stringify({ note: input.note }) + "'", harness: 'demo' });
  return answer.result_text;
}
`;

/** Sends a request with its own key, or with what it is given in its place. */
const caller = (name: string) => `export const WORKFLOW_NAME = '${name}';
export async function handler(input: any, ctx: any) {
  return ctx.step('ask', async () => {
    const key = input.use ?? process.env.${name.toUpperCase()}_KEY;
    const answer = await fetch(input.url, { headers: { 'x-api-key': key } });
    return { status: answer.status, said: await answer.text(), key, names: Object.keys(process.env).filter((each) => each.endsWith('_KEY')) };
  });
}
`;

const bank = ({ url, host }: { url: string; host: string }) => `import { defineTool, method, secret } from '@centaur/sdk';
const input = { type: 'object', properties: { note: { type: 'string' }, url: { type: 'string' } } } as const;
const send = async (url: string, note = '') => {
  const answer = await fetch(url, { method: 'POST', headers: { 'x-api-key': secret('BANK_KEY') }, body: note });
  return { status: answer.status, said: await answer.text(), key: secret('BANK_KEY') };
};
export default defineTool({
  description: 'Moves money.',
  secrets: [{ name: 'BANK_KEY', hosts: ['${host}'] }],
  methods: {
    look: method({ description: 'Reads.', risk: 'read', input, run: ({ note, url }: any) => send(url ?? '${url}/look', note) }),
    note: method({ description: 'Writes.', risk: 'write', input, run: ({ note }: any) => send('${url}/note', note) }),
    pay: method({ description: 'Pays.', risk: 'financial', input, run: ({ note }: any) => send('${url}/pay', note) }),
  },
});
`;

/** Another integration, with a key for the same host. */
const post = ({ url, host }: { url: string; host: string }) => `import { defineTool, method, secret } from '@centaur/sdk';
export default defineTool({
  description: 'Sends letters.',
  secrets: [{ name: 'POST_KEY', hosts: ['${host}'] }],
  methods: {
    send: method({ description: 'Sends.', risk: 'read', input: { type: 'object', properties: { use: { type: 'string' } } } as const, async run({ use }: any) {
      const foreign = (() => { try { return secret('BANK_KEY'); } catch { return null; } })();
      const answer = await fetch('${url}/post', { headers: { 'x-api-key': use ?? secret('POST_KEY') } });
      return { status: answer.status, said: await answer.text(), foreign, names: Object.keys(process.env).filter((each) => each.endsWith('_KEY')) };
    } }),
  },
});
`;

let t: Installation;
/** A service that no secret is bound to. */
let other: Service;
let otlp: OtlpServer;
let watch: ReturnType<typeof watchConnections>;
/** The session of a person who decides. */
let approver = '';
let firewallMetrics = 0;
/** First words of paths: those that are refused, those that are not answered yet, and who waits there. */
const refused = new Set<string>();
const held = new Set<string>();
const waiting: (() => void)[] = [];
let ticking: 'go' | 'stop' = 'go';

before(async () => {
  otlp = await startOtlpServer();
  other = await startService((_, response) => void response.end('elsewhere'));
  firewallMetrics = await freePort();
  t = await startInstallation({
    env: {
      FIREWALL_METRICS_PORT: String(firewallMetrics),
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: otlp.url,
      OTEL_EXPORTER_OTLP_HEADERS: `dd-api-key=${DASHBOARD_KEY}`,
      OTEL_BSP_SCHEDULE_DELAY: '100',
    },
    handler: (request, response) => {
      const [, what = ''] = (request.url ?? '').split('/');
      if (refused.has(what)) {
        response.statusCode = 500;
        return void response.end('not today');
      }
      if (what === 'tick') return void response.end(ticking);
      // what a careless service does
      if (what === 'echo') return void response.end(`yours is ${request.headers['x-api-key']}, it was ${TURNING_KEY}`);
      // new each time: a step that ran twice would be seen
      const answer = () => void response.end(`${what}-${randomUUID().slice(0, 8)}`);
      if (held.has(what)) waiting.push(answer);
      else answer();
    },
    files: (service) => ({
      'tools/bank/tool.ts': bank(service),
      'tools/post/tool.ts': post(service),
      'workflows/order.ts': order(service.url),
      'workflows/ticks.ts': ticks(service.url),
      'workflows/handoff.ts': HANDOFF,
      'workflows/kinds.ts': KINDS,
      'workflows/child.ts': CHILD,
      'workflows/clerk.ts': CLERK,
      'workflows/a.ts': caller('a'),
      'workflows/b.ts': caller('b'),
    }),
    secrets: (host) => ({
      BANK_KEY: [BANK_KEY, '--for', 'bank'],
      POST_KEY: ['sk-post-Real0Key1With2Enough3Letters', '--for', 'post'],
      ORDER_KEY: ['sk-order-Real0Key1With2Enough3Letters', '--host', host],
      B_KEY: ['sk-b-Real0Key1With2Enough3Letters', '--host', host],
    }),
  });
  watch = watchConnections([t.server.place.folder]);
  // a value that is made anew by nobody but the schedule
  const turning = await t.ask('PUT', '/api/secrets/A_KEY', {
    value: TURNING_KEY,
    hosts: [new URL(t.url).host],
    rotation: { every_seconds: 3600, grace_seconds: 3600 },
    options: { generate: { prefix: 'sk_turning_', length: 32 } },
  });
  assert.equal(turning.status, 200, JSON.stringify(turning.body));
  // an hour passes
  await t.sql(`update secret_versions set created_at = created_at - interval '1 hour 1 minute' where name = 'A_KEY'`);
  for (const [workflow, secret] of [
    ['order', 'ORDER_KEY'],
    ['ticks', 'ORDER_KEY'],
    ['a', 'A_KEY'],
    ['b', 'B_KEY'],
  ] as const)
    await t.server.centaur('grants', 'add', `workflow:${workflow}`, secret);
  approver = await t.person('ann', 'approver');
});
after(async () => {
  watch.stop();
  for (const answer of waiting.splice(0)) answer();
  await t[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
  await otlp[Symbol.asyncDispose]();
});

const arrived = (path: string) => t.service.seen.filter(({ url }) => url.startsWith(path));

async function start(workflow: string, input: object = {}): Promise<string> {
  const { status, body } = await t.ask('POST', '/workflows/runs', { workflow_name: workflow, input });
  assert.equal(status, 201, JSON.stringify(body));
  return body.run_id;
}

async function read(at: string): Promise<Answer> {
  const { status, body } = await t.ask('GET', at);
  assert.equal(status, 200, JSON.stringify(body));
  return body;
}

async function all(at: string, options?: FollowOptions): Promise<Answer[]> {
  const seen: Answer[] = [];
  for await (const { id, event, data } of t.follow(at, options)) seen.push({ id, event, data: JSON.parse(data) });
  return seen;
}

/** What a person is asked about something, once they are. */
const asked = (about: string): Promise<Answer> =>
  eventually(async () => {
    const { items } = await read('/api/approvals?state=pending');
    return items.find(({ summary }: Answer) => JSON.stringify(summary).includes(about));
  }, PATIENCE);

async function approve({ approval_id }: Answer): Promise<void> {
  const { status, body } = await t.ask('POST', `/api/approvals/${approval_id}/approve`, { reason: 'ticket 4711' }, approver);
  assert.deepEqual([status, body.state], [200, 'approved'], JSON.stringify(body));
}

const ofTrace = (run: string, server = otlp) => server.spans.filter(({ traceId }) => traceId === run.replaceAll('-', ''));

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
  await eventually(() => ofTrace(run).filter(({ name }) => name.startsWith('invoke_agent')).length === 2, PATIENCE);
  const scraped = await scrape();
  assert.ok((scraped.get('centaur_runs_finished_total{status="completed"}') ?? 0) >= 3, 'the task and two turns');
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
      assert.ok(actions.includes(action), `${action} in ${actions}`);
  });
  assert.deepEqual(await tell(), before, 'and whoever starts anew tells the same of it');
  assert.equal(arrived('/pay').filter(({ body }) => body === note).length, 1);
});

test('Outbox pattern guarantees every emitted event is durably recorded before it ships.', LIMIT, async () => {
  ticking = 'go';
  const run = await start('ticks');
  const turn = (n: number) =>
    t.ask('POST', '/agent/execute', { thread_key: 'talks', message: 'slow: 40', delivery: { platform: 'chat' }, execute_id: `talk-${n}` });
  await turn(0);
  const streams = [
    {
      at: `/workflows/runs/${run}/events`,
      seen: [] as { id: string; data: string }[],
      stored: `select attempt || '-' || ord as id from workflow_steps where run_id = $1 and ord is not null order by attempt, ord`,
      of: run,
    },
    {
      at: '/agent/threads/talks/events',
      seen: [] as { id: string; data: string }[],
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
      if (!(await storedOf(stream)).includes(id)) unrecorded.push(`${stream.at} ${id}`);
      stream.seen.push({ id, data });
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
  ticking = 'stop';
  assert.equal((await t.server.ended(run)).status, 'completed');

  const ended = async () =>
    (await t.sql(`select 1 from agent_execution_requests where thread_key = 'talks' and completed_at is null`)).length === 0;
  await eventually(ended, PATIENCE);
  for (const stream of streams) await eventually(async () => stream.seen.at(-1)?.id === (await storedOf(stream)).at(-1), PATIENCE);
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
    (await t.ask('POST', '/agent/final-deliveries/claim', { consumer_id: consumer, platform: 'chat', limit: 50, lease_seconds: 5 })).body
      .items;
  const first = await claim('one');
  const owed = await t.sql(`select execution_id from agent_execution_requests where thread_key = 'talks' order by execution_id`);
  assert.deepEqual(
    first.map(({ execution_id: id }) => id),
    owed.map(({ execution_id: id }) => id),
  );
  const second = await eventually(async () => {
    const items = await claim('two');
    return items.length > 0 ? items : undefined;
  }, PATIENCE);
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
  const [look, letter, b] = [await call('bank/look', {}), await call('post/send', {}), await run('b', { url })];
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
  await eventually(async () => (await read('/api/secrets/A_KEY')).version === 2, { timeoutMs: 120_000 });
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
  await t.sql(`update secret_versions set grace_until = now() where name = 'A_KEY' and state = 'grace'`);

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
    { timeoutMs: 120_000 },
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
  const spans = ofTrace(run);
  for (const { name } of steps)
    assert.ok(
      spans.some((span) => span.name.endsWith(` ${name}`)),
      `a span of ${name} among ${spans.map((span) => span.name)}`,
    );
  for (const line of t.server
    .log()
    .split('\n')
    .filter((each) => each.startsWith('{'))) {
    const { time, level, message, component } = JSON.parse(line);
    assert.ok(
      Date.parse(time) > 0 && typeof message === 'string' && typeof component === 'string' && /^(debug|info|warn|error)$/.test(level),
      line,
    );
  }
});

test('Streams to your dashboards (Grafana / Datadog / native) and to the operator console.', LIMIT, async () => {
  ticking = 'go';
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
  assert.equal((await read(`/workflows/runs/${run}`)).status, 'running', 'it was told while it ran');
  assert.equal((await t.ask('POST', `/workflows/runs/${run}/cancel`, {}, viewer)).status, 403);
  // native: the same in a terminal
  const tail = t.server.place.start(['runs', 'tail', run]);
  await eventually(() => /tick/.test(tail.output.stdout), PATIENCE);
  // Prometheus, with a key for nothing else: each figure that the dashboard asks for, and they move
  const after = await eventually(async () => {
    const now = await scrape();
    return (now.get('centaur_steps_executed_total') ?? 0) > (before.get('centaur_steps_executed_total') ?? 0) ? now : undefined;
  }, PATIENCE);
  assert.ok((after.get('centaur_runs{status="running"}') ?? 0) >= 1);
  ticking = 'stop';
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
  const before = [await read(`/workflows/runs/${run}`), t.service.seen.length];
  const same = await replay(run);
  assert.deepEqual([same.code, /clerk.* same/.test(same.stdout)], [0, true], same.stdout + same.stderr);
  assert.deepEqual([await read(`/workflows/runs/${run}`), t.service.seen.length], before, 'nothing was done again');

  // from the log alone, on a machine with nothing but the export and the public key
  const [file, key] = ['export.jsonl', 'log.pub'].map((name) => path.join(t.server.place.folder, name)) as [string, string];
  await t.server.centaur('audit', 'export', '-o', file);
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
    assert.ok(actions.includes(action), `${action} in ${actions}`);
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
    return arrived('/six').at(-1)?.headers['x-api-key'] === value ? ended : undefined;
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
    return result.status === 403 ? result.said : undefined;
  }, PATIENCE);
  assert.match(closed, /We are closed/);

  // replay engine: of a run that another one ran; and any program that reads the export
  const report = JSON.parse(await centaur('replay', known.run_id, '--json'));
  assert.deepEqual([report.verdict, report.journal.state], ['same', 'intact']);

  // each is to be seen
  const figures = await scrape(up.url, metrics, t.key);
  const told = new Set([...figures.keys()].map((name) => name.split('{', 1)[0]));
  for (const name of [
    'centaur_worker',
    'centaur_database_up',
    'centaur_scanner_patterns',
    'centaur_http_streams',
    'centaur_policy_decisions_total',
    'centaur_steps_replayed_total',
    'centaur_audit_seal_lag_seconds',
  ])
    assert.ok(told.has(name), `${name} among ${[...told].join(' ')}`);
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

/** Name with labels to value, of the API and of the firewall. */
async function scrape(url = t.server.url, firewall = firewallMetrics, token?: string): Promise<ReadonlyMap<string, number>> {
  const ofApi = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${token ?? (await metricsKey())}` } });
  assert.equal(ofApi.status, 200);
  assert.match(ofApi.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
  const ofFirewall = await fetch(`http://127.0.0.1:${firewall}/metrics`);
  const samples = new Map<string, number>();
  for (const line of `${await ofApi.text()}${await ofFirewall.text()}`.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const [, name = '', value] =
      /^([a-zA-Z_:][\w:]*(?:\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\.)*",?)*\})?) (\S+)$/.exec(line) ?? assert.fail(line);
    samples.set(name, Number(value));
  }
  return samples;
}

let ofMetrics = '';
/** One that may do nothing else, as a dashboard has it. */
async function metricsKey(): Promise<string> {
  ofMetrics ||=
    (await t.server.centaur('keys', 'create', 'dashboard', '--scope', 'metrics.read'))
      .trim()
      .split(/\s+/)
      .find((word) => word.startsWith('ck_')) ?? '';
  return ofMetrics;
}

/** Names of all figures that are told, without labels. */
const familiesTold = async (): Promise<ReadonlySet<string>> =>
  new Set([...(await scrape()).keys()].map((name) => name.split('{', 1)[0] as string));

/** Outcomes are written behind the answers: until there is one for each intent. */
const settled = (which: string, value: string) =>
  eventually(async () => {
    const open = await t.sql(
      `select 1 from audit_log i where i.action in ('tool.call', 'egress.intent') and ${which} and not exists (select from audit_log o where o.intent_id = i.audit_id)`,
      [value],
    );
    return open.length === 0;
  }, PATIENCE);
