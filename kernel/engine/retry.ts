/** Retry policies: checked once, then asked how long to wait after an attempt. Pure. */
import { type Duration, type RetryPolicy, toMilliseconds } from '@centaur/sdk';
import { EngineError } from './errors.ts';
import type { StoredError } from './types.ts';

export interface ResolvedRetry {
  readonly maxAttempts: number;
  readonly backoff: 'fixed' | 'exponential';
  readonly delayMs: number;
  readonly factor: number;
  readonly maxDelayMs: number;
  readonly jitter: number;
  readonly nonRetryable: ReadonlySet<string>;
}

const FIELDS: readonly (keyof RetryPolicy)[] = ['maxAttempts', 'backoff', 'delay', 'factor', 'maxDelay', 'jitter', 'nonRetryable'];

/**
 * @param field what the policy belongs to; errors name it
 * @throws EngineError INVALID_REQUEST
 */
export function resolveRetry(policy: RetryPolicy | undefined, field: string): ResolvedRetry {
  const given = policy ?? {};
  for (const key of Object.keys(given)) {
    if (!FIELDS.includes(key as keyof RetryPolicy)) throw invalid(`${field}.${key}`, `unknown; use ${FIELDS.join(', ')}`);
  }
  const { backoff = 'exponential', nonRetryable = [] } = given;
  if (backoff !== 'fixed' && backoff !== 'exponential') throw invalid(`${field}.backoff`, 'expected "fixed" or "exponential"');
  if (!Array.isArray(nonRetryable) || nonRetryable.some((name) => typeof name !== 'string')) {
    throw invalid(`${field}.nonRetryable`, 'expected a list of error names or codes');
  }
  const asked = Object.values(given).some((value) => value !== undefined);
  const maxAttempts = given.maxAttempts ?? (asked ? 3 : 1);
  if (!Number.isInteger(maxAttempts) || maxAttempts < 1 || maxAttempts > 1000)
    throw invalid(`${field}.maxAttempts`, 'expected a whole number from 1 to 1000');
  return {
    maxAttempts,
    backoff,
    delayMs: duration(`${field}.delay`, given.delay ?? 1000),
    factor: inRange(`${field}.factor`, given.factor ?? 2, 1, 100),
    maxDelayMs: duration(`${field}.maxDelay`, given.maxDelay ?? 3_600_000),
    jitter: inRange(`${field}.jitter`, given.jitter ?? 0, 0, 1),
    nonRetryable: new Set(nonRetryable),
  };
}

/**
 * Milliseconds to wait before the next attempt; null when there is none.
 *
 * @param attempt the attempt that just failed, from 1
 * @param random 0 to 1; jitter takes up to that share off the delay
 */
export function nextDelay(retry: ResolvedRetry, attempt: number, error: StoredError, random: () => number): number | null {
  if (attempt >= retry.maxAttempts) return null;
  const names = [error.code, error.name ?? ''];
  if (names.includes('NON_RETRYABLE') || names.includes('NonRetryableError') || names.some((name) => retry.nonRetryable.has(name)))
    return null;
  const grown = retry.backoff === 'fixed' ? retry.delayMs : retry.delayMs * retry.factor ** (attempt - 1);
  const delay = Math.min(grown, retry.maxDelayMs);
  return Math.round(delay * (1 - retry.jitter * random()));
}

function duration(field: string, value: Duration): number {
  try {
    return toMilliseconds(value, field);
  } catch (error) {
    throw new EngineError('INVALID_REQUEST', (error as Error).message, { cause: error });
  }
}

function inRange(field: string, value: number, least: number, most: number): number {
  if (typeof value !== 'number' || !(value >= least && value <= most)) throw invalid(field, `expected a number from ${least} to ${most}`);
  return value;
}

function invalid(field: string, problem: string): EngineError {
  return new EngineError('INVALID_REQUEST', `${field}: ${problem}`);
}
