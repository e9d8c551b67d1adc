/** Connections as rows: begun, ended in one way or another, shown. Tokens are written as a secret in the transaction that says so. */
import { type Queryable, type Store, untilStored } from '../store/index.ts';
import {
  addGrantIn,
  type Installation,
  lockTokens,
  openConnected,
  type OpenedTokens,
  ownSecretName,
  prepareSecret,
  removeSecretIn,
  type SecretRequest,
} from '../vault/index.ts';
import { bindingOf, findApp, isStillApp, type KeptApp } from './apps.ts';
import type { TakenBack, Tokens } from './ask.ts';
import { readTokenValue, writeTokenValue } from './client-secret.ts';
import { ConnectFailure, type FailureReason, OAuthError } from './errors.ts';
import type { ConnectionStatus, ConnectionView, OAuthApp } from './types.ts';

export interface ConnectionRow {
  readonly connection_id: string;
  readonly app: string;
  readonly user_name: string | null;
  readonly flow: 'code' | 'device';
  readonly status: Exclude<ConnectionStatus, 'expired'>;
  readonly reason: string | null;
  readonly secret: string;
  /** JSON. */
  readonly scopes: string;
  readonly token_ends_at: number | null;
  readonly state_hash: Buffer | null;
  readonly ciphertext: Buffer | null;
  readonly wrapped_key: Buffer | null;
  readonly kek_id: string | null;
  readonly interval_seconds: number | null;
  readonly expires_at: number;
  readonly created_by: string;
  readonly created_at: number;
  readonly updated_at: number;
}

interface ViewRow extends ConnectionRow {
  readonly expired: boolean;
  readonly token_ended: boolean;
  readonly kept: boolean;
}

const VIEW = `select c.*, c.expires_at <= now() as expired, coalesce(c.token_ends_at <= now(), false) as token_ended,
    exists (select from secrets s where s.name = c.secret and s.removed_at is null and s.options ->> 'connection' = c.connection_id::text) as kept
  from oauth_connections c`;

const LISTED_MOST = 1000;
const KEPT_DAYS = 30;

/** Those that are there or under way. */
export async function listConnections(store: Store): Promise<readonly ConnectionView[]> {
  const { rows } = await store.query<ViewRow>(
    `${VIEW} where c.status in ('connected', 'broken') or (c.status = 'pending' and c.expires_at > now())
     order by c.app, c.user_name nulls first, c.created_at desc limit $1`,
    [LISTED_MOST],
  );
  return rows.map(toView);
}

/** @throws OAuthError CONNECTION_NOT_FOUND */
export async function getConnection(store: Store, id: string): Promise<ConnectionView> {
  const { rows } = await store.query<ViewRow>(`${VIEW} where c.connection_id = $1`, [id]);
  if (rows[0] === undefined) throw notFound(id);
  return toView(rows[0]);
}

function toView(row: ViewRow): ConnectionView {
  const { connection_id, app, user_name: user, flow, secret } = row;
  return {
    connection_id,
    app,
    user,
    flow,
    ...standing(row),
    secret,
    scopes: JSON.parse(row.scopes) as readonly string[],
    token_ends_at: row.token_ends_at === null ? null : new Date(row.token_ends_at).toISOString(),
    expires_at: new Date(row.expires_at).toISOString(),
    created_at: new Date(row.created_at).toISOString(),
    updated_at: new Date(row.updated_at).toISOString(),
  };
}

/** What follows from the time, and from what became of the secret. */
function standing({ status, reason, expired, token_ended, kept }: ViewRow): Pick<ConnectionView, 'status' | 'reason'> {
  if (status === 'pending' && expired) return { status: 'expired', reason: 'EXPIRED' };
  if (status !== 'connected') return { status, reason };
  if (!kept) return { status: 'broken', reason: 'SECRET_REPLACED' };
  return token_ended ? { status: 'broken', reason: 'TOKEN_ENDED' } : { status, reason };
}

/** Under which name the tokens are kept. */
export function secretOf({ secret }: OAuthApp, user: string | null): string {
  return user === null ? secret : ownSecretName(secret, user);
}

/**
 * What an operator has set is not overwritten by an account.
 *
 * @throws OAuthError SECRET_TAKEN unless it is free, or of an earlier connection of the same user by the same app
 */
export async function refuseTaken(on: Queryable, app: string, user: string | null, secret: string): Promise<void> {
  const { rows } = await on.query<{ ours: boolean }>(
    `select exists (select from oauth_connections c where c.connection_id::text = s.options ->> 'connection' and c.app = $2
       and c.user_name is not distinct from $3 and c.secret = s.name) as ours
     from secrets s where s.name = $1 and s.removed_at is null`,
    [secret, app, user],
  );
  if (rows[0]?.ours === false)
    throw new OAuthError(
      'SECRET_TAKEN',
      `secret: there is a ${secret} that this app did not make; remove it first (centaur secrets rm ${secret}), or give the app another name for its secret`,
    );
}

/** As long as a fail-over of the database takes, and longer. */
export const STORE_SECONDS = 600;

/**
 * Seals the tokens and says so, at once. Tried again while the database is away: nobody else has them.
 *
 * @throws ConnectFailure CANCELLED when the attempt was ended meanwhile, APP_CHANGED, SECRET_TAKEN
 */
export async function keepTokens(
  installation: Installation,
  kept: KeptApp,
  row: ConnectionRow,
  tokens: Tokens,
  closing?: AbortSignal,
): Promise<void> {
  await untilStored((isAgain) => keepOnce(installation, kept, row, tokens, isAgain), { forMs: STORE_SECONDS * 1000, signal: closing });
}

/** Whether anybody's account is connected by the app. */
export async function isConnected(store: Store, app: string): Promise<boolean> {
  const { rowCount } = await store.query(`select from oauth_connections where app = $1 and status in ('connected', 'broken') limit 1`, [
    app,
  ]);
  return rowCount !== 0;
}

async function keepOnce(installation: Installation, kept: KeptApp, row: ConnectionRow, tokens: Tokens, isAgain: boolean): Promise<void> {
  const { store, audit } = installation;
  const { app } = kept;
  const { connection_id: id, user_name: user, secret, created_by: actor } = row;
  const write = await prepareSecret(installation, secret, secretRequest(app, id, tokens));
  await store.transaction(async (tx) => {
    const isSameApp = await isStillApp(tx, kept);
    const { rows: before } = await tx.query<{ secret: string }>(
      `select secret from oauth_connections where app = $1 and user_name is not distinct from $2 and status in ('connected', 'broken')`,
      [row.app, user],
    );
    for (const name of [...new Set([secret, ...before.map((each) => each.secret)])].toSorted()) await lockTokens(tx, name);
    const { rows: now } = await tx.query<{ status: string }>('select status from oauth_connections where connection_id = $1 for update', [
      id,
    ]);
    // the try before had committed, and its answer was lost
    if (isAgain && now[0]?.status === 'connected') return;
    if (now[0]?.status !== 'pending') throw new ConnectFailure('CANCELLED');
    if (!isSameApp) throw new ConnectFailure('APP_CHANGED');
    await refuseTaken(tx, row.app, user, secret).catch((error: unknown) => {
      throw error instanceof OAuthError ? new ConnectFailure('SECRET_TAKEN') : error;
    });
    const { rows: replaced } = await tx.query<{ connection_id: string; secret: string }>(
      `update oauth_connections set status = 'replaced', updated_at = now()
       where app = $1 and user_name is not distinct from $2 and status in ('connected', 'broken') returning connection_id::text, secret`,
      [row.app, user],
    );
    // the app has another name for its secret by now: what is kept under the former one would be nobody's to revoke
    for (const { connection_id: former, secret: name } of replaced)
      if (name !== secret && (await isKeptFor(tx, name, former))) await removeSecretIn(tx, audit, actor, name);
    const scopes = tokens.scopes ?? app.scopes;
    const auditId = await audit.append(tx, {
      action: 'oauth.connect',
      actor,
      resource: `connection:${id}`,
      details: { app: row.app, user, flow: row.flow, secret, scopes, refreshed: tokens.refresh !== undefined },
    });
    await write(tx, actor);
    if (user !== null) await addGrantIn(tx, { store, audit }, actor, `user:${user}`, secret);
    await tx.query(
      `update oauth_connections set status = 'connected', reason = null, scopes = $2, state_hash = null, ciphertext = null, wrapped_key = null,
         kek_id = null, next_poll_at = null, updated_at = now(), audit_id = $4,
         token_ends_at = case when $3::float8 is null then null else now() + make_interval(secs => $3) end where connection_id = $1`,
      [id, JSON.stringify(scopes), tokens.refresh === undefined ? (tokens.seconds ?? null) : null, auditId],
    );
  });
}

/** Whether the secret has the tokens of the connection: one that somebody has set since is not ours to take away. */
async function isKeptFor(tx: Queryable, secret: string, connectionId: string): Promise<boolean> {
  const { rows } = await tx.query<{ kept: boolean }>(
    `select options ->> 'connection' = $2 as kept from secrets where name = $1 and removed_at is null for no key update`,
    [secret, connectionId],
  );
  return rows[0]?.kept === true;
}

function secretRequest(app: OAuthApp, connectionId: string, tokens: Tokens): SecretRequest {
  const options = {
    connection: connectionId,
    client_id: app.client_id,
    ...(app.revoke_url === null ? {} : { revoke_url: app.revoke_url }),
  };
  if (tokens.refresh === undefined) return { ...bindingOf(app), type: 'http', value: tokens.access, options };
  const value = writeTokenValue(tokens.refresh, app);
  return { ...bindingOf(app), type: 'brokered_token', value, options: { ...options, token_url: app.token_url } };
}

/** An attempt that comes to nothing. False when it had ended already. */
export async function failConnection({ store, audit }: Installation, id: string, actor: string, reason: FailureReason): Promise<boolean> {
  return store.transaction(async (tx) => {
    const { rows } = await tx.query<{ app: string; user_name: string | null }>(
      `update oauth_connections set status = 'failed', reason = $2, state_hash = null, ciphertext = null, wrapped_key = null, kek_id = null,
         next_poll_at = null, updated_at = now() where connection_id = $1 and status = 'pending' returning app, user_name`,
      [id, reason],
    );
    const [row] = rows;
    if (row === undefined) return false;
    const details = { app: row.app, user: row.user_name, reason };
    await audit.append(tx, { action: 'oauth.connect_failed', actor, resource: `connection:${id}`, details });
    return true;
  });
}

/**
 * Takes the secret away with its grants and leases. Also where the value cannot be opened: it is destroyed all the same.
 *
 * @returns what to tell the provider, if it can be told
 */
export async function removeConnection(installation: Installation, id: string, actor: string): Promise<TakenBack | undefined> {
  const { store, audit } = installation;
  const removed = await store.transaction(async (tx) => {
    const { rows: known } = await tx.query<{ secret: string }>('select secret from oauth_connections where connection_id = $1', [id]);
    if (known[0] === undefined) throw notFound(id);
    // before the row: whoever keeps tokens takes them in this order
    await lockTokens(tx, known[0].secret);
    const { rows } = await tx.query<ConnectionRow>('select * from oauth_connections where connection_id = $1 for update', [id]);
    const row = rows[0] as ConnectionRow;
    if (row.status !== 'connected' && row.status !== 'broken') throw notFound(id);
    const isMine = await isKeptFor(tx, row.secret, id);
    const held = await openConnected(installation.master, tx, row.secret, id).catch(() => undefined);
    const details = { app: row.app, user: row.user_name, secret: row.secret };
    await audit.append(tx, { action: 'oauth.revoke', actor, resource: `connection:${id}`, details });
    if (isMine) await removeSecretIn(tx, audit, actor, row.secret);
    await tx.query(`update oauth_connections set status = 'revoked', updated_at = now() where connection_id = $1`, [id]);
    return { app: row.app, taken: held && takenBack(held) };
  });
  return removed.taken && withSecret(installation, removed.app, removed.taken);
}

/** An access token is kept without the secret of its client, which the app has: it is told to the client's own provider alone. */
async function withSecret(installation: Installation, name: string, taken: TakenBack): Promise<TakenBack> {
  if (taken.clientSecret !== undefined) return taken;
  const kept = await findApp(installation, name).catch(() => undefined);
  const isSame = kept?.app.client_id === taken.clientId && kept.app.revoke_url === taken.url;
  return isSame ? { ...taken, clientSecret: kept.app.client_secret ?? undefined } : taken;
}

function takenBack({ type, value, options }: OpenedTokens): TakenBack | undefined {
  const { revoke_url: url, client_id: clientId } = options;
  if (typeof url !== 'string' || typeof clientId !== 'string') return undefined;
  if (type !== 'brokered_token') return { url, token: value, clientId, clientSecret: undefined };
  const tokens = readTokenValue(value);
  return tokens && { url, token: tokens.refresh_token, clientId, clientSecret: tokens.client_secret };
}

/** Attempts that came to nothing, and connections that are over: the log has them for longer. */
export async function pruneConnections(store: Store): Promise<void> {
  await store.query(
    `delete from oauth_connections where status not in ('connected', 'broken') and created_at < now() - make_interval(days => $1)`,
    [KEPT_DAYS],
  );
}

function notFound(id: string): OAuthError {
  return new OAuthError('CONNECTION_NOT_FOUND', `there is no connection ${JSON.stringify(id)}`);
}
