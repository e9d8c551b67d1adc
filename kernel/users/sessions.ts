/**
 * Sessions. A token is 256 random bits, of which the database has the SHA-256: so a session cannot be made by whoever reads or
 * chooses a token, only by signing in. Whether it holds, and what its user may do, was asked of Postgres at most a second ago.
 */
import { createHash, randomBytes } from 'node:crypto';
import { type Queryable, type Store, uuidv7 } from '../store/index.ts';
import { networkOf } from './tries.ts';
import type { SessionKind, SessionUser, SessionView, Source } from './types.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** How long a session lasts without use, and at all. */
const LASTS: Readonly<Record<SessionKind, { readonly idle: number; readonly whole: number }>> = {
  browser: { idle: 12 * HOUR, whole: 7 * DAY },
  cli: { idle: 7 * DAY, whole: 30 * DAY },
};
/** The longest time that a session works after another process ended it. */
const CACHE_MS = 1000;
/** Made-up tokens must not fill the memory. */
const CACHE_MAX = 5000;
const SEEN_MS = 60_000;
/** Of one user; the oldest end. */
const SESSIONS_MOST = 50;
/** How long it is told what sessions there were. */
const KEPT_MS = 30 * DAY;

const TOKEN = /^cs_[A-Za-z0-9_-]{43}$/;

export interface Begin {
  readonly userId: string;
  readonly kind: SessionKind;
  readonly how: 'password' | 'oidc';
  readonly provenAt: number;
  readonly source: Source;
}

interface Row {
  readonly session_id: string;
  readonly kind: SessionKind;
  readonly how: 'password' | 'oidc';
  readonly proven_at: number;
  readonly seen_at: number;
  readonly expires_at: number;
  readonly user_id: string;
  readonly name: string;
  readonly display_name: string;
  readonly role: SessionUser['role'];
  readonly roles: readonly string[];
  readonly has_password: boolean;
}

export interface Sessions {
  /** In the transaction that says that somebody signed in. */
  begin(tx: Queryable, session: Begin): Promise<{ readonly token: string; readonly sessionId: string }>;
  /** What stands behind a token; undefined when it is none, or not any more. */
  find(token: string): Promise<SessionUser | undefined>;
  /** Whether one that was found earlier still holds: for answers that take long. */
  isActive(sessionId: string): Promise<boolean>;
  /** From the database, in the transaction that has just begun or changed it. */
  read(tx: Queryable, sessionId: string): Promise<SessionUser>;
  list(userId: string): Promise<readonly SessionView[]>;
  /** Whether one was begun in the network of this address, as long as it is told what sessions there were. */
  isFrom(name: string, address: string | null): Promise<'known' | 'elsewhere'>;
  /** All of a user, or one; those that end. @param but one that stays */
  end(tx: Queryable, of: { readonly userId: string; readonly sessionId?: string; readonly but?: string }): Promise<readonly string[]>;
  prove(tx: Queryable, sessionId: string): Promise<void>;
  /** After a change in this process: it counts here at once. */
  forget(): void;
  prune(): Promise<void>;
}

const LIVE = `select s.session_id::text, s.kind, s.how, s.proven_at, s.seen_at, s.expires_at, u.user_id::text, u.name, u.display_name, u.role,
    u.password_hash is not null as has_password,
    array(select r.role from principal_roles r where r.principal = 'user:' || u.name order by r.role) as roles
  from user_sessions s join users u using (user_id)
  where s.revoked_at is null and u.disabled_at is null`;

export function createSessions(store: Store, now: () => number): Sessions {
  const cache = new Map<string, { readonly until: number; readonly row: Promise<Row | undefined> }>();
  const touched = new Map<string, number>();

  function look(column: 'token_hash' | 'session_id', value: string | Buffer): Promise<Row | undefined> {
    const entry = `${column} ${value.toString('hex')}`;
    const known = cache.get(entry);
    if (known !== undefined && known.until > now()) return known.row;
    if (cache.size >= CACHE_MAX) cache.clear();
    const row = store.query<Row>(`${LIVE} and s.${column} = $1`, [value]).then(({ rows }) => rows[0]);
    cache.set(entry, { until: now() + CACHE_MS, row });
    row.catch(() => cache.delete(entry));
    return row;
  }

  function isOver({ kind, seen_at: seen, expires_at: expires }: Row): boolean {
    return expires <= now() || seen + LASTS[kind].idle <= now();
  }

  async function touch({ session_id: id, seen_at: seen }: Row): Promise<void> {
    if (now() - Math.max(seen, touched.get(id) ?? 0) < SEEN_MS) return;
    if (touched.size >= CACHE_MAX) touched.clear();
    touched.set(id, now());
    await store.query('update user_sessions set seen_at = $2 where session_id = $1 and seen_at < $2', [id, new Date(now())]);
  }

  return {
    async begin(tx, { userId, kind, how, provenAt, source }) {
      const token = `cs_${randomBytes(32).toString('base64url')}`;
      const sessionId = uuidv7(now());
      const at = new Date(now());
      await tx.query(
        `insert into user_sessions (session_id, user_id, token_hash, kind, how, address, agent, proven_at, created_at, seen_at, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10)`,
        [
          sessionId,
          userId,
          hashOf(token),
          kind,
          how,
          source.address,
          plain(source.agent),
          new Date(provenAt),
          at,
          new Date(now() + LASTS[kind].whole),
        ],
      );
      await tx.query(
        `update user_sessions set revoked_at = $2 where session_id in (
           select session_id from user_sessions where user_id = $1 and revoked_at is null order by session_id desc offset $3)`,
        [userId, at, SESSIONS_MOST],
      );
      return { token, sessionId };
    },
    async find(token) {
      if (!TOKEN.test(token)) return undefined;
      const row = await look('token_hash', hashOf(token));
      if (row === undefined || isOver(row)) return undefined;
      // nobody waits for it, and no request fails for it
      void touch(row).catch(() => undefined);
      return toUser(row);
    },
    async isActive(sessionId) {
      const row = await look('session_id', sessionId);
      return row !== undefined && row.expires_at > now();
    },
    async read(tx, sessionId) {
      const { rows } = await tx.query<Row>(`${LIVE} and s.session_id = $1`, [sessionId]);
      const [row] = rows;
      if (row === undefined) throw new Error(`the session ${sessionId} has ended`);
      return toUser(row);
    },
    async list(userId) {
      const { rows } = await store.query<Row & { address: string | null; agent: string | null; created_at: number }>(
        `select session_id::text, kind, how, address, agent, proven_at, created_at, seen_at, expires_at from user_sessions
         where user_id = $1 and revoked_at is null order by session_id desc`,
        [userId],
      );
      return rows
        .filter((row) => !isOver(row))
        .map((row) => ({
          session_id: row.session_id,
          kind: row.kind,
          how: row.how,
          address: row.address,
          agent: row.agent,
          proven_at: time(row.proven_at),
          created_at: time(row.created_at),
          seen_at: time(row.seen_at),
          expires_at: time(row.expires_at),
        }));
    },
    async isFrom(name, address) {
      if (address === null) return 'elsewhere';
      const { rows } = await store.query<{ address: string }>(
        'select distinct s.address from user_sessions s join users u using (user_id) where u.name = $1 and s.address is not null limit 500',
        [name],
      );
      const network = networkOf(address);
      return rows.some((row) => networkOf(row.address) === network) ? 'known' : 'elsewhere';
    },
    async end(tx, { userId, sessionId, but }) {
      const { rows } = await tx.query<{ session_id: string }>(
        `update user_sessions set revoked_at = $4 where user_id = $1 and revoked_at is null and ($2::uuid is null or session_id = $2)
           and ($3::uuid is null or session_id <> $3) returning session_id::text`,
        [userId, sessionId ?? null, but ?? null, new Date(now())],
      );
      return rows.map((row) => row.session_id);
    },
    async prove(tx, sessionId) {
      await tx.query('update user_sessions set proven_at = $2 where session_id = $1', [sessionId, new Date(now())]);
    },
    forget: () => cache.clear(),
    async prune() {
      await store.query('delete from user_sessions where expires_at < $1', [new Date(now() - KEPT_MS)]);
    },
  };
}

function toUser(row: Row): SessionUser {
  return {
    sessionId: row.session_id,
    userId: row.user_id,
    name: row.name,
    displayName: row.display_name,
    role: row.role,
    roles: row.roles,
    kind: row.kind,
    how: row.how,
    hasPassword: row.has_password,
    provenAt: row.proven_at,
    expiresAt: row.expires_at,
  };
}

const hashOf = (token: string): Buffer => createHash('sha256').update(token).digest();

const time = (ms: number): string => new Date(ms).toISOString();

/** What a program says of itself is shown to people. */
const plain = (agent: string | null): string | null => agent?.replaceAll(/[^\x20-\x7e]/g, '').slice(0, 200) ?? null;
