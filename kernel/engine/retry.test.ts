import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nextDelay, resolveRetry } from './retry.ts';

const error = { code: 'ERROR', message: 'x', name: 'TypeError' };

test('delays grow, are capped, and jitter takes a share off', () => {
  const retry = resolveRetry({ maxAttempts: 5, delay: 100, factor: 3, maxDelay: 500 }, 'retry');
  assert.deepEqual(
    [1, 2, 3, 4, 5].map((attempt) => nextDelay(retry, attempt, error, Math.random)),
    [100, 300, 500, 500, null],
  );
  assert.equal(
    nextDelay(resolveRetry({ delay: 100, jitter: 0.5 }, 'retry'), 1, error, () => 1),
    50,
  );
  assert.equal(
    nextDelay(resolveRetry({ delay: 100, backoff: 'fixed' }, 'retry'), 2, error, () => 0),
    100,
  );
});

test('no policy means one attempt, and listed names or codes end it', () => {
  assert.equal(
    nextDelay(resolveRetry(undefined, 'retry'), 1, error, () => 0),
    null,
  );
  assert.equal(
    nextDelay(resolveRetry({ nonRetryable: ['TypeError'] }, 'retry'), 1, error, () => 0),
    null,
  );
  assert.equal(
    nextDelay(resolveRetry({}, 'retry'), 1, { ...error, code: 'NON_RETRYABLE' }, () => 0),
    null,
  );
});

test('a bad policy is refused with its field', () => {
  assert.throws(() => resolveRetry({ maxAttempts: 0 }, 'retry of step "a"'), /retry of step "a"\.maxAttempts/);
  assert.throws(() => resolveRetry({ delay: 'soon' }, 'retry'), /retry\.delay/);
  assert.throws(() => resolveRetry({ jitter: 2 }, 'retry'), /retry\.jitter/);
  assert.throws(() => resolveRetry({ attempts: 2 } as never, 'retry'), /retry\.attempts: unknown/);
});
