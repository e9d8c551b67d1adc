import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ThreadEvent, ThreadEventData } from '@centaur/sdk';
import { describeTool, readPlan } from './steps.ts';
import { createDice, EXECUTION, numbered, rollTurn } from './testing.ts';
import { answerOf, commentaryOf, isOver, startTurn, takeEvent, transcriptOf, type Turn } from './turn.ts';

const begin = (): Turn => startTurn({ executionId: EXECUTION, after: 0, traceId: 'trace' });
const read = (events: readonly ThreadEvent[], turn = begin()): Turn => events.reduce(takeEvent, turn);
const of = { execution_id: EXECUTION };
const after = (...data: ThreadEventData[]): Turn =>
  read(numbered([{ type: 'execution.state', ...of, thread_key: 't', status: 'running' }, ...data]));
const ended = (
  status: 'completed' | 'cancelled' | 'failed_permanent',
  more: { terminal_reason?: string; result_text?: string; error_text?: string } = {},
): ThreadEventData => ({
  type: 'execution.state',
  ...of,
  thread_key: 't',
  status,
  ...more,
});

describe('a turn', () => {
  it('is the same wherever its reading was broken off, and kept as JSON', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const events = rollTurn(createDice(seed), 120);
      const whole = read(events);
      for (let cut = 0; cut <= events.length; cut += 7) {
        const first = JSON.parse(JSON.stringify(read(events.slice(0, cut)))) as Turn;
        assert.deepEqual(read(events.slice(cut), first), whole, `seed ${seed} cut at ${cut}`);
      }
    }
  });

  it('is the same when events come twice, late and out of order', () => {
    for (let seed = 1; seed <= 40; seed++) {
      const dice = createDice(seed);
      const events = rollTurn(dice, 100);
      const mixed = events.flatMap((event) => (dice(4) === 0 ? [event, event] : [event]));
      for (let index = mixed.length - 1; index > 0; index--) {
        const other = Math.max(0, index - dice(20));
        [mixed[index], mixed[other]] = [mixed[other] as ThreadEvent, mixed[index] as ThreadEvent];
      }
      assert.deepEqual(read(mixed), read(events), `seed ${seed}`);
    }
  });

  it('says what it said, commentary and answer apart', () => {
    const turn = after(
      { type: 'text.delta', ...of, message_id: 'a', text: 'Let me ' },
      { type: 'text.delta', ...of, message_id: 'a', text: 'look.' },
      { type: 'message', ...of, message_id: 'a', content: [{ type: 'text', text: 'Let me look.' }], phase: 'commentary' },
      { type: 'thinking.delta', ...of, message_id: 'b', text: 'secret thoughts' },
      { type: 'text.delta', ...of, message_id: 'b', text: 'It is 4' },
    );
    assert.deepEqual(commentaryOf(turn), ['Let me look.']);
    assert.equal(answerOf(turn), 'It is 4');
    assert.equal(transcriptOf(turn), 'Let me look.\n\nIt is 4');
    assert.doesNotMatch(JSON.stringify(turn), /secret thoughts/);
  });

  it('says the answer that is kept, when what was streamed is another one', () => {
    const turn = after({ type: 'text.delta', ...of, message_id: 'a', text: 'draft' }, ended('completed', { result_text: 'final' }));
    assert.equal(answerOf(turn), 'final');
    assert.ok(isOver(turn));
  });

  it('waits for the other half of a character', () => {
    const half = after({ type: 'text.delta', ...of, message_id: 'a', text: 'a\ud83d' });
    assert.equal(answerOf(half), 'a');
    assert.equal(
      answerOf(takeEvent(half, { id: 3, event: 'text.delta', data: { type: 'text.delta', ...of, message_id: 'a', text: '\ude00\0' } })),
      'a😀',
    );
  });

  it('forgets what was discarded, and what was being written when its harness died', () => {
    const discarded = after(
      { type: 'text.delta', ...of, message_id: 'a', text: 'x' },
      { type: 'message.discarded', ...of, message_id: 'a', reason: '' },
    );
    assert.equal(transcriptOf(discarded), '');
    assert.equal(transcriptOf(after({ type: 'text.delta', ...of, message_id: 'a', text: 'x' }, { type: 'turn.started', ...of })), '');
  });

  it('has its steps, without what tools answered', () => {
    const turn = after(
      { type: 'tool_use', ...of, id: '1', name: 'Bash', input: { command: `echo ${'x'.repeat(1000)}` } },
      { type: 'tool_result', ...of, id: '1', content: [{ type: 'text', text: 'OUTPUT' }], is_error: true },
      { type: 'tool_use', ...of, id: '2', name: 'Read', input: { file_path: 'a.ts' } },
      { type: 'tool_use', ...of, parent_id: '2', id: '3', name: 'Read', input: { file_path: 'of a sub-agent' } },
    );
    assert.deepEqual(
      turn.steps.map(({ title, state }) => [title.slice(0, 12), state]),
      [
        ['Run: echo xx', 'failed'],
        ['Read: a.ts', 'running'],
      ],
    );
    assert.equal(turn.steps[0]?.details.length, 500);
    assert.ok((turn.steps[0]?.title.length ?? 99) <= 80);
    assert.doesNotMatch(JSON.stringify(turn), /OUTPUT|sub-agent/);
  });

  it('keeps the last steps of very many, and their number', () => {
    const turn = after(
      ...Array.from({ length: 250 }, (_, index): ThreadEventData => ({ type: 'tool_use', ...of, id: `${index}`, name: 'x', input: {} })),
    );
    assert.deepEqual([turn.steps.length, turn.earlierSteps, turn.steps[0]?.id], [200, 50, '50']);
  });

  it('has a plan, where the agent keeps one', () => {
    const todos = [{ content: 'a', status: 'completed' }, { content: 'b', status: 'in_progress' }, { content: 'c', status: 'pending' }, 7];
    const turn = after({ type: 'tool_use', ...of, id: '1', name: 'TodoWrite', input: { todos } });
    assert.deepEqual(turn.plan, [
      { title: 'a', state: 'done' },
      { title: 'b', state: 'running' },
      { title: 'c', state: 'pending' },
    ]);
    assert.deepEqual(turn.steps, []);
    assert.equal(readPlan('TodoWrite', { todos: 'x' }), undefined);
  });

  it('waits for a person: who decides gets the id, the step waits meanwhile', () => {
    const asks: ThreadEventData[] = [
      { type: 'tool_use', ...of, id: '1', name: 'Bash', input: { command: 'rm x' } },
      { type: 'approval.request', ...of, id: 'q', tool_use_id: '1', tool: 'Bash', input: { command: 'rm x' } },
      { type: 'approval.pending', ...of, id: 'q', approval_id: 'apr_1', gate: 'people', expires_at: '2026-01-01T00:00:00Z' },
    ];
    const turn = after(...asks);
    assert.deepEqual(turn.approvals, [
      { id: 'q', what: 'Run: rm x', stepId: '1', approvalId: 'apr_1', gate: 'people', expiresAt: '2026-01-01T00:00:00Z' },
    ]);
    assert.equal(turn.steps[0]?.state, 'waiting');
    const decided = after(...asks, { type: 'approval.resolved', ...of, id: 'q', allowed: true });
    assert.deepEqual([decided.approvals, decided.steps[0]?.state], [[], 'running']);
  });

  it('counts what people say meanwhile, not what they said before', () => {
    const stored = (id: string): ThreadEventData => ({ type: 'message.stored', message_id: id, role: 'user', parts: [], user_id: 'U1' });
    const turn = read(
      numbered([
        stored('1'),
        { type: 'execution.state', ...of, thread_key: 't', status: 'running' },
        stored('2'),
        stored('3'),
        { type: 'execution.steered', message_id: '3', content: [], user_id: 'U1' },
      ]),
    );
    assert.deepEqual(turn.arrived, [
      { messageId: '2', userId: 'U1', state: 'queued' },
      { messageId: '3', userId: 'U1', state: 'steered' },
    ]);
  });

  const endings: readonly [string, Turn, Turn['status'], RegExp | undefined][] = [
    ['completed', after(ended('completed', { result_text: 'x' })), 'completed', undefined],
    ['cancelled', after(ended('cancelled', { terminal_reason: 'cancelled' })), 'cancelled', undefined],
    ['released', after(ended('cancelled', { terminal_reason: 'released' })), 'interrupted', undefined],
    ['failed for a reason', after(ended('failed_permanent', { terminal_reason: 'budget_exceeded' })), 'failed', /budget/],
    [
      'failed after an error',
      after(
        { type: 'error', ...of, class: 'rate_limit', message: 'HTTP 429 key sk-1', fatal: true },
        ended('failed_permanent', { terminal_reason: 'harness_error', error_text: 'HTTP 429 key sk-1' }),
      ),
      'failed',
      /no more requests/,
    ],
    ['failed for what is new', after(ended('failed_permanent', { terminal_reason: 'something' })), 'failed', /could not go on/],
  ];
  for (const [name, turn, status, words] of endings) {
    it(`that ${name} is over, and says why in words for people`, () => {
      assert.equal(turn.status, status);
      assert.ok(isOver(turn));
      if (words === undefined) assert.equal(turn.problem, undefined);
      else assert.match(turn.problem?.words ?? '', words);
      assert.doesNotMatch(JSON.stringify(turn), /sk-1/);
    });
  }

  it('says what it waits for until it goes on', () => {
    const turn = after({ type: 'status', ...of, status: 'queued' });
    assert.equal(turn.waitsFor, 'room');
    assert.equal(takeEvent(turn, { id: 3, event: 'turn.started', data: { type: 'turn.started', ...of } }).waitsFor, null);
  });

  it('passes over what it does not know', () => {
    assert.equal(after({ type: 'from.the.future', ...of } as unknown as ThreadEventData).lastEventId, 2);
  });
});

describe('a tool in one line', () => {
  const cases: readonly [name: string, input: unknown, title: string, details: string][] = [
    ['Bash', { command: 'npm test\n  -- x', description: 'd' }, 'Run: npm test -- x', 'npm test\n  -- x'],
    ['shell', { command: ['ls', '-l'] }, 'Run: ls -l', 'ls -l'],
    ['mcp__github__search', { q: 1 }, 'github__search', '{"q":1}'],
    ['mcp:github/search', {}, 'github/search', ''],
    ['WebFetch', { url: 'https://a.b' }, 'Open: https://a.b', 'https://a.b'],
    ['x', null, 'x', 'null'],
    ['x', undefined, 'x', ''],
  ];
  for (const [name, input, title, details] of cases)
    it(`${name} ${JSON.stringify(input)}`, () => assert.deepEqual(describeTool(name, input), { title, details }));
});
