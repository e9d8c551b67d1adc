/**
 * Moves loyalty points between two accounts in the workflow's own schema of Centaur's Postgres: the work, and that it is done,
 * commit in one transaction, so the points move exactly once, not at least once.
 *
 * Shows: `ctx.transaction`.
 */
import { NonRetryableError, defineWorkflow } from '@centaur/sdk';
import { z } from 'zod';

export default defineWorkflow({
  name: 'transfer_points',
  input: z.object({ from: z.string(), to: z.string(), points: z.int().positive() }).refine(({ from, to }) => from !== to, {
    path: ['to'],
    message: 'is the same account',
  }),
  steps: ['transfer'],
  handler: ({ from, to, points }, ctx) =>
    ctx.transaction('transfer', async (tx) => {
      await tx.query('create table if not exists points (account text primary key, balance int not null)');
      const taken = await tx.query<{ balance: number }>(
        'update points set balance = balance - $2 where account = $1 and balance >= $2 returning balance',
        [from, points],
      );
      const left = taken.rows[0];
      if (!left) throw new NonRetryableError(`${from} does not have ${points} points`, { code: 'TOO_FEW_POINTS' });
      await tx.query(
        'insert into points (account, balance) values ($1, $2) on conflict (account) do update set balance = points.balance + $2',
        [to, points],
      );
      return { left: left.balance };
    }),
});
