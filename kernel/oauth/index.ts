/**
 * OAuth: accounts at other services, connected by a person once and used without their password or token being seen since.
 *
 * It promises that an answer counts only if it belongs to an attempt that was begun here, by the same app, a few minutes ago, and
 * once; that tokens are sealed in the transaction that says that the account is connected; that they go to the hosts of the app and
 * nowhere else; that a user's own account is granted to that user alone; and that revoking takes effect here whatever the provider
 * says. No code, state, verifier or token is in a log, an entry or an error, and of a provider's words only those that the standards
 * know. It asks providers under the firewall's rules for addresses, follows no redirect, and reads a bounded answer.
 *
 * Tokens are refreshed by the firewall, as those of every `brokered_token`. Read `types.ts` for the shapes, `attempts.ts` for the two
 * flows, `connections.ts` for what is kept, `apps.ts` for what an app may say.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { StoreLogEntry } from '../store/index.ts';
import type { Installation } from '../vault/index.ts';
import { checkConnectionId, isSafeUrl, type KeptApp, listApps, putApp, removeApp } from './apps.ts';
import { createAsk, takeBack } from './ask.ts';
import { type Callback, finishCode, type Parts, pollDevices, startConnection } from './attempts.ts';
import { failConnection, getConnection, listConnections, removeConnection } from './connections.ts';
import { OAuthError } from './errors.ts';
import type {
  CallbackResult,
  ConnectionView,
  ConnectRequest,
  OAuthApp,
  OAuthAppRequest,
  OAuthAppView,
  RevokedConnection,
  StartedConnection,
} from './types.ts';

export { OAUTH_ERRORS, OAuthError, type OAuthErrorCode } from './errors.ts';
export { PROVIDERS } from './providers.ts';
export type * from './types.ts';

export interface OAuthOptions {
  readonly installation: Installation;
  /** Where people's browsers reach the API: asked for when it is needed. */
  readonly publicUrl: () => string;
  readonly log?: (entry: StoreLogEntry) => void;
  /** For tests of name resolution. */
  readonly resolver?: (host: string) => Promise<readonly string[]>;
}

export interface OAuth {
  putApp(actor: string, name: string, request: OAuthAppRequest): Promise<OAuthAppView>;
  listApps(): Promise<readonly OAuthAppView[]>;
  removeApp(actor: string, name: string): Promise<void>;
  /** @throws OAuthError */
  connect(actor: string, request: ConnectRequest): Promise<StartedConnection>;
  /** What a browser brings from the provider. Never throws for what it brings. */
  callback(callback: Callback): Promise<CallbackResult>;
  listConnections(): Promise<readonly ConnectionView[]>;
  getConnection(id: string): Promise<ConnectionView>;
  /** Of an attempt that is under way: ends it. */
  revoke(actor: string, id: string): Promise<RevokedConnection>;
  /** After nobody calls it any more. Waits for what is under way, up to ten seconds. */
  close(): Promise<void>;
}

const CALLBACK = '/oauth/callback';
/** Between two looks at what people are asked on their devices, at least. */
const POLL_MS_LEAST = 200;
/** Between two looks for attempts of processes that have died. */
const LOOK_MS = 60_000;
/** How long what is under way may go on when this is closed; then it is ended, and may say so for as long. */
const GRACE_MS = 5000;

export async function createOAuth({ installation, publicUrl, log = () => {}, resolver }: OAuthOptions): Promise<OAuth> {
  const { store } = installation;
  const ending = new AbortController();
  const closing = ending.signal;
  const parts: Parts = { installation, ask: createAsk({ store, resolver, signal: closing }), redirectUri, closing };
  /** What may hold tokens that nobody else has, or is about to. */
  const underWay = new Set<Promise<unknown>>();
  let timer: NodeJS.Timeout | undefined;
  let polling: Promise<void> | undefined;
  /** One was begun while the others were asked for. */
  let again = false;
  let closed = false;

  function track<T>(work: Promise<T>): Promise<T> {
    const done = work.catch(() => {}).finally(() => underWay.delete(done));
    underWay.add(done);
    return work;
  }

  function redirectUri(app: string): string {
    const base = publicUrl().replace(/\/+$/, '');
    if (!isSafeUrl(base) || new URL(base).search !== '')
      throw new OAuthError(
        'PUBLIC_URL_UNFIT',
        'CENTAUR_PUBLIC_URL: expected the address at which browsers reach the API: with https, unless it is of this machine',
      );
    return `${base}${CALLBACK}/${app}`;
  }

  /** Goes on by itself: soon while an attempt is under way, and now and then for those that another process began and did not end. */
  function poll(): void {
    if (polling !== undefined) again = true;
    if (closed || polling !== undefined) return;
    clearTimeout(timer);
    polling = track(pollDevices(parts))
      .catch((error: Error) => {
        log({ level: 'warn', message: 'asking for the tokens of devices failed; trying again', error: error.message });
        return 5000;
      })
      .then((ms) => {
        polling = undefined;
        const wait = again ? 0 : Math.min(ms ?? LOOK_MS, LOOK_MS);
        again = false;
        if (closed) return;
        timer = setTimeout(poll, Math.max(wait, POLL_MS_LEAST));
        timer.unref();
      });
  }

  /** Of an app that can be used without a browser, none is better than no app. */
  function redirectUriOf({ name, authorize_url }: Pick<OAuthApp, 'name' | 'authorize_url'>): string | null {
    try {
      return authorize_url === null ? null : redirectUri(name);
    } catch (error) {
      if (error instanceof OAuthError) return null;
      throw error;
    }
  }

  const toView = ({ app: { client_secret: secret, ...shown }, created_at, updated_at }: KeptApp): OAuthAppView => ({
    ...shown,
    has_client_secret: secret !== null,
    redirect_uri: redirectUriOf(shown),
    created_at,
    updated_at,
  });

  poll();
  return {
    putApp: async (actor, name, request) =>
      toView(
        await putApp(installation, actor, name, request, ({ authorize_url, device_url }) => {
          if (authorize_url !== null && device_url === null) redirectUri(name);
        }),
      ),
    listApps: async () => (await listApps(installation)).map(toView),
    removeApp: (actor, name) => removeApp(installation, actor, name),
    async connect(actor, request) {
      const started = await startConnection(parts, actor, request);
      if (started.flow === 'device') poll();
      return started;
    },
    callback: (callback) => track(finishCode(parts, callback)),
    listConnections: () => listConnections(store),
    getConnection: (id) => getConnection(store, checkConnectionId(id)),
    revoke: (actor, id) => track(revoke(actor, id)),
    async close() {
      closed = true;
      clearTimeout(timer);
      await settle(GRACE_MS);
      // what hangs fails as an attempt does, and says so while there is a database to say it to
      ending.abort(new Error('this process is stopping'));
      await settle(GRACE_MS);
    },
  };

  async function settle(ms: number): Promise<void> {
    const late = new AbortController();
    await Promise.race([Promise.all(underWay), delay(ms, undefined, { signal: late.signal }).catch(() => {})]);
    late.abort();
  }

  async function revoke(actor: string, id: string): Promise<RevokedConnection> {
    checkConnectionId(id);
    if (await failConnection(installation, id, actor, 'CANCELLED')) return { connection_id: id, revoked: true, at_provider: 'none' };
    const taken = await removeConnection(installation, id, actor);
    const at_provider = taken === undefined ? 'none' : await takeBack(parts.ask, taken);
    await installation.audit.write({
      action: 'oauth.revoked',
      actor,
      resource: `connection:${id}`,
      details: { at_provider },
    });
    return { connection_id: id, revoked: true, at_provider };
  }
}
