/** What there is in the database, of what the role may see. */
import { method, ToolFailure } from '@centaur/sdk';
import * as z from 'zod';
import { compact } from '../_shared/results.ts';
import { reading } from './session.ts';

const TIMEOUT_MS = 20_000;
const schema = z.string().min(1).max(63).default('public');
const KINDS: Readonly<Record<string, string>> = {
  r: 'table',
  p: 'partitioned table',
  v: 'view',
  m: 'materialized view',
  f: 'foreign table',
};

export const tableMethods = {
  list_schemas: method({
    description: 'Schemas that the role may use, with how many tables and views each has.',
    risk: 'read',
    input: z.strictObject({}),
    async run(_, ctx) {
      const { rows } = await reading(ctx, TIMEOUT_MS, (client) =>
        client.query(
          `select n.nspname as schema, count(c.oid)::int as tables, obj_description(n.oid, 'pg_namespace') as comment
             from pg_namespace n left join pg_class c on c.relnamespace = n.oid and c.relkind in ('r', 'p', 'v', 'm', 'f')
            where has_schema_privilege(n.oid, 'usage') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
            group by n.oid, n.nspname order by 1`,
        ),
      );
      return { items: rows.map((row: Record<string, unknown>) => compact(row)) };
    },
  }),

  list_tables: method({
    description: 'Tables and views of a schema, with about how many rows they have and whether the role may read them.',
    risk: 'read',
    input: z.strictObject({ schema }),
    async run({ schema }, ctx) {
      const { rows } = await reading(ctx, TIMEOUT_MS, (client) =>
        client.query<TableRow>(
          `select c.relname as name, c.relkind as kind, c.reltuples::bigint::float8 as rows,
                  has_table_privilege(c.oid, 'select') or has_any_column_privilege(c.oid, 'select') as readable,
                  obj_description(c.oid, 'pg_class') as comment
             from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname = $1 and c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
            order by c.relname limit 1000`,
          [schema],
        ),
      );
      return {
        items: rows.map(({ kind, rows: count, ...table }) =>
          // -1: never analyzed
          compact({ ...table, kind: KINDS[kind], approximate_rows: count < 0 || kind === 'v' ? undefined : count }),
        ),
      };
    },
  }),

  describe_table: method({
    description: 'Columns, keys, constraints and indexes of a table or view.',
    risk: 'read',
    input: z.strictObject({ schema, table: z.string().min(1).max(63) }),
    run: ({ schema, table }, ctx) =>
      reading(ctx, TIMEOUT_MS, async (client) => {
        const { rows: found } = await client.query<{ oid: number; kind: string; comment: string | null; definition: string | null }>(
          `select c.oid, c.relkind as kind, obj_description(c.oid, 'pg_class') as comment,
                  case when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid, true) end as definition
             from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p', 'v', 'm', 'f')`,
          [schema, table],
        );
        const [relation] = found;
        if (relation === undefined)
          throw new ToolFailure('NOT_FOUND', `There is no table or view ${schema}.${table}; list_tables shows what there is.`);
        const columns = await client.query<ColumnRow>(
          `select a.attname as name, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as required,
                  pg_get_expr(d.adbin, d.adrelid) as "default", a.attgenerated <> '' as generated,
                  col_description(a.attrelid, a.attnum) as comment,
                  (select array_agg(e.enumlabel::text order by e.enumsortorder) from pg_enum e where e.enumtypid = a.atttypid) as values
             from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
            where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped order by a.attnum`,
          [relation.oid],
        );
        const constraints = await client.query<Defined>(
          `select conname as name, pg_get_constraintdef(oid, true) as definition from pg_constraint
            where conrelid = $1 and contype in ('p', 'f', 'u', 'c', 'x') order by array_position('{p,u,f,c,x}', contype::text), conname`,
          [relation.oid],
        );
        const indexes = await client.query<Defined>(
          `select c.relname as name, pg_get_indexdef(i.indexrelid) as definition
             from pg_index i join pg_class c on c.oid = i.indexrelid where i.indrelid = $1 order by c.relname`,
          [relation.oid],
        );
        return compact({
          schema,
          table,
          kind: KINDS[relation.kind],
          comment: relation.comment,
          columns: columns.rows.map(({ required, generated, ...column }) =>
            compact({ ...column, required: required || undefined, generated: generated || undefined }),
          ),
          constraints: constraints.rows.length === 0 ? undefined : constraints.rows,
          indexes: indexes.rows.length === 0 ? undefined : indexes.rows,
          definition: relation.definition,
        });
      }),
  }),
};

interface TableRow {
  readonly name: string;
  readonly kind: string;
  readonly rows: number;
  readonly readable: boolean;
  readonly comment: string | null;
}

interface ColumnRow {
  readonly name: string;
  readonly type: string;
  readonly required: boolean;
  readonly default: string | null;
  readonly generated: boolean;
  readonly comment: string | null;
  readonly values: readonly string[] | null;
}

interface Defined {
  readonly name: string;
  readonly definition: string;
}
