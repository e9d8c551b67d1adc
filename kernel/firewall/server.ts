/**
 * The ways in: CONNECT tunnels whose TLS is ended here, requests in absolute form, and base URLs for clients that know no
 * proxy. What comes through any of them is an `exchange`.
 */
import http, { type IncomingMessage } from 'node:http';
import http2 from 'node:http2';
import type net from 'node:net';
import tls from 'node:tls';
import type { Duplex } from 'node:stream';
import { canonicalHost, type Target } from '../vault/index.ts';
import type { Authority, Leaf } from './ca.ts';
import { refuseUndeclaredHost } from './declared.ts';
import { type Channel, type ClientResponse, exchange, type Parts } from './exchange.ts';
import { recordRefusal } from './records.ts';
import { refuseRaw, sendRefusal, toRefusal } from './refusals.ts';
import type { LiveLease } from './lease-book.ts';
import { relayWebSocket } from './websocket.ts';
import { isMetadataName } from './addresses.ts';
import { parseAuthority, RefusedError } from './target.ts';

export interface FirewallServer {
  listen(address: { readonly host: string; readonly port: number } | { readonly path: string }): Promise<{ readonly port: number }>;
  readonly tunnels: number;
  close(): Promise<void>;
}

export interface ServerOptions {
  readonly parts: Parts;
  readonly authority: Authority;
  /** Whether anything at all is open to the lease on the target. */
  readonly reaches: (lease: LiveLease, target: Target) => boolean;
  readonly status: () => { readonly ready: boolean; readonly problem?: string | undefined };
}

interface Tunnel {
  readonly lease: LiveLease;
  readonly target: Target;
  readonly peer: string;
}

const HEADERS_MS = 10_000;
/** A tunnel that has said nothing since it was opened. */
const HANDSHAKE_MS = 10_000;
const KEEP_ALIVE_MS = 65_000;
const HOSTS_MOST = 1000;
const BASE_URL = /^\/to\/(?:(https?):\/\/?)?([^/]+)(\/.*)?$/;

export function createFirewallServer({ parts, authority, reaches, status }: ServerOptions): FirewallServer {
  const tunnels = new Map<LiveLease, number>();
  const tunnelOf = new WeakMap<object, Tunnel>();
  const sockets = new Set<Duplex>();
  const limits = {
    maxHeaderSize: 16 * 1024,
    headersTimeout: HEADERS_MS,
    requestTimeout: 0,
    connectionsCheckingInterval: 1000,
    // both are answered below, where there is a log
    requireHostHeader: false,
    keepAliveTimeout: KEEP_ALIVE_MS,
    joinDuplicateHeaders: false,
    insecureHTTPParser: false,
  };

  /** Requests inside tunnels. */
  const inner = http.createServer(limits, (request, response) => void onInner(request, response as unknown as ClientResponse));
  inner.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => void onUpgrade(request, socket, head));
  inner.on('clientError', onClientError);
  inner.on(
    'checkExpectation',
    (request: IncomingMessage, response: http.ServerResponse) => void refuseExpectation(request, response as unknown as ClientResponse),
  );
  // it never listens, and would never begin to look after slow connections
  inner.emit('listening');
  const inner2 = http2.createServer(
    { maxSessionMemory: 10, settings: { maxConcurrentStreams: 100, maxHeaderListSize: 16 * 1024, enablePush: false } },
    (request, response) => void onInner(request as unknown as IncomingMessage, response as unknown as ClientResponse),
  );
  inner2.on('sessionError', (error: Error & { code?: string }, session: object) => {
    const tunnel = sessionTunnels.get(session);
    // one that only went away has done nothing wrong
    if (tunnel === undefined || error.code === 'ECONNRESET' || error.code === 'EPIPE') return;
    const refusal = new RefusedError(400, 'BAD_REQUEST', 'the session is not well-formed HTTP/2', { parser: error.code });
    void recordRefusal(parts, refusal, { channel: { via: 'tunnel', ...tunnel }, method: '', url: '' });
  });

  /** What clients connect to. */
  const outer = http.createServer(limits, (request, response) => void onOuter(request, response as unknown as ClientResponse));
  outer.on('connect', (request: IncomingMessage, socket: net.Socket, head: Buffer) => void onConnect(request, socket, head));
  outer.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => void onOuterUpgrade(request, socket, head));
  outer.on('clientError', onClientError);
  outer.on(
    'checkExpectation',
    (request: IncomingMessage, response: http.ServerResponse) => void refuseExpectation(request, response as unknown as ClientResponse),
  );
  outer.on('connection', (socket: net.Socket) => {
    track(socket);
    socket.setNoDelay(true);
  });

  function track(socket: Duplex): void {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
  }

  function onClientError(error: Error & { code?: string; rawPacket?: Buffer }, socket: Duplex): void {
    const tooLarge = error.code === 'HPE_HEADER_OVERFLOW';
    const late = error.code === 'ERR_HTTP_REQUEST_TIMEOUT';
    if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
    const refusal = new RefusedError(
      tooLarge ? 431 : late ? 408 : 400,
      tooLarge ? 'HEADERS_TOO_LARGE' : late ? 'REQUEST_TOO_SLOW' : 'BAD_REQUEST',
      'the request is not well-formed HTTP',
      { parser: error.code },
    );
    const tunnel = tunnelOf.get(socket);
    void recordRefusal(parts, refusal, {
      method: '',
      url: '',
      ...(tunnel === undefined ? { peer: peerOf(socket) } : { channel: { via: 'tunnel', ...tunnel } }),
    });
    socket.end(
      `HTTP/1.1 ${refusal.status} ${http.STATUS_CODES[refusal.status]}\r\nx-centaur-refused: ${refusal.code}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`,
    );
  }

  async function refuseExpectation(request: IncomingMessage, response: ClientResponse): Promise<void> {
    const refusal = new RefusedError(417, 'BAD_EXPECTATION', 'the request expects something that is not known here');
    const tunnel = tunnelOf.get(request.socket);
    await recordRefusal(parts, refusal, {
      method: request.method ?? '',
      url: '',
      ...(tunnel === undefined ? { peer: peerOf(request.socket) } : { channel: { via: 'tunnel', ...tunnel } }),
    });
    sendRefusal(response, refusal);
  }

  // ---- CONNECT

  async function onConnect(request: IncomingMessage, socket: net.Socket, head: Buffer): Promise<void> {
    const peer = peerOf(socket);
    socket.on('error', () => undefined);
    let target: Target | undefined;
    let lease: LiveLease | undefined;
    try {
      target = parseAuthority(request.url ?? '', 'https', 'port');
      if (isMetadataName(target.host)) throw new RefusedError(403, 'ADDRESS_DENIED', 'the host is a metadata service');
      lease = await leaseOf(request, peer);
      refuseUnreachable(lease, target);
      if (socket.destroyed || socket.readableEnded) return void socket.destroy();
      const open = tunnels.get(lease) ?? 0;
      if (open >= parts.rules().limits.tunnelsPerLease)
        throw new RefusedError(429, 'TOO_MANY_TUNNELS', `the lease has ${open} tunnels open`);
    } catch (error) {
      const refusal = toRefusal(error);
      await recordRefusal(parts, refusal, {
        method: 'CONNECT',
        url: '',
        target,
        ...(lease === undefined || target === undefined ? { peer } : { channel: { via: 'tunnel', peer, target, lease } }),
      });
      return refuseRaw(socket, refusal);
    }
    const tunnel: Tunnel = { lease, target, peer };
    tunnels.set(lease, (tunnels.get(lease) ?? 0) + 1);
    const cut = () => socket.destroy();
    lease.open.add(cut);
    socket.once('close', () => {
      lease.open.delete(cut);
      const left = (tunnels.get(lease) ?? 1) - 1;
      if (left > 0) tunnels.set(lease, left);
      else tunnels.delete(lease);
    });
    socket.setNoDelay(true);
    socket.setTimeout(0);
    socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
    const first = head.length > 0 ? head : await firstBytes(socket);
    if (first === undefined) return void socket.destroy();
    socket.unshift(first);
    if (first[0] === 0x16) return void intercept(socket, tunnel);
    // cleartext in a tunnel is a request like any other, to the same port
    parts.metrics.count('tunnels', 'cleartext');
    tunnelOf.set(socket, { ...tunnel, target: { ...target, scheme: 'http' } });
    inner.emit('connection', socket);
    socket.resume();
  }

  function firstBytes(socket: net.Socket): Promise<Buffer | undefined> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => done(undefined), HANDSHAKE_MS);
      const done = (data: Buffer | undefined) => {
        clearTimeout(timer);
        socket.off('data', taken).off('end', gone).off('close', gone);
        socket.pause();
        resolve(data);
      };
      const taken = (data: Buffer) => done(data);
      const gone = () => done(undefined);
      // who only says that nothing more comes leaves its half of the connection open
      socket.once('data', taken).once('end', gone).once('close', gone);
    });
  }

  /** One TLS server per host, none of which listens: they are given the tunnels to their host. */
  const hosts = new Map<string, { readonly leaf: Leaf; readonly server: tls.Server }>();

  async function intercept(socket: net.Socket, tunnel: Tunnel): Promise<void> {
    const { host } = tunnel.target;
    parts.metrics.count('tunnels', 'tls');
    tunnelOf.set(socket, tunnel);
    try {
      const leaf = await authority.leafFor(host);
      let known = hosts.get(host);
      if (known?.leaf !== leaf) {
        if (hosts.size >= HOSTS_MOST) hosts.delete(hosts.keys().next().value as string);
        hosts.set(host, (known = { leaf, server: tlsServer(host, leaf) }));
      }
      if (!socket.destroyed) known.server.emit('connection', socket);
    } catch (error) {
      parts.log({ level: 'error', message: 'a certificate could not be made', host, error: (error as Error).message });
      socket.destroy();
    }
  }

  function tlsServer(host: string, leaf: Leaf): tls.Server {
    const server = tls.createServer({ ...leaf, ALPNProtocols: ['h2', 'http/1.1'], handshakeTimeout: HANDSHAKE_MS }, (secure) => {
      const tunnel = tunnelBelow(secure);
      if (tunnel === undefined) return void secure.destroy();
      // the name was read with the first message; nothing was answered to it yet but our own certificate
      const { servername: sni } = secure as tls.TLSSocket & { servername?: string | false };
      if (typeof sni === 'string' && canonicalHost(sni) !== host) {
        refuseHandshake(tunnel, 'OTHER_SNI', { sni: sni.slice(0, 255) });
        return void secure.destroy();
      }
      secure.on('error', () => undefined);
      tunnelOf.set(secure, tunnel);
      // of a process that was killed, only the connection ends: HTTP/2 would wait for a word of it
      if (secure.alpnProtocol === 'h2') secure.once('end', () => secure.destroy());
      (secure.alpnProtocol === 'h2' ? inner2 : inner).emit('connection', secure);
    });
    server.on('tlsClientError', (error: Error & { code?: string }, secure: tls.TLSSocket) => {
      const tunnel = tunnelBelow(secure);
      if (tunnel === undefined) return;
      // a client that does not trust the CA, or pins another certificate, says so
      const distrusts = /ALERT|unknown_ca|bad_certificate|certificate_unknown/i.test(`${error.code} ${error.message}`);
      refuseHandshake(tunnel, distrusts ? 'CLIENT_REFUSED_CERTIFICATE' : 'TLS_FAILED', { tls: error.code });
    });
    return server;
  }

  /** A TLS socket knows the socket that it stands on. */
  function tunnelBelow(secure: tls.TLSSocket): Tunnel | undefined {
    const { _parent: below } = secure as unknown as { readonly _parent?: object };
    return below === undefined ? undefined : tunnelOf.get(below);
  }

  function refuseHandshake(tunnel: Tunnel, code: string, details: Readonly<Record<string, unknown>>): void {
    void recordRefusal(parts, new RefusedError(421, code, 'the TLS handshake was refused', details), {
      channel: { via: 'tunnel', ...tunnel },
      method: 'CONNECT',
      url: '',
    });
  }

  // ---- requests

  async function onInner(request: IncomingMessage, response: ClientResponse): Promise<void> {
    const socket = (request as unknown as { stream?: { session?: { socket?: object } } }).stream?.session?.socket ?? request.socket;
    const tunnel = findTunnel(request, socket);
    if (tunnel === undefined) return void response.destroy();
    const { url = '' } = request;
    if (!url.startsWith('/')) {
      const refusal = new RefusedError(400, 'BAD_PATH', 'a request inside a tunnel names its path alone');
      await recordRefusal(parts, refusal, { channel: { via: 'tunnel', ...tunnel }, method: request.method ?? '', url: '' });
      return sendRefusal(response, refusal);
    }
    await exchange(parts, request, response, { via: 'tunnel', ...tunnel });
  }

  /** The socket that HTTP/2 shows is a proxy of the real one. */
  function findTunnel(request: IncomingMessage, socket: object): Tunnel | undefined {
    const direct = tunnelOf.get(socket) ?? tunnelOf.get(request.socket);
    if (direct !== undefined) return direct;
    const session = (request as unknown as { stream?: { session?: http2.ServerHttp2Session } }).stream?.session;
    return session === undefined ? undefined : sessionTunnels.get(session);
  }

  const sessionTunnels = new WeakMap<object, Tunnel>();
  inner2.on('session', (session) => {
    const raw = [...Object.getOwnPropertySymbols(session)]
      .map((symbol) => (session as unknown as Record<symbol, unknown>)[symbol])
      .find((value) => typeof value === 'object' && value !== null && tunnelOf.has(value));
    const tunnel = raw === undefined ? undefined : tunnelOf.get(raw as object);
    if (tunnel !== undefined) sessionTunnels.set(session, tunnel);
  });

  async function onOuter(request: IncomingMessage, response: ClientResponse): Promise<void> {
    const { url = '', method = '' } = request;
    if (url === '/healthz' || url === '/readyz') {
      const { ready, problem } = status();
      const fine = url === '/healthz' || ready;
      response.writeHead(fine ? 200 : 503, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ status: fine ? 'ok' : 'unavailable', ...(problem === undefined || fine ? {} : { problem }) }));
      return;
    }
    const peer = peerOf(request.socket);
    let target: Target | undefined;
    try {
      const channel = await outerChannel(request, peer, (known) => (target = known));
      await exchange(parts, request, response, channel);
    } catch (error) {
      const refusal = toRefusal(error);
      await recordRefusal(parts, refusal, { method, url: '', peer, target });
      sendRefusal(response, refusal);
      request.resume();
    }
  }

  /** @throws RefusedError */
  async function outerChannel(request: IncomingMessage, peer: string, known: (target: Target) => void): Promise<Channel> {
    const { url = '' } = request;
    const absolute = /^http:\/\/([^/?#]*)(.*)$/i.exec(url);
    if (absolute !== null) {
      const target = parseAuthority(absolute[1] as string, 'http', 'default');
      known(target);
      const lease = await leaseOf(request, peer);
      refuseUnreachable(lease, target);
      const rest = absolute[2] as string;
      return { via: 'absolute', peer, target, lease, path: rest.startsWith('/') ? rest : `/${rest}` };
    }
    const base = BASE_URL.exec(url);
    if (base !== null) {
      const target = parseAuthority(decoded(base[2] as string), (base[1] ?? 'https') as 'http' | 'https', 'default');
      known(target);
      const lease =
        request.headers['proxy-authorization'] === undefined ? await leaseOfPlaceholder(request, peer) : await leaseOf(request, peer);
      refuseUnreachable(lease, target);
      return { via: 'base_url', peer, target, lease, path: base[3] ?? '/' };
    }
    if (/^https:\/\//i.test(url)) throw new RefusedError(400, 'NOT_A_TUNNEL', 'https goes through CONNECT');
    throw new RefusedError(
      404,
      'NOT_A_PROXY_REQUEST',
      'this is the firewall: use it as an HTTP proxy, or as a base URL: /to/<host>/<path>',
    );
  }

  async function onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const tunnel = tunnelOf.get(request.socket) ?? tunnelOf.get(socket);
    if (tunnel === undefined) return void socket.destroy();
    await relayWebSocket(parts, request, socket, head, { via: 'tunnel', ...tunnel });
  }

  async function onOuterUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const peer = peerOf(request.socket);
    let target: Target | undefined;
    try {
      const channel = await outerChannel(request, peer, (known) => (target = known));
      await relayWebSocket(parts, request, socket, head, channel);
    } catch (error) {
      const refusal = toRefusal(error);
      await recordRefusal(parts, refusal, { method: request.method ?? '', url: '', peer, target });
      refuseRaw(socket, refusal);
    }
  }

  // ---- who asks

  /** @throws RefusedError 407 */
  async function leaseOf(request: IncomingMessage, peer: string): Promise<LiveLease> {
    const given = request.headers['proxy-authorization'];
    const token = given === undefined ? undefined : tokenIn(given);
    if (token === undefined) throw new RefusedError(407, 'LEASE_REQUIRED', 'the proxy URL needs the token of a lease');
    return parts.leases.byToken(token, peer);
  }

  /** A client that only knows a base URL and a key: its key is a placeholder, and tells which lease. */
  async function leaseOfPlaceholder(request: IncomingMessage, peer: string): Promise<LiveLease> {
    const words = ['authorization', 'x-api-key', 'api-key', 'x-goog-api-key'].flatMap((name) => {
      const value = request.headers[name];
      return typeof value === 'string' ? (value.match(/[A-Za-z0-9_.-]{24,300}/g) ?? []) : [];
    });
    const lease = await parts.leases.byPlaceholder(words.slice(0, 4), peer);
    if (lease === undefined) throw new RefusedError(407, 'LEASE_REQUIRED', 'the request has no placeholder of a lease in it');
    return lease;
  }

  function refuseUnreachable(lease: LiveLease, target: Target): void {
    const whose = { lease_id: lease.leaseId, principal: lease.principal };
    if (!parts.rules().isPortOpen(target))
      throw new RefusedError(403, 'PORT_DENIED', `the configuration does not open port ${target.port}`, whose);
    refuseUndeclaredHost(lease, target);
    // what is declared is open, as if it were configured
    if (lease.egress === undefined && !reaches(lease, target))
      throw new RefusedError(403, 'HOST_DENIED', 'nothing on this host is open to the lease', whose);
  }

  return {
    listen: (address) =>
      new Promise((resolve, reject) => {
        outer.once('error', reject);
        outer.listen(address, () => {
          outer.off('error', reject);
          const bound = outer.address();
          resolve({ port: typeof bound === 'object' && bound !== null ? bound.port : 0 });
        });
      }),
    get tunnels() {
      return [...tunnels.values()].reduce((sum, count) => sum + count, 0);
    },
    async close() {
      const closed = new Promise<void>((resolve) => outer.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
      inner.close();
    },
  };
}

/** What is no escape is no host either. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return '';
  }
}

function tokenIn(header: string): string | undefined {
  const bearer = /^bearer +(\S+)$/i.exec(header)?.[1];
  if (bearer !== undefined) return bearer;
  const basic = /^basic +([A-Za-z0-9+/=_-]+)$/i.exec(header)?.[1];
  if (basic === undefined) return undefined;
  const text = Buffer.from(basic, 'base64').toString('utf8');
  const token = text.slice(text.indexOf(':') + 1);
  return token === '' ? undefined : token;
}

function peerOf(socket: object): string {
  return (socket as { remoteAddress?: string }).remoteAddress ?? '';
}
