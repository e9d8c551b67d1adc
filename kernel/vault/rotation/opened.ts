/**
 * Values in clear, for the drivers of rotations: of the secret that a run rotates, of the new value that it has made, and of the secret
 * whose rights it may use for that. By the run, and only while its rotation is open: nothing else is opened by this.
 */
import type { Queryable } from '../../store/index.ts';
import type { Binding } from '../binding.ts';
import { descriptionKey, descriptionProblem, type DescriptionRow, readDescription } from '../description.ts';
import { type MasterKey, open } from '../envelope.ts';
import { aboutVersion } from '../secrets.ts';
import type { RotationParts } from './ask.ts';
import type { Rotation } from './declared.ts';
import { RotationError } from './errors.ts';
import type { HttpRotation } from './requests.ts';

export interface OpenedSecret {
  readonly name: string;
  readonly type: string;
  readonly binding: Binding;
  readonly options: Readonly<Record<string, unknown>>;
  readonly http: HttpRotation | undefined;
  readonly value: string;
}

export interface OpenedRotation {
  readonly rotationId: string;
  readonly secret: OpenedSecret;
  /** The new value. */
  readonly pending: string | undefined;
  /** What the service calls it. */
  readonly pendingId: string | undefined;
  readonly admin: OpenedSecret | undefined;
}

/** After the new value was put in place. */
export interface OpenedReplaced {
  readonly secret: OpenedSecret;
  readonly replaced: string;
  readonly replacedId: string | undefined;
  readonly admin: OpenedSecret | undefined;
}

interface Row extends DescriptionRow {
  readonly version: number;
  readonly ciphertext: Buffer;
  readonly wrapped_key: Buffer;
  readonly kek_id: string;
  readonly upstream_id: string | null;
}

/** @throws RotationError ROTATION_OVER, SUPERSEDED, ADMIN_REFUSED; VaultError SEAL_BROKEN, MASTER_KEY_UNKNOWN */
export async function openRotation({ store, master }: RotationParts, runId: string): Promise<OpenedRotation> {
  const { rows } = await store.query<{ rotation_id: string; name: string; from_version: number | null }>(
    `select rotation_id, name, from_version from secret_rotations where run_id = $1::uuid and state = 'begun'`,
    [runId],
  );
  const [row] = rows;
  if (row === undefined) throw new RotationError('ROTATION_OVER');
  const { name, rotation_id: rotationId } = row;
  const present = await openOne(store, master, name, 'active');
  if (present === undefined || present.version !== row.from_version) throw new RotationError('SUPERSEDED');
  const pending = await openOne(store, master, name, 'pending', { rotationId });
  return {
    rotationId,
    secret: present.secret,
    pending: pending?.secret.value,
    pendingId: pending?.upstreamId,
    admin: await openAdmin(store, master, name, present.rotation),
  };
}

/** Also when another value is in use by now: what was made has to be taken back all the same. Undefined when the secret was removed. */
export async function openMinted({ store, master }: RotationParts, runId: string): Promise<OpenedRotation | undefined> {
  const { rows } = await store.query<{ rotation_id: string; name: string }>(
    `select rotation_id, name from secret_rotations where run_id = $1::uuid and state = 'begun'`,
    [runId],
  );
  const [row] = rows;
  if (row === undefined) return undefined;
  const { name, rotation_id: rotationId } = row;
  const present = await openOne(store, master, name, 'active');
  const pending = await openOne(store, master, name, 'pending', { rotationId });
  if (present === undefined || pending === undefined) return undefined;
  const admin = await openAdmin(store, master, name, present.rotation);
  return { rotationId, secret: present.secret, pending: pending.secret.value, pendingId: pending.upstreamId, admin };
}

/** @throws RotationError ROTATION_OVER, SUPERSEDED, ADMIN_REFUSED; VaultError SEAL_BROKEN, MASTER_KEY_UNKNOWN */
export async function openReplaced({ store, master }: RotationParts, runId: string): Promise<OpenedReplaced> {
  const { rows } = await store.query<{ name: string; from_version: number | null }>(
    `select name, from_version from secret_rotations where run_id = $1::uuid and state = 'active'`,
    [runId],
  );
  const [row] = rows;
  if (row === undefined) throw new RotationError('ROTATION_OVER');
  const { name, from_version: version } = row;
  const present = await openOne(store, master, name, 'active');
  const replaced = await openOne(store, master, name, 'grace', { version });
  if (present === undefined || replaced === undefined) throw new RotationError('SUPERSEDED');
  return {
    secret: present.secret,
    replaced: replaced.secret.value,
    replacedId: replaced.upstreamId,
    admin: await openAdmin(store, master, name, present.rotation),
  };
}

/** Its rights are used for what it names itself, under its own description: else whoever may describe any secret had them. */
async function openAdmin(on: Queryable, master: MasterKey, name: string, rotation: Rotation | undefined) {
  if (rotation?.admin_secret === undefined) return undefined;
  const admin = await openOne(on, master, rotation.admin_secret, 'active');
  const rotates = admin?.secret.options['rotates'];
  if (!Array.isArray(rotates) || !rotates.includes(name)) throw new RotationError('ADMIN_REFUSED');
  return admin?.secret;
}

async function openOne(
  on: Queryable,
  master: MasterKey,
  name: string,
  state: 'active' | 'pending' | 'grace',
  { rotationId, version }: { readonly rotationId?: string; readonly version?: number | null } = {},
) {
  const { rows } = await on.query<Row>(
    `select s.name, s.type, s.source, s.binding, s.options, s.rotation, s.mac, v.version, v.ciphertext, v.wrapped_key, v.kek_id, v.upstream_id
     from secrets s join secret_versions v on v.name = s.name and v.state = $2 and v.ciphertext is not null
     where s.name = $1 and s.removed_at is null and ($3::text is null or v.rotation_id = $3::text::uuid)
       and ($4::int is null or v.version = $4::int)`,
    [name, state, rotationId ?? null, version ?? null],
  );
  const [row] = rows;
  if (row === undefined) return undefined;
  const changed = descriptionProblem(await descriptionKey(on, master), row);
  if (changed !== undefined) throw changed;
  const { type, binding, options, rotation } = readDescription(row);
  const sealed = { ciphertext: row.ciphertext, wrappedKey: row.wrapped_key, kekId: row.kek_id };
  const value = (await open(master, sealed, aboutVersion(name, row.version))).toString('utf8');
  const secret: OpenedSecret = { name, type, binding, options, http: rotation?.http, value };
  return { version: row.version, upstreamId: row.upstream_id ?? undefined, rotation, secret };
}
