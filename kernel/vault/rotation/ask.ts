/**
 * Asking for rotations: by the clock, or because somebody wants one now. A row is written, with its audit entry; a run of the built-in
 * workflow takes it from there. Any number of processes may ask: a secret has one rotation at a time that has put no value in place yet.
 */
import type { AuditLog } from '../../audit/index.ts';
import { type Queryable, type Store, uuidv7 } from '../../store/index.ts';
import { descriptionKey, descriptionProblem, type DescriptionRow, readDescription } from '../description.ts';
import type { MasterKey } from '../envelope.ts';
import { VaultError } from '../errors.ts';
import { driverOf, type Rotation } from './declared.ts';

export const ROTATE_WORKFLOW = 'centaur.rotate';

export interface RotationParts {
  readonly store: Store;
  readonly audit: AuditLog;
  readonly master: MasterKey;
}

export interface AskedRotation {
  readonly rotationId: string;
  readonly name: string;
  readonly fromVersion: number | null;
}

/** The start of its run. However often it is asked for, and by whomever: one run for the secret and the value to be replaced. */
export function runOfRotation({ rotationId, name, fromVersion }: AskedRotation) {
  return {
    workflow_name: ROTATE_WORKFLOW,
    input: { rotation_id: rotationId },
    // the id in it makes the key one that nobody else can have taken before
    trigger_key: `rotate ${name} v${fromVersion ?? '-'} ${rotationId}`,
    priority: 50,
  };
}

/** So many ended ones of a secret are kept. */
const KEPT = 50;

/**
 * Due: `every_seconds` after the value was made, or after the last reminder; or when one that failed has left a new value that the service
 * may take already. Of one that failed, not before its next try; and never where nobody knows whether the service made a value: each time
 * might leave another one there.
 */
const DUE = `select s.name
  from secrets s left join secret_versions v on v.name = s.name and v.state = 'active'
  where s.rotation is not null and s.removed_at is null and ($2::text is null or s.name = $2)
    and (greatest(coalesce(v.created_at, s.created_at), s.reminded_at) + make_interval(secs => (s.rotation ->> 'every_seconds')::float8)
        <= $1::timestamptz
      or exists (select 1 from secret_rotations f join secret_versions p on p.rotation_id = f.rotation_id and p.state = 'pending'
        where f.name = s.name and f.state = 'failed' and f.from_version is not distinct from v.version))
    and (select f.reason from secret_rotations f where f.name = s.name and f.state = 'failed' and f.from_version is not distinct from v.version
      order by f.rotation_id desc limit 1) is distinct from 'MINT_UNKNOWN'
    and not exists (select 1 from secret_rotations r where r.name = s.name
      and (r.state in ('asked', 'begun') or (r.from_version is not distinct from v.version and r.retry_at > $1::timestamptz)))`;

/** Names of secrets whose time has come. */
export async function dueRotations(store: Queryable, now: Date): Promise<readonly string[]> {
  const { rows } = await store.query<{ name: string }>(`${DUE} order by s.name`, [now, null]);
  return rows.map(({ name }) => name);
}

/** @returns undefined when another process has asked already, or it is due no more */
export async function askDueRotation({ store, audit, master }: RotationParts, name: string, now: Date): Promise<AskedRotation | undefined> {
  return store.transaction(async (tx) => {
    const row = await lockSecret(tx, name);
    // by a statement of its own, which sees what another process did until it let go of the row
    const { rowCount } = await tx.query(DUE, [now, name]);
    if (row === undefined || rowCount === 0) return undefined;
    return insertRotation(tx, { audit, master }, row, 'system', now);
  });
}

/**
 * Now, because somebody wants it.
 *
 * @returns the one that is under way already, where there is one
 * @throws VaultError SECRET_NOT_FOUND, SEAL_BROKEN, INVALID_SECRET where only a person can make a new value
 */
export async function askRotation({ store, audit, master }: RotationParts, name: string, actor: string): Promise<AskedRotation> {
  return store.transaction(async (tx) => {
    const row = await lockSecret(tx, name);
    if (row === undefined) throw new VaultError('SECRET_NOT_FOUND', `there is no secret ${JSON.stringify(name)}`);
    if (row.driver === 'manual')
      throw new VaultError('INVALID_SECRET', `value: ${name} has no driver that makes one: give the new value, or declare rotation.driver`);
    const [open] = await openRotations(tx, name);
    if (open !== undefined) return open;
    return insertRotation(tx, { audit, master }, row, actor, new Date(store.now()));
  });
}

interface SecretRow extends DescriptionRow {
  readonly driver: string;
  readonly version: number | null;
}

async function lockSecret(tx: Queryable, name: string): Promise<SecretRow | undefined> {
  // whoever gives it another value or removes it waits, or has committed before the second statement
  await tx.query('select 1 from secrets where name = $1 for no key update', [name]);
  const { rows } = await tx.query<DescriptionRow & { version: number | null }>(
    `select s.name, s.type, s.source, s.binding, s.options, s.rotation, s.mac, v.version
     from secrets s left join secret_versions v on v.name = s.name and v.state = 'active' where s.name = $1 and s.removed_at is null`,
    [name],
  );
  const [row] = rows;
  if (row === undefined) return undefined;
  const { source, options } = readDescription(row);
  const rotation = row.rotation === null ? null : (JSON.parse(row.rotation) as Rotation);
  return { ...row, driver: driverOf(rotation ?? { every_seconds: 0, grace_seconds: 0 }, { isSealed: source.type === 'sealed', options }) };
}

async function insertRotation(
  tx: Queryable,
  { audit, master }: Pick<RotationParts, 'audit' | 'master'>,
  row: SecretRow,
  actor: string,
  now: Date,
): Promise<AskedRotation> {
  const changed = descriptionProblem(await descriptionKey(tx, master), row);
  if (changed !== undefined) throw changed;
  const { name, driver, version: fromVersion } = row;
  const rotationId = uuidv7(now.getTime());
  await tx.query(
    `insert into secret_rotations (rotation_id, name, actor, driver, from_version, state, asked_at) values ($1::uuid, $2, $3, $4, $5, 'asked', $6)`,
    [rotationId, name, actor, driver, fromVersion, now],
  );
  await tx.query(
    `delete from secret_rotations where name = $1 and state not in ('asked', 'begun', 'active') and rotation_id < (
       select rotation_id from secret_rotations where name = $1 order by rotation_id desc offset $2 limit 1)
     and not exists (select 1 from secret_versions p where p.rotation_id = secret_rotations.rotation_id and p.state = 'pending')`,
    [name, KEPT],
  );
  await audit.append(tx, {
    action: 'secret.rotation_asked',
    actor,
    resource: `secret:${name}`,
    details: { rotation: rotationId, driver, from_version: fromVersion },
  });
  return { rotationId, name, fromVersion };
}

/** Asked for or begun, with no value in place yet. */
async function openRotations(on: Queryable, name: string): Promise<AskedRotation[]> {
  const { rows } = await on.query<{ rotation_id: string; from_version: number | null }>(
    `select rotation_id, from_version from secret_rotations where name = $1 and state in ('asked', 'begun')`,
    [name],
  );
  return rows.map(({ rotation_id, from_version }) => ({ rotationId: rotation_id, name, fromVersion: from_version }));
}

export interface OpenRotation extends AskedRotation {
  readonly state: 'asked' | 'begun' | 'active';
  readonly runId: string | null;
}

/** All that have not come to their end: whoever looks after them sees whether their runs have. */
export async function listOpenRotations(store: Queryable): Promise<readonly OpenRotation[]> {
  const { rows } = await store.query<{
    rotation_id: string;
    name: string;
    from_version: number | null;
    state: OpenRotation['state'];
    run_id: string | null;
  }>(
    `select rotation_id, name, from_version, state, run_id from secret_rotations where state in ('asked', 'begun', 'active') order by rotation_id`,
  );
  return rows.map(({ rotation_id, name, from_version, state, run_id }) => ({
    rotationId: rotation_id,
    name,
    fromVersion: from_version,
    state,
    runId: run_id,
  }));
}
