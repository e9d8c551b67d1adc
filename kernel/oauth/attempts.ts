/**
 * Attempts to connect, from their beginning to the tokens. What proves that we began one (the verifier of PKCE, the device's code) is
 * sealed for its row; its state is kept as a hash and taken by the first that brings it.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { isTransient, untilStored, uuidv7 } from '../store/index.ts';
import { checkPrincipal, type Installation, isUserOfRun, open, seal, VaultError } from '../vault/index.ts';
import { getApp, isSafeUrl, type KeptApp } from './apps.ts';
import { type Ask, readTokens, takeBack, type Tokens } from './ask.ts';
import {
  type ConnectionRow,
  failConnection,
  getConnection,
  isConnected,
  keepTokens,
  pruneConnections,
  refuseTaken,
  secretOf,
  STORE_SECONDS,
} from './connections.ts';
import { ConnectFailure, type FailureReason, OAuthError, reasonOf } from './errors.ts';
import { SHARED_ONLY } from './providers.ts';
import type { CallbackResult, ConnectRequest, OAuthApp, StartedConnection } from './types.ts';

export interface Parts {
  readonly installation: Installation;
  readonly ask: Ask;
  /** @throws OAuthError PUBLIC_URL_UNFIT */
  redirectUri(app: string): string;
  /** From then on nobody waits for a database that is away. */
  readonly closing?: AbortSignal | undefined;
}

const MINUTE = 60;
const CODE_SECONDS = 10 * MINUTE;
const DEVICE_SECONDS_MOST = 30 * MINUTE;
const PENDING_MOST = 100;
const INTERVAL_USUAL = 5;
const INTERVAL_MOST = 60;
/** An answer that takes longer is not waited for: see `ask.ts`. */
const ASKED_SECONDS = 25;
const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';

/** What an attempt keeps for its end. */
interface Kept {
  /** Of the app as it was. */
  readonly version: string;
  readonly verifier?: string;
  readonly redirect_uri?: string;
  readonly device_code?: string;
}

/** @throws OAuthError */
export async function startConnection(parts: Parts, actor: string, request: ConnectRequest): Promise<StartedConnection> {
  const { installation } = parts;
  const { store } = installation;
  const kept = await getApp(installation, request.app);
  const user = request.user === undefined ? null : checkUser(request.user);
  if (user !== null && SHARED_ONLY.has(kept.app.provider))
    throw new OAuthError('INVALID_CONNECTION', `user: ${kept.app.provider} gives the token of a bot, which is nobody's own; leave it out`);
  await pruneConnections(store);
  const { rows } = await store.query<{ count: number }>(
    `select count(*)::int as count from oauth_connections where status = 'pending' and expires_at > now()`,
  );
  if ((rows[0]?.count ?? 0) >= PENDING_MOST)
    throw new OAuthError(
      'TOO_MANY_CONNECTIONS',
      `${PENDING_MOST} accounts are being connected: end some of that first, by their ids (centaur accounts ls, then centaur accounts revoke ID)`,
    );
  const secret = secretOf(kept.app, user);
  await refuseTaken(store, kept.app.name, user, secret);
  const attempt = { actor, user, secret, kept };
  return request.flow === 'device' ? startDevice(parts, attempt) : startCode(parts, attempt);
}

interface Attempt {
  readonly actor: string;
  readonly user: string | null;
  readonly secret: string;
  readonly kept: KeptApp;
}

async function startCode(parts: Parts, attempt: Attempt): Promise<StartedConnection> {
  const { app, version } = attempt.kept;
  if (app.authorize_url === null)
    throw new OAuthError('INVALID_CONNECTION', `flow: ${app.name} has no authorize_url, only the device flow`);
  const redirectUri = parts.redirectUri(app.name);
  const state = randomBytes(32).toString('base64url');
  const verifier = randomBytes(48).toString('base64url');
  const id = await insert(parts.installation, attempt, {
    flow: 'code',
    kept: { version, verifier, redirect_uri: redirectUri },
    stateHash: hashOf(state),
    seconds: CODE_SECONDS,
    interval: null,
  });
  const url = new URL(app.authorize_url);
  const params = {
    ...app.authorize_params,
    response_type: 'code',
    client_id: app.client_id,
    redirect_uri: redirectUri,
    ...(app.scopes.length === 0 ? {} : { scope: app.scopes.join(app.scope_separator) }),
    state,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  };
  for (const [name, value] of Object.entries(params)) url.searchParams.set(name, value);
  return { ...(await getConnection(parts.installation.store, id)), authorize_url: url.href, device: null };
}

/** RFC 8628. */
async function startDevice(parts: Parts, attempt: Attempt): Promise<StartedConnection> {
  const { app, version } = attempt.kept;
  if (app.device_url === null) throw new OAuthError('INVALID_CONNECTION', `flow: ${app.name} has no device_url: connect it in the browser`);
  const told = await askDevice(parts, app).catch((error: unknown) => {
    if (!(error instanceof ConnectFailure)) throw error;
    throw new OAuthError('PROVIDER_FAILED', `${app.name} gave no code for a device: ${error.reason}`, { reason: error.reason });
  });
  const id = await insert(parts.installation, attempt, {
    flow: 'device',
    kept: { version, device_code: told.deviceCode },
    stateHash: null,
    seconds: told.seconds,
    interval: told.interval,
  });
  return { ...(await getConnection(parts.installation.store, id)), authorize_url: null, device: told.shown };
}

async function askDevice({ ask }: Parts, app: OAuthApp) {
  const scope = app.scopes.length === 0 ? undefined : app.scopes.join(app.scope_separator);
  const { status, fields } = await ask(app.device_url as string, { ...clientOf(app), scope });
  if (status !== 200 || fields['error'] !== undefined) throw new ConnectFailure(reasonOf(fields['error']));
  const { device_code: deviceCode, user_code: userCode, expires_in: seconds, interval } = fields;
  // Google's older name for it
  const uri = fields['verification_uri'] ?? fields['verification_url'];
  const complete = fields['verification_uri_complete'];
  if (!isShort(deviceCode, 4000) || !isShort(userCode, 64) || typeof uri !== 'string' || !isSafeUrl(uri))
    throw new ConnectFailure('PROVIDER_REFUSED');
  return {
    deviceCode,
    seconds: Math.min(Math.max(Number(seconds) || CODE_SECONDS, 1), DEVICE_SECONDS_MOST),
    interval: Math.min(Math.max(Math.ceil(Number(interval) || INTERVAL_USUAL), 1), INTERVAL_MOST),
    shown: {
      user_code: userCode,
      verification_uri: uri,
      verification_uri_complete: typeof complete === 'string' && complete.length <= 2000 && isSafeUrl(complete) ? complete : null,
    },
  };
}

interface Insert {
  readonly flow: 'code' | 'device';
  readonly kept: Kept;
  readonly stateHash: Buffer | null;
  readonly seconds: number;
  readonly interval: number | null;
}

async function insert(
  { store, audit, master }: Installation,
  attempt: Attempt,
  { flow, kept, stateHash, seconds, interval }: Insert,
): Promise<string> {
  const { actor, user, secret } = attempt;
  const { name } = attempt.kept.app;
  const id = uuidv7(store.now());
  const sealed = await seal(master, Buffer.from(JSON.stringify(kept), 'utf8'), aboutAttempt(id, name, user, secret));
  await store.transaction(async (tx) => {
    const auditId = await audit.append(tx, {
      action: 'oauth.connect_start',
      actor,
      resource: `connection:${id}`,
      details: { app: name, user, flow, secret },
    });
    await tx.query(
      `insert into oauth_connections (connection_id, app, user_name, flow, secret, state_hash, ciphertext, wrapped_key, kek_id, interval_seconds,
         next_poll_at, expires_at, created_by, audit_id)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::int, now() + make_interval(secs => $10::int), now() + make_interval(secs => $11), $12, $13)`,
      [id, name, user, flow, secret, stateHash, sealed.ciphertext, sealed.wrappedKey, sealed.kekId, interval, seconds, actor, auditId],
    );
  });
  return id;
}

/** Authenticated with what is kept: so nobody makes one user's attempt another's by writing to the database. */
function aboutAttempt(id: string, app: string, user: string | null, secret: string): string {
  return `oauth connection ${JSON.stringify([id, app, user, secret])}`;
}

// ---- the code flow's end

export interface Callback {
  /** From the path: each app has an address of its own, so that no other provider's answer passes for its. */
  readonly app: string;
  readonly state: string | undefined;
  readonly code: string | undefined;
  readonly error: string | undefined;
  /** RFC 9207. */
  readonly iss: string | undefined;
}

/** Takes the state, whatever becomes of it. */
export async function finishCode(parts: Parts, callback: Callback): Promise<CallbackResult> {
  const row = await takeState(parts.installation, callback.state);
  if (row === undefined) return { outcome: 'unknown', attempt: undefined };
  const attempt = { app: row.app, user: row.user_name };
  try {
    if (callback.app !== row.app) throw new ConnectFailure('OTHER_APP');
    const { now, kept } = await openAttempt(parts.installation, row);
    const { app } = now;
    // first who says it, then what it says: an error of somebody else's is none
    if (callback.iss !== undefined && app.issuer !== null && callback.iss !== app.issuer) throw new ConnectFailure('OTHER_ISSUER');
    if (callback.error !== undefined) throw new ConnectFailure(reasonOf(callback.error));
    if (!isShort(callback.code, 4000)) throw new ConnectFailure('INVALID_CODE');
    if (parts.redirectUri(app.name) !== kept.redirect_uri) throw new ConnectFailure('APP_CHANGED');
    await exchange(parts, now, row, {
      grant_type: 'authorization_code',
      code: callback.code,
      redirect_uri: kept.redirect_uri,
      code_verifier: kept.verifier,
    });
    return { outcome: 'connected', attempt };
  } catch (error) {
    const reason = await endWith(parts.installation, row, error);
    return { outcome: reason === 'DENIED' ? 'denied' : 'failed', attempt };
  }
}

/** Of two at once, one gets it. The attempt has not expired while its code is exchanged and what comes of that is stored. */
async function takeState({ store }: Installation, state: string | undefined): Promise<ConnectionRow | undefined> {
  if (state === undefined || !/^[A-Za-z0-9_-]{43}$/.test(state)) return undefined;
  const hash = hashOf(state);
  const { rows } = await store.query<ConnectionRow & { taken: Buffer }>(
    `update oauth_connections c set state_hash = null, updated_at = now(),
       expires_at = greatest(c.expires_at, now() + make_interval(secs => $2::int))
     from (select connection_id, state_hash as taken from oauth_connections where state_hash = $1 for update) s
     where c.connection_id = s.connection_id and c.state_hash is not null and c.status = 'pending' and c.flow = 'code' and c.expires_at > now()
     returning c.*, s.taken`,
    [hash, ASKED_SECONDS + STORE_SECONDS],
  );
  const [row] = rows;
  return row !== undefined && timingSafeEqual(row.taken, hash) ? row : undefined;
}

// ---- the device flow's polls

/** Asks for each attempt whose time has come. @returns milliseconds until the next one; undefined when none is under way */
export async function pollDevices(parts: Parts): Promise<number | undefined> {
  const { store } = parts.installation;
  // as if it had been asked: should this process die, another one asks a little later
  const { rows } = await store.query<ConnectionRow>(
    `update oauth_connections c set next_poll_at = now() + make_interval(secs => c.interval_seconds + $1)
     from (select connection_id from oauth_connections where status = 'pending' and flow = 'device' and next_poll_at <= now() and expires_at > now()
       order by next_poll_at limit 20 for update skip locked) due
     where c.connection_id = due.connection_id returning c.*`,
    [ASKED_SECONDS],
  );
  await Promise.all(rows.map((row) => pollOne(parts, row)));
  const { rows: next } = await store.query<{ ms: number | null }>(
    `select extract(epoch from min(next_poll_at) - now())::float8 * 1000 as ms from oauth_connections
     where status = 'pending' and flow = 'device' and expires_at > now()`,
  );
  const ms = next[0]?.ms ?? null;
  return ms === null ? undefined : Math.max(ms, 0);
}

async function pollOne(parts: Parts, row: ConnectionRow): Promise<void> {
  const interval = row.interval_seconds ?? INTERVAL_USUAL;
  try {
    const { now, kept } = await openAttempt(parts.installation, row);
    const { app } = now;
    const answer = await parts.ask(app.token_url, { grant_type: DEVICE_GRANT, device_code: kept.device_code, ...clientOf(app) });
    const { error } = answer.fields;
    if (error === 'authorization_pending') return await waitOn(parts.installation, row, interval);
    if (error === 'slow_down') return await waitOn(parts.installation, row, interval + 5);
    // it says nothing of the attempt
    if (answer.status === 429 || answer.status >= 500) throw new ConnectFailure('UNREACHABLE');
    const tokens = readTokens(app, answer);
    // the code is used up: nobody asks with it while its tokens are stored, however long that takes
    await untilStored(() => askLater(parts.installation, row, STORE_SECONDS + ASKED_SECONDS), {
      forMs: STORE_SECONDS * 1000,
      signal: parts.closing,
    });
    await keep(parts, now, row, tokens);
  } catch (error) {
    // RFC 8628, 3.5: on a time-out, half as often
    if ((error instanceof ConnectFailure && error.reason === 'UNREACHABLE') || isTransient(error))
      return waitOn(parts.installation, row, Math.min(interval * 2, INTERVAL_MOST)).catch(() => undefined);
    await endWith(parts.installation, row, error).catch(() => undefined);
  }
}

async function waitOn({ store }: Installation, { connection_id: id }: ConnectionRow, seconds: number): Promise<void> {
  await store.query(
    `update oauth_connections set interval_seconds = $2::int, next_poll_at = now() + make_interval(secs => $2::int)
     where connection_id = $1 and status = 'pending'`,
    [id, seconds],
  );
}

async function askLater({ store }: Installation, { connection_id: id }: ConnectionRow, seconds: number): Promise<void> {
  await store.query(
    `update oauth_connections set next_poll_at = now() + make_interval(secs => $2::int),
       expires_at = greatest(expires_at, now() + make_interval(secs => $2::int)) where connection_id = $1 and status = 'pending'`,
    [id, seconds],
  );
}

// ---- both

/**
 * Tokens that are not kept are taken back where they came from: nobody else would. But not while an account is connected by the app: it may
 * be the same one at the provider, and some take back all of an account with one token of it.
 */
async function keep({ installation, ask, closing }: Parts, now: KeptApp, row: ConnectionRow, tokens: Tokens): Promise<void> {
  try {
    await keepTokens(installation, now, row, tokens, closing);
  } catch (error) {
    const { revoke_url: url, client_id: clientId, client_secret: secret } = now.app;
    const isRefused = error instanceof ConnectFailure && url !== null;
    if (isRefused && !(await isConnected(installation.store, row.app)))
      await takeBack(ask, { url, token: tokens.refresh ?? tokens.access, clientId, clientSecret: secret ?? undefined });
    throw error;
  }
}

/** How the client says who it is, wherever it asks: RFC 6749, 2.3.1. */
function clientOf({ client_id, client_secret: secret }: OAuthApp) {
  return { client_id, client_secret: secret ?? undefined };
}

async function openAttempt(installation: Installation, row: ConnectionRow): Promise<{ readonly now: KeptApp; readonly kept: Kept }> {
  const { ciphertext, wrapped_key: wrappedKey, kek_id: kekId } = row;
  if (ciphertext === null || wrappedKey === null || kekId === null) throw new ConnectFailure('EXPIRED');
  const about = aboutAttempt(row.connection_id, row.app, row.user_name, row.secret);
  const kept = JSON.parse((await open(installation.master, { ciphertext, wrappedKey, kekId }, about)).toString('utf8')) as Kept;
  const now = await getApp(installation, row.app);
  if (now.version !== kept.version) throw new ConnectFailure('APP_CHANGED');
  return { now, kept };
}

async function exchange(parts: Parts, now: KeptApp, row: ConnectionRow, form: Readonly<Record<string, string | undefined>>): Promise<void> {
  const { audit } = parts.installation;
  const { app } = now;
  // before it is asked for, like every token
  await audit.write({
    action: 'oauth.exchange',
    actor: row.created_by,
    resource: `connection:${row.connection_id}`,
    details: { app: row.app, token_url: app.token_url },
  });
  const answer = await parts.ask(app.token_url, { ...form, ...clientOf(app) });
  await keep(parts, now, row, readTokens(app, answer));
}

/** @throws what is a fault of ours, when the attempt has been ended by it */
async function endWith(installation: Installation, row: ConnectionRow, error: unknown): Promise<FailureReason> {
  const told = error instanceof OAuthError && error.code === 'OAUTH_APP_NOT_FOUND' ? new ConnectFailure('APP_CHANGED') : error;
  const reason = told instanceof ConnectFailure ? told.reason : 'INTERNAL';
  await failConnection(installation, row.connection_id, row.created_by, reason);
  if (!(told instanceof ConnectFailure)) throw error;
  return reason;
}

function checkUser(user: string): string {
  try {
    // `user:*` is everybody, and a run is nobody
    if (user !== '*' && !isUserOfRun(user) && checkPrincipal(`user:${user}`)) return user;
  } catch (error) {
    if (!(error instanceof VaultError)) throw error;
  }
  throw new OAuthError('INVALID_CONNECTION', 'user: expected 1 to 200 visible characters, as messages name their user');
}

const hashOf = (text: string): Buffer => createHash('sha256').update(text).digest();

function isShort(value: unknown, most: number): value is string {
  return typeof value === 'string' && value.length <= most && /^[\x21-\x7e]+$/.test(value);
}
