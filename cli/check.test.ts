import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPlace } from '../test/support/cli.ts';

test('files are checked without a server, and schedules are shown in words with their next times', async () => {
  await using place = createPlace();
  place.write(
    'nightly.ts',
    `export const WORKFLOW_NAME = 'nightly';
export const SCHEDULE = [{ type: 'cron', cron: '30 7 * * 1', timezone: 'Asia/Tokyo' }, { type: 'interval', seconds: 60 }, { type: 'cron', cron: '0 0 31 2 *' }];
export const handler = () => 1;`,
  );
  const { code, stdout } = await place.run(['workflows', 'check']);
  assert.equal(code, 0, stdout);
  assert.match(stdout, /^ok +nightly workflows\/nightly\.ts$/m);
  assert.match(stdout, /at 07:30, Monday, Asia\/Tokyo "30 7 \* \* 1"\n +20\d\d-\d\d-\d\dT22:30:00Z in .*\n +20.*\n +20/);
  assert.match(stdout, /every 60 seconds/);
  assert.match(stdout, /never: no such day comes/);
});

test('what is wrong with a file is told with its line, the others are loaded, and the exit code is 1', async () => {
  await using place = createPlace();
  place.write('good.ts', `export const WORKFLOW_NAME = 'good';\nexport const handler = () => 1;`);
  place.write('syntax.ts', `export const WORKFLOW_NAME = 'syntax';\nexport const handler = () => {;`);
  place.write(
    'cron.ts',
    `export const WORKFLOW_NAME = 'cron';\nexport const SCHEDULE = { type: 'cron', cron: '61 * * * *' };\nexport const handler = () => 1;`,
  );
  place.write(
    'zone.ts',
    `export const WORKFLOW_NAME = 'zone';\nexport const SCHEDULE = { type: 'cron', cron: '1 * * * *', timezone: 'Mars/Base' };\nexport const handler = () => 1;`,
  );
  place.write('twice.ts', `export const WORKFLOW_NAME = 'good';\nexport const handler = () => 2;`);
  const { code, stdout } = await place.run(['workflows', 'check', 'workflows']);
  assert.equal(code, 1);
  assert.match(stdout, /^workflows\/syntax\.ts:2:.*error: SyntaxError/m);
  assert.match(stdout, /^workflows\/cron\.ts:2:\d+: error: .*minute.*61/m);
  assert.match(stdout, /^workflows\/zone\.ts:2:\d+: error: .*Mars\/Base/m);
  assert.match(stdout, /^workflows\/(?:twice|good)\.ts:\d+:\d+: error: .*good/m);
  assert.match(stdout, /^1 workflow: 4 errors, 0 warnings, 0 notes$/m);
  const checked = JSON.parse((await place.run(['workflows', 'check', 'workflows', '--json'])).stdout);
  assert.equal(checked.findings.length, 4);
  assert.equal(checked.findings.find((each: { file: string }) => each.file.endsWith('syntax.ts')).line, 2);
});

test('a directory that is not there, or none at all, is said', async () => {
  await using place = createPlace();
  const missing = await place.run(['workflows', 'check', 'nowhere']);
  assert.deepEqual([missing.code, /nowhere: error: there is no such directory/.test(missing.stdout)], [1, true]);
  const none = await place.run(['workflows', 'check'], { env: { WORKFLOW_DIRS: ':' } });
  assert.deepEqual([none.code, /name a file or a folder, or set WORKFLOW_DIRS/.test(none.stderr)], [2, true]);
});

test('a Python file is checked by its name, with what to do below each finding; a warning fails only when asked to', async () => {
  await using place = createPlace();
  place.write(
    'nightly.py',
    `import time
from api.workflow_engine import WorkflowContext

WORKFLOW_NAME = "nightly"
SCHEDULE = {"cron": "0 9 * * MON", "timezone": "UTC"}
WEBHOOKS = {"slug": "nightly", "auth": {"type": "github", "secret_ref": "S"}, "trigger_key": {"type": "header", "name": "X-Id"}}


async def handler(inp, ctx: WorkflowContext):
    time.sleep(1)
`,
  );
  const check = ['workflows', 'check', 'workflows/nightly.py'];
  const [plain, strict, without] = await Promise.all([
    place.run(check),
    place.run([...check, '--strict', '--json']),
    place.run([...check, '--python', '/nowhere/python3']),
  ]);
  assert.equal(plain.code, 0, plain.stderr);
  assert.match(plain.stdout, /^warn +nightly workflows\/nightly\.py\n +at 09:00, Monday, UTC "0 9 \* \* MON"\n/);
  assert.match(plain.stdout, /^ +POST \/api\/webhooks\/nightly auth: github, one run for each header x-id$/m);
  assert.match(plain.stdout, /^workflows\/nightly\.py:10:5: warning: time\.sleep waits .*\n {4}await ctx\.sleep\("name", seconds\)$/m);
  assert.deepEqual([strict.code, JSON.parse(strict.stdout).findings.length], [1, 1]);
  assert.deepEqual([without.code, /nowhere\/python3 cannot be started/.test(without.stderr)], [1, true]);
});
