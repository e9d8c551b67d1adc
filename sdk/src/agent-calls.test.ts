import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkAgentOptions, composeAgentCalls } from './agent-calls.ts';
import type { AgentOptions, AgentResult, StartedAgent } from './agents.ts';

class Refused extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** Turns that end when they are told to, and what was asked of them. */
function createTurns() {
  const asked: unknown[] = [];
  const running: { readonly name: string; end(status: AgentResult['status']): void }[] = [];
  const calls = composeAgentCalls(
    'r1',
    {
      startAgent(name: string, options: AgentOptions): Promise<StartedAgent> {
        asked.push([name, options]);
        return Promise.resolve({ execution_id: name, thread_key: 't', run_id: `run of ${name}` });
      },
      waitForAgent(name, agent, options): Promise<AgentResult> {
        asked.push([name, options]);
        const rest = { terminal_reason: null, result_text: '', error_text: null, usage: null };
        const { execution_id, thread_key } = agent;
        return new Promise((resolve) => {
          running.push({ name: execution_id, end: (status) => resolve({ execution_id, thread_key, status, ...rest }) });
        });
      },
    },
    Refused,
  );
  return { calls, asked, running };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('a turn is a start and a wait, and only the wait has the timeout', async () => {
  const { calls, asked, running } = createTurns();
  const first = calls.runAgent('a', { text: 'A', model: 'm', timeout: '1m' });
  const second = calls.agentTurn('hello');
  const third = calls.agentTurn('again', { name: 'other', threadKey: 'own' });
  await settled();
  assert.deepEqual(asked, [
    ['a', { text: 'A', model: 'm' }],
    ['agent_turn', { threadKey: 'workflow:r1', text: 'hello' }],
    ['other', { threadKey: 'own', text: 'again' }],
    ['a.wait', { timeout: '1m' }],
    ['agent_turn.wait', {}],
    ['other.wait', {}],
  ]);
  for (const { end } of running) end('completed');
  assert.deepEqual(
    (await Promise.all([first, second, third])).map(({ execution_id: id }) => id),
    ['a', 'agent_turn', 'other'],
  );
});

test('of several turns no more run at a time than were asked for, and results keep the order of the agents', async () => {
  const { calls, running } = createTurns();
  const all = calls.runAgents(
    [
      { name: 'a', text: 'A' },
      { name: 'b', text: 'B' },
      { name: 'c', text: 'C' },
    ],
    { maxConcurrency: 2 },
  );
  await settled();
  assert.deepEqual(
    running.map(({ name }) => name),
    ['a', 'b'],
  );
  running[1]?.end('failed_permanent');
  await settled();
  assert.deepEqual(
    running.map(({ name }) => name),
    ['a', 'b', 'c'],
  );
  running[2]?.end('completed');
  running[0]?.end('completed');
  const { results, succeeded, failed } = await all;
  assert.deepEqual(
    results.map(({ index, name, ok, status }) => [index, name, ok, status]),
    [
      [0, 'a', true, 'completed'],
      [1, 'b', false, 'failed_permanent'],
      [2, 'c', true, 'completed'],
    ],
  );
  assert.deepEqual([succeeded, failed], [2, 1]);
});

test('several turns that cannot be meant are refused before one starts', async () => {
  const { calls, asked } = createTurns();
  const agents = (count: number) => Array.from({ length: count }, (_, n) => ({ name: `a${n}`, text: 'x' }));
  const refused = (message: RegExp) => (error: unknown) =>
    error instanceof Refused && error.code === 'INVALID_REQUEST' && message.test(error.message);
  await assert.rejects(calls.runAgents(agents(33)), refused(/32 are the most, got 33/));
  for (const maxConcurrency of [0, 17, 1.5])
    await assert.rejects(calls.runAgents(agents(1), { maxConcurrency }), refused(/a whole number from 1 to 16/));
  await assert.rejects(calls.runAgents([...agents(2), ...agents(1)]), refused(/two agents have the same name/));
  assert.deepEqual(asked, []);
});

test('a turn needs text or parts', () => {
  for (const options of [undefined, {}, { text: '' }, { parts: [] }, { text: 7 }])
    assert.throws(() => checkAgentOptions('a', options as AgentOptions, Refused), /^Error: "a": expected text or parts$/);
  checkAgentOptions('a', { text: 'x' }, Refused);
  checkAgentOptions('a', { parts: [{ type: 'text' }] }, Refused);
});
