/** The samples of the original's documentation, word for word, run here. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { after, test } from 'node:test';
import { HERE, Host, type Message, PYTHON, valueOf } from './testing.ts';

const folder = (name: string) => path.join(HERE, 'samples', name);
const creating = new Host([folder('creating')]);
const migration = new Host([folder('migration')]);
after(() => Promise.all([creating.end(), migration.end()]));

test('the nightly report of "Creating workflows" collects, sleeps, and asks an agent', async () => {
  const stay = await creating.run('nightly_report', { input: { channel: 'ops', topic: 'open incidents' } });
  const [step, sleep, agent, wait] = stay.sent as [Message, Message, Message, Message];
  assert.deepEqual([step['type'], step['step'], step['value']], ['ctx.step.put', 'collect', { topic: 'open incidents' }]);
  assert.deepEqual([sleep['type'], sleep['step'], sleep['duration_seconds']], ['ctx.sleep', 'settle', 30]);
  assert.deepEqual([agent['step'], agent['args']], ['summarize', { text: 'Write a short report about open incidents' }]);
  assert.equal(wait['step'], 'summarize.wait');
  const result = valueOf(stay);
  assert.equal(result.channel, 'ops');
  assert.deepEqual([result.report.result_text, result.report.output_json.result_text], ['did exe-summarize', 'did exe-summarize']);
});

test('the issue triage declares its webhook with objects, and asks an agent on a thread for the issue', async () => {
  const { workflows, problems } = await creating.ask({ type: 'workflow.discover' });
  assert.deepEqual(problems, []);
  assert.deepEqual(workflows[0].webhooks[0].spec, {
    slug: 'github-issue-triage',
    provider: 'github',
    auth: { type: 'github', secret_ref: 'GITHUB_WEBHOOK_SECRET' },
    trigger_key: { type: 'header', header: 'X-GitHub-Delivery' },
    allowed_methods: ['POST'],
    allowed_content_types: ['application/json', 'application/x-www-form-urlencoded'],
  });
  const webhook = (event: string) => ({
    webhook: {
      headers: { 'x-github-event': event },
      body: { issue: { number: 7, title: 'Broken' }, repository: { full_name: 'a/b' } },
    },
  });
  assert.deepEqual(await creating.result('github_issue_triage', { input: webhook('push') }), {
    skipped: true,
    reason: 'unsupported_event',
  });
  const { sent, result } = await creating.run('github_issue_triage', { input: webhook('issues') });
  assert.deepEqual(sent[0]?.['args'], { text: 'Triage GitHub issue a/b#7: Broken', thread_key: 'github:a/b:7' });
  assert.equal(result?.['result'].agent_result.thread_key, 'github:a/b:7');
});

test('the samples of the migration guide run, also those with imports that it forbids', async () => {
  const report = await migration.run('nightly_report', { input: { topic: 'incidents' } });
  assert.equal(report.sent[1]?.['args'].text, 'Summarize incidents');
  assert.equal(valueOf(report).result.status, 'completed');
  const posted = await migration.run('post_summary', { input: { channel: 'C', summary: 'all well' } });
  assert.deepEqual(
    posted.rows.map(({ type, name }) => [type, name]),
    [['ctx.post_to_slack', 'post_summary']],
  );
  assert.deepEqual(valueOf(posted), { posted: { channel: 'C', ts: '1.0' } });
  const { sent } = await migration.run('investigate');
  assert.deepEqual(sent[0]?.['args'], {
    text: 'Investigate this alert and return the next action.',
    thread_key: `workflow:${sent[0]?.['run_id']}:agent`,
    harness: 'codex',
    metadata: { workflow: 'investigate' },
  });
  const old = await migration.run('old_imports', { input: { b: 1, a: [] } });
  assert.equal(valueOf(old), '{"a":[],"b":1}');
  const { kind, name, value, labels } = old.sent[0] as Message;
  assert.deepEqual([kind, name, value, labels], ['counter', 'seen', 2, { source: 'slack' }]);
});

test('the check of the migration guide prints one line of metadata and ends', () => {
  const checked = spawnSync(PYTHON, [path.join(HERE, 'workflow-host')], {
    input: '{"type":"discover"}\n',
    env: { PATH: process.env['PATH'], PYTHONDONTWRITEBYTECODE: '1', WORKFLOW_DIRS: folder('migration') },
    encoding: 'utf8',
  });
  assert.equal(checked.status, 0, checked.stderr);
  assert.match(checked.stdout, /^[^\n]+\n$/);
  const { type, protocol, language, workflows } = JSON.parse(checked.stdout) as Message;
  assert.deepEqual([type, protocol, language, workflows.length], ['workflow.discovery', 1, 'python', 5]);
  const triage = workflows.find((each: Message) => each['workflow_name'] === 'github_issue_triage');
  assert.deepEqual(triage.webhooks[0].spec.auth, { type: 'github_hmac', secret_ref: 'GITHUB_WEBHOOK_SECRET' });
  assert.equal(triage.schedule.cron, '0 9 * * 1-5');
});
