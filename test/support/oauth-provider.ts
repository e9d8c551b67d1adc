/**
 * An OAuth 2.1 provider that takes nothing on trust: it wants PKCE with S256, redirect URIs that are registered to the letter, codes and
 * refresh tokens that are used once (a second use takes the whole family back), and devices that wait as long as they were told.
 */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface ProviderClient {
  readonly id: string;
  /** Null: a public one. */
  readonly secret: string | null;
  readonly redirectUris: readonly string[];
}

export interface OAuthProvider extends AsyncDisposable {
  readonly url: string;
  /** What was asked of it, oldest first. */
  readonly asked: { readonly path: string; readonly form: Readonly<Record<string, string>> }[];
  /** Every code, token and device code that it gave. */
  readonly given: string[];
  clients: ProviderClient[];
  /** Who signs in. */
  account: string;
  /** What people do when they are asked. */
  consent: 'agree' | 'deny';
  /** Sent as `iss`. */
  issuer: string | undefined;
  /** Without it, access tokens alone. */
  refresh: boolean;
  tokenSeconds: number;
  deviceInterval: number;
  /** In place of its own answer to the next request of this path. */
  answerNext(path: string, answer: (response: ServerResponse, form: Readonly<Record<string, string>>) => void): void;
  /** Signs in at an authorize URL. @returns where the browser is sent back to; undefined when the provider shows an error */
  signIn(authorizeUrl: string): Promise<string | undefined>;
  /** Types a device's code. */
  decideDevice(userCode: string, decision: 'agree' | 'deny'): void;
  /** Whether anything of the account's is still good. */
  isConnected(account: string): boolean;
}

interface Family {
  readonly account: string;
  readonly client: string;
  readonly scope: string;
  revoked: boolean;
}

interface Device {
  readonly client: string;
  readonly scope: string;
  readonly userCode: string;
  interval: number;
  askedAt: number;
  decision: 'agree' | 'deny' | undefined;
}

class Refusal extends Error {}

export async function startOAuthProvider(): Promise<OAuthProvider> {
  const codes = new Map<string, { family: Family; redirectUri: string; challenge: string; used: boolean }>();
  const refreshTokens = new Map<string, { family: Family; used: boolean }>();
  const accessTokens = new Map<string, { family: Family; endsAt: number }>();
  const devices = new Map<string, Device>();
  const overrides = new Map<string, (response: ServerResponse, form: Readonly<Record<string, string>>) => void>();
  const asked: OAuthProvider['asked'] = [];
  const given: string[] = [];
  const make = (kind: string) => {
    const text = `${kind}-${randomBytes(24).toString('base64url')}`;
    given.push(text);
    return text;
  };

  const server = createServer((request, response) => {
    void serve(request, response).catch((error: Error) => {
      if (error instanceof Refusal) send(response, 400, { error: error.message, error_description: 'the value that was sent is secret' });
      else response.destroy(error);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', provider.url);
    let body = '';
    for await (const part of request.setEncoding('utf8')) body += part;
    const form = Object.fromEntries(request.method === 'POST' ? new URLSearchParams(body) : url.searchParams);
    asked.push({ path: url.pathname, form });
    const override = overrides.get(url.pathname);
    overrides.delete(url.pathname);
    if (override !== undefined) return override(response, form);
    switch (`${request.method} ${url.pathname}`) {
      case 'GET /authorize':
        return authorize(response, form);
      case 'POST /token':
        return send(response, 200, token(form));
      case 'POST /device':
        return send(response, 200, device(form));
      case 'POST /revoke':
        return revoke(response, form);
      case 'GET /api/me': {
        const known = accessTokens.get((request.headers.authorization ?? '').replace('Bearer ', ''));
        const isGood = known !== undefined && !known.family.revoked && known.endsAt > Date.now();
        return send(
          response,
          isGood ? 200 : 401,
          isGood ? { account: known.family.account, scope: known.family.scope } : { error: 'unauthorized' },
        );
      }
      default:
        return send(response, 404, {});
    }
  }

  function authorize(response: ServerResponse, form: Readonly<Record<string, string>>): void {
    const client = provider.clients.find(({ id }) => id === form['client_id']);
    const { redirect_uri: redirectUri = '', state = '', code_challenge: challenge = '' } = form;
    // nobody is sent to an address that is not registered
    if (client === undefined || !client.redirectUris.includes(redirectUri)) return send(response, 400, { error: 'invalid_request' });
    const back = new URL(redirectUri);
    if (state !== '') back.searchParams.set('state', state);
    if (provider.issuer !== undefined) back.searchParams.set('iss', provider.issuer);
    if (form['response_type'] !== 'code' || form['code_challenge_method'] !== 'S256' || !/^[A-Za-z0-9_-]{43}$/.test(challenge))
      back.searchParams.set('error', 'invalid_request');
    else if (provider.consent === 'deny') back.searchParams.set('error', 'access_denied');
    else {
      const code = make('code');
      const family = { account: provider.account, client: client.id, scope: form['scope'] ?? '', revoked: false };
      codes.set(code, { family, redirectUri, challenge, used: false });
      back.searchParams.set('code', code);
    }
    response.writeHead(302, { location: back.href }).end();
  }

  function clientOf(form: Readonly<Record<string, string>>): ProviderClient {
    const client = provider.clients.find(({ id }) => id === form['client_id']);
    if (client === undefined || (client.secret ?? undefined) !== form['client_secret']) throw new Refusal('invalid_client');
    return client;
  }

  function token(form: Readonly<Record<string, string>>): object {
    const client = clientOf(form);
    switch (form['grant_type']) {
      case 'authorization_code': {
        const known = codes.get(form['code'] ?? '');
        if (known === undefined || known.family.client !== client.id) throw new Refusal('invalid_grant');
        if (known.used) known.family.revoked = true;
        const proof = createHash('sha256')
          .update(form['code_verifier'] ?? '')
          .digest('base64url');
        if (known.used || known.redirectUri !== form['redirect_uri'] || known.challenge !== proof) throw new Refusal('invalid_grant');
        known.used = true;
        return tokens(known.family);
      }
      case 'refresh_token': {
        const known = refreshTokens.get(form['refresh_token'] ?? '');
        if (known === undefined || known.family.client !== client.id) throw new Refusal('invalid_grant');
        if (known.used) known.family.revoked = true;
        if (known.family.revoked) throw new Refusal('invalid_grant');
        known.used = true;
        return tokens(known.family);
      }
      case 'urn:ietf:params:oauth:grant-type:device_code': {
        const known = devices.get(form['device_code'] ?? '');
        if (known === undefined || known.client !== client.id) throw new Refusal('expired_token');
        const early = Date.now() - known.askedAt < known.interval * 1000 - 100;
        known.askedAt = Date.now();
        if (early) {
          known.interval += 5;
          throw new Refusal('slow_down');
        }
        if (known.decision === undefined) throw new Refusal('authorization_pending');
        devices.delete(form['device_code'] ?? '');
        if (known.decision === 'deny') throw new Refusal('access_denied');
        return tokens({ account: provider.account, client: client.id, scope: known.scope, revoked: false });
      }
      default:
        throw new Refusal('unsupported_grant_type');
    }
  }

  function tokens(family: Family): object {
    const access = make('access');
    accessTokens.set(access, { family, endsAt: Date.now() + provider.tokenSeconds * 1000 });
    const answer = { access_token: access, token_type: 'Bearer', expires_in: provider.tokenSeconds, scope: family.scope };
    if (!provider.refresh) return answer;
    const refresh = make('refresh');
    refreshTokens.set(refresh, { family, used: false });
    return { ...answer, refresh_token: refresh };
  }

  function device(form: Readonly<Record<string, string>>): object {
    const client = clientOf(form);
    const code = make('device');
    const userCode = randomBytes(4).toString('hex').toUpperCase();
    const { deviceInterval: interval } = provider;
    devices.set(code, { client: client.id, scope: form['scope'] ?? '', userCode, interval, askedAt: Date.now(), decision: undefined });
    return { device_code: code, user_code: userCode, verification_uri: `${provider.url}/activate`, expires_in: 600, interval };
  }

  /** RFC 7009: whatever is not known is no error. */
  function revoke(response: ServerResponse, form: Readonly<Record<string, string>>): void {
    clientOf(form);
    const family = refreshTokens.get(form['token'] ?? '')?.family ?? accessTokens.get(form['token'] ?? '')?.family;
    if (family !== undefined) family.revoked = true;
    response.writeHead(200).end();
  }

  const provider: OAuthProvider = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    given,
    clients: [],
    account: 'ana',
    consent: 'agree',
    issuer: undefined,
    refresh: true,
    tokenSeconds: 3600,
    deviceInterval: 1,
    answerNext: (path, answer) => void overrides.set(path, answer),
    async signIn(authorizeUrl) {
      const { status, headers } = await fetch(authorizeUrl, { redirect: 'manual' });
      return status === 302 ? (headers.get('location') ?? undefined) : undefined;
    },
    decideDevice(userCode, decision) {
      for (const each of devices.values()) if (each.userCode === userCode) each.decision = decision;
    },
    isConnected: (account) =>
      [...refreshTokens.values(), ...accessTokens.values()].some(({ family }) => family.account === account && !family.revoked),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return provider;
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' }).end(JSON.stringify(body));
}
