/**
 * What is put in the place of a placeholder: the value itself, a token that is made from it, or a signature.
 *
 * A token that cannot be made refuses the request. Minted tokens are searched for in answers like the values themselves.
 */
import { createHmac } from 'node:crypto';
import {
  type Binding,
  GOOGLE_TOKEN_URL,
  type HeldSecret,
  matchesHost,
  matchesPath,
  type ServiceAccount,
  serviceAccountAssertion,
  signAws,
  VALUE_MOST,
  type Values,
} from '../vault/index.ts';
import type { LiveLease } from './lease-book.ts';
import type { Refreshed, Refreshes, Token } from './refresh.ts';
import { type Found, type HeaderLines, inHeader, type OutgoingRequest, substitute } from './substitute.ts';
import { authorityText, RefusedError } from './target.ts';
import { askEndpoint } from './token-endpoint.ts';
import type { Upstreams } from './upstream.ts';

export interface Applied {
  readonly path: string;
  readonly headers: HeaderLines;
  readonly body: Buffer | undefined;
}

export interface Credentials {
  binding(secret: string): Binding;
  apply(outgoing: OutgoingRequest, found: readonly Found[], lease: LiveLease): Promise<Applied>;
  /** Placeholders that are exchanged in bodies for this target. */
  inBodies(outgoing: OutgoingRequest, lease: LiveLease): readonly string[];
  /** By placeholder, those that may stand in the messages of a WebSocket to this target. */
  forMessages(outgoing: OutgoingRequest, lease: LiveLease): Promise<ReadonlyMap<string, string>>;
  /** Secrets of the lease that this request gets without asking. */
  injected(outgoing: OutgoingRequest, lease: LiveLease): readonly string[];
  /**
   * The answer of a token endpoint whose secret the lease holds: a client that goes through the motions of OAuth gets its
   * placeholder as the token, and never a real one.
   */
  tokenAnswer(outgoing: OutgoingRequest, lease: LiveLease): { readonly secret: string; readonly body: Buffer } | undefined;
  /** Tokens in use now, for the scanner. */
  minted(): readonly { readonly name: string; readonly value: string }[];
  readonly revision: number;
}

export interface CredentialsOptions {
  readonly values: Values;
  readonly upstreams: () => Upstreams;
  readonly now: () => number;
  /** Exchanges a refresh token, and keeps the one that it is rotated to: see `refresh.ts`. */
  readonly refresh: Refreshes['refresh'];
  /** Each token is recorded before it is asked for. */
  readonly record: (secret: string, url: string, lease: LiveLease) => Promise<void>;
}

const RENEW_MS = 60_000;
/** A token that was replaced may still be echoed. */
const ECHO_MS = 3_600_000;

export function createCredentials(options: CredentialsOptions): Credentials {
  const { values } = options;
  const tokens = new Map<string, { readonly version: string; readonly minting: Promise<Refreshed> }>();
  let minted: { readonly name: string; readonly value: string; readonly until: number }[] = [];
  let revision = 0;

  /** The text that replaces the placeholder. */
  async function material(secret: HeldSecret, lease: LiveLease): Promise<string> {
    switch (secret.type) {
      case 'http':
      case 'pg_dsn':
        return secret.value;
      case 'oauth_token':
      case 'gcp_auth':
      case 'brokered_token':
        return (await currentToken(secret, lease)).text;
      case 'aws_sigv4':
      case 'hmac':
        throw new RefusedError(403, 'NOT_A_VALUE', `${secret.name} signs requests: it has no value that could be sent`);
      case 'webhook':
        throw new RefusedError(403, 'NOT_A_VALUE', `${secret.name} verifies webhooks: it is sent nowhere`);
    }
  }

  async function currentToken(secret: HeldSecret, lease: LiveLease): Promise<Token> {
    // by whichever process: a provider may end the one before when it gives another
    const kept = secret.type === 'brokered_token' ? keptToken(secret) : undefined;
    if (kept !== undefined) return kept;
    const known = tokens.get(secret.name);
    if (known?.version === secret.version) {
      const { token } = await known.minting;
      if (isGood(token)) return token;
    }
    // whoever asked while it was away may have made it
    if (tokens.get(secret.name) !== known) return currentToken(secret, lease);
    const entry = { version: secret.version, minting: mint(secret, lease) };
    tokens.set(secret.name, entry);
    try {
      const { token: made, version } = await entry.minting;
      if (tokens.get(secret.name) === entry) tokens.set(secret.name, { ...entry, version });
      minted = [
        ...minted.filter(({ until }) => until > options.now()),
        { name: secret.name, value: made.text, until: options.now() + ECHO_MS },
      ];
      revision += 1;
      return made;
    } catch (error) {
      // of another value, maybe, for which somebody has asked since
      if (tokens.get(secret.name) === entry) tokens.delete(secret.name);
      throw error;
    }
  }

  const isGood = ({ expiresAt }: Token): boolean => expiresAt - RENEW_MS > options.now();

  /** One that is in the value, as `nextValue` puts it there. */
  function keptToken(secret: HeldSecret): Token | undefined {
    const { access_token: access, access_token_ends_at: endsAt } = readParts(secret);
    const text = textOf(access);
    if (text === undefined || typeof endsAt !== 'number') return undefined;
    const token = { text, expiresAt: endsAt };
    return isGood(token) ? token : undefined;
  }

  async function mint(secret: HeldSecret, lease: LiveLease): Promise<Refreshed> {
    if (secret.type !== 'brokered_token') return { token: (await askToken(secret, lease)).token, version: secret.version };
    // of the secret as it is when it is this one's turn: what was read before may be another value, for another place
    return options.refresh(secret, {
      kept: keptToken,
      async ask(held, unless) {
        const { token, refreshToken } = await askToken(held, lease, unless);
        const spent = refreshToken !== undefined && refreshToken !== refreshTokenOf(held);
        return { token, value: nextValue(held, token, refreshToken), spent };
      },
    });
  }

  /** With the access token in it, for all processes. Undefined: the one before is still right. */
  function nextValue(held: HeldSecret, token: Token, rotated: string | undefined): string | undefined {
    const { access_token: _, access_token_ends_at: __, ...before } = readParts(held);
    const next = { ...before, refresh_token: rotated ?? refreshTokenOf(held) };
    const whole = JSON.stringify({ ...next, access_token: token.text, access_token_ends_at: token.expiresAt });
    // what comes from a source is changed there
    if (held.isSealed && isGood(token) && whole.length <= VALUE_MOST) return whole;
    return rotated === undefined ? undefined : JSON.stringify(next);
  }

  async function askToken(
    secret: HeldSecret,
    lease: LiveLease,
    unless?: AbortSignal,
  ): Promise<{ token: Token; refreshToken: string | undefined }> {
    const { url, form } = tokenRequest(secret, options.now());
    await options.record(secret.name, url, lease);
    const { status, fields: answer } = await askEndpoint(options.upstreams(), url, form, { unsent: unless });
    const text = answer.access_token ?? answer.id_token;
    if (status !== 200 || typeof text !== 'string' || text === '')
      throw new RefusedError(502, 'TOKEN_REFUSED', 'no token was given for a secret', {
        status,
        error: typeof answer.error === 'string' ? answer.error.slice(0, 100) : undefined,
      });
    const seconds = Number(answer.expires_in);
    return {
      token: { text, expiresAt: options.now() + (seconds > 0 ? seconds : 300) * 1000 },
      refreshToken: typeof answer.refresh_token === 'string' ? answer.refresh_token : undefined,
    };
  }

  function injected(outgoing: OutgoingRequest, lease: LiveLease): string[] {
    return [...new Set(lease.placeholders.values())].filter((name) => {
      const binding = bindingOf(name);
      return binding?.inject !== undefined && covers(binding, outgoing);
    });
  }

  function inBodies(outgoing: OutgoingRequest, lease: LiveLease): string[] {
    return [...lease.placeholders].flatMap(([placeholder, name]) => {
      const binding = bindingOf(name);
      return binding?.places.body === true && covers(binding, outgoing) ? [placeholder] : [];
    });
  }

  function bindingOf(name: string): Binding | undefined {
    try {
      return values.describe(name).binding;
    } catch {
      // it was removed: its lease ends within the second
      return undefined;
    }
  }

  return {
    binding: (secret) => values.describe(secret).binding,
    injected,
    async apply(outgoing, found, lease) {
      const inputs = new Map<string, string>();
      const signers: [HeldSecret, Found][] = [];
      for (const each of found) {
        const secret = values.get(each.secret);
        if (secret.type === 'aws_sigv4' || secret.type === 'hmac') signers.push([secret, each]);
        else inputs.set(each.placeholder, await material(secret, lease));
      }
      const inBody = new Set(found.filter(({ place }) => place === 'body').map(({ placeholder }) => placeholder));
      let applied: Applied = substitute(outgoing, inputs, inBody);
      for (const name of injected(outgoing, lease)) {
        const secret = values.get(name);
        const { header, format } = secret.binding.inject as NonNullable<Binding['inject']>;
        const value = await material(secret, lease);
        applied = {
          ...applied,
          headers: [...applied.headers.filter(([each]) => each !== header), [header, inHeader(format.replaceAll('{value}', () => value))]],
        };
      }
      for (const [secret, each] of signers)
        applied =
          secret.type === 'hmac'
            ? signHmac(secret, each, applied, outgoing, options.now())
            : resignAws(secret, applied, outgoing, options.now());
      for (const [name, value] of applied.headers) {
        if (/[\r\n\0]/.test(value))
          throw new RefusedError(502, 'SECRET_UNFIT', `a secret has a line break in it and cannot be sent in ${name}`);
      }
      return applied;
    },
    inBodies,
    async forMessages(outgoing, lease) {
      const inputs = new Map<string, string>();
      for (const placeholder of inBodies(outgoing, lease))
        inputs.set(placeholder, await material(values.get(lease.placeholders.get(placeholder) as string), lease));
      return inputs;
    },
    tokenAnswer(outgoing, lease) {
      for (const [placeholder, name] of lease.placeholders) {
        const url = tokenUrl(name);
        if (url === undefined) continue;
        const parsed = new URL(url);
        const port = parsed.port === '' ? (parsed.protocol === 'https:' ? 443 : 80) : Number(parsed.port);
        if (
          outgoing.method !== 'POST' ||
          parsed.hostname !== outgoing.target.host ||
          port !== outgoing.target.port ||
          parsed.pathname !== outgoing.path.path
        )
          continue;
        return { secret: name, body: Buffer.from(JSON.stringify({ access_token: placeholder, token_type: 'Bearer', expires_in: 3600 })) };
      }
      return undefined;
    },
    minted: () => minted,
    get revision() {
      return revision;
    },
  };

  function tokenUrl(name: string): string | undefined {
    try {
      const { type, options: given } = values.describe(name);
      if (type === 'gcp_auth') return textOf(given['token_url']) ?? GOOGLE_TOKEN_URL;
      return type === 'oauth_token' || type === 'brokered_token' ? textOf(given['token_url']) : undefined;
    } catch {
      return undefined;
    }
  }
}

function covers(binding: Binding, { target, method, path }: OutgoingRequest): boolean {
  return (
    binding.hosts.some((host) => matchesHost(host, target)) &&
    (binding.methods.length === 0 || binding.methods.includes(method)) &&
    (binding.paths.length === 0 || binding.paths.some((pattern) => matchesPath(pattern, path.path)))
  );
}

/** The four grants, and Google's service accounts, which are the fourth of them. */
function tokenRequest(secret: HeldSecret, nowMs: number): { readonly url: string; readonly form: Record<string, string> } {
  const parts = readParts(secret);
  const option = (name: string) => {
    return textOf(parts[name]) ?? textOf(secret.options[name]);
  };
  const needed = (name: string) => {
    const value = option(name);
    if (value === undefined) throw new RefusedError(503, 'SECRET_UNAVAILABLE', `${secret.name} has no ${name}`);
    return value;
  };
  const given = (...names: string[]) =>
    Object.fromEntries(names.flatMap((name) => (option(name) === undefined ? [] : [[name, option(name) as string]])));
  if (secret.type === 'gcp_auth') {
    const account = {
      ...(parts as unknown as ServiceAccount),
      token_uri: textOf(secret.options['token_url']) ?? textOf(parts['token_uri']) ?? GOOGLE_TOKEN_URL,
    };
    const audience = option('audience');
    const scopes = secret.options['scopes'];
    const claims =
      audience === undefined
        ? { scope: Array.isArray(scopes) ? scopes.join(' ') : (textOf(scopes) ?? 'https://www.googleapis.com/auth/cloud-platform') }
        : { target_audience: audience };
    return {
      url: account.token_uri,
      form: { grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion: serviceAccountAssertion(account, claims, nowMs) },
    };
  }
  const url = needed('token_url');
  const grant = secret.type === 'brokered_token' ? 'refresh_token' : (option('grant') ?? 'client_credentials');
  switch (grant) {
    case 'client_credentials':
      return {
        url,
        form: {
          grant_type: grant,
          client_id: needed('client_id'),
          client_secret: option('client_secret') ?? secret.value,
          ...given('scope', 'audience', 'resource'),
        },
      };
    case 'refresh_token':
      return {
        url,
        form: {
          grant_type: grant,
          refresh_token: option('refresh_token') ?? secret.value,
          ...given('client_id', 'client_secret', 'scope'),
        },
      };
    case 'password':
      return {
        url,
        form: {
          grant_type: grant,
          username: needed('username'),
          password: option('password') ?? secret.value,
          ...given('client_id', 'client_secret', 'scope'),
        },
      };
    case 'jwt_bearer': {
      const account = {
        client_email: option('issuer') ?? needed('client_email'),
        private_key: needed('private_key'),
        token_uri: option('audience') ?? url,
      } as ServiceAccount;
      const assertion = serviceAccountAssertion(account, given('scope', 'sub'), nowMs);
      return { url, form: { grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion } };
    }
    default:
      throw new RefusedError(
        503,
        'SECRET_UNAVAILABLE',
        `${secret.name}: the grant ${grant} is not one of client_credentials, refresh_token, password, jwt_bearer`,
      );
  }
}

/** As it is sent to the provider. */
function refreshTokenOf(secret: HeldSecret): string {
  return textOf(readParts(secret)['refresh_token']) ?? textOf(secret.options['refresh_token']) ?? secret.value;
}

/** A value that is a JSON object has parts; any other is one part. */
function readParts(secret: HeldSecret): Record<string, unknown> {
  if (!secret.value.startsWith('{')) return {};
  try {
    return JSON.parse(secret.value) as Record<string, unknown>;
  } catch {
    return {};
  }
}

/** The client signed with its placeholder as the key id: the same scope, signed with the real key. */
function resignAws(secret: HeldSecret, applied: Applied, outgoing: OutgoingRequest, nowMs: number): Applied {
  const authorization = applied.headers.find(([name]) => name === 'authorization')?.[1] ?? '';
  const scope = /^AWS4-HMAC-SHA256 +Credential=[^/]+\/\d{8}\/([a-z0-9-]+)\/([a-z0-9-]+)\/aws4_request,.*SignedHeaders=([a-z0-9;-]+)/i.exec(
    authorization,
  );
  if (scope === null)
    throw new RefusedError(403, 'NOT_SIGNED', `${secret.name} signs requests of AWS: this one is not signed with its placeholder`);
  const [, region = '', service = '', names = ''] = scope;
  for (const [field, value] of [
    ['regions', region],
    ['services', service],
  ] as const) {
    const allowed = secret.options[field];
    const list = allowed === undefined ? undefined : Array.isArray(allowed) ? allowed : (textOf(allowed) ?? '').split(/[\s,]+/);
    if (list?.includes(value) === false)
      throw new RefusedError(403, 'SCOPE_DENIED', `${secret.name} is not for ${field.slice(0, -1)} ${value}`);
  }
  const parts = readParts(secret);
  const text = (...keys: string[]) => keys.map((key) => textOf(parts[key])).find((value) => value !== undefined);
  const accessKeyId = text('access_key_id', 'AccessKeyId', 'aws_access_key_id');
  const secretAccessKey = text('secret_access_key', 'SecretAccessKey', 'aws_secret_access_key');
  if (accessKeyId === undefined || secretAccessKey === undefined)
    throw new RefusedError(503, 'SECRET_UNAVAILABLE', `${secret.name} is no JSON with access_key_id and secret_access_key`);
  const signed = new Set(names.split(';'));
  const headers = Object.fromEntries(
    applied.headers.filter(
      ([name]) =>
        signed.has(name) && name !== 'host' && name !== 'x-amz-date' && name !== 'x-amz-security-token' && name !== 'x-amz-content-sha256',
    ),
  );
  const made = signAws({
    method: outgoing.method,
    url: new URL(`${outgoing.target.scheme}://${authorityText(outgoing.target)}${applied.path}`),
    headers,
    body: applied.body,
    region,
    service,
    credentials: { accessKeyId, secretAccessKey, sessionToken: text('session_token', 'SessionToken') },
    now: new Date(nowMs),
  });
  const replaced = new Set([...Object.keys(made), 'x-amz-security-token', 'x-amz-content-sha256']);
  return {
    ...applied,
    headers: [...applied.headers.filter(([name]) => !replaced.has(name)), ...Object.entries(made).filter(([name]) => name !== 'host')],
  };
}

/** The header that holds the placeholder gets a signature over the request. */
function signHmac(secret: HeldSecret, found: Found, applied: Applied, outgoing: OutgoingRequest, nowMs: number): Applied {
  if (!found.place.startsWith('header '))
    throw new RefusedError(403, 'NOT_A_VALUE', `${secret.name} signs requests: its placeholder stands for a signature, in a header`);
  if (applied.body === undefined) throw new RefusedError(413, 'BODY_TOO_LONG', 'a body that is signed must fit into memory');
  const header = found.place.slice('header '.length);
  const option = (name: string, otherwise: string) => textOf(secret.options[name]) ?? otherwise;
  const timestamp = String(option('timestamp_unit', 's') === 'ms' ? Math.floor(nowMs) : Math.floor(nowMs / 1000));
  const algorithm = option('algorithm', 'sha256');
  if (!['sha1', 'sha256', 'sha512'].includes(algorithm))
    throw new RefusedError(503, 'SECRET_UNAVAILABLE', `${secret.name}: the algorithm ${algorithm} is not one of sha1, sha256, sha512`);
  const fields: Record<string, string> = {
    timestamp,
    method: outgoing.method,
    path: applied.path,
    host: authorityText(outgoing.target),
    body: applied.body.toString('latin1'),
  };
  const signed = option('template', '{body}').replaceAll(
    /\{(timestamp|method|path|host|body)\}/g,
    (_, name: string) => fields[name] as string,
  );
  const digest = createHmac(algorithm, secret.value)
    .update(Buffer.from(signed, 'latin1'))
    .digest(option('encoding', 'hex') === 'base64' ? 'base64' : 'hex');
  const value = option('format', '{signature}')
    .replaceAll('{signature}', () => digest)
    .replaceAll('{timestamp}', () => timestamp);
  const stamp = textOf(secret.options['timestamp_header'])?.toLowerCase();
  const kept = applied.headers.filter(([name]) => name !== header && name !== stamp);
  return {
    ...applied,
    headers: [...kept, [header, value], ...(stamp === undefined ? [] : ([[stamp, timestamp]] as const))],
  };
}

/** What an operator wrote as an option: a text, or a number that is one. */
function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined;
}
