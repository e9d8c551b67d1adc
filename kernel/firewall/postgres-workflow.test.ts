import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { createTestFirewall } from '../../test/support/firewall.ts';
import { eventually } from '../../test/support/wait.ts';
import { dropSchema, makeSchema, workflowSession } from '../../test/support/workflow-schema.ts';
import { createLease, revokeLease } from '../vault/index.ts';

test("a workflow's tables outlast its lease, and are those of the next one, wherever its firewall is", async () => {
  await using t = await createTestFirewall();
  await using cleanup = new AsyncDisposableStack();
  const place = await makeSchema(t.store, 'Nightly-Report');
  cleanup.defer(() => dropSchema(t.store, place));
  const leaseOf = () =>
    createLease(t.installation, 'test', { principal: 'workflow:Nightly-Report', secrets: [], ttlSeconds: 600, source: '127.0.0.1' });
  const first = await leaseOf();
  const client = await workflowSession(t, first.token);
  await client.query('create table reports (id int primary key, text text)');
  await client.query(`insert into reports values (1, 'known')`);
  await client.query('create temp table draft as select * from reports');
  const { rows } = await client.query<{ path: string }>(`select current_setting('search_path') as path`);
  assert.equal(rows[0]?.path, place.schema);
  await client.end();
  await revokeLease(t.installation, 'test', first.leaseId);
  const next = await workflowSession(t, (await leaseOf()).token);
  assert.deepEqual((await next.query('select text from reports where id = $1', [1])).rows, [{ text: 'known' }]);
  await next.query('alter table reports add column more text; drop table reports');
  const cancelled = assert.rejects(next.query('select pg_sleep(60)'), { code: '57014' });
  const { processID, secretKey } = next as unknown as { processID: number; secretKey: number };
  const asked = Buffer.alloc(16);
  [16, 80_877_102, processID, secretKey].forEach((value, i) => asked.writeInt32BE(value, 4 * i));
  await eventually(async () => {
    const sleeping = `select 1 from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'`;
    return (await t.store.query(sleeping)).rowCount === 1;
  });
  net
    .connect(t.firewall.postgresPort as number, '127.0.0.1')
    .on('error', () => undefined)
    .end(asked);
  await cancelled;
  await next.end();
});
