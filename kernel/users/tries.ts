/**
 * Counting tries, before the password is looked at. In Postgres: what counts is the same for every API process, and a row is nothing
 * beside the hash that a try costs.
 *
 * Three counters: for a name from one address, for an address, and for a name from anywhere. The first is the narrow one, so that whoever
 * guesses does not keep the owner out; the last is what remains against many addresses. A try that one counter refuses does not count for
 * the next, or a single machine could fill the one for everywhere.
 */
import { createHash } from 'node:crypto';
import type { Store } from '../store/index.ts';
import { UserError } from './errors.ts';

export const TRIES = { window: 15 * 60_000, nameAndAddress: 10, address: 100, name: 50 } as const;

export interface Tries {
  /** @throws UserError TOO_MANY_TRIES */
  take(name: string, address: string | null): Promise<void>;
  /** Of anything that whoever has no account may ask for. @throws UserError TOO_MANY_TRIES */
  takeOne(what: string, most: number): Promise<void>;
  /** After the right password: what went before was its owner's mistyping. What an address did for other names stays. */
  forgive(name: string, address: string | null): Promise<void>;
  prune(): Promise<void>;
}

export function createTries(store: Store, now: () => number): Tries {
  async function count(what: string, most: number): Promise<void> {
    const at = now();
    const { rows } = await store.query<{ tries: number; since: number }>(
      `insert into user_tries as t (what, tries, since) values ($1, 1, $2)
       on conflict (what) do update set tries = case when t.since <= $3 then 1 else t.tries + 1 end,
         since = case when t.since <= $3 then excluded.since else t.since end
       returning tries, since`,
      [hashOf(what), new Date(at), new Date(at - TRIES.window)],
    );
    const [row] = rows;
    if (row === undefined || row.tries <= most) return;
    const seconds = Math.max(1, Math.ceil((row.since + TRIES.window - at) / 1000));
    throw new UserError('TOO_MANY_TRIES', `too many tries; the next one counts in ${minutes(seconds)}`, { 'retry-after': String(seconds) });
  }

  return {
    async take(name, address) {
      await count(pairOf(name, address), TRIES.nameAndAddress);
      await count(`address ${address}`, TRIES.address);
      await count(`name ${name}`, TRIES.name);
    },
    takeOne: count,
    async forgive(name, address) {
      await store.query('delete from user_tries where what = any($1::bytea[])', [[hashOf(pairOf(name, address)), hashOf(`name ${name}`)]]);
      await store.query('update user_tries set tries = greatest(tries - 1, 0) where what = $1', [hashOf(`address ${address}`)]);
    },
    async prune() {
      await store.query('delete from user_tries where since <= $1', [new Date(now() - TRIES.window)]);
    },
  };
}

/** People type passwords where the name belongs. */
const hashOf = (what: string): Buffer => createHash('sha256').update(what).digest();

const pairOf = (name: string, address: string | null): string => `name ${name} from ${address}`;

const minutes = (seconds: number): string => (seconds < 60 ? `${seconds} s` : `${Math.ceil(seconds / 60)} min`);
