/** The door to a database whose address is a secret: its placeholder is the password. */
import net from 'node:net';
import tls from 'node:tls';
import type pg from 'pg';
import { canonicalHost, type HeldSecret, type Target, type Values } from '../vault/index.ts';
import type { Parts } from './exchange.ts';
import { sessionOptions } from './lease-roles.ts';
import type { Admission, Door } from './postgres-door.ts';
import type { OutgoingRequest } from './substitute.ts';
import { causesOf } from './records.ts';
import { RefusedError } from './target.ts';

const SSL_MODES = new Set(['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full']);

export interface Dsn {
  readonly target: Target;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  /** False: in clear. */
  readonly tls: tls.ConnectionOptions | false;
}

/** @throws RefusedError 407 for a password that is no placeholder, 403 for one of something else */
export async function openSecretDoor(parts: Parts, values: Values, placeholder: string, peer: string): Promise<Door> {
  const lease = await parts.leases.byPlaceholder([placeholder], peer);
  const name = lease?.placeholders.get(placeholder);
  if (lease === undefined || name === undefined)
    throw new RefusedError(407, 'LEASE_REQUIRED', 'the password is not the placeholder of a lease');
  const described = values.describe(name);
  if (described.type !== 'pg_dsn') throw new RefusedError(403, 'PLACEHOLDER_NOT_BOUND', `${name} is no database`);
  const secret = values.get(name);
  const dsn = readDsn(secret, parts.rules().caPems);
  const channel = { via: 'postgres', peer, target: dsn.target, lease } as const;
  return { channel, admit: (isGone) => admit(parts, channel, secret, dsn, isGone) };
}

async function admit(parts: Parts, channel: Door['channel'], secret: HeldSecret, dsn: Dsn, isGone: () => boolean): Promise<Admission> {
  const { lease, target } = channel;
  if (!secret.binding.hosts.some(({ host, port }) => host === target.host && port === target.port))
    throw new RefusedError(403, 'PLACEHOLDER_NOT_BOUND', `${secret.name} is not bound to the host of its own DSN`, { secret: secret.name });
  if (!parts.rules().isPortOpen(target))
    throw new RefusedError(403, 'PORT_DENIED', `the configuration does not open port ${target.port}`, { secret: secret.name });
  await parts.leases.checkTurn(lease);
  const path = `/${dsn.database}`;
  const outgoing: OutgoingRequest = {
    method: 'CONNECT',
    target,
    path: { raw: path, path, query: '' },
    headers: [],
    body: Buffer.alloc(0),
  };
  const found = [{ secret: secret.name, placeholder: '', place: 'password' }];
  const causes = async () => causesOf(lease, await parts.leases.callsOf(lease, 'nothing'));
  const verdict = await parts.gate.decide({ channel, outgoing, found, bytes: 0, isGone, causes });
  if (verdict.approval !== undefined) await parts.leases.checkNow(lease);
  const address = await parts.upstreams().resolve(target);
  const grant = secret.options['role'];
  if (typeof grant !== 'string' || grant === '')
    throw new RefusedError(503, 'SECRET_UNAVAILABLE', `${secret.name}: the option "role" names the role whose rights are given`);
  const server = clientSettings(dsn, address);
  return {
    id: `${secret.name} ${secret.version}`,
    grant,
    owner: { ...server, user: dsn.user, password: dsn.password },
    session: ({ user, password }) => ({ ...server, user, password, options: sessionOptions(grant) }),
    resource: `postgres://${target.host}:${target.port}/${dsn.database}`,
    details: {
      secrets: [{ secret: secret.name, place: 'password' }],
      role: grant,
      rule: verdict.rule,
      policy: verdict.policy,
      request: verdict.request,
    },
  };
}

/** To the address that was checked; the name stays what TLS verifies. */
export function clientSettings(dsn: Dsn, address: string): pg.ClientConfig {
  return {
    host: address,
    port: dsn.target.port,
    database: dsn.database,
    ssl: dsn.tls,
    connectionTimeoutMillis: 10_000,
    application_name: 'centaur firewall',
  };
}

/** @throws RefusedError for what is no address of a database */
export function readDsn(secret: Pick<HeldSecret, 'name' | 'value'>, caPems: readonly string[]): Dsn {
  const url = URL.canParse(secret.value) ? new URL(secret.value) : undefined;
  const host = canonicalHost(decodeURIComponent(url?.hostname ?? ''));
  if (url === undefined || !/^postgres(ql)?:$/.test(url.protocol) || host === undefined)
    throw new RefusedError(503, 'SECRET_UNAVAILABLE', `${secret.name} is no postgres:// address`);
  return {
    target: { scheme: 'https', host, port: url.port === '' ? 5432 : Number(url.port) },
    user: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
    database: decodeURIComponent(url.pathname.slice(1)) || decodeURIComponent(url.username),
    tls: isInClear(secret.name, host, url.searchParams.get('sslmode')) ? false : tlsSettings(host, caPems),
  };
}

/** Only where the operator wrote so, or to this machine. There is no way between verified and clear: `prefer` is verified, too. */
function isInClear(name: string, host: string, mode: string | null): boolean {
  if (mode === null) return host === 'localhost' || host === '::1' || (net.isIP(host) === 4 && host.startsWith('127.'));
  if (!SSL_MODES.has(mode))
    throw new RefusedError(503, 'SECRET_UNAVAILABLE', `${name}: its address has an sslmode that Postgres does not know`);
  return mode === 'disable';
}

/** As for any other host: see `upstream.ts`. */
function tlsSettings(host: string, caPems: readonly string[]): tls.ConnectionOptions {
  return {
    minVersion: 'TLSv1.2',
    // also where the environment says otherwise
    rejectUnauthorized: true,
    ...(caPems.length === 0 ? {} : { ca: [...tls.rootCertificates, ...caPems] }),
    ...(net.isIP(host) === 0 ? { servername: host } : {}),
    checkServerIdentity: (_, certificate) => tls.checkServerIdentity(host, certificate),
  };
}
