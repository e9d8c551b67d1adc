/** Turns on real sandboxes, a real firewall, real processes and the scripted model. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTestAgents, type TestAgents } from '../../test/support/agents.ts';
import { eventually } from '../../test/support/wait.ts';
import { createReplays } from '../replay/index.ts';
import { standIn, TURN_WORKFLOW, withBuiltIn } from './index.ts';

type Events = Awaited<ReturnType<TestAgents['events']>>;

/** What a reader would see of the answer while it streams. */
function textOf(events: Events, executionId: string): string {
  return events
    .filter(({ kind, data }) => kind === 'text.delta' && data['execution_id'] === executionId)
    .map(({ data }) => data['text'] as string)
    .join('');
}

const toolOutput = (events: Events): string =>
  JSON.stringify(events.filter(({ kind }) => kind === 'tool_result').map(({ data }) => data['content']));

test('a turn answers, streams, and leaves its harness for the next one', async () => {
  await using t = await createTestAgents();
  const first = await t.say('a', 'say: hello there');
  const execution = await t.ended(first);
  assert.deepEqual(
    [execution.status, execution.terminal_reason, execution.result_text, execution.error_text],
    ['completed', 'completed', 'hello there', null],
  );
  const events = await t.events('a');
  assert.deepEqual(
    events.map(({ id }) => id),
    events.map((_, i) => i + 1),
  );
  assert.equal(textOf(events, first), 'hello there');
  assert.deepEqual(
    events.filter(({ kind }) => kind === 'turn.completed').map(({ data }) => [data['status'], data['result_text']]),
    [['completed', 'hello there']],
  );
  assert.deepEqual([events.at(-1)?.kind, events.at(-1)?.data['status']], ['execution_state', 'completed']);
  assert.ok((execution.usage as { input: number }).input > 0);
  // what its stream says it took is counted
  const { rows: counted } = await t.worker.store.query<{ model: string; input: number; output: number }>(
    'select model, input, output from usage where execution_id = $1',
    [first],
  );
  const { input, output } = execution.usage as { input: number; output: number };
  assert.deepEqual([counted.length, counted[0]?.input, counted[0]?.output], [1, input, output]);

  const second = await t.say('a', 'recall');
  assert.match((await t.ended(second)).result_text ?? '', /hello there/);
  assert.equal((await t.worker.sandboxes.list()).length, 1);
});

test('a turn’s run is replayed by a process that runs no turns', async () => {
  await using t = await createTestAgents();
  const { store } = t.worker;
  assert.equal((await t.ended(await t.say('r', 'say: once'))).result_text, 'once');
  const { run_id } = await eventually(async () => {
    const { rows } = await store.query<{ run_id: string }>('select run_id from workflow_runs_finished where workflow_name = $1', [
      TURN_WORKFLOW,
    ]);
    return rows[0];
  });
  const files = { get: () => undefined, list: () => [], onChange: () => () => undefined };
  const replays = createReplays({ store, registry: withBuiltIn(files, () => [standIn()]), dirs: () => [] });
  const report = await replays.replay({ runId: run_id, workflow: TURN_WORKFLOW, version: '1' }, { code: 'same' });
  assert.deepEqual([report.verdict, report.calls], ['same', { recorded: 1, replayed: 1 }], JSON.stringify(report.difference));
});

test('a sandbox has placeholders, and the key only leaves through the firewall, which takes it out of answers', async () => {
  await using t = await createTestAgents();
  const execution = await t.ended(await t.say('b', 'run: env; cat /proc/*/environ 2>/dev/null | tr "\\0" "\\n"'));
  assert.equal(execution.status, 'completed', execution.error_text ?? '');
  const events = await t.events('b');
  assert.match(toolOutput(events), /MODEL_KEY=/);
  const ask =
    `fetch(process.env.ANTHROPIC_BASE_URL + "/v1/messages", { method: "POST", headers: { "x-api-key": process.env.ANTHROPIC_API_KEY,
    "content-type": "application/json" }, body: JSON.stringify({ model: "m", max_tokens: 9, messages: [{ role: "user", content: "echo-key" }] }) })
    .then((answer) => answer.text()).then(console.log)`.replaceAll('\n', ' ');
  await t.ended(await t.say('b', `run: node -e '${ask}'`));
  assert.match(toolOutput(await t.events('b')), /The key was \*{8}/);
  assert.ok(!JSON.stringify(await t.events('b')).includes(t.key), 'the key is in an event');
  const { rows } = await t.trust.store.query<{ text: string }>(`select string_agg(entry, ' ') as text from audit_log`);
  assert.ok(!(rows[0]?.text ?? '').includes(t.key), 'the key is in the log');
  const direct = await t.ended(await t.say('b', `run: env -u HTTP_PROXY -u http_proxy curl -sS -m 3 ${t.model.url}/healthz; echo code $?`));
  assert.equal(direct.status, 'completed');
  assert.match(toolOutput(await t.events('b')), /code [1-9]/);
});

test('a worker that is killed in a turn loses nothing and repeats nothing: the next one reads on', async () => {
  await using t = await createTestAgents({ idle: true, leaseMs: 2000 });
  const victim = await t.fork();
  const id = await t.say('k', 'slow: 60');
  await eventually(async () => (await t.events('k')).filter(({ kind }) => kind === 'text.delta').length > 3);
  await victim.kill();
  const asked = t.model.requests.length;
  await t.another();
  const execution = await t.ended(id);
  assert.equal(execution.status, 'completed', execution.error_text ?? '');
  const events = await t.events('k');
  assert.equal(textOf(events, id), execution.result_text);
  assert.equal(t.model.requests.length, asked, 'the model was asked again');
  assert.equal(events.filter(({ kind }) => kind === 'turn.completed').length, 1);
  const { rows: counted } = await t.worker.store.query<{ output: number }>('select output from usage where execution_id = $1', [id]);
  assert.deepEqual(
    counted.map(({ output }) => output),
    [(execution.usage as { output: number }).output],
  );
  assert.equal((await t.ended(await t.say('k', 'say: next'))).result_text, 'next');
});

test('a sandbox that dies before a tool ran costs only time; after one, the turn ends and says so', async () => {
  await using t = await createTestAgents();
  const early = await t.say('e', 'slow: 80');
  await eventually(async () => (await t.events('e')).some(({ kind }) => kind === 'text.delta'));
  await t.worker.sandboxes.stop((await t.worker.sandboxes.list())[0]?.id as string);
  const retried = await t.ended(early);
  assert.equal(retried.status, 'completed', retried.error_text ?? '');
  assert.equal((await t.events('e')).filter(({ kind }) => kind === 'notice').length, 1);

  const late = await t.say('f', 'run: sleep 30');
  await eventually(async () => (await t.events('f')).some(({ kind }) => kind === 'tool_use'));
  const view = (await t.worker.sandboxes.list()).find(({ labels }) => labels['thread_key'] === 'f');
  await t.worker.sandboxes.stop(view?.id as string);
  const lost = await t.ended(late);
  assert.deepEqual([lost.status, lost.terminal_reason], ['failed_permanent', 'sandbox_lost']);
  assert.match(lost.error_text ?? '', /a tool had run/);
  assert.equal((await t.ended(await t.say('f', 'say: on'))).result_text, 'on');
});
