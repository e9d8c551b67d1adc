/** Keys of the installation itself, made once and sealed under the master key: whose MAC, whose signature, whose certificates. */
import type { Queryable, Store } from '../store/index.ts';
import { type MasterKey, open, seal } from './envelope.ts';

export interface InstallKey {
  /** What may be shown: a public key, a certificate; empty for a key that is only secret. */
  readonly public: string;
  readonly secret: Buffer;
}

/** The key of that name; the first to ask makes it. */
export async function installKey(store: Store, master: MasterKey, name: string, make: () => Promise<InstallKey>): Promise<InstallKey> {
  const known = await openInstallKey(store, master, name);
  if (known !== undefined) return known;
  const made = await make();
  const sealed = await seal(master, made.secret, about(name, made.public));
  await store.query(
    'insert into install_keys (name, public, ciphertext, wrapped_key, kek_id) values ($1, $2, $3, $4, $5) on conflict (name) do nothing',
    [name, made.public, sealed.ciphertext, sealed.wrappedKey, sealed.kekId],
  );
  // of two that were made at once, the one that is stored
  return (await openInstallKey(store, master, name)) as InstallKey;
}

/** Undefined before it was made. @throws VaultError MASTER_KEY_UNKNOWN, SEAL_BROKEN */
export async function openInstallKey(store: Queryable, master: MasterKey, name: string): Promise<InstallKey | undefined> {
  const { rows } = await store.query<{ public: string; ciphertext: Buffer; wrapped_key: Buffer; kek_id: string }>(
    'select public, ciphertext, wrapped_key, kek_id from install_keys where name = $1',
    [name],
  );
  const [row] = rows;
  if (row === undefined) return undefined;
  const sealed = { ciphertext: row.ciphertext, wrappedKey: row.wrapped_key, kekId: row.kek_id };
  return { public: row.public, secret: await open(master, sealed, about(name, row.public)) };
}

/**
 * Says something else beside a key. What is said is authenticated with it, so the key is sealed anew: before the transaction,
 * which answers whether it was the first to do so.
 */
export async function relabelInstallKey(
  master: MasterKey,
  name: string,
  key: InstallKey,
  label: string,
): Promise<(tx: Queryable) => Promise<boolean>> {
  const sealed = await seal(master, key.secret, about(name, label));
  return async (tx) => {
    const { rowCount } = await tx.query(
      'update install_keys set public = $3, ciphertext = $4, wrapped_key = $5, kek_id = $6 where name = $1 and public = $2',
      [name, key.public, label, sealed.ciphertext, sealed.wrappedKey, sealed.kekId],
    );
    return rowCount === 1;
  };
}

/** The public part is authenticated too: whoever owns the database must not be able to hand out another CA. */
function about(name: string, shown: string): string {
  return `install key ${name}\n${shown}`;
}

/** What may be shown of a key, without the master key; undefined before it was made. */
export async function publicPart(store: Store, name: string): Promise<string | undefined> {
  const { rows } = await store.query<{ public: string }>('select public from install_keys where name = $1', [name]);
  return rows[0]?.public;
}
