import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { after, before, beforeEach, describe, test } from 'node:test';
import { verifyLog } from '../../kernel/audit/index.ts';
import { storeEgressConfig } from '../../kernel/firewall/config.ts';
import type { Firewall } from '../../kernel/firewall/index.ts';
import { connectStore, type Store, type StoreLogEntry } from '../../kernel/store/index.ts';
import {
  addGrant,
  type CreatedLease,
  createLease,
  type Installation,
  localMasterKey,
  openInstallation,
  putSecret,
} from '../../kernel/vault/index.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { callThrough, type Service, startService, type TestFirewall } from '../support/firewall.ts';
import { eventually } from '../support/wait.ts';
import { assertNothingLeaked, assertUntouched, KEY, settledEntries } from './support.ts';

const PROCESS = fileURLToPath(new URL('firewall-process.ts', import.meta.url));

describe('a firewall that is killed', { timeout: 600_000 }, () => {
  const masterBytes = randomBytes(32);
  const room = new AsyncDisposableStack();
  const children: ChildProcess[] = [];
  let database: TestDatabase;
  let store: Store;
  let installation: Installation;
  let service: Service;
  let lease: CreatedLease;
  let answers = false;
  before(async () => {
    service = room.use(await startService((_, response) => void (answers && response.end('ok'))));
    database = await createTestDatabase();
    room.defer(() => database.drop());
    store = await connectStore({ url: database.url, poolSize: 5 });
    room.defer(() => store.close());
    const master = localMasterKey(masterBytes);
    installation = await openInstallation({ store, master });
    room.defer(() => installation.close());
    const parts = { store, audit: installation.audit, master };
    await putSecret(parts, 'test', 'API_KEY', { value: KEY, hosts: [`localhost:${service.port}`] });
    await addGrant(parts, 'test', 'user:test', 'API_KEY');
    await storeEgressConfig(parts, 'test', { allow_cidrs: ['127.0.0.1'], ca_pems: [service.caPem] });
    lease = await createLease(parts, 'test', { principal: 'user:test', secrets: ['API_KEY'], ttlSeconds: 600 });
  });
  after(async () => {
    for (const child of children) child.kill('SIGKILL');
    await room.disposeAsync();
  });
  beforeEach(() => {
    answers = false;
    service.bytes = 0;
    service.seen.length = 0;
  });

  async function start(): Promise<{ readonly child: ChildProcess; readonly t: TestFirewall }> {
    const child = spawn(process.execPath, [PROCESS, database.url, masterBytes.toString('hex')], { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    const [firewall] = (await once(child.stdout, 'data')) as [Buffer];
    return {
      child,
      t: {
        firewall: JSON.parse(firewall.toString()) as Firewall,
        store,
        installation,
        logs: [] as StoreLogEntry[],
      } as unknown as TestFirewall,
    };
  }
  const call = (t: TestFirewall) =>
    callThrough(t, lease.token, `https://localhost:${service.port}/`, { headers: { 'x-api-key': lease.placeholders['API_KEY'] } }).catch(
      (error: Error) => ({
        status: 0,
        body: error.message,
      }),
    );
  async function kill(child: ChildProcess): Promise<void> {
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }
  /** Intents that nothing is known of: what an auditor asks for. */
  async function unknown(): Promise<string[]> {
    const { rows } = await store.query<{ id: string }>(
      `select audit_id as id from audit_log i where action = 'egress.intent' and not exists (select from audit_log o where o.intent_id = i.audit_id)`,
    );
    return rows.map(({ id }) => id);
  }

  test('between an intent and its outcome leaves the intent without one, for good, in a log that verifies', async () => {
    const { child, t } = await start();
    const call1 = call(t);
    await eventually(() => service.seen.length === 1, { what: 'the request at the service' });
    // what the service has was written down before it got it
    const [intent] = await unknown();
    assert.notEqual(intent, undefined);
    await kill(child);
    const answer = await call1;
    assert.equal(answer.status, 0);
    assert.deepEqual(await unknown(), [intent]);

    // one that comes after it serves, and makes up no outcome
    answers = true;
    const next = await start();
    assert.equal((await call(next.t)).status, 200);
    await eventually(async () => (await unknown()).length === 1, { what: 'the outcome of the second request' });
    assert.deepEqual(await unknown(), [intent]);
    await assertNothingLeaked(next.t, answer, [lease.token]);
    const { macKey, signer } = installation;
    const report = await verifyLog(store, { macKey, rawPublicKey: signer.rawPublicKey });
    assert.deepEqual(report.findings, []);
    await kill(next.child);
  });

  test('while it writes an intent has sent nothing', async () => {
    const { child, t } = await start();
    const blocker = await store.connect('blocker');
    await blocker.query('begin');
    await blocker.query('lock table audit_log in share row exclusive mode');
    const answering = call(t);
    await eventually(
      async () => {
        const { rows } = await store.query<{ n: number }>(
          // in other databases, which are copies, the table has the same number
          `select count(*)::int as n from pg_locks l join pg_class c on c.oid = l.relation join pg_stat_activity a using (pid)
           where c.relname = 'audit_log' and not l.granted and a.datname = current_database() and a.query ilike '%insert into audit_log%'`,
        );
        return (rows[0]?.n ?? 0) > 0;
      },
      { what: 'the intent that waits' },
    );
    await kill(child);
    assert.equal((await answering).status, 0);
    await blocker.query('rollback');
    await blocker.end();
    await settledEntries(t);
    assertUntouched({ service });
    // Postgres may finish what it was told: then the log has an intent of which nothing is known, and no more
    assert.ok((await unknown()).length <= 2);
  });
});
