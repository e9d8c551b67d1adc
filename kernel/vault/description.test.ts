import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { createTestDatabase } from '../../test/support/database.ts';
import { connectStore, type Store, type StoreLogEntry } from '../store/index.ts';
import { seal } from './envelope.ts';
import {
  changedSecrets,
  createValues,
  type Installation,
  localMasterKey,
  type MasterKey,
  openInstallation,
  openInstallKey,
  putSecret,
  type SecretRequest,
  type Values,
} from './index.ts';

const VALUE = 'sk_live_4eC39HqLyjWDarjtT1zdp7dc';
const HOSTS = ['api.example.com'];

interface Vault extends AsyncDisposable {
  readonly store: Store;
  readonly master: MasterKey;
  readonly logs: StoreLogEntry[];
  put(name: string, request?: Partial<SecretRequest>): Promise<unknown>;
  values(environment?: Readonly<Record<string, string>>): Promise<Values>;
  /** As a process does that starts. */
  open(): Promise<Installation>;
  /** As the release before left it: no MACs, and a key without a label. */
  age(): Promise<void>;
  actions(action: string): Promise<readonly Record<string, unknown>[]>;
}

async function openVault(): Promise<Vault> {
  const database = await createTestDatabase();
  const stack = new AsyncDisposableStack();
  stack.defer(() => database.drop());
  const store = await connectStore({ url: database.url, poolSize: 8 });
  stack.defer(() => store.close());
  const master = localMasterKey(randomBytes(32));
  const logs: StoreLogEntry[] = [];
  const log = (entry: StoreLogEntry) => void logs.push(entry);
  const open = async () =>
    stack.adopt(await openInstallation({ store, master, log, seal: { delayMs: 3_600_000 } }), (each) => each.close());
  const { audit } = await open();
  return {
    store,
    master,
    logs,
    open,
    put: (name, request = {}) => putSecret({ store, audit, master }, 'user:admin', name, { hosts: HOSTS, value: VALUE, ...request }),
    values: async (environment = {}) => stack.adopt(await createValues({ store, master, log, environment }), (each) => each.close()),
    async age() {
      const key = await openInstallKey(store, master, 'audit.mac');
      assert.ok(key);
      const { ciphertext, wrappedKey } = await seal(master, key.secret, 'install key audit.mac\n');
      await store.query(`update install_keys set public = '', ciphertext = $1, wrapped_key = $2 where name = 'audit.mac'`, [
        ciphertext,
        wrappedKey,
      ]);
      await store.query('update secrets set mac = null');
    },
    async actions(action) {
      const { rows } = await store.query<{ entry: string }>('select entry from audit_log where action = $1 order by audit_id', [action]);
      return rows.map(({ entry }) => (JSON.parse(entry) as { details: Record<string, unknown> }).details);
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const ELSEWHERE = JSON.stringify([{ scheme: 'https', host: 'evil.example', port: 443 }]);
const CHANGES = {
  hosts: `binding = jsonb_set(binding::jsonb, '{hosts}', '${ELSEWHERE}')::json`,
  places: `binding = jsonb_set(binding::jsonb, '{places,body}', 'true')::json`,
  type: `type = 'oauth_token'`,
  options: `options = '{"token_url": "https://evil.example/token"}'`,
  source: `source = '{"type": "env", "variable": "OTHER"}'`,
  'no MAC': `mac = null`,
  'the MAC of another': `mac = (select o.mac from secrets o where o.name = 'OTHER')`,
};

for (const [what, change] of Object.entries(CHANGES)) {
  test(`a secret whose row was changed (${what}) is refused, and its value still looked for`, async () => {
    await using vault = await openVault();
    await vault.put('STRIPE');
    await vault.put('OTHER', { value: 'another-value-of-a-secret' });
    const values = await vault.values({ OTHER: 'the-value-of-the-variable' });
    assert.equal(values.get('STRIPE').value, VALUE);
    await vault.store.query(`update secrets set ${change} where name = 'STRIPE'`);
    await values.refresh();
    await values.refresh();
    const later = await vault.values({ OTHER: 'the-value-of-the-variable' });
    for (const each of [values, later]) {
      assert.throws(() => each.get('STRIPE'), { code: 'SEAL_BROKEN', message: /STRIPE.*set again/ });
      assert.throws(() => each.describe('STRIPE'), { code: 'SEAL_BROKEN' });
      assert.equal(each.get('OTHER').value, 'another-value-of-a-secret');
      assert.ok(!each.known().some(({ value }) => value.includes('variable')), 'nothing is fetched');
    }
    assert.ok(values.known().some(({ value }) => value === VALUE));
    assert.equal(vault.logs.length, 2, 'each process tells it once');
    assert.deepEqual(await changedSecrets(vault.store, vault.master), ['STRIPE']);

    await vault.put('STRIPE');
    await values.refresh();
    assert.equal(values.get('STRIPE').value, VALUE);
    assert.deepEqual(await changedSecrets(vault.store, vault.master), []);
  });
}

test('to describe a changed secret anew takes its value: a host that was written into the row is no place that it was given for', async () => {
  await using vault = await openVault();
  await vault.put('STRIPE');
  await vault.store.query(`update secrets set ${CHANGES.hosts}`);
  for (const hosts of [['evil.example'], HOSTS])
    await assert.rejects(vault.put('STRIPE', { hosts, value: undefined }), { code: 'SEAL_BROKEN' });
});

test('a source that was changed is never asked', async () => {
  await using vault = await openVault();
  await vault.put('SOURCED', { value: undefined, source: { type: 'env', variable: 'MINE' } });
  const environment = { MINE: 'the-value-that-is-meant', THEIRS: 'a-value-of-something-else' };
  assert.equal((await vault.values(environment)).get('SOURCED').value, 'the-value-that-is-meant');
  await vault.store.query(`update secrets set source = '{"type": "env", "variable": "THEIRS"}'`);
  const values = await vault.values(environment);
  assert.throws(() => values.get('SOURCED'), { code: 'SEAL_BROKEN' });
  assert.deepEqual(values.known(), []);
});

test('rows of the release before get their MACs when the installation is opened, and only then', async () => {
  await using vault = await openVault();
  await vault.put('STRIPE', { hosts: ['API.Example.com', '*.example.com:8443'], methods: ['get'], paths: ['/v1/*'] });
  await vault.put('SOURCED', { value: undefined, source: { type: 'env', variable: 'MINE' } });
  await vault.put('CHANGED_BEFORE');
  await vault.age();
  await vault.store.query(`update secrets set ${CHANGES.hosts} where name = 'CHANGED_BEFORE'`);
  assert.deepEqual(await changedSecrets(vault.store, vault.master), ['CHANGED_BEFORE', 'SOURCED', 'STRIPE']);
  await Promise.all([vault.open(), vault.open(), vault.open()]);
  assert.deepEqual(await changedSecrets(vault.store, vault.master), ['CHANGED_BEFORE']);
  assert.deepEqual(await vault.actions('secret.adopt'), [{ adopted: 2, refused: ['CHANGED_BEFORE'] }]);

  await vault.store.query('update secrets set mac = null');
  await vault.open();
  assert.deepEqual(await changedSecrets(vault.store, vault.master), ['CHANGED_BEFORE', 'SOURCED', 'STRIPE']);
});

test('an installation that was never without MACs cannot be sent back to before', async () => {
  await using vault = await openVault();
  await vault.put('STRIPE');
  await vault.store.query(`update secrets set mac = null, ${CHANGES.places}`);
  // under another label the key does not open
  await vault.store.query(`update install_keys set public = '' where name = 'audit.mac'`);
  await assert.rejects(vault.open(), { code: 'SEAL_BROKEN' });
  // and of a new one, the log has no entries
  await vault.store.query(`delete from install_keys where name = 'audit.mac'`);
  const made = await vault.open();
  await made.audit.idle();
  assert.deepEqual(await changedSecrets(vault.store, vault.master), ['STRIPE']);
  const { ciphertext, wrappedKey } = await seal(vault.master, randomBytes(32), 'install key audit.mac\n');
  await vault.store.query(`update install_keys set public = '', ciphertext = $1, wrapped_key = $2 where name = 'audit.mac'`, [
    ciphertext,
    wrappedKey,
  ]);
  await vault.open();
  assert.deepEqual(await changedSecrets(vault.store, vault.master), ['STRIPE']);
});
