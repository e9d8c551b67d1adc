/** What of a harness's events is stored, and how. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NewEvent } from '@centaur/kernel/threads';
import type { HarnessEvent } from '../harness/index.ts';
import { createEventStream } from './stream.ts';

type Turns = Parameters<typeof createEventStream>[0];

const owner = { threadKey: 't', executionId: 'e', runId: 'r' };
const delta = (text: string): HarnessEvent => ({ type: 'text.delta', message_id: 'm', text });

/** Appends take a moment, as commits do. */
function record(fail?: number) {
  const batches: { events: readonly NewEvent[]; offset: number | undefined }[] = [];
  const kept: { id: string; name: string; text: string }[] = [];
  let calls = 0;
  const turns = {
    async append(_: unknown, events: readonly NewEvent[], offset?: number) {
      await new Promise((resolve) => setTimeout(resolve, 2));
      if (++calls === fail) throw new Error('refused');
      batches.push({ events, offset });
    },
    async keepAttachment(_: unknown, { id, name, data }: { id: string; name: string; data: Buffer }) {
      kept.push({ id, name, text: data.toString() });
    },
  } as unknown as Turns;
  return { batches, kept, turns };
}

test('the first is stored at once; what comes while it is under way is merged, in order, with the last place', async () => {
  const { batches, turns } = record();
  const stream = createEventStream(turns, owner);
  await stream.push([delta('a')], 1);
  for (let i = 2; i <= 50; i++) await stream.push([delta(`${i} `)], i);
  await stream.push([{ type: 'notice', text: 'over' }], 51);
  await stream.drained();
  assert.deepEqual(
    batches.map(({ offset }) => offset),
    [1, 51],
  );
  assert.deepEqual(
    batches[1]?.events.map(({ kind }) => kind),
    ['text.delta', 'notice'],
  );
  assert.equal(batches[1]?.events[0]?.data['text'], Array.from({ length: 49 }, (_, i) => `${i + 2} `).join(''));
  assert.ok(batches.every(({ events }) => events.every(({ data }) => data['execution_id'] === 'e')));
});

test('what is too large for a reader is cut, and whole in an attachment', async () => {
  const { batches, kept, turns } = record();
  const stream = createEventStream(turns, owner);
  const long = 'x'.repeat(900_000);
  await stream.push([{ type: 'tool_result', id: '../call\0', content: [{ type: 'text', text: long }], is_error: false }], 1);
  await stream.push([{ type: 'message', message_id: 'm', content: [{ type: 'text', text: long }], phase: 'final' }], 2);
  await stream.push([{ type: 'tool_use', id: 'c', name: 'write', input: { text: long } }], 3);
  await stream.drained();
  const events = batches.flatMap((batch) => batch.events);
  assert.deepEqual(
    events.map(({ kind }) => kind),
    ['tool_result', 'message', 'tool_use'],
  );
  for (const [i, { data }] of events.entries()) {
    assert.ok(JSON.stringify(data).length < 100_000, `${data['type'] as string}: ${JSON.stringify(data).length}`);
    assert.equal(data['attachment_id'], kept[i]?.id);
    assert.ok((kept[i]?.text.length ?? 0) >= 900_000);
    assert.match(kept[i]?.name ?? '', /^[A-Za-z0-9._-]+$/);
  }
});

test('after an append that failed nothing more is stored, and whoever waits is told', async () => {
  const { batches, turns } = record(2);
  const stream = createEventStream(turns, owner);
  await stream.push([delta('one')], 1);
  await stream.push([delta('two')], 2);
  await assert.rejects(stream.drained(), /refused/);
  await assert.rejects(stream.push([delta('three')], 3), /refused/);
  assert.equal(batches.length, 1);
});
