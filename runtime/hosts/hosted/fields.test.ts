import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NonRetryableError } from '@centaur/sdk';
import {
  childOptions,
  finite,
  plainFields,
  plainMetric,
  plainText,
  slackMessage,
  slackOptions,
  startedAgent,
  stepOptions,
  text,
  thrown,
  timeoutOf,
} from './fields.ts';

/** Runs what is in it when it is made a text or a number. */
const TRAP = { toString: () => assert.fail('made a text of it'), valueOf: () => assert.fail('made a number of it') };
const refuses = (read: () => unknown, message: RegExp): void =>
  assert.throws(read, (error: Error & { code?: unknown }) => error.code === 'INVALID_REQUEST' && message.test(error.message));

test('a text that is needed is a text of some length, or its field is named', () => {
  assert.equal(text('x'.repeat(256), 'step'), 'x'.repeat(256));
  for (const value of [undefined, null, '', 7, true, [], TRAP]) refuses(() => text(value, 'step'), /^step: expected text$/);
  refuses(() => text('x'.repeat(257), 'step'), /^step: at most 256 characters$/);
  refuses(() => text('abc', 'id', 2), /^id: at most 2 characters$/);
});

test('a time is a number of at least 0', () => {
  assert.equal(finite(0, 'timeout_ms'), 0);
  for (const value of [-1, Number.NaN, Infinity, '1', null, undefined, TRAP])
    refuses(() => finite(value, 'timeout_ms'), /^timeout_ms: expected a number of at least 0$/);
  assert.deepEqual([timeoutOf(undefined), timeoutOf(null), timeoutOf(1.5)], [{}, {}, { timeout: 1500 }]);
  refuses(() => timeoutOf('9'), /^timeout_seconds: /);
});

test('whatever should be a text becomes one without running what is in it', () => {
  const table: [unknown, string][] = [
    ['a', 'a'],
    [7, '7'],
    [false, 'false'],
    [null, ''],
    [undefined, ''],
    [['a'], ''],
    [TRAP, ''],
  ];
  for (const [value, expected] of table) assert.equal(plainText(value), expected);
});

test('fields of a log line are kept, or are told to be too much', () => {
  assert.deepEqual(plainFields({ n: 1 }, 7), { n: 1 });
  assert.deepEqual(plainFields({ n: 1 }, 6), { fields_dropped: 'too long' });
  const deep: unknown = JSON.parse(`${'['.repeat(100_000)}${']'.repeat(100_000)}`);
  assert.deepEqual(plainFields({ deep }, 1e6), { fields_dropped: 'too deep' });
  for (const value of [undefined, null, 'x', 7]) assert.deepEqual(plainFields(value, 7), {});
});

test('a metric has a number or none, and labels that are texts', () => {
  const metric = (fields: object) => plainMetric({ type: 'ctx.metric', run_id: 'r', ...fields } as never);
  assert.deepEqual(metric({ kind: 'counter', name: 'n', value: 2, labels: { a: 'x', b: 3, c: TRAP } }), {
    kind: 'counter',
    name: 'n',
    value: 2,
    labels: { a: 'x', b: '3', c: '' },
  });
  for (const fields of [{}, { kind: TRAP, name: TRAP, value: TRAP, labels: 'x' }, { value: '2', labels: null }])
    assert.deepEqual(metric(fields), { kind: '', name: '', value: Number.NaN, labels: {} });
});

test('what is left out of a step, or null, is left to the engine', () => {
  assert.deepEqual(stepOptions({}), {});
  assert.deepEqual(stepOptions({ retry: null, timeout_ms: null } as never), {});
  const retry = { max_attempts: 3, delay_ms: 1, backoff: 'fixed', factor: 2, jitter: 0.5, max_delay_ms: 9, non_retryable: ['E'] } as const;
  assert.deepEqual(stepOptions({ retry, timeout_ms: 5 }), {
    retry: { maxAttempts: 3, delay: 1, backoff: 'fixed', factor: 2, jitter: 0.5, maxDelay: 9, nonRetryable: ['E'] },
    timeout: 5,
  });
  refuses(() => stepOptions({ timeout_ms: -1 }), /^timeout_ms: /);
});

test('a child gets what is told of its queue, and nothing else of the message', () => {
  const start = { type: 'ctx.workflow.start', run_id: 'r', request_id: '1', workflow_name: 'other', input: {} } as const;
  assert.deepEqual(childOptions(start), {});
  assert.deepEqual(childOptions({ ...start, queue: null, priority: null, concurrency_key: null, run_at: null } as never), {});
  assert.deepEqual(childOptions({ ...start, queue: 'q', priority: 0, concurrency_key: '', run_at: 'soon' }), {
    queue: 'q',
    priority: 0,
    concurrencyKey: '',
    runAt: 'soon',
  });
});

test('an agent that is waited for has three names', () => {
  const agent = { execution_id: 'e', thread_key: 't', run_id: 'r' };
  assert.deepEqual(startedAgent({ ...agent, status: 'completed' }), agent);
  for (const value of [undefined, null, 7, {}]) refuses(() => startedAgent(value), /^agent\.execution_id: expected text$/);
  refuses(() => startedAgent({ ...agent, run_id: TRAP }), /^agent\.run_id: expected text$/);
});

test('of a post to Slack only what has its type is passed on', () => {
  const args = { thread_ts: '1.2', reply_broadcast: true, blocks: [], unfurl_links: false, unfurl_media: true };
  assert.deepEqual(slackOptions(args), { threadTs: '1.2', replyBroadcast: true, blocks: [], unfurlLinks: false, unfurlMedia: true });
  assert.deepEqual(slackOptions({ thread_ts: 1, reply_broadcast: 'yes', blocks: {}, unfurl_links: 0, unfurl_media: null, x: 1 }), {});
  assert.deepEqual(slackMessage({ channel: 'c', ts: '1', text: TRAP, blocks: TRAP }), { channel: 'c', ts: '1', text: '' });
  assert.deepEqual(slackMessage({ channel: 'c', ts: '1', text: 'x', blocks: [1] }), { channel: 'c', ts: '1', text: 'x', blocks: [1] });
  refuses(() => slackMessage({ channel: 'c', text: 'x' }), /^ts: expected text$/);
});

test('what was thrown keeps its name and code, as texts of some length', () => {
  const told = (info: unknown) => {
    const error = thrown(info as never) as Error & { code?: unknown };
    return [error.name, error.code, error.message];
  };
  assert.deepEqual(told({ name: 'TypeError', code: 'E_NO', message: 'no' }), ['TypeError', 'E_NO', 'no']);
  for (const info of [undefined, null, {}]) assert.deepEqual(told(info), ['Error', 'ERROR', '']);
  assert.deepEqual(told({ name: TRAP, code: 'c'.repeat(200), message: 7 }), ['', 'c'.repeat(128), '7']);
  const final = thrown({ name: 'E', code: 'E_NO', message: 'no', non_retryable: true });
  assert.ok(final instanceof NonRetryableError && final.code === 'E_NO');
  assert.ok(!(thrown({ name: 'E', code: 'E', message: 'no', non_retryable: 'yes' } as never) instanceof NonRetryableError));
});
