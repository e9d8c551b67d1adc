import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { createTestDatabase } from '../../test/support/database.ts';
import { openPrivate, sealPrivate, verifyLog } from '../audit/index.ts';
import { connectStore, type Store, type StoreLogEntry } from '../store/index.ts';
import {
  createValues,
  type Installation,
  localMasterKey,
  type MasterKey,
  openInstallation,
  putSecret,
  rewrapAll,
  rotateSecret,
  wrappedElsewhere,
} from './index.ts';

const VALUE = 'sk_live_4eC39HqLyjWDarjtT1zdp7dc';

interface Vault extends AsyncDisposable {
  readonly store: Store;
  readonly audit: Installation['audit'];
  /** The key that all was sealed under. */
  readonly old: MasterKey;
  /** As processes have it meanwhile: the new one first, the old one behind it. */
  readonly both: MasterKey;
  readonly next: MasterKey;
  put(name: string): Promise<unknown>;
  /** What a firewall with this key has of the secrets. */
  open(master: MasterKey): Promise<readonly string[]>;
  rewrapped(): Promise<readonly { readonly table: string; readonly keys: number }[]>;
}

async function openVault(): Promise<Vault> {
  const database = await createTestDatabase();
  const stack = new AsyncDisposableStack();
  stack.defer(() => database.drop());
  const store = await connectStore({ url: database.url, poolSize: 8 });
  stack.defer(() => store.close());
  const [oldKey, newKey] = [randomBytes(32), randomBytes(32)];
  const old = localMasterKey(oldKey);
  const { audit } = stack.adopt(await openInstallation({ store, master: old, seal: { delayMs: 3_600_000 } }), (each) => each.close());
  return {
    store,
    audit,
    old,
    both: localMasterKey(newKey, [oldKey]),
    next: localMasterKey(newKey),
    put: (name) => putSecret({ store, audit, master: old }, 'user:admin', name, { hosts: ['api.example.com'], value: `${VALUE}${name}` }),
    async open(master) {
      await (await openInstallation({ store, master })).close();
      const values = await createValues({ store, master, log: ({ message, error }) => assert.fail(`${message}: ${String(error)}`) });
      const known = values.known().map(({ value }) => value);
      values.close();
      return known;
    },
    async rewrapped() {
      const { rows } = await store.query<{ details: string }>(
        `select entry::json -> 'details' as details from audit_log where action = 'master_key.rewrap' order by audit_id`,
      );
      return rows.map(({ details }) => JSON.parse(details) as { table: string; keys: number });
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

test('all that an earlier master key wrapped moves to the present one, with its entry, and the earlier one is needed no more', async () => {
  await using vault = await openVault();
  const { store, audit, both, next, old } = vault;
  await vault.put('A');
  await vault.put('B');
  await rotateSecret({ store, audit, master: old }, 'user:admin', 'A', `${VALUE}-second`);
  const sealed = await sealPrivate(store, old, 'user:ann', { name: 'Ann' });
  const logs: StoreLogEntry[] = [];
  const running = await createValues({ store, master: old, log: (entry) => logs.push(entry) });
  assert.deepEqual(
    (await wrappedElsewhere(store, both)).map(({ key, count }) => [key, count]),
    [[old.id, 6]],
  );

  assert.deepEqual(await rewrapAll({ store, audit, master: both }, 'key:admin'), { key: next.id, moved: 6, left: [] });
  assert.deepEqual(await vault.rewrapped(), [
    { table: 'install_keys', keys: 2 },
    { table: 'secret_versions', keys: 3 },
    { table: 'audit_subjects', keys: 1 },
  ]);
  assert.deepEqual((await vault.open(next)).toSorted(), [`${VALUE}-second`, `${VALUE}A`, `${VALUE}B`]);
  const { macKey, signer, close } = await openInstallation({ store, master: next });
  assert.deepEqual((await verifyLog(store, { macKey, rawPublicKey: signer.rawPublicKey })).findings, []);
  await close();
  assert.deepEqual(await openPrivate(store, next, sealed), { name: 'Ann' });

  await running.refresh();
  assert.equal(running.get('A').value, `${VALUE}-second`, 'a firewall with the earlier key goes on with what it has open');
  assert.deepEqual(logs, []);
  running.close();
  assert.deepEqual(await rewrapAll({ store, audit, master: both }, 'key:admin'), { key: next.id, moved: 0, left: [] });
  assert.equal((await vault.rewrapped()).length, 3, 'what changed nothing is not told');
});

test('broken off in the middle, all still opens with both keys, and the next time the rest moves', async () => {
  await using vault = await openVault();
  const { store, both, next } = vault;
  // more than fit into two batches
  const versions = 230;
  await vault.put('A');
  await store.query(
    `insert into secrets select (jsonb_populate_record(s, jsonb_build_object('name', 'N' || n))).* from secrets s, generate_series(2, $1) n`,
    [versions],
  );
  await store.query(
    `insert into secret_versions select (jsonb_populate_record(v, jsonb_build_object('name', 'N' || n))).* from secret_versions v, generate_series(2, $1) n`,
    [versions],
  );
  let appends = 0;
  const dying: Vault['audit'] = {
    ...vault.audit,
    append: (tx, entry) => (++appends > 2 ? Promise.reject(new Error('killed')) : vault.audit.append(tx, entry)),
  };
  await assert.rejects(rewrapAll({ store, audit: dying, master: both }, 'key:admin'), /killed/);
  const [rest] = await wrappedElsewhere(store, both);
  assert.equal(rest?.count, versions - 100, 'the batch whose entry was not written did not happen');
  const two = await Promise.all([1, 2].map(() => rewrapAll({ store, audit: vault.audit, master: both }, 'key:admin')));
  assert.equal((two[0]?.moved ?? 0) + (two[1]?.moved ?? 0), versions - 100, 'of two at once, each moves what the other did not');
  assert.deepEqual(await wrappedElsewhere(store, next), []);
  const told = await vault.rewrapped();
  assert.equal(
    told.reduce((sum, { keys }) => sum + keys, 0),
    versions + 2,
  );
  await store.query(`delete from secret_versions where name <> 'A'`);
  await store.query(`delete from secrets where name <> 'A'`);
  assert.deepEqual(await vault.open(next), [`${VALUE}A`]);
});

test('secrets that get new values meanwhile are neither lost nor put back', async () => {
  await using vault = await openVault();
  const { store, audit, old, both, next } = vault;
  const names = ['A', 'B', 'C', 'D', 'E', 'F'];
  for (const name of names) await vault.put(name);
  const slow: MasterKey = {
    ...both,
    async wrap(key) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      return both.wrap(key);
    },
  };
  await Promise.all([
    rewrapAll({ store, audit, master: slow }, 'key:admin'),
    ...names.map((name) => rotateSecret({ store, audit, master: old }, 'user:admin', name, `${VALUE}-${name}-second`)),
  ]);
  const report = await rewrapAll({ store, audit, master: both }, 'key:admin');
  assert.deepEqual(report.left, []);
  const known = await vault.open(next);
  for (const name of names) assert.ok(known.includes(`${VALUE}-${name}-second`) && known.includes(`${VALUE}${name}`), name);
});

test('what was sealed under a key that this process has not is left and named, and holds up nothing', async () => {
  await using vault = await openVault();
  const { store, audit, both } = vault;
  await vault.put('A');
  const lost = localMasterKey(randomBytes(32));
  await putSecret({ store, audit, master: { ...lost, unwrap: vault.old.unwrap } }, 'user:admin', 'LOST', {
    hosts: ['api.example.com'],
    value: VALUE,
  });
  const report = await rewrapAll({ store, audit, master: both }, 'key:admin');
  assert.equal(report.moved, 3);
  assert.deepEqual(
    report.left.map(({ key, count }) => [key, count]),
    [[lost.id, 1]],
  );
  assert.match(report.left[0]?.problem ?? '', new RegExp(`sealed under the master key ${lost.id}`));
});
