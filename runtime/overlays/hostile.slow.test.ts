import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { parseOverlayList } from '@centaur/kernel/config';
import type { GitLimits } from './git.ts';
import { openOverlays } from './index.ts';
import { folder, repository, type TestRepository } from './testing.ts';

/** What is said of it; and that nothing of it is anywhere. */
async function refusal(t: TestContext, repo: TestRepository, limits: Partial<GitLimits> = {}): Promise<string> {
  const state = folder(t);
  const { entries } = parseOverlayList(`${repo.url}#main`, state);
  const overlays = await openOverlays({
    entries,
    stateDir: path.join(state, 'overlays'),
    lockFile: path.join(state, 'centaur.lock'),
    watch: false,
    limits,
  });
  t.after(() => overlays.close());
  const [problem, ...more] = overlays.problems();
  assert.deepEqual(more, []);
  assert.ok(problem, 'it was taken');
  const [layer] = overlays.layers();
  assert.deepEqual([fs.existsSync(layer?.folder ?? ''), fs.existsSync(path.join(state, 'centaur.lock'))], [false, false]);
  assert.deepEqual(fs.globSync('overlays/*/commits/*', { cwd: state }), []);
  assert.deepEqual(fs.globSync('overlays/*/.{fetch,draft}-*', { cwd: state }), []);
  return problem.message;
}

test('links that lead out are refused, wherever they pass through', async (t) => {
  for (const target of ['/etc/passwd', '../../outside', '.agents/../../x', 'nothing-there']) {
    const repo = repository(t);
    fs.symlinkSync(target, path.join(repo.folder, 'tools'));
    repo.commit({});
    assert.match(await refusal(t, repo), /tools: a link to .*(?:outside of it|not in it)/, target);
  }
  const chained = repository(t, { 'a/b/c.md': '' });
  fs.symlinkSync('a/b', path.join(chained.folder, 'deep'));
  fs.symlinkSync('deep/../../..', path.join(chained.folder, 'out'));
  chained.commit({});
  assert.match(await refusal(t, chained), /out: a link/);
  // by its words it stays inside
  const climbing = repository(t, { 'a/b/c.md': '' });
  fs.symlinkSync('../..', path.join(climbing.folder, 'a/b/up'));
  fs.symlinkSync('up/..', path.join(climbing.folder, 'a/b/out'));
  climbing.commit({});
  assert.match(await refusal(t, climbing), /a\/b\/out: a link to up\/\.\., which is not in it/);
});

test('names that mean something to a program are refused', async (t) => {
  for (const [name, said] of [
    ['tools/-rf', /begins with "-"/],
    ['two\nlines.md', /control character/],
    ['back\\slash', /backslash/],
    ['tools/esc\u001b[2J', /control character/],
  ] as const) {
    const repo = repository(t);
    repo.commit({ [name]: 'x' });
    assert.match(await refusal(t, repo), said, name);
  }
});

test('a repository in a repository and a path upwards are refused', async (t) => {
  for (const build of [
    (repo: TestRepository, blob: string) => repo.tree(`040000 tree ${repo.tree(`100644 blob ${blob}\tconfig`)}\t.git`),
    (repo: TestRepository, blob: string) => repo.tree(`040000 tree ${repo.tree(`100644 blob ${blob}\tconfig`)}\t.GiT`),
    (repo: TestRepository, blob: string) => repo.tree(`040000 tree ${repo.tree(`100644 blob ${blob}\tpasswd`)}\t..`),
    (repo: TestRepository, blob: string) =>
      repo.tree(`100644 blob ${blob}\t.gitmodules`, `040000 tree ${repo.tree(`100644 blob ${blob}\tconfig`)}\tgit~1`),
  ]) {
    const repo = repository(t);
    repo.commitTree(build(repo, repo.blob('[core]\n\tfsmonitor = touch /tmp/owned\n')));
    assert.notEqual(await refusal(t, repo), '');
  }
});

test('too many files, too many bytes and a tree that names itself over and over are refused', async (t) => {
  const many = repository(t, Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`f${i}.md`, `${i}`])));
  assert.match(await refusal(t, many, { files: 20 }), /more than 20 files/);
  const large = repository(t, { 'large.md': 'x'.repeat(3 * 2 ** 20) });
  assert.match(await refusal(t, large, { bytes: 2 ** 20 }), /more than \d+ files or 1 MiB/);
  const heavy = repository(t);
  fs.writeFileSync(path.join(heavy.folder, 'noise'), randomBytes(3 * 2 ** 20));
  heavy.commit({});
  assert.match(await refusal(t, heavy, { fetchedBytes: 2 ** 20 }), /more than 1 MiB (?:had|would have) to be fetched/);
  const bomb = repository(t);
  let tree = bomb.tree(`100644 blob ${bomb.blob('boom')}\tf`);
  for (let depth = 0; depth < 9; depth++) tree = bomb.tree(...Array.from({ length: 10 }, (_, i) => `040000 tree ${tree}\td${i}`));
  bomb.commitTree(tree);
  const before = performance.now();
  assert.match(await refusal(t, bomb), /more than 10000 files/);
  assert.ok(performance.now() - before < 20_000);
});

test('hooks, filters, attributes and submodules of a repository have no say, nor has the configuration of a user', async (t) => {
  const marker = path.join(folder(t), 'owned');
  const repo = repository(t, {
    '.gitattributes': '* filter=evil export-subst\n',
    'SYSTEM_PROMPT.md': '$Format:%H$',
  });
  const hook = path.join(repo.folder, '.git/hooks/post-checkout');
  fs.mkdirSync(path.dirname(hook), { recursive: true });
  fs.writeFileSync(hook, `#!/bin/sh\ntouch ${marker}\n`, { mode: 0o755 });
  repo.git(['update-index', '--add', '--cacheinfo', `160000,${repo.git(['rev-parse', 'HEAD'])},tools`]);
  repo.git(['commit', '--quiet', '--message', 'a submodule']);
  const home = folder(t, {
    '.gitconfig': `[filter "evil"]\n\tsmudge = touch ${marker}\n\trequired = true\n[url "file:///nowhere/"]\n\tinsteadOf = file://\n`,
  });
  const before = process.env['HOME'];
  process.env['HOME'] = home;
  t.after(() => (process.env['HOME'] = before));
  const state = folder(t);
  const { entries } = parseOverlayList(`${repo.url}#main`, state);
  const overlays = await openOverlays({
    entries,
    stateDir: path.join(state, 'overlays'),
    lockFile: path.join(state, 'centaur.lock'),
    watch: false,
  });
  t.after(() => overlays.close());
  assert.deepEqual([overlays.problems(), overlays.systemPrompt()[0]?.text, fs.existsSync(marker)], [[], '$Format:%H$', false]);
  assert.equal(fs.existsSync(overlays.roots('tools')[0] ?? ''), false);
});

test('a server that says nothing is given up, and what it had started ends', async (t) => {
  const repo = repository(t);
  assert.match(await refusal(t, repo, { timeMs: 1 }), /took longer than/);
});
