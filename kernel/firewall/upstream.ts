/** Dialling out: one resolution, every address checked, and a checked address dialled. The name stays what TLS verifies. */
import { lookup } from 'node:dns/promises';
import net from 'node:net';
import tls from 'node:tls';
import { Pool } from 'undici';
import type { Target } from '../vault/index.ts';
import { type AddressRules, isMetadataName } from './addresses.ts';
import { RefusedError } from './target.ts';

export interface Upstreams {
  pool(target: Target): Pool;
  /** A connection of its own, for a WebSocket. */
  dial(target: Target): Promise<net.Socket | tls.TLSSocket>;
  /**
   * Whether anything may be sent there at all, so that nothing is spent on what cannot be dialled. Dialling resolves and
   * checks by itself.
   *
   * @throws RefusedError 403, 502
   */
  check(target: Target): Promise<void>;
  /** An address that may be dialled. @throws RefusedError 403, 502 */
  resolve(target: Target): Promise<string>;
  close(): Promise<void>;
}

export interface UpstreamOptions {
  readonly addresses: AddressRules;
  /** Trusted besides the public roots. */
  readonly caPems: readonly string[];
  readonly headersTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly resolver?: (host: string) => Promise<readonly string[]>;
}

const CONNECT_MS = 10_000;
const POOLS_MOST = 500;
const CHECKED_MS = 5000;

export function createUpstreams(options: UpstreamOptions): Upstreams {
  const resolver = options.resolver ?? systemResolver;
  const context = tls.createSecureContext({
    minVersion: 'TLSv1.2',
    ...(options.caPems.length === 0 ? {} : { ca: [...tls.rootCertificates, ...options.caPems] }),
  });
  const pools = new Map<string, Pool>();
  /** Hosts that were found in order, until when. */
  const checked = new Map<string, number>();

  async function resolve({ host }: Target): Promise<string> {
    if (isMetadataName(host)) throw blocked(`${host} is a metadata service`);
    let addresses: readonly string[];
    try {
      addresses = net.isIP(host) === 0 ? await resolver(host) : [host];
    } catch {
      throw new RefusedError(502, 'UNKNOWN_HOST', `${host} has no address`);
    }
    if (addresses.length === 0) throw new RefusedError(502, 'UNKNOWN_HOST', `${host} has no address`);
    // every one of them: a name with one private address among public ones is a trap
    for (const address of addresses) {
      const refusal = options.addresses.refusal(address);
      if (refusal !== undefined) throw blocked(refusal);
    }
    return addresses[0] as string;
  }

  async function dial(target: Target): Promise<net.Socket | tls.TLSSocket> {
    const address = await resolve(target);
    const socket = net.connect({ host: address, port: target.port, noDelay: true, keepAlive: true });
    await established(socket, 'connect');
    if (target.scheme === 'http') return socket;
    const secure = tls.connect({
      socket,
      secureContext: context,
      ALPNProtocols: ['http/1.1'],
      // also where the environment says otherwise
      rejectUnauthorized: true,
      ...(net.isIP(target.host) === 0 ? { servername: target.host } : {}),
      checkServerIdentity: (_, certificate) => tls.checkServerIdentity(target.host, certificate),
    });
    await established(secure, 'secureConnect');
    return secure;
  }

  function pool(target: Target): Pool {
    const name = target.host.includes(':') ? `[${target.host}]` : target.host;
    const origin = `${target.scheme}://${name}:${target.port}`;
    const known = pools.get(origin);
    if (known !== undefined) return known;
    if (pools.size >= POOLS_MOST) {
      const [oldest] = pools as unknown as Iterable<[string, Pool]>;
      if (oldest !== undefined) {
        pools.delete(oldest[0]);
        void oldest[1].close();
      }
    }
    const made = new Pool(origin, {
      // without a limit: one that all leases share would let one of them keep the others out. Each has its own, of tunnels
      connections: null,
      pipelining: 1,
      headersTimeout: options.headersTimeoutMs,
      bodyTimeout: options.idleTimeoutMs,
      keepAliveTimeout: 30_000,
      allowH2: false,
      connect: (_: unknown, callback: (error: Error | null, socket: net.Socket | null) => void) => {
        void connectFor(target, callback);
      },
    } as ConstructorParameters<typeof Pool>[1]);
    pools.set(origin, made);
    return made;
  }

  /** In the form that the pool wants it. */
  async function connectFor(target: Target, callback: (error: Error | null, socket: net.Socket | null) => void): Promise<void> {
    let socket: net.Socket;
    try {
      socket = await dial(target);
    } catch (error) {
      return callback(error as Error, null);
    }
    callback(null, socket);
  }

  async function check(target: Target): Promise<void> {
    const now = performance.now();
    if ((checked.get(target.host) ?? 0) > now) return;
    await resolve(target);
    if (checked.size > POOLS_MOST) checked.clear();
    checked.set(target.host, now + CHECKED_MS);
  }

  return {
    pool,
    dial,
    check,
    resolve,
    async close() {
      await Promise.all([...pools.values()].map((each) => each.destroy().catch(() => undefined)));
    },
  };
}

function blocked(why: string): RefusedError {
  return new RefusedError(403, 'ADDRESS_DENIED', 'the host has an address that may not be dialled', { refusal: why });
}

async function systemResolver(host: string): Promise<readonly string[]> {
  return (await lookup(host, { all: true, verbatim: false })).map(({ address }) => address);
}

function established(socket: net.Socket, event: 'connect' | 'secureConnect'): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => socket.destroy(new Error('the host does not answer')), CONNECT_MS);
    const done = () => {
      clearTimeout(timer);
      socket.off('error', failed);
      socket.off('close', closed);
      resolve();
    };
    const failed = (error: Error) => {
      clearTimeout(timer);
      socket.destroy();
      reject(error);
    };
    const closed = () => failed(new Error('the host closed the connection'));
    socket.once(event, done).once('error', failed).once('close', closed);
  });
}
