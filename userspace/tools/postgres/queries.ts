import { method } from '@centaur/sdk';
import * as z from 'zod';
import { reading, run, writing } from './session.ts';

const sql = z.string().min(1).max(100_000).describe('One statement; values as $1, $2');
const params = z
  .array(z.union([z.string(), z.number(), z.boolean(), z.null(), z.array(z.unknown()), z.record(z.string(), z.unknown())]))
  .max(500)
  .default([])
  .describe('For $1, $2, …: a list is an array of Postgres, an object is JSON');
const timeout_s = z.int().min(1).max(90).default(20).describe('Longest time of a statement, in seconds');
const max_rows = z.int().min(1).max(5000).default(200);
const BYTES = 512 * 1024;

export const queryMethods = {
  query: method({
    description:
      'Reads with SQL, in a transaction in which nothing can be changed. Rows beyond max_rows or 512 KiB are left out, and it says so.',
    risk: 'read',
    input: z.strictObject({ sql, params, max_rows, timeout_s }),
    async run({ timeout_s, max_rows, ...statement }, ctx) {
      const { columns, rows, truncated } = await reading(ctx, timeout_s * 1000, (client) =>
        run(client, statement, { rows: max_rows, bytes: BYTES, beyond: 'leave' }),
      );
      return { columns, rows, row_count: rows.length, ...(truncated === undefined ? {} : { truncated }) };
    },
  }),

  execute: method({
    description:
      'Changes data or tables with SQL: all statements in one transaction, or none of them. Each runs to its end; of its rows 5000 or 512 KiB are answered.',
    risk: 'destructive',
    input: z.strictObject({
      statements: z.array(z.strictObject({ sql, params })).min(1).max(20),
      timeout_s,
    }),
    async run({ statements, timeout_s }, ctx) {
      const results = await writing(ctx, timeout_s * 1000, async (client) => {
        const done = [];
        for (const statement of statements) done.push(await run(client, statement, { rows: 5000, bytes: BYTES, beyond: 'drop' }));
        return done;
      });
      return {
        results: results.map(({ columns, rows, ...done }) => ({
          ...done,
          // of `returning`
          ...(columns.length === 0 ? {} : { columns, rows }),
        })),
      };
    },
  }),
};
