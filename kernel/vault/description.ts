/**
 * What a secret is for (its type, source, binding, options and how it is rotated), authenticated. The value is sealed, but where it may go
 * stands in plain columns: whoever may write to the database could send it to a host of their own. So each row has a MAC,
 * under a key derived from the audit log's MAC key, which the master key seals. A row that does not verify is refused.
 *
 * Rows of a release without MACs get theirs when the installation is opened for the first time, and never again:
 *   - that it is over is told by the label of `audit.mac`, which is authenticated with the key. Installations that were made
 *     since have no copy of the key under the empty label, so nobody can go back to before;
 *   - a row is taken over only if its audit entry, under the log's own MAC, tells the same of it, so far as entries tell.
 *     Whoever removes `audit.mac`, so that a new one is made, has no entries under the new one.
 * What remains: an older row with the MAC that it had, written back, is taken for the present one; and who kept the key's row
 * from before the upgrade can write it back, too, and change what entries do not tell (places, options) or what was pruned.
 */
import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';
import type { AuditLog } from '../audit/index.ts';
import { canonicalJson, type Queryable, type Store, type StoreLogEntry } from '../store/index.ts';
import { type Binding, parseHostPattern } from './binding.ts';
import { type MasterKey } from './envelope.ts';
import { VaultError } from './errors.ts';
import { type InstallKey, openInstallKey, relabelInstallKey } from './install-keys.ts';
import { coveredRotation, type Rotation } from './rotation/declared.ts';
import type { SecretType } from './secrets.ts';
import type { Source } from './sources.ts';

export interface Description {
  readonly name: string;
  readonly type: SecretType;
  readonly source: Source;
  readonly binding: Binding;
  readonly options: Readonly<Record<string, unknown>>;
  /** Where it names a driver. */
  readonly rotation?: Rotation;
}

/** The columns of `secrets` that a description is read from. */
export interface DescriptionRow {
  readonly name: string;
  readonly type: SecretType;
  readonly source: string;
  readonly binding: string;
  readonly options: string;
  readonly rotation: string | null;
  readonly mac: Buffer | null;
}

/** Label of `audit.mac` since descriptions have MACs. */
export const DESCRIPTIONS_SEALED = 'descriptions sealed';

/** Undefined before the installation was opened for the first time. @throws VaultError MASTER_KEY_UNKNOWN, SEAL_BROKEN */
export async function descriptionKey(store: Queryable, master: MasterKey): Promise<Buffer | undefined> {
  const key = await openInstallKey(store, master, 'audit.mac');
  return key === undefined ? undefined : derive(key.secret);
}

export function macOfDescription(key: Buffer, { name, type, source, binding, options, rotation }: Description): Buffer {
  return createHmac('sha256', key)
    .update(canonicalJson({ name, type, source, binding, options, ...(rotation && { rotation }) }))
    .digest();
}

export function readDescription({ name, type, source, binding, options, rotation }: Omit<DescriptionRow, 'mac'>): Description {
  return {
    name,
    type,
    source: JSON.parse(source) as Source,
    binding: JSON.parse(binding) as Binding,
    options: JSON.parse(options) as Record<string, unknown>,
    ...coveredRotation(rotation),
  };
}

/** Why the row is refused; undefined when it is as the vault wrote it. */
export function descriptionProblem(key: Buffer | undefined, row: DescriptionRow): VaultError | undefined {
  const { name, mac } = row;
  if (key !== undefined && mac?.length === 32 && timingSafeEqual(mac, macOfDescription(key, readDescription(row)))) return undefined;
  return new VaultError(
    'SEAL_BROKEN',
    `secret ${name}: what it is for was changed in the database, and not by the vault; nothing is sent until it is set again, with its value`,
  );
}

/** Names of the secrets whose rows are refused. */
export async function changedSecrets(store: Store, master: MasterKey): Promise<readonly string[]> {
  const key = await descriptionKey(store, master);
  const { rows } = await store.query<DescriptionRow>(
    'select name, type, source, binding, options, rotation, mac from secrets where removed_at is null order by name',
  );
  return rows.filter((row) => descriptionProblem(key, row) !== undefined).map(({ name }) => name);
}

interface Parts {
  readonly store: Store;
  readonly audit: AuditLog;
  readonly master: MasterKey;
  readonly log?: ((entry: StoreLogEntry) => void) | undefined;
}

/** Gives rows of the release before their MACs, once: see above. */
export async function adoptDescriptions({ store, audit, master, log }: Parts, mac: InstallKey): Promise<void> {
  if (mac.public === DESCRIPTIONS_SEALED) return;
  const relabel = await relabelInstallKey(master, 'audit.mac', mac, DESCRIPTIONS_SEALED);
  const key = derive(mac.secret);
  await store.transaction(async (tx) => {
    // of processes that open at once, one does it; the others wait for its commit here
    if (!(await relabel(tx))) return;
    const { rows } = await tx.query<DescriptionRow & { readonly entry: string; readonly entry_mac: Buffer }>(
      `select s.name, s.type, s.source, s.binding, s.options, s.rotation, s.mac, a.entry, a.mac as entry_mac
       from secrets s join audit_log a on a.audit_id = s.audit_id where s.removed_at is null order by s.name for update of s`,
    );
    if (rows.length === 0) return;
    const adopted = rows.filter((row) => isTold(row, mac.secret));
    const refused = rows.filter((row) => !adopted.includes(row)).map(({ name }) => name);
    await tx.query('update secrets s set mac = m.mac from unnest($1::text[], $2::bytea[]) as m (name, mac) where s.name = m.name', [
      adopted.map(({ name }) => name),
      adopted.map((row) => macOfDescription(key, readDescription(row))),
    ]);
    await audit.append(tx, {
      action: 'secret.adopt',
      actor: 'system',
      details: { adopted: adopted.length, refused: refused.slice(0, 100) },
    });
    if (refused.length > 0)
      log?.({ level: 'error', message: 'secrets are not what the audit log tells of them; they are refused', secrets: refused });
    await tx.query(`select pg_notify('centaur_firewall', '')`);
  });
}

/** Whether the entry is by this installation, and tells the same. The one that pruning leaves tells nothing of any secret. */
function isTold(row: DescriptionRow & { readonly entry: string; readonly entry_mac: Buffer }, auditKey: Buffer): boolean {
  if (!createHmac('sha256', auditKey).update(row.entry).digest().equals(row.entry_mac)) return false;
  const { action, resource, details } = JSON.parse(row.entry) as {
    action: string;
    resource?: string;
    details?: { type?: unknown; source?: unknown; hosts?: readonly string[]; methods?: unknown; paths?: unknown };
  };
  if (action === 'audit.prune') return true;
  if (resource !== `secret:${row.name}` || details === undefined) return false;
  const { type, source, binding } = readDescription(row);
  const { hosts, methods, paths } = binding;
  return (
    canonicalJson({ ...pick(details), hosts: (details.hosts ?? []).map(parseHostPattern) }) ===
    canonicalJson({ type, source, hosts, methods, paths })
  );
}

function pick({ type, source, methods, paths }: { type?: unknown; source?: unknown; methods?: unknown; paths?: unknown }): object {
  return { type, source, methods, paths };
}

function derive(auditKey: Buffer): Buffer {
  return Buffer.from(hkdfSync('sha256', auditKey, Buffer.alloc(0), 'centaur secret descriptions', 32));
}
