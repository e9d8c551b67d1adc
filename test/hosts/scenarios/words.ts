/** What a call's message says of it. */
import { deepEqual, ok } from 'node:assert/strict';
import { type Scenario, playCase } from '../lab.ts';
import type { Message } from '../process.ts';

interface Words {
  readonly name: string;
  readonly workflow: string;
  readonly case: string;
  /** The first message that says what is asked for, or one that amounts to the same. */
  readonly type: RegExp;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly language?: string;
}

const WORDS: readonly Words[] = [
  {
    name: 'a step says how it is retried',
    workflow: 'steps',
    case: 'retry',
    type: /^ctx\.step\.get$/,
    fields: { step: 'flaky', 'retry.max_attempts': 8, 'retry.delay_ms': 10_000 },
  },
  { name: 'a step says how long it may take', workflow: 'steps', case: 'timeout', type: /^ctx\.step\.get$/, fields: { timeout_ms: 40 } },
  {
    name: 'a failure says what was thrown',
    workflow: 'steps',
    case: 'exhausted',
    type: /^ctx\.step\.fail$/,
    fields: { 'error.name': 'Broken', 'error.message': 'it is broken', 'error.non_retryable': false },
  },
  {
    name: 'a failure says that it is final',
    workflow: 'steps',
    case: 'non_retryable',
    type: /^ctx\.step\.fail$/,
    fields: { 'error.name': 'NonRetryableError', 'error.non_retryable': true },
  },
  { name: 'a sleep says how long', workflow: 'waits', case: 'sleep', type: /^ctx\.sleep$/, fields: { step: 'nap', duration_seconds: 30 } },
  {
    name: 'a wait says for what, and how long',
    workflow: 'waits',
    case: 'timeout',
    type: /^ctx\.event\.wait$/,
    fields: { step: 'approval', event_type: 'never', timeout_seconds: 60 },
  },
  {
    name: 'a wait says whose event it is',
    workflow: 'waits',
    case: 'event',
    type: /^ctx\.event\.wait$/,
    fields: { event_type: 'approved', correlation_id: 'order-1', timeout_seconds: undefined },
  },
  {
    name: 'the start of a child says which, and with what',
    workflow: 'children',
    case: 'start',
    type: /^ctx\.workflow\.start$/,
    fields: { step: 'child', workflow_name: 'other', input: { n: 1 } },
  },
  {
    name: 'the wait for a child says for which run',
    workflow: 'children',
    case: 'start',
    type: /^ctx\.workflow\.wait$/,
    fields: { step: 'child.end', child_run_id: 'child:child' },
  },
  {
    name: 'a turn says what the agent is told, and where',
    workflow: 'agents',
    case: 'turn',
    type: /^ctx\.agent(?:\.start|_turn)$/,
    fields: { 'args.text': 'What now?', 'args.thread_key': 'crew', 'args.metadata': { of: 'a test' } },
  },
  {
    name: 'the wait for a turn hands back what its start gave',
    workflow: 'agents',
    case: 'start',
    type: /^ctx\.agent\.wait$/,
    fields: { step: 'writer.end', agent: { execution_id: 'execution:writer', thread_key: 'thread:writer', run_id: 'turn:writer' } },
  },
  {
    name: 'a tool’s call says which method, and with what',
    workflow: 'outside',
    case: 'tool',
    type: /^ctx\.call_tool$/,
    fields: { tool: 'clock', method: 'now', args: { zone: 'UTC' } },
  },
  {
    name: 'a post says where, and what',
    workflow: 'outside',
    case: 'slack',
    type: /^ctx\.post_to_slack$/,
    fields: { channel: 'ops', text: 'It begins.' },
  },
  {
    name: 'a question to people says what it is about',
    workflow: 'outside',
    case: 'approval',
    type: /^ctx\.approval$/,
    fields: {
      step: 'sign off',
      summary: 'Refund 20 EUR?',
      gate: 'finance',
      tool: 'bank.refund',
      args: { amount: 20 },
      expires_seconds: 7200,
    },
  },
  {
    name: 'a change of a post says which one',
    workflow: 'outside',
    case: 'slack',
    type: /^ctx\.update_slack$/,
    fields: { message: { channel: 'ops', ts: '1.14', text: 'It ends.' } },
  },
  {
    name: 'a metric says of which kind it is',
    workflow: 'outside',
    case: 'metric',
    type: /^ctx\.metric$/,
    fields: { kind: 'counter', name: 'tests_begun', value: 1, labels: { of: 'hosts' } },
    language: 'python',
  },
];

export const wordScenarios: readonly Scenario[] = WORDS.map((words) => ({
  area: 'words',
  name: words.name,
  ...(words.language === undefined ? {} : { language: words.language }),
  async run({ shared }) {
    const { messages } = await playCase(shared, words);
    const message = messages.find(({ type }) => words.type.test(type));
    ok(message !== undefined, `there is no message ${words.type.source}`);
    const said = Object.fromEntries(Object.keys(words.fields).map((path) => [path, at(message, path)]));
    deepEqual(said, words.fields);
  },
}));

/** What is not said may be null, too. */
function at(message: Message, path: string): unknown {
  let value: unknown = message;
  for (const key of path.split('.')) value = (value as Readonly<Record<string, unknown>> | undefined)?.[key];
  return value ?? undefined;
}
