import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTestDatabase } from '../../test/support/database.ts';
import { connectStore } from '../store/index.ts';
import { ensurePartitions } from '../store/partitions.ts';
import { createAuditLog } from './log.ts';
import { openIntents } from './reads.ts';

test('the entries of one lease are found by an index, in every partition', async () => {
  await using database = await createTestDatabase();
  const store = await connectStore({ url: database.url });
  try {
    await ensurePartitions(store, ['audit_log'], store.now());
    const plan = await store.transaction(async (tx) => {
      await tx.query('set local enable_seqscan = off');
      const { rows } = await tx.query<{ 'QUERY PLAN': string }>(
        `explain select entry from audit_log where ($1::uuid is null or lease_id = $1) order by audit_id desc limit 51`,
        ['0199a000-0000-7000-8000-000000000001'],
      );
      return rows.map((row) => row['QUERY PLAN']).join('\n');
    });
    const scans = plan.split('\n').filter((line) => / on audit_log_/.test(line));
    assert.ok(scans.length >= 2, plan);
    for (const scan of scans) assert.match(scan, /Index Scan.*_lease_id_audit_id_idx/);
  } finally {
    await store.close();
  }
});

test('calls without an outcome are counted, once they are old enough to have had one', async () => {
  await using database = await createTestDatabase();
  const store = await connectStore({ url: database.url });
  try {
    await ensurePartitions(store, ['audit_log'], store.now());
    const at = (minutes: number) =>
      createAuditLog({ store: { ...store, now: () => store.now() - minutes * 60_000 }, macKey: Buffer.alloc(32, 1) });
    const write = async (minutes: number, intentId?: string) => {
      const log = at(minutes);
      const id = await log.write({ action: intentId === undefined ? 'egress.intent' : 'egress.outcome', actor: 'user:x', intentId });
      await log.close();
      return id;
    };
    // ids only grow in one process: the oldest first
    await write(150);
    await write(90);
    await write(60, await write(61));
    const latest = await write(30);
    await write(1);
    assert.deepEqual(await openIntents(store), { count: 2, latest });
  } finally {
    await store.close();
  }
});
