import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { sealAll } from '../../test/support/seal.ts';
import { eventually } from '../../test/support/wait.ts';
import { createTestDatabase } from '../../test/support/database.ts';
import { verifyLog } from '../audit/index.ts';
import { connectStore, type Store } from '../store/index.ts';
import { open, seal } from './envelope.ts';
import {
  addGrant,
  createLease,
  createValues,
  getSecret,
  hashToken,
  type Installation,
  installKey,
  LEASE_SECONDS_MOST,
  type LeaseRequest,
  listGrants,
  listLeases,
  listSecrets,
  localMasterKey,
  type MasterKey,
  openInstallation,
  putSecret,
  removeGrant,
  removeSecret,
  renewLease,
  retireVersions,
  revokeLease,
  rotateSecret,
  type SecretRequest,
  setRoles,
} from './index.ts';
import { makePlaceholder, shapeOf } from './placeholders.ts';

const KEY = 'sk_live_4eC39HqLyjWDarjtT1zdp7dc';
const HOSTS = ['api.example.com'];

interface Vault extends AsyncDisposable {
  readonly url: string;
  readonly store: Store;
  readonly master: MasterKey;
  readonly installation: Installation;
  readonly parts: { readonly store: Store; readonly audit: Installation['audit']; readonly master: MasterKey };
  put(name: string, request?: Partial<SecretRequest>): Promise<unknown>;
  lease(secrets: readonly string[], request?: Partial<LeaseRequest>): ReturnType<typeof createLease>;
  /** Names of leases' states, by lease. */
  status(leaseId: string): Promise<string | undefined>;
  actions(): Promise<string[]>;
  /** All that the database holds, as text. */
  dump(): Promise<string>;
}

async function openVault(): Promise<Vault> {
  const database = await createTestDatabase();
  const store = await connectStore({ url: database.url, poolSize: 12 });
  const master = localMasterKey(randomBytes(32));
  const installation = await openInstallation({ store, master, seal: { delayMs: 3_600_000 } });
  const parts = { store, audit: installation.audit, master };
  return {
    url: database.url,
    store,
    master,
    installation,
    parts,
    put: (name, request = {}) => putSecret(parts, 'user:admin', name, { hosts: HOSTS, value: KEY, ...request }),
    lease: (secrets, request = {}) => createLease(parts, 'user:admin', { principal: 'user:test', secrets, ttlSeconds: 600, ...request }),
    async status(leaseId) {
      return (await listLeases(store)).items.find((lease) => lease.lease_id === leaseId)?.status;
    },
    async actions() {
      const { rows } = await store.query<{ action: string }>('select action from audit_log order by audit_id');
      return rows.map((row) => row.action);
    },
    async dump() {
      const { rows: tables } = await store.query<{ name: string }>(
        `select c.oid::regclass::text as name from pg_class c where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace order by 1`,
      );
      let text = '';
      for (const { name } of tables) {
        const { rows } = await store.query<{ line: string }>(`select t::text as line from ${name} t order by 1`);
        text += rows.map((row) => row.line).join('\n');
      }
      return text;
    },
    async [Symbol.asyncDispose]() {
      await installation.close();
      await store.close();
      await database.drop();
    },
  };
}

test('a sealed value opens with its master key, at its place, unchanged; and not otherwise', async () => {
  const master = localMasterKey(randomBytes(32));
  const sealed = await seal(master, Buffer.from(KEY), 'secret A version 1');
  assert.equal((await open(master, sealed, 'secret A version 1')).toString(), KEY);
  const again = await seal(master, Buffer.from(KEY), 'secret A version 1');
  assert.notDeepEqual(again.ciphertext, sealed.ciphertext);
  await assert.rejects(open(master, sealed, 'secret B version 1'), { code: 'SEAL_BROKEN' });
  for (const field of ['ciphertext', 'wrappedKey'] as const) {
    for (const at of [0, 20, sealed[field].length - 1]) {
      const changed = Buffer.from(sealed[field]);
      changed[at] = (changed[at] as number) ^ 1;
      await assert.rejects(open(master, { ...sealed, [field]: changed }, 'secret A version 1'), { code: 'SEAL_BROKEN' });
    }
    await assert.rejects(open(master, { ...sealed, [field]: Buffer.alloc(3) }, 'secret A version 1'), { code: 'SEAL_BROKEN' });
  }
});

test('another master key opens nothing, and says which one is needed without telling any; earlier ones still open', async () => {
  const old = randomBytes(32);
  const key = randomBytes(32);
  const sealed = await seal(localMasterKey(old), Buffer.from(KEY), 'x');
  const error = (await open(localMasterKey(key), sealed, 'x').catch((thrown: unknown) => thrown)) as Error & { code: string };
  assert.equal(error.code, 'MASTER_KEY_UNKNOWN');
  assert.match(error.message, /local:[0-9a-f]{12}.*this process has local:[0-9a-f]{12}/);
  for (const secret of [old, key])
    for (const encoding of ['hex', 'base64', 'base64url'] as const)
      assert.ok(!error.message.includes(secret.toString(encoding).slice(0, 12)));
  assert.equal((await open(localMasterKey(key, [old]), sealed, 'x')).toString(), KEY);
});

test('rows of two secrets that were swapped no longer open', async () => {
  await using vault = await openVault();
  await vault.put('ONE', { value: 'one-value-of-a-secret' });
  await vault.put('TWO', { value: 'two-value-of-a-secret' });
  await vault.store.query(
    `update secret_versions a set ciphertext = b.ciphertext, wrapped_key = b.wrapped_key from secret_versions b where a.name = 'ONE' and b.name = 'TWO'`,
  );
  const logs: unknown[] = [];
  const values = await createValues({ store: vault.store, master: vault.master, log: (entry) => logs.push(entry) });
  assert.throws(() => values.get('ONE'), { code: 'SEAL_BROKEN' });
  assert.equal(values.get('TWO').value, 'two-value-of-a-secret');
  assert.equal(logs.length, 1);
  assert.doesNotMatch(JSON.stringify(logs), /-value-of-a-secret/);
  values.close();
});

test('placeholders look like keys of their vendor, differ each time, and are never the value', () => {
  const prefixes: Record<string, string> = {
    'sk-ant-api03-abcdefghijklmnopqrstuvwxyz': 'sk-ant-api03-',
    'sk-proj-abcdefghijklmnopqrstuvwxyz': 'sk-proj-',
    'sk-abcdefghijklmnopqrstuvwxyz': 'sk-',
    [KEY]: 'sk_live_',
    ghp_abcdefghijklmnopqrstuvwxyz0123456789: 'ghp_',
    github_pat_11ABCDEFG0abcdefghijkl: 'github_pat_',
    'xoxb-123456789012-abcdefghijkl': 'xoxb-',
    AKIAIOSFODNN7EXAMPLE: 'AKIA',
    'AIzaSyA-abcdefghijklmnopqrstuvwxyz': 'AIza',
    'plain-old-password': 'ctr_',
  };
  for (const [value, prefix] of Object.entries(prefixes)) {
    const made = new Set(Array.from({ length: 100 }, () => makePlaceholder(shapeOf(value))));
    assert.equal(made.size, 100);
    for (const placeholder of made) {
      assert.ok(placeholder.startsWith(prefix), placeholder);
      assert.match(placeholder.slice(prefix.length), /^[A-Za-z0-9]{24,200}$/);
      assert.ok(!value.includes(placeholder) && !placeholder.includes(value));
      assert.ok(!placeholder.includes(value.slice(prefix.length)));
    }
  }
  assert.equal(makePlaceholder(shapeOf('x'.repeat(30_000))).length, 204);
});

test('values that could break out of a header, or could not be found in an answer, are refused', async () => {
  await using vault = await openVault();
  const refused = [
    'sk_live_with\nline',
    'sk_live_with\rreturn',
    'sk_live_with\0zero',
    ' sk_live_12345678',
    'sk_live_12345678\n',
    '\ufeffsk_live_12345678',
    'short-value',
    '',
    'x'.repeat(32 * 1024 + 1),
    '{"key": "with \0 zero"}',
  ];
  for (const value of refused) {
    const error = (await vault.put('BAD', { value }).catch((thrown: unknown) => thrown)) as Error & { code: string };
    assert.equal(error.code, 'INVALID_SECRET', JSON.stringify(value.slice(0, 30)));
    assert.match(error.message, /^value: /);
    if (value.length > 5) assert.ok(!error.message.includes(value.trim().slice(0, 10)), 'the message quotes the value');
  }
  assert.deepEqual(await listSecrets(vault.store), []);
  await vault.put('TWELVE', { value: 'x'.repeat(12) });
  await vault.put('LONG', { value: 'x'.repeat(32 * 1024) });
  await vault.put('PEM', { value: '-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----' });
  for (const name of ['1KEY', 'A-B', '', 'a b', 'x'.repeat(129)])
    await assert.rejects(vault.put(name), { code: 'INVALID_SECRET', message: /^name: / });
  await assert.rejects(vault.put('BOTH', { source: { type: 'env', variable: 'X' } }), /a value or a source, not both/);
  await assert.rejects(vault.put('NONE', { value: undefined }), /needs a value, or a source/);
});

test('neither the list nor anything in the database shows a value', async () => {
  await using vault = await openVault();
  const made = await vault.put('STRIPE', { paths: ['/v1/*'], methods: ['post'] });
  await rotateSecret(vault.parts, 'user:admin', 'STRIPE', 'sk_live_the-second-value');
  await addGrant(vault.parts, 'user:admin', 'user:test', 'STRIPE');
  const lease = await vault.lease(['STRIPE']);
  const shown = JSON.stringify([made, await listSecrets(vault.store), await getSecret(vault.store, 'STRIPE'), lease]);
  const dump = await vault.dump();
  for (const value of [KEY, 'sk_live_the-second-value']) {
    for (const form of [value, Buffer.from(value).toString('hex'), Buffer.from(value).toString('base64').slice(0, 20)]) {
      assert.ok(!shown.includes(form));
      assert.ok(!dump.includes(form));
    }
  }
  const [view] = await listSecrets(vault.store);
  assert.deepEqual([view?.name, view?.version, view?.hosts, view?.methods, view?.paths], ['STRIPE', 2, HOSTS, ['POST'], ['/v1/*']]);
});

test('a rotated value is known until its grace is over, given out no more, and then destroyed', async () => {
  await using vault = await openVault();
  await vault.put('STRIPE');
  const values = await createValues({ store: vault.store, master: vault.master, log: () => {} });
  await rotateSecret(vault.parts, 'user:admin', 'STRIPE', 'sk_live_the-second-value', 60);
  const revision = values.revision;
  await values.refresh();
  assert.ok(values.revision > revision);
  assert.deepEqual([values.get('STRIPE').value, values.get('STRIPE').version], ['sk_live_the-second-value', 'v2']);
  assert.deepEqual(
    values.known().map(({ value }) => value),
    ['sk_live_the-second-value', KEY],
  );
  assert.equal(await retireVersions(vault.store), 0);
  assert.equal(await retireVersions(vault.store, new Date(Date.now() + 61_000)), 1);
  await values.refresh();
  assert.deepEqual(values.known(), [{ name: 'STRIPE', value: 'sk_live_the-second-value' }]);
  const { rows } = await vault.store.query(
    `select state, ciphertext is null and wrapped_key is null as gone from secret_versions order by version`,
  );
  assert.deepEqual(rows, [
    { state: 'retired', gone: true },
    { state: 'active', gone: false },
  ]);
  // a new description with a new value is a rotation, too: the value before may still be echoed
  await vault.put('STRIPE', { value: 'sk_live_the-third-value' });
  await values.refresh();
  assert.deepEqual(
    values.known().map(({ value }) => value),
    ['sk_live_the-third-value', 'sk_live_the-second-value'],
  );
  await rotateSecret(vault.parts, 'user:admin', 'STRIPE', 'sk_live_the-fourth-value', 0);
  await values.refresh();
  assert.ok(!values.known().some(({ value }) => value === 'sk_live_the-third-value'), 'without grace it is over at once');
  values.close();
});

test('a new description keeps the value, one with a source destroys it', async () => {
  await using vault = await openVault();
  await vault.put('STRIPE', { hosts: ['api.stripe.com', '[::1]:8443'] });
  const values = await createValues({
    store: vault.store,
    master: vault.master,
    log: () => {},
    environment: { KEY: 'from-the-environment' },
  });
  await vault.put('STRIPE', { value: undefined, hosts: ['[::1]:8443'] });
  await values.refresh();
  assert.equal(values.get('STRIPE').value, KEY);
  assert.deepEqual((await getSecret(vault.store, 'STRIPE')).hosts, ['[::1]:8443']);
  await assert.rejects(rotateSecret(vault.parts, 'user:admin', 'OTHER', KEY), { code: 'SECRET_NOT_FOUND' });
  // whoever may describe it need not know it
  for (const elsewhere of [
    { hosts: ['evil.test'] },
    { hosts: ['[::1]'] },
    { type: 'oauth_token' as const, hosts: ['[::1]:8443'] },
    { hosts: ['[::1]:8443'], options: { token_url: 'https://evil.test' } },
  ])
    await assert.rejects(vault.put('STRIPE', { value: undefined, ...elsewhere }), {
      code: 'INVALID_SECRET',
      message: /give its value again/,
    });
  assert.deepEqual((await getSecret(vault.store, 'STRIPE')).hosts, ['[::1]:8443']);

  await vault.put('STRIPE', { value: undefined, source: { type: 'env', variable: 'KEY' } });
  await values.refresh();
  assert.equal(values.get('STRIPE').value, 'from-the-environment');
  assert.deepEqual(
    values.known().map(({ value }) => value),
    ['from-the-environment', KEY],
    'the value before may still be echoed',
  );
  const { rows } = await vault.store.query('select 1 from secret_versions where ciphertext is not null');
  assert.deepEqual(rows, []);
  assert.equal((await getSecret(vault.store, 'STRIPE')).version, null);
  await assert.rejects(rotateSecret(vault.parts, 'user:admin', 'STRIPE', KEY), /comes from a source/);
  await assert.rejects(vault.put('STRIPE', { value: undefined }), /needs a value, or a source/);
  values.close();
});

test('a removed secret is gone, with its grants and leases, and may be made anew', async () => {
  await using vault = await openVault();
  await vault.put('STRIPE');
  await vault.put('OTHER');
  for (const secret of ['STRIPE', 'OTHER']) await addGrant(vault.parts, 'user:admin', 'user:test', secret);
  const lease = await vault.lease(['STRIPE', 'OTHER']);
  const other = await vault.lease(['OTHER']);
  const values = await createValues({ store: vault.store, master: vault.master, log: () => {} });
  await removeSecret(vault.parts, 'user:admin', 'STRIPE');
  await values.refresh();
  assert.throws(() => values.get('STRIPE'), { code: 'SECRET_NOT_FOUND' });
  assert.ok(
    values.known().some(({ name, value }) => name === 'STRIPE' && value === KEY),
    'it may still be echoed',
  );
  assert.deepEqual([await vault.status(lease.leaseId), await vault.status(other.leaseId)], ['revoked', 'active']);
  assert.deepEqual(
    (await listGrants(vault.store)).map((grant) => grant.secret),
    ['OTHER'],
  );
  await assert.rejects(removeSecret(vault.parts, 'user:admin', 'STRIPE'), { code: 'SECRET_NOT_FOUND' });
  await assert.rejects(vault.put('STRIPE', { value: undefined }), /needs a value/);
  await vault.put('STRIPE', { value: 'sk_live_made-anew-today' });
  assert.equal((await getSecret(vault.store, 'STRIPE')).version, 2);
  await assert.rejects(vault.lease(['STRIPE']), { code: 'NOT_GRANTED' });
  values.close();
});

test('every change has its entry in the log, which verifies, and none without its entry', async () => {
  await using vault = await openVault();
  await vault.put('STRIPE');
  await vault.put('STRIPE', { value: undefined });
  await rotateSecret(vault.parts, 'user:admin', 'STRIPE', 'sk_live_the-second-value');
  const grant = await addGrant(vault.parts, 'user:admin', 'user:test', 'STRIPE');
  assert.deepEqual(await addGrant(vault.parts, 'user:admin', 'user:test', 'STRIPE'), grant, 'granting twice changes nothing');
  await setRoles(vault.parts, 'user:admin', 'user:test', ['billing']);
  const lease = await vault.lease(['STRIPE']);
  await revokeLease(vault.parts, 'user:admin', lease.leaseId, 'done');
  await removeGrant(vault.parts, 'user:admin', grant.grant_id);
  await removeSecret(vault.parts, 'user:admin', 'STRIPE');
  assert.deepEqual(await vault.actions(), [
    'secret.create',
    'secret.update',
    'secret.rotate',
    'grant.add',
    'principal.roles',
    'lease.create',
    'lease.revoke',
    'grant.remove',
    'secret.remove',
  ]);
  await sealAll(vault.installation);
  const { macKey, signer } = vault.installation;
  assert.deepEqual((await verifyLog(vault.store, { macKey, rawPublicKey: signer.rawPublicKey })).findings, []);

  await vault.put('KEPT');
  const kept = await addGrant(vault.parts, 'user:admin', 'user:test', 'KEPT');
  const broken = { ...vault.parts, audit: { ...vault.parts.audit, append: () => Promise.reject(new Error('no log')) } };
  const attempts: (() => Promise<unknown>)[] = [
    () => putSecret(broken, 'user:admin', 'NEW', { hosts: HOSTS, value: KEY }),
    () => rotateSecret(broken, 'user:admin', 'KEPT', 'sk_live_the-second-value'),
    () => addGrant(broken, 'user:admin', 'user:other', 'KEPT'),
    () => removeGrant(broken, 'user:admin', kept.grant_id),
    () => setRoles(broken, 'user:admin', 'user:test', ['admin']),
    () => createLease(broken, 'user:admin', { principal: 'user:test', secrets: ['KEPT'], ttlSeconds: 60 }),
    () => removeSecret(broken, 'user:admin', 'KEPT'),
  ];
  const before = await vault.dump();
  for (const attempt of attempts) await assert.rejects(attempt(), /no log/);
  assert.equal(await vault.dump(), before);
});

test('a principal may use what is granted to it, to a role of it, or to all of its kind', async () => {
  await using vault = await openVault();
  for (const name of ['OWN', 'ROLE', 'KIND', 'NONE']) await vault.put(name);
  await addGrant(vault.parts, 'user:admin', 'workflow:report', 'OWN');
  await addGrant(vault.parts, 'user:admin', 'role:billing', 'ROLE');
  await addGrant(vault.parts, 'user:admin', 'workflow:*', 'KIND');
  await setRoles(vault.parts, 'user:admin', 'workflow:report', ['billing']);
  await vault.lease(['OWN', 'ROLE', 'KIND'], { principal: 'workflow:report' });
  await vault.lease(['KIND'], { principal: 'workflow:other' });
  for (const [principal, secret] of [
    ['workflow:report', 'NONE'],
    ['workflow:other', 'OWN'],
    ['workflow:other', 'ROLE'],
    ['user:report', 'KIND'],
    ['workflow:reports', 'OWN'],
  ] as const)
    await assert.rejects(vault.lease([secret], { principal }), { code: 'NOT_GRANTED' }, `${principal} ${secret}`);
  for (const principal of ['report', 'robot:x', 'user:', 'user:a b', `user:${'x'.repeat(201)}`, 'user:ü'])
    await assert.rejects(addGrant(vault.parts, 'user:admin', principal, 'OWN'), { code: 'INVALID_SECRET', message: /^principal: / });
  await assert.rejects(addGrant(vault.parts, 'user:admin', 'user:test', 'NOTHING'), { code: 'SECRET_NOT_FOUND' });
});

test('revoking a grant or a role ends the leases that lose their right, and no others', async () => {
  await using vault = await openVault();
  for (const name of ['A', 'B']) await vault.put(name);
  const direct = await addGrant(vault.parts, 'user:admin', 'user:one', 'A');
  await addGrant(vault.parts, 'user:admin', 'user:two', 'A');
  const twice = await addGrant(vault.parts, 'user:admin', 'user:three', 'A');
  await addGrant(vault.parts, 'user:admin', 'role:billing', 'A');
  await addGrant(vault.parts, 'user:admin', 'user:one', 'B');
  await setRoles(vault.parts, 'user:admin', 'user:three', ['billing']);
  await setRoles(vault.parts, 'user:admin', 'user:four', ['billing', 'other']);
  const leases = {
    oneA: await vault.lease(['A'], { principal: 'user:one' }),
    oneAB: await vault.lease(['A', 'B'], { principal: 'user:one' }),
    oneB: await vault.lease(['B'], { principal: 'user:one' }),
    two: await vault.lease(['A'], { principal: 'user:two' }),
    three: await vault.lease(['A'], { principal: 'user:three' }),
    four: await vault.lease(['A'], { principal: 'user:four' }),
  };
  const ended = async () => {
    const names: string[] = [];
    for (const [name, { leaseId }] of Object.entries(leases)) if ((await vault.status(leaseId)) === 'revoked') names.push(name);
    return names;
  };
  await removeGrant(vault.parts, 'user:admin', direct.grant_id);
  assert.deepEqual(await ended(), ['oneA', 'oneAB']);
  await removeGrant(vault.parts, 'user:admin', twice.grant_id);
  assert.deepEqual(await ended(), ['oneA', 'oneAB'], 'the role still gives it');
  await setRoles(vault.parts, 'user:admin', 'user:three', ['other']);
  assert.deepEqual(await ended(), ['oneA', 'oneAB', 'three']);
  await setRoles(vault.parts, 'user:admin', 'user:four', ['billing']);
  assert.deepEqual(await ended(), ['oneA', 'oneAB', 'three']);
  await assert.rejects(removeGrant(vault.parts, 'user:admin', direct.grant_id), { code: 'GRANT_NOT_FOUND' });
});

/** A lease whose creation waits, in its transaction, until it is let go. */
function slowLease(vault: Vault, principal: string, secrets: readonly string[]) {
  let letGo: () => void = () => {};
  let isThere: () => void = () => {};
  const waiting = new Promise<void>((resolve) => (letGo = resolve));
  const there = new Promise<void>((resolve) => (isThere = resolve));
  const audit = {
    ...vault.parts.audit,
    append: async (...args: Parameters<typeof vault.parts.audit.append>) => {
      isThere();
      await waiting;
      return vault.parts.audit.append(...args);
    },
  };
  return { there, letGo, lease: createLease({ ...vault.parts, audit }, 'user:admin', { principal, secrets, ttlSeconds: 600 }) };
}

test('a lease that is being created while its grant or role is taken away does not outlive it', async () => {
  await using vault = await openVault();
  await vault.put('A');
  const grant = await addGrant(vault.parts, 'user:admin', 'user:one', 'A');
  await addGrant(vault.parts, 'user:admin', 'role:billing', 'A');
  await setRoles(vault.parts, 'user:admin', 'user:two', ['billing']);
  for (const [principal, takeAway] of [
    ['user:one', () => removeGrant(vault.parts, 'user:admin', grant.grant_id)],
    ['user:two', () => setRoles(vault.parts, 'user:admin', 'user:two', [])],
  ] as const) {
    const slow = slowLease(vault, principal, ['A']);
    await slow.there;
    const taken = takeAway();
    await new Promise((resolve) => setTimeout(resolve, 100));
    slow.letGo();
    const { leaseId } = await slow.lease;
    await taken;
    assert.equal(await vault.status(leaseId), 'revoked', principal);
  }
});

test('a lease is refused for what is unknown or not granted, and tells the command', async () => {
  await using vault = await openVault();
  await vault.put('STRIPE');
  await assert.rejects(vault.lease(['STRIPE', 'NOPE']), { code: 'SECRET_NOT_FOUND', message: /"NOPE"/, details: { secrets: ['NOPE'] } });
  await assert.rejects(vault.lease(['STRIPE']), {
    code: 'NOT_GRANTED',
    message: /user:test may not use STRIPE; grant it with: centaur grants add user:test STRIPE/,
  });
  await addGrant(vault.parts, 'user:admin', 'user:test', 'STRIPE');
  for (const ttlSeconds of [0, -1, Number.NaN, LEASE_SECONDS_MOST + 1])
    await assert.rejects(vault.lease(['STRIPE'], { ttlSeconds }), { code: 'INVALID_SECRET', message: /^ttlSeconds/ });
  const many = Array.from({ length: 101 }, (_, i) => `S${i}`);
  await assert.rejects(vault.lease(many), /100 are the most/);
  assert.deepEqual((await listLeases(vault.store)).items, []);
});

test('of a lease the database has a hash of the token, placeholders of its own, and its entry', async () => {
  await using vault = await openVault();
  await vault.put('STRIPE');
  await vault.put('SOURCED', { value: undefined, source: { type: 'env', variable: 'X' } });
  for (const secret of ['STRIPE', 'SOURCED']) await addGrant(vault.parts, 'user:admin', 'user:test', secret);
  const leases = await Promise.all(Array.from({ length: 20 }, () => vault.lease(['STRIPE', 'SOURCED', 'STRIPE'])));
  const dump = await vault.dump();
  const seen = new Set<string>();
  for (const { token, placeholders, leaseId } of leases) {
    assert.equal(Buffer.from(token, 'base64url').length, 32);
    assert.ok(!dump.includes(token));
    assert.ok(dump.includes(createHash('sha256').update(token).digest('hex')));
    assert.deepEqual(hashToken(token), createHash('sha256').update(token).digest());
    assert.match(placeholders['STRIPE'] as string, /^sk_live_[A-Za-z0-9]{24}$/);
    assert.match(placeholders['SOURCED'] as string, /^ctr_[A-Za-z0-9]{32}$/);
    for (const placeholder of Object.values(placeholders)) seen.add(placeholder);
    const { rows } = await vault.store.query<{ action: string; lease_id: string }>(
      'select a.action, a.lease_id from leases l join audit_log a on a.audit_id = l.audit_id where l.lease_id = $1',
      [leaseId],
    );
    assert.deepEqual(rows, [{ action: 'lease.create', lease_id: leaseId }]);
  }
  assert.equal(seen.size, 40);
  await assert.rejects(
    vault.store.query('update leases set audit_id = $1 where lease_id = $2', ['0199a000-0000-7000-8000-000000000001', leases[0]?.leaseId]),
    /foreign key/,
  );
});

test('a lease for one call has one use, others have as many as are said', async () => {
  await using vault = await openVault();
  await vault.put('STRIPE');
  await addGrant(vault.parts, 'user:admin', 'user:test', 'STRIPE');
  await vault.lease(['STRIPE'], { kind: 'call' });
  await vault.lease(['STRIPE'], { kind: 'call', maxUses: 3, source: '10.1.0.0/16' });
  await vault.lease(['STRIPE'], { kind: 'run', source: '10.1.2.3' });
  const { items } = await listLeases(vault.store);
  assert.deepEqual(
    items.map(({ kind, max_uses: uses, source }) => [kind, uses, source]),
    [
      ['run', null, '10.1.2.3'],
      ['call', 3, '10.1.0.0/16'],
      ['call', 1, null],
    ],
  );
  await vault.store.query('update leases set used = 1');
  assert.deepEqual(
    (await listLeases(vault.store, { active: true })).items.map(({ max_uses: uses }) => uses),
    [null, 3],
  );
  assert.equal((await listLeases(vault.store)).items[2]?.status, 'used');
  const first = await listLeases(vault.store, { limit: 2 });
  const second = await listLeases(vault.store, { limit: 2, after: first.next as string });
  assert.deepEqual([first.items.length, second.items.length, second.next], [2, 1, null]);
});

test('a lease is renewed while it lives, never shortened, and revoked once', async () => {
  await using vault = await openVault();
  await vault.put('STRIPE');
  await addGrant(vault.parts, 'user:admin', 'user:test', 'STRIPE');
  const { leaseId, expiresAt } = await vault.lease(['STRIPE']);
  const expires = async () => Date.parse((await listLeases(vault.store)).items[0]?.expires_at as string);
  assert.equal(await renewLease(vault.parts, 'user:admin', leaseId, 10), true);
  assert.equal(await expires(), expiresAt.getTime());
  assert.equal(await renewLease(vault.parts, 'user:admin', leaseId, 3600), true);
  assert.ok((await expires()) > expiresAt.getTime() + 2_900_000);
  await Promise.all([1, 2, 3].map(() => revokeLease(vault.parts, 'user:admin', leaseId)));
  assert.equal((await vault.actions()).filter((action) => action === 'lease.revoke').length, 1);
  assert.equal((await vault.actions()).filter((action) => action === 'lease.renew').length, 2);
  assert.equal(await renewLease(vault.parts, 'user:admin', leaseId, 3600), false);
  const short = await vault.lease(['STRIPE'], { ttlSeconds: 1 });
  await vault.store.query(`update leases set expires_at = now() - interval '1 second' where lease_id = $1`, [short.leaseId]);
  assert.equal(await renewLease(vault.parts, 'user:admin', short.leaseId, 3600), false);
  assert.equal(await vault.status(short.leaseId), 'expired');
  assert.equal((await vault.actions()).filter((action) => action === 'lease.renew').length, 2, 'what changed nothing is not told');
  const last = await vault.lease(['STRIPE']);
  const audit: typeof vault.parts.audit = { ...vault.parts.audit, append: () => Promise.reject(new Error('no log')) };
  await assert.rejects(renewLease({ ...vault.parts, audit }, 'user:admin', last.leaseId, 3600), /no log/);
  assert.equal(await expires(), last.expiresAt.getTime(), 'without its entry it is not renewed');
  await assert.rejects(revokeLease(vault.parts, 'user:admin', '0199a000-0000-7000-8000-000000000001'), { code: 'LEASE_NOT_FOUND' });
});

test('what a lease reaches is written with it in one form, told in its entry, shown, and kept when it is renewed', async () => {
  await using vault = await openVault();
  const egress = [{ host: 'http://B.test' }, { host: '*.A.test', methods: ['get'], paths: ['/v1/*'] }];
  const { leaseId } = await vault.lease([], { egress });
  const written = [
    { host: '*.a.test', methods: ['GET'], paths: ['/v1/*'] },
    { host: 'http://b.test:80', methods: [], paths: [] },
  ];
  const shown = async () => (await listLeases(vault.store)).items.map((each) => each.egress);
  assert.deepEqual(await shown(), [written]);
  assert.equal(await renewLease(vault.parts, 'user:admin', leaseId, 3600), true);
  const { rows } = await vault.store.query<{ egress: string }>('select egress from leases');
  assert.equal(rows[0]?.egress, JSON.stringify(written));
  await vault.lease([], { egress: [] });
  await vault.lease([]);
  assert.deepEqual(await shown(), [null, [], written]);
  const { rows: entries } = await vault.store.query<{ entry: string }>(
    `select entry from audit_log where action = 'lease.create' order by audit_id`,
  );
  const told = entries.map(({ entry }) => (JSON.parse(entry) as { details: { egress?: unknown } }).details.egress);
  assert.deepEqual(told, [written, [], undefined]);
  const before = await vault.dump();
  await assert.rejects(vault.lease([], { egress: [{ host: 'b.test' }, { host: '*' }] }), {
    code: 'INVALID_SECRET',
    message: /^egress\[1\]/,
  });
  assert.equal(await vault.dump(), before);
});

test('of two processes that make a key of the installation at once, both have the one that is kept', async () => {
  await using vault = await openVault();
  let made = 0;
  const make = async () => {
    const nth = (made += 1);
    await eventually(() => made === 2, { what: 'the other to be at it, too' });
    return { public: `public ${nth}`, secret: randomBytes(32) };
  };
  const keys = await Promise.all([1, 2].map(() => installKey(vault.store, vault.master, 'test.key', make)));
  assert.equal(made, 2);
  assert.deepEqual(keys[0], keys[1]);
  assert.deepEqual(await installKey(vault.store, vault.master, 'test.key', make), keys[0]);
  await vault.store.query(`update install_keys set public = 'another' where name = 'test.key'`);
  await assert.rejects(installKey(vault.store, vault.master, 'test.key', make), { code: 'SEAL_BROKEN' });
  await assert.rejects(openInstallation({ store: vault.store, master: localMasterKey(randomBytes(32)) }), { code: 'MASTER_KEY_UNKNOWN' });
});

test('what values are made of is checked when it is said', async () => {
  await using vault = await openVault();
  for (const generate of [{}, { length: 10 }, { length: 24.5 }, { length: 500 }, { length: 30, prefix: 'a b' }, 'yes', null])
    await assert.rejects(vault.put('C', { options: { generate } }), { code: 'INVALID_SECRET', message: /^options\.generate/ });
});
