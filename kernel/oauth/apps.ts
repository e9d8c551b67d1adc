/** Apps: what is asked of them is checked field by field, and all of it is sealed. */
import { isUuid, type Queryable } from '../store/index.ts';
import { checkName, type Installation, open, parseBinding, seal, VaultError } from '../vault/index.ts';
import { takeClientSecret } from './client-secret.ts';
import { OAuthError } from './errors.ts';
import { PRESETS, type Preset } from './providers.ts';
import type { OAuthApp, OAuthAppRequest } from './types.ts';

/** An app, and the entry of its last change: by which an attempt knows that the app is the one that it was begun with. */
export interface KeptApp {
  readonly app: OAuthApp;
  readonly version: string;
  readonly created_at: string;
  readonly updated_at: string;
}

const NOTHING: Preset = {
  authorize_url: null,
  token_url: '',
  device_url: null,
  revoke_url: null,
  issuer: null,
  scope_separator: ' ',
  authorize_params: {},
  hosts: [],
  secret: '',
  inject: null,
};
/** What is ours to say. */
const RESERVED = new Set([
  'client_id',
  'client_secret',
  'redirect_uri',
  'response_type',
  'response_mode',
  'state',
  'scope',
  'code_challenge',
  'code_challenge_method',
  'request',
  'request_uri',
]);

/**
 * @param check what else must hold, before anything is written
 * @throws OAuthError INVALID_OAUTH_APP naming the field
 */
export async function putApp(
  installation: Installation,
  actor: string,
  name: string,
  request: OAuthAppRequest,
  check: (app: Omit<OAuthApp, 'client_secret'>) => void = () => {},
): Promise<KeptApp> {
  if (!/^[a-z0-9][a-z0-9_-]{0,63}$/.test(name)) throw invalid('name', 'expected small letters, digits, "-" and "_", such as google');
  const given = parseApp(name, request);
  check(given);
  // somebody changed it meanwhile: their secret may be the one to keep. Who loses here has seen another one go on
  while (!(await putOnce(installation, actor, name, request, given)));
  return getApp(installation, name);
}

/** @returns false, and changes nothing, when the app is not the one any more that was read */
async function putOnce(
  installation: Installation,
  actor: string,
  name: string,
  request: OAuthAppRequest,
  given: Omit<OAuthApp, 'client_secret'>,
): Promise<boolean> {
  const { store, audit, master } = installation;
  const known = await findApp(installation, name);
  const app: OAuthApp = {
    ...given,
    client_secret: request.client_secret === undefined ? keptSecret(known?.app, given) : request.client_secret,
  };
  const sealed = await seal(master, Buffer.from(JSON.stringify(app), 'utf8'), aboutApp(name));
  return store.transaction(async (tx) => {
    // of two that make it at once neither finds a row
    await tx.query('select pg_advisory_xact_lock(7226013, hashtext($1))', [name]);
    const { rows } = await tx.query<{ ciphertext: Buffer }>('select ciphertext from oauth_apps where name = $1 for update', [name]);
    if ((rows[0] && versionOf(rows[0])) !== known?.version) return false;
    const { client_secret: _, ...shown } = app;
    const auditId = await audit.append(tx, {
      action: 'oauth.app.put',
      actor,
      resource: `oauth_app:${name}`,
      details: { ...shown, new_client_secret: typeof request.client_secret === 'string' },
    });
    await tx.query(
      `insert into oauth_apps (name, ciphertext, wrapped_key, kek_id, audit_id) values ($1, $2, $3, $4, $5)
       on conflict (name) do update set ciphertext = excluded.ciphertext, wrapped_key = excluded.wrapped_key, kek_id = excluded.kek_id,
         audit_id = excluded.audit_id, updated_at = now()`,
      [name, sealed.ciphertext, sealed.wrappedKey, sealed.kekId, auditId],
    );
    const sameClient = known !== undefined && known.app.client_id === app.client_id && known.app.token_url === app.token_url;
    if (sameClient && known.app.client_secret !== app.client_secret) await takeClientSecret(tx, installation, actor, app);
    return true;
  });
}

/** That the app is still as it was, and stays so until the transaction ends. Before `lockTokens`: whoever changes the app locks in this order. */
export async function isStillApp(tx: Queryable, { app, version }: Pick<KeptApp, 'app' | 'version'>): Promise<boolean> {
  const { rows } = await tx.query<{ ciphertext: Buffer }>('select ciphertext from oauth_apps where name = $1 for share', [app.name]);
  return rows[0] !== undefined && versionOf(rows[0]) === version;
}

/** @throws OAuthError OAUTH_APP_NOT_FOUND, OAUTH_APP_IN_USE */
export async function removeApp({ store, audit }: Installation, actor: string, name: string): Promise<void> {
  await store.transaction(async (tx) => {
    const { rowCount } = await tx.query('select 1 from oauth_apps where name = $1 for update', [name]);
    if (rowCount === 0) throw notFound(name);
    const { rows } = await tx.query<{ count: number }>(
      `select count(*)::int as count from oauth_connections where app = $1 and status in ('connected', 'broken')`,
      [name],
    );
    const count = rows[0]?.count ?? 0;
    if (count > 0)
      throw new OAuthError(
        'OAUTH_APP_IN_USE',
        `${count} ${count === 1 ? 'account is' : 'accounts are'} connected by ${name}: revoke that first`,
      );
    await audit.append(tx, { action: 'oauth.app.remove', actor, resource: `oauth_app:${name}` });
    await tx.query('delete from oauth_apps where name = $1', [name]);
  });
}

/** @throws OAuthError OAUTH_APP_NOT_FOUND; VaultError SEAL_BROKEN when it is not as it was sealed */
export async function getApp(installation: Installation, name: string): Promise<KeptApp> {
  const kept = await findApp(installation, name);
  if (kept === undefined) throw notFound(name);
  return kept;
}

export async function listApps(installation: Installation): Promise<readonly KeptApp[]> {
  const { rows } = await installation.store.query<Row>('select * from oauth_apps order by name');
  return Promise.all(rows.map((row) => openApp(installation, row)));
}

export async function findApp(installation: Installation, name: string): Promise<KeptApp | undefined> {
  const { rows } = await installation.store.query<Row>('select * from oauth_apps where name = $1', [name]);
  return rows[0] && openApp(installation, rows[0]);
}

interface Row {
  readonly name: string;
  readonly ciphertext: Buffer;
  readonly wrapped_key: Buffer;
  readonly kek_id: string;
  readonly created_at: number;
  readonly updated_at: number;
  readonly audit_id: string;
}

async function openApp({ master }: Installation, row: Row): Promise<KeptApp> {
  const sealed = { ciphertext: row.ciphertext, wrappedKey: row.wrapped_key, kekId: row.kek_id };
  const app = JSON.parse((await open(master, sealed, aboutApp(row.name))).toString('utf8')) as OAuthApp;
  return {
    app,
    version: versionOf(row),
    created_at: new Date(row.created_at).toISOString(),
    updated_at: new Date(row.updated_at).toISOString(),
  };
}

/** Of the sealed bytes, which nobody can make: not of a column. */
const versionOf = ({ ciphertext }: Pick<Row, 'ciphertext'>): string => ciphertext.toString('base64url', 0, 12);

const aboutApp = (name: string): string => `oauth app ${name}`;

/** Whoever may describe an app need not know its secret: so it goes to no place that it was not given for. */
function keptSecret(known: OAuthApp | undefined, next: Omit<OAuthApp, 'client_secret'>): string | null {
  if (known === undefined) throw invalid('client_secret', 'expected the secret of the client, or null for a public client, which has none');
  const moved = (['token_url', 'revoke_url', 'device_url', 'client_id'] as const).find((field) => known[field] !== next[field]);
  if (known.client_secret !== null && moved !== undefined) throw invalid('client_secret', `${moved} is another one; give the secret again`);
  return known.client_secret;
}

function parseApp(name: string, request: OAuthAppRequest): Omit<OAuthApp, 'client_secret'> {
  const preset = request.provider === 'custom' ? NOTHING : PRESETS[request.provider];
  const value = <Field extends keyof Preset>(field: Field): Preset[Field] => (request[field] ?? preset[field]) as Preset[Field];
  if (!/^[\x21-\x7e]{1,500}$/.test(request.client_id)) throw invalid('client_id', 'expected 1 to 500 visible characters');
  if (typeof request.client_secret === 'string' && !/^[\x21-\x7e]{1,2000}$/.test(request.client_secret))
    throw invalid('client_secret', 'expected 1 to 2000 visible characters, without a line break');
  const { scopes = [] } = request;
  const wrong = scopes.findIndex((scope) => !/^[\x21\x23-\x5b\x5d-\x7e]{1,300}$/.test(scope));
  if (wrong >= 0) throw invalid(`scopes[${wrong}]`, 'expected a scope of 1 to 300 visible characters, one in each');
  const authorizeParams = value('authorize_params');
  const reserved = Object.keys(authorizeParams).find((each) => RESERVED.has(each));
  if (reserved !== undefined) throw invalid(`authorize_params.${reserved}`, 'it is not said here');
  const [authorizeUrl, deviceUrl] = [value('authorize_url'), value('device_url')];
  if (authorizeUrl === null && deviceUrl === null)
    throw invalid('authorize_url', 'expected the address where people sign in, or a device_url');
  if (value('token_url') === '') throw invalid('token_url', 'expected the address that gives tokens');
  const secret = value('secret');
  if (secret === '') throw invalid('secret', 'expected the name of the secret that it makes, such as EXAMPLE_OAUTH');
  if (secret.length > 60) throw invalid('secret', '60 characters are the most');
  const app = {
    name,
    provider: request.provider,
    client_id: request.client_id,
    authorize_url: authorizeUrl === null ? null : checkUrl('authorize_url', authorizeUrl),
    token_url: checkUrl('token_url', value('token_url')),
    device_url: deviceUrl === null ? null : checkUrl('device_url', deviceUrl),
    revoke_url: optionalUrl('revoke_url', value('revoke_url')),
    issuer: optionalUrl('issuer', value('issuer')),
    scopes: [...new Set(scopes)],
    scope_separator: value('scope_separator'),
    authorize_params: authorizeParams,
    hosts: value('hosts'),
    secret,
    inject: value('inject'),
  };
  try {
    checkName(secret);
    parseBinding(bindingOf(app));
  } catch (error) {
    if (error instanceof VaultError) throw new OAuthError('INVALID_OAUTH_APP', error.message.replace(/^name:/, 'secret:'));
    throw error;
  }
  return app;
}

/** Where the tokens of an app may go. */
export function bindingOf({ hosts, inject }: Pick<OAuthApp, 'hosts' | 'inject'>) {
  return {
    hosts,
    match_headers: ['authorization'],
    ...(inject === null ? {} : { inject: { header: 'authorization', format: inject } }),
  };
}

const optionalUrl = (field: string, text: string | null): string | null => (text === null ? null : checkUrl(field, text));

/** @throws OAuthError unless it is https, or http on this machine */
function checkUrl(field: string, text: string): string {
  if (text.length > 2000 || !isSafeUrl(text))
    throw invalid(
      field,
      'expected an address such as https://login.example.com/token, without a user, and with https unless it is of this machine',
    );
  return text;
}

/** https, or http to this machine; nothing that is read in two ways. */
export function isSafeUrl(text: string): boolean {
  if (!URL.canParse(text) || /[\s\\]|[^\x21-\x7e]/.test(text)) return false;
  const { protocol, hostname, username, password, hash } = new URL(text);
  if (username !== '' || password !== '' || hash !== '') return false;
  return protocol === 'https:' || (protocol === 'http:' && ['localhost', '127.0.0.1', '[::1]'].includes(hostname));
}

/** @throws OAuthError CONNECTION_NOT_FOUND */
export function checkConnectionId(id: string): string {
  if (!isUuid(id)) throw new OAuthError('CONNECTION_NOT_FOUND', `there is no connection ${JSON.stringify(id.slice(0, 100))}`);
  return id;
}

function invalid(field: string, message: string): OAuthError {
  return new OAuthError('INVALID_OAUTH_APP', `${field}: ${message}`);
}

function notFound(name: string): OAuthError {
  return new OAuthError('OAUTH_APP_NOT_FOUND', `there is no OAuth app ${JSON.stringify(name.slice(0, 100))}`);
}
