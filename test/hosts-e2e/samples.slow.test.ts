/** The samples of the original's documents, letter by letter, through the real commands, each workflow in a sandbox of its own. */
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { createPlace } from '../support/cli.ts';
import { eventually } from '../support/wait.ts';
import { SAMPLES, type Server, startServer } from './server.ts';

const SECRET = 'the-secret-of-the-hook-0123456789';

let server: Server;

before(async () => {
  const samples = ['creating/nightly_report.py', 'creating/github_issue_triage.py', 'migration/investigate.py', 'migration/old_imports.py'];
  server = await startServer({ samples });
  await server.secret('GITHUB_WEBHOOK_SECRET', SECRET, '--type', 'webhook');
});
after(() => server[Symbol.asyncDispose]());

/** A sample as GitHub would send it. */
async function send(event: string): Promise<{ readonly status: number; readonly run_id: string; readonly created: boolean }> {
  const args = ['webhooks', 'send', 'github-issue-triage', '--event', event, '--json'];
  const { code, stdout, stderr } = await server.place.run(args, { env: { GITHUB_WEBHOOK_SECRET: SECRET } });
  assert.equal(code, 0, stdout + stderr);
  return JSON.parse(stdout);
}

/** What the document on writing workflows tells its reader to run. */
const NIGHTLY = `curl -s "$CENTAUR_API_URL/workflows/runs" \\
  -H "Content-Type: application/json" \\
  -H "X-Api-Key: $CENTAUR_API_KEY" \\
  -d '{
    "workflow_name": "nightly_report",
    "input": {"channel": "ops", "topic": "open incidents"},
    "eager_start": true
  }' | cat`;

test('the samples on writing workflows run to their end', async () => {
  const started = await server.shell(NIGHTLY);
  assert.deepEqual([started.workflow_name, started.created], ['nightly_report', true], JSON.stringify(started));

  const triaged = await server.ended((await send('issues')).run_id);
  assert.equal(triaged.status, 'completed', JSON.stringify(triaged));
  assert.equal(triaged.result.triaged, true);
  assert.equal(triaged.result.agent_result.status, 'completed');
  assert.match(triaged.result.agent_result.thread_key, /^github:[^/]+\/[^:]+:\d+$/);
  const skipped = await server.ended((await send('push')).run_id);
  assert.deepEqual(skipped.result, { skipped: true, reason: 'unsupported_event' });

  const report = await server.ended(started.run_id);
  assert.deepEqual([report.status, report.result.channel, report.result.report.status], ['completed', 'ops', 'completed']);
  assert.deepEqual(
    report.steps.map((each: { readonly name: string }) => each.name),
    ['collect', 'settle', 'summarize', 'summarize.wait'],
  );
  assert.ok(Date.parse(report.steps[1].ended_at) - Date.parse(report.steps[1].started_at) >= 30_000);
});

test('an agent that is not installed fails its turn and not the run, and old imports work', async () => {
  assert.equal(JSON.parse(await server.centaur('run', 'investigate', '{}', '--wait')), '');
  const [investigated] = await server.runsOf('investigate');
  const run = await server.ended(investigated.run_id);
  assert.deepEqual([run.status, run.steps[1].result.terminal_reason], ['completed', 'harness_missing']);
  assert.equal(JSON.parse(await server.centaur('run', 'old_imports', '{"b": 1, "a": [2]}', '--wait')), '{"a":[2],"b":1}');
});

test('the samples of the migration take the place of those with the same names', async () => {
  const before = await server.versions();
  for (const name of ['nightly_report', 'github_issue_triage']) server.serve(`migration/${name}.py`);
  await eventually(
    async () => {
      const now = await server.versions();
      return ['nightly_report', 'github_issue_triage'].every((name) => now[name] !== undefined && now[name] !== before[name]);
    },
    { what: 'the new files to be loaded' },
  );
  const started = await server.shell(`curl -s "$CENTAUR_API_URL/api/workflows/runs" \\
    -H "Content-Type: application/json" \\
    -H "X-Api-Key: $CENTAUR_API_KEY" \\
    -d '{
      "workflow_name": "nightly_report",
      "input": {"topic": "open incidents"}
    }' | cat`);
  const report = await server.ended(started.run_id);
  assert.deepEqual([report.status, report.result.result.status], ['completed', 'completed'], JSON.stringify(report));
  const triaged = await server.ended((await send('issues')).run_id);
  assert.equal(triaged.result.webhook.headers['x-github-event'], 'issues');
  assert.equal(triaged.result.webhook.headers['x-hub-signature-256'], undefined);
  const schedules = JSON.parse(await server.centaur('schedules', 'ls', '--json'));
  const [{ workflow_name, enabled, next_at }] = schedules.items;
  assert.deepEqual([workflow_name, enabled], ['github_issue_triage', true]);
  const local = new Date(next_at).toLocaleString('en-US', {
    timeZone: 'America/New_York',
    weekday: 'short',
    hour: 'numeric',
    minute: '2-digit',
  });
  assert.match(local, /^(?:Mon|Tue|Wed|Thu|Fri),? 9:00\sAM$/u);
});

test('a check of the samples finds nothing wrong, and of a broken file the line and what to do', async () => {
  await using place = createPlace();
  const checked = await place.run(['workflows', 'check', path.join(SAMPLES, 'creating'), path.join(SAMPLES, 'migration/post_summary.py')]);
  assert.equal(checked.code, 0, checked.stdout);
  assert.match(checked.stdout, /0 errors, 0 warnings/);
  place.write(
    'broken.py',
    `from api.sandbox_manager import spawn
from api.workflow_engine import WorkflowContext

WORKFLOW_NAME = "broken"
WEBHOOKS = [{"slug": "broken"}]


async def handler(inp: dict, ctx: WorkflowContext):
    await ctx.stp("a", lambda: 1)
`,
  );
  const broken = await place.run(['workflows', 'check', 'workflows/broken.py']);
  assert.equal(broken.code, 1);
  assert.match(
    broken.stdout,
    /^workflows\/broken\.py:1:33: error: api\.sandbox_manager is not supported\n {4}ask an agent with ctx\.agent_turn/m,
  );
  assert.match(broken.stdout, /^workflows\/broken\.py:5:13: error: WEBHOOKS\[0\]\.auth: is missing/m);
  assert.match(broken.stdout, /^workflows\/broken\.py:9:11: error: ctx\.stp does not exist\n {4}did you mean ctx\.step\?/m);
});
