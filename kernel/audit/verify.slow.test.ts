import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash, createHmac, generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createTestDatabase } from '../../test/support/database.ts';
import { sealAll } from '../../test/support/seal.ts';
import { ensurePartitions, uuidAt } from '../store/partitions.ts';
import { connectStore, type Store } from '../store/index.ts';
import {
  type AuditLog,
  createAuditLog,
  createSealer,
  erasePrivate,
  exportLog,
  type KeyWrap,
  openPrivate,
  proveInclusion,
  protectPartitions,
  pruneLog,
  rootFromPath,
  type Sealer,
  sealPrivate,
  type Signer,
  verifyExport,
  verifyLog,
} from './index.ts';
import { batchHash, inclusionPath, leafOf, merkleRoot, type SealedBatch } from './offline.ts';
import { signCheckpoint } from './seal.ts';

const OFFLINE = fileURLToPath(new URL('./offline.ts', import.meta.url));

function makeSigner(): Signer {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  return { origin: 'centaur/test', privateKey, rawPublicKey: publicKey.export({ format: 'der', type: 'spki' }).subarray(-32) };
}

interface Log extends AsyncDisposable {
  readonly store: Store;
  readonly audit: AuditLog;
  readonly sealer: Sealer;
  readonly signer: Signer;
  readonly macKey: Buffer;
  /** Three batches of five entries; a checkpoint after each. */
  readonly ids: string[];
  /** As somebody does who owns the database: with the triggers off. */
  tamper(sql: string, params?: readonly unknown[]): Promise<void>;
  /** `batch 1: <id>: problem`, ids as their place in `ids`. */
  problems(anchors?: readonly string[]): Promise<string[]>;
  exported(): Promise<string>;
  batches(): Promise<SealedBatch[]>;
}

async function openLog(batches = 3): Promise<Log> {
  const database = await createTestDatabase();
  const store = await connectStore({ url: database.url, poolSize: 4 });
  await ensurePartitions(store, ['audit_log'], store.now());
  await protectPartitions(store);
  const macKey = randomBytes(32);
  const signer = makeSigner();
  const audit = createAuditLog({ store, macKey });
  const sealer = createSealer({ store, signer, delayMs: 3_600_000 });
  const ids: string[] = [];
  for (let batch = 0; batch < batches; batch++) {
    for (let i = 0; i < 5; i++)
      ids.push(await audit.write({ action: 'egress.intent', actor: 'user:test', resource: `https://example.com/${ids.length}` }));
    await sealAll({ store, sealer });
  }
  return {
    store,
    audit,
    sealer,
    signer,
    macKey,
    ids,
    async tamper(sql, params = []) {
      for (const table of ['audit_log', 'audit_batches', 'audit_checkpoints'])
        await store.query(`alter table ${table} disable trigger user`);
      await store.query(sql, params);
      for (const table of ['audit_log', 'audit_batches', 'audit_checkpoints'])
        await store.query(`alter table ${table} enable trigger user`);
    },
    async problems(anchors = []) {
      const { findings } = await verifyLog(store, { macKey, rawPublicKey: signer.rawPublicKey, anchors });
      return findings.map(({ batch, auditId, problem }) =>
        [batch === null ? undefined : `batch ${batch}`, auditId === null ? undefined : `entry ${ids.indexOf(auditId)}`, problem]
          .filter((part) => part !== undefined)
          .join(': '),
      );
    },
    async exported() {
      let text = '';
      for await (const line of exportLog(store, signer)) text += line;
      return text;
    },
    async batches() {
      const { rows } = await store.query<SealedBatch>(
        `select n, count, size, last_xid::text as "lastXid", last_id as "lastId", root, prev_hash as "prevHash", hash, members from audit_batches order by n`,
      );
      return rows;
    },
    async [Symbol.asyncDispose]() {
      await sealer.close();
      await audit.close();
      await store.close();
      await database.drop();
    },
  };
}

test('a log as it was written verifies, with what is not sealed yet', async () => {
  await using log = await openLog();
  await log.audit.write({ action: 'egress.intent', actor: 'user:test' });
  const { onProgress, seen } = { seen: [] as number[], onProgress: (entries: number) => void seen.push(entries) };
  const report = await verifyLog(log.store, { macKey: log.macKey, rawPublicKey: log.signer.rawPublicKey, onProgress });
  assert.deepEqual(report, { entries: 16, batches: 3, checkpoints: 3, unsealed: 1, pruned: 0, problems: 0, findings: [] });
  assert.deepEqual(seen, [5, 10, 15]);
});

// Each of these changes what is stored, as somebody can who owns the database and not the keys.
const TAMPERINGS: readonly [what: string, sql: string, params: (log: Log) => unknown[], problems: readonly string[]][] = [
  [
    'a changed entry',
    `update audit_log set entry = replace(entry, 'example.com', 'example.org') where audit_id = $1`,
    ({ ids }) => [ids[1]],
    [
      'batch 1: entry 1: the entry was changed',
      'batch 1: entry 1: its MAC is not by this installation',
      'batch 1: entry 1: its leaf is not that of the entry',
      'batch 1: entry 1: its columns say something else than the entry: resource',
    ],
  ],
  [
    'an entry that is no JSON any more',
    `update audit_log set entry = 'null and void' where audit_id = $1`,
    ({ ids }) => [ids[1]],
    [
      'batch 1: entry 1: the entry was changed',
      'batch 1: entry 1: its MAC is not by this installation',
      'batch 1: entry 1: its leaf is not that of the entry',
      'batch 1: entry 1: the entry is not JSON',
    ],
  ],
  [
    'a changed leaf',
    'update audit_log set leaf = $2 where audit_id = $1',
    ({ ids }) => [ids[7], randomBytes(32)],
    ['batch 2: entry 7: its leaf is not that of the entry'],
  ],
  [
    'a changed MAC, of a strange length even',
    'update audit_log set mac = $2 where audit_id = $1',
    ({ ids }) => [ids[7], randomBytes(7)],
    [
      'batch 2: entry 7: the entry was changed',
      'batch 2: entry 7: its MAC is not by this installation',
      'batch 2: entry 7: its leaf is not that of the entry',
    ],
  ],
  [
    'changed searchable columns',
    `update audit_log set actor = 'user:other', decision = 'allow', run_id = $2 where audit_id = $1`,
    ({ ids }) => [ids[14], ids[0]],
    ['batch 3: entry 14: its columns say something else than the entry: actor, decision, run_id'],
  ],
  [
    'a transaction number that was changed',
    `update audit_log set xid = '3' where audit_id = $1`,
    ({ ids }) => [ids[6]],
    ['batch 1: entry 6: the entry was added later', 'batch 2: entry 6: the entry is missing'],
  ],
  ['a deleted row', 'delete from audit_log where audit_id = $1', ({ ids }) => [ids[3]], ['batch 1: entry 3: the entry is missing']],
  [
    'a row that was slipped in',
    `insert into audit_log (audit_id, xid, action, actor, resource, entry, mac, leaf)
     select $2::uuid, xid, action, actor, resource, replace(entry, audit_id::text, $2::uuid::text), mac, leaf from audit_log where audit_id = $1`,
    ({ ids }) => [ids[1], `${ids[1]?.slice(0, 35)}${ids[1]?.endsWith('0') === true ? '1' : '0'}`],
    [
      'batch 1: entry -1: the entry was added later',
      'batch 1: entry -1: its MAC is not by this installation',
      'batch 1: entry -1: its leaf is not that of the entry',
    ],
  ],
  [
    'a changed root',
    'update audit_batches set root = $1 where n = 2',
    () => [Buffer.alloc(32)],
    ['batch 2: its root is not that of its members', 'batch 2: its hash is not that of its content'],
  ],
  [
    'a changed hash',
    'update audit_batches set hash = $1 where n = 2',
    () => [Buffer.alloc(32)],
    [
      'batch 2: its hash is not that of its content',
      'batch 3: it does not continue the batch before it',
      'the log is not the one of the checkpoint at 10 entries',
    ],
  ],
  [
    'a changed size and count',
    'update audit_batches set size = 50, count = 6 where n = 1',
    () => [],
    [
      'batch 1: it has 5 members, not 6',
      'batch 1: its size does not add up',
      'batch 1: its hash is not that of its content',
      'batch 2: its size does not add up',
      'the log is not the one of the checkpoint at 5 entries',
    ],
  ],
  [
    'a member that was taken out',
    'update audit_batches set members = substr(members, 1, 192), count = 4 where n = 2',
    () => [],
    [
      'batch 2: its size does not add up',
      'batch 2: it does not end with its last member',
      'batch 2: its root is not that of its members',
      'batch 2: entry 9: the entry was added later',
    ],
  ],
  [
    'a batch that was removed, and its checkpoint with it',
    'with gone as (delete from audit_checkpoints where n = 2) delete from audit_batches where n = 2',
    () => [],
    ['batch 3: batch 2 is missing', ...[5, 6, 7, 8, 9].map((i) => `batch 3: entry ${i}: the entry was added later`)],
  ],
  [
    'a forged checkpoint',
    'update audit_checkpoints set note = $1 where n = 3',
    () => [signCheckpoint(makeSigner(), 15, randomBytes(32))],
    ['a checkpoint is not signed by the installation'],
  ],
  [
    'a checkpoint that stands for another batch',
    'update audit_checkpoints set note = (select note from audit_checkpoints where n = 1) where n = 3',
    () => [],
    ['the checkpoint of batch 3 is the one at 5 entries'],
  ],
];

for (const [what, sql, params, problems] of TAMPERINGS) {
  test(`verification finds and names ${what}`, async () => {
    await using log = await openLog();
    if (what.includes('batch that was removed'))
      await log.store.query('alter table audit_checkpoints drop constraint audit_checkpoints_n_fkey');
    await log.tamper(sql, params(log));
    assert.deepEqual(await log.problems(), problems);
  });
}

test('verification finds and names batches that were swapped', async () => {
  await using log = await openLog();
  await log.store.query('alter table audit_checkpoints drop constraint audit_checkpoints_n_fkey');
  await log.tamper('update audit_batches set n = -n where n > 1');
  await log.tamper('update audit_batches set n = 5 + n where n < 0');
  const problems = await log.problems();
  assert.ok(problems.includes('batch 2: it does not continue the batch before it'), problems.join('\n'));
  assert.ok(problems.includes('batch 2: its hash is not that of its content'), problems.join('\n'));
  assert.ok(problems.includes('batch 3: its size does not add up'), problems.join('\n'));
});

test('a chain that was built anew from the changed entries is found by a checkpoint, in the database or kept elsewhere', async () => {
  await using log = await openLog();
  const [{ note } = { note: '' }] = (await log.store.query<{ note: string }>('select note from audit_checkpoints where n = 3')).rows;
  // the entry, its leaf, the batch and all after it: everything but MAC and signatures
  await log.tamper(
    `update audit_log set entry = replace(entry, 'example.com', 'example.org'), resource = 'https://example.org/12' where audit_id = $1`,
    [log.ids[12]],
  );
  const { rows } = await log.store.query<{ audit_id: string; entry: string; mac: Buffer }>(
    'select a.audit_id, a.entry, a.mac from audit_log a order by a.xid, a.audit_id offset 10',
  );
  const leaves = rows.map((row) => leafOf(row.entry, row.mac));
  await log.tamper('update audit_log set leaf = $2 where audit_id = $1', [log.ids[12], leaves[2]]);
  const last = (await log.batches())[2] as SealedBatch;
  const rebuilt = { ...last, root: merkleRoot(leaves) };
  await log.tamper('update audit_batches set root = $1, hash = $2, members = $3 where n = 3', [
    rebuilt.root,
    batchHash(rebuilt),
    Buffer.concat(rows.flatMap((row, i) => [Buffer.from(row.audit_id.replaceAll('-', ''), 'hex'), leaves[i] as Buffer])),
  ]);
  assert.deepEqual(await log.problems(), [
    'batch 3: entry 12: its MAC is not by this installation',
    'the log is not the one of the checkpoint at 15 entries',
  ]);
  await log.tamper('delete from audit_checkpoints where n = 3');
  assert.deepEqual(await log.problems(), ['batch 3: entry 12: its MAC is not by this installation']);
  assert.ok((await log.problems([note])).includes('the log is not the one of the checkpoint at 15 entries'));
});

test('an end that was cut off is found by a checkpoint kept elsewhere', async () => {
  await using log = await openLog();
  const [{ note } = { note: '' }] = (await log.store.query<{ note: string }>('select note from audit_checkpoints where n = 3')).rows;
  await log.tamper('delete from audit_checkpoints where n = 3');
  await log.tamper('delete from audit_batches where n = 3');
  await log.tamper('delete from audit_log where audit_id >= $1', [log.ids[10]]);
  assert.deepEqual(await log.problems(), []);
  assert.deepEqual(await log.problems([note]), ['the log is not the one of the checkpoint at 15 entries']);
});

test('findings beyond a thousand are counted', async () => {
  await using log = await openLog(1);
  await log.tamper(
    `insert into audit_log (audit_id, xid, action, actor, entry, mac, leaf)
     select gen_random_uuid(), '3', 'x', 'y', '{}', '', '' from generate_series(1, 600)`,
  );
  const report = await verifyLog(log.store, { rawPublicKey: log.signer.rawPublicKey });
  // each was added later, has a wrong leaf, and columns that differ
  assert.deepEqual([report.findings.length, report.problems], [1000, 1800]);
});

test('verification while entries are written, sealed and signed finds nothing', async () => {
  await using log = await openLog(1);
  // a log that grows as fast as it can is never verified to its end
  const rounds = async (work: () => Promise<unknown>) => {
    for (let i = 0; i < 200; i++) await work();
  };
  let isWritten = false;
  const writers = Promise.all([
    rounds(() => log.audit.write({ action: 'egress.intent', actor: 'user:test' })),
    rounds(() => log.sealer.seal()),
  ]).finally(() => (isWritten = true));
  let looks = 0;
  for (; !isWritten; looks++) assert.deepEqual(await log.problems(), []);
  await writers;
  assert.ok(looks > 3, `${looks} looks while it was written`);
  assert.deepEqual(await log.problems(), []);
});

/** RFC 6962, section 2.1, by its other description: complete subtrees on a stack, joined from the right. */
function rootByStack(leaves: readonly Buffer[]): Buffer {
  const node = (left: Buffer, right: Buffer) =>
    createHash('sha256')
      .update(Buffer.concat([Buffer.from([1]), left, right]))
      .digest();
  const stack: { height: number; hash: Buffer }[] = [];
  for (const hash of leaves) {
    stack.push({ height: 0, hash });
    while (stack.length > 1 && stack.at(-1)?.height === stack.at(-2)?.height) {
      const right = stack.pop() as { height: number; hash: Buffer };
      const left = stack.pop() as { height: number; hash: Buffer };
      stack.push({ height: left.height + 1, hash: node(left.hash, right.hash) });
    }
  }
  let root = (stack.pop() as { hash: Buffer }).hash;
  while (stack.length > 0) root = node((stack.pop() as { hash: Buffer }).hash, root);
  return root;
}

test('roots are those of RFC 6962', () => {
  // the test vectors of certificate-transparency-go: leaves as bytes, hashed with a zero in front
  const inputs = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f'];
  const vectors = [
    '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
    'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
    'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
    'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
    '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
    'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
    '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
  ];
  const leaves = inputs.map((hex) =>
    createHash('sha256')
      .update(Buffer.concat([Buffer.from([0]), Buffer.from(hex, 'hex')]))
      .digest(),
  );
  vectors.forEach((root, i) => assert.equal(merkleRoot(leaves.slice(0, i + 1)).toString('hex'), root));
  for (let count = 1; count <= 70; count++) {
    const many = Array.from({ length: count }, (_, i) => createHash('sha256').update(String(i)).digest());
    assert.deepEqual(merkleRoot(many), rootByStack(many), `${count} leaves`);
  }
});

test('a proof leads every leaf of trees of 1 to 20 to the root, and no other leaf', () => {
  for (let count = 1; count <= 20; count++) {
    const leaves = Array.from({ length: count }, (_, i) => createHash('sha256').update(`leaf ${i}`).digest());
    const root = merkleRoot(leaves);
    for (let i = 0; i < count; i++) {
      const proof = inclusionPath(leaves, i);
      assert.ok(rootFromPath(leaves[i] as Buffer, i, count, proof)?.equals(root), `${i} of ${count}`);
      for (let other = 0; other < count; other++) {
        if (other === i) continue;
        assert.ok(rootFromPath(leaves[other] as Buffer, i, count, proof)?.equals(root) !== true, `${other} for ${i} of ${count}`);
        assert.ok(rootFromPath(leaves[i] as Buffer, other, count, proof)?.equals(root) !== true, `${i} at ${other} of ${count}`);
      }
      assert.equal(rootFromPath(leaves[i] as Buffer, i, count, [...proof, randomBytes(32)])?.equals(root) ?? false, false);
      assert.equal(rootFromPath(leaves[i] as Buffer, count, count, proof), undefined);
    }
  }
});

test('the proof of an entry holds by itself: entry, leaf, path, root, batch, checkpoint', async () => {
  await using log = await openLog();
  for (const id of log.ids) {
    const proof = await proveInclusion(log.store, id);
    assert.ok(proof !== undefined && proof !== null);
    const bytes = (text: string) => Buffer.from(text, 'base64');
    const leaf = leafOf(proof.entry, bytes(proof.mac));
    const root = rootFromPath(leaf, proof.index, proof.count, proof.path.map(bytes));
    assert.ok(root?.equals(bytes(proof.root)));
    const hash = batchHash({
      n: proof.batch,
      size: proof.size,
      lastXid: proof.last_xid,
      lastId: proof.last_id,
      root: bytes(proof.root),
      prevHash: bytes(proof.prev_hash),
    });
    assert.equal(proof.checkpoint?.split('\n')[2], hash.toString('base64'));
  }
  assert.equal(await proveInclusion(log.store, uuidAt(0)), undefined);
  assert.equal(await proveInclusion(log.store, await log.audit.write({ action: 'x', actor: 'system' })), null);
});

test('the verifier of exports depends on nothing but Node', () => {
  const source = readFileSync(OFFLINE, 'utf8');
  const imports = [...source.matchAll(/(?:\bfrom |\bimport |\bimport\()'([^']+)'/g)].map((match) => match[1]);
  assert.ok(imports.length >= 4);
  assert.deepEqual(
    imports.filter((name) => !/^node:(?:crypto|fs|url|readline)$/.test(name as string)),
    [],
  );
  assert.doesNotMatch(source, /require\(/);
});

interface Ran {
  readonly code: number;
  readonly lines: string[];
}

/** In a folder of its own, so that nothing of this repository is within reach. */
async function runOffline(text: string, anchor?: string): Promise<Ran> {
  const folder = mkdtempSync(path.join(tmpdir(), 'centaur-offline-'));
  try {
    writeFileSync(path.join(folder, 'offline.mts'), readFileSync(OFFLINE));
    writeFileSync(path.join(folder, 'export.jsonl'), text);
    if (anchor !== undefined) writeFileSync(path.join(folder, 'anchor'), anchor);
    return await new Promise((resolve) => {
      const given = ['offline.mts', 'export.jsonl', ...(anchor === undefined ? [] : ['anchor'])];
      execFile(process.execPath, given, { cwd: folder, env: { NODE_NO_WARNINGS: '1' } }, (error, stdout, stderr) =>
        resolve({ code: Number(error?.code ?? 0), lines: `${stdout}${stderr}`.trim().split('\n') }),
      );
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('an export verifies in a process of its own, and tampered ones do not', async () => {
  await using log = await openLog();
  const text = await log.exported();
  const key = log.signer.rawPublicKey.toString('base64');
  const lines = text.trim().split('\n');
  assert.deepEqual(await runOffline(text, `${key}\n`), {
    code: 0,
    lines: ['15 entries in 3 batches, 3 checkpoints: all as they were sealed'],
  });

  const parsed = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  const at = (type: string, nth: number) => parsed.flatMap((line, i) => (line['type'] === type ? [i] : []))[nth] as number;
  const change = (edit: (copy: Record<string, unknown>[]) => void) => {
    const copy = structuredClone(parsed);
    edit(copy);
    return `${copy.map((line) => JSON.stringify(line)).join('\n')}\n`;
  };
  const forged = (entry: string, batch: number) => ({ type: 'entry', batch, mac: randomBytes(32).toString('base64'), entry });
  const cases: [what: string, text: string, expected: RegExp][] = [
    ['a changed entry', text.replace('example.com/7', 'example.org/7'), new RegExp(`batch 2: ${log.ids[7]}: the entry was changed`)],
    ['a changed MAC', change((copy) => (copy[at('entry', 4)]!['mac'] = 'AAAA')), new RegExp(`${log.ids[4]}: the entry was changed`)],
    ['a missing entry', change((copy) => copy.splice(at('entry', 4), 1)), new RegExp(`batch 1: ${log.ids[4]}: the entry is missing`)],
    ['a missing batch', change((copy) => copy.splice(at('batch', 1), 6)), /batch 3: batch 2 is missing/],
    ['batches in another order', change((copy) => copy.push(...copy.splice(at('batch', 1), 6))), /batch 3: batch 2 is missing/],
    ['a changed root', change((copy) => (copy[at('batch', 1)]!['root'] = key)), /batch 2: its root is not that of its members/],
    ['a changed size', change((copy) => (copy[at('batch', 0)]!['size'] = 6)), /batch 1: its size does not add up/],
    ['a forged checkpoint', change((copy) => (copy[at('checkpoint', 0)]!['note'] = 'trust me')), /a checkpoint is not signed/],
    [
      'an entry of a batch that is not there',
      change((copy) => copy.push(forged('{"id":"x"}', 99))),
      /batch 99: x: the entry is not with its batch/,
    ],
    [
      'a forged entry before the true one of the same id',
      change((copy) => copy.splice(at('entry', 2), 0, forged(String(copy[at('entry', 2)]!['entry']).replace('user:test', 'user:evil'), 1))),
      new RegExp(`${log.ids[2]}: the entry is there twice`),
    ],
    ['a line that is none', `${text}{"type":"entry"`, /line 23 cannot be read/],
    ['a line of no type', `${text}{"type":"remark"}\n`, /line 23 is of no known type/],
    ['something else', 'hello\n', /line 1 cannot be read/],
    ['nothing', '', /this is no export of an audit log/],
    ['a broken key', change((copy) => (copy[0]!['public_key'] = 'AAAA')), /a checkpoint is not signed/],
    ['a batch of odd fields', change((copy) => (copy[at('batch', 0)]!['last_xid'] = 'soon')), /cannot be read/],
  ];
  for (const [what, changed, expected] of cases) {
    assert.notEqual(changed, text, what);
    const ran = await runOffline(changed);
    assert.equal(ran.code, 1, `${what}: ${ran.lines.join('\n')}`);
    assert.match(ran.lines.join('\n'), expected, what);
    assert.doesNotMatch(ran.lines.join('\n'), /at \w.*offline\.mts/, what);
  }
  assert.equal((await runOffline(text, makeSigner().rawPublicKey.toString('base64'))).code, 1);
  const ran = await runOffline(text, signCheckpoint(makeSigner(), 15, randomBytes(32)));
  assert.match(ran.lines.join('\n'), /a checkpoint given was signed by another key/);
});

test('a cut-off end of an export is found by a checkpoint kept elsewhere, and only by that', async () => {
  await using log = await openLog();
  const text = await log.exported();
  const lines = text.trim().split('\n');
  const kept = (JSON.parse(lines.at(-1) as string) as { note: string }).note;
  const cut = lines
    .filter((line) => !line.includes('"batch":3') && !line.includes('"n":3'))
    .slice(0, -1)
    .join('\n');
  assert.deepEqual(await runOffline(cut), { code: 0, lines: ['10 entries in 2 batches, 2 checkpoints: all as they were sealed'] });
  const ran = await runOffline(cut, kept);
  assert.equal(ran.code, 1);
  assert.equal(ran.lines[0], 'the log is not the one of the checkpoint at 15 entries');
  assert.deepEqual((await runOffline(text, kept)).code, 0);
});

test('an export that begins in the middle verifies by itself', async () => {
  await using log = await openLog();
  const lines = (await log.exported()).trim().split('\n');
  const later = [lines[0], ...lines.slice(7).filter((line) => !line.includes('\\n5\\n'))].join('\n');
  const report = verifyExport(later);
  assert.deepEqual([report.entries, report.batches, report.checkpoints, report.findings], [10, 2, 2, []]);
});

const MONTH = 30 * 86_400_000;

/** A log with five entries of long ago, sealed, and five of now. */
async function openOldLog(): Promise<Log & { readonly old: string[] }> {
  const log = await openLog(0);
  const then = log.store.now() - 2 * MONTH;
  await ensurePartitions(log.store, ['audit_log'], then, 1);
  const old: string[] = [];
  for (let i = 0; i < 5; i++) {
    const id = `${uuidAt(then).slice(0, 13)}-7000-8000-00000000000${i}`;
    const entry = JSON.stringify({ action: 'egress.intent', actor: 'user:test', id });
    const mac = createHmac('sha256', log.macKey).update(entry).digest();
    await log.store.query('insert into audit_log (audit_id, action, actor, entry, mac, leaf) values ($1, $2, $3, $4, $5, $6)', [
      id,
      'egress.intent',
      'user:test',
      entry,
      mac,
      leafOf(entry, mac),
    ]);
    old.push(id);
  }
  for (let i = 0; i < 5; i++) log.ids.push(await log.audit.write({ action: 'egress.intent', actor: 'user:test' }));
  return Object.assign(log, { old });
}

test('old partitions are dropped, references move on, and the rest verifies', async () => {
  await using log = await openOldLog();
  await log.store.query(
    `insert into leases (lease_id, token_hash, kind, principal, expires_at, audit_id) values ($1, '', 'run', 'user:test', now(), $2)`,
    [log.old[0], log.old[1]],
  );
  const olderThan = new Date(log.store.now() - MONTH);
  assert.deepEqual(await pruneLog(log.store, log.audit, olderThan), [], 'what is not sealed stays');
  await sealAll(log);
  await log.tamper('delete from audit_log where audit_id = $1', [log.ids[2]]);

  const dropped = await pruneLog(log.store, log.audit, olderThan);
  // the week of the entries, the one before and the one after it
  assert.equal(dropped.length, 3);
  const { rows: left } = await log.store.query('select audit_id from audit_log where audit_id = any($1::uuid[])', [log.old]);
  assert.deepEqual(left, []);
  const { rows: prunes } = await log.store.query<{ audit_id: string }>(`select audit_id from audit_log where action = 'audit.prune'`);
  const { rows: leases } = await log.store.query<{ audit_id: string }>('select audit_id from leases');
  assert.deepEqual(leases, prunes);
  await sealAll(log);

  assert.deepEqual(await log.problems(), ['batch 1: entry 2: the entry is missing']);
  const report = await verifyLog(log.store, { macKey: log.macKey, rawPublicKey: log.signer.rawPublicKey });
  assert.equal(report.pruned, 5);
  const exported = verifyExport(await log.exported());
  assert.deepEqual([exported.pruned, exported.findings.map(({ auditId }) => auditId)], [5, [log.ids[2]]]);
  assert.deepEqual(await pruneLog(log.store, log.audit, olderThan), []);
});

test('who cannot write entries cannot have others taken for dropped on purpose', async () => {
  await using log = await openLog();
  const entry = JSON.stringify({ action: 'audit.prune', actor: 'system', details: { before: uuidAt(log.store.now() + MONTH) } });
  await log.tamper(
    `insert into audit_log (audit_id, action, actor, entry, mac, leaf) values (gen_random_uuid(), 'audit.prune', 'system', $1, $2, $3)`,
    [entry, Buffer.alloc(32), leafOf(entry, Buffer.alloc(32))],
  );
  await log.tamper('delete from audit_log where audit_id = $1', [log.ids[0]]);
  const problems = await log.problems();
  assert.equal(problems[0], 'batch 1: entry 0: the entry is missing');
  assert.ok(problems.some((problem) => problem.endsWith('its MAC is not by this installation')));
});

function testKeys(): KeyWrap {
  const pad = randomBytes(32);
  const mask = (key: Buffer) => Buffer.from(key.map((byte, i) => byte ^ (pad[i] as number)));
  return { id: 'test', wrap: async (key) => mask(key), unwrap: async (wrapped) => mask(wrapped) };
}

test('what is private of a subject can be read until it is erased; the log verifies all the same', async () => {
  await using log = await openLog(0);
  const keys = testKeys();
  const write = (subject: string, data: unknown) =>
    log.store.transaction(async (tx) => {
      const sealed = await sealPrivate(tx, keys, subject, data);
      await log.audit.append(tx, { action: 'message.in', actor: subject, private: sealed });
      return sealed;
    });
  const anna = await write('user:anna', { said: 'my number is 12345' });
  const [, again] = await Promise.all([write('user:bert', 1), write('user:bert', { said: 'two at once' })]);
  assert.deepEqual(await openPrivate(log.store, keys, anna), { said: 'my number is 12345' });
  assert.deepEqual(await openPrivate(log.store, keys, again), { said: 'two at once' });
  await assert.rejects(openPrivate(log.store, keys, { ...anna, subject: 'user:bert' }));
  await sealAll(log);
  const { rows } = await log.store.query<{ all: string }>(`select string_agg(entry, '') as all from audit_log`);
  assert.doesNotMatch(rows[0]?.all ?? '', /12345|two at once/);

  const erase = (subject: string) => log.store.transaction((tx) => erasePrivate(tx, log.audit, 'user:admin', subject));
  assert.equal(await erase('user:anna'), true);
  assert.equal(await erase('user:anna'), false);
  assert.equal(await erase('user:nobody'), false);
  assert.equal(await openPrivate(log.store, keys, anna), undefined);
  assert.deepEqual(await openPrivate(log.store, keys, again), { said: 'two at once' });
  await assert.rejects(write('user:anna', 'more'), /was erased/);
  await sealAll(log);
  assert.deepEqual(await log.problems(), []);
});
