import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ServiceHandler } from '../../test/support/firewall.ts';
import { FIRST, startKeys } from '../../test/support/key-service.ts';
import { createTestRotations } from '../../test/support/rotations.ts';
import { eventually } from '../../test/support/wait.ts';
import { dueRotations, removeSecret, rotateSecret } from '@centaur/kernel/vault';
import { lookAfterRotations } from './index.ts';

const DAY = 86_400_000;

test('a service makes a value, which is tried and put in place; the next rotation takes it back', async () => {
  await using r = await createTestRotations();
  await using keys = await startKeys(r);
  await r.put('KEY', keys.described());
  // nobody knows what the service calls the value that somebody brought
  const first = await r.rotate('KEY');
  assert.deepEqual([first.status, first.error?.code], ['failed', 'NO_ID']);
  const made = (await r.values('KEY')).present;
  assert.deepEqual(
    [...keys.good],
    [
      ['key_1', FIRST],
      ['key_2', made],
    ],
  );
  const { last_rotation: last } = await r.secret('KEY');
  assert.deepEqual([last?.state, last?.reason, last?.to_version], ['unrevoked', 'NO_ID', 2]);

  const second = await r.rotate('KEY');
  assert.deepEqual([second.status, second.result], ['completed', { secret: 'KEY', outcome: 'done', version: 3 }]);
  const { present, known } = await r.values('KEY');
  assert.deepEqual(known, [present]);
  assert.deepEqual(
    [...keys.good],
    [
      ['key_1', FIRST],
      ['key_3', present],
    ],
  );
  assert.deepEqual((await r.actions('KEY')).slice(-8), [
    'secret.rotation_request',
    'secret.rotation_minted',
    'secret.rotation_request',
    'secret.rotation_probed',
    'secret.rotate',
    'secret.rotation_request',
    'secret.rotation_answer',
    'secret.rotation_revoked',
  ]);
  const keysSent = keys.service.seen.flatMap(({ headers }) => headers['idempotency-key'] ?? []);
  assert.equal(new Set(keysSent).size, 2);
  const written = `${await r.dump()}\n${JSON.stringify([r.t.logs, first, second])}`;
  for (const value of [FIRST, made, present]) assert.ok(!written.includes(value), 'a value is in what is written down');
});

test('what the service refuses when it is tried is taken back there, and the value before stays in use', async () => {
  await using r = await createTestRotations();
  await using keys = await startKeys(r, { 'GET /me': (_, response) => void response.writeHead(403).end('{}') });
  await r.put('KEY', keys.described());
  const run = await r.rotate('KEY');
  assert.deepEqual([run.status, run.error?.code], ['failed', 'PROBE_FAILED']);
  assert.deepEqual([...keys.good.keys()], ['key_1']);
  assert.deepEqual(await r.values('KEY'), { present: FIRST, known: [FIRST] });
  assert.equal((await r.secret('KEY')).last_rotation?.state, 'failed');
});

test('a request of which nobody knows whether it made a value is not made again, and a person is told', async () => {
  for (const answer of [
    (_: unknown, response: Parameters<ServiceHandler>[1]) => void response.destroy(),
    (_: unknown, response: Parameters<ServiceHandler>[1]) => void response.writeHead(500).end(FIRST),
    (_: unknown, response: Parameters<ServiceHandler>[1]) => void response.writeHead(408).end(FIRST),
    (_: unknown, response: Parameters<ServiceHandler>[1]) => void response.writeHead(303, { location: '/keys/key_2' }).end(),
    (_: unknown, response: Parameters<ServiceHandler>[1]) => void response.writeHead(200).end(`{"data": {"other": "${FIRST}"}}`),
    (_: unknown, response: Parameters<ServiceHandler>[1]) => void response.writeHead(200).end(`{"data": {"id": "..", "key": "${FIRST}2"}}`),
    (_: unknown, response: Parameters<ServiceHandler>[1]) => void response.writeHead(200).end('x'.repeat(300_000)),
  ]) {
    await using r = await createTestRotations();
    await using keys = await startKeys(r, { 'POST /keys': answer });
    await r.put('KEY', keys.described());
    const run = await r.rotate('KEY');
    assert.deepEqual([run.status, run.error?.code, keys.asked('POST')], ['failed', 'MINT_UNKNOWN', 1]);
    assert.match(run.error?.message ?? '', /look there for a key that is used by nobody/);
    assert.ok(r.t.logs.some(({ message }) => message.includes('may have made a value that nobody uses')));
    assert.equal((await r.values('KEY')).present, FIRST);
    // by the clock, never; by a person, when that one likes
    assert.equal((await r.secret('KEY')).last_rotation?.retry_at, null);
    assert.deepEqual(await dueRotations(r.t.store, new Date(Date.now() + 90 * DAY)), []);
    assert.deepEqual([(await r.rotate('KEY')).status, keys.asked('POST')], ['failed', 2]);
    assert.ok(!JSON.stringify([r.t.logs, run]).includes(FIRST));
  }
});

test('an admin secret makes values for those that it names, at its own hosts and paths', async () => {
  await using r = await createTestRotations();
  await using keys = await startKeys(r);
  const admin = { value: FIRST, hosts: [`localhost:${keys.service.port}`] };
  const by = (headers: object) => ({ ...headers, authorization: 'Bearer {{admin}}' });
  const http = {
    mint: { ...keys.http.mint, headers: by({}) },
    revoke: { ...keys.http.revoke, headers: by({ 'x-of': '{{current}}' }) },
  };
  await r.put('KEY', { ...keys.described({ http, admin_secret: 'ADMIN' }), value: 'sk_live_that-nobody-knows' });
  const outcomes: unknown[] = [];
  for (const more of [{}, { options: { rotates: ['KEY'] }, paths: ['/other'] }, { options: { rotates: ['KEY'] }, methods: ['GET'] }]) {
    await r.put('ADMIN', { ...admin, ...more });
    outcomes.push((await r.rotate('KEY')).error?.code);
  }
  assert.deepEqual([outcomes, keys.service.seen.length], [['ADMIN_REFUSED', 'ADMIN_REFUSED', 'ADMIN_REFUSED'], 0]);
  await r.put('ADMIN', { ...admin, options: { rotates: ['KEY'] }, paths: ['/keys', '/keys/*'] });
  assert.equal((await r.rotate('KEY')).error?.code, 'NO_ID');
  assert.equal((await r.rotate('KEY')).status, 'completed');
  assert.equal((await r.values('KEY')).present, keys.good.get('key_3'));
});

test('what was made for a value that somebody has replaced meanwhile is taken back', async () => {
  await using r = await createTestRotations();
  const theirs = 'sk_live_what-somebody-has-given';
  await using keys = await startKeys(r, {
    'GET /me': (_, response) =>
      void rotateSecret(r.installation, 'user:bob', 'KEY', theirs).then(() => {
        keys.good.set('key_9', theirs);
        return response.writeHead(200).end('{}');
      }),
  });
  await r.put('KEY', keys.described());
  const run = await r.rotate('KEY');
  assert.deepEqual([run.status, run.result], ['completed', { secret: 'KEY', outcome: 'SUPERSEDED' }]);
  assert.equal((await r.values('KEY')).present, theirs);
  assert.deepEqual([...keys.good.keys()], ['key_1', 'key_9']);
});

test('a value that somebody has put back in place during its grace is not taken back', async () => {
  await using r = await createTestRotations();
  await using keys = await startKeys(r);
  await r.put('KEY', keys.described());
  await r.rotate('KEY');
  const second = (await r.values('KEY')).present;
  await r.put('KEY', { ...keys.described({ grace_seconds: 10 }), value: undefined });
  const runId = await r.ask('KEY');
  await eventually(async () => (await r.secret('KEY')).last_rotation?.state === 'active');
  await rotateSecret(r.installation, 'user:bob', 'KEY', second);
  const run = await r.t.ended(runId);
  assert.deepEqual([run.status, run.result], ['completed', { secret: 'KEY', outcome: 'SUPERSEDED' }]);
  assert.deepEqual([(await r.values('KEY')).present, keys.asked('DELETE')], [second, 0]);
  assert.ok([...keys.good.values()].includes(second));
  assert.deepEqual((await r.actions('KEY')).slice(-1), ['secret.rotation_ended']);
});

test('what a service has made for a run that was cancelled, or for a secret that was removed, is told of with its id', async () => {
  for (const how of ['cancelled', 'removed'] as const) {
    await using r = await createTestRotations();
    let runId = '';
    await using keys = await startKeys(r, {
      'GET /me': (_, response) => {
        const away = how === 'removed' ? removeSecret(r.installation, 'user:bob', 'KEY') : r.t.engine.cancelRun(runId);
        void Promise.resolve(away).then(() => response.writeHead(200).end('{}'));
      },
    });
    await r.put('KEY', keys.described());
    runId = await r.ask('KEY');
    await r.t.ended(runId);
    await lookAfterRotations(r.installation, r.t.engine, (entry) => r.t.logs.push(entry), new Date());
    await eventually(async () => r.t.logs.some(({ message, id }) => /may have made a value/.test(message) && id === 'key_2'));
    assert.ok((await r.actions('KEY')).includes('secret.rotation_unrevoked'));
    assert.ok(/"+made"+: ?"+key_2"/.test(await r.dump()), 'the entry names it');
  }
});

test('a value that the service does not take back is told of, and destroyed here all the same', async () => {
  await using r = await createTestRotations();
  let broken = false;
  await using keys = await startKeys(r, {
    'DELETE /keys/key_2': (_, response) => void response.writeHead(broken ? 503 : 200).end('{}'),
  });
  await r.put('KEY', keys.described());
  await r.rotate('KEY');
  broken = true;
  const run = await r.rotate('KEY');
  assert.deepEqual([run.status, run.error?.code, keys.asked('DELETE')], ['failed', 'REVOKE_FAILED', 2]);
  const { version, last_rotation: last } = await r.secret('KEY');
  assert.deepEqual([version, last?.state, last?.reason], [3, 'unrevoked', 'REVOKE_FAILED']);
  const { present, known } = await r.values('KEY');
  assert.deepEqual(known, [present]);
  assert.deepEqual((await r.actions('KEY')).slice(-1), ['secret.rotation_unrevoked']);
  await eventually(async () => r.t.logs.some(({ message }) => message.includes('may still be good at its service')));
});
