import assert from 'node:assert/strict';
import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { once } from 'node:events';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import type { NodeHost } from './index.ts';
import { call, directory, host, names, returning, watchingHost } from './testing.ts';

/** Resolves at the host's next change. */
async function nextChange(made: NodeHost): Promise<void> {
  const emitter = new EventEmitter();
  const stop = made.registry.onChange(() => emitter.emit('change'));
  await once(emitter, 'change', { signal: AbortSignal.timeout(60_000) });
  stop();
}

test('a changed file is in service after a reload, and the version before it is still there', async (t) => {
  const dir = directory(t, { 'a.ts': returning('a', 'old') });
  const made = await host(t, dir);
  const old = made.registry.get('a')?.version ?? '';
  dir.write({ 'a.ts': returning('a', 'new') });
  await made.reload();
  assert.equal(await call(made, 'a'), 'new');
  assert.equal(await call(made, 'a', old), 'old');
  assert.equal(await call(made, 'a', 'never seen'), 'new');
});

test('a change in a helper, direct or not, is a change of the workflow', async (t) => {
  const dir = directory(t, {
    'a.ts': "import { text } from './lib/x.ts';\nexport const WORKFLOW_NAME = 'a';\nexport const handler = () => text;",
    'lib/x.ts': "export { text } from './y.ts';",
    'lib/y.ts': "export const text = 'old';",
    'b.ts': returning('b', 'b'),
  });
  const made = await host(t, dir);
  const before = made.registry.get('a');
  const other = made.registry.get('b');
  dir.write({ 'lib/y.ts': "export const text = 'new';" });
  await made.reload();
  assert.equal(await call(made, 'a'), 'new');
  assert.equal(await call(made, 'a', before?.version), 'old');
  assert.equal(made.registry.get('b'), other);
});

test('what a handler imports later is the code its run began with', async (t) => {
  const dir = directory(t, {
    'a.ts': "export const WORKFLOW_NAME = 'a';\nexport const handler = async () => (await import('./late.ts')).text;",
    'late.ts': "import { text as inner } from './inner.ts';\nexport const text = inner;",
    'inner.ts': "export const text = 'old';",
  });
  const made = await host(t, dir);
  const old = made.registry.get('a')?.version;
  dir.write({ 'inner.ts': "export const text = 'new';" });
  await made.reload();
  assert.equal(await call(made, 'a', old), 'old');
  assert.equal(await call(made, 'a'), 'new');
});

test('listeners hear of changes, and of nothing when nothing changed', async (t) => {
  const dir = directory(t, { 'a.ts': returning('a', '1'), 'helper.ts': 'export {};' });
  const made = await host(t, dir);
  let calls = 0;
  const stop = made.registry.onChange(() => (calls += 1));
  await made.reload();
  dir.write({ 'helper.ts': 'export const unrelated = 1;' });
  await made.reload();
  assert.equal(calls, 0);
  dir.write({ 'b.ts': returning('b', '1') });
  await made.reload();
  assert.equal(calls, 1);
  stop();
  dir.write({ 'b.ts': returning('b', '2') });
  await made.reload();
  assert.equal(calls, 1);
});

test('a file that turns broken keeps its last good version in service until it is mended', async (t) => {
  const dir = directory(t, { 'a.ts': returning('a', 'good') });
  const made = await host(t, dir);
  const good = made.registry.get('a');
  dir.write({ 'a.ts': 'export const WORKFLOW_NAME = ;' });
  await made.reload();
  assert.deepEqual(names(made), ['a']);
  assert.equal(made.registry.get('a'), good);
  assert.equal(made.problems()[0]?.line, 1);

  await made.reload();
  assert.equal(made.logged.filter((entry) => entry.level === 'error').length, 1, 'a known problem is logged once');
  dir.write({ 'a.ts': returning('a', 'good') });
  await made.reload();
  assert.deepEqual(made.problems(), []);
  assert.equal(made.registry.get('a'), good);
});

test('a file that lacked an import loads as soon as it is there', async (t) => {
  const dir = directory(t, { 'a.ts': `import './later.ts';\n${returning('a', 'x')}` });
  const made = await host(t, dir);
  assert.deepEqual(names(made), []);
  dir.write({ 'later.ts': 'export {};' });
  await made.reload();
  assert.deepEqual(names(made), ['a']);
  assert.deepEqual(made.problems(), []);
});

test('a workflow whose file is deleted is no longer listed but serves the runs that began with it', async (t) => {
  const dir = directory(t, { 'a.ts': returning('a', 'x'), 'b.ts': returning('b', 'x') });
  const made = await host(t, dir);
  const version = made.registry.get('a')?.version;
  rmSync(dir.at('a.ts'));
  await made.reload();
  assert.deepEqual(names(made), ['b']);
  assert.equal(made.registry.get('a'), undefined);
  assert.equal(await call(made, 'a', version), 'x');
});

test('a workflow may move to another file, or take another name', async (t) => {
  const dir = directory(t, { 'z.ts': returning('a', 'from z'), 'b.ts': returning('b', 'b') });
  const made = await host(t, dir);
  // The old file is broken, not gone: its last good version must not hold on to the name
  dir.write({ 'z.ts': 'const = 1', 'zz.ts': returning('a', 'from zz'), 'b.ts': returning('c', 'c') });
  await made.reload();
  assert.deepEqual(names(made), ['a', 'c']);
  assert.equal(await call(made, 'a'), 'from zz');
  assert.equal(made.problems().length, 1);
});

test('when a shadowing file goes, the one below is back', async (t) => {
  const base = directory(t, { 'a.ts': returning('a', 'base') });
  const overlay = directory(t, { 'a.ts': returning('a', 'overlay') });
  const made = await host(t, base, overlay);
  rmSync(overlay.at('a.ts'));
  await made.reload();
  assert.equal(await call(made, 'a'), 'base');
});

test('twenty versions of a workflow are kept', async (t) => {
  const dir = directory(t, { 'a.ts': returning('a', '0') });
  const made = await host(t, dir);
  const versions = [made.registry.get('a')?.version];
  for (let n = 1; n <= 20; n += 1) {
    dir.write({ 'a.ts': returning('a', `${n}`) });
    await made.reload();
    versions.push(made.registry.get('a')?.version);
  }
  assert.equal(await call(made, 'a', versions[1]), '1');
  assert.equal(await call(made, 'a', versions[0]), '20', 'the oldest is forgotten: the newest takes its place');
});

test('the watcher notices writes, replacements, new directories and deletions', async (t) => {
  const dir = directory(t, { 'a.ts': returning('a', '0') });
  const made = await watchingHost(t, dir);

  const change = async (act: () => void, expected: unknown) => {
    const changed = nextChange(made);
    act();
    await changed;
    assert.deepEqual(await Promise.all(names(made).map((name) => call(made, name))), expected);
  };
  await change(() => dir.write({ 'a.ts': returning('a', '1') }), ['1']);
  // As editors save: a new file renamed over the old one. More than once, since the first is easily noticed
  for (const text of ['2', '3', '4']) {
    await change(() => {
      dir.write({ '.a.tmp': returning('a', text) });
      renameSync(dir.at('.a.tmp'), dir.at('a.ts'));
    }, [text]);
  }
  await change(() => dir.write({ 'new/deep/b.ts': returning('b', 'b') }), ['4', 'b']);
  await change(() => dir.write({ 'new/deep/b.ts': returning('b', 'c') }), ['4', 'c']);
  await change(() => {
    rmSync(dir.at('new'), { recursive: true });
    mkdirSync(dir.at('new/deep'), { recursive: true });
  }, ['4']);
  await change(() => dir.write({ 'new/deep/b.ts': returning('b', 'd') }), ['4', 'd']);
});

test('a directory that appears later is noticed', async (t) => {
  const parent = directory(t);
  const made = await watchingHost(t, { ...parent, dir: parent.at('later/workflows') });
  assert.equal(made.problems().length, 1);
  const changed = nextChange(made);
  parent.write({ 'later/workflows/a.ts': returning('a', 'x') });
  await changed;
  assert.deepEqual(names(made), ['a']);
  assert.deepEqual(made.problems(), []);
});
