import assert from 'node:assert/strict';
import path from 'node:path';
import { after, test } from 'node:test';
import { HERE, Host, type Message } from './testing.ts';

const folder = (name: string) => path.join(HERE, 'fixtures', name);
const host = new Host([folder('main'), folder('later')]);
const broken = new Host([folder('broken')]);
after(() => Promise.all([host.end(), broken.end()]));

const named = ({ workflows }: Message, name: string) => workflows.find((each: Message) => each['workflow_name'] === name);

test('all that a file declares is told in plain JSON', async () => {
  const found = await host.ask({ type: 'workflow.discover' });
  assert.deepEqual(found['problems'], []);
  const declared = named(found, 'declared');
  const specs = declared.webhooks.map(({ spec }: Message) => spec);
  assert.deepEqual(specs, [
    {
      slug: 'a',
      auth: { type: 'hmac', secret_ref: 'S', signature_prefix: '' },
      trigger_key: { type: 'header', header: 'X-Id' },
    },
    { slug: 'b', auth: { type: 'bearer', secret_ref: 'B' }, trigger_key: { type: 'static', value: 'v' } },
    { slug: 'c', auth: { kind: 'github', secret_ref: 'G' } },
    { slug: 'd', auth: ['odd'] },
    'e',
  ]);
  delete declared.webhooks;
  assert.deepEqual(declared, {
    workflow_name: 'declared',
    source_path: path.join(folder('main'), 'declared.py'),
    schedule: [{ type: 'interval', seconds: 60 }, { cron: '0 9 * * 1-5' }],
    principal: true,
    agent_defaults: { harness: 'codex' },
    queue: { name: 'etl', concurrency: 2 },
    retry: { max_attempts: 3, delay_ms: 3000 },
    has_input: false,
    has_concurrency_key: false,
  });
  const { has_input: input, has_concurrency_key: key } = named(found, 'inputs');
  assert.deepEqual([input, key], [true, true]);
});

test('the short forms of the first generation become schedules', async () => {
  const found = await host.ask({ type: 'discover' });
  assert.deepEqual(named(found, 'morning_prompt').schedule, {
    type: 'cron',
    cron: '0 9 * * *',
    timezone: 'Europe/London',
    slack_channel: 'C1',
  });
  assert.deepEqual(named(found, 'steps').schedule, { type: 'interval', seconds: 300 });
});

test('a later folder shadows an earlier one, helpers and hidden files hold no workflow', async () => {
  const found = await host.ask({ type: 'discover' });
  assert.equal(named(found, 'steps').source_path, path.join(folder('later'), 'steps.py'));
  assert.equal(await host.result('steps'), 'later');
  const names = found['workflows'].map((each: Message) => each['workflow_name']).toSorted();
  assert.deepEqual(names, [
    'calls',
    'declared',
    'failing',
    'imports',
    'inputs',
    'mixed',
    'morning_prompt',
    'parallel',
    'pooled',
    'replay',
    'steps',
  ]);
});

test('a file that cannot be served is a problem with its place, and stops no other', async () => {
  const { problems, workflows } = await broken.ask({ type: 'discover' });
  assert.deepEqual(
    workflows.map((each: Message) => path.basename(each['source_path'] as string)),
    ['twice_a.py'],
  );
  const found = Object.fromEntries(
    problems.map(({ source_path: file, line, column, field, message }: Message) => [
      path.basename(file as string),
      [line, column, field, message],
    ]),
  ) as Record<string, unknown[]>;
  assert.deepEqual(found['syntax.py'], [4, 12, undefined, "SyntaxError: '(' was never closed"]);
  assert.deepEqual(found['import_error.py'], [1, undefined, undefined, "ModuleNotFoundError: No module named 'not_there_at_all'"]);
  assert.deepEqual(found['no_handler.py']?.slice(0, 3), [undefined, undefined, 'handler']);
  assert.deepEqual(found['three.py']?.slice(0, 3), [4, 1, 'handler']);
  assert.deepEqual(found['name.py']?.slice(0, 3), [2, 1, 'WORKFLOW_NAME']);
  assert.deepEqual(found['webhook.py'], [2, 1, 'WEBHOOKS', 'WEBHOOKS: $[0].slug is an object, which JSON cannot hold']);
  assert.deepEqual(found['twice_b.py']?.slice(0, 3), [1, 1, 'WORKFLOW_NAME']);
  assert.match(found['twice_b.py']?.[3] as string, /twice_a\.py/);
});

test('a run of a file that cannot be loaded fails with what is wrong with it', async () => {
  assert.equal(await broken.result('twice'), 'a');
  await assert.rejects(broken.result('import_error'), { code: 'WORKFLOW_NOT_LOADED', message: /import_error\.py: ModuleNotFoundError/ });
});

test('WORKFLOW_FILE limits the host to one file', async () => {
  const one = new Host([folder('main'), folder('broken')], { WORKFLOW_FILE: 'imports.py' });
  const { workflows, problems } = await one.ask({ type: 'discover' });
  assert.deepEqual([workflows.map((each: Message) => each['workflow_name']), problems], [['imports'], []]);
  await assert.rejects(one.result('calls'), { code: 'UNKNOWN_WORKFLOW' });
  assert.equal(await one.end(), 0);
});
