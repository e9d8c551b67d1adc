import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { type CommandPlace, startCommandPlace } from '../test/support/cli-api.ts';
import { sealAll } from '../test/support/seal.ts';
import { eventually } from '../test/support/wait.ts';

const NO_ID = '0198c0de-0000-7000-8000-000000000000';

let t: CommandPlace;
before(async () => void (t = await startCommandPlace()));
after(() => t[Symbol.asyncDispose]());

const write = (action: string, more: object = {}) => t.api.installation.audit.write({ action, actor: 'user:ann', ...more });

test('the newest entries are printed, the newest last, by what they are about', async () => {
  await write('lease.create', { resource: 'lease:1', details: { principal: 'user:ann', secrets: ['A'] } });
  await write('egress.deny', { resource: 'https://example.com/\u001b[2J', decision: 'deny' });
  const { stdout } = await t.centaur(['audit', 'tail']);
  assert.match(
    stdout,
    /^20\S+Z {2}lease\.create {6}user:ann {2}lease:1 {2}principal=user:ann\n20\S+Z {2}egress\.deny {7}deny {2}user:ann {2}https:\/\/example\.com\/\\x1b\[2J/m,
  );
  assert.deepEqual((await t.centaur(['audit', 'tail', '--decision', 'deny'])).stdout.trim().split('\n').length, 1);
  const lines = (await t.centaur(['audit', 'tail', '--json', '--action', 'lease', '--limit', '1'])).stdout.trim().split('\n');
  assert.deepEqual([lines.length, JSON.parse(lines[0] ?? '').action], [1, 'lease.create']);
  assert.match((await t.centaur(['audit', 'tail', '--actor', 'user:nobody'])).stderr, /no entries/);
  assert.match((await t.centaur(['audit', 'tail', '--run', 'nope'])).stderr, /query run_id: expected an id/);
});

test('a follower tells what comes, once, also what was committed late', async () => {
  const following = t.place.start(['audit', 'tail', '--follow', '--json', '--limit', '0', '--action', 'follow']);
  const told = () =>
    following.output.stdout
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line).id as string);
  const first = await eventually(async () => {
    const id = await write('follow.first');
    await new Promise((resolve) => setTimeout(resolve, 1500));
    return told().length > 0 ? id : undefined;
  });
  // Made before `second`, and committed after it has been told
  const { store, audit } = t.api.installation;
  let late = '';
  await store.transaction(async (tx) => {
    late = await audit.append(tx, { action: 'follow.late', actor: 'user:ann' });
    const second = await write('follow.second');
    await eventually(() => told().includes(second), { what: 'the second entry' });
  });
  await eventually(() => told().includes(late), { what: 'the late entry' });
  following.child.kill('SIGINT');
  const { code } = await following.finished;
  assert.deepEqual([code, new Set(told()).size, told().includes(first)], [130, told().length, true]);
});

test('the log is verified on the server, and what is wrong is told with exit code 1', async () => {
  await write('secret.create');
  await sealAll(t.api.installation);
  const clean = await t.centaur(['audit', 'verify']);
  assert.equal(clean.code, 0, clean.stdout);
  assert.match(clean.stdout, /^\d+ entries in \d+ batches, \d+ signed checkpoints: all as they were written\n$/);
  const pub = path.join(t.place.folder, 'audit.pub');
  writeFileSync(pub, (await t.centaur(['audit', 'key'])).stdout);
  assert.equal((await t.centaur(['audit', 'verify', '--key', pub])).code, 0);
  writeFileSync(pub, Buffer.alloc(32).toString('base64'));
  const other = await t.centaur(['audit', 'verify', '--key', pub]);
  assert.deepEqual([other.code, /found {2}the server signs with another key/.test(other.stdout)], [1, true]);
});

test('an export is verified without a server, against a key that was kept', async () => {
  const entry = await write('secret.remove');
  await sealAll(t.api.installation);
  const file = path.join(t.place.folder, 'audit.jsonl');
  const written = await t.centaur(['audit', 'export', '-o', file]);
  assert.deepEqual([written.code, written.stdout, existsSync(`${file}.part`)], [0, '', false]);
  assert.equal((await t.centaur(['audit', 'export'])).stdout.includes(entry), true);
  const nowhere = { env: { CENTAUR_API_URL: 'http://127.0.0.1:9' } };
  const pub = path.join(t.place.folder, 'kept.pub');
  writeFileSync(pub, (await t.centaur(['audit', 'key'])).stdout);
  const args = ['audit', 'verify', '--file', file, '--key', pub];
  const clean = await t.centaur(args, nowhere);
  assert.deepEqual([clean.code, /all as they were written/.test(clean.stdout)], [0, true]);
  writeFileSync(file, readFileSync(file, 'utf8').replace('secret.remove', 'secret.create'));
  const dirty = await t.centaur([...args, '--json'], nowhere);
  assert.equal(dirty.code, 1);
  assert.deepEqual([JSON.parse(dirty.stdout).ok, JSON.parse(dirty.stdout).findings[0].audit_id], [false, entry]);
  const gone = await t.centaur(['audit', 'export', '-o', file], nowhere);
  assert.deepEqual(
    [gone.code, readFileSync(file, 'utf8').includes('"head"')],
    [3, true],
    'a file that is there stays when there is no other',
  );
});

test('an entry is proved to be in the sealed log', async () => {
  const entry = await write('secret.rotate');
  await sealAll(t.api.installation);
  const shown = await t.centaur(['audit', 'proof', entry]);
  assert.equal(shown.code, 0, shown.stderr);
  assert.match(shown.stdout, new RegExp(`^${entry} sealed\n {2}place +\\d+ of \\d+ in batch \\d+\n`));
  assert.match(shown.stdout, /^ {2}signed +by centaur\/[\da-f]{8}, at \d+ entries$/m);
  assert.equal((await t.read('audit', 'proof', entry)).audit_id, entry);
  assert.equal((await t.centaur(['audit', 'proof', NO_ID])).code, 5);
});
