/** Data care and backups by the command line, on a server of its own that is killed at will. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { appendFileSync, existsSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { createTestDatabase, type TestDatabase } from '../test/support/database.ts';
import { createPlace, type Finished, type Place } from '../test/support/cli.ts';
import { eventually } from '../test/support/wait.ts';
import { connectStore, type Store } from '../kernel/store/index.ts';

const KEY = 'an-operators-own-admin-key';
const MASTER = randomBytes(32).toString('base64');
const CANARY = 'canary-91d2';
const SLEEPER = `
export const WORKFLOW_NAME = 'sleeper';
export async function handler(input, ctx) {
  await ctx.step('before', () => 1);
  await ctx.waitForEvent('wait', { eventType: 'wake', correlationId: 'w' });
  return 'woken';
}`;

let database: TestDatabase;
let place: Place;
let store: Store;
let server: ChildProcess;
const json = ({ stdout, stderr, code }: Finished) => (assert.equal(code, 0, stderr), JSON.parse(stdout));

before(async () => {
  database = await createTestDatabase();
  place = createPlace({ DATABASE_URL: database.url, CENTAUR_API_KEY: KEY, CENTAUR_MASTER_KEY: MASTER });
  store = await connectStore({ url: database.url, poolSize: 2 });
});
after(async () => {
  await place[Symbol.asyncDispose]();
  await store.close();
  await database.drop();
});

/** A thread with that many messages and some files of random bytes. */
async function seed(key: string, messages: number, megabytes: number): Promise<void> {
  await store.query(`insert into sandbox_sessions (thread_key, trace_id, last_message) values ($1, gen_random_uuid(), $2)`, [
    key,
    messages,
  ]);
  await store.query(
    `insert into agent_message_requests (thread_key, message_id, position, assignment_generation, role, parts, user_id, request_hash)
     select $1, 'm' || n, n, 1, 'user', json_build_array(json_build_object('type', 'text', 'text', $3::text || n)), 'ann', '' from generate_series(1, $2) n`,
    [key, messages, CANARY],
  );
  await store.query(
    `insert into agent_execution_events (thread_key, event_id, event_kind, event_json) select $1, n, 'text', json_build_object('text', $3::text) from generate_series(1, $2) n`,
    [key, messages, CANARY],
  );
  for (let n = 0; n < megabytes; n++)
    await store.query(
      `insert into attachments (thread_key, attachment_id, name, mime_type, size, sha256, data) values ($1, gen_random_uuid(), 'f', 'text/plain', $2, '', $3)`,
      [key, 1_000_000, randomBytes(1_000_000)],
    );
}

const left = async (key: string) =>
  (await store.query<{ n: number }>('select count(*)::int as n from agent_message_requests where thread_key = $1', [key])).rows[0]?.n ?? 0;

test('an export is a folder that verifies, until a byte of it is changed', async () => {
  ({ child: server } = await place.serve('up'));
  await seed('shown', 30, 3);
  const out = path.join(place.folder, 'shown');
  const end = json(await place.run(['data', 'export', '--thread', 'shown', '--out', out, '--json']));
  assert.equal(end.files['messages.jsonl'].rows, 30);
  assert.equal(readdirSync(path.join(out, 'attachments')).length, 3);
  assert.equal(json(await place.run(['data', 'verify', out, '--json'])).ok, true);
  const again = await place.run(['data', 'export', '--thread', 'shown', '--out', out]);
  assert.match(again.stderr, /is there already/);
  appendFileSync(path.join(out, 'messages.jsonl'), '{}\n');
  writeFileSync(path.join(out, 'more.jsonl'), '');
  const changed = await place.run(['data', 'verify', out]);
  assert.equal(changed.code, 1);
  assert.match(changed.stdout, /messages\.jsonl: it was changed[^]*more\.jsonl: the manifest does not know it/);
});

test('erasing asks for the subject twice, and a dry run erases nothing', async () => {
  const dry = await place.run(['data', 'erase', '--person', 'user:ann', '--dry-run']);
  assert.match(dry.stdout, /30 agent message requests/);
  assert.match((await place.run(['data', 'erase', '--thread', 'shown'])).stderr, /nothing was erased; to do it: --confirm thread:shown/);
  assert.equal((await place.run(['data', 'erase', '--thread', 'shown', '--confirm', 'shown'])).code, 2);
  assert.equal((await place.run(['data', 'erase', '--person', 'ann'])).code, 2);
  assert.equal(await left('shown'), 30);
  const hold = (await place.run(['data', 'hold', '--person', 'user:ann', '--reason', 'case 7'])).stdout.trim();
  const held = await place.run(['data', 'erase', '--thread', 'shown', '--confirm', 'thread:shown']);
  assert.equal(held.code, 1);
  assert.match(held.stderr, /case 7/);
  assert.match((await place.run(['data', 'retention', '--dry-run'])).stdout, /threads +for ever/);
  await place.run(['data', 'release', hold]);
});

test('a server that is killed in the middle of an erasure leaves a job, which the next one finishes', async () => {
  await seed('long', 40_000, 2);
  const child = place.start(['data', 'erase', '--thread', 'long', '--confirm', 'thread:long']);
  await eventually(async () => (await left('long')) < 39_900, { what: 'the erasure to begin' });
  server.kill('SIGKILL');
  await child.finished;
  const some = await left('long');
  assert.ok(some > 0 && some < 40_000, `killed in the middle: ${some} left`);
  ({ child: server } = await place.serve('up'));
  await eventually(async () => json(await place.run(['data', 'erasures', '--json'])).items[0].state === 'done');
  assert.equal(await left('long'), 0);
  const { rows } = await store.query(
    `select 1 from attachments where thread_key = 'long' union all select 1 from sandbox_sessions where thread_key = 'long'`,
  );
  assert.equal(rows.length, 0);
  const { items } = json(await place.run(['data', 'erasures', '--json']));
  assert.equal(items[0].counts.agent_message_requests, 40_000, 'each row is counted once');
});

/** What a backup to this file has written so far, under a name of its own. */
function draftOf(file: string): { readonly draft: string; readonly size: number } {
  const [name] = readdirSync(path.dirname(file)).filter((each) => each.startsWith(`${path.basename(file)}.`) && each.endsWith('.part'));
  const draft = path.join(path.dirname(file), name ?? '');
  return { draft, size: name === undefined ? 0 : statSync(draft).size };
}

test('a backup that is killed leaves no file under its name, and a restore that is killed an empty database', async () => {
  await seed('large', 1000, 60);
  const file = path.join(place.folder, 'a.backup');
  const killed = place.start(['backup', '--out', file]);
  await eventually(() => draftOf(file).size > 5_000_000, { what: 'the backup to begin' });
  killed.child.kill('SIGKILL');
  await killed.finished;
  assert.ok(!existsSync(file), 'nothing looks whole');
  const half = await place.run(['backup', 'verify', draftOf(file).draft]);
  assert.equal(half.code, 1);
  assert.match(half.stderr, /no whole backup/);

  const made = json(await place.run(['backup', '--out', file, '--json']));
  assert.ok(made.bytes > 60_000_000, 'random bytes do not pack');
  assert.match((await place.run(['backup', '--out', file])).stderr, /is there already/);
  assert.match((await place.run(['backup', 'verify', file])).stdout, /whole[^]*the master key here opens them/);
  const other = { CENTAUR_MASTER_KEY: randomBytes(32).toString('base64') };
  assert.match((await place.run(['backup', 'verify', file], { env: other })).stderr, /master key local:/);

  await using target = await createTestDatabase({ empty: true });
  const to = { DATABASE_URL: target.url };
  const refused = await place.run(['restore', file], { env: { ...to, ...other } });
  assert.equal(refused.code, 1);
  assert.match((await place.run(['restore', file])).stderr, /is not empty/);
  const cut = place.start(['restore', file], to);
  await eventually(() => /audit_log|agent_message_requests|workflow_steps|attachments/.test(cut.output.stderr), {
    timeoutMs: 60_000,
    what: 'the restore to begin',
  });
  cut.child.kill('SIGKILL');
  await cut.finished;
  const restored = json(
    await eventually(
      async () => {
        // the session of the one that was killed ends a moment later
        const run = await place.run(['restore', file, '--json'], { env: to });
        return run.code === 0 ? run : undefined;
      },
      { what: 'a second restore' },
    ),
  );
  assert.equal(restored.rows, made.rows);
  const there = await connectStore({ url: target.url, poolSize: 1 });
  const digest = `select md5(string_agg(md5(data), '' order by attachment_id)) as digest from attachments where thread_key = 'large'`;
  assert.deepEqual((await there.query(digest)).rows, (await store.query(digest)).rows);
  await there.close();
});

test('a whole home is backed up while it serves, and another serves what was in it', { timeout: 300_000 }, async () => {
  const embedded = createPlace({ CENTAUR_API_KEY: KEY });
  const second = createPlace({ CENTAUR_API_KEY: KEY });
  try {
    for (const each of [embedded, second]) each.write('sleeper.ts', SLEEPER);
    const { child, finished } = await embedded.serve('up');
    const run = (await embedded.run(['run', 'sleeper'])).stdout.trim();
    await eventually(async () => json(await embedded.run(['runs', 'show', run, '--json'])).status === 'waiting');
    const set = await embedded.run(['secrets', 'set', 'STRIPE', '--host', 'api.stripe.com', '--value-stdin'], {
      stdin: 'sk-live-canary-1',
    });
    assert.equal(set.code, 0, set.stderr);
    const file = path.join(embedded.folder, 'home.backup');
    const passphrase = path.join(embedded.folder, 'passphrase');
    writeFileSync(passphrase, 'correct horse battery staple\n');
    json(await embedded.run(['backup', '--out', file, '--passphrase-file', passphrase, '--json']));
    child.kill('SIGTERM');
    await finished;

    const without = await second.run(['restore', file, '--passphrase-file', passphrase]);
    assert.match(without.stderr, /master key/);
    const keys = { CENTAUR_MASTER_KEY_FILE: path.join(embedded.folder, 'home', 'master.key') };
    json(await second.run(['restore', file, '--passphrase-file', passphrase, '--json'], { env: keys }));
    await second.serve('up', keys);
    await second.run(['events', 'emit', 'wake', 'w']);
    await eventually(async () => json(await second.run(['runs', 'show', run, '--json'])).status === 'completed');
    await eventually(async () => json(await second.run(['audit', 'verify', '--json'])).ok === true);
    assert.match((await second.run(['secrets', 'ls'])).stdout, /STRIPE/);
  } finally {
    await embedded[Symbol.asyncDispose]();
    await second[Symbol.asyncDispose]();
  }
});
