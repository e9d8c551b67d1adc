import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createServer, type Socket } from 'node:net';
import path from 'node:path';
import { after, test } from 'node:test';
import type { RunAgentsResult } from '../../../sdk/src/agents.ts';
import { eventually } from '../../../test/support/wait.ts';
import type { Discovery } from '../protocol/messages.ts';
import { type Message, monotonicMs, type Outcome, play, RUNTIMES, type Row, speak, startHost, writeFiles } from './testing.ts';

const FILES = writeFiles({
  'flow.ts': `
import { ChildRunError, NonRetryableError, RunCancelledError, StepError } from '@centaur/sdk';
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const cases = {
  steps: async (ctx) => [await ctx.step('one', () => ({ at: new Date(0), n: 1 })), await ctx.step('two', async () => 2), await ctx.step('one', () => wait(5).then(() => 3))],
  async mixed(ctx) {
    const parts = await Promise.all([
      ctx.step('slow', () => wait(20).then(() => 'slow')),
      ctx.step('quick', () => 'quick'),
      ctx.sleep('nap', '90s').then(() => 'slept'),
      ctx.waitForEvent('go', { eventType: 'go', timeout: '1m' }),
    ]);
    return ctx.step('after', () => parts);
  },
  async failing(ctx) {
    const error = await ctx.step('bad', () => { throw new TypeError('no'); }, { retry: { maxAttempts: 3, delay: '2s' } }).catch((e) => e);
    if (!(error instanceof StepError)) throw error;
    throw new Error('because of it', { cause: error });
  },
  hopeless: () => { throw new NonRetryableError('no use'); },
  bad_step: (ctx) => ctx.step('map', () => new Map()),
  bad_result: () => ({ n: 1n }),
  agents: (ctx) => ctx.runAgents([{ name: 'a', text: 'A', harness: 'codex' }, { name: 'b', text: 'B', threadKey: 't', timeout: '1m' }]),
  turn: (ctx) => ctx.agentTurn('hello'),
  child: (ctx) => ctx.runWorkflow('c', { workflow: 'other', input: { n: 1 } }).catch((e) => (e instanceof ChildRunError ? [e.code, e.childError] : 'wrong')),
  outside: async (ctx) => [await ctx.callTool('clock', 'now'), await ctx.postToSlack('ops', 'hi', { threadTs: '1.2' }), await ctx.updateSlack({ channel: 'ops', ts: '1', text: 'x' }, { name: 'edit' })],
  async drawn(ctx) {
    const first = [ctx.random(), ctx.uuid(), ctx.now().getTime()];
    await ctx.step('one', () => 1);
    return [...first, ctx.now().getTime()];
  },
  async patches(ctx) {
    await ctx.step('begin', () => 0);
    const value = ctx.patched('p') ? 'new' : 'old';
    return ctx.step(value, () => value);
  },
  async prints(ctx) {
    console.log('from the handler');
    process.stdout.write('straight to the stream');
    ctx.log.info('told', { n: 1 });
    await ctx.step('one', () => 1);
    return 'printed';
  },
  async tidies(ctx) {
    await ctx.waitForEvent('never', { eventType: 'never' }).catch((e) => console.error('tidied', e instanceof RunCancelledError, ctx.signal.aborted));
  },
  async bank(ctx) {
    return ctx.transaction('pay', async (tx) => {
      const { rows, rowCount } = await tx.query('select $1', [5n]);
      return { rows, rowCount };
    }, { timeout: '9s' });
  },
  unawaited(ctx) {
    void ctx.step('later', () => wait(5).then(() => 1));
    return 'ended';
  },
};
export const WORKFLOW_NAME = 'flow';
export const handler = (input, ctx) => cases[input](ctx);
`,
  'greet.ts': `
import { defineWorkflow } from '@centaur/sdk';
const schema = { '~standard': { version: 1, vendor: 'x', validate: (v) => (v?.name ? { value: v } : { issues: [{ path: ['name'], message: 'expected a string' }] }) } };
export default defineWorkflow({ name: 'greet', input: schema, concurrencyKey: ({ name }) => name, handler: ({ name }) => 'hello ' + name });
`,
});
const ENV = { WORKFLOW_DIRS: FILES.dir };
const START = {
  type: 'workflow.start',
  task_id: 'x',
  attempt: 1,
  trace_id: 't',
  seed: 's',
  now: 1,
  live: true,
  history_length: 0,
  patches: [],
  lease_until: null,
};
after(() => FILES.remove());

/** What is outside of the tests' workflows. */
function world(message: Message): Outcome | undefined {
  const agent = (id: unknown) => ({ execution_id: id, thread_key: 't', run_id: `run of ${String(id)}` });
  switch (message.type) {
    case 'ctx.sleep':
      return { value: { slept: true } };
    case 'ctx.event.wait':
      return message.event_type === 'never' ? undefined : { value: 'went' };
    case 'ctx.agent.start':
      return { value: agent(message.step) };
    case 'ctx.agent.wait':
      return { value: { ...(message.agent as object), status: 'completed', result_text: 'done' } };
    case 'ctx.workflow.start':
      return { value: { workflow_name: message.workflow_name, run_id: 'child', task_id: 'child', created: true } };
    case 'ctx.workflow.wait':
      return { value: { run_id: 'child', status: 'failed', result: null, error: { code: 'X', message: 'it broke' } } };
    case 'ctx.call_tool':
      return { value: `${String(message.tool)}.${String(message.method)}` };
    case 'ctx.post_to_slack':
    case 'ctx.update_slack':
      return { value: { channel: 'ops', ts: '1' } };
    default:
      return undefined;
  }
}

for (const { name, command } of RUNTIMES) {
  const host = startHost(command(), ENV);
  after(() => host[Symbol.asyncDispose]());
  const on = (sentence: string, check: () => Promise<void>): void => void test(`${name}: ${sentence}`, check);
  const run = (input: string, options: { leaseUntil?: number; history?: Row[]; stopAfter?: number } = {}) =>
    play(host, 'flow', { input, world, ...options });
  /** What one case comes to. */
  const resultOf = async (input: string) => (await run(input)).end?.result;

  on('a run that is cut off at any message ends the same', async () => {
    for (const [input, result] of [
      ['steps', [{ at: '1970-01-01T00:00:00.000Z', n: 1 }, 2, 3]],
      ['mixed', ['slow', 'quick', 'slept', 'went']],
    ] as const) {
      const whole = await run(input);
      assert.deepEqual(whole.end?.result, result);
      for (let stopAfter = 1; stopAfter < whole.messages.length; stopAfter++) {
        const { rows } = await run(input, { stopAfter });
        assert.deepEqual((await run(input, { history: rows })).end?.result, result, `cut after ${stopAfter} messages`);
      }
    }
  });

  on('a step is asked about before its function runs, where there is no lease', async () => {
    const { messages, rows } = await run('steps');
    const types = ['step.get', 'step.put', 'step.get', 'step.put', 'step.get', 'rest', 'step.put'].map((each) => `ctx.${each}`);
    assert.deepEqual(
      messages.map(({ type }) => type),
      [...types, 'workflow.result'],
    );
    assert.deepEqual(
      rows.map((row) => row.name),
      ['one', 'two', 'one#2'],
    );
  });

  on('calls of one burst are written together, and the last of them says that the run is at rest', async () => {
    const { messages } = await run('mixed');
    assert.deepEqual(
      messages.slice(0, 4).map((message) => [message.step, message.rest]),
      [
        ['slow', undefined],
        ['quick', undefined],
        ['nap', undefined],
        ['go', true],
      ],
    );
    assert.equal(messages[2]?.duration_seconds, 90);
    assert.equal(messages[3]?.timeout_seconds, 60);
  });

  on('an error is told with the call that it comes of', async () => {
    const { end, messages } = await run('failing');
    const failed = messages.find(({ type }) => type === 'ctx.step.fail');
    assert.deepEqual(messages[0]?.retry, { max_attempts: 3, delay_ms: 2000 });
    assert.deepEqual(failed?.error, { name: 'TypeError', code: 'ERROR', message: 'no', non_retryable: false });
    const error = { name: 'Error', code: 'ERROR', message: 'because of it', non_retryable: false, request_id: failed?.request_id };
    assert.deepEqual([end?.type, end?.error], ['workflow.error', error]);
    assert.match(String(end?.traceback), /flow\.ts/);
  });

  on('what cannot help is said to be no use, and what is no JSON is refused', async () => {
    const codeOf = async (input: string) => {
      const { end } = await run(input);
      return [end?.error?.code, end?.error?.non_retryable];
    };
    assert.deepEqual(await codeOf('hopeless'), ['NON_RETRYABLE', true]);
    assert.deepEqual(await codeOf('bad_step'), ['NOT_JSON', false]);
    assert.deepEqual(await codeOf('bad_result'), ['RESULT_NOT_JSON', true]);
  });

  on('an attempt that took too long is followed by another, and its late outcome is dropped', async () => {
    const answer = (request: string, value: object) =>
      host.send({ type: 'ctx.response', run_id: 'late', request_id: request, ok: true, value, now: 1, live: true });
    const next = (type: string) => host.next((message) => message.run_id === 'late' && message.type === type);
    host.send({ ...START, run_id: 'late', workflow_name: 'flow', input: 'unawaited' });
    await next('ctx.step.get');
    answer('1', { done: false, checkpoint_name: 'later', attempt: 1 });
    answer('1', { retry: true, attempt: 2 });
    const put = await next('ctx.step.put');
    assert.deepEqual([put.request_id, put.attempt], ['2', 2]);
    answer('2', {});
    assert.equal((await next('workflow.result')).result, 'ended');
  });

  on('an agent’s turn is a start and a wait, alone or beside others', async () => {
    const { end, messages } = await run('agents');
    const { succeeded, results } = end!.result as RunAgentsResult;
    assert.deepEqual([succeeded, results.map((each) => each.name)], [2, ['a', 'b']]);
    assert.deepEqual(
      messages.filter(({ step }) => step !== undefined).map(({ step, args, timeout_seconds: timeout }) => [step, args, timeout]),
      [
        ['a', { text: 'A', harness: 'codex' }, undefined],
        ['b', { text: 'B', thread_key: 't' }, undefined],
        ['a.wait', undefined, undefined],
        ['b.wait', undefined, 60],
      ],
    );
    const turn = await run('turn');
    assert.deepEqual(turn.messages[0]?.args, { text: 'hello', thread_key: `workflow:${turn.runId}` });
    assert.deepEqual(
      turn.rows.map((row) => row.name),
      ['agent_turn', 'agent_turn.wait'],
    );
  });

  on('a child that failed is an error; tools and posts give what they give', async () => {
    assert.deepEqual(await resultOf('child'), ['CHILD_FAILED', { code: 'X', message: 'it broke' }]);
    const { end, messages } = await run('outside');
    assert.deepEqual(end?.result, ['clock.now', { channel: 'ops', ts: '1' }, { channel: 'ops', ts: '1' }]);
    assert.deepEqual(messages[1]?.args, { thread_ts: '1.2' });
    assert.equal(messages[2]?.step, 'edit');
  });

  on('random numbers come of the seed, and the time of the answers', async () => {
    const hash = (n: number) => createHash('sha256').update(`seed:${n}`).digest();
    const [random, uuid, ...times] = (await resultOf('drawn')) as [number, string, number, number];
    assert.equal(random, hash(0).readUIntBE(0, 6) / 2 ** 48);
    assert.match(uuid, /^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/);
    assert.equal(uuid.slice(0, 8), hash(1).toString('hex', 0, 4));
    assert.deepEqual(times, [1000, 1001]);
  });

  on('a patch is taken on new ground and where it was taken, and nowhere else', async () => {
    const { end, rows } = await run('patches');
    assert.deepEqual([end?.result, rows.map((row) => row.name)], ['new', ['begin', 'p', 'new']]);
    assert.equal((await run('patches', { history: rows })).end?.result, 'new');
    const before = rows
      .filter((row) => row.type !== 'ctx.patch')
      .map((row, ord) => ({ ...row, ord, name: row.name === 'new' ? 'old' : row.name, outcome: { value: 'old' } }));
    assert.equal((await run('patches', { history: before })).end?.result, 'old');
  });

  on('what a handler prints goes to standard error, and its log is silent in a replay', async () => {
    const { end, messages, rows } = await run('prints');
    assert.equal(end?.result, 'printed');
    assert.deepEqual([messages[0]?.type, messages[0]?.fields], ['ctx.log', { n: 1 }]);
    const again = await run('prints', { history: rows });
    assert.deepEqual(
      again.messages.map(({ type }) => type),
      ['ctx.step.get', 'workflow.result'],
    );
    // another line than that of the messages
    await eventually(() => /from the handler[^]*straight to the stream/.test(host.errors()));
  });

  on('a cancelled handler tidies up; one that is suspended hears nothing', async () => {
    const leave = async (reason: string) => {
      const { runId } = await run('tidies');
      host.send({ type: 'workflow.cancel', run_id: runId, reason });
      host.send({ type: 'host.ping', id: runId });
      assert.equal((await host.next(({ type, id }) => type === 'host.pong' && id === runId)).id, runId);
    };
    await leave('suspended');
    assert.doesNotMatch(host.errors(), /tidied/);
    await leave('cancelled');
    await eventually(() => /tidied true true/.test(host.errors()));
  });

  on('a transaction is begun, asked and committed, and begun again when the worker says so', async () => {
    const next = (type: string) => host.next((message) => message.run_id === 'bank' && message.type === type);
    const answer = ({ request_id: request }: Message, value: unknown) =>
      host.send({ type: 'ctx.response', run_id: 'bank', request_id: request, ok: true, value, now: 1, live: true });
    host.send({ ...START, run_id: 'bank', workflow_name: 'flow', input: 'bank' });
    const begun = await next('ctx.tx.begin');
    assert.deepEqual([begun.step, begun.timeout_ms], ['pay', 9000]);
    answer(begun, { done: false, tx: 'x1' });
    const asked = await next('ctx.tx.query');
    assert.deepEqual([asked.tx, asked.sql, asked.params], ['x1', 'select $1', ['5']]);
    host.send({
      type: 'ctx.response',
      run_id: 'bank',
      request_id: asked.request_id,
      ok: false,
      error: 'deadlock',
      error_info: { name: 'WorkflowError', code: '40P01', message: 'deadlock' },
      now: 1,
      live: true,
    });
    const rolledBack = await next('ctx.tx.rollback');
    assert.deepEqual([rolledBack.tx, rolledBack.error?.code], ['x1', '40P01']);
    answer(rolledBack, { retry: true, attempt: 2, tx: 'x2' });
    answer(await next('ctx.tx.query'), { rows: [{ n: 5 }], row_count: 1 });
    const committed = await next('ctx.tx.commit');
    assert.deepEqual([committed.tx, committed.value], ['x2', { rows: [{ n: 5 }], rowCount: 1 }]);
    answer(committed, null);
    assert.deepEqual((await next('workflow.result')).result, { rows: [{ n: 5 }], rowCount: 1 });
  });

  on('inputs are checked, and a key is derived of them', async () => {
    const judge = async (input: unknown) => {
      host.send({ type: 'workflow.input', run_id: 'q', request_id: '1', workflow_name: 'greet', input });
      return host.next(({ type }) => type === 'workflow.input');
    };
    assert.deepEqual(await judge({ name: 'Ada' }), {
      type: 'workflow.input',
      run_id: 'q',
      request_id: '1',
      ok: true,
      concurrency_key: 'Ada',
    });
    const { ok, error, issues } = await judge({});
    assert.deepEqual([ok, error, issues], [false, 'input.name: expected a string', [{ path: 'name', message: 'expected a string' }]]);
    const { end } = await play(host, 'greet', { input: {} });
    assert.deepEqual(end?.error?.code, 'INVALID_INPUT');
  });

  on('a message that is unknown is answered once, and a ping every time', async () => {
    host.send({ type: 'workflow.juggle' });
    host.send({ type: 'workflow.juggle' });
    host.write('not json\n');
    const said = [await host.next(({ type }) => type === 'host.error'), await host.next(({ type }) => type === 'host.error')];
    assert.match(said.map(({ message }) => message).join('; '), /"workflow\.juggle".*; a line is not JSON/);
  });

  on('a step that nobody awaited still counts', async () => {
    const { rows, end } = await run('unawaited');
    assert.deepEqual([end?.result, rows[0]?.outcome], ['ended', { value: 1 }]);
  });

  on('over a socket the host says the same, and its end ends the host after it has answered what it read', async () => {
    const file = path.join(FILES.dir, `${name}.sock`);
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(file, resolve));
    const [program = '', ...args] = command(file);
    const only = { WORKFLOW_FILE: path.join(FILES.dir, 'greet.ts') };
    const child = spawn(program, args, { env: { ...process.env, ...ENV, ...only, CENTAUR_HOST_SOCKET: file } });
    const exit = new Promise<number | null>((resolve) => child.once('exit', resolve));
    const socket = await new Promise<Socket>((resolve, reject) => {
      server.once('connection', resolve);
      void exit.then((code) => reject(new Error(`it ended with ${code} before it connected`)));
    });
    const other = speak(child, socket, (text) => socket.write(text));
    other.send({ ...START, run_id: 'missing', workflow_name: 'flow', input: 'steps' });
    other.send({ type: 'discover' });
    socket.end();
    const missing = await other.next(({ type }) => type === 'workflow.error');
    assert.equal(missing.error?.code, 'UNKNOWN_WORKFLOW');
    const { workflows } = (await other.next(({ type }) => type === 'workflow.discovery')) as unknown as Discovery;
    assert.deepEqual(
      workflows.map((each) => each.workflow_name),
      ['greet'],
    );
    assert.equal(await exit, 0);
    server.close();
  });

  // Deno's clock is not the system's: it always asks
  if (name === 'Node') {
    on('within the lease a function that returns at once runs before it is asked about', async () => {
      const { messages, end } = await run('steps', { leaseUntil: monotonicMs() + 60_000 });
      assert.deepEqual(end?.result, [{ at: '1970-01-01T00:00:00.000Z', n: 1 }, 2, 3]);
      // the two that take their time are asked about at their place, and run meanwhile
      const said = messages.filter(({ type }) => type !== 'ctx.rest').map(({ type, step }) => [type, step].join(' ').trim());
      assert.deepEqual(said, [
        'ctx.step.put one',
        'ctx.step.get two',
        'ctx.step.put',
        'ctx.step.get one',
        'ctx.step.put',
        'workflow.result',
      ]);
      const expired = await run('steps', { leaseUntil: monotonicMs() - 1 });
      assert.equal(expired.messages[0]?.type, 'ctx.step.get');
    });
  }
}
