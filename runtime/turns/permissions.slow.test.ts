/** What a harness asks before it runs a tool: the policy answers, or a person. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { castVote, listApprovals, publishPolicy } from '../../kernel/policy/index.ts';
import { createTestAgents, type TestAgents } from '../../test/support/agents.ts';
import { person } from '../../test/support/people.ts';
import { eventually } from '../../test/support/wait.ts';

const asking = (options: Parameters<typeof createTestAgents>[0] = {}) => createTestAgents({ approvals: 'ask', ...options });

const kinds = async (t: TestAgents, thread: string) => (await t.events(thread)).map(({ kind }) => kind);

async function pending(t: TestAgents) {
  return eventually(async () => (await listApprovals(t.trust.store, { state: 'pending' })).items[0]);
}

const decide = (t: TestAgents, id: string, verdict: 'approve' | 'deny', reason = 'the test says so') =>
  castVote(t.trust.installation, person('ann'), id, { verdict, reason, channel: 'api' });

async function publish(t: TestAgents, rules: string): Promise<void> {
  const text = `version: 1\ndefault: deny\nrules:\n  - {id: model, host: "*", effect: allow, when: request.credentialed}\n${rules}`;
  await publishPolicy(t.trust.installation, 'user:ann', { text, message: 'test' });
}

const toolOutput = async (t: TestAgents, thread: string) =>
  JSON.stringify((await t.events(thread)).filter(({ kind }) => kind === 'tool_result').map(({ data }) => data['content']));

test('a tool waits until a person has approved it, and runs then', async () => {
  await using t = await asking({ deadlines: { silenceMs: 15_000 } });
  const id = await t.say('a', 'run: echo it-has-run');
  const approval = await pending(t);
  assert.deepEqual([approval.gate, approval.rule, approval.principal, approval.lease_id], ['default', 'risky-tools', 'thread:a', null]);
  const summary = approval.summary as Record<string, unknown>;
  assert.deepEqual([summary['tool'], summary['risk'], summary['thread']], ['demo.bash', 'destructive', 'a']);
  assert.match(summary['input'] as string, /echo it-has-run/);
  const told = await eventually(async () => (await t.events('a')).find(({ kind }) => kind === 'approval_pending'));
  assert.deepEqual([told.data['approval_id'], told.data['execution_id'], told.data['gate']], [approval.approval_id, id, 'default']);
  // longer than a harness may be silent that waits for nobody
  await new Promise((resolve) => setTimeout(resolve, 17_500));
  assert.equal((await t.threads.getExecution(id)).status, 'running');
  assert.doesNotMatch(await toolOutput(t, 'a'), /it-has-run/);
  await decide(t, approval.approval_id, 'approve');
  const execution = await t.ended(id);
  assert.equal(execution.status, 'completed', execution.error_text ?? '');
  assert.match(await toolOutput(t, 'a'), /it-has-run/);
  const told2 = (await t.events('a')).filter(({ kind }) => kind.startsWith('approval'));
  assert.deepEqual(
    told2.map(({ kind }) => kind),
    ['approval.request', 'approval_pending', 'approval.resolved'],
  );
  assert.equal(told2[2]?.data['allowed'], true);
  assert.equal((await listApprovals(t.trust.store)).items[0]?.state, 'consumed');
});

test('a denial is told to the agent with its reason, and the turn goes on', async () => {
  await using t = await asking();
  const id = await t.say('d', 'run: echo it-has-run');
  await decide(t, (await pending(t)).approval_id, 'deny', 'not on a Friday');
  const execution = await t.ended(id);
  assert.equal(execution.status, 'completed', execution.error_text ?? '');
  const output = await toolOutput(t, 'd');
  assert.match(output, /not on a Friday/);
  assert.doesNotMatch(output, /it-has-run/);
});

test('what the policy allows or denies nobody is asked about, and the log has it', async () => {
  await using t = await asking();
  await publish(
    t,
    `  - {id: echo, tool: "demo.*", effect: allow, when: 'args.command.startsWith("echo ")', limit: {key: principal, max: 1, per: 30d}}
  - {id: no-rm, tool: "*.bash", effect: deny, when: 'args.command.contains("rm ")', message: "Nothing is deleted here."}
`,
  );
  assert.equal((await t.ended(await t.say('p', 'run: echo fine'))).status, 'completed');
  assert.match(await toolOutput(t, 'p'), /fine/);
  assert.equal((await t.ended(await t.say('p', 'run: rm -rf /workspace'))).status, 'completed');
  assert.match(await toolOutput(t, 'p'), /Nothing is deleted here/);
  assert.deepEqual((await listApprovals(t.trust.store)).items, []);
  assert.ok(!(await kinds(t, 'p')).includes('approval_pending'));
  const { rows } = await t.trust.store.query<{ entry: string }>(
    `select entry::text from audit_log where action = 'tool.permission' order by audit_id`,
  );
  assert.ok(
    rows.every(({ entry }) => !entry.includes('rm -rf')),
    'words of the agent are in the log',
  );
  const entries = rows.map((row) => JSON.parse(row.entry) as { decision: string; details: { rule: string; tool: string } });
  assert.deepEqual(
    entries.map(({ decision, details }) => [decision, details.rule, details.tool]),
    [
      ['allow', 'echo', 'demo.bash'],
      ['deny', 'no-rm', 'demo.bash'],
    ],
  );
  // beyond its limit a person is asked
  const id = await t.say('p', 'run: echo again');
  await decide(t, (await pending(t)).approval_id, 'approve');
  assert.equal((await t.ended(id)).status, 'completed');
  assert.match(await toolOutput(t, 'p'), /again/);
});

test('a question outlives the worker that asked it: it is decided meanwhile, and the next one hears of that', async () => {
  await using t = await asking({ idle: true, leaseMs: 2000 });
  const victim = await t.fork();
  const id = await t.say('k', 'run: echo once >> /workspace/log; cat /workspace/log');
  const approval = await pending(t);
  await victim.kill();
  await decide(t, approval.approval_id, 'approve');
  await t.another();
  const execution = await t.ended(id);
  assert.equal(execution.status, 'completed', execution.error_text ?? '');
  assert.match(await toolOutput(t, 'k'), /"once\\?n?"/);
  assert.equal((await listApprovals(t.trust.store)).items.length, 1);
  assert.equal((await kinds(t, 'k')).filter((kind) => kind === 'approval_pending').length, 1);
});

test('what a person denied stays denied, whoever hears the question next, and whatever the policy says by then', async () => {
  await using t = await asking({ idle: true, leaseMs: 2000 });
  const victim = await t.fork();
  const id = await t.say('n', 'run: echo it-has-run');
  const approval = await pending(t);
  await victim.kill();
  await decide(t, approval.approval_id, 'deny', 'no');
  await publish(t, '  - {id: all, tool: "demo.*", effect: allow, when: "true"}\n');
  await t.another();
  assert.equal((await t.ended(id)).status, 'completed');
  assert.doesNotMatch(await toolOutput(t, 'n'), /it-has-run/);
});

test('of a long call its end is shown too, and that there is more', async () => {
  await using t = await asking();
  const id = await t.say('l', `run: echo ${'a'.repeat(9000)} > /dev/null; echo the-end`);
  const { approval_id, summary } = await pending(t);
  assert.match((summary as { input: string }).input, /characters are not shown.*the-end/);
  await decide(t, approval_id, 'deny', 'no');
  await t.ended(id);
});

test('a cancelled turn takes its question with it', async () => {
  await using t = await asking();
  const id = await t.say('c', 'run: echo it-has-run');
  const approval = await pending(t);
  await t.threads.cancel(id);
  assert.equal((await t.ended(id)).status, 'cancelled');
  const state = async () => (await listApprovals(t.trust.store)).items[0]?.state;
  await eventually(async () => (await state()) === 'cancelled');
  await assert.rejects(decide(t, approval.approval_id, 'approve'), { code: 'APPROVAL_DECIDED' });
  assert.doesNotMatch(await toolOutput(t, 'c'), /it-has-run/);
  assert.equal((await t.ended(await t.say('c', 'say: on'))).result_text, 'on');
});

test('a question that nobody answers ends with the longest time of a turn', async () => {
  await using t = await asking({ deadlines: { hardMs: 6000, graceMs: 1000 } });
  const execution = await t.ended(await t.say('h', 'run: echo it-has-run'));
  assert.ok(['hard_deadline_exceeded', 'completed'].includes(execution.terminal_reason as string), execution.terminal_reason ?? '');
  assert.doesNotMatch(await toolOutput(t, 'h'), /it-has-run/);
});
