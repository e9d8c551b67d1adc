/**
 * Postgres for whoever has a placeholder: a listener that speaks its protocol. The placeholder is the password; behind it
 * stands a role that was made for the lease, may do what one role of the secret's choice may, and ends with the lease.
 *
 * What passes is the session as it is, searched for secrets in both directions. Who may read or write what is the
 * database's business: it knows its tables better than any parser between them.
 */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import net from 'node:net';
import tls from 'node:tls';
import pg from 'pg';
import { canonicalHost, type HeldSecret, type Target, type Values } from '../vault/index.ts';
import type { Channel, Parts } from './exchange.ts';
import { outcome, recordIntent, recordRefusal } from './records.ts';
import { toRefusal } from './refusals.ts';
import type { LiveLease } from './lease-book.ts';
import type { OutgoingRequest } from './substitute.ts';
import { RefusedError } from './target.ts';

const SSL_REQUEST = 80_877_103;
const GSS_REQUEST = 80_877_104;
const CANCEL_REQUEST = 80_877_102;
const PROTOCOL_3 = 3;
const STARTUP_MOST = 10_000;
const HANDSHAKE_MS = 15_000;
const SSL_MODES = new Set(['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full']);
const ROLE_PREFIX = 'centaur_lease_';
/** Settings that a client may ask for when it connects. */
const FORWARDED = new Set([
  'application_name',
  'client_encoding',
  'datestyle',
  'timezone',
  'extra_float_digits',
  'search_path',
  'statement_timeout',
]);

export interface PostgresListener {
  listen(address: { readonly host: string; readonly port: number }): Promise<{ readonly port: number }>;
  close(): Promise<void>;
}

interface Role {
  readonly user: string;
  readonly password: string;
  readonly until: number;
}

interface Dsn {
  readonly target: Target;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  /** False: in clear. */
  readonly tls: tls.ConnectionOptions | false;
}

export function createPostgresListener(parts: Parts, values: Values): PostgresListener {
  const roles = new Map<string, Promise<Role>>();
  /** By the key that the client was told: how to cancel what its session does. */
  const sessions = new Map<string, () => void>();
  const open = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    open.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => undefined).once('close', () => open.delete(socket));
    void serve(socket);
  });

  async function serve(socket: net.Socket): Promise<void> {
    const peer = socket.remoteAddress ?? '';
    let channel: Channel | undefined;
    const timer = setTimeout(() => socket.destroy(), HANDSHAKE_MS);
    try {
      const reader = createReader(socket);
      const startup = await readStartup(reader, socket, (key) => sessions.get(key)?.());
      if (startup === undefined) return void socket.destroy();
      socket.write(message('R', int32(3)));
      const answer = await reader.message();
      if (answer.type !== 'p') throw new RefusedError(407, 'LEASE_REQUIRED', 'a password was expected');
      const placeholder = answer.body.subarray(0, Math.max(0, answer.body.length - 1)).toString('utf8');
      const lease = await parts.leases.byPlaceholder([placeholder], peer);
      const name = lease?.placeholders.get(placeholder);
      if (lease === undefined || name === undefined)
        throw new RefusedError(407, 'LEASE_REQUIRED', 'the password is not the placeholder of a lease');
      const described = values.describe(name);
      if (described.type !== 'pg_dsn') throw new RefusedError(403, 'PLACEHOLDER_NOT_BOUND', `${name} is no database`);
      const secret = values.get(name);
      const dsn = readDsn(secret, parts.rules().caPems);
      channel = { via: 'postgres', peer, target: dsn.target, lease };
      await connect(socket, reader, channel, secret, dsn, startup, () => clearTimeout(timer));
    } catch (error) {
      clearTimeout(timer);
      const refusal = toRefusal(error);
      await recordRefusal(parts, refusal, { method: 'CONNECT', url: '', peer, channel });
      refuse(socket, refusal);
    }
  }

  async function connect(
    socket: net.Socket,
    reader: Reader,
    channel: Channel,
    secret: HeldSecret,
    dsn: Dsn,
    startup: ReadonlyMap<string, string>,
    ready: () => void,
  ): Promise<void> {
    const began = performance.now();
    const { lease, target } = channel;
    if (!secret.binding.hosts.some(({ host, port }) => host === target.host && port === target.port))
      throw new RefusedError(403, 'PLACEHOLDER_NOT_BOUND', `${secret.name} is not bound to the host of its own DSN`, {
        secret: secret.name,
      });
    if (!parts.rules().isPortOpen(target))
      throw new RefusedError(403, 'PORT_DENIED', `the configuration does not open port ${target.port}`, { secret: secret.name });
    await parts.leases.check(lease);
    const outgoing: OutgoingRequest = {
      method: 'CONNECT',
      target,
      path: { raw: `/${dsn.database}`, path: `/${dsn.database}`, query: '' },
      headers: [],
      body: Buffer.alloc(0),
    };
    const found = [{ secret: secret.name, placeholder: '', place: 'password' }];
    const verdict = await parts.gate.decide({ channel, outgoing, found, bytes: 0, isGone: () => socket.destroyed });
    const address = await parts.upstreams().resolve(target);
    await parts.leases.consume(lease);
    const intent = {
      action: 'egress.intent',
      actor: lease.principal,
      resource: `postgres://${target.host}:${target.port}/${dsn.database}`,
      decision: 'allow' as const,
      leaseId: lease.leaseId,
      runId: lease.runId ?? undefined,
      threadKey: lease.threadKey ?? undefined,
      traceId: lease.traceId ?? undefined,
      details: {
        via: 'postgres',
        secrets: [{ secret: secret.name, place: 'password' }],
        role: secret.options['role'],
        rule: verdict.rule,
        policy: verdict.policy,
        request: verdict.request,
      },
    };
    const intentId = await recordIntent(parts, intent);
    const bytes = { up: 0, down: 0 };
    let client: pg.Client | undefined;
    let ended = false;
    const finish = (error?: unknown) => {
      if (ended) return;
      ended = true;
      lease.open.delete(cut);
      const refusal = error === undefined ? undefined : toRefusal(error);
      outcome(parts, intent, intentId, {
        bytes: bytes.down,
        bytes_sent: bytes.up,
        ms: Math.round(performance.now() - began),
        ...(refusal === undefined ? {} : { error: refusal.code, ...refusal.details }),
      });
      if (refusal === undefined) socket.destroy();
      else refuse(socket, refusal);
      (client as unknown as { connection?: { stream?: net.Socket } } | undefined)?.connection?.stream?.destroy();
    };
    const cut = () => finish(new RefusedError(407, 'LEASE_REVOKED', 'the lease ended'));
    lease.open.add(cut);
    socket.once('close', () => finish());
    try {
      const role = await roleOf(lease, secret, dsn, address);
      const settings = new Map<string, string>();
      client = new pg.Client({ ...clientSettings(dsn, address), user: role.user, password: role.password });
      client.on('error', (error) => finish(error));
      const { connection } = client as unknown as { connection: net.Socket & { stream: net.Socket } };
      connection.on('parameterStatus', ({ parameterName, parameterValue }: { parameterName: string; parameterValue: string }) =>
        settings.set(parameterName, parameterValue),
      );
      await client.connect();
      for (const [name, value] of startup) {
        if (FORWARDED.has(name.toLowerCase()) && name.toLowerCase() !== 'client_encoding')
          await client.query(`select set_config($1, $2, false)`, [name, value]);
      }
      const { stream } = connection;
      // from here on the session is the client's: the driver must neither read nor answer
      connection.removeAllListeners();
      stream.removeAllListeners();
      const key = randomBytes(8);
      sessions.set(key.toString('hex'), () => void cancel(dsn, address, role, client as pg.Client));
      socket.once('close', () => sessions.delete(key.toString('hex')));
      ready();
      socket.write(
        Buffer.concat([
          message('R', int32(0)),
          ...[...settings].map(([name, value]) => message('S', Buffer.from(`${name}\0${value}\0`))),
          message('K', key),
          message('Z', Buffer.from('I')),
        ]),
      );
      relay(socket, reader, stream, bytes, finish);
    } catch (error) {
      finish(error);
    }
  }

  function relay(
    socket: net.Socket,
    reader: Reader,
    stream: net.Socket,
    bytes: { up: number; down: number },
    finish: (error?: unknown) => void,
  ): void {
    const scanner = parts.scanner();
    const up = scanner.open();
    const down = scanner.open();
    const pass = (from: net.Socket, to: net.Socket, scan: (chunk: Buffer) => Buffer) => {
      from.on('data', (chunk: Buffer) => {
        try {
          const clean = scan(chunk);
          if (clean.length > 0 && !to.write(clean)) {
            from.pause();
            to.once('drain', () => from.resume());
          }
        } catch (error) {
          finish(error);
        }
      });
      from.once('end', () => finish()).once('close', () => finish());
      from.on('error', finish);
      from.resume();
    };
    const upward = (chunk: Buffer) => {
      bytes.up += chunk.length;
      const clean = up.push(chunk);
      if (up.hits.length > 0)
        throw new RefusedError(403, 'SECRET_IN_REQUEST', 'a statement has the real value of a secret in it', {
          leaks: up.hits,
          alert: true,
        });
      return clean;
    };
    pass(stream, socket, (chunk) => {
      bytes.down += chunk.length;
      const clean = down.push(chunk);
      if (down.hits.length > 0 && parts.rules().scan.action === 'block')
        throw new RefusedError(502, 'SECRET_IN_ANSWER', 'a result had a secret in it', { leaks: down.hits, alert: true });
      return clean;
    });
    const rest = reader.release();
    pass(socket, stream, upward);
    if (rest.length > 0) stream.write(upward(rest));
  }

  /** One role per lease and secret, until the lease ends. */
  function roleOf(lease: LiveLease, secret: HeldSecret, dsn: Dsn, address: string): Promise<Role> {
    const id = `${lease.leaseId} ${secret.name} ${secret.version}`;
    const known = roles.get(id);
    if (known !== undefined) return known;
    const made = makeRole(lease, secret, dsn, address);
    roles.set(id, made);
    made.then(
      (role) =>
        setTimeout(() => void dropRole(id, dsn, address, role), Math.min(2 ** 31 - 1, Math.max(0, role.until - Date.now()))).unref(),
      () => roles.delete(id),
    );
    const drop = () => {
      lease.open.delete(drop);
      void made.then((role) => dropRole(id, dsn, address, role)).catch(() => undefined);
    };
    lease.open.add(drop);
    return made;
  }

  async function makeRole(lease: LiveLease, secret: HeldSecret, dsn: Dsn, address: string): Promise<Role> {
    const grant = secret.options['role'];
    if (typeof grant !== 'string' || grant === '')
      throw new RefusedError(503, 'SECRET_UNAVAILABLE', `${secret.name}: the option "role" names the role whose rights are given`);
    const role = {
      user: `${ROLE_PREFIX}${randomBytes(8).toString('hex')}`,
      password: randomBytes(24).toString('base64url'),
      until: lease.expiresAt,
    };
    await asOwner(dsn, address, async (owner) => {
      const { rows } = await owner.query<{ name: string }>(
        `select rolname as name from pg_roles where rolname like $1 and rolvaliduntil < now()`,
        [`${ROLE_PREFIX.replaceAll('_', '\\_')}%`],
      );
      for (const { name } of rows) await owner.query(`drop role if exists ${pg.escapeIdentifier(name)}`).catch(() => undefined);
      // the verifier and not the password: statements are logged
      await owner.query(
        `create role ${pg.escapeIdentifier(role.user)} login password ${pg.escapeLiteral(scramVerifier(role.password))} valid until ${pg.escapeLiteral(new Date(role.until).toISOString())} connection limit 10 in role ${pg.escapeIdentifier(grant)}`,
      );
    });
    return role;
  }

  async function dropRole(id: string, dsn: Dsn, address: string, role: Role): Promise<void> {
    roles.delete(id);
    await asOwner(dsn, address, async (owner) => {
      await owner.query(`select pg_terminate_backend(pid) from pg_stat_activity where usename = $1`, [role.user]);
      await owner.query(`drop role if exists ${pg.escapeIdentifier(role.user)}`);
    }).catch((error: Error) =>
      parts.log({
        level: 'warn',
        message: 'the role of a lease could not be dropped; it is no longer valid',
        role: role.user,
        error: error.message,
      }),
    );
  }

  return {
    listen: (address) =>
      new Promise((resolve, reject) => {
        server.once('error', reject);
        server.listen(address, () => {
          server.off('error', reject);
          resolve({ port: (server.address() as net.AddressInfo).port });
        });
      }),
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of open) socket.destroy();
      await closed;
    },
  };
}

async function asOwner(dsn: Dsn, address: string, work: (owner: pg.Client) => Promise<void>): Promise<void> {
  const owner = new pg.Client({ ...clientSettings(dsn, address), user: dsn.user, password: dsn.password });
  owner.on('error', () => undefined);
  await owner.connect();
  try {
    await work(owner);
  } finally {
    await owner.end().catch(() => undefined);
  }
}

async function cancel(dsn: Dsn, address: string, _role: Role, client: pg.Client): Promise<void> {
  const { processID } = client as unknown as { processID?: number };
  if (processID === undefined) return;
  await asOwner(dsn, address, async (owner) => void (await owner.query('select pg_cancel_backend($1)', [processID]))).catch(
    () => undefined,
  );
}

/** To the address that was checked; the name stays what TLS verifies. */
function clientSettings(dsn: Dsn, address: string): pg.ClientConfig {
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
function readDsn(secret: HeldSecret, caPems: readonly string[]): Dsn {
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

/** What Postgres keeps of a password (RFC 5803). */
function scramVerifier(password: string): string {
  const salt = randomBytes(16);
  const salted = pbkdf2Sync(password, salt, 4096, 32, 'sha256');
  const keyed = (text: string) => createHmac('sha256', salted).update(text).digest();
  const stored = createHash('sha256').update(keyed('Client Key')).digest('base64');
  return `SCRAM-SHA-256$4096:${salt.toString('base64')}$${stored}:${keyed('Server Key').toString('base64')}`;
}

// ---- the protocol, as far as this needs it

interface Reader {
  bytes(count: number): Promise<Buffer>;
  message(): Promise<{ readonly type: string; readonly body: Buffer }>;
  /** Stops reading; what was read too far. */
  release(): Buffer;
}

function createReader(socket: net.Socket): Reader {
  let data: Buffer = Buffer.alloc(0);
  let wake: (() => void) | undefined;
  let gone = false;
  const take = (chunk: Buffer) => {
    data = Buffer.concat([data, chunk]);
    wake?.();
  };
  const end = () => {
    gone = true;
    wake?.();
  };
  socket.on('data', take).once('close', end);
  async function bytes(count: number): Promise<Buffer> {
    while (data.length < count) {
      if (gone || data.length > STARTUP_MOST) throw new RefusedError(499, 'CLIENT_GONE', 'the client went away');
      await new Promise<void>((resolve) => (wake = resolve));
    }
    const taken = data.subarray(0, count);
    data = data.subarray(count);
    return taken;
  }
  return {
    bytes,
    async message() {
      const head = await bytes(5);
      const length = head.readInt32BE(1) - 4;
      if (length < 0 || length > STARTUP_MOST) throw new RefusedError(400, 'BAD_REQUEST', 'this is not the protocol of Postgres');
      return { type: String.fromCharCode(head[0] as number), body: await bytes(length) };
    },
    release() {
      socket.off('data', take).off('close', end);
      socket.pause();
      return data;
    },
  };
}

/** The parameters of a session; undefined when the connection came for something else. */
async function readStartup(
  reader: Reader,
  socket: net.Socket,
  onCancel: (key: string) => void,
): Promise<ReadonlyMap<string, string> | undefined> {
  for (let i = 0; i < 4; i++) {
    const length = (await reader.bytes(4)).readInt32BE(0) - 4;
    if (length < 4 || length > STARTUP_MOST) throw new RefusedError(400, 'BAD_REQUEST', 'this is not the protocol of Postgres');
    const body = await reader.bytes(length);
    const code = body.readInt32BE(0);
    if (code === SSL_REQUEST || code === GSS_REQUEST) {
      socket.write('N');
      continue;
    }
    if (code === CANCEL_REQUEST) {
      onCancel(body.subarray(4, 12).toString('hex'));
      return undefined;
    }
    if (code >> 16 !== PROTOCOL_3) throw new RefusedError(400, 'BAD_REQUEST', 'this version of the protocol of Postgres is not known here');
    const words = body.subarray(4).toString('utf8').split('\0');
    const parameters = new Map<string, string>();
    for (let at = 0; at + 1 < words.length && words[at] !== ''; at += 2) parameters.set(words[at] as string, words[at + 1] as string);
    return parameters;
  }
  throw new RefusedError(400, 'BAD_REQUEST', 'this is not the protocol of Postgres');
}

function message(type: string, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from(type), int32(body.length + 4), body]);
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

function refuse(socket: net.Socket, refusal: RefusedError): void {
  if (!socket.writable) return void socket.destroy();
  const state = refusal.status === 407 ? '28P01' : refusal.status === 403 ? '42501' : '08006';
  socket.end(message('E', Buffer.from(`SFATAL\0VFATAL\0C${state}\0M${refusal.message} (${refusal.code})\0\0`)));
}
