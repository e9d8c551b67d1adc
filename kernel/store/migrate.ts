import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import pg from 'pg';
import { StoreError } from './errors.ts';
import { checkServer, clientConfig, connectionProblem, type Queryable } from './store.ts';

const MIGRATIONS = new URL('./migrations/', import.meta.url);

/** Any fixed number of ours: all processes that migrate one database must use the same. */
const MIGRATION_LOCK = 7_226_001;

const MIGRATIONS_TABLE = `create table if not exists centaur_migrations (
  id int primary key, name text not null, checksum text not null, applied_at timestamptz not null default now())`;
const RECORD = 'insert into centaur_migrations (id, name, checksum) values ($1, $2, $3)';

interface Migration {
  readonly id: number;
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
}

/**
 * Brings the database to this release's tables. Safe to call from many processes at once: an advisory lock lets one
 * work while the others wait, and each migration commits by itself. Migrations only add, so that processes of the
 * release before keep working while it runs; a short lock timeout keeps them from queueing behind a table lock.
 *
 * @throws StoreError MIGRATION when the database belongs to a newer release or a landed migration was edited
 */
export async function migrate(url: string): Promise<{ readonly applied: readonly string[] }> {
  const migrations = await loadMigrations();
  const client = new pg.Client(clientConfig(url, 'migrate'));
  client.on('error', () => {});
  try {
    await client.connect();
  } catch (error) {
    throw connectionProblem(error, url);
  }
  try {
    await checkServer(client, url);
    // a session lock, held across the transactions below, ends with the connection
    await client.query('select pg_advisory_lock($1)', [MIGRATION_LOCK]);
    await client.query(MIGRATIONS_TABLE);
    const { rows } = await client.query<{ id: number; name: string; checksum: string }>(
      'select id, name, checksum from centaur_migrations',
    );
    const done = new Map(rows.map((row) => [row.id, row]));
    refuseForeignHistory(migrations, rows);

    const applied: string[] = [];
    for (const migration of migrations) {
      const landed = done.get(migration.id);
      if (landed === undefined) {
        await apply(client, migration);
        applied.push(migration.name);
      } else if (landed.checksum !== migration.checksum) {
        throw new StoreError('MIGRATION', `migration ${migration.name} was edited after it was applied; add a new one instead`);
      }
    }
    return { applied };
  } finally {
    await client.end().catch(() => {});
  }
}

/** What the migrations of this release are, in their order; and the tables that they make. */
export async function releaseSchema(): Promise<{
  readonly migrations: readonly { readonly id: number; readonly name: string; readonly checksum: string }[];
  readonly tables: readonly string[];
}> {
  const migrations = await loadMigrations();
  const tables = migrations.flatMap(({ sql }) =>
    [...sql.matchAll(/^create (?:unlogged )?table (?:if not exists )?([a-z_0-9]+)/gm)].map(([, name = '']) => name),
  );
  return { migrations, tables };
}

/** The tables of an earlier release, in the caller's transaction; what `migrate` would add to them later is left to it. */
export async function migrateUpTo(tx: Queryable, lastId: number): Promise<void> {
  await tx.query('select pg_advisory_xact_lock($1)', [MIGRATION_LOCK]);
  await tx.query(MIGRATIONS_TABLE);
  for (const migration of await loadMigrations()) {
    if (migration.id > lastId) return;
    await tx.query(migration.sql);
    await tx.query(RECORD, [migration.id, migration.name, migration.checksum]);
  }
}

async function apply(client: pg.Client, migration: Migration): Promise<void> {
  try {
    await client.query('begin');
    await client.query(`set local lock_timeout = '5s'`);
    await client.query(migration.sql);
    await client.query(RECORD, [migration.id, migration.name, migration.checksum]);
    await client.query('commit');
  } catch (error) {
    await client.query('rollback').catch(() => {});
    throw new StoreError('MIGRATION', `migration ${migration.name} failed and was rolled back: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

function refuseForeignHistory(ours: readonly Migration[], theirs: readonly { id: number; name: string }[]): void {
  const known = new Set(ours.map((migration) => migration.id));
  const newer = theirs.find((row) => !known.has(row.id));
  if (newer !== undefined) {
    throw new StoreError(
      'MIGRATION',
      `the database has migration ${newer.name}, which this release does not know: it belongs to a newer release`,
    );
  }
}

async function loadMigrations(): Promise<readonly Migration[]> {
  const files = (await readdir(MIGRATIONS)).filter((file) => /^\d{4}_[a-z_0-9]+\.sql$/.test(file)).sort();
  return Promise.all(
    files.map(async (file) => {
      const sql = await readFile(new URL(file, MIGRATIONS), 'utf8');
      return { id: Number(file.slice(0, 4)), name: file, sql, checksum: createHash('sha256').update(sql).digest('hex') };
    }),
  );
}
