/** Making a backup: the whole database as of one moment, while everything goes on. */
import { access, link, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import path from 'node:path';
import type pg from 'pg';
import { type Queryable, releaseSchema, type Store } from '../store/index.ts';
import { keySamples } from '../vault/index.ts';
import type { AuditLog } from '../audit/index.ts';
import { frameOf, jsonFrame, type Manifest, meter } from './content.ts';
import { copyOut } from './copy.ts';
import { BackupError } from './errors.ts';
import { type BackupKeys, writeSealed } from './sealed-file.ts';

export interface BackupReport {
  readonly backup_id: string;
  readonly created_at: string;
  readonly tables: number;
  readonly rows: number;
  readonly bytes: number;
  /** What the database has besides, and the backup has not. */
  readonly left_out: readonly string[];
}

export interface BackupOptions extends BackupKeys {
  readonly store: Store;
  /** Undefined: an installation that never had a master key, and so has no log. */
  readonly audit: AuditLog | undefined;
  readonly actor: string;
  readonly file: string;
  readonly onProgress?: (table: string, rows: number) => void;
}

/**
 * Writes the file, which appears under its name when it is whole. What commits after the snapshot is not in it.
 *
 * @throws BackupError NOT_EMPTY when the file is there, BACKUP_UNSUITABLE when the database is not of this release
 */
export async function makeBackup(options: BackupOptions): Promise<BackupReport> {
  const { store, audit, actor, file, onProgress } = options;
  if (await exists(file)) throw new BackupError('NOT_EMPTY', `${file} is there already: a backup overwrites nothing`);
  const backupId = randomUUID();
  // before the snapshot: so the log tells of it in the backup, too
  await audit?.write({ action: 'data.backup', actor, resource: `backup:${backupId}` });
  const client = await store.connect('backup');
  await removeLeftovers(file);
  // another's than that of a process which writes to the same name just now
  const draft = `${file}.${backupId.slice(0, 8)}.part`;
  try {
    const on = queryable(client);
    await refuseOtherRelease(on);
    await client.query('begin isolation level repeatable read read only');
    await keepTables(on);
    const manifest = await describe(on, backupId, new Date(store.now()));
    const counted = { rows: 0 };
    const bytes = await writeSealed(draft, content(client, manifest, counted, onProgress), options, {
      createdAt: new Date(manifest.created_at),
      masterKey: options.master?.id ?? null,
    });
    await client.query('commit');
    await publish(draft, file);
    return {
      backup_id: backupId,
      created_at: manifest.created_at,
      tables: manifest.tables.length,
      rows: counted.rows,
      bytes,
      left_out: manifest.left_out,
    };
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  } finally {
    await client.end().catch(() => undefined);
  }
}

/**
 * Before the snapshot: no partition goes, and none comes, until all is read. What deletes rows goes on; retention, which drops partitions, does not
 * wait for this, and comes again.
 */
async function keepTables(on: Queryable): Promise<void> {
  const { tables } = await releaseSchema();
  await on.query(`lock table ${tables.map(quoted).join(', ')} in access share mode`);
}

/** Of backups to this name that were killed. One that is at work writes all the time; and if it should not, it fails when it would publish. */
async function removeLeftovers(file: string): Promise<void> {
  const folder = path.dirname(file);
  const names = await readdir(folder).catch(() => []);
  for (const name of names) {
    if (!name.startsWith(`${path.basename(file)}.`) || !/\.[0-9a-f]{8}\.part$/.test(name)) continue;
    const left = path.join(folder, name);
    const { mtimeMs } = await stat(left).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }));
    if (Date.now() - mtimeMs > LEFTOVER_MS) await rm(left, { force: true });
  }
}

const LEFTOVER_MS = 3_600_000;

/** Under its name, which nobody has taken meanwhile; and so that it is there after a loss of power, too. */
async function publish(draft: string, file: string): Promise<void> {
  try {
    // unlike `rename`, it replaces nothing
    await link(draft, file);
    await rm(draft);
  } catch (error) {
    const { code } = error as { readonly code?: string };
    if (code === 'EEXIST') throw new BackupError('NOT_EMPTY', `${file} came to be there meanwhile: a backup overwrites nothing`);
    if (code === 'ENOENT') throw error;
    // a file system without links
    await rename(draft, file);
  }
  const folder = await open(path.dirname(file), 'r');
  await folder.sync().catch(() => undefined);
  await folder.close();
}

async function* content(
  client: pg.Client,
  manifest: Manifest,
  counted: { rows: number },
  onProgress: BackupOptions['onProgress'],
): AsyncGenerator<Buffer> {
  yield* jsonFrame(manifest);
  for (const { name, columns } of manifest.tables) {
    yield* jsonFrame({ type: 'table', name });
    const met = meter();
    // a query, since COPY does not read a partitioned table by its name
    for await (const piece of copyOut(client, `copy (select ${columns.map(quoted).join(', ')} from ${quoted(name)}) to stdout`)) {
      met.add(piece);
      yield* frameOf('D', piece);
    }
    yield* jsonFrame({ type: 'table_end', name, rows: met.rows, sha256: met.hash.digest('hex') });
    counted.rows += met.rows;
    onProgress?.(name, met.rows);
  }
  yield* jsonFrame({ type: 'end', tables: manifest.tables.length, rows: counted.rows });
}

/** @throws BackupError BACKUP_UNSUITABLE unless the database has exactly the tables of this release */
export async function refuseOtherRelease(on: Queryable): Promise<Manifest['migrations']> {
  const release = await releaseSchema();
  const { rows: there } = await on.query<{ there: boolean }>(`select to_regclass('centaur_migrations') is not null as there`);
  const { rows } =
    there[0]?.there === true
      ? await on.query<{ id: number; name: string; checksum: string }>('select id, name, checksum from centaur_migrations order by id')
      : { rows: [] };
  if (rows.length === 0) throw new BackupError('BACKUP_UNSUITABLE', 'the database is none of Centaur: there is nothing to back up');
  const known = new Map(release.migrations.map((migration) => [migration.id, migration.checksum]));
  const foreign = rows.find(({ id, checksum }) => known.get(id) !== checksum);
  if (foreign !== undefined || rows.length < release.migrations.length)
    throw new BackupError(
      'BACKUP_UNSUITABLE',
      `the database has the tables of another release (its last migration is ${rows.at(-1)?.name}): back it up with that one`,
    );
  return rows;
}

async function describe(on: Queryable, backupId: string, now: Date): Promise<Manifest> {
  const release = await releaseSchema();
  const migrations = await refuseOtherRelease(on);
  const { rows: found } = await on.query<{ name: string; columns: string }>(
    `select c.relname as name, (select json_agg(a.attname order by a.attnum) from pg_attribute a
       where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '') as columns
     from pg_class c where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
     order by c.relname`,
  );
  const ours = new Set(release.tables);
  const tables = found
    .filter(({ name }) => ours.has(name))
    .map(({ name, columns }) => ({ name, columns: JSON.parse(columns) as string[] }));
  const { rows: references } = await on.query<{ from: string; to: string }>(
    `select f.relname as "from", t.relname as "to" from pg_constraint k join pg_class f on f.oid = k.conrelid join pg_class t on t.oid = k.confrelid
     where k.contype = 'f' and k.conparentid = 0 and f.relnamespace = current_schema()::regnamespace and k.conrelid <> k.confrelid`,
  );
  const { rows: partitions } = await on.query<Manifest['partitions'][number]>(
    `select p.relname as parent, c.relname as name, pg_get_expr(c.relpartbound, c.oid) as bound
     from pg_inherits i join pg_class p on p.oid = i.inhparent join pg_class c on c.oid = i.inhrelid
     where p.relnamespace = current_schema()::regnamespace and p.relkind = 'p' order by c.relname`,
  );
  const { rows: sequences } = await on.query<{ name: string }>(
    `select s.relname as name from pg_class s
     where s.relkind = 'S' and s.relnamespace = current_schema()::regnamespace
       and not exists (select from pg_depend d join pg_class t on t.oid = d.refobjid
         where d.objid = s.oid and d.deptype in ('a', 'i') and t.relname <> all($1::text[])) order by s.relname`,
    [[...ours]],
  );
  const states: Manifest['sequences'] = [];
  // after the rows of the snapshot, whose numbers are below: a sequence is not of the snapshot, and only runs ahead
  for (const { name } of sequences) {
    const { rows } = await on.query<{ last_value: string; is_called: boolean }>(`select last_value::text, is_called from ${quoted(name)}`);
    states.push({ name, ...(rows[0] as { last_value: string; is_called: boolean }) });
  }
  const { rows: schemas } = await on.query<{ name: string }>(
    `select n.nspname as name from pg_namespace n where n.nspname <> current_schema() and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
       and exists (select from pg_class c where c.relnamespace = n.oid) order by 1`,
  );
  const { rows: version } = await on.query<{ version: string }>(`select current_setting('server_version') as version`);
  return {
    type: 'manifest',
    backup_id: backupId,
    created_at: now.toISOString(),
    postgres: version[0]?.version ?? '',
    migrations,
    keys: (await keySamples(on)).map(({ kekId, wrapped }) => ({ kek_id: kekId, wrapped: wrapped.toString('base64') })),
    tables: inOrder(tables, references),
    partitions: partitions.filter(({ parent }) => ours.has(parent)),
    sequences: states,
    left_out: [
      ...found.map(({ name }) => name).filter((name) => !ours.has(name) && name !== 'centaur_migrations'),
      ...schemas.map(({ name }) => `schema ${name}`),
    ],
  };
}

/** Each behind those that it refers to. */
function inOrder<T extends { readonly name: string }>(
  tables: readonly T[],
  references: readonly { readonly from: string; readonly to: string }[],
): T[] {
  const ordered: T[] = [];
  let left = [...tables];
  while (left.length > 0) {
    const free = left.filter(({ name }) => !references.some(({ from, to }) => from === name && left.some((other) => other.name === to)));
    if (free.length === 0) throw new Error(`tables that refer to each other in a circle: ${left.map(({ name }) => name).join(', ')}`);
    ordered.push(...free);
    left = left.filter((table) => !free.includes(table));
  }
  return ordered;
}

export function queryable(client: pg.Client): Queryable {
  return {
    async query<Row extends object>(sql: string, params: readonly unknown[] = []) {
      const { rows, rowCount } = await client.query<Row>(sql, params as unknown[]);
      return { rows, rowCount: rowCount ?? 0 };
    },
  };
}

/** What is quoted here is a name of our own tables, or was held against a pattern. */
export const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}
