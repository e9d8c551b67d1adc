import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { callThrough } from '../support/firewall.ts';
import { eventually } from '../support/wait.ts';
import { decide, pendingApproval, publish, publishText } from './approvals.ts';
import { assertDenied, exchangeRaw, openTls, type Scene, startScene } from './support.ts';

describe('an approval', () => {
  let scene: Scene;
  let n = 0;
  before(async () => {
    scene = await startScene({ config: { limits: { approvalMs: 50 } } });
    await scene.t.secret('BIG_KEY', { value: 'the-key-to-everything-there-is', hosts: [scene.authority] });
    await publish(scene, 'approve');
  });
  after(() => scene[Symbol.asyncDispose]());
  beforeEach(async () => {
    n += 1;
    await scene.reset();
  });
  const ask = (over: { path?: string; body?: string; headers?: Record<string, string>; method?: string } = {}) =>
    scene.call(over.path ?? `/pay/${n}`, {
      method: over.method ?? 'POST',
      body: over.body ?? '{"amount":1}',
      headers: over.headers ?? { 'x-api-key': scene.placeholder },
    });

  test('that is pending refuses the request and says which one it is', async () => {
    const answer = await ask();
    await assertDenied(scene, answer, { status: 403, code: 'APPROVAL_REQUIRED' });
    const { approval_id: id } = JSON.parse(answer.body) as { approval_id: string };
    assert.equal(id, await pendingApproval(scene));
    assert.equal(answer.headers['retry-after'], '30');
    assert.equal((JSON.parse((await ask()).body) as { approval_id: string }).approval_id, id, 'asked again, it is the same question');
  });

  test('that is given lets the request through exactly once', async () => {
    await ask();
    await decide(scene, await pendingApproval(scene), 'approved');
    await scene.reset();
    const answers = await Promise.all(Array.from({ length: 8 }, () => ask()));
    assert.deepEqual(
      answers.map(({ status }) => status).toSorted((a, b) => a - b),
      [200, 403, 403, 403, 403, 403, 403, 403],
    );
    assert.equal(scene.service.seen.length, 1);
  });

  test('that is denied refuses the request', async () => {
    await ask();
    await decide(scene, await pendingApproval(scene), 'denied', 'too much money');
    await scene.reset();
    await assertDenied(scene, await ask(), { status: 403, code: 'APPROVAL_DENIED' });
  });

  for (const [what, over] of [
    ['another body', { body: '{"amount":2}' }],
    ['another path', { path: '/pay/other' }],
    ['another query', { path: '/pay/other?amount=2' }],
    ['another method', { method: 'PUT' }],
  ] as const) {
    test(`is not good for ${what}`, async () => {
      const first = 'path' in over && over.path.includes('?') ? { path: '/pay/other?amount=1' } : {};
      await ask(first);
      await decide(scene, await pendingApproval(scene), 'approved');
      await scene.reset();
      await assertDenied(scene, await ask(over), { status: 403, code: 'APPROVAL_REQUIRED' });
      assert.equal((await ask(first)).status, 200, 'it is still there for what it was given for');
    });
  }

  test('is not good for another secret than the one that was shown', async () => {
    await ask();
    await decide(scene, await pendingApproval(scene), 'approved');
    const both = await scene.t.lease(['API_KEY', 'BIG_KEY']);
    await scene.reset();
    const answer = await callThrough(scene.t, both.token, scene.url(`/pay/${n}`), {
      method: 'POST',
      body: '{"amount":1}',
      headers: { 'x-api-key': both.placeholders['BIG_KEY'] },
    });
    await assertDenied(scene, answer, { status: 403, code: 'APPROVAL_REQUIRED' });
  });

  test('is not good for another principal', async () => {
    const { addGrant, createLease } = await import('../../kernel/vault/index.ts');
    const parts = { store: scene.t.store, audit: scene.t.installation.audit };
    await addGrant(parts, 'test', 'user:other', 'API_KEY');
    await ask();
    await decide(scene, await pendingApproval(scene), 'approved');
    const lease = await createLease(parts, 'test', { principal: 'user:other', secrets: ['API_KEY'], ttlSeconds: 60 });
    await scene.reset();
    const answer = await callThrough(scene.t, lease.token, scene.url(`/pay/${n}`), {
      method: 'POST',
      body: '{"amount":1}',
      headers: { 'x-api-key': lease.placeholders['API_KEY'] },
    });
    await assertDenied(scene, answer, { status: 403, code: 'APPROVAL_REQUIRED' });
  });

  test('is not used for a request that is too long to be held', async () => {
    const answer = await ask({ body: 'x'.repeat(1_200_000) }).catch(() => ({ status: 413 }));
    await assertDenied(scene, answer, { status: 413, code: 'BODY_TOO_LONG' });
  });
});

describe('a request that waits for its approval', () => {
  let scene: Scene;
  before(async () => {
    scene = await startScene({ config: { limits: { approvalMs: 60_000 } } });
    await publish(scene, 'approve');
  });
  after(() => scene[Symbol.asyncDispose]());
  beforeEach(() => scene.reset());

  test('goes on when it is given', async () => {
    const call = scene.call('/a', { headers: { 'x-api-key': scene.placeholder } });
    await decide(scene, await pendingApproval(scene), 'approved');
    assert.equal((await call).status, 200);
    assert.equal(scene.service.seen.length, 1);
  });

  test('ends when it is denied', async () => {
    const call = scene.call('/b', { headers: { 'x-api-key': scene.placeholder } });
    await decide(scene, await pendingApproval(scene), 'denied');
    await assertDenied(scene, await call, { status: 403, code: 'APPROVAL_DENIED' });
  });

  test('ends when its lease is revoked, and is not sent when the approval comes after that', async () => {
    const { revokeLease } = await import('../../kernel/vault/index.ts');
    const lease = await scene.t.lease(['API_KEY']);
    const call = callThrough(scene.t, lease.token, scene.url('/c'), { headers: { 'x-api-key': lease.placeholders['API_KEY'] } }).catch(
      () => undefined,
    );
    const id = await pendingApproval(scene);
    await revokeLease({ store: scene.t.store, audit: scene.t.installation.audit }, 'test', lease.leaseId);
    await decide(scene, id, 'approved');
    await call;
    await scene.entries();
    assert.equal(scene.service.bytes, 0);
  });

  test('is not sent when its client has gone before the approval comes', async () => {
    const socket = await openTls(scene);
    const answer = exchangeRaw(socket, `GET /d HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${scene.placeholder}\r\n\r\n`);
    const id = await pendingApproval(scene);
    socket.destroy();
    await answer;
    await eventually(async () =>
      /^centaur_egress_tunnels_open 0$/m.test(await (await fetch(`http://127.0.0.1:${scene.t.firewall.metricsPort}/metrics`)).text()),
    );
    await decide(scene, id, 'approved');
    // the client comes again: this is the one that the approval is for
    const again = await scene.call('/d', { headers: { 'x-api-key': scene.placeholder } });
    await scene.entries();
    assert.equal(again.status, 200, again.body);
    assert.equal(scene.service.seen.length, 1);
  });
});

describe('a policy', () => {
  let scene: Scene;
  before(async () => (scene = await startScene()));
  after(() => scene[Symbol.asyncDispose]());
  beforeEach(() => scene.reset());
  const call = () => scene.call('/v1', { headers: { 'x-api-key': scene.placeholder } });

  test('that denies refuses', async () => {
    await publish(scene, 'deny');
    await scene.reset();
    await assertDenied(scene, await call(), { status: 403, code: 'POLICY_DENIED' });
  });

  test('whose allowance fails while it decides refuses', async () => {
    await publish(scene, 'allow', '    when: request.secrets[7] == "x"\n');
    await scene.reset();
    await assertDenied(scene, await call(), { status: 403, code: 'POLICY_DENIED' });
  });

  test('whose denial fails while it decides refuses', async () => {
    await publishText(
      scene,
      'version: 1\ndefault: deny\nrules:\n  - {id: all, host: localhost, effect: allow}\n  - id: odd\n    host: localhost\n    effect: deny\n    when: request.secrets[7] == "x"\n',
    );
    await scene.reset();
    await assertDenied(scene, await call(), { status: 403, code: 'POLICY_DENIED' });
  });

  test('whose active version does not compile refuses everything, until one does', async () => {
    await scene.t.store.transaction(async (tx) => {
      const auditId = await scene.t.installation.audit.append(tx, { action: 'policy.publish', actor: 'test' });
      await tx.query(`update policy_versions set state = 'retired' where state = 'active'`);
      await tx.query(
        `insert into policy_versions (digest, source, author, state, activated_at, audit_id) values ($1, 'rules: [', 'test', 'active', now(), $2)`,
        [Buffer.alloc(32), auditId],
      );
      await tx.query(`select pg_notify('centaur_firewall', '')`);
    });
    await eventually(async () => (await fetch(`http://127.0.0.1:${scene.t.firewall.port}/readyz`)).status === 503);
    await scene.reset();
    const answer = await call();
    await assertDenied(scene, answer, { status: 503, code: 'POLICY_FAILED' });
    await publish(scene, 'allow');
    assert.equal((await call()).status, 200);
  });

  test('limits what may be done: beyond it a person is asked', async () => {
    await publish(scene, 'allow', '    gate: default\n    limit: {max: 1, per: 31d, key: principal}\n');
    await scene.t.configure({ allow_cidrs: ['127.0.0.1'], ca_pems: [scene.service.caPem], limits: { approvalMs: 50 } });
    await scene.reset();
    assert.equal((await call()).status, 200);
    await eventually(async () => (await scene.t.store.query('select 1 from firewall_processes where config_version = 2')).rowCount === 1);
    await scene.reset();
    await assertDenied(scene, await call(), { status: 403, code: 'APPROVAL_REQUIRED' });
  });
});
