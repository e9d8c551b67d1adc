/** What a case must have come to. */
import { deepEqual, equal } from 'node:assert/strict';
import type { Case } from './cases.ts';
import type { End } from './play.ts';
import { type Story, namesOf } from './story.ts';

export function checkEnd(which: Case, { how, message }: End): void {
  const seen = how === 'error' ? `error: ${String(message?.message)}` : how;
  if (which.error === undefined) {
    equal(seen, 'result');
    if (which.result !== undefined) deepEqual(message?.result, which.result);
    return;
  }
  equal(how, 'error', `it ended with ${JSON.stringify(message)}`);
  const error = message?.error as Record<string, unknown>;
  for (const [field, value] of Object.entries(which.error)) deepEqual(error[field], value, `error.${field} of ${JSON.stringify(error)}`);
}

export function checkCheckpoints(which: Case, story: Story): void {
  const names = namesOf(story);
  if (which.anyOrder === true) deepEqual(names.toSorted(), which.checkpoints.toSorted());
  else deepEqual(names, which.checkpoints);
}
