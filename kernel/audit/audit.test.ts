import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { createTestDatabase } from '../../test/support/database.ts';
import { sealAll } from '../../test/support/seal.ts';
import { eventually } from '../../test/support/wait.ts';
import { ensurePartitions } from '../store/partitions.ts';
import { connectStore, type Store, type StoreLogEntry } from '../store/index.ts';
import {
  type AuditEntry,
  type AuditLog,
  continueOrder,
  createAuditLog,
  createSealer,
  listEntries,
  protectPartitions,
  type Sealer,
  type Signer,
  verifyLog,
} from './index.ts';
import { MEMBER_BYTES, readMembers } from './offline.ts';

const ENTRY: AuditEntry = { action: 'secret.create', actor: 'user:test', resource: 'secret:STRIPE', details: { why: 'test' } };

function makeSigner(): Signer {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  return { origin: 'centaur/test', privateKey, rawPublicKey: publicKey.export({ format: 'der', type: 'spki' }).subarray(-32) };
}

interface Room extends AsyncDisposable {
  readonly url: string;
  readonly store: Store;
  readonly audit: AuditLog;
  readonly macKey: Buffer;
  readonly signer: Signer;
  readonly logs: StoreLogEntry[];
  sealer(): Sealer;
  seal(): Promise<void>;
  count(): Promise<number>;
}

async function openRoom(options: { readonly poolSize?: number; readonly scrub?: (text: string) => string } = {}): Promise<Room> {
  const database = await createTestDatabase();
  const store = await connectStore({ url: database.url, poolSize: options.poolSize ?? 5 });
  await ensurePartitions(store, ['audit_log'], store.now());
  await protectPartitions(store);
  const macKey = randomBytes(32);
  const signer = makeSigner();
  const logs: StoreLogEntry[] = [];
  const log = (entry: StoreLogEntry) => void logs.push(entry);
  const audit = createAuditLog({ store, macKey, log, ...(options.scrub === undefined ? {} : { scrub: options.scrub }) });
  const sealers: Sealer[] = [];
  const sealer = () => {
    // long delays: only what a test asks for is sealed
    const made = createSealer({ store, signer, delayMs: 3_600_000, log });
    sealers.push(made);
    return made;
  };
  return {
    url: database.url,
    store,
    audit,
    macKey,
    signer,
    logs,
    sealer,
    seal: () => sealAll({ store, sealer: sealer() }),
    async count() {
      const { rows } = await store.query<{ n: number }>('select count(*)::int as n from audit_log');
      return rows[0]?.n as number;
    },
    async [Symbol.asyncDispose]() {
      for (const each of sealers) await each.close();
      await audit.close();
      await store.close();
      await database.drop();
    },
  };
}

test('an entry commits with the business it tells of, or not at all', async () => {
  await using room = await openRoom();
  const { store, audit } = room;
  await store.query('create table business (what text)');
  const id = await store.transaction(async (tx) => {
    await tx.query(`insert into business values ('kept')`);
    return audit.append(tx, ENTRY);
  });
  await assert.rejects(
    store.transaction(async (tx) => {
      await tx.query(`insert into business values ('lost')`);
      await audit.append(tx, { ...ENTRY, actor: 'user:lost' });
      throw new Error('changed my mind');
    }),
    /changed my mind/,
  );
  const { items } = await listEntries(store, {});
  assert.deepEqual(
    items.map((item) => [item.id, item.action, item.actor, item['details']]),
    [[id, 'secret.create', 'user:test', { why: 'test' }]],
  );
  const { rows } = await store.query('select what from business');
  assert.deepEqual(rows, [{ what: 'kept' }]);
});

test('entries written by themselves share commits', async () => {
  await using room = await openRoom();
  const ids = await Promise.all(Array.from({ length: 500 }, (_, i) => room.audit.write({ ...ENTRY, details: { i } })));
  assert.equal(new Set(ids).size, 500);
  const { rows } = await room.store.query<{ entries: number; commits: number }>(
    'select count(*)::int as entries, count(distinct xid)::int as commits from audit_log',
  );
  assert.equal(rows[0]?.entries, 500);
  assert.ok((rows[0]?.commits ?? 500) < 20, `${rows[0]?.commits} commits`);
});

test('connections cut in mid-flush lose no entry and double none', async () => {
  await using room = await openRoom();
  let cutting = true;
  let cut = 0;
  const cuts = (async () => {
    // not for ever: where a connection takes longer than the time between two cuts, none would get through
    while (cutting && cut < 40) {
      const { rowCount } = await room.store.query(
        `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'centaur audit' and datname = current_database()`,
      );
      cut += rowCount;
      await new Promise((resolve) => setTimeout(resolve, 15));
    }
  })();
  const ids: string[] = [];
  await Promise.all(
    Array.from({ length: 40 }, async (_, caller) => {
      // until enough of them have been cut, however fast the machine is
      for (let i = 0; i < 8 || (cut <= 5 && i < 2000); i++) ids.push(await room.audit.write({ ...ENTRY, details: { caller, i } }));
    }),
  );
  cutting = false;
  await cuts;
  assert.ok(cut > 5, 'connections were cut');
  assert.equal(new Set(ids).size, ids.length);
  assert.equal(await room.count(), ids.length);
  const { rows } = await room.store.query<{ n: number }>(
    `select count(distinct (entry::json -> 'details')::text)::int as n from audit_log where audit_id = any($1::uuid[])`,
    [ids],
  );
  assert.equal(rows[0]?.n, ids.length);
});

test('an entry that Postgres refuses fails alone', async () => {
  await using room = await openRoom();
  await room.store.query(`alter table audit_log add constraint no_poison check (actor <> 'user:poison')`);
  const results = await Promise.allSettled(
    ['a', 'b', 'poison', 'c', 'd'].map((name) => room.audit.write({ ...ENTRY, actor: `user:${name}` })),
  );
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
  );
  assert.equal(await room.count(), 4);
});

test('there is no lease without an entry of its creation', async () => {
  await using room = await openRoom();
  const insert = (auditId: string | null) =>
    room.store.query(
      `insert into leases (lease_id, token_hash, kind, principal, expires_at, audit_id)
       values ($1, $2, 'run', 'user:test', now() + interval '1 hour', $3)`,
      ['0199a000-0000-7000-8000-00000000000a', randomBytes(32), auditId],
    );
  await assert.rejects(insert('0199a000-0000-7000-8000-000000000001'), /foreign key/);
  await assert.rejects(insert(null), /null value in column "audit_id"/);
  await insert(await room.audit.write(ENTRY));
});

test('entries, batches and checkpoints are neither changed, deleted nor truncated, nor are the partitions', async () => {
  await using room = await openRoom();
  await room.audit.write(ENTRY);
  await room.seal();
  const { rows } = await room.store.query<{ name: string }>('select tableoid::regclass::text as name from audit_log');
  const partition = rows[0]?.name as string;
  for (const table of ['audit_log', partition, 'audit_batches', 'audit_checkpoints']) {
    const column = table.startsWith('audit_log') ? 'entry' : table === 'audit_batches' ? 'count' : 'note';
    for (const change of [
      `update ${table} set ${column} = ${column}`,
      `delete from ${table}`,
      `truncate ${table}`,
      `truncate ${table} cascade`,
    ])
      await assert.rejects(room.store.query(change), /append-only|cannot truncate a table referenced/, change);
  }
  assert.equal(await room.count(), 1);
});

test('2,000 entries of 8 writers, with transactions that stay open, are each sealed once and in order by racing sealers', async () => {
  await using room = await openRoom({ poolSize: 16 });
  const { store, audit } = room;
  const sealers = [room.sealer(), room.sealer()];
  let writing = true;
  const sealing = sealers.map(async (sealer) => {
    while (writing) await sealer.seal();
  });
  const sealedBatches = async () => (await store.query<{ n: number }>('select count(*)::int as n from audit_batches')).rows[0]?.n ?? 0;
  let slowly = 0;
  const slow = async (n: number) => {
    // until some of it is sealed meanwhile: transactions of other tests on the server may hold that up
    for (let i = 0; i < 5 || ((await sealedBatches()) <= 3 && i < 200); i++) {
      await store.transaction(async (tx) => {
        await audit.append(tx, { ...ENTRY, actor: `user:slow-${n}` });
        await new Promise((resolve) => setTimeout(resolve, 120));
        await audit.append(tx, { ...ENTRY, actor: `user:slow-${n}` });
      });
      slowly += 2;
    }
  };
  const fast = async (n: number) => {
    for (let i = 0; i < 247; i++) await store.transaction((tx) => audit.append(tx, { ...ENTRY, actor: `user:fast-${n}`, details: { i } }));
    for (let i = 0; i < 24; i++) await audit.write({ ...ENTRY, actor: `user:group-${n}` });
  };
  await Promise.all([slow(0), slow(1), ...Array.from({ length: 7 }, (_, n) => fast(n))]);
  writing = false;
  await Promise.all(sealing);
  await room.seal();
  const total = slowly + 7 * 271;
  assert.equal(await room.count(), total);

  const { rows: batches } = await store.query<{ n: number; count: number; size: number; members: Buffer }>(
    'select n, count, size, members from audit_batches order by n',
  );
  assert.ok(batches.length > 3, `${batches.length} batches`);
  assert.deepEqual(
    batches.map(({ n }) => n),
    batches.map((_, i) => i + 1),
  );
  const sealed = batches.flatMap(({ members }) => readMembers(members).map(({ id }) => id));
  const { rows: inOrder } = await store.query<{ audit_id: string }>('select a.audit_id from audit_log a order by a.xid, a.audit_id');
  assert.deepEqual(
    sealed,
    inOrder.map((row) => row.audit_id),
  );
  const { rows: odd } = await store.query('select n from audit_batches where length(members) <> count * $1', [MEMBER_BYTES]);
  assert.deepEqual(odd, []);
  assert.equal(batches.at(-1)?.size, total);
  const report = await verifyLog(store, { macKey: room.macKey, rawPublicKey: room.signer.rawPublicKey });
  assert.deepEqual([report.entries, report.unsealed, report.findings], [total, 0, []]);
});

test('what an open transaction has appended is not overtaken, and is sealed soon after it ends', async () => {
  await using room = await openRoom();
  const sealer = createSealer({ store: room.store, signer: room.signer, delayMs: 20 });
  let end: () => void = () => {};
  let appended: () => void = () => {};
  const isAppended = new Promise<void>((resolve) => (appended = resolve));
  const open = room.store.transaction(async (tx) => {
    await room.audit.append(tx, { ...ENTRY, actor: 'user:first' });
    appended();
    await new Promise<void>((resolve) => (end = resolve));
  });
  await isAppended;
  await room.audit.write({ ...ENTRY, actor: 'user:second' });
  sealer.hint();
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.deepEqual((await room.store.query('select n from audit_batches')).rows, []);
  end();
  await open;
  // nobody gives another hint: the sealer had seen that something waits, also with no batch before it
  await eventually(
    async () => (await room.store.query<{ size: number }>('select max(size) as size from audit_batches')).rows[0]?.size === 2,
  );
  await sealer.close();
});

test('numbers of transactions are compared as numbers: 9 is before 10', async () => {
  await using room = await openRoom();
  // first below a power of ten and then above it, where an order by text goes wrong; far from it, since the server counts the
  // transactions of all who are on it
  const { rows } = await room.store.query<{ at: number }>(`select audit_xmax()::text::bigint as at`);
  const at = rows[0]?.at ?? 0;
  const power = 10 ** Math.ceil(Math.log10(at + 10_000_000));
  const ids: string[] = [];
  for (const shift of [power - 1_000_000 - at, power + 1_000_000 - at]) {
    await room.store.query(`select setval('audit_xid_shift', $1::bigint)`, [shift]);
    for (let i = 0; i < 10; i++) ids.push(await room.store.transaction((tx) => room.audit.append(tx, ENTRY)));
  }
  const { rows: digits } = await room.store.query(`select distinct length(xid::text) as digits from audit_log`);
  assert.equal(digits.length, 2, 'both sides of the power of ten');
  await room.seal();
  const { rows: batches } = await room.store.query<{ members: Buffer }>('select members from audit_batches order by n');
  assert.deepEqual(
    batches.flatMap(({ members }) => readMembers(members).map(({ id }) => id)),
    ids,
  );
  const report = await verifyLog(room.store, { macKey: room.macKey, rawPublicKey: room.signer.rawPublicKey });
  assert.deepEqual([report.unsealed, report.findings], [0, []]);
});

test('a log that was moved to another server, where transactions are numbered anew, goes on', async () => {
  await using room = await openRoom();
  const verify = () => verifyLog(room.store, { macKey: room.macKey, rawPublicKey: room.signer.rawPublicKey });
  // as if the server that the log comes from had counted further than this one
  await room.store.query(`select setval('audit_xid_shift', 5000000)`);
  await room.audit.write(ENTRY);
  await room.seal();
  await room.audit.write({ ...ENTRY, actor: 'user:not-sealed-yet' });
  await room.store.query(`select setval('audit_xid_shift', 0)`);
  await continueOrder(room.store);
  await room.audit.write({ ...ENTRY, actor: 'user:after' });
  await room.seal();
  const report = await verify();
  assert.deepEqual([report.entries, report.unsealed, report.batches, report.findings], [3, 0, 2, []]);
  const shift = async () => (await room.store.query<{ v: number }>('select last_value as v from audit_xid_shift')).rows[0]?.v;
  const before = await shift();
  await continueOrder(room.store);
  assert.equal(await shift(), before, 'on the same server nothing changes');
});

test('an entry above 64 KiB is refused, in bytes and not in characters', async () => {
  await using room = await openRoom();
  await room.audit.write({ ...ENTRY, details: { text: 'a'.repeat(65_000) } });
  for (const text of ['a'.repeat(65_536), 'ü'.repeat(33_000)])
    assert.throws(() => void room.audit.write({ ...ENTRY, details: { text } }), RangeError);
  await assert.rejects(
    room.store.transaction((tx) => room.audit.append(tx, { ...ENTRY, details: { text: 'a'.repeat(70_000) } })),
    RangeError,
  );
  assert.equal(await room.count(), 1);
});

test('what is scrubbed from an entry is in none of its columns, and it verifies', async () => {
  await using room = await openRoom({ scrub: (text) => text.replaceAll('hunter2hunter2', '[secret:X]') });
  await room.audit.write({
    action: 'egress.intent',
    actor: 'user:hunter2hunter2',
    resource: 'https://example.com/hunter2hunter2',
    threadKey: 'thread-hunter2hunter2',
    details: { body: 'hunter2hunter2' },
  });
  const { rows } = await room.store.query<{ line: string }>('select a::text as line from audit_log a');
  assert.doesNotMatch(rows[0]?.line ?? '', /hunter2/);
  const report = await verifyLog(room.store, { macKey: room.macKey, rawPublicKey: room.signer.rawPublicKey });
  assert.deepEqual(report.findings, []);
});

test('texts that Postgres cannot hold do not make an entry look forged; an id that is no UUID is refused', async () => {
  await using room = await openRoom();
  const runId = '0199A000-0000-7000-8000-0000000000AB';
  await room.audit.write({ action: 'egress.intent', actor: 'user:a\0b', resource: 'https://x/\ud800', threadKey: '\udc00t', runId });
  const report = await verifyLog(room.store, { macKey: room.macKey, rawPublicKey: room.signer.rawPublicKey });
  assert.deepEqual([report.entries, report.findings], [1, []]);
  assert.equal((await listEntries(room.store, { runId })).items.length, 1);
  assert.throws(() => void room.audit.write({ ...ENTRY, traceId: '4bf92f3577b34da6a3ce929d0e0e4736' }), /traceId: expected a UUID/);
});

test('a checkpoint goes to the anchor, once however many seal', async () => {
  await using room = await openRoom();
  const notes: string[] = [];
  const anchor = async (note: string) => void notes.push(note);
  const sealers = [1, 2, 3].map(() => createSealer({ store: room.store, signer: room.signer, delayMs: 3_600_000, anchor }));
  await room.audit.write(ENTRY);
  await Promise.all(sealers.map((sealer) => sealAll({ store: room.store, sealer })));
  assert.equal(notes.length, 1);
  assert.match(notes[0] ?? '', /^centaur\/test\n1\n[A-Za-z0-9+/=]{44}\n\n— centaur\/test [A-Za-z0-9+/=]+\n$/);
  for (const sealer of sealers) await sealer.close();
});

test('entries are found by what they are about, page by page, in both directions', async () => {
  await using room = await openRoom();
  for (let i = 0; i < 7; i++) await room.audit.write({ ...ENTRY, action: i % 2 === 0 ? 'egress.intent' : 'egress.done', details: { i } });
  await room.audit.write({ ...ENTRY, action: 'egress_other' });
  const collect = async (forward: boolean) => {
    const seen: unknown[] = [];
    let after: string | undefined;
    do {
      const page = await listEntries(room.store, { action: 'egress', limit: 3, after, forward });
      seen.push(...page.items.map((item) => (item['details'] as { i: number }).i));
      after = page.next ?? undefined;
    } while (after !== undefined);
    return seen;
  };
  assert.deepEqual(await collect(true), [0, 1, 2, 3, 4, 5, 6]);
  assert.deepEqual(await collect(false), [6, 5, 4, 3, 2, 1, 0]);
  assert.equal((await listEntries(room.store, { action: 'egress.done', actor: 'user:test' })).items.length, 3);
  assert.equal((await listEntries(room.store, { actor: 'user:nobody' })).items.length, 0);
});
