/**
 * Restoring: into an empty database, in one transaction. Killed at any moment, it leaves the database as empty as it was.
 *
 * What was going on when the backup was made is ended in the same transaction, since its processes are not here: workers,
 * so that runs are taken up by those that come; leases, so that no token of then opens anything; and sandboxes.
 */
import { createAuditLog, continueOrder } from '../audit/index.ts';
import { connectStore, migrate, migrateUpTo, type Queryable, releaseSchema, type Store } from '../store/index.ts';
import { type MasterKey, openInstallKey } from '../vault/index.ts';
import { type Content, type Manifest, readContent } from './content.ts';
import { copyIn } from './copy.ts';
import { BackupError } from './errors.ts';
import { type BackupKeys, readHead, readSealed } from './sealed-file.ts';
import { queryable, quoted } from './snapshot.ts';

export interface RestoreReport {
  readonly backup_id: string;
  readonly created_at: string;
  readonly tables: number;
  readonly rows: number;
  /** What was going on then, and was ended. */
  readonly ended: Readonly<Record<string, number>>;
  readonly left_out: readonly string[];
}

export interface RestoreOptions extends BackupKeys {
  /** Of the database, which must be empty. */
  readonly url: string;
  readonly actor: string;
  readonly file: string;
  readonly onProgress?: (table: string, rows: number) => void;
}

/** What belongs to processes that are not here. A table that a release does not have yet is passed over. */
const ENDED: readonly { readonly what: string; readonly table: string; readonly sql: string }[] = [
  { what: 'workers', table: 'workers', sql: 'update workers set dead = true, ended_at = now() where not dead' },
  { what: 'leases', table: 'leases', sql: 'update leases set revoked_at = now() where revoked_at is null' },
  {
    what: 'sandboxes',
    table: 'sandbox_sessions',
    sql: `update sandbox_sessions set state = 'idle', sandbox_id = null, host = null, log_offset = 0 where sandbox_id is not null`,
  },
  { what: 'leases', table: 'tool_call_leases', sql: 'delete from tool_call_leases' },
  { what: 'sessions', table: 'user_sessions', sql: 'update user_sessions set revoked_at = now() where revoked_at is null' },
  { what: 'sign_ins', table: 'user_sign_ins', sql: 'delete from user_sign_ins' },
  { what: 'firewalls', table: 'firewall_processes', sql: 'delete from firewall_processes' },
];

/** @throws BackupError NOT_EMPTY, BACKUP_BROKEN, BACKUP_KEY_WRONG, BACKUP_UNSUITABLE; the database is then as it was */
export async function restoreBackup(options: RestoreOptions): Promise<RestoreReport> {
  const { url, actor, master, onProgress } = options;
  const store = await connectStore({ url, poolSize: 2 });
  try {
    const content = await openBackup(options);
    const { manifest } = content;
    await refuseForeign(manifest);
    const client = await store.connect('restore');
    const tx = queryable(client);
    let rows = 0;
    const ended: Record<string, number> = {};
    try {
      await client.query('begin');
      await refuseFull(tx);
      await migrateUpTo(tx, Math.max(...manifest.migrations.map(({ id }) => id)));
      await refuseOtherTables(manifest, tx);
      await makePartitions(tx, manifest);
      for await (const { name, columns, rows: pieces } of content.tables()) {
        const { rows: known } = await tx.query('select 1 from pg_class where oid = to_regclass($1)', [name]);
        if (known.length === 0) throw new BackupError('BACKUP_UNSUITABLE', `this release has no table ${name}`);
        // a migration may have put something into it
        await tx.query(`delete from ${quoted(name)}`);
        const count = await copyIn(client, `copy ${quoted(name)} (${columns.map(quoted).join(', ')}) from stdin`, pieces);
        rows += count;
        onProgress?.(name, count);
      }
      for (const { name, last_value, is_called } of manifest.sequences)
        await tx.query('select setval($1::regclass, $2::bigint, $3)', [name, last_value, is_called]);
      for (const { what, table, sql } of ENDED) {
        const { rows: there } = await tx.query('select 1 from pg_class where oid = to_regclass($1)', [table]);
        if (there.length > 0) ended[what] = (ended[what] ?? 0) + (await tx.query(sql)).rowCount;
      }
      await writeDown(store, tx, master, actor, manifest, { rows, ended });
      await client.query('commit');
    } finally {
      await client.end().catch(() => undefined);
    }
    // what this release adds to the one that made the backup
    await migrate(url);
    const { backup_id, created_at, tables, left_out } = manifest;
    return { backup_id, created_at, tables: tables.length, rows, ended, left_out };
  } finally {
    await store.close();
  }
}

export interface VerifyReport {
  readonly backup_id: string;
  readonly created_at: string;
  readonly postgres: string;
  readonly migration: string;
  readonly tables: readonly { readonly name: string; readonly rows: number }[];
  readonly rows: number;
  readonly left_out: readonly string[];
  /** Master keys that its secrets are sealed under, and whether the one at hand opens them; null: there was none at hand. */
  readonly master_keys: readonly string[];
  readonly opens_secrets: boolean | null;
}

/** Reads all of it, and holds each piece, row count and hash against what is written. @throws BackupError */
export async function verifyBackup(file: string, keys: BackupKeys): Promise<VerifyReport> {
  const { manifest, tables } = await openBackup({ file, ...keys });
  const counted: { name: string; rows: number }[] = [];
  for await (const { name, rows } of tables()) {
    let next = await rows.next();
    while (next.done !== true) next = await rows.next();
    counted.push({ name, rows: next.value });
  }
  return {
    backup_id: manifest.backup_id,
    created_at: manifest.created_at,
    postgres: manifest.postgres,
    migration: manifest.migrations.at(-1)?.name ?? '',
    tables: counted,
    rows: counted.reduce((sum, table) => sum + table.rows, 0),
    left_out: manifest.left_out,
    master_keys: manifest.keys.map(({ kek_id }) => kek_id),
    opens_secrets: manifest.keys.length === 0 || keys.master === undefined ? null : true,
  };
}

/** Its manifest, once the master key that is given opens what was sealed. */
async function openBackup({ file, master, passphrase }: { readonly file: string } & BackupKeys): Promise<Content> {
  await readHead(file);
  const content = await readContent(readSealed(file, { master, passphrase }));
  if (master === undefined) return content;
  for (const { kek_id, wrapped } of content.manifest.keys)
    await master.unwrap(Buffer.from(wrapped, 'base64'), kek_id).catch((error: Error) => {
      throw new BackupError('BACKUP_KEY_WRONG', `the master key does not open the secrets of this backup: ${error.message}`, {
        cause: error,
      });
    });
  return content;
}

async function refuseForeign({ migrations }: Manifest): Promise<void> {
  const release = await releaseSchema();
  const problem = migrations.findIndex(
    ({ id, checksum }, i) => release.migrations[i]?.id !== id || release.migrations[i].checksum !== checksum,
  );
  if (problem >= 0)
    throw new BackupError(
      'BACKUP_UNSUITABLE',
      `it has the migration ${migrations[problem]?.name}, which this release does not know in that place`,
    );
}

/** What is sealed in the file is not believed to name tables: whoever made it knew the key, and no more. */
async function refuseOtherTables({ tables, partitions, sequences }: Manifest, on: Queryable): Promise<void> {
  const ours = new Set((await releaseSchema()).tables);
  const { rows } = await on.query<{ name: string }>(
    `select relname as name from pg_class where relnamespace = current_schema()::regnamespace and relkind = 'S'`,
  );
  const numbers = new Set(rows.map(({ name }) => name));
  const foreign =
    tables.find(({ name }) => !ours.has(name))?.name ??
    partitions.find(({ parent }) => !ours.has(parent))?.name ??
    sequences.find(({ name }) => !numbers.has(name))?.name;
  if (foreign !== undefined) throw new BackupError('BACKUP_UNSUITABLE', `this release has no table or sequence ${foreign}`);
}

/** Nothing of anybody's is there: what an earlier start has made counts, too. */
async function refuseFull(tx: Queryable): Promise<void> {
  const { rows } = await tx.query<{ name: string }>(
    `select relname as name from pg_class where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p', 'v', 'm', 'S') order by 1 limit 3`,
  );
  if (rows.length > 0)
    throw new BackupError(
      'NOT_EMPTY',
      `the database is not empty: it has ${rows.map(({ name }) => name).join(', ')}; restore into a new one, which nothing was started on`,
    );
}

async function makePartitions(tx: Queryable, { partitions }: Manifest): Promise<void> {
  for (const { parent, name, bound } of partitions) await tx.query(`create table ${quoted(name)} partition of ${quoted(parent)} ${bound}`);
}

/** In the same transaction, after all that the log had: it goes on from there. */
async function writeDown(
  store: Store,
  tx: Queryable,
  master: MasterKey | undefined,
  actor: string,
  { backup_id, created_at, keys }: Manifest,
  { rows, ended }: { readonly rows: number; readonly ended: Readonly<Record<string, number>> },
): Promise<void> {
  // an installation that never had a master key has no log
  if (keys.length === 0) return;
  if (master === undefined)
    throw new BackupError(
      'BACKUP_KEY_WRONG',
      `its secrets and its audit log are sealed under the master key ${keys[0]?.kek_id}: give that one, too`,
    );
  const mac = await openInstallKey(tx, master, 'audit.mac');
  if (mac === undefined) return;
  await shiftNumbers(tx);
  await continueOrder({ transaction: (work) => work(tx) });
  const audit = createAuditLog({ store, macKey: mac.secret });
  try {
    await audit.append(tx, {
      action: 'data.restore',
      actor,
      resource: `backup:${backup_id}`,
      details: { made_at: created_at, rows, ended },
    });
  } finally {
    await audit.close();
  }
}

/**
 * Numbers of transactions begin anew on this server. The log's own order goes on by `continueOrder`; rows beside it, such as ends of
 * runs, may have later numbers than its last entry.
 */
async function shiftNumbers(tx: Queryable): Promise<void> {
  const { rows } = await tx.query<{ table: string; column: string }>(
    `select c.relname as "table", a.attname as "column" from pg_class c join pg_attribute a on a.attrelid = c.oid
     where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and not c.relispartition and a.atttypid = 'xid8'::regtype and not a.attisdropped`,
  );
  for (const { table, column } of rows)
    await tx.query(
      `select setval('audit_xid_shift', m.latest::text::bigint) from (select ${quoted(column)} as latest from ${quoted(table)}
         where ${quoted(column)} is not null order by 1 desc limit 1) m where m.latest >= audit_xmax()`,
    );
}
