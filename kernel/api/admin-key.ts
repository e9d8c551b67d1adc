/** The first key: the one that makes all the others. */
import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Store } from '../store/index.ts';
import { generateKey, insertKey, isKnownKey } from './keys.ts';

export type AdminKey =
  /** Made just now: whoever called shows `key` once. */
  | { readonly source: 'generated'; readonly key: string; readonly file: string }
  /** CENTAUR_API_KEY became the admin key of this database. */
  | { readonly source: 'environment' }
  /** The key that this home already had, from another database, became the admin key of this one too. */
  | { readonly source: 'file'; readonly file: string }
  /** The database has keys. `warning`: the given one is not among them. */
  | { readonly source: 'existing'; readonly warning?: string };

export interface AdminKeyOptions {
  readonly store: Store;
  /** CENTAUR_API_KEY. */
  readonly given?: string | undefined;
  /** CENTAUR_HOME: a generated key is kept in `admin.key` there, readable by its owner only. */
  readonly home: string;
}

/** Any fixed number of ours: processes that start at the same time make one key between them. */
const ADMIN_KEY_LOCK = 7_226_004;

export async function ensureAdminKey({ store, given, home }: AdminKeyOptions): Promise<AdminKey> {
  return store.transaction(async (tx): Promise<AdminKey> => {
    await tx.query('select pg_advisory_xact_lock($1)', [ADMIN_KEY_LOCK]);
    const { rowCount } = await tx.query('select 1 from api_keys limit 1');
    if (rowCount > 0) {
      if (given === undefined || (await isKnownKey(tx, given))) return { source: 'existing' };
      return {
        source: 'existing',
        warning: 'CENTAUR_API_KEY is no active key of this database: it was taken as the admin key only at the first start',
      };
    }
    if (given !== undefined) {
      checkGiven(given);
      await insertKey(tx, given, 'admin', ['admin']);
      return { source: 'environment' };
    }
    const file = adminKeyFile(home);
    const kept = readAdminKey(home);
    const key = kept ?? generateKey();
    // Before the commit: a key that is in the database but in no file would be lost
    if (kept === undefined) writeKey(file, key);
    await insertKey(tx, key, 'admin', ['admin']);
    return kept === undefined ? { source: 'generated', key, file } : { source: 'file', file };
  });
}

export function adminKeyFile(home: string): string {
  return path.join(home, 'admin.key');
}

export function readAdminKey(home: string): string | undefined {
  try {
    const key = readFileSync(adminKeyFile(home), 'utf8').trim();
    return key === '' ? undefined : key;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function checkGiven(key: string): void {
  // Printable ASCII without spaces, or it would not survive a header
  if (!/^[\x21-\x7e]{16,256}$/.test(key)) {
    throw new TypeError('CENTAUR_API_KEY: expected 16 to 256 printable characters without spaces');
  }
}

function writeKey(file: string, key: string): void {
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  const draft = `${file}.new`;
  writeFileSync(draft, `${key}\n`, { mode: 0o600 });
  // The mode above counts only for a file that did not exist
  chmodSync(draft, 0o600);
  renameSync(draft, file);
}
