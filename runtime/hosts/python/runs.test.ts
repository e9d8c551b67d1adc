import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import path from 'node:path';
import { after, test } from 'node:test';
import { eventually } from '../../../test/support/wait.ts';
import { effects, failure, HERE, Host, type Message, type RunOptions, type Stay, valueOf } from './testing.ts';

const host = new Host([path.join(HERE, 'fixtures/main')]);
after(() => host.end());

/** Leaves the run at each answer and goes on in a stay of its own; what it did must be the same as without. */
async function replayEverywhere(workflow: string, options: RunOptions = {}): Promise<Stay> {
  const whole = await host.run(workflow, options);
  assert.equal(whole.result?.['type'], 'workflow.result', JSON.stringify(whole.result));
  const stops = Array.from({ length: whole.answers * 2 }, (_, index) => index / 2);
  await Promise.all(
    stops.map(async (stop) => {
      const before = await host.run(workflow, { ...options, stop });
      assert.equal(before.result, undefined, `it ended before answer ${stop}`);
      const replayed = await host.run(workflow, { ...options, history: before });
      // what was there is there in its place, which the engine looks after; what is new may come in another order
      assert.deepEqual(effects(replayed).toSorted(), effects(whole).toSorted(), `left at ${stop}`);
      assert.deepEqual(valueOf(replayed), valueOf(whole), `left at ${stop}`);
    }),
  );
  return whole;
}

async function printed(text: RegExp): Promise<void> {
  await eventually(() => text.test(host.errors), { what: `${text} among what was printed` });
}

test('a function that returns at once is one message, and one that takes its time asks first', async () => {
  const { sent } = await host.run('steps');
  const types = (step: string) => sent.filter((each) => (each['step'] ?? each['checkpoint_name']) === step).map((each) => each['type']);
  assert.deepEqual(types('nothing'), ['ctx.step.put']);
  assert.deepEqual(types('async'), ['ctx.step.get', 'ctx.step.put']);
  assert.deepEqual(types('last'), ['ctx.step.get', 'ctx.step.put']);
  const asked = await host.run('steps', { lease: null });
  assert.equal(asked.sent.filter((each) => each['type'] === 'ctx.step.get').length, 7);
  assert.deepEqual(valueOf(asked), [{ tuple: [1, 2], 3: '2026-01-02T00:00:00+00:00' }, 2, 3, 4, 5, null, 6]);
});

test('waits are sent as seconds and as times of UTC, retries as a policy', async () => {
  const { sent } = await host.run('steps');
  const [rest, morning, last] = ['rest', 'morning', 'last'].map((step) => sent.find((each) => each['step'] === step)) as Message[];
  assert.equal(rest?.['duration_seconds'], 1.5);
  assert.equal(morning?.['wake_at'], '2026-01-02T03:00:00.000Z');
  assert.deepEqual([last?.['retry'], last?.['timeout_ms']], [{ max_attempts: 3 }, 5000]);
});

for (const workflow of ['steps', 'calls', 'replay']) {
  test(`left at any moment, "${workflow}" goes on to the same end`, async () => {
    const answer: RunOptions['answer'] = ({ step }) =>
      step === 'soon' ? failure('WaitTimeoutError', 'WAIT_TIMEOUT', 'too late') : undefined;
    const whole = await replayEverywhere(workflow, { input: { a: 1 }, answer });
    const names = whole.rows.map(({ name }) => name);
    assert.equal(new Set(names).size, names.length);
  });
}

test('parallel branches are asked for at once, and replay in the order in which they first went', async () => {
  for (const pick of [(count: number) => count - 1, (count: number) => count >> 1]) {
    const options: RunOptions = { pick, answer: ({ step }) => (step === 'left' ? 'never' : undefined) };
    const whole = await replayEverywhere('parallel', options);
    const first = whole.sent.findIndex((each) => each['rest'] === true);
    assert.equal(first, 3, 'the turn and the three branches in one burst');
    assert.deepEqual(valueOf(whole).slice(0, 3), [['a!', 'b!', 'c!'], 'did exe-agent_turn', [{ payload: 'right' }]]);
  }
});

test('each burst ends with rest and with how many messages were taken', async () => {
  const { sent } = await host.run('parallel', { answer: ({ step }) => (step === 'left' ? 'never' : undefined) });
  let taken = 0;
  for (const each of sent) {
    if (each['rest'] !== true) continue;
    assert(each['taken'] >= taken && each['taken'] <= taken + 1);
    taken = each['taken'];
  }
  assert.equal(sent.at(-1)?.['type'], 'workflow.result');
});

test('both shapes of every call say the same', async () => {
  const late = failure('WaitTimeoutError', 'WAIT_TIMEOUT', 'too late');
  const { sent, result } = await host.run('calls', { answer: ({ step }) => (step === 'soon' ? late : undefined) });
  const of = (type: string) =>
    sent
      .filter((each) => each['type'] === type)
      .map(({ type: _type, run_id: _run, request_id: _id, rest: _rest, taken: _taken, ...fields }) => fields);
  assert.deepEqual(of('ctx.post_to_slack').slice(0, 2), [
    { step: 'post_summary', channel: 'C', text: 'text', args: { thread_ts: '1' } },
    { channel: 'C', text: 'again', args: {} },
  ]);
  const blocks = (of('ctx.post_to_slack')[2] as Message)['args'].blocks;
  assert.deepEqual(JSON.parse(blocks[1].elements[1].value as string), { workflow: 'steps', action: 'no', input: 1 });
  assert.deepEqual([blocks[1].elements[0].text.text, blocks[1].elements[1].style], ['Yes', 'danger']);
  assert.deepEqual(of('ctx.update_slack'), [{ message: { channel: 'C', ts: '1.0', text: 'new' } }]);
  assert.deepEqual(of('ctx.call_tool'), [
    { tool: 'linear', method: 'search', args: { query: 'x' } },
    { step: 'by_manager', tool: 'crm', method: 'find', args: { q: 1 } },
  ]);
  assert.deepEqual(of('ctx.workflow.start'), [
    { step: 'first', workflow_name: 'child', input: { a: 1 }, idempotency_key: 'k' },
    { workflow_name: 'child', input: { b: 2 }, idempotency_key: 'l', queue: 'etl' },
    { step: 'whole.start', workflow_name: 'child', input: {} },
  ]);
  assert.deepEqual(of('ctx.workflow.wait')[0], { step: 'ended', child_run_id: 'child-child', timeout_seconds: 3600 });
  const defaults = { harness: 'codex', model: 'small' };
  const [agent, turn, x] = of('ctx.agent.start') as Message[];
  assert.deepEqual(agent?.['args'], {
    ...defaults,
    parts: [{ type: 'text', text: 'go' }],
    delivery: { platform: 'slack', channel: 'C' },
    persona: 'ana',
  });
  assert.deepEqual(turn, {
    step: 'agent_turn',
    args: {
      model: 'small',
      thread_key: 't:1',
      harness: 'claude-code',
      effort: 'high',
      max_duration_ms: 1000,
      timeout_seconds: 9,
      text: 'hello',
    },
  });
  assert.deepEqual(x, { step: 'x', args: { ...defaults, text: '1' } });
  assert.deepEqual(result?.['result'].many, [
    ['x', true, 'completed'],
    ['y', true, 'completed'],
    ['z', true, 'completed'],
  ]);
  assert.deepEqual(result?.['result'].late, [true, 'WAIT_TIMEOUT', true]);
  assert.deepEqual(result?.['result'].texts.slice(1), ['did exe-agent_turn', 'completed', 'did exe-agent_turn']);
});

test('chance, time and patches are the same in a replay, and a replay is silent', async () => {
  const first = await host.run('replay', { input: { a: 1 }, stop: 1.5 });
  const again = await host.run('replay', { input: { a: 1 }, history: first });
  const [drawn, before, , ...rest] = valueOf(again);
  const draw = (n: number) => createHash('sha256').update(`seed:${n}`).digest();
  assert.equal(drawn[0], draw(0).readUIntBE(0, 6) / 2 ** 48);
  const uuid = draw(1).toString('hex');
  assert.match(
    drawn[1] as string,
    new RegExp(`^${uuid.slice(0, 8)}-${uuid.slice(8, 12)}-4${uuid.slice(13, 16)}-[89ab]${uuid.slice(17, 20)}-`),
  );
  assert.equal(drawn[2], '2025-12-17T19:33:20+00:00');
  assert.deepEqual([before, ...rest], [true, true, true, 'replay', { a: 1 }, 1]);
  const said = (stay: Stay) => stay.sent.map((each) => each['type']).filter((type) => /log|metric|patch/.test(type as string));
  assert.deepEqual(said(first), ['ctx.log', 'ctx.patch', 'ctx.log', 'ctx.log', 'ctx.metric', 'ctx.patch']);
  assert.deepEqual(said(again), []);
  const old = await host.run('replay', { history: { ...first, rows: first.rows.filter(({ type }) => type !== 'ctx.patch'), patches: [] } });
  assert.deepEqual(valueOf(old).slice(1, 3), [false, false], 'a history from before the patches');
});

test('a step that fails is tried again as the worker says, and its error can be caught', async () => {
  const retried = await host.run('failing', { input: { do: 'retry' }, answer: () => 5 });
  assert.deepEqual(retried.sent[0]?.['retry'], { max_attempts: 5, delay_ms: 500, backoff: 'fixed', max_delay_ms: 2000 });
  assert.equal(valueOf(retried), 3);
  assert.deepEqual(await host.result('failing', { input: { do: 'catch' } }), [
    'ERROR',
    'bad',
    'ZeroDivisionError',
    'division by zero',
    'ZeroDivisionError',
  ]);
  const final = await host.run('failing', { input: { do: 'final' }, answer: () => 5 });
  assert.equal(final.sent.length, 3, 'asked, failed once, ended');
  assert.equal(final.sent[1]?.['error'].non_retryable, true);
});

test('an error tells which call it was raised from', async () => {
  const { result } = await host.run('failing', { input: { do: 'cause' } });
  assert.deepEqual(result?.['error'], {
    name: 'RuntimeError',
    code: 'ERROR',
    message: 'so it failed',
    non_retryable: false,
    request_id: '1',
  });
  assert.match(result?.['traceback'] as string, /failing\.py/);
  const group = await host.run('failing', { input: { do: 'group' } });
  assert.deepEqual([group.result?.['error'].name, group.result?.['error'].request_id], ['StepError', '1']);
});

test('what JSON cannot hold is refused with its path, in a step as in a result', async () => {
  const refused: Record<string, RegExp> = {
    set: /\$\.a\[0\] is a set/,
    nan: /\$\[0\] is nan/,
    big: /1152921504606846976 is beyond 2\^53/,
    circle: /refers to itself/,
    half: /surrogate/,
  };
  for (const [of, message] of Object.entries(refused)) {
    await assert.rejects(host.result('failing', { input: { do: 'value', of } }), { name: 'StepError', code: 'NOT_JSON', message });
    await assert.rejects(host.result('failing', { input: { do: 'result', of } }), { code: 'RESULT_NOT_JSON', message });
  }
});

test('calls inside of a step that does other work are made once, and the work as well', async () => {
  for (const fail of [false, true]) {
    const mixed = new Host([path.join(HERE, 'fixtures/main')]);
    const options: RunOptions = { input: { tell: true, fail }, answer: ({ type }) => (type === 'ctx.step.fail' ? 2 : undefined) };
    const whole = await mixed.run('mixed', { ...options, stop: 9 - 0.5 });
    const replayed = await mixed.run('mixed', { ...options, history: whole });
    const [first, beside, caught, did] = valueOf(replayed);
    assert.deepEqual([first, beside, caught], [[{ channel: 'C', ts: '1.0' }, 'crm', 'inner'], 'beside', 'bad']);
    assert.deepEqual(did, fail ? ['began', 'posted', 'failed', 'began', 'posted', 'inner'] : ['began', 'posted', 'inner']);
    await mixed.end();
  }
  await replayEverywhere('mixed', { input: {}, pick: (count) => count - 1 });
  await replayEverywhere('mixed', { input: {} });
});

test('what outlives its step may make no calls', async () => {
  const { result } = await host.run('failing', { input: { do: 'nested' } });
  assert.equal(result?.['error'].code, 'NESTED_CALL');
});

test('a handler that exits fails its run and not the host', async () => {
  await assert.rejects(host.result('failing', { input: { do: 'exit' } }), { name: 'SystemExit' });
  assert.equal((await host.ask({ type: 'host.ping', id: '7' }))['id'], '7');
});

test('a handler that spins is heard all the same', async () => {
  assert.equal(await host.result('failing', { input: { do: 'spin' } }), 'woken');
});

test('a cancelled run may tidy up, and says nothing more', async () => {
  let asked = false;
  const stay = host.run('failing', {
    input: { do: 'cancel' },
    onRest: (to, { id, sent }) => {
      if (asked || sent.length < 1) return;
      asked = true;
      setTimeout(() => to.send({ type: 'workflow.cancel', run_id: id, reason: 'cancelled' }), 30);
    },
  });
  await printed(/tidied up RUN_CANCELLED/);
  assert.equal((await host.ask({ type: 'host.ping', id: '8' }))['id'], '8');
  assert.equal(await Promise.race([stay, Promise.resolve('silent')]), 'silent');
});

test('helpers, packages and siblings can be imported, and what is printed is no message', async () => {
  assert.deepEqual(await host.result('imports'), ['A', 'B', 'BESIDE', 'BESIDE']);
  await printed(/printed, and never between the messages/);
});

test('handlers may be objects, prompts, or take nothing', async () => {
  assert.equal(await host.result('declared'), 'called');
  const { sent } = await host.run('morning_prompt', { input: { delivery: { platform: 'slack', channel: 'C9' } } });
  assert.deepEqual([sent[0]?.['args'].text, sent[0]?.['args'].delivery], ['Say good morning.', { platform: 'slack', channel: 'C9' }]);
});

test('ctx._pool says what it needs, and waits for a database that is not there yet', async () => {
  await assert.rejects(host.result('pooled'), { code: 'NO_DATABASE' });
  const bare = new Host([path.join(HERE, 'fixtures/main')], { DATABASE_URL: 'postgres://db' });
  await assert.rejects(bare.result('pooled'), { code: 'NO_ASYNCPG' });
  const pooled = new Host([path.join(HERE, 'fixtures/main')], {
    DATABASE_URL: 'postgres://db',
    PYTHONPATH: path.join(HERE, 'fixtures/packages'),
  });
  assert.deepEqual(await pooled.result('pooled'), [['select 1', 'postgres://db', 0, 5], ['select 2']]);
  assert.deepEqual(await Promise.all([bare.end(), pooled.end()]), [0, 0]);
});

test('a workflow that is not there fails its run', async () => {
  await assert.rejects(host.result('nobody'), { code: 'UNKNOWN_WORKFLOW' });
});
