/** Workers that are killed at each step of a rotation: there is one new value, and the one before holds until its grace is over. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createTestRotations, type TestRotations } from '../../test/support/rotations.ts';
import { asRole, createTestRole } from '../../test/support/roles.ts';
import { eventually } from '../../test/support/wait.ts';
import type { RunDetail } from '@centaur/kernel/engine';

const WORKER = fileURLToPath(new URL('../../test/support/rotation-worker.ts', import.meta.url));
const STEPS = ['begin', 'mint', 'probe', 'activate', 'revoke'];
const POINTS = STEPS.flatMap((step) => [`before ${step}`, `after ${step}`]);

function worker(r: TestRotations, killAt: string): ChildProcess {
  return spawn(process.execPath, [WORKER, r.t.database.url, r.masterKey.toString('hex'), killAt], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

/** One is killed there, and the next one goes on. */
async function rotateWithKill(r: TestRotations, name: string, killAt: string): Promise<void> {
  const run = await endedWithKill(r, name, killAt);
  assert.deepEqual([run.status, (run.result as { outcome: string } | null)?.outcome], ['completed', 'done'], killAt);
}

async function endedWithKill(r: TestRotations, name: string, killAt: string): Promise<RunDetail> {
  const runId = await r.ask(name);
  const victim = worker(r, killAt);
  const [, signal] = (await once(victim, 'exit')) as [number | null, string | null];
  assert.equal(signal, 'SIGKILL', `${killAt}: the worker did not come to it`);
  const next = worker(r, '');
  try {
    await eventually(async () => (await r.t.engine.getRun(runId)).ended_at !== null, {
      timeoutMs: 60_000,
      what: `the run after ${killAt}`,
    });
  } finally {
    next.kill('SIGKILL');
    await once(next, 'exit');
  }
  return r.t.engine.getRun(runId);
}

async function versions(r: TestRotations, name: string) {
  const { rows } = await r.t.store.query<{ state: string; open: boolean }>(
    'select state, ciphertext is not null as open from secret_versions where name = $1 order by version',
    [name],
  );
  return rows.map(({ state, open }) => `${state}${open ? '' : ' destroyed'}`);
}

test('a generated value is made once, wherever the worker is killed', { timeout: 300_000 }, async () => {
  await using r = await createTestRotations('idle');
  for (const [i, killAt] of [...POINTS, 'in secret.rotation_minted', 'in secret.rotate', 'in secret.rotation_revoked'].entries()) {
    const name = `SIGNING_${i}`;
    await r.put(name, {
      type: 'webhook',
      value: `whsec_the-first-value-${i}`,
      options: { generate: { length: 40 } },
      rotation: { every_seconds: 86_400, grace_seconds: 1 },
    });
    await rotateWithKill(r, name, killAt);
    assert.deepEqual(await versions(r, name), ['retired destroyed', 'active'], killAt);
    const actions = await r.actions(name);
    assert.equal(new Set(actions).size, actions.length, `${killAt}: ${actions.join(', ')}`);
  }
});

test('a role has the one new password, wherever the worker is killed', { timeout: 300_000 }, async () => {
  await using r = await createTestRotations('idle');
  for (const killAt of [
    ...POINTS,
    'in secret.rotation_minted',
    'in secret.rotation_request',
    'in secret.rotation_probed',
    'in secret.rotate',
  ]) {
    await using role = await createTestRole(r);
    const name = role.name.toUpperCase();
    await r.put(name, {
      type: 'pg_dsn',
      value: role.dsn,
      hosts: [role.host],
      rotation: { every_seconds: 86_400, grace_seconds: 0, driver: 'postgres_role' },
    });
    await rotateWithKill(r, name, killAt);
    assert.deepEqual(await versions(r, name), ['retired destroyed', 'active'], killAt);
    assert.equal(await asRole((await r.values(name)).present), role.name, killAt);
    const minted = (await r.actions(name)).filter((action) => action === 'secret.rotation_minted');
    assert.equal(minted.length, 1, `${killAt}: made more than once`);
  }
});

test('two processes that look at once start one run, and the value before holds until its grace is over', async () => {
  await using r = await createTestRotations('idle');
  const first = 'whsec_the-first-value-of-all';
  await r.put('SIGNING', {
    type: 'webhook',
    value: first,
    options: { generate: { length: 40 } },
    rotation: { every_seconds: 86_400, grace_seconds: 20 },
  });
  const victims = [worker(r, 'after activate'), worker(r, 'after activate')];
  const asked = await Promise.all([r.ask('SIGNING'), r.ask('SIGNING', 'user:bob')]);
  assert.equal(new Set(asked).size, 1);
  await Promise.all(victims.map((victim) => once(victim, 'exit')));
  const next = worker(r, '');
  try {
    await eventually(async () => (await r.secret('SIGNING')).last_rotation?.state === 'active');
    assert.ok((await r.values('SIGNING')).known.includes(first));
    await eventually(async () => (await r.secret('SIGNING')).last_rotation?.state === 'done');
    assert.ok(!(await r.values('SIGNING')).known.includes(first));
  } finally {
    next.kill('SIGKILL');
    await once(next, 'exit');
  }
});
