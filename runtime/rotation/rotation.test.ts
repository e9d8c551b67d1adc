import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTestRotations } from '../../test/support/rotations.ts';
import { eventually } from '../../test/support/wait.ts';
import { ROTATE_WORKFLOW, removeSecret, rotateSecret } from '@centaur/kernel/vault';
import { lookAfterRotations } from './index.ts';

const VALUE = 'whsec_the-first-value-of-all';
const DAY = 86_400_000;
const SIGNING = {
  type: 'webhook' as const,
  value: VALUE,
  options: { generate: { prefix: 'whsec_', length: 40 } },
  rotation: { every_seconds: 86_400, grace_seconds: 1 },
};

test('a generated value is sealed, put in place, and after its grace the one before is destroyed; each step is in the log', async () => {
  await using r = await createTestRotations();
  // long enough for a look at what is known meanwhile
  await r.put('SIGNING', { ...SIGNING, rotation: { ...SIGNING.rotation, grace_seconds: 5 } });
  const runId = await r.ask('SIGNING', 'user:ann');
  await eventually(async () => (await r.secret('SIGNING')).last_rotation?.state === 'active');
  const { present, known } = await r.values('SIGNING');
  assert.match(present, /^whsec_[A-Za-z0-9]{40}$/);
  assert.deepEqual(known.toSorted(), [VALUE, present].toSorted(), 'the one before is looked for during its grace');

  const run = await r.t.ended(runId);
  assert.deepEqual([run.status, run.result], ['completed', { secret: 'SIGNING', outcome: 'done', version: 2 }]);
  assert.deepEqual(
    run.steps.map(({ name }) => name),
    ['begin', 'mint', 'probe', 'activate', 'grace', 'revoke'],
  );
  assert.deepEqual(await r.actions('SIGNING'), [
    'secret.create',
    'secret.rotation_asked',
    'secret.rotation_started',
    'secret.rotation_minted',
    'secret.rotate',
    'secret.rotation_revoked',
  ]);
  const { rows } = await r.t.store.query<{ n: number }>(
    `select count(*)::int as n from audit_log where actor = 'user:ann' and run_id = $1::uuid`,
    [runId],
  );
  assert.equal(rows[0]?.n, 4);
  const secret = await r.secret('SIGNING');
  assert.deepEqual(
    [secret.version, secret.rotation?.driver, secret.last_rotation?.state, secret.last_rotation?.run_id, secret.last_rotation?.asked_by],
    [2, 'generate', 'done', runId, 'user:ann'],
  );
  assert.deepEqual((await r.values('SIGNING')).known, [present]);

  const written = `${await r.dump()}\n${JSON.stringify([r.t.logs, run])}`;
  assert.match(written, /secret\.rotation_minted/);
  for (const value of [VALUE, present])
    for (const form of [value, Buffer.from(value).toString('base64'), Buffer.from(value).toString('hex')])
      assert.ok(!written.includes(form), 'a value is in what is written down');
});

test('what is due is rotated once, however many look; what nobody can make is called for once per period', async () => {
  await using r = await createTestRotations();
  await r.put('SIGNING', SIGNING);
  await r.put('BY_HAND', { hosts: ['api.example.com'], value: 'sk_live_a-value-of-the-provider', rotation: { every_seconds: 86_400 } });
  await r.put('SOURCED', {
    hosts: ['api.example.com'],
    source: { type: 'env', variable: 'X' },
    options: { generate: { length: 30 } },
    rotation: { every_seconds: 86_400 },
  });
  await r.put('LATER', { ...SIGNING, rotation: { every_seconds: 864_000 } });
  const look = (days: number) =>
    lookAfterRotations(r.installation, r.t.engine, (entry) => r.t.logs.push(entry), new Date(Date.now() + days * DAY + 1000));
  await look(0);
  assert.deepEqual(await r.t.engine.listRuns({ workflow_name: ROTATE_WORKFLOW }), { items: [], next: null });
  await Promise.all(Array.from({ length: 5 }, () => look(1)));
  const { items } = await r.t.engine.listRuns({ workflow_name: ROTATE_WORKFLOW });
  assert.equal(items.length, 3);
  for (const { run_id } of items) await r.t.ended(run_id);
  assert.deepEqual(
    [(await r.secret('SIGNING')).version, (await r.secret('BY_HAND')).version, (await r.secret('LATER')).version],
    [2, 1, 1],
  );
  for (const name of ['BY_HAND', 'SOURCED'])
    assert.deepEqual((await r.actions(name)).slice(1), ['secret.rotation_asked', 'secret.rotation_started', 'secret.rotation_due']);
  assert.equal((await r.secret('BY_HAND')).last_rotation?.reason, 'REMINDED');
  assert.ok(r.t.logs.some(({ message }) => message === 'a secret is due to be rotated by hand'));
});

test('a value that somebody has given meanwhile, or a removal, ends the rotation, and nothing is overwritten', async () => {
  await using r = await createTestRotations('idle');
  const theirs = 'whsec_what-somebody-has-given';
  await r.put('SIGNING', SIGNING);
  await r.put('REMOVED', SIGNING);
  await r.put('PLAIN', SIGNING);
  const runs = [await r.ask('SIGNING'), await r.ask('REMOVED'), await r.ask('PLAIN')] as const;
  assert.deepEqual((await r.secret('SIGNING')).last_rotation?.state, 'asked');
  await rotateSecret(r.installation, 'user:bob', 'SIGNING', theirs);
  await removeSecret(r.installation, 'user:bob', 'REMOVED');
  await r.put('PLAIN', { type: 'webhook' });
  await r.t.engine.work();
  const ended = await Promise.all(runs.map((run) => r.t.ended(run)));
  assert.deepEqual(
    ended.map(({ status, result }) => [status, (result as { outcome: string }).outcome]),
    [
      ['completed', 'SUPERSEDED'],
      ['completed', 'SUPERSEDED'],
      ['completed', 'DESCRIBED_ANEW'],
    ],
  );
  assert.equal((await r.values('SIGNING')).present, theirs);
  assert.deepEqual((await r.actions('SIGNING')).slice(-1), ['secret.rotation_ended']);
});

test('only a run that was asked for rotates anything, and only the first one with its id', async () => {
  await using r = await createTestRotations();
  await r.put('SIGNING', SIGNING);
  const runId = await r.ask('SIGNING');
  const { input } = await r.t.engine.getRun(runId);
  for (const given of [input, { rotation_id: runId }, { rotation_id: 'x' }, {}]) {
    const run = await r.t.run(ROTATE_WORKFLOW, given);
    assert.equal(run.status, 'failed', JSON.stringify(given));
  }
  assert.equal((await r.t.ended(runId)).status, 'completed');
  assert.equal((await r.secret('SIGNING')).version, 2);
});

test('a run that is stuck keeps no secret from its next rotation, and one that cannot be looked after holds up no other', async () => {
  await using r = await createTestRotations('idle');
  await r.put('STUCK', SIGNING);
  await r.put('SIGNING', SIGNING);
  const [broken, stuck] = [await r.ask('SIGNING'), await r.ask('STUCK')];
  await r.t.store.query(`update secret_rotations set state = 'begun', run_id = $1::uuid where name = 'STUCK'`, [stuck]);
  await r.t.store.query(`update workflow_runs set status = 'x' where run_id = $1::uuid`, [stuck]);
  const start = () => Promise.reject(new Error(`no run for ${broken}`));
  const getRun = (id: string) => r.t.engine.getRun(id);
  await lookAfterRotations(r.installation, { start, getRun }, (entry) => r.t.logs.push(entry), new Date());
  assert.deepEqual((await r.secret('STUCK')).last_rotation?.reason, 'RUN_ENDED');
  assert.ok(r.t.logs.some(({ message, secret }) => message === 'a rotation could not be looked after' && secret === 'SIGNING'));
  assert.notEqual(await r.ask('STUCK'), stuck);
});

test('a rotation whose run was cancelled fails, and is tried again at a later time, and later each time', async () => {
  await using r = await createTestRotations('idle');
  await r.put('SIGNING', { ...SIGNING, rotation: { every_seconds: 60 } });
  const log = () => {};
  const waits: number[] = [];
  for (let at = Date.now() + 61_000, i = 0; i < 3; i++) {
    await lookAfterRotations(r.installation, r.t.engine, log, new Date(at));
    const { items } = await r.t.engine.listRuns({ workflow_name: ROTATE_WORKFLOW, limit: 1 });
    assert.equal((await r.t.engine.listRuns({ workflow_name: ROTATE_WORKFLOW })).items.length, i + 1);
    await r.t.engine.cancelRun(items[0]?.run_id as string);
    await lookAfterRotations(r.installation, r.t.engine, log, new Date(at));
    const { last_rotation: last } = await r.secret('SIGNING');
    assert.deepEqual([last?.state, last?.reason], ['failed', 'RUN_ENDED']);
    at = Date.parse(last?.retry_at as string) + 1000;
    waits.push(Math.round((at - Date.now()) / 60_000));
  }
  assert.deepEqual(waits, [15, 30, 60]);
  assert.equal((await r.values('SIGNING')).present, VALUE);
});
