/**
 * Secrets that hold the tokens of a connected account. Their option `connection` says of which: it is part of the description that
 * the MAC covers, so nobody makes another secret pass for one of these by writing to the database.
 */
import type { AuditLog } from '../audit/index.ts';
import type { Queryable, Store } from '../store/index.ts';
import { descriptionKey, descriptionProblem, type DescriptionRow } from './description.ts';
import { type MasterKey, open } from './envelope.ts';
import { ownSecretName } from './grants.ts';
import { aboutVersion, type Exchanged, GRACE_SECONDS, rotateSecretIn, type SecretType } from './secrets.ts';
import type { HeldSecret } from './values.ts';

/** What is written for an account that must be connected again, by the connection. */
export interface Connected {
  readonly app: string;
  readonly user: string | null;
  readonly status: string;
  /** A code. Of one that is connected: what the last refresh failed with, where somebody can mend it. */
  readonly reason: string | null;
}

/** The provider's words for: this token will not work again. */
const OVER = new Set(['invalid_grant', 'bad_refresh_token', 'invalid_refresh_token', 'token_revoked', 'token_expired']);

/** For: the account is fine, and whoever asks for it is not known; by another secret of the client it can be mended. */
const CLIENT_REFUSED = new Set(['invalid_client', 'invalid_client_id', 'bad_client_secret', 'incorrect_client_credentials']);

export function clientIsRefused(error: unknown): boolean {
  return typeof error === 'string' && CLIENT_REFUSED.has(error);
}

export function isOverForGood(error: unknown): boolean {
  return typeof error === 'string' && OVER.has(error);
}

/** Id of the connection whose tokens the secret holds. */
export function connectionOf(options: Readonly<Record<string, unknown>>): string | undefined {
  const { connection } = options;
  return typeof connection === 'string' ? connection : undefined;
}

/** One at a time exchanges a refresh token, puts another account in its place or takes it away. Until the transaction ends. */
export async function lockTokens(tx: Queryable, secret: string): Promise<void> {
  await tx.query('select pg_advisory_xact_lock(7226012, hashtext($1))', [secret]);
}

export async function readConnected(store: Store, connectionId: string): Promise<Connected | undefined> {
  const { rows } = await store.query<Connected>(
    'select app, user_name as user, status, reason from oauth_connections where connection_id = $1::text::uuid',
    [connectionId],
  );
  return rows[0];
}

const REFUSED = 'REFUSED_BY_PROVIDER';

interface StandingRow {
  readonly app: string;
  readonly user_name: string | null;
  readonly secret: string;
  readonly status: string;
  readonly reason: string | null;
}

/** Before the secret's row, as whoever replaces or revokes an account takes them. */
async function lockConnection(tx: Queryable, connectionId: string): Promise<StandingRow | undefined> {
  const { rows } = await tx.query<StandingRow>(
    'select app, user_name, secret, status, reason from oauth_connections where connection_id = $1::text::uuid for update',
    [connectionId],
  );
  return rows[0];
}

/**
 * The provider takes its tokens no more. Said once, whoever finds out.
 *
 * @param refused what the provider was sent
 * @returns false when the account has another value by now, of which nothing is known yet: it stays as it is
 */
export async function breakConnection(
  { store, audit }: { readonly store: Store; readonly audit: AuditLog },
  connectionId: string,
  refused: Pick<HeldSecret, 'name' | 'version'>,
): Promise<boolean> {
  return store.transaction(async (tx) => {
    const row = await lockConnection(tx, connectionId);
    // by a statement of its own, under the lock: whoever stores a value takes it, too
    const { rows: active } = await tx.query<{ version: string }>(
      `select 'v' || version as version from secret_versions where name = $1 and state = 'active'`,
      [refused.name],
    );
    if (active.some(({ version }) => version !== refused.version)) return false;
    if (row?.status !== 'connected') return true;
    await tx.query(`update oauth_connections set status = 'broken', reason = $2, updated_at = now() where connection_id = $1::text::uuid`, [
      connectionId,
      REFUSED,
    ]);
    const details = { app: row.app, user: row.user_name, secret: row.secret, reason: REFUSED };
    await audit.append(tx, { action: 'oauth.broken', actor: 'system', resource: `connection:${connectionId}`, details });
    return true;
  });
}

/**
 * What a provider gave for the value. Whoever was refused meanwhile had sent the same value a second time: the account is not broken.
 *
 * @returns as `rotateSecretIn`
 */
export async function keepExchanged(
  tx: Queryable,
  { audit, master }: { readonly audit: AuditLog; readonly master: MasterKey },
  name: string,
  value: string,
  exchanged: Exchanged,
): Promise<string | undefined> {
  const { connection } = exchanged;
  const row = connection === undefined ? undefined : await lockConnection(tx, connection);
  const version = await rotateSecretIn(tx, { audit, master }, 'system', name, value, { exchanged, graceSeconds: GRACE_SECONDS });
  if (version === undefined) return undefined;
  // nobody has given it a new value: when it is due to be rotated goes by the one that somebody gave
  await tx.query(
    `update secret_versions v set created_at = before.created_at from secret_versions before
     where v.name = $1 and v.version = $2 and before.name = $1 and before.version = $3`,
    [name, numberOf(version), numberOf(exchanged.version)],
  );
  if (row?.status !== 'broken' || row.reason !== REFUSED) return version;
  await tx.query(
    `update oauth_connections set status = 'connected', reason = null, updated_at = now() where connection_id = $1::text::uuid`,
    [connection],
  );
  const details = { app: row.app, user: row.user_name, secret: row.secret };
  await audit.append(tx, { action: 'oauth.restored', actor: 'system', resource: `connection:${connection}`, details });
  return version;
}

/** Whether the provider knows the client at this account's last refresh. Said once, when it changes. */
export async function noteClient(
  { store, audit }: { readonly store: Store; readonly audit: AuditLog },
  connectionId: string,
  known: 'known' | 'refused',
): Promise<void> {
  await store.transaction(async (tx) => {
    const { rows } = await tx.query<{ app: string; user_name: string | null; secret: string }>(
      `update oauth_connections set reason = $2, updated_at = now()
       where connection_id = $1::text::uuid and status = 'connected' and reason is distinct from $2 returning app, user_name, secret`,
      [connectionId, known === 'known' ? null : 'INVALID_CLIENT'],
    );
    const [row] = rows;
    if (row === undefined) return;
    const details = { app: row.app, user: row.user_name, secret: row.secret };
    await audit.append(tx, { action: `oauth.client_${known}`, actor: 'system', resource: `connection:${connectionId}`, details });
  });
}

/** By which a secret that is not there is made: the app that has made it for this user, for everybody, or for anybody else before. */
export async function findReconnect(store: Store, secret: string, user: string | undefined): Promise<string | undefined> {
  const own = user === undefined ? secret : ownSecretName(secret, user);
  const { rows } = await store.query<{ app: string; user: string | null }>(
    `select app, case when secret = $2 then user_name end as user from oauth_connections
     where secret = $1 or secret = $2 or (user_name is not null and starts_with(secret, $1 || '_OF_'))
     order by secret = $2 desc, secret = $1 desc, created_at desc limit 1`,
    [secret, own],
  );
  return rows[0] && reconnectCommand(rows[0]);
}

/** What to type when an account must be connected again. */
export function reconnectCommand({ app, user }: Pick<Connected, 'app' | 'user'>): string {
  return `centaur accounts connect ${app}${user === null ? '' : ` --user ${user}`}`;
}

export interface OpenedTokens {
  readonly type: SecretType;
  readonly version: number;
  readonly value: string;
  readonly options: Readonly<Record<string, unknown>>;
}

/**
 * The present value, to be taken back at the provider or to be given another secret of the client: the one value that is sent which is opened outside of the firewall.
 * Undefined when the secret is no longer the connection's.
 *
 * @throws VaultError SEAL_BROKEN, MASTER_KEY_UNKNOWN
 */
export async function openConnected(
  master: MasterKey,
  on: Queryable,
  name: string,
  connectionId: string,
): Promise<OpenedTokens | undefined> {
  const { rows } = await on.query<DescriptionRow & { version: number; ciphertext: Buffer; wrapped_key: Buffer; kek_id: string }>(
    `select s.name, s.type, s.source, s.binding, s.options, s.rotation, s.mac, v.version, v.ciphertext, v.wrapped_key, v.kek_id
     from secrets s join secret_versions v on v.name = s.name and v.state = 'active' and v.ciphertext is not null
     where s.name = $1 and s.removed_at is null`,
    [name],
  );
  const [row] = rows;
  if (row === undefined) return undefined;
  const changed = descriptionProblem(await descriptionKey(on, master), row);
  if (changed !== undefined) throw changed;
  const options = JSON.parse(row.options) as Record<string, unknown>;
  if (connectionOf(options) !== connectionId) return undefined;
  const sealed = { ciphertext: row.ciphertext, wrappedKey: row.wrapped_key, kekId: row.kek_id };
  return {
    type: row.type,
    version: row.version,
    value: (await open(master, sealed, aboutVersion(name, row.version))).toString('utf8'),
    options,
  };
}

/** Of `v7`. */
const numberOf = (version: string): number => Number(version.slice(1));
