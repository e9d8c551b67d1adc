/** What a database has: rooms that data care knows of may come with a later migration than the one that is restored or served. */
import type { Queryable } from '../store/index.ts';

/** @param what `table`, or `table.column` */
export async function has(on: Queryable, what: string): Promise<boolean> {
  const [table, column = null] = what.split('.');
  const { rows } = await on.query(
    'select 1 from pg_class c where c.oid = to_regclass($1) and ($2::text is null or exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = $2))',
    [table, column],
  );
  return rows.length > 0;
}
