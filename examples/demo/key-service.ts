/** A service that takes only the real key, and echoes it: whoever reads its answer unprotected has the key. */
import { writeFileSync } from 'node:fs';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { createAuthority, makeCa } from '@centaur/kernel/firewall/ca';

export interface KeyService {
  readonly url: string;
  readonly port: number;
  readonly caPem: string;
  readonly caFile: string;
  /** Credentials that it was sent. */
  readonly seen: string[];
}

/** @param folder where its certificate authority's file goes */
export async function startKeyService(key: string, folder: string, cleanup: AsyncDisposableStack): Promise<KeyService> {
  const authority = await createAuthority(await makeCa());
  const context = await authority.contextFor('localhost');
  const seen: string[] = [];
  const server = https.createServer({ SNICallback: (_, callback) => callback(null, context) }, (request, response) => {
    const given = request.headers.authorization ?? '';
    seen.push(given);
    const known = given === `Bearer ${key}`;
    response.writeHead(known ? 200 : 401, { 'content-type': 'application/json' });
    response.end(JSON.stringify(known ? { you_sent: given, orders: 3 } : { error: 'unknown key' }));
  });
  cleanup.defer(() => {
    server.close();
    server.closeAllConnections();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const caFile = path.join(folder, 'service-ca.pem');
  writeFileSync(caFile, authority.caPem);
  return { url: `https://localhost:${port}`, port, caPem: authority.caPem, caFile, seen };
}
