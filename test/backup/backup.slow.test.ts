/** A server that works while it is backed up, restored to another server, which goes on with what had been going on. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { createRegistry, type MemoryRegistry } from '../support/registry.ts';
import { createTestDatabase } from '../support/database.ts';
import { sealAll } from '../support/seal.ts';
import { eventually } from '../support/wait.ts';
import { verifyLog } from '../../kernel/audit/index.ts';
import { checkJournal, checkJournals, createJournalSealer } from '../../kernel/journal/index.ts';
import { createEngine } from '../../kernel/engine/index.ts';
import { findBinaries } from '../../kernel/store/embedded/binaries.ts';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../kernel/store/embedded/index.ts';
import { connectStore, releaseSchema } from '../../kernel/store/index.ts';
import { ensurePartitions, partitionName, WEEK_MS, weekStart } from '../../kernel/store/partitions.ts';
import { createLease, createValues, localMasterKey, openInstallation, putSecret, addGrant } from '../../kernel/vault/index.ts';
import { jsonFrame, readContent } from '../../kernel/backup/content.ts';
import { copyOut } from '../../kernel/backup/copy.ts';
import { makeBackup, restoreBackup, verifyBackup } from '../../kernel/backup/index.ts';
import { readSealed, writeSealed } from '../../kernel/backup/sealed-file.ts';

let folder: string;
let server: EmbeddedPostgres;
const masterBytes = randomBytes(32);
const master = localMasterKey(masterBytes);

before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'centaur-busy-'));
  chmodSync(folder, 0o711);
  // of the same release as the server of the tests
  await using database = await createTestDatabase({ empty: true });
  const store = await connectStore({ url: database.url, poolSize: 1 });
  const { rows } = await store.query<{ major: number }>(`select current_setting('server_version_num')::int / 10000 as major`);
  await store.close();
  const old = fileURLToPath(new URL('../pg15/package.json', import.meta.url));
  server = await startEmbeddedPostgres({
    dataDir: path.join(folder, 'postgres'),
    throwaway: true,
    ...(rows[0]?.major === 15 ? { binaries: findBinaries(pathToFileURL(old).href) } : {}),
  });
});
after(async () => {
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

function define(registry: MemoryRegistry): void {
  registry.define('count', async (input: { n: number }, ctx) => {
    const one = await ctx.step('one', () => ({ n: input.n, text: 'tab\there, line\nthere, back\\slash, \u00e9\u{1f600}' }));
    return ctx.step('two', () => one.n + 1);
  });
  registry.define('sleeper', async (_: unknown, ctx) => {
    const before = await ctx.step('before', () => 'kept');
    await ctx.waitForEvent('wait', { eventType: 'wake', correlationId: 'sleeper-1' });
    return `${before}, and woken`;
  });
}

/** Sorted lines of each table. */
async function tablesOfBackup(file: string): Promise<Map<string, string[]>> {
  const content = await readContent(readSealed(file, { master }));
  const tables = new Map<string, string[]>();
  for await (const { name, rows } of content.tables()) {
    const parts: Buffer[] = [];
    for (let next = await rows.next(); next.done !== true; next = await rows.next()) parts.push(next.value);
    tables.set(name, Buffer.concat(parts).toString().split('\n').filter(Boolean).toSorted());
  }
  return tables;
}

test('a busy server is backed up, and another goes on from there', async () => {
  await using source = await createTestDatabase();
  const store = await connectStore({ url: source.url, poolSize: 6 });
  const installation = await openInstallation({ store, master });
  const registry = createRegistry();
  define(registry);
  const engine = await createEngine({ store, registry });
  await engine.work();
  const file = path.join(folder, 'busy.backup');
  let lease: { leaseId: string };
  let sleeper: string;
  try {
    await putSecret(installation, 'key:1', 'STRIPE_KEY', { value: 'sk-live-canary', hosts: ['api.stripe.com'] });
    await addGrant(installation, 'key:1', 'workflow:count', 'STRIPE_KEY');
    lease = await createLease(installation, 'key:1', {
      principal: 'workflow:count',
      secrets: ['STRIPE_KEY'],
      kind: 'run',
      ttlSeconds: 600,
    });
    sleeper = (await engine.start({ workflow_name: 'sleeper' })).run_id;
    await eventually(async () => (await engine.getRun(sleeper)).status === 'waiting');
    await store.query(
      `insert into sandbox_sessions (thread_key, trace_id, state, sandbox_id, host) values ('t', gen_random_uuid(), 'idle', 'sb/1', 'gone')`,
    );
    await store.query(
      `with ann as (insert into users (user_id, name, display_name, role, created_at, updated_at)
         values (gen_random_uuid(), 'ann', 'Ann', 'admin', now(), now()) returning user_id)
       insert into user_sessions (session_id, user_id, token_hash, kind, how, proven_at, created_at, seen_at, expires_at)
       select gen_random_uuid(), user_id, '\\x01', 'cli', 'password', now(), now(), now(), now() + interval '1 day' from ann`,
    );
    await store.query(
      `insert into user_sign_ins (sign_in_id, flow, handle_hash, ciphertext, wrapped_key, kek_id, created_at, expires_at)
       values (gen_random_uuid(), 'code', '\\x02', '', '', 'k', now(), now() + interval '10 minutes')`,
    );
    await store.query(
      `insert into attachments (thread_key, attachment_id, name, mime_type, size, sha256, data)
       select 't', gen_random_uuid(), 'f' || n, 'application/octet-stream', 4000000, '\\x00', decode(repeat(md5(n::text), 125000), 'hex') from generate_series(1, 8) n`,
    );
    let stop = false;
    const load = (async () => {
      for (let n = 0; !stop; n += 20)
        await Promise.all(Array.from({ length: 20 }, (_, i) => engine.start({ workflow_name: 'count', input: { n: n + i } })));
    })();
    await eventually(async () => (await engine.listRuns({ status: 'completed' })).items.length >= 20);
    const before = performance.now();
    const report = await makeBackup({ store, audit: installation.audit, master, actor: 'system:cli', file });
    console.log(`backed up ${report.rows} rows, ${(report.bytes / 1e6).toFixed(1)} MB in ${(performance.now() - before).toFixed(0)} ms`);
    stop = true;
    await load;
  } finally {
    await engine.drain(5000);
    await installation.close();
    await store.close();
  }
  assert.equal((await verifyBackup(file, { master })).opens_secrets, true);

  const began = performance.now();
  const restored = await restoreBackup({ url: server.url, master, actor: 'system:cli', file });
  console.log(`restored in ${(performance.now() - began).toFixed(0)} ms`, restored.ended);
  assert.deepEqual(restored.ended, { workers: 1, leases: 1, sandboxes: 1, firewalls: 0, sessions: 1, sign_ins: 1 });

  const there = await connectStore({ url: server.url, poolSize: 6 });
  const saved = await tablesOfBackup(file);
  assert.ok(saved.size > 30 && (saved.get('workflow_runs_finished')?.length ?? 0) > 10);
  const client = await there.connect('compare');
  for (const [name, lines] of saved) {
    const parts: Buffer[] = [];
    for await (const part of copyOut(client, `copy (select * from ${name}) to stdout`)) parts.push(part);
    const now = Buffer.concat(parts).toString().split('\n').filter(Boolean).toSorted();
    // what was ended differs, and the log has an entry more
    if (name === 'user_sign_ins') assert.deepEqual([lines.length, now.length], [1, 0]);
    else if (['workers', 'leases', 'sandbox_sessions', 'user_sessions'].includes(name)) assert.equal(now.length, lines.length, name);
    else if (name === 'audit_log') assert.equal(now.filter((line) => !lines.includes(line)).length, 1, name);
    else assert.deepEqual(now, lines, name);
  }
  await client.end();

  const again = await openInstallation({ store: there, master });
  const engine2 = await createEngine({ store: there, registry });
  try {
    await engine2.work();
    await engine2.emitEvent({ event_type: 'wake', correlation_id: 'sleeper-1', payload: {} });
    await eventually(async () => (await engine2.getRun(sleeper)).status === 'completed', { what: 'the sleeping run' });
    await eventually(
      async () => {
        const { rows } = await there.query<{ n: number }>(`select count(*)::int as n from workflow_runs where workflow_name = 'count'`);
        return rows[0]?.n === 0;
      },
      { what: 'the runs that were live' },
    );
    const { rows: leases } = await there.query('select 1 from leases where lease_id = $1 and revoked_at is not null', [lease.leaseId]);
    assert.equal(leases.length, 1);
    const values = await createValues({ store: there, master, log: () => {} });
    assert.deepEqual(
      values.known().map(({ value }) => value),
      ['sk-live-canary'],
    );
    values.close();
    await again.audit.write({ action: 'test.after', actor: 'system' });
    await sealAll({ store: there, sealer: again.sealer });
    const verified = await verifyLog(there, { macKey: again.macKey, rawPublicKey: again.signer.rawPublicKey });
    assert.equal(verified.problems, 0, JSON.stringify(verified.findings));
    // what ended here is sealed here, behind what was sealed there
    const sealing = createJournalSealer({ store: there, audit: again.audit, settleMs: 0 });
    await eventually(async () => {
      await sealing.seal();
      return (await checkJournal(there, again.macKey, sleeper))?.state === 'intact';
    });
    await sealing.close();
    for (let next: string | null | undefined; next !== null;) {
      const report = await checkJournals(there, again.macKey, { after: next, retentionDays: 90 });
      assert.deepEqual(report.problems, []);
      next = report.next;
    }
    const { rows } = await there.query<{ entry: string }>(`select entry from audit_log where action = 'data.restore'`);
    assert.equal(rows.length, 1);
  } finally {
    await engine2.drain(5000);
    await again.close();
    await there.close();
  }
});

test('a backup goes into an empty database and into no other, with the keys of its secrets and with no others', async () => {
  await using source = await createTestDatabase();
  await using target = await createTestDatabase({ empty: true });
  const store = await connectStore({ url: source.url, poolSize: 3 });
  const installation = await openInstallation({ store, master });
  const file = path.join(folder, 'small.backup');
  try {
    await putSecret(installation, 'key:1', 'STRIPE_KEY', { value: 'sk-canary-value', hosts: ['api.stripe.com'] });
    const { rows } = await makeBackup({
      store,
      audit: installation.audit,
      master,
      passphrase: 'correct horse battery',
      actor: 'system:cli',
      file,
    });
    assert.ok(rows > 5);
    await assert.rejects(makeBackup({ store, audit: undefined, master, actor: 'system:cli', file }), { code: 'NOT_EMPTY' });
  } finally {
    await installation.close();
    await store.close();
  }
  const passphrase = 'correct horse battery';
  const to = { url: target.url, actor: 'system:cli', file };
  assert.equal((await verifyBackup(file, { passphrase })).opens_secrets, null);
  await assert.rejects(restoreBackup({ ...to, passphrase, master: localMasterKey(randomBytes(32)) }), { code: 'BACKUP_KEY_WRONG' });
  await assert.rejects(restoreBackup({ ...to, passphrase }), { code: 'BACKUP_KEY_WRONG' });
  const cut = path.join(folder, 'cut.backup');
  writeFileSync(cut, readFileSync(file).subarray(0, -100));
  await assert.rejects(restoreBackup({ ...to, file: cut, passphrase, master }), { code: 'BACKUP_BROKEN' });
  const empty = await connectStore({ url: target.url, poolSize: 1 });
  const { rows } = await empty.query(`select from pg_class where relnamespace = 'public'::regnamespace`);
  await empty.close();
  assert.equal(rows.length, 0, 'what failed left nothing');
  await restoreBackup({ ...to, passphrase, master });
  await assert.rejects(restoreBackup({ ...to, passphrase, master }), { code: 'NOT_EMPTY' });
});

test('of two backups to one name at once one is made, and the name is that of a whole one', async () => {
  await using source = await createTestDatabase();
  const store = await connectStore({ url: source.url, poolSize: 4 });
  const file = path.join(folder, 'twice.backup');
  const old = `${file}.0123abcd.part`;
  writeFileSync(old, 'of one that was killed yesterday');
  utimesSync(old, new Date(Date.now() - 86_400_000), new Date(Date.now() - 86_400_000));
  const make = () => makeBackup({ store, audit: undefined, master, actor: 'system:cli', file });
  const made = await Promise.allSettled([make(), make(), make()]);
  await store.close();
  const whole = made.flatMap((each) => (each.status === 'fulfilled' ? [each.value.backup_id] : []));
  assert.deepEqual([whole.length, (await verifyBackup(file, { master })).backup_id], [1, whole[0]]);
  for (const each of made) if (each.status === 'rejected') assert.equal((each.reason as { code: string }).code, 'NOT_EMPTY');
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith('twice')),
    ['twice.backup'],
  );
});

test('a partition that goes while a backup begins is in it with its rows, or not at all', async () => {
  await using source = await createTestDatabase();
  const store = await connectStore({ url: source.url, poolSize: 4 });
  const file = path.join(folder, 'dropped.backup');
  const week = weekStart(Date.now());
  await ensurePartitions(store, ['workflow_runs_finished'], Date.now());
  await store.query(
    `insert into workflow_runs_finished (run_id, workflow_name, status, queue, priority, attempt, created_at)
     select (substr(lpad(to_hex($1::bigint), 12, '0'), 1, 12) || '7000800000000000000' || n)::uuid, 'w', 'c', 'default', 0, 1, now() from generate_series(1, 9) n`,
    [week + 1000],
  );
  const busy = await store.connect('test');
  try {
    await busy.query('begin');
    // the first that a backup holds, and one that it reads before the runs
    await busy.query('lock table workers in access exclusive mode');
    const making = makeBackup({ store, audit: undefined, master, actor: 'system:cli', file });
    await eventually(async () => {
      const { rows } = await store.query(`select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`);
      return rows.length > 0;
    });
    await busy.query(`drop table ${partitionName('workflow_runs_finished', week)}`);
    await busy.query('commit');
    await making;
  } finally {
    await busy.end();
    await store.close();
  }
  const { manifest } = await readContent(readSealed(file, { master }));
  const rows = (await tablesOfBackup(file)).get('workflow_runs_finished')?.length ?? 0;
  const isThere = manifest.partitions.some(({ name }) => name === partitionName('workflow_runs_finished', week));
  assert.deepEqual([isThere, rows], isThere ? [true, 9] : [false, 0]);
});

test('partitions for later weeks wait for no reader, and nobody waits behind them', async () => {
  await using source = await createTestDatabase();
  const store = await connectStore({ url: source.url, poolSize: 4 });
  const now = Date.now();
  await ensurePartitions(store, ['audit_log'], now);
  const reader = await store.connect('test');
  try {
    await reader.query('begin');
    await reader.query('select 1 from audit_log limit 1');
    const waiting = ensurePartitions(store, ['audit_log'], now + WEEK_MS);
    assert.equal(await Promise.race([waiting.then(() => 'done'), pause(60_000, 'waits', { ref: false })]), 'done');
    await reader.query('commit');
    await ensurePartitions(store, ['audit_log'], now + WEEK_MS);
    const { rows } = await store.query('select 1 from pg_class where relname = $1', [
      partitionName('audit_log', weekStart(now + 5 * WEEK_MS)),
    ]);
    assert.equal(rows.length, 1, 'they are made when nobody reads');
  } finally {
    await reader.end();
    await store.close();
  }
});

test('a backup that names other tables than those of the release is refused, whoever sealed it', async () => {
  const migrations = (await releaseSchema()).migrations.map(({ id, name, checksum }) => ({ id, name, checksum }));
  for (const [n, more] of [
    { tables: [{ name: 'pg_description', columns: ['description'] }] },
    { partitions: [{ parent: 'pg_class', name: 'p', bound: 'DEFAULT' }] },
    { sequences: [{ name: 'elsewhere', last_value: '1', is_called: true }] },
  ].entries()) {
    await using target = await createTestDatabase({ empty: true });
    const file = path.join(folder, `foreign-${n}.backup`);
    const manifest = {
      type: 'manifest',
      backup_id: '0198c0de-0000-7000-8000-000000000000',
      created_at: new Date().toISOString(),
      postgres: '18',
      migrations,
      keys: [],
      tables: [],
      partitions: [],
      sequences: [],
      left_out: [],
      ...more,
    };
    const frames = async function* () {
      yield* jsonFrame(manifest);
      for (const { name } of manifest.tables) {
        yield* jsonFrame({ type: 'table', name });
        yield* jsonFrame({ type: 'table_end', name, rows: 0, sha256: createHash('sha256').digest('hex') });
      }
      yield* jsonFrame({ type: 'end', tables: manifest.tables.length, rows: 0 });
    };
    await writeSealed(file, frames(), { master }, { createdAt: new Date(), masterKey: null });
    await assert.rejects(restoreBackup({ url: target.url, master, actor: 'system:cli', file }), { code: 'BACKUP_UNSUITABLE' }, String(n));
  }
});
