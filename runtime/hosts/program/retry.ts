/** Retry policies as the worker is told them. What they mean is its business; what cannot be meant is refused here. */
import type { RetryPolicy } from '../../../sdk/src/context.ts';
import { type Duration, toMilliseconds } from '../../../sdk/src/duration.ts';
import type { HostRetry } from '../protocol/messages.ts';
import { EngineError } from './values.ts';

const FIELDS: readonly (keyof RetryPolicy)[] = ['maxAttempts', 'backoff', 'delay', 'factor', 'maxDelay', 'jitter', 'nonRetryable'];

/**
 * @param field what the policy belongs to; errors name it
 * @throws EngineError INVALID_REQUEST
 */
export function toHostRetry(policy: RetryPolicy, field: string): HostRetry & { readonly jitter?: number } {
  for (const key of Object.keys(policy)) {
    if (!FIELDS.includes(key as keyof RetryPolicy)) throw invalid(`${field}.${key}`, `unknown; use ${FIELDS.join(', ')}`);
  }
  const { maxAttempts, backoff, delay, factor, maxDelay, jitter, nonRetryable } = policy;
  if (backoff !== undefined && backoff !== 'fixed' && backoff !== 'exponential')
    throw invalid(`${field}.backoff`, 'expected "fixed" or "exponential"');
  if (nonRetryable !== undefined && (!Array.isArray(nonRetryable) || nonRetryable.some((name) => typeof name !== 'string')))
    throw invalid(`${field}.nonRetryable`, 'expected a list of error names or codes');
  if (maxAttempts !== undefined && (!Number.isInteger(maxAttempts) || maxAttempts < 1 || maxAttempts > 1000))
    throw invalid(`${field}.maxAttempts`, 'expected a whole number from 1 to 1000');
  return {
    ...(maxAttempts === undefined ? {} : { max_attempts: maxAttempts }),
    ...(delay === undefined ? {} : { delay_ms: milliseconds(`${field}.delay`, delay) }),
    ...(backoff === undefined ? {} : { backoff }),
    ...(factor === undefined ? {} : { factor: inRange(`${field}.factor`, factor, 1, 100) }),
    ...(maxDelay === undefined ? {} : { max_delay_ms: milliseconds(`${field}.maxDelay`, maxDelay) }),
    ...(jitter === undefined ? {} : { jitter: inRange(`${field}.jitter`, jitter, 0, 1) }),
    ...(nonRetryable === undefined ? {} : { non_retryable: nonRetryable }),
  };
}

function milliseconds(field: string, value: Duration): number {
  try {
    return toMilliseconds(value, field);
  } catch (error) {
    throw new EngineError('INVALID_REQUEST', (error as Error).message);
  }
}

function inRange(field: string, value: number, least: number, most: number): number {
  if (typeof value !== 'number' || !(value >= least && value <= most)) throw invalid(field, `expected a number from ${least} to ${most}`);
  return value;
}

function invalid(field: string, problem: string): EngineError {
  return new EngineError('INVALID_REQUEST', `${field}: ${problem}`);
}
