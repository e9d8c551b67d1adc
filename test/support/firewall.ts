/** A firewall on a database of its own, a service behind it, and clients that know nothing but a lease. */
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import tls from 'node:tls';
import { randomBytes } from 'node:crypto';
import { createAuthority, makeCa } from '../../kernel/firewall/ca.ts';
import { type EgressConfig, type Firewall, startFirewall } from '../../kernel/firewall/index.ts';
import { connectStore, type Store, type StoreLogEntry } from '../../kernel/store/index.ts';
import {
  addGrant,
  createLease,
  type CreatedLease,
  type Installation,
  type LeaseRequest,
  localMasterKey,
  type MasterKey,
  openInstallation,
  putSecret,
  type SecretRequest,
} from '../../kernel/vault/index.ts';
import { createTestDatabase, type TestDatabase } from './database.ts';

export interface Service extends AsyncDisposable {
  readonly port: number;
  readonly caPem: string;
  /** What it was sent. */
  readonly seen: { method: string; url: string; headers: http.IncomingHttpHeaders; body: string }[];
  /** Connections it was sent anything on. */
  bytes: number;
}

export type ServiceHandler = (request: http.IncomingMessage, response: http.ServerResponse, body: Buffer) => void;

let serviceCa: ReturnType<typeof makeCa> | undefined;

/** A TLS service for `localhost` and any name that is made to lead to it. */
export async function startService(
  handler: ServiceHandler,
  hosts: readonly string[] = ['localhost'],
  plain = false,
): Promise<Service & { readonly server: https.Server }> {
  const authority = await createAuthority(await (serviceCa ??= makeCa()));
  const contexts = new Map(await Promise.all(hosts.map(async (host) => [host, await authority.contextFor(host)] as const)));
  const seen: Service['seen'] = [];
  const onRequest = (request: http.IncomingMessage, response: http.ServerResponse) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks);
      seen.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers, body: body.toString() });
      handler(request, response, body);
    });
  };
  const server = (
    plain
      ? http.createServer(onRequest)
      : https.createServer(
          { SNICallback: (name, callback) => callback(null, contexts.get(name) ?? contexts.values().next().value) },
          onRequest,
        )
  ) as https.Server;
  const sockets = new Set<net.Socket>();
  const service = {
    port: 0,
    caPem: authority.caPem,
    seen,
    bytes: 0,
    server,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  server.on(plain ? 'connection' : 'secureConnection', (socket: net.Socket) => {
    sockets.add(socket);
    socket.on('data', (chunk: Buffer) => (service.bytes += chunk.length)).on('error', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  service.port = (server.address() as net.AddressInfo).port;
  return service;
}

export interface TestFirewall extends AsyncDisposable {
  readonly firewall: Firewall;
  readonly store: Store;
  readonly database: TestDatabase;
  readonly master: MasterKey;
  readonly installation: Installation;
  readonly logs: StoreLogEntry[];
  /** Stores a secret, grants it to the principal `user:test`. */
  secret(name: string, request: SecretRequest): Promise<void>;
  lease(secrets: readonly string[], request?: Partial<LeaseRequest>): Promise<CreatedLease>;
  configure(config: EgressConfig): Promise<void>;
  /** Entries that the firewall has yet to write into the log. */
  queued(): number;
  /** Entries of the log, oldest first; what is being written is waited for. */
  entries(action?: string): Promise<Entry[]>;
}

// what a test looks into it knows the shape of
// oxlint-disable-next-line typescript/no-explicit-any
export type Entry = Record<string, any>;

export const PRINCIPAL = 'user:test';

export interface TestFirewallOptions {
  readonly config?: EgressConfig;
  /** Name to addresses, for all names but localhost. */
  readonly names?: Readonly<Record<string, readonly string[]>>;
  readonly environment?: Readonly<Record<string, string>>;
  /** For tests whose other processes need it too. */
  readonly masterKey?: Buffer;
}

export async function createTestFirewall(options: TestFirewallOptions = {}): Promise<TestFirewall> {
  const database = await createTestDatabase();
  const store = await connectStore({ url: database.url, poolSize: 5 });
  const own = await connectStore({ url: database.url, poolSize: 5 });
  const master = localMasterKey(options.masterKey ?? randomBytes(32));
  const logs: StoreLogEntry[] = [];
  const log = (entry: StoreLogEntry) => void logs.push(entry);
  const installation = await openInstallation({ store, master, log });
  const names = options.names ?? {};
  const configure = async (config: EgressConfig) => {
    await store.transaction(async (tx) => {
      const auditId = await installation.audit.append(tx, { action: 'egress.configure', actor: 'test' });
      await tx.query('insert into firewall_configs (digest, config, audit_id) values ($1, $2, $3)', [
        Buffer.alloc(32),
        JSON.stringify(config),
        auditId,
      ]);
      await tx.query(`select pg_notify('centaur_firewall', '')`);
    });
  };
  if (options.config !== undefined) await configure(options.config);
  const firewall = await startFirewall({
    store: own,
    master,
    host: '127.0.0.1',
    port: 0,
    metricsPort: 0,
    postgresPort: 0,
    log,
    environment: options.environment ?? {},
    resolver: async (host) => names[host] ?? (host === 'localhost' ? ['127.0.0.1'] : Promise.reject(new Error('no such name'))),
  });
  const queued = () => firewall.families().find(({ name }) => name === 'centaur_audit_queued')?.samples[0]?.[1] ?? 0;
  return {
    firewall,
    queued,
    store,
    database,
    master,
    installation,
    logs,
    configure,
    async secret(name, request) {
      await putSecret({ store, audit: installation.audit, master }, 'test', name, request);
      await addGrant({ store, audit: installation.audit }, 'test', PRINCIPAL, name);
    },
    lease: (secrets, request = {}) =>
      createLease({ store, audit: installation.audit }, 'test', { principal: PRINCIPAL, secrets, ttlSeconds: 600, ...request }),
    async entries(action) {
      const all = await settledEntries(store, {
        pauseMs: 35,
        queued,
      });
      return action === undefined ? all : all.filter((entry) => entry['action'] === action);
    },
    async [Symbol.asyncDispose]() {
      await firewall.close();
      await installation.close();
      await own.close();
      await store.close();
      await database.drop();
    },
  };
}

/** Long after an outcome is written on a busy machine. */
const OUTCOME_MS = 10_000;
const QUEUED_MS = 60_000;
/** Intents that had none by then, as of a stream that goes on or of a process that was killed: they are waited for once. */
const openForLong = new WeakMap<Store, Set<string>>();

/**
 * The audit log, oldest first, when each intent has its outcome, or has had its time for it, and nothing more is on its way.
 *
 * @param options.queued what is on its way, where it is known; without it an outcome that comes after its intent had its time may be missed
 */
export async function settledEntries(
  store: Store,
  { pauseMs = 6, queued = () => 0 }: { readonly pauseMs?: number; readonly queued?: () => number } = {},
): Promise<Entry[]> {
  const left = openForLong.get(store) ?? new Set();
  openForLong.set(store, left);
  const began = performance.now();
  for (let quiet = 0, last = -1; quiet < 2;) {
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    const { rows } = await store.query<{ all: number; open: string[] }>(
      `select (select count(*)::int from audit_log) as all, array(
         select audit_id::text from audit_log i where action = 'egress.intent' and not exists (select from audit_log o where o.intent_id = i.audit_id)
       ) as open`,
    );
    const [{ all, open }] = rows as [{ all: number; open: string[] }];
    const tookMs = performance.now() - began;
    if (tookMs > OUTCOME_MS) for (const id of open) left.add(id);
    const isQueued = queued() > 0;
    if (isQueued && tookMs > QUEUED_MS) throw new Error(`${queued()} entries of the log are queued for a minute`);
    quiet = all === last && !isQueued && open.every((id) => left.has(id)) ? quiet + 1 : 0;
    last = all;
  }
  const { rows } = await store.query<{ entry: string }>('select entry from audit_log order by audit_id');
  return rows.map((row) => JSON.parse(row.entry) as Entry);
}

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  readonly body: string;
}

/** Opens a tunnel; the answer to CONNECT when it is refused. */
export async function connectTunnel(port: number, authority: string, token: string | undefined): Promise<net.Socket | Answer> {
  const socket = net.connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  const auth = token === undefined ? '' : `Proxy-Authorization: Basic ${Buffer.from(`lease:${token}`).toString('base64')}\r\n`;
  socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${auth}\r\n`);
  return new Promise((resolve, reject) => {
    let data = '';
    const take = (chunk: Buffer) => {
      data += chunk.toString('latin1');
      const end = data.indexOf('\r\n\r\n');
      if (end < 0) return;
      const status = Number(/^HTTP\/1\.1 (\d+)/.exec(data)?.[1]);
      socket.off('data', take);
      if (status === 200) {
        socket.off('close', gone);
        return resolve(socket);
      }
      socket.on('data', (more: Buffer) => (data += more.toString('latin1')));
      socket.once('close', () => resolve({ status, headers: {}, rawHeaders: [], body: data.slice(end + 4) }));
      socket.off('close', gone);
    };
    const gone = () => reject(new Error('the connection was closed'));
    socket.on('data', take);
    socket.once('close', gone);
  });
}

export interface Call {
  readonly method?: string;
  readonly headers?: http.OutgoingHttpHeaders;
  readonly body?: string | Buffer;
  /** Other than the host of the URL. */
  readonly sni?: string | null;
  readonly connect?: string;
  readonly agent?: http.Agent;
}

/** A request through a tunnel, as a client with HTTPS_PROXY and the CA makes it. */
export async function callThrough(t: TestFirewall, token: string | undefined, url: string, call: Call = {}): Promise<Answer> {
  const { hostname, port, pathname, search, host, protocol } = new URL(url);
  const tunnel = await connectTunnel(t.firewall.port, call.connect ?? `${hostname}:${port || (protocol === 'https:' ? 443 : 80)}`, token);
  if (!(tunnel instanceof net.Socket)) return tunnel;
  const socket =
    protocol === 'https:'
      ? tls.connect({
          socket: tunnel,
          ca: t.firewall.caPem,
          ALPNProtocols: ['http/1.1'],
          ...(call.sni === null ? { checkServerIdentity: () => undefined } : { servername: call.sni ?? hostname }),
        })
      : tunnel;
  socket.on('error', () => undefined);
  try {
    return await sendOn(socket, {
      method: call.method ?? (call.body === undefined ? 'GET' : 'POST'),
      path: `${pathname}${search}`,
      headers: { host, ...call.headers },
      body: call.body,
    });
  } finally {
    socket.destroy();
  }
}

export function sendOn(
  socket: net.Socket,
  {
    method,
    path,
    headers,
    body,
  }: {
    readonly method: string;
    readonly path: string;
    readonly headers: http.OutgoingHttpHeaders;
    readonly body?: string | Buffer | undefined;
  },
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.request({ createConnection: () => socket, method, path, headers, setHost: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          rawHeaders: response.rawHeaders,
          body: Buffer.concat(chunks).toString(),
        }),
      );
      response.on('error', reject);
      response.on('close', () => (response.complete ? undefined : reject(new Error('the answer broke off'))));
    });
    request.on('error', reject);
    request.end(body);
  });
}
