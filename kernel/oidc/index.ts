/**
 * Signing in by a provider that speaks OpenID Connect: in the browser (code, PKCE, state, nonce), or by a code on another device (RFC 8628).
 *
 * It promises that an answer counts only for a sign-in that was begun here, some minutes ago, once, and in the same browser; that an ID token
 * counts only with the provider's signature on it, for this client, now, and with the nonce that was asked for; that the provider is asked
 * under the firewall's rules for addresses; and that nothing of its tokens is kept. Who that is here, is said by the users.
 *
 * The protocol is that of `openid-client`; what is kept between the two halves is in `attempts.ts`.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import * as client from 'openid-client';
import type { StoreLogEntry } from '../store/index.ts';
import type { BegunSession, SessionKind, Source, UserRole, Users } from '../users/index.ts';
import type { Installation } from '../vault/index.ts';
import { createAttempts } from './attempts.ts';
import { readClaims } from './claims.ts';
import { SignInError } from './errors.ts';
import { createProviderFetch } from './fetch.ts';

export { SIGN_IN_ERRORS, SignInError, type SignInErrorCode } from './errors.ts';

/** Whom the operator trusts to say who people are. */
export interface OidcSettings {
  readonly issuer: string;
  readonly clientId: string;
  /** Undefined: a public client, which PKCE alone protects. */
  readonly clientSecret: string | undefined;
  /** What the sign-in page calls it. */
  readonly label: string;
  /** Besides `openid`. */
  readonly scopes: readonly string[];
  readonly emailDomains: readonly string[] | undefined;
  /** What whoever is not known yet becomes; undefined: they must be invited. */
  readonly newcomers: UserRole | undefined;
  /** By which claim, and which of its values, roles are given at each sign-in; undefined: they are given here. */
  readonly roles: { readonly claim: string; readonly byValue: Readonly<Record<string, UserRole>> } | undefined;
}

export interface SignInOptions {
  readonly installation: Installation;
  readonly users: Users;
  readonly settings: OidcSettings;
  /** Where people's browsers reach the API. */
  readonly publicUrl: () => string;
  readonly log?: (entry: StoreLogEntry) => void;
  readonly now?: () => number;
  /** For tests of name resolution. */
  readonly resolver?: (host: string) => Promise<readonly string[]>;
}

export interface BegunCode {
  /** Where the browser goes. */
  readonly location: string;
  /** For a cookie of this browser: without it, what comes back is not its own. */
  readonly browser: string;
}

export interface BegunDevice {
  /** What this device asks with; shown once. */
  readonly handle: string;
  readonly userCode: string;
  readonly verificationUri: string;
  readonly verificationUriComplete: string | null;
  readonly expiresIn: number;
  readonly interval: number;
}

export type Polled = { readonly status: 'pending'; readonly interval: number } | { readonly status: 'done'; readonly begun: BegunSession };

export interface SignIn {
  readonly label: string;
  /** @param of.proof whether the provider must ask for the person's proof again */
  startCode(of: { readonly returnTo: string; readonly proof: 'any' | 'fresh'; readonly source: Source }): Promise<BegunCode>;
  /** What a browser brings from the provider. @throws SignInError, UserError */
  finishCode(of: {
    readonly query: URLSearchParams;
    readonly browser: string | undefined;
    readonly source: Source;
  }): Promise<{ readonly begun: BegunSession; readonly returnTo: string }>;
  /** @throws SignInError */
  startDevice(source: Source): Promise<BegunDevice>;
  /** @throws SignInError, UserError */
  pollDevice(handle: string, source: Source): Promise<Polled>;
  prune(): Promise<void>;
}

const CODE_SECONDS = 600;
const DEVICE_SECONDS_MOST = 1800;
const INTERVAL_MOST = 60;
/** How long what the provider says of itself is believed. */
const DISCOVERED_MS = 10 * 60_000;
/** Sign-ins that one address may begin in a quarter of an hour. */
const STARTS_MOST = 60;
const SKEW_MS = 60_000;
const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';

export function createSignIn(options: SignInOptions): SignIn {
  const { installation, users, settings, publicUrl, log = () => {}, now = () => installation.store.now() } = options;
  const attempts = createAttempts(installation, now);
  const providerFetch = createProviderFetch({ store: installation.store, resolver: options.resolver });
  const scope = ['openid', ...settings.scopes].join(' ');
  let discovered: { readonly until: number; readonly config: Promise<client.Configuration> } | undefined;

  function provider(): Promise<client.Configuration> {
    if (discovered !== undefined && discovered.until > now()) return discovered.config;
    const isLocal = new URL(settings.issuer).protocol === 'http:';
    const config = client.discovery(new URL(settings.issuer), settings.clientId, undefined, authentication(settings), {
      [client.customFetch]: providerFetch,
      // the token endpoint's word is not taken for a signature
      execute: [client.enableNonRepudiationChecks, ...(isLocal ? [client.allowInsecureRequests] : [])],
    });
    discovered = { until: now() + DISCOVERED_MS, config };
    config.catch(() => (discovered = undefined));
    return config;
  }

  /** Whatever is wrong with an answer is told to the log, by its code, and to nobody else. */
  async function asked<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof client.AuthorizationResponseError && error.error === 'access_denied')
        throw new SignInError('SIGN_IN_DENIED', 'access was denied at the provider');
      if (error instanceof client.ResponseBodyError && (error.error === 'access_denied' || error.error === 'expired_token'))
        throw new SignInError('SIGN_IN_DENIED', 'access was denied at the provider, or nobody gave it in time');
      const { code, name, cause } = error as Error & { readonly code?: string; readonly cause?: { readonly code?: string } };
      log({ level: 'warn', message: `the sign-in provider failed: ${what}`, code: code ?? name, cause: cause?.code ?? '' });
      throw new SignInError('PROVIDER_ANSWER', `the sign-in provider failed (${what}); the log says more`, { cause: error });
    }
  }

  async function begin(
    tokens: client.TokenEndpointResponse & client.TokenEndpointResponseHelpers,
    { kind, source, freshSince }: { readonly kind: SessionKind; readonly source: Source; readonly freshSince?: number },
  ): Promise<BegunSession> {
    const claims = tokens.claims();
    if (claims === undefined) throw new SignInError('PROVIDER_ANSWER', 'the sign-in provider gave no ID token');
    const provenAt = typeof claims.auth_time === 'number' ? claims.auth_time * 1000 : undefined;
    if (freshSince !== undefined && (provenAt === undefined || provenAt < freshSince - SKEW_MS))
      throw new SignInError('PROVIDER_ANSWER', 'the sign-in provider was asked to have you prove who you are, and has not');
    return users.signInByProvider({
      claims: readClaims(claims, settings),
      admission: { emailDomains: settings.emailDomains, newcomers: settings.newcomers },
      // a provider that does not say when, may have let in whoever sits at an unlocked browser: that proves nothing
      provenAt: provenAt ?? 0,
      kind,
      source,
    });
  }

  const redirectUri = () => `${publicUrl().replace(/\/+$/, '')}/auth/callback`;

  return {
    label: settings.label,
    async startCode({ returnTo, proof, source }) {
      await users.countTry('sign-ins', source.address, STARTS_MOST);
      const config = await asked('discovery', provider);
      const verifier = client.randomPKCECodeVerifier();
      const [state, nonce, browser] = [random(), random(), random()];
      const redirect = redirectUri();
      await attempts.keep({
        flow: 'code',
        handle: state,
        kept: { flow: 'code', verifier, nonce, browser: hashOf(browser).toString('base64url'), redirectUri: redirect, returnTo, proof },
        seconds: CODE_SECONDS,
      });
      const location = client.buildAuthorizationUrl(config, {
        redirect_uri: redirect,
        scope,
        state,
        nonce,
        code_challenge: await client.calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
        ...(proof === 'fresh' ? { prompt: 'login', max_age: '0' } : {}),
      });
      return { location: location.href, browser };
    },
    async finishCode({ query, browser, source }) {
      const state = query.get('state') ?? '';
      const attempt = await attempts.take(state);
      if (attempt === undefined) throw unknown();
      const { kept } = attempt;
      // whoever begins a sign-in and sends the rest of it to somebody else's browser would sign them in as himself
      if (browser === undefined || !timingSafeEqual(hashOf(browser), Buffer.from(kept.browser, 'base64url'))) throw unknown();
      const config = await asked('discovery', provider);
      const back = new URL(kept.redirectUri);
      back.search = query.toString();
      const tokens = await asked('its answer', () =>
        client.authorizationCodeGrant(config, back, {
          pkceCodeVerifier: kept.verifier,
          expectedState: state,
          expectedNonce: kept.nonce,
          idTokenExpected: true,
        }),
      );
      const freshSince = kept.proof === 'fresh' ? { freshSince: attempt.createdAt } : {};
      return { begun: await begin(tokens, { kind: 'browser', source, ...freshSince }), returnTo: kept.returnTo };
    },
    async startDevice(source) {
      await users.countTry('sign-ins', source.address, STARTS_MOST);
      const config = await asked('discovery', provider);
      const told = await asked('the device flow', () => client.initiateDeviceAuthorization(config, { scope }));
      const { user_code: userCode, verification_uri: uri, verification_uri_complete: complete } = told;
      if (!isShort(userCode) || !isPage(uri))
        throw new SignInError('PROVIDER_ANSWER', 'the sign-in provider gave no code that can be shown');
      const handle = random();
      const seconds = Math.min(Math.max(told.expires_in, 1), DEVICE_SECONDS_MOST);
      const interval = Math.min(Math.max(Math.ceil(told.interval ?? 5), 1), INTERVAL_MOST);
      await attempts.keep({ flow: 'device', handle, kept: { flow: 'device', deviceCode: told.device_code }, seconds, interval });
      return {
        handle,
        userCode,
        verificationUri: uri,
        verificationUriComplete: complete !== undefined && isPage(complete) ? complete : null,
        expiresIn: seconds,
        interval,
      };
    },
    async pollDevice(handle, source) {
      const attempt = await attempts.poll(handle);
      if (attempt === undefined) throw unknown();
      if (attempt.due === 'not yet') return { status: 'pending', interval: attempt.interval };
      const config = await asked('discovery', provider);
      let tokens: Awaited<ReturnType<typeof client.genericGrantRequest>>;
      try {
        tokens = await client.genericGrantRequest(config, DEVICE_GRANT, { device_code: attempt.kept.deviceCode });
      } catch (error) {
        const said = error instanceof client.ResponseBodyError ? error.error : undefined;
        if (said === 'authorization_pending') return { status: 'pending', interval: attempt.interval };
        if (said === 'slow_down') return { status: 'pending', interval: await attempts.slowDown(handle, attempt.interval + 5) };
        await attempts.drop(handle);
        return asked('the device flow', () => Promise.reject(error as Error));
      }
      await attempts.drop(handle);
      return { status: 'done', begun: await begin(tokens, { kind: 'cli', source }) };
    },
    prune: attempts.prune,
  };
}

/** As the provider says that it likes it; with its secret in the form where it says nothing else than that. */
function authentication({ clientSecret }: OidcSettings): client.ClientAuth {
  if (clientSecret === undefined) return client.None();
  const [basic, post] = [client.ClientSecretBasic(clientSecret), client.ClientSecretPost(clientSecret)];
  return (as, ...rest) => {
    const methods = as.token_endpoint_auth_methods_supported;
    const usesPost = methods !== undefined && !methods.includes('client_secret_basic') && methods.includes('client_secret_post');
    return (usesPost ? post : basic)(as, ...rest);
  };
}

const random = (): string => randomBytes(32).toString('base64url');

const hashOf = (text: string): Buffer => createHash('sha256').update(text).digest();

const isShort = (text: string): boolean => /^[\x21-\x7e]{1,64}$/.test(text);

/** It is shown to people, who open it. */
const isPage = (text: string): boolean => text.length <= 2000 && /^https?:\/\/[\x21-\x7e]+$/.test(text) && URL.canParse(text);

function unknown(): SignInError {
  return new SignInError('SIGN_IN_UNKNOWN', 'this sign-in was used before, is too old, or was not begun here: begin again');
}
