import assert from 'node:assert/strict';
import { test } from 'node:test';
import { holds, judge } from './proof.ts';
import type { Request } from './service.ts';

const request = (step: string, at: number, idempotencyKey = `run/${step}`): Request => ({
  step,
  at,
  idempotencyKey,
  answered: true,
});
const kill = (at: number, ...completed: string[]) => ({ at, completed: new Set(completed) });
const verdicts = (...args: Parameters<typeof judge>) => judge(...args).map((finding) => finding.verdict);

test('steps that were asked for once hold', () => {
  const findings = judge(['a', 'b'], [request('a', 1), request('b', 20)], [kill(10, 'a')]);
  assert.deepEqual(
    findings.map((each) => each.verdict),
    ['once', 'once'],
  );
  assert.deepEqual(
    findings.map((each) => each.completedBeforeKill),
    [1, undefined],
  );
  assert.ok(holds(findings));
});

test('the step in flight at a kill may be asked for again, once per kill', () => {
  const findings = judge(['a'], [request('a', 1), request('a', 11), request('a', 21)], [kill(10), kill(20)]);
  assert.deepEqual(findings[0], {
    step: 'a',
    requests: 3,
    completedBeforeKill: undefined,
    inFlightAtKill: [1, 2],
    verdict: 'in flight',
  });
  assert.ok(holds(findings));
});

test('a completed step that is asked for again is found', () => {
  assert.deepEqual(verdicts(['a'], [request('a', 1), request('a', 11)], [kill(10, 'a')]), ['REPEATED']);
  assert.ok(!holds(judge(['a'], [request('a', 1), request('a', 11)], [kill(10, 'a')])));
});

test('a step that is asked for again without a kill in between is found', () => {
  assert.deepEqual(verdicts(['a'], [request('a', 1), request('a', 2)], [kill(10, 'a')]), ['REPEATED']);
  assert.deepEqual(verdicts(['a'], [request('a', 11), request('a', 12)], [kill(10)]), ['REPEATED']);
});

test('a second try under another idempotency key is found', () => {
  assert.deepEqual(verdicts(['a'], [request('a', 1), request('a', 11, 'other')], [kill(10)]), ['REPEATED']);
});

test('a step that was never asked for is found', () => {
  assert.deepEqual(verdicts(['a'], [], []), ['MISSING']);
});
