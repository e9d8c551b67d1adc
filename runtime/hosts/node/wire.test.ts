/**
 * The SDK declares what the API answers once more, since it imports nothing of ours. This file is where the two are
 * held together: it stops compiling when they part. It stands here because this room may import both.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type * as kernel from '@centaur/kernel/engine';
import type * as sdk from '@centaur/sdk';

/** What the kernel answers is what the client says it gets. */
type Answers<Kernel extends Sdk, Sdk> = [Kernel, Sdk];

export type Checked = [
  Answers<kernel.StartedRun, sdk.StartedRun>,
  Answers<kernel.RunSummary, sdk.RunSummary>,
  Answers<kernel.RunDetail, sdk.RunDetail>,
  Answers<kernel.RunEvent, sdk.RunEvent>,
  Answers<kernel.EmittedEvent, sdk.EmittedEvent>,
  Answers<kernel.ScheduleView, sdk.ScheduleView>,
  Answers<kernel.Page<kernel.RunSummary>, sdk.Page<sdk.RunSummary>>,
  Answers<kernel.RunStatus, sdk.RunStatus>,
  Answers<sdk.RunStatus, kernel.RunStatus>,
];

test('the client knows every status that the engine has', async () => {
  const { RUN_STATUSES } = await import('@centaur/kernel/engine');
  const known: Record<sdk.RunStatus, true> = {
    queued: true,
    running: true,
    sleeping: true,
    waiting: true,
    stuck: true,
    completed: true,
    failed: true,
    cancelled: true,
  };
  assert.deepEqual(RUN_STATUSES.toSorted(), Object.keys(known).toSorted());
});
