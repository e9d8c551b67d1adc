/**
 * How far a rotation has come: one transaction for each step, with its audit entry. Each may be repeated by a run that died behind it,
 * and then finds what it had done. A value is in none of what they answer.
 */
import type { AuditLog } from '../../audit/index.ts';
import { isUuid, type Queryable } from '../../store/index.ts';
import { aboutVersion, checkValue, GRACE_SECONDS, tellFirewalls } from '../secrets.ts';
import { seal } from '../envelope.ts';
import type { RotationParts } from './ask.ts';
import { driverOf, type Rotation, type RotationDriver } from './declared.ts';
import { type RotationErrorCode, RotationError } from './errors.ts';
import type { RotationState } from './view.ts';

interface RotationRow {
  readonly rotation_id: string;
  readonly name: string;
  readonly actor: string;
  readonly driver: RotationDriver;
  readonly from_version: number | null;
  readonly to_version: number | null;
  readonly state: RotationState;
  readonly reason: string | null;
  readonly run_id: string | null;
  readonly minting: boolean;
}

interface Secret {
  readonly rotation: Rotation | null;
  readonly driver: RotationDriver | undefined;
  readonly version: number | null;
  readonly graceUntil: number | null;
}

interface Locked {
  readonly row: RotationRow;
  /** Undefined: it was removed. */
  readonly secret: Secret | undefined;
}

export type Begun =
  | { readonly state: 'begun'; readonly name: string; readonly driver: RotationDriver; readonly from_version: number | null }
  | { readonly state: 'ended'; readonly name: string; readonly reason: string | null };

/** @throws RotationError ROTATION_NOT_FOUND for a run that nobody had asked for, or that is not the first one */
export async function beginRotation(parts: RotationParts, rotationId: string, runId: string): Promise<Begun> {
  // the input of the run, which anybody may have started
  if (!isUuid(rotationId)) throw new RotationError('ROTATION_NOT_FOUND');
  return parts.store.transaction(async (tx) => {
    const { row, secret } = await lock(tx, 'rotation_id', rotationId);
    const { name, driver, from_version } = row;
    if (row.run_id !== null && row.run_id !== runId) throw new RotationError('ROTATION_NOT_FOUND');
    if (row.state === 'asked') {
      await tx.query(`update secret_rotations set state = 'begun', run_id = $2::uuid where rotation_id = $1::uuid`, [rotationId, runId]);
      const problem = isSuperseded(row, secret) ? 'SUPERSEDED' : secret?.driver === driver ? undefined : 'DESCRIBED_ANEW';
      if (problem !== undefined) return end(tx, parts.audit, { ...row, run_id: runId }, problem);
      await note(tx, parts.audit, { ...row, run_id: runId }, 'secret.rotation_started', { driver, from_version });
    } else if (row.state !== 'begun') return { state: 'ended', name, reason: row.reason };
    return { state: 'begun', name, driver, from_version };
  });
}

/** Says that somebody has to do it. */
export async function remindRotation(parts: RotationParts, runId: string): Promise<Begun> {
  return parts.store.transaction(async (tx) => {
    const { row, secret } = await lockOpen(tx, runId);
    await note(tx, parts.audit, row, 'secret.rotation_due', { every_seconds: secret?.rotation?.every_seconds });
    // by the clock that it was found due by
    await tx.query('update secrets set reminded_at = $2 where name = $1', [row.name, new Date(parts.store.now())]);
    return finish(tx, row, 'ended', 'REMINDED');
  });
}

/**
 * The rotation's new value, sealed: the one that it has made before, or what `make` answers. From here on it is looked for in answers
 * and logs, and given out to nobody.
 *
 * @param leftover what becomes of the value of an earlier rotation that nobody knows whether the service takes
 * @throws RotationError SUPERSEDED
 */
export async function preparePending(
  parts: RotationParts,
  runId: string,
  make: () => string,
  leftover: 'adopt' | 'destroy',
  upstreamId?: string,
): Promise<{ readonly version: number }> {
  return parts.store.transaction(async (tx) => {
    const { row, secret } = await lockOpen(tx, runId);
    if (isSuperseded(row, secret)) throw new RotationError('SUPERSEDED');
    const { rows } = await tx.query<{ version: number; rotation_id: string; from_version: number | null }>(
      `select v.version, v.rotation_id, r.from_version from secret_versions v left join secret_rotations r using (rotation_id)
       where v.name = $1 and v.state = 'pending'`,
      [row.name],
    );
    const [pending] = rows;
    if (pending?.rotation_id === row.rotation_id) return { version: pending.version };
    if (pending !== undefined && leftover === 'adopt' && pending.from_version === row.from_version) {
      await tx.query('update secret_versions set rotation_id = $3::uuid where name = $1 and version = $2', [
        row.name,
        pending.version,
        row.rotation_id,
      ]);
      await note(tx, parts.audit, row, 'secret.rotation_minted', { version: pending.version, adopted: true });
      return { version: pending.version };
    }
    if (pending !== undefined) await destroyPending(tx, row.name);
    const { rows: numbers } = await tx.query<{ version: number }>(
      'select coalesce(max(version), 0)::int + 1 as version from secret_versions where name = $1',
      [row.name],
    );
    const version = numbers[0]?.version as number;
    const sealed = await seal(parts.master, Buffer.from(checkValue(make()), 'utf8'), aboutVersion(row.name, version));
    await tx.query(
      `insert into secret_versions (name, version, state, ciphertext, wrapped_key, kek_id, rotation_id, upstream_id)
       values ($1, $2, 'pending', $3, $4, $5, $6::uuid, $7)`,
      [row.name, version, sealed.ciphertext, sealed.wrappedKey, sealed.kekId, row.rotation_id, upstreamId ?? null],
    );
    await note(tx, parts.audit, row, 'secret.rotation_minted', { version });
    await tellFirewalls(tx);
    return { version };
  });
}

/**
 * Before a service is asked to make a value: so that whoever comes later knows that it may have.
 *
 * @returns the version, when it was made and stored already
 * @throws RotationError MINT_UNKNOWN when it was asked before, and no value is stored
 */
export async function noteMinting(parts: RotationParts, runId: string, details: object): Promise<{ readonly version: number } | undefined> {
  return parts.store.transaction(async (tx) => {
    const { row, secret } = await lockOpen(tx, runId);
    if (isSuperseded(row, secret)) throw new RotationError('SUPERSEDED');
    const { rows } = await tx.query<{ version: number | null; minting: boolean }>(
      `select v.version, r.minting_at is not null as minting
       from secret_rotations r left join secret_versions v on v.name = r.name and v.rotation_id = r.rotation_id and v.state = 'pending'
       where r.rotation_id = $1::uuid`,
      [row.rotation_id],
    );
    const { version, minting } = rows[0] as { version: number | null; minting: boolean };
    if (version !== null) return { version };
    if (minting) throw new RotationError('MINT_UNKNOWN');
    await tx.query('update secret_rotations set minting_at = now() where rotation_id = $1::uuid', [row.rotation_id]);
    await note(tx, parts.audit, row, 'secret.rotation_request', details);
    return undefined;
  });
}

/** It has surely made none. */
export async function noteNotMinted(parts: RotationParts, runId: string, details: object): Promise<void> {
  await parts.store.transaction(async (tx) => {
    const { row } = await lock(tx, 'run_id', runId);
    await tx.query('update secret_rotations set minting_at = null where rotation_id = $1::uuid', [row.rotation_id]);
    await note(tx, parts.audit, row, 'secret.rotation_answer', details);
  });
}

/** Before something is changed at a service: no entry, no change. And what came of it. */
export async function noteOutward(parts: RotationParts, runId: string, action: string, details: object): Promise<void> {
  await parts.store.transaction(async (tx) => {
    const { row } = await lock(tx, 'run_id', runId);
    await note(tx, parts.audit, row, action, details);
  });
}

/** The same, where it would be changed for a rotation that may not go on. @throws RotationError SUPERSEDED, ROTATION_OVER */
export async function noteAltering(parts: RotationParts, runId: string, details: object): Promise<void> {
  await parts.store.transaction(async (tx) => {
    const { row, secret } = await lockOpen(tx, runId);
    if (isSuperseded(row, secret)) throw new RotationError('SUPERSEDED');
    await note(tx, parts.audit, row, 'secret.rotation_request', details);
  });
}

/**
 * The new value takes the place of the one that it was made for.
 *
 * @returns until when the one before is recognised; ms since 1970
 * @throws RotationError SUPERSEDED when that is not the present one any more
 */
export async function activateRotation(
  parts: RotationParts,
  runId: string,
): Promise<{ readonly version: number; readonly grace_until: number }> {
  return parts.store.transaction(async (tx) => {
    const { row, secret } = await lock(tx, 'run_id', runId);
    const now = parts.store.now();
    if (row.state === 'active' && row.to_version !== null) return { version: row.to_version, grace_until: secret?.graceUntil ?? now };
    if (row.state !== 'begun') throw new RotationError('ROTATION_OVER');
    if (isSuperseded(row, secret)) throw new RotationError('SUPERSEDED');
    const grace = secret?.rotation?.grace_seconds ?? GRACE_SECONDS;
    const { rows } = await tx.query<{ version: number }>(
      `select version from secret_versions where name = $1 and state = 'pending' and rotation_id = $2::uuid`,
      [row.name, row.rotation_id],
    );
    const version = rows[0]?.version;
    if (version === undefined) throw new RotationError('SUPERSEDED');
    const until = now + grace * 1000;
    await tx.query(`update secret_versions set state = 'grace', grace_until = $2 where name = $1 and state = 'active'`, [
      row.name,
      new Date(until),
    ]);
    await tx.query(`update secret_versions set state = 'active', created_at = $3 where name = $1 and version = $2`, [
      row.name,
      version,
      new Date(now),
    ]);
    await tx.query('update secrets set updated_at = now() where name = $1', [row.name]);
    await tx.query(`update secret_rotations set state = 'active', to_version = $2 where rotation_id = $1::uuid`, [
      row.rotation_id,
      version,
    ]);
    await note(tx, parts.audit, row, 'secret.rotate', { version, grace_seconds: grace, driver: row.driver });
    await tellFirewalls(tx);
    return { version, grace_until: until };
  });
}

/**
 * Its grace is over: the value before is destroyed.
 *
 * @param problem why the service may take it all the same; `IN_USE`: it should, for somebody has put it back in place
 */
export async function retireReplaced(
  parts: RotationParts,
  runId: string,
  problem?: RotationErrorCode | 'PLATFORM' | 'IN_USE',
): Promise<{ readonly state: RotationState }> {
  return parts.store.transaction(async (tx) => {
    const { row } = await lock(tx, 'run_id', runId);
    if (row.state !== 'active') return { state: row.state };
    await retire(tx, row);
    if (problem === 'IN_USE') return end(tx, parts.audit, row, 'SUPERSEDED');
    if (problem !== undefined) {
      await note(tx, parts.audit, row, 'secret.rotation_unrevoked', { version: row.from_version, reason: problem });
      return finish(tx, row, 'unrevoked', problem);
    }
    await note(tx, parts.audit, row, 'secret.rotation_revoked', { version: row.from_version });
    return finish(tx, row, 'done', null);
  });
}

/**
 * It did not come to a new value. The present one stays in use.
 *
 * @param pending `keep`: the service may take the new value by now, and not the present one any more
 */
export async function failRotation(
  parts: RotationParts,
  runId: string,
  reason: RotationErrorCode | 'PLATFORM',
  pending: 'destroy' | 'keep',
): Promise<Begun | { readonly state: RotationState; readonly reason: string | null }> {
  return parts.store.transaction(async (tx) => {
    const { row, secret } = await lock(tx, 'run_id', runId);
    return fail(tx, parts, { row, secret }, reason, pending);
  });
}

async function fail(
  tx: Queryable,
  { store, audit }: Pick<RotationParts, 'store' | 'audit'>,
  { row, secret }: Locked,
  reason: RotationErrorCode | 'PLATFORM',
  pending: 'destroy' | 'keep',
): Promise<Begun | { readonly state: RotationState; readonly reason: string | null }> {
  if (row.state !== 'asked' && row.state !== 'begun') return { state: row.state, reason: row.reason };
  const isOver = isSuperseded(row, secret);
  if (pending === 'destroy' || isOver) await destroyPending(tx, row.name, row.rotation_id);
  await tellFirewalls(tx);
  if (isOver || reason === 'DESCRIBED_ANEW') return end(tx, audit, row, isOver ? 'SUPERSEDED' : reason);
  const { rows } = await tx.query<{ failed: number }>(
    `select count(*)::int as failed from secret_rotations where name = $1 and from_version is not distinct from $2 and state = 'failed'`,
    [row.name, row.from_version],
  );
  // of one that may have left a value at the service, by nobody but a person
  const wait = reason === 'MINT_UNKNOWN' ? undefined : backoffMs(rows[0]?.failed ?? 0, pending);
  const retryAt = wait === undefined ? null : new Date(store.now() + wait);
  await tx.query('update secret_rotations set retry_at = $2 where rotation_id = $1::uuid', [row.rotation_id, retryAt]);
  await note(tx, audit, row, 'secret.rotation_failed', { reason, kept: pending === 'keep', retry_at: retryAt?.toISOString() ?? null });
  return finish(tx, row, 'failed', reason);
}

const MINUTE_MS = 60_000;
const DAY_MS = 1440 * MINUTE_MS;

/**
 * A quarter of an hour after the first failure, then twice as long each time, and a day at most. Where the new value is kept, the one in
 * use may be good for nothing: a minute, and a quarter of an hour at most.
 */
function backoffMs(failedBefore: number, pending: 'destroy' | 'keep'): number {
  const [first, most] = pending === 'keep' ? [MINUTE_MS, 15 * MINUTE_MS] : [15 * MINUTE_MS, DAY_MS];
  return Math.min(most, first * 2 ** failedBefore);
}

/**
 * Of a rotation whose run is over, or never began: cancelled, or ended by what nobody foresaw.
 *
 * A new value that the service may take already is kept: the next rotation finds out. One that the service has made, or may have made,
 * and that nobody uses is left there, and told of.
 *
 * @returns undefined when it had come to its end by itself meanwhile
 */
export async function abandonRotation(
  parts: RotationParts,
  rotationId: string,
): Promise<{ readonly made: 'nothing' | 'unknown' | 'left at the service'; readonly id: string | undefined } | undefined> {
  return parts.store.transaction(async (tx) => {
    const locked = await lock(tx, 'rotation_id', rotationId);
    const { row } = locked;
    if (row.state === 'asked' || row.state === 'begun') {
      const minted = await mintedBy(tx, row);
      const reason = minted.made === 'unknown' ? 'MINT_UNKNOWN' : 'RUN_ENDED';
      await fail(tx, parts, locked, reason, row.driver === 'postgres_role' ? 'keep' : 'destroy');
      if (minted.made !== 'nothing') await note(tx, parts.audit, row, 'secret.rotation_unrevoked', { made: minted.id ?? null, reason });
      return minted;
    }
    if (row.state !== 'active') return undefined;
    // nobody has asked the service to take the value before back
    const isLeft = row.driver === 'http';
    await note(tx, parts.audit, row, isLeft ? 'secret.rotation_unrevoked' : 'secret.rotation_ended', { reason: 'RUN_ENDED' });
    await finish(tx, row, isLeft ? 'unrevoked' : 'done', 'RUN_ENDED');
    return { made: 'nothing', id: undefined };
  });
}

/** What a service was asked to make for it, and what it calls that: also when the value is gone, with its secret. */
async function mintedBy(tx: Queryable, { rotation_id, name, minting }: RotationRow) {
  if (!minting) return { made: 'nothing', id: undefined } as const;
  const { rows } = await tx.query<{ upstream_id: string | null }>(
    'select upstream_id from secret_versions where name = $1 and rotation_id = $2::uuid',
    [name, rotation_id],
  );
  const [version] = rows;
  return { made: version === undefined ? 'unknown' : 'left at the service', id: version?.upstream_id ?? undefined } as const;
}

/** The same, of a rotation that has come to no value in place. */
export async function whatWasMinted(parts: RotationParts, runId: string): Promise<Awaited<ReturnType<typeof mintedBy>>> {
  return parts.store.transaction(async (tx) => mintedBy(tx, (await lock(tx, 'run_id', runId)).row));
}

/** @throws RotationError ROTATION_NOT_FOUND */
async function lock(tx: Queryable, by: 'rotation_id' | 'run_id', id: string): Promise<Locked> {
  const { rows: found } = await tx.query<{ name: string }>(`select name from secret_rotations where ${by} = $1::uuid`, [id]);
  const [known] = found;
  if (known === undefined) throw new RotationError('ROTATION_NOT_FOUND');
  // the secret before its rotation, as whoever asks for one takes them; and both before anything is read of them
  await tx.query('select 1 from secrets where name = $1 for no key update', [known.name]);
  const { rows } = await tx.query<RotationRow>(
    `select rotation_id, name, actor, driver, from_version, to_version, state, reason, run_id, minting_at is not null as minting
     from secret_rotations where ${by} = $1::uuid for update`,
    [id],
  );
  const row = rows[0] as RotationRow;
  const { rows: secrets } = await tx.query<{
    options: string;
    rotation: string | null;
    sealed: boolean;
    version: number | null;
    grace_until: number | null;
  }>(
    `select s.options, s.rotation, s.source ->> 'type' = 'sealed' as sealed, v.version, b.grace_until
     from secrets s left join secret_versions v on v.name = s.name and v.state = 'active'
       left join secret_versions b on b.name = s.name and b.version = $2
     where s.name = $1 and s.removed_at is null`,
    [row.name, row.from_version],
  );
  return { row, secret: secrets[0] && toSecret(secrets[0]) };
}

function toSecret(row: {
  readonly options: string;
  readonly rotation: string | null;
  readonly sealed: boolean;
  readonly version: number | null;
  readonly grace_until: number | null;
}): Secret {
  const rotation = row.rotation === null ? null : (JSON.parse(row.rotation) as Rotation);
  const described = { isSealed: row.sealed, options: JSON.parse(row.options) as Record<string, unknown> };
  return {
    rotation,
    driver: driverOf(rotation ?? { every_seconds: 0, grace_seconds: 0 }, described),
    version: row.version,
    graceUntil: row.grace_until,
  };
}

async function lockOpen(tx: Queryable, runId: string): Promise<Locked> {
  const locked = await lock(tx, 'run_id', runId);
  if (locked.row.state !== 'begun') throw new RotationError('ROTATION_OVER');
  return locked;
}

/** The value that was to be replaced is not the present one any more. */
function isSuperseded(row: RotationRow, secret: Secret | undefined): boolean {
  if (secret === undefined) return true;
  return secret.version !== row.from_version;
}

async function destroyPending(tx: Queryable, name: string, rotationId?: string): Promise<void> {
  await tx.query(
    `update secret_versions set state = 'retired', ciphertext = null, wrapped_key = null
     where name = $1 and state = 'pending' and ($2::text is null or rotation_id = $2::text::uuid)`,
    [name, rotationId ?? null],
  );
}

async function retire(tx: Queryable, { name, from_version }: RotationRow): Promise<void> {
  await tx.query(
    `update secret_versions set state = 'retired', ciphertext = null, wrapped_key = null where name = $1 and version = $2 and state = 'grace'`,
    [name, from_version],
  );
  await tellFirewalls(tx);
}

async function end(tx: Queryable, audit: AuditLog, row: RotationRow, reason: RotationErrorCode | 'PLATFORM'): Promise<Begun> {
  await note(tx, audit, row, 'secret.rotation_ended', { reason });
  return finish(tx, row, 'ended', reason);
}

async function finish<State extends RotationState>(
  tx: Queryable,
  { rotation_id, name }: RotationRow,
  state: State,
  reason: string | null,
): Promise<{ readonly state: State; readonly name: string; readonly reason: string | null }> {
  await tx.query('update secret_rotations set state = $2, reason = $3, ended_at = now() where rotation_id = $1::uuid', [
    rotation_id,
    state,
    reason,
  ]);
  return { state, name, reason };
}

async function note(tx: Queryable, audit: AuditLog, row: RotationRow, action: string, details: object): Promise<void> {
  await audit.append(tx, {
    action,
    actor: row.actor,
    resource: `secret:${row.name}`,
    ...(row.run_id === null ? {} : { runId: row.run_id }),
    details: { rotation: row.rotation_id, ...details },
  });
}
