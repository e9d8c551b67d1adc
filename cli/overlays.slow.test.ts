import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { repository, SKILL, TOOL, WORKFLOW, write } from '../runtime/overlays/testing.ts';
import { createPlace, type Place } from '../test/support/cli.ts';
import { eventually } from '../test/support/wait.ts';

const json = async (place: Place, ...args: readonly string[]) => JSON.parse((await place.run([...args, '--json'])).stdout);

test('layers are listed with what they add and hide, checked, and moved', async (t) => {
  const repo = repository(t, {
    'tools/crm/tool.ts': TOOL('crm'),
    'SYSTEM_PROMPT.md': 'Be brief.',
    '.agents/skills/triage/SKILL.md': SKILL('triage'),
  });
  await using place = createPlace({ CENTAUR_OVERLAYS: `team,${repo.url}#main` });
  const name = path.basename(repo.folder);
  write(path.join(place.folder, 'team'), { 'tools/crm/tool.ts': TOOL('crm'), 'workflow/x.ts': '' });
  place.write('echo.ts', WORKFLOW('echo'));

  const listed = await place.run(['overlays', 'ls']);
  assert.deepEqual([listed.code, listed.stderr], [0, '']);
  assert.match(listed.stdout, /^LAYER +FROM +ADDS\nbuilt-in +built in +\d+ tools\nteam +\S+team +1 tool\n/);
  assert.match(listed.stdout, /file:\S+#main [0-9a-f]{12} +1 tool, 1 skill, a system prompt\n/);
  assert.match(listed.stdout, new RegExp(`^tool crm: of ${name}, hides that of team$`, 'm'));
  const { layers, shadows, problems } = await json(place, 'overlays', 'ls');
  assert.deepEqual(
    layers.slice(1).map((each: { kind: string; tools: string[]; workflows: string[] }) => [each.kind, each.tools, each.workflows]),
    [
      ['folder', ['crm'], []],
      ['git', ['crm'], []],
      ['dir', [], ['echo']],
    ],
  );
  assert.deepEqual([shadows.length, problems], [1, []]);

  const lint = await place.run(['overlays', 'lint']);
  assert.equal(lint.code, 0);
  assert.match(lint.stdout, /team\/workflow: warning: unknown folder: is workflows\/ meant\?/);
  assert.equal((await place.run(['overlays', 'lint', '--strict'])).code, 1);

  const stays = await place.run(['overlays', 'update']);
  assert.match(stays.stdout, /: stays at [0-9a-f]{40}\n$/);
  const second = repo.commit({ 'SYSTEM_PROMPT.md': 'Be very brief.' });
  const moved = await json(place, 'overlays', 'update', name);
  assert.deepEqual([moved.overlays.length, moved.overlays[0].commit], [1, second]);
  assert.match(readFileSync(path.join(place.folder, 'home', 'centaur.lock'), 'utf8'), new RegExp(`"commit": "${second}"`));
  const unknown = await place.run(['overlays', 'update', 'other']);
  assert.deepEqual([unknown.code, /no repository among the overlays is called "other"/.test(unknown.stderr)], [1, true]);
  const folderOne = await place.run(['overlays', 'update', 'team']);
  assert.match(folderOne.stderr, /it is a folder, which is taken as it is/);
  const bad = await place.run(['overlays', 'ls'], { env: { CENTAUR_OVERLAYS: 'http://a.example/x' } });
  assert.deepEqual([bad.code, /CENTAUR_OVERLAYS: .*use https/.test(bad.stderr)], [2, true]);
});

test('an overlay of a repository adds, shadows and removes while the server runs', { timeout: 300_000 }, async (t) => {
  const repo = repository(t, { 'README.md': 'Nothing yet.' });
  await using place = createPlace({ CENTAUR_OVERLAYS: `team,${repo.url}#main`, WORKFLOW_HOSTS: 'in_process' });
  write(path.join(place.folder, 'team'), { 'workflows/report.ts': WORKFLOW('report', 'of the team'), 'tools/crm/tool.ts': TOOL('crm') });
  await place.serve('up');
  const result = async (name: string): Promise<string> => (await place.run(['run', name, '--wait'])).stdout;
  const workflows = async (): Promise<string[]> =>
    (await json(place, 'workflows', 'ls')).items.map((each: { name: string }) => each.name).sort();
  const tools = async (): Promise<string[]> =>
    (await json(place, 'tools', 'ls')).items
      .map((each: { name: string }) => each.name)
      .filter((name: string) => ['crm', 'erp'].includes(name));
  assert.deepEqual([await workflows(), await result('report')], [['report'], '"of the team"\n']);
  assert.deepEqual((await json(place, 'workflows', 'ls')).problems, []);

  repo.commit({
    'workflows/report.ts': WORKFLOW('report', 'of the repository'),
    'workflows/extra.ts': WORKFLOW('extra'),
    'tools/erp/tool.ts': TOOL('erp'),
  });
  assert.equal((await place.run(['overlays', 'update'])).code, 0);
  await eventually(async () => (await workflows()).join() === 'extra,report', { what: 'the workflow to be there' });
  assert.equal(await result('report'), '"of the repository"\n');
  await eventually(async () => (await tools()).join() === 'crm,erp', { what: 'the tool to be there' });

  repo.git(['rm', '-rq', 'workflows', 'tools']);
  repo.commit({});
  assert.equal((await place.run(['overlays', 'update'])).code, 0);
  await eventually(async () => (await workflows()).join() === 'report', { what: 'the workflow to be gone' });
  assert.equal(await result('report'), '"of the team"\n');
  await eventually(async () => (await tools()).join() === 'crm', { what: 'the tool to be gone' });

  rmSync(path.join(place.folder, 'team', 'workflows'), { recursive: true });
  await eventually(async () => (await workflows()).length === 0, { what: 'the folder to be gone' });
  assert.deepEqual((await json(place, 'workflows', 'ls')).problems, []);
});
