import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { storeEgressConfig } from '../../kernel/firewall/config.ts';
import { type EgressConfig, type Firewall, startFirewall } from '../../kernel/firewall/index.ts';
import { connectStore } from '../../kernel/store/index.ts';
import { localMasterKey } from '../../kernel/vault/index.ts';
import { callThrough } from '../support/firewall.ts';
import { eventually } from '../support/wait.ts';
import { assertDenied, assertNothingLeaked, type Scene, startScene } from './support.ts';

/** Another firewall on the scene's database, begun now. */
async function startAnother(scene: Scene, master = scene.t.master): Promise<Scene & { readonly ready: () => Promise<boolean> }> {
  const store = await connectStore({ url: scene.t.database.url, poolSize: 3 });
  let firewall: Firewall;
  try {
    firewall = await startFirewall({
      store,
      master,
      host: '127.0.0.1',
      port: 0,
      metricsPort: 0,
      log: (entry) => void scene.t.logs.push(entry),
      environment: {},
      resolver: async () => ['127.0.0.1'],
    });
  } catch (error) {
    await store.close();
    throw error;
  }
  const t = { ...scene.t, firewall };
  return {
    ...scene,
    t,
    ready: async () => (await fetch(`http://127.0.0.1:${firewall.port}/readyz`)).status === 200,
    call: (path, call) => callThrough(t, scene.lease.token, scene.url(path), call),
    async [Symbol.asyncDispose]() {
      await firewall.close();
      await store.close();
    },
  };
}

describe('a firewall that begins', () => {
  test('with a configuration that is broken opens nothing, and says that it is not ready', async () => {
    await using scene = await startScene();
    await scene.t.configure({ allow_cidrs: ['127.0.0.1'], allow: 7 } as unknown as EgressConfig);
    await using another = await startAnother(scene);
    assert.equal(await another.ready(), false);
    await scene.reset();
    const answer = await another.call('/', { headers: { 'x-api-key': scene.placeholder } });
    await assertDenied(another, answer, { status: 403, code: 'ADDRESS_DENIED' });
    // it goes on by itself when it is mended
    await scene.t.configure({ allow_cidrs: ['127.0.0.1'], ca_pems: [scene.service.caPem] });
    await eventually(another.ready, { what: 'the firewall to be ready' });
    assert.equal((await another.call('/', { headers: { 'x-api-key': scene.placeholder } })).status, 200);
  });

  test('with a policy that does not compile refuses everything, and says that it is not ready', async () => {
    await using scene = await startScene();
    await scene.t.store.transaction(async (tx) => {
      const auditId = await scene.t.installation.audit.append(tx, { action: 'policy.publish', actor: 'test' });
      await tx.query(`update policy_versions set state = 'retired' where state = 'active'`);
      await tx.query(
        `insert into policy_versions (digest, source, author, state, activated_at, audit_id) values ($1, 'rules: [', 'test', 'active', now(), $2)`,
        [Buffer.alloc(32), auditId],
      );
    });
    await using another = await startAnother(scene);
    assert.equal(await another.ready(), false);
    await scene.reset();
    const answer = await another.call('/', { headers: { 'x-api-key': scene.placeholder } });
    await assertDenied(another, answer, { status: 503, code: 'POLICY_FAILED' });
  });

  test('under another master key does not begin', async () => {
    await using scene = await startScene();
    await scene.reset();
    await assert.rejects(startAnother(scene, localMasterKey(randomBytes(32))), { code: 'MASTER_KEY_UNKNOWN' });
    assert.equal(scene.service.bytes, 0);
    await assertNothingLeaked(scene.t, '', [scene.lease.token]);
  });

  test('while the source of a secret fails refuses what needs it, serves the rest, and goes on when it is back', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'attack-'));
    const value = 'a-value-from-a-file-0123456789';
    const file = join(folder, 'key');
    try {
      await using scene = await startScene();
      await scene.t.secret('FROM_FILE', { source: { type: 'file', path: file }, hosts: [scene.authority], match_headers: ['x-file'] });
      const lease = await scene.t.lease(['FROM_FILE']);
      await using another = await startAnother(scene);
      const call = () => callThrough(another.t, lease.token, scene.url('/'), { headers: { 'x-file': lease.placeholders['FROM_FILE'] } });
      await scene.reset();
      await assertDenied(another, await call(), { status: 503, code: 'SECRET_UNAVAILABLE' }, { tokens: [lease.token], secrets: [value] });
      assert.equal((await another.call('/', { headers: { 'x-api-key': scene.placeholder } })).status, 200);
      writeFileSync(file, value);
      await eventually(async () => (await call()).status === 200, { what: 'the source to be asked again' });
      assert.equal(scene.service.seen.at(-1)?.headers['x-file'], value);
      // one that was had is kept when its source is gone: never the placeholder in its stead
      rmSync(file);
      const answer = await call();
      assert.ok([200, 503].includes(answer.status), answer.body);
      assert.ok(scene.service.seen.every(({ headers }) => headers['x-file'] === undefined || headers['x-file'] === value));
      await assertNothingLeaked(another.t, answer, [lease.token], [value]);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  for (const [what, config] of [
    ['a host that is none', { allow: [{ host: 'a b' }] }],
    ['a range that is none', { allow_cidrs: ['10.0.0.0/33'] }],
  ] as [string, EgressConfig][]) {
    test(`is never given a configuration with ${what}: it is not stored`, async () => {
      await using scene = await startScene();
      const count = async () => (await scene.t.store.query('select 1 from firewall_configs')).rowCount;
      const before = await count();
      await scene.reset();
      await assert.rejects(storeEgressConfig({ store: scene.t.store, audit: scene.t.installation.audit }, 'test', config), RangeError);
      assert.equal(await count(), before);
      assert.deepEqual(await scene.entries(), []);
      assert.equal((await scene.call('/', { headers: { 'x-api-key': scene.placeholder } })).status, 200, 'the one before stays');
    });
  }
});
