/** Sign-ins that are under way: found by the hash of what comes back, which is taken by the first that brings it; the rest is sealed. */
import { createHash } from 'node:crypto';
import { uuidv7 } from '../store/index.ts';
import { type Installation, open, seal } from '../vault/index.ts';

interface KeptCode {
  readonly flow: 'code';
  readonly verifier: string;
  readonly nonce: string;
  /** SHA-256 of what the browser has in a cookie. */
  readonly browser: string;
  readonly redirectUri: string;
  readonly returnTo: string;
  readonly proof: 'any' | 'fresh';
}

interface KeptDevice {
  readonly flow: 'device';
  readonly deviceCode: string;
}

type Attempt =
  | { readonly flow: 'code'; readonly handle: string; readonly kept: KeptCode; readonly seconds: number; readonly interval?: undefined }
  | { readonly flow: 'device'; readonly handle: string; readonly kept: KeptDevice; readonly seconds: number; readonly interval: number };

export type Poll =
  | { readonly due: 'not yet'; readonly interval: number }
  | { readonly due: 'now'; readonly interval: number; readonly kept: KeptDevice };

export interface Attempts {
  keep(attempt: Attempt): Promise<void>;
  take(state: string): Promise<{ readonly kept: KeptCode; readonly createdAt: number } | undefined>;
  /** Undefined when there is none, or none any more. Of two that ask at once, one is told "now". */
  poll(handle: string): Promise<Poll | undefined>;
  /** @returns the interval */
  slowDown(handle: string, seconds: number): Promise<number>;
  drop(handle: string): Promise<void>;
  prune(): Promise<void>;
}

interface Row {
  readonly sign_in_id: string;
  readonly ciphertext: Buffer;
  readonly wrapped_key: Buffer;
  readonly kek_id: string;
  readonly interval_seconds: number | null;
  readonly created_at: number;
}

export function createAttempts({ store, master }: Installation, now: () => number): Attempts {
  async function openRow<Kept>(row: Row, flow: string): Promise<Kept> {
    const sealed = { ciphertext: row.ciphertext, wrappedKey: row.wrapped_key, kekId: row.kek_id };
    return JSON.parse((await open(master, sealed, about(row.sign_in_id, flow))).toString('utf8')) as Kept;
  }

  const later = (seconds: number) => new Date(now() + seconds * 1000);

  return {
    async keep({ flow, handle, kept, seconds, interval }) {
      const id = uuidv7(now());
      const sealed = await seal(master, Buffer.from(JSON.stringify(kept), 'utf8'), about(id, flow));
      await store.query(
        `insert into user_sign_ins (sign_in_id, flow, handle_hash, ciphertext, wrapped_key, kek_id, interval_seconds, next_poll_at, created_at, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
        [
          id,
          flow,
          hashOf(handle),
          sealed.ciphertext,
          sealed.wrappedKey,
          sealed.kekId,
          interval ?? null,
          interval === undefined ? null : later(interval),
          new Date(now()),
          later(seconds),
        ],
      );
    },
    async take(state) {
      const { rows } = await store.query<Row>(
        `delete from user_sign_ins where handle_hash = $1 and flow = 'code' and expires_at > $2 returning *, sign_in_id::text`,
        [hashOf(state), new Date(now())],
      );
      return rows[0] && { kept: await openRow<KeptCode>(rows[0], 'code'), createdAt: rows[0].created_at };
    },
    async poll(handle) {
      const { rows } = await store.query<Row>(
        `update user_sign_ins set next_poll_at = $2::timestamptz + make_interval(secs => interval_seconds)
         where handle_hash = $1 and flow = 'device' and expires_at > $2 and next_poll_at <= $2 returning *, sign_in_id::text`,
        [hashOf(handle), new Date(now())],
      );
      const [due] = rows;
      if (due !== undefined) return { due: 'now', interval: due.interval_seconds ?? 5, kept: await openRow<KeptDevice>(due, 'device') };
      const { rows: known } = await store.query<{ interval_seconds: number }>(
        `select interval_seconds from user_sign_ins where handle_hash = $1 and flow = 'device' and expires_at > $2`,
        [hashOf(handle), new Date(now())],
      );
      return known[0] && { due: 'not yet', interval: known[0].interval_seconds };
    },
    async slowDown(handle, seconds) {
      await store.query('update user_sign_ins set interval_seconds = $2, next_poll_at = $3 where handle_hash = $1', [
        hashOf(handle),
        seconds,
        later(seconds),
      ]);
      return seconds;
    },
    async drop(handle) {
      await store.query('delete from user_sign_ins where handle_hash = $1', [hashOf(handle)]);
    },
    async prune() {
      await store.query('delete from user_sign_ins where expires_at < $1', [new Date(now())]);
    },
  };
}

/** Authenticated with what is kept: so nobody makes one sign-in another by writing to the database. */
const about = (id: string, flow: string): string => `sign-in ${flow} ${id}`;

const hashOf = (handle: string): Buffer => createHash('sha256').update(handle).digest();
