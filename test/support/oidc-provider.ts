/** A provider of OpenID Connect that does as it is told: it signs whatever a test wants to see refused. */
import { createHash, createHmac, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

type Claims = Readonly<Record<string, unknown>>;

export interface OidcProvider extends AsyncDisposable {
  readonly url: string;
  /** What was asked of it, oldest first. */
  readonly asked: { readonly path: string; readonly form: Readonly<Record<string, string>> }[];
  readonly given: string[];
  clientSecret: string;
  /** Who signs in. */
  claims: Claims;
  /** What becomes of the claims before they are signed. */
  change: (claims: Claims) => Claims;
  /** How they are signed. */
  signature: 'right' | 'none' | 'of another key' | 'of another key, named as ours' | 'HS256 with the secret' | 'cut off';
  /** In place of its own answer to the next request of this path. */
  answerNext(path: string, answer: (response: ServerResponse) => void): void;
  /** Opens what the browser was sent to, and signs in. @returns where the browser is sent back to */
  signIn(location: string): URL;
  /** What happens on the other device. */
  device: 'waits' | 'agrees' | 'denies';
}

export async function startOidcProvider(clientId: string): Promise<OidcProvider> {
  const ours = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const others = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const codes = new Map<
    string,
    { readonly nonce: string | null; readonly challenge: string; readonly redirect: string; readonly prompt: string | null }
  >();
  const overrides = new Map<string, (response: ServerResponse) => void>();
  const asked: OidcProvider['asked'] = [];
  const given: string[] = [];
  const make = (kind: string) => {
    const text = `${kind}-${randomBytes(24).toString('base64url')}`;
    given.push(text);
    return text;
  };

  const server = createServer((request, response) => {
    void serve(request, response).catch((error: Error) => response.destroy(error));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? '/', url);
    let body = '';
    for await (const part of request.setEncoding('utf8')) body += part;
    const form = Object.fromEntries(new URLSearchParams(body));
    asked.push({ path: pathname, form });
    const override = overrides.get(pathname);
    overrides.delete(pathname);
    if (override !== undefined) return override(response);
    switch (pathname) {
      case '/.well-known/openid-configuration':
        return send(response, 200, {
          issuer: url,
          authorization_endpoint: `${url}/authorize`,
          token_endpoint: `${url}/token`,
          jwks_uri: `${url}/keys`,
          device_authorization_endpoint: `${url}/device`,
          response_types_supported: ['code'],
          subject_types_supported: ['public'],
          // also what nobody should take
          id_token_signing_alg_values_supported: ['RS256', 'HS256', 'none'],
        });
      case '/keys':
        return send(response, 200, { keys: [{ ...ours.publicKey.export({ format: 'jwk' }), kid: 'ours', use: 'sig', alg: 'RS256' }] });
      case '/device':
        return send(response, 200, {
          device_code: make('device'),
          user_code: 'WDJB-MJHT',
          verification_uri: `${url}/activate`,
          verification_uri_complete: `${url}/activate?user_code=WDJB-MJHT`,
          expires_in: 600,
          interval: 1,
        });
      case '/token':
        return token(request, response, form);
      default:
        return send(response, 404, {});
    }
  }

  function token(request: IncomingMessage, response: ServerResponse, form: Readonly<Record<string, string>>): void {
    const basic = Buffer.from((request.headers.authorization ?? '').replace('Basic ', ''), 'base64').toString();
    // both are escaped as in a form: RFC 6749, 2.3.1
    if (basic.split(':').map(decodeURIComponent).join(':') !== `${clientId}:${provider.clientSecret}`)
      return send(response, 401, { error: 'invalid_client' });
    if (form['grant_type'] === 'urn:ietf:params:oauth:grant-type:device_code') {
      if (provider.device === 'waits') return send(response, 400, { error: 'authorization_pending' });
      if (provider.device === 'denies') return send(response, 400, { error: 'access_denied' });
      return tokens(response, {});
    }
    const known = codes.get(form['code'] ?? '');
    codes.delete(form['code'] ?? '');
    const proof = createHash('sha256')
      .update(form['code_verifier'] ?? '')
      .digest('base64url');
    if (known === undefined || known.challenge !== proof || known.redirect !== form['redirect_uri'])
      return send(response, 400, { error: 'invalid_grant' });
    return tokens(response, known.nonce === null ? {} : { nonce: known.nonce });
  }

  function tokens(response: ServerResponse, more: Claims): void {
    const now = Math.floor(Date.now() / 1000);
    const claims = provider.change({ iss: url, aud: clientId, iat: now, exp: now + 300, ...provider.claims, ...more });
    send(response, 200, { access_token: make('access'), token_type: 'Bearer', expires_in: 300, id_token: signed(claims) });
  }

  function signed(claims: Claims): string {
    const { signature } = provider;
    const kid = signature === 'of another key' ? 'other' : 'ours';
    const alg = signature === 'none' ? 'none' : signature === 'HS256 with the secret' ? 'HS256' : 'RS256';
    const text = [{ alg, kid }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
    if (signature === 'none' || signature === 'cut off') return `${text}.`;
    if (alg === 'HS256') return `${text}.${createHmac('sha256', provider.clientSecret).update(text).digest('base64url')}`;
    const key: KeyObject = signature === 'right' ? ours.privateKey : others.privateKey;
    return `${text}.${sign('sha256', Buffer.from(text), key).toString('base64url')}`;
  }

  const provider: OidcProvider = {
    url,
    asked,
    given,
    clientSecret: `secret-${randomBytes(16).toString('hex')}`,
    claims: { sub: 'subject-1', email: 'ann@example.com', email_verified: true, name: 'Ann Lee', preferred_username: 'ann.lee' },
    change: (claims) => claims,
    signature: 'right',
    device: 'waits',
    answerNext: (path, answer) => void overrides.set(path, answer),
    signIn(location) {
      const query = new URL(location).searchParams;
      const code = make('code');
      codes.set(code, {
        nonce: query.get('nonce'),
        challenge: query.get('code_challenge') ?? '',
        redirect: query.get('redirect_uri') ?? '',
        prompt: query.get('prompt'),
      });
      const back = new URL(query.get('redirect_uri') ?? '');
      back.searchParams.set('code', code);
      back.searchParams.set('state', query.get('state') ?? '');
      return back;
    },
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
