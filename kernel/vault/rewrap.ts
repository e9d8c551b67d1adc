/**
 * Changing the master key: every key that an earlier one wrapped is wrapped under the present one. Sealed values stay as they
 * are, since the master key wraps keys and seals no value. Readers see a row as it was or as it is: both open, in processes
 * that have both keys.
 *
 * It may be killed at any point and run again, and by several at once: each batch commits with its audit entry, and a row is
 * changed only if it is still the one that was read.
 */
import type { AuditLog } from '../audit/index.ts';
import { binary, type Queryable, type Store } from '../store/index.ts';
import type { MasterKey } from './envelope.ts';

export interface RewrapReport {
  /** Id of the master key that wraps what was moved. */
  readonly key: string;
  /** Keys that are wrapped under it since. */
  readonly moved: number;
  /** Keys that are still wrapped under another one: by whom, how many, and why. Empty: the earlier key is needed no more. */
  readonly left: readonly { readonly key: string; readonly count: number; readonly problem: string }[];
}

/** Where wrapped keys are, and what names a row there. */
const TABLES: readonly Table[] = [
  { table: 'install_keys', id: 'name' },
  { table: 'secret_versions', id: `name || ' ' || version` },
  { table: 'audit_subjects', id: 'subject' },
  { table: 'oauth_apps', id: 'name' },
  { table: 'oauth_connections', id: 'connection_id::text' },
];

/** Small, so that a key service that is slow holds no lock for long, and little is done twice. */
const BATCH = 100;

export async function rewrapAll(
  { store, audit, master }: { readonly store: Store; readonly audit: AuditLog; readonly master: MasterKey },
  actor: string,
): Promise<RewrapReport> {
  const problems = new Map<string, string>();
  let moved = 0;
  for (const { table, id } of TABLES) {
    for (let after: string | undefined = ''; after !== undefined;) {
      const { rows }: { rows: Row[] } = await store.query<Row>(
        `select ${id} as id, wrapped_key, kek_id from ${table} where wrapped_key is not null and kek_id <> $1 and ${id} > $2
         order by ${id} limit $3`,
        [master.id, after, BATCH],
      );
      const wrapped: Wrapped[] = [];
      for (const row of rows) {
        try {
          const key = await master.unwrap(row.wrapped_key, row.kek_id);
          wrapped.push({ id: row.id, before: row.wrapped_key, after: await master.wrap(key) });
          key.fill(0);
        } catch (error) {
          // one that this process cannot open holds up none of the others
          problems.set(row.kek_id, (error as Error).message);
        }
      }
      moved += await store.transaction((tx) => storeBatch(tx, audit, actor, master.id, { table, id }, wrapped));
      after = rows.length < BATCH ? undefined : rows.at(-1)?.id;
    }
  }
  const left = (await wrappedElsewhere(store, master)).map((each) => ({
    ...each,
    problem: problems.get(each.key) ?? 'it was sealed while this ran: by a process that has not got the new key yet?',
  }));
  return { key: master.id, moved, left };
}

/** How many keys other master keys wrap, by their ids. */
export async function wrappedElsewhere(
  store: Store,
  master: MasterKey,
): Promise<readonly { readonly key: string; readonly count: number }[]> {
  const { rows } = await store.query<{ key: string; count: number }>(
    `select kek_id as key, count(*)::int as count from (
       ${TABLES.map(({ table }) => `select kek_id from ${table} where wrapped_key is not null`).join(' union all ')}
     ) wrapped where kek_id <> $1 group by 1 order by 1`,
    [master.id],
  );
  return rows;
}

interface Table {
  readonly table: string;
  /** An expression in SQL. */
  readonly id: string;
}

interface Row {
  readonly id: string;
  readonly wrapped_key: Buffer;
  readonly kek_id: string;
}

interface Wrapped {
  readonly id: string;
  readonly before: Buffer;
  readonly after: Buffer;
}

async function storeBatch(
  tx: Queryable,
  audit: AuditLog,
  actor: string,
  key: string,
  { table, id }: Table,
  rows: readonly Wrapped[],
): Promise<number> {
  if (rows.length === 0) return 0;
  // one batch at a time, so that two of these do not wait for each other's rows
  await tx.query('select pg_advisory_xact_lock(7226015)');
  const { rowCount } = await tx.query(
    `update ${table} set wrapped_key = w.after, kek_id = $1 from unnest($2::text[], $3::bytea[], $4::bytea[]) as w (id, before, after)
     where ${id} = w.id and wrapped_key = w.before`,
    [key, rows.map((row) => row.id), binary.byteaArray(rows.map((row) => row.before)), binary.byteaArray(rows.map((row) => row.after))],
  );
  // another one was faster
  if (rowCount === 0) return 0;
  await audit.append(tx, { action: 'master_key.rewrap', actor, resource: `master_key:${key}`, details: { table, keys: rowCount } });
  return rowCount;
}

/** One wrapped key for each master key that something here is sealed under: whoever unwraps them all opens all of it. */
export async function keySamples(on: Queryable): Promise<readonly { readonly kekId: string; readonly wrapped: Buffer }[]> {
  const all = TABLES.map(({ table }) => `select kek_id, wrapped_key from ${table} where wrapped_key is not null`).join(' union all ');
  const { rows } = await on.query<{ kek_id: string; wrapped_key: Buffer }>(
    `select distinct on (kek_id) kek_id, wrapped_key from (${all}) w order by kek_id`,
  );
  return rows.map(({ kek_id, wrapped_key }) => ({ kekId: kek_id, wrapped: wrapped_key }));
}
