import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { createPlace, type Place } from '../test/support/cli.ts';

type Language = 'node' | 'python';
const LANGUAGES: readonly Language[] = ['node', 'python'];

/** As its author would run them: nothing of ours around. */
function runTests(folder: string, language: Language): string {
  const [program, args] =
    language === 'python' ? ['python3', ['-m', 'unittest', '-v']] : [process.execPath, ['--test', '--test-reporter=tap']];
  const env = { PATH: process.env['PATH'], NODE_NO_WARNINGS: '1', PYTHONDONTWRITEBYTECODE: '1' };
  // unittest reports on stderr
  return execFileSync('sh', ['-c', `${quoted(program)} ${args.join(' ')} 2>&1`], {
    cwd: folder,
    env,
    encoding: 'utf8',
  });
}

const quoted = (text: string): string => `'${text}'`;
const count = (report: string): number => Number(/^# pass (\d+)$/m.exec(report)?.[1] ?? /^Ran (\d+) tests/m.exec(report)?.[1]);

async function make(place: Place, language: Language, ...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await place.run(['new', ...args, ...(language === 'python' ? ['--python'] : [])]);
  assert.equal(code, 0, stderr);
  return stdout;
}

for (const language of LANGUAGES) {
  test(`a tool in ${language}: its tests pass, and the check finds nothing`, async () => {
    await using place = createPlace();
    await make(place, language, 'tool', 'order-status');
    assert.equal(count(runTests(path.join(place.folder, 'tools/order-status'), language)), 3);
    const { code, stdout } = await place.run(['tools', 'check', 'tools/order-status', '--json']);
    assert.equal(code, 0, stdout);
    const { tools, problems } = JSON.parse(stdout);
    assert.deepEqual(problems, []);
    assert.equal(tools[0].name, 'order-status');
    assert.deepEqual(tools[0].methods.map(({ name, risk }: { name: string; risk: string }) => [name, risk]).sort(), [
      ['add_item', 'write'],
      ['list_items', 'read'],
    ]);
    assert.deepEqual(
      tools[0].secrets.map(({ name, hosts }: { name: string; hosts: string[] }) => [name, hosts]),
      [['ORDER_STATUS_TOKEN', ['order-status.example.com']]],
    );
  });

  test(`a workflow in ${language}: its tests pass, and the strict check finds nothing`, async () => {
    await using place = createPlace();
    await make(place, language, 'workflow', 'watch-build');
    assert.equal(count(runTests(path.join(place.folder, 'workflows'), language)), 2);
    const { code, stdout } = await place.run(['workflows', 'check', '--strict', '--json']);
    assert.equal(code, 0, stdout);
    assert.deepEqual(
      JSON.parse(stdout).workflows.map(({ name }: { name: string }) => name),
      ['watch_build'],
    );
  });

  test(`a skill in ${language}: its tests pass`, async () => {
    await using place = createPlace();
    await make(place, language, 'skill', 'release-notes');
    const folder = path.join(place.folder, '.agents/skills/release-notes');
    assert.equal(count(runTests(path.join(folder, 'scripts'), language)), 3);
    assert.match(readFileSync(path.join(folder, 'SKILL.md'), 'utf8'), /^---\nname: release-notes\ndescription: .+\n---\n/);
  });

  test(`an overlay in ${language} has one of each, and all of it works`, async () => {
    await using place = createPlace();
    await make(place, language, 'overlay', 'acme_shop');
    const root = path.join(place.folder, 'acme_shop');
    for (const each of ['README.md', 'SYSTEM_PROMPT.md', 'personas/reviewer.md']) assert.ok(existsSync(path.join(root, each)), each);
    const folders = ['tools/acme-shop-items', 'workflows', '.agents/skills/acme-shop-notes/scripts'];
    assert.deepEqual(
      folders.map((folder) => count(runTests(path.join(root, folder), language))),
      [3, 2, 3],
    );
    const checks = await Promise.all([
      place.run(['tools', 'check', 'acme_shop/tools']),
      place.run(['workflows', 'check', 'acme_shop/workflows', '--strict']),
    ]);
    for (const { code, stdout } of checks) assert.equal(code, 0, stdout);
    assert.match(checks[0].stdout, /1 tool, 0 problems/);
    const env = { CENTAUR_OVERLAYS: 'acme_shop', WORKFLOW_DIRS: '' };
    const [lint, listed] = await Promise.all([
      place.run(['overlays', 'lint', '--strict', '--json'], { env }),
      place.run(['overlays', 'ls', '--json'], { env }),
    ]);
    assert.deepEqual([lint.code, JSON.parse(lint.stdout).findings], [0, []]);
    const { tools, workflows, skills, personas, system_prompt } = JSON.parse(listed.stdout).layers.find(
      (each: { name: string }) => each.name === 'acme_shop',
    );
    assert.deepEqual(
      [tools, workflows, skills, personas, system_prompt],
      [['acme-shop-items'], ['acme_shop_watch'], ['acme-shop-notes'], ['reviewer'], true],
    );
  });
}

test('a sample can go elsewhere, and what to do next is on stderr', async () => {
  await using place = createPlace();
  const { code, stdout, stderr } = await place.run(['new', 'tool', 'crm', '--dir', "our own/kit's"]);
  assert.equal(code, 0);
  assert.match(stdout, /^our own\/kit's\/crm\/tool\.ts$/m);
  assert.match(stderr, /cd 'our own\/kit'\\''s\/crm' && node --test/);
});

test('nothing is overwritten, and nothing is written beside it', async () => {
  await using place = createPlace();
  place.write('watch.py', 'mine');
  mkdirSync(path.join(place.folder, 'tools/crm'), { recursive: true });
  symlinkSync('nowhere', path.join(place.folder, 'tools/dangling'));
  for (const args of [
    ['workflow', 'watch'],
    ['workflow', 'watch', '--python'],
    ['tool', 'crm'],
    ['tool', 'dangling'],
  ]) {
    const { code, stdout, stderr } = await place.run(['new', ...args]);
    assert.deepEqual([code, stdout], [2, ''], args.join(' '));
    assert.match(stderr, /is there already, and nothing is overwritten/);
  }
  assert.equal(readFileSync(path.join(place.folder, 'workflows/watch.py'), 'utf8'), 'mine');
  assert.equal(existsSync(path.join(place.folder, 'workflows/watch.ts')), false);
  assert.equal(existsSync(path.join(place.folder, 'tools/crm/tool.ts')), false);
});

test('names that would be no name of a file, or code, are refused', async () => {
  await using place = createPlace();
  for (const [kind, name] of [
    ['tool', '../up'],
    ['tool', 'Big'],
    ['workflow', '9lives'],
    ['workflow', 'a--b'],
    ['skill', 'a_b'],
    ['overlay', 'x'.repeat(49)],
  ] as const) {
    const { code, stderr } = await place.run(['new', kind, name]);
    assert.equal(code, 2, name);
    assert.match(stderr, /is no name/);
  }
});
