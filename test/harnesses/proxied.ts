/** A model server that speaks HTTPS with a certificate of a private authority, behind a proxy that writes down who was asked for. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createModelServer } from '../../examples/model-server/index.ts';

export interface Proxied extends AsyncDisposable {
  /** Of the model, `https://127.0.0.1:…`. */
  readonly baseUrl: string;
  /** With a user and a password, as a lease's has. */
  readonly proxyUrl: string;
  readonly caFile: string;
  /** `host:port` of each tunnel. */
  readonly asked: readonly string[];
  /** Of each tunnel, what came in `Proxy-Authorization`. */
  readonly credentials: readonly (string | undefined)[];
}

export async function startProxied(key: string, folder: string): Promise<Proxied> {
  await using cleanup = new AsyncDisposableStack();
  const certificate = issueCertificate(folder);
  const server = await createModelServer({
    key,
    tls: { key: readFileSync(certificate.key, 'utf8'), cert: readFileSync(certificate.cert, 'utf8') },
  });
  cleanup.defer(() => server.close());
  const asked: string[] = [];
  const credentials: (string | undefined)[] = [];
  const proxy = createServer().on('connect', ({ url = '', headers }, socket) => {
    asked.push(url);
    credentials.push(headers['proxy-authorization']);
    const upstream = connect(Number(url.split(':')[1]), '127.0.0.1', () => socket.write('HTTP/1.1 200 OK\r\n\r\n'));
    upstream.pipe(socket).pipe(upstream);
    for (const [end, other] of [
      [upstream, socket],
      [socket, upstream],
    ] as const)
      end.on('error', () => {}).on('close', () => other.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  cleanup.defer(() => proxy.closeAllConnections());
  cleanup.defer(() => void proxy.close());
  const kept = cleanup.move();
  return {
    baseUrl: server.url,
    proxyUrl: `http://lease:token@127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    caFile: certificate.ca,
    asked,
    credentials,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** An authority, and a certificate of it: Codex takes none that is both. */
function issueCertificate(folder: string) {
  mkdirSync(folder, { recursive: true });
  const file = (name: string): string => join(folder, name);
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  writeFileSync(file('names'), 'subjectAltName=IP:127.0.0.1\n');
  openssl('req', '-x509', ...curve, '-days', '2', '-subj', '/CN=test authority', '-keyout', file('ca.key'), '-out', file('ca.pem'));
  openssl('req', ...curve, '-subj', '/CN=model', '-keyout', file('leaf.key'), '-out', file('leaf.csr'));
  const signer = ['-CA', file('ca.pem'), '-CAkey', file('ca.key'), '-CAcreateserial'];
  openssl('x509', '-req', '-in', file('leaf.csr'), ...signer, '-days', '2', '-extfile', file('names'), '-out', file('leaf.pem'));
  return { ca: file('ca.pem'), key: file('leaf.key'), cert: file('leaf.pem') };
}

function openssl(...given: string[]): void {
  const { status, stderr } = spawnSync('openssl', given, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`openssl ${given[0]} failed: ${stderr}`);
}
