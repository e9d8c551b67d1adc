/**
 * Counting tries, before the password is looked at. In Postgres: what counts is the same for every API process, and a row is nothing
 * beside the hash that a try costs.
 *
 * Three counters: for a name from one address, for an address, and for a name from anywhere. The first is the narrow one, so that whoever
 * guesses does not keep the owner out; the last is what remains against many addresses. A try that one counter refuses does not count for
 * the next, or a single machine could fill the one for everywhere. Whoever has many addresses can, and does not keep the owner out where
 * they have signed in before: from there the last one neither counts nor refuses.
 *
 * An address of IPv6 counts as its network of 64 bits: whoever has one of these has them all.
 */
import { createHash } from 'node:crypto';
import { isIPv6 } from 'node:net';
import type { Store } from '../store/index.ts';
import { UserError } from './errors.ts';

export const TRIES = { window: 15 * 60_000, nameAndAddress: 10, address: 100, name: 50 } as const;

export interface Tries {
  /** @param from whether the name has signed in from there @throws UserError TOO_MANY_TRIES */
  take(name: string, address: string | null, from: 'known' | 'elsewhere'): Promise<void>;
  /** Of anything that whoever has no account may ask for. @throws UserError TOO_MANY_TRIES */
  takeOne(what: string, address: string | null, most: number): Promise<void>;
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
    async take(name, address, from) {
      await count(pairOf(name, address), TRIES.nameAndAddress);
      await count(`address ${networkOf(address)}`, TRIES.address);
      if (from === 'elsewhere') await count(`name ${name}`, TRIES.name);
    },
    takeOne: (what, address, most) => count(`${what} from ${networkOf(address)}`, most),
    async forgive(name, address) {
      await store.query('delete from user_tries where what = any($1::bytea[])', [[hashOf(pairOf(name, address)), hashOf(`name ${name}`)]]);
      await store.query('update user_tries set tries = greatest(tries - 1, 0) where what = $1', [hashOf(`address ${networkOf(address)}`)]);
    },
    async prune() {
      await store.query('delete from user_tries where since <= $1', [new Date(now() - TRIES.window)]);
    },
  };
}

/** People type passwords where the name belongs. */
const hashOf = (what: string): Buffer => createHash('sha256').update(what).digest();

const pairOf = (name: string, address: string | null): string => `name ${name} from ${networkOf(address)}`;

/** What one subscriber has: `2001:db8:0:1::/64` of `2001:db8:0:1::7`; an address of IPv4 is itself, also where it is written as one of IPv6. */
export function networkOf(address: string | null): string {
  if (address === null || !isIPv6(address)) return String(address);
  // one way of writing it: no zone, no dots, no leading zeros
  const plain = new URL(`http://[${address.replace(/%.*/, '')}]`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(plain);
  if (mapped !== null)
    return mapped
      .slice(1)
      .map((part) => Number.parseInt(part, 16))
      .flatMap((part) => [part >> 8, part & 255])
      .join('.');
  const [before = [], after = []] = plain.split('::').map((part) => (part === '' ? [] : part.split(':')));
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => '0');
  return `${[...before, ...zeros, ...after].slice(0, 4).join(':')}::/64`;
}

const minutes = (seconds: number): string => (seconds < 60 ? `${seconds} s` : `${Math.ceil(seconds / 60)} min`);
