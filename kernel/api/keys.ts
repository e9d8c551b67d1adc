/**
 * API keys. A key is `ck_<id>_<secret>`: the id finds the row, the secret is 256 random bits. Only the SHA-256 of the
 * whole key is stored; a slow hash would add nothing to that many bits. A key that an operator chose (the admin key in
 * CENTAUR_API_KEY) has no id in it and is found by its hash.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { AuditLog } from '../audit/index.ts';
import type { Queryable, Store } from '../store/index.ts';
import { ApiError } from './errors.ts';
import type { Caller } from './scopes.ts';
import { readThreadToken } from './thread-tokens.ts';

export interface KeyView {
  readonly key_id: string;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly created_at: string;
  /** To the minute. */
  readonly last_used_at: string | null;
  readonly revoked_at: string | null;
}

export interface ApiKeys {
  /** @throws ApiError UNAUTHENTICATED */
  authenticate(headers: Headers): Promise<Caller>;
  /** Whether a caller that was authenticated earlier still is: for answers that take long. */
  isActive(caller: Caller): Promise<boolean>;
  create(
    actor: string,
    request: { readonly name: string; readonly scopes: readonly string[] },
  ): Promise<KeyView & { readonly key: string }>;
  list(): Promise<readonly KeyView[]>;
  /** @throws ApiError KEY_NOT_FOUND, LAST_ADMIN_KEY */
  revoke(actor: string, keyId: string): Promise<KeyView>;
}

/** How long a key's row is believed: the longest time that a key works after another process revoked it. */
const CACHE_MS = 1000;
/** Made-up keys must not fill the memory. */
const CACHE_MAX = 5000;
const TOUCH_MS = 60_000;

interface Row {
  readonly key_id: string;
  readonly name: string;
  readonly hash: Buffer;
  readonly scopes: readonly string[];
  readonly created_at: number;
  readonly last_used_at: number | null;
  readonly revoked_at: number | null;
}

/**
 * @param options.macKey of the installation: without it no token of a sandbox is known
 * @param options.audit without it, nothing is written of keys that are made and revoked
 */
export function createKeys(
  store: Store,
  options: {
    readonly now?: () => number;
    readonly macKey?: Buffer | undefined;
    readonly isSessionActive?: (sessionId: string) => Promise<boolean>;
    readonly audit?: AuditLog | undefined;
  } = {},
): ApiKeys {
  const now = options.now ?? Date.now;
  const cache = new Map<string, { readonly until: number; readonly row: Promise<Row | undefined> }>();
  const touched = new Map<string, number>();

  function find(column: 'key_id' | 'hash', value: string | Buffer): Promise<Row | undefined> {
    const entry = `${column} ${value.toString('hex')}`;
    const known = cache.get(entry);
    if (known !== undefined && known.until > now()) return known.row;
    if (cache.size >= CACHE_MAX) cache.clear();
    const row = store.query<Row>(`select * from api_keys where ${column} = $1`, [value]).then(({ rows }) => rows[0]);
    cache.set(entry, { until: now() + CACHE_MS, row });
    row.catch(() => cache.delete(entry));
    return row;
  }

  function touch(keyId: string): void {
    if (now() - (touched.get(keyId) ?? Number.NEGATIVE_INFINITY) < TOUCH_MS) return;
    touched.set(keyId, now());
    // Only for people who tidy up; a request does not fail for it
    store.query('update api_keys set last_used_at = now() where key_id = $1', [keyId]).catch(() => undefined);
  }

  return {
    async authenticate(headers) {
      const key = presentedKey(headers);
      if (key === undefined) {
        throw unauthenticated('this needs an API key: send it as "X-Api-Key: <key>" or "Authorization: Bearer <key>"');
      }
      if (key.startsWith('ct_')) {
        const caller = options.macKey === undefined ? undefined : await readThreadToken(store, options.macKey, key);
        if (caller === undefined) throw unauthenticated('the token is not known here, or its sandbox has ended');
        return caller;
      }
      const hash = hashKey(key);
      const id = idOf(key);
      const row = id === undefined ? await find('hash', hash) : await find('key_id', id);
      if (row === undefined || !timingSafeEqual(row.hash, hash)) throw unauthenticated('the API key is not known here');
      if (row.revoked_at !== null) throw unauthenticated(`the API key ${row.key_id} was revoked`);
      touch(row.key_id);
      return { keyId: row.key_id, scopes: row.scopes };
    },
    async isActive(caller) {
      // a stream of its own thread ends with the sandbox, which is its only reader
      if (caller.thread !== undefined) return true;
      if (caller.user !== undefined) return (await options.isSessionActive?.(caller.keyId)) ?? false;
      const row = await find('key_id', caller.keyId);
      return row !== undefined && row.revoked_at === null;
    },
    async create(actor, { name, scopes }) {
      const key = generateKey();
      const row = await store.transaction(async (tx) => {
        const made = await insertKey(tx, key, name, scopes);
        await options.audit?.append(tx, { action: 'key.create', actor, resource: `key:${made.key_id}`, details: { name, scopes } });
        return made;
      });
      return { ...toView(row), key };
    },
    async list() {
      const { rows } = await store.query<Row>('select * from api_keys order by created_at, key_id');
      return rows.map(toView);
    },
    async revoke(actor, keyId) {
      const row = await store.transaction(async (tx) => {
        const revoked = await revokeKey(tx, keyId);
        await options.audit?.append(tx, { action: 'key.revoke', actor, resource: `key:${keyId}` });
        return revoked;
      });
      cache.clear();
      return toView(row);
    },
  };
}

/** `ck_`, 8 hex digits, `_`, 43 characters for 256 bits. */
export function generateKey(): string {
  return `ck_${randomBytes(4).toString('hex')}_${randomBytes(32).toString('base64url')}`;
}

const KEY = /^(ck_[0-9a-f]{8})_[A-Za-z0-9_-]{43}$/;

function idOf(key: string): string | undefined {
  return KEY.exec(key)?.[1];
}

/** An operator's own key gets a random id: one made from the key would let whoever sees the id test guesses. */
export async function insertKey(on: Queryable, key: string, name: string, scopes: readonly string[]): Promise<Row> {
  const { rows } = await on.query<Row>('insert into api_keys (key_id, name, hash, scopes) values ($1, $2, $3, $4) returning *', [
    idOf(key) ?? `own_${randomBytes(4).toString('hex')}`,
    name,
    hashKey(key),
    scopes,
  ]);
  return rows[0] as Row;
}

/** Whether a key works, without a cache. */
export async function isKnownKey(on: Queryable, key: string): Promise<boolean> {
  const { rowCount } = await on.query('select 1 from api_keys where hash = $1 and revoked_at is null', [hashKey(key)]);
  return rowCount > 0;
}

async function revokeKey(tx: Queryable, keyId: string): Promise<Row> {
  // Two admins that revoke each other at the same moment would lock everyone out
  await tx.query('lock table api_keys in share row exclusive mode');
  const { rows } = await tx.query<Row>('select * from api_keys where key_id = $1', [keyId]);
  const row = rows[0];
  if (row === undefined) throw new ApiError('KEY_NOT_FOUND', `there is no API key ${JSON.stringify(keyId)}`);
  if (row.revoked_at !== null) return row;
  if (row.scopes.includes('admin')) {
    const others = await tx.query(`select 1 from api_keys where key_id <> $1 and revoked_at is null and 'admin' = any(scopes) limit 1`, [
      keyId,
    ]);
    if (others.rowCount === 0)
      throw new ApiError('LAST_ADMIN_KEY', `${keyId} is the last admin key: make another one first, or nobody could make keys any more`);
  }
  const revoked = await tx.query<Row>('update api_keys set revoked_at = now() where key_id = $1 returning *', [keyId]);
  return revoked.rows[0] as Row;
}

export function presentedKey(headers: Headers): string | undefined {
  const key = headers.get('x-api-key') ?? /^bearer +(\S+)$/i.exec(headers.get('authorization') ?? '')?.[1];
  return key === undefined || key === '' ? undefined : key;
}

function hashKey(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}

export function unauthenticated(message: string): ApiError {
  return new ApiError('UNAUTHENTICATED', message, { headers: { 'www-authenticate': 'Bearer realm="centaur"' } });
}

function toView(row: Row): KeyView {
  const time = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString());
  return {
    key_id: row.key_id,
    name: row.name,
    scopes: row.scopes,
    created_at: time(row.created_at) as string,
    last_used_at: time(row.last_used_at),
    revoked_at: time(row.revoked_at),
  };
}
