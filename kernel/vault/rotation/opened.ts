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
import { RotationError } from './errors.ts';

export interface OpenedSecret {
  readonly name: string;
  readonly type: string;
  readonly binding: Binding;
  readonly options: Readonly<Record<string, unknown>>;
  readonly value: string;
}

export interface OpenedRotation {
  readonly secret: OpenedSecret;
  /** The new value. */
  readonly pending: string | undefined;
  readonly admin: OpenedSecret | undefined;
}

interface Row extends DescriptionRow {
  readonly version: number;
  readonly ciphertext: Buffer;
  readonly wrapped_key: Buffer;
  readonly kek_id: string;
}

/** @throws RotationError ROTATION_OVER, SUPERSEDED, ADMIN_REFUSED; VaultError SEAL_BROKEN, MASTER_KEY_UNKNOWN */
export async function openRotation({ store, master }: RotationParts, runId: string): Promise<OpenedRotation> {
  const { rows } = await store.query<{ rotation_id: string; name: string; from_version: number | null }>(
    `select rotation_id, name, from_version from secret_rotations where run_id = $1::uuid and state = 'begun'`,
    [runId],
  );
  const [row] = rows;
  if (row === undefined) throw new RotationError('ROTATION_OVER');
  const { name } = row;
  const present = await openOne(store, master, name, 'active', null);
  if (present === undefined || present.version !== row.from_version) throw new RotationError('SUPERSEDED');
  const pending = await openOne(store, master, name, 'pending', row.rotation_id);
  const adminName = present.rotation?.admin_secret;
  const admin = adminName === undefined ? undefined : await openOne(store, master, adminName, 'active', null);
  // its rights are used for what it names itself, under its own description: else whoever may describe any secret had them
  const rotates = admin?.secret.options['rotates'];
  if (adminName !== undefined && (!Array.isArray(rotates) || !rotates.includes(name))) throw new RotationError('ADMIN_REFUSED');
  return { secret: present.secret, pending: pending?.secret.value, admin: admin?.secret };
}

async function openOne(on: Queryable, master: MasterKey, name: string, state: 'active' | 'pending', rotationId: string | null) {
  const { rows } = await on.query<Row>(
    `select s.name, s.type, s.source, s.binding, s.options, s.rotation, s.mac, v.version, v.ciphertext, v.wrapped_key, v.kek_id
     from secrets s join secret_versions v on v.name = s.name and v.state = $2 and v.ciphertext is not null
     where s.name = $1 and s.removed_at is null and ($3::text is null or v.rotation_id = $3::text::uuid)`,
    [name, state, rotationId],
  );
  const [row] = rows;
  if (row === undefined) return undefined;
  const changed = descriptionProblem(await descriptionKey(on, master), row);
  if (changed !== undefined) throw changed;
  const { type, binding, options, rotation } = readDescription(row);
  const sealed = { ciphertext: row.ciphertext, wrappedKey: row.wrapped_key, kekId: row.kek_id };
  const value = (await open(master, sealed, aboutVersion(name, row.version))).toString('utf8');
  return { version: row.version, rotation, secret: { name, type, binding, options, value } satisfies OpenedSecret };
}
