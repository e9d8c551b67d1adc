import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { localMasterKey } from '../vault/index.ts';
import { type BackupKeys, readSealed, writeSealed } from './sealed-file.ts';

let folder: string;
before(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'centaur-backup-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

const master = localMasterKey(randomBytes(32));
let files = 0;
const fresh = () => path.join(folder, `b${files++}`);

async function sealed(plain: Buffer, keys: BackupKeys = { master }): Promise<string> {
  const file = fresh();
  await writeSealed(
    file,
    (async function* () {
      for (let at = 0; at < plain.length; at += 300_000) yield plain.subarray(at, at + 300_000);
    })(),
    keys,
    { createdAt: new Date(), masterKey: null },
  );
  return file;
}

async function opened(file: string, keys: BackupKeys = { master }): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of readSealed(file, keys)) parts.push(part);
  return Buffer.concat(parts);
}

test('a file that was cut, changed, shuffled or lengthened is not opened; the whole one is', async () => {
  // what does not pack, so that there are several pieces
  const plain = randomBytes(3_500_000);
  const file = await sealed(plain);
  assert.deepEqual(await opened(file), plain);
  const bytes = readFileSync(file);
  const start = bytes.indexOf(10, bytes.indexOf(10) + 1) + 1;
  const piece = 4 + bytes.readUInt32BE(start);
  const head = bytes.subarray(0, start);
  const [first, second, rest] = [
    bytes.subarray(start, start + piece),
    bytes.subarray(start + piece, start + 2 * piece),
    bytes.subarray(start + 2 * piece),
  ];
  const flipped = Buffer.from(bytes);
  flipped[start + 1000] = (flipped[start + 1000] as number) ^ 1;
  const otherTime = Buffer.from(bytes.toString('latin1').replace(/"created_at":"20/, '"created_at":"19'), 'latin1');
  const broken: Record<string, Buffer> = {
    'cut in a piece': bytes.subarray(0, -1),
    'cut between pieces': Buffer.concat([head, first, second]),
    'without a piece': Buffer.concat([head, first, rest]),
    'pieces in another order': Buffer.concat([head, second, first, rest]),
    'a bit': flipped,
    'the head': otherTime,
    'more behind its end': Buffer.concat([bytes, first]),
    'nothing but a head': head,
    empty: Buffer.alloc(0),
    'something else': Buffer.from('-- PostgreSQL database dump\n\n\n'),
  };
  for (const [what, changed] of Object.entries(broken)) {
    const other = fresh();
    writeFileSync(other, changed);
    await assert.rejects(opened(other), { code: 'BACKUP_BROKEN' }, what);
  }
});

test('it opens with its own key alone', async () => {
  const plain = Buffer.from('what is in it');
  const byMaster = await sealed(plain);
  await assert.rejects(opened(byMaster, { master: localMasterKey(randomBytes(32)) }), { code: 'BACKUP_KEY_WRONG' });
  await assert.rejects(opened(byMaster, { passphrase: 'correct horse battery' }), {
    code: 'BACKUP_KEY_WRONG',
    message: /master key local:/,
  });
  const byPassphrase = await sealed(plain, { passphrase: 'correct horse battery' });
  assert.deepEqual(await opened(byPassphrase, { passphrase: 'correct horse battery' }), plain);
  await assert.rejects(opened(byPassphrase, { passphrase: 'correct horse batterz' }), { code: 'BACKUP_KEY_WRONG' });
  await assert.rejects(opened(byPassphrase), { code: 'BACKUP_KEY_WRONG', message: /--passphrase-file/ });
  await assert.rejects(sealed(plain, { passphrase: 'short' }), { code: 'BACKUP_KEY_WRONG', message: /12 characters/ });
  assert.ok(!readFileSync(byMaster).includes(plain));
});
