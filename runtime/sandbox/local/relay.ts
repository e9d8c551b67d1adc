/** The only ways out of a sandbox: a unix socket that it sees, and one address on the host that the holder dials for it. */
import fs from 'node:fs';
import net from 'node:net';

export interface Relay {
  /** Nothing passes any more once it returns. */
  close(): void;
}

export interface RelayOptions {
  readonly socket: string;
  /** `host:port` on the host. */
  readonly to: string;
  /** Address to dial from: tells whose connection it is. */
  readonly source: string | null;
  readonly owner: number | null;
}

/** One sandbox cannot use up the holder's descriptors. */
const MOST_CONNECTIONS = 256;

export async function openRelay({ socket, to, source, owner }: RelayOptions): Promise<Relay> {
  const { host, port } = parseTarget(to);
  const open = new Set<net.Socket>();
  const server = net.createServer({ allowHalfOpen: true }, (inner) => {
    const outer = net.connect({
      host,
      port,
      allowHalfOpen: true,
      noDelay: true,
      ...(source !== null && isLoopback(host) ? { localAddress: source } : {}),
    });
    for (const each of [inner, outer]) {
      open.add(each);
      each.once('close', () => open.delete(each));
    }
    // pipe ends the other side when this one ends, and holds this one back when the other is slow
    inner.pipe(outer).pipe(inner);
    const end = (): void => {
      inner.destroy();
      outer.destroy();
    };
    inner.on('error', end);
    outer.on('error', end);
    inner.on('close', () => inner.readableEnded || outer.destroy());
    outer.on('close', () => outer.readableEnded || inner.destroy());
  });
  server.maxConnections = MOST_CONNECTIONS;
  await new Promise<void>((listening, failed) => {
    server.once('error', failed);
    server.listen({ path: socket, backlog: 128 }, listening);
  });
  server.on('error', () => undefined);
  if (owner !== null) fs.chownSync(socket, owner, owner);
  fs.chmodSync(socket, 0o600);
  return {
    close: () => {
      server.close();
      for (const each of open) each.destroy();
    },
  };
}

export function parseTarget(to: string): { host: string; port: number } {
  const parts = /^(?:\[([0-9a-f:]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(to);
  const port = Number(parts?.[3]);
  if (parts === null || port < 1 || port > 65_535) throw new RangeError(`${JSON.stringify(to)} is not host:port`);
  return { host: (parts[1] ?? parts[2]) as string, port };
}

/** Addresses from which 127.x.y.z can be dialled as a source of its own. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || /^127\.\d+\.\d+\.\d+$/.test(host);
}
