/** More of turns on real sandboxes: what clients do to them, and what goes wrong in them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTestAgents, type TestAgents } from '../../test/support/agents.ts';
import { eventually } from '../../test/support/wait.ts';

type Events = Awaited<ReturnType<TestAgents['events']>>;

/** What a reader would see of the answer while it streams. */
function textOf(events: Events, executionId: string): string {
  return events
    .filter(({ kind, data }) => kind === 'text.delta' && data['execution_id'] === executionId)
    .map(({ data }) => data['text'] as string)
    .join('');
}

/** Ends the command of a turn that waits for it. */
async function goOn({ worker: { sandboxes } }: TestAgents): Promise<void> {
  const [view] = await sandboxes.list();
  await (await sandboxes.open(view?.id as string))?.writeFile('/workspace/go', '');
}

const toolOutput = (events: Events): string =>
  JSON.stringify(events.filter(({ kind }) => kind === 'tool_result').map(({ data }) => data['content']));

test('threads do not see each other', async () => {
  await using t = await createTestAgents();
  await t.ended(await t.say('one', 'run: echo secret-of-one > /workspace/note; ls /workspace'));
  await t.ended(await t.say('two', 'run: ls -la /workspace /home; cat /workspace/note'));
  assert.doesNotMatch(toolOutput(await t.events('two')), /secret-of-one/);
  const views = await t.worker.sandboxes.list();
  assert.equal(new Set(views.map(({ source }) => source)).size, 2);
});

test('turns of one thread wait for each other, in order', async () => {
  await using t = await createTestAgents();
  const ids = [await t.say('q', 'slow: 10'), await t.say('q', 'say: second'), await t.say('q', 'say: third')];
  for (const id of ids) assert.equal((await t.ended(id)).status, 'completed');
  const states = (await t.events('q')).filter(
    ({ kind, data }) => kind === 'execution_state' && ['running', 'completed'].includes(data['status'] as string),
  );
  assert.deepEqual(
    states.map(({ data }) => `${ids.indexOf(data['execution_id'] as string)} ${data['status'] as string}`),
    ['0 running', '0 completed', '1 running', '1 completed', '2 running', '2 completed'],
  );
});

test('a cancelled turn stops within a moment, in its words or in a tool, and the thread goes on', async () => {
  await using t = await createTestAgents();
  for (const [text, kind] of [
    ['slow: 3000', 'text.delta'],
    ['run: sleep 60', 'tool_use'],
  ] as const) {
    const id = await t.say('c', text);
    await eventually(async () => (await t.events('c')).some((event) => event.kind === kind && event.data['execution_id'] === id));
    const asked = performance.now();
    await t.threads.cancel(id);
    const execution = await t.ended(id);
    assert.deepEqual([execution.status, execution.terminal_reason], ['cancelled', 'cancelled'], text);
    assert.ok(performance.now() - asked < 40_000, `${text} took ${performance.now() - asked} ms`);
  }
  assert.equal((await t.ended(await t.say('c', 'say: still here'))).result_text, 'still here');
  assert.equal((await t.worker.sandboxes.list()).length, 1);
});

test('what is said to a running turn is part of it', async () => {
  await using t = await createTestAgents();
  const id = await t.say('s', 'run: until test -e /workspace/go; do sleep 0.05; done');
  await eventually(async () => (await t.events('s')).some(({ kind }) => kind === 'tool_use'));
  await t.threads.steer(id, { content_blocks: [{ type: 'text', text: 'say: steered' }] });
  // it has come to the harness before the command ends
  const [view] = await t.worker.sandboxes.list();
  const harness = await (await t.worker.sandboxes.open(view?.id ?? ''))?.process(view?.processes[0] ?? '');
  for await (const entry of harness?.journal() ?? []) if (entry.kind === 'in' && entry.data.includes('steered')) break;
  await goOn(t);
  const execution = await t.ended(id);
  assert.equal(execution.status, 'completed');
  assert.match(textOf(await t.events('s'), id), /steered/);
});

test('a thread whose sandbox is gone goes on in a fresh one, with what it knew', async () => {
  await using t = await createTestAgents();
  await t.ended(await t.say('r', 'say: the word is marzipan'));
  const [before] = await t.worker.sandboxes.list();
  await t.worker.sandboxes.stop(before?.id as string);
  assert.match((await t.ended(await t.say('r', 'recall'))).result_text ?? '', /marzipan/);
  const [after] = await t.worker.sandboxes.list();
  assert.notEqual(after?.id, before?.id);
});

test('a worker that stops hands its turn over at once', async () => {
  await using t = await createTestAgents({ idle: true });
  const leaving = await t.another();
  const id = await t.say('d', 'slow: 600');
  await eventually(async () => (await t.events('d')).some(({ kind }) => kind === 'text.delta'));
  const staying = await t.another();
  leaving.turns.detach();
  await leaving.engine.drain(60_000);
  assert.equal((await t.threads.getExecution(id)).status, 'running', 'it waited for the turn');
  const execution = await t.ended(id);
  assert.equal(execution.status, 'completed', execution.error_text ?? '');
  assert.equal(textOf(await t.events('d'), id), execution.result_text);
  assert.equal((await staying.sandboxes.list()).length, 1);
});

test('a harness that is missing, has no key or no model ends its turn with the reason', async () => {
  await using t = await createTestAgents();
  const missing = await t.ended(await t.say('m', 'say: hi', { harness: 'amp' }));
  assert.equal(missing.status, 'failed_permanent');
  assert.match(missing.error_text ?? '', /AMP_API_KEY|amp/);
  const refused = await t.ended(await t.say('n', 'error: 401'));
  assert.deepEqual([refused.status, refused.terminal_reason], ['failed_permanent', 'harness_auth_failed']);
  const overloaded = await t.ended(await t.say('n', 'error: 500'));
  assert.deepEqual([overloaded.status, overloaded.terminal_reason], ['failed_permanent', 'harness_error']);
  assert.equal((await t.ended(await t.say('n', 'say: fine'))).result_text, 'fine');
});

test('a tool that says too much is shortened in the stream', async () => {
  await using t = await createTestAgents();
  await t.ended(await t.say('l', 'run: seq 1 60000'));
  const result = (await t.events('l')).find(({ kind }) => kind === 'tool_result');
  const shown = JSON.stringify(result?.data['content']);
  assert.ok(shown.length < 100_000 && shown.includes('60000') && !shown.includes('\\n30000\\n'), `${shown.length}`);
});

test('a key that a model says back in its stream is blanked, and the thread goes on', async () => {
  await using t = await createTestAgents();
  const execution = await t.ended(await t.say('e', 'echo-key'));
  assert.equal(execution.status, 'completed', execution.error_text ?? '');
  assert.match(execution.result_text ?? '', /The key was .{0,3}\*{8}/);
  assert.ok(!JSON.stringify(await t.events('e')).includes(t.key.slice(8)), 'the key is in an event');
  assert.equal((await t.ended(await t.say('e', 'say: still here'))).result_text, 'still here');
});

test('idle and released sandboxes are ended, busy ones are not', async () => {
  await using t = await createTestAgents();
  await t.ended(await t.say('i', 'say: x'));
  assert.equal(await t.worker.turns.sweep(), 0);
  await t.threads.release({ thread_key: 'i' });
  assert.equal(await t.worker.turns.sweep(), 1);
  assert.deepEqual(await t.worker.sandboxes.list(), []);
  const { rows } = await t.trust.store.query<{ n: number }>(
    'select count(*)::int as n from leases where revoked_at is null and expires_at > now()',
  );
  assert.equal(rows[0]?.n, 0);
  assert.match((await t.ended(await t.say('i', 'recall'))).result_text ?? '', /x/);
});

test('a command of the demo harness waits for what it has started, and for nothing else', async () => {
  await using t = await createTestAgents();
  const { result_text } = await t.ended(await t.say('a', 'run: (sleep 0.1; echo first) & wait; echo second'));
  assert.equal(result_text, 'The tool said:\nfirst\nsecond');
});

test('a harness that goes silent is stopped at its deadline', async () => {
  await using t = await createTestAgents({ deadlines: { silenceMs: 1500, graceMs: 1000 } });
  const execution = await t.ended(await t.say('h', 'run: sleep 40'));
  assert.deepEqual([execution.status, execution.terminal_reason], ['failed_permanent', 'silence_deadline_exceeded']);
});
