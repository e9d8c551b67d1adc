/** What the edge's tests share: an API that remembers what it is sent, and deliveries to send. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { sha256Hex } from '../../kernel/webhooks/encoding.ts';
import { FORWARD_HEADER, verifyForward } from '../../kernel/webhooks/forward.ts';
import { signSample } from '../../kernel/webhooks/sign.ts';

export const API_KEY = 'ck_edge_key';
export const SIGNING_KEY = 'edge-signing-key-of-tests';
export const SECRETS = { GITHUB_SECRET: 'hunter2-github', STRIPE_SECRET: 'hunter2-stripe', STRIPE_SECRET_PREVIOUS: 'hunter2-old' };
export const BODY = '{ "action": "opened", "issue": {"number": 7} }';

const WEBHOOKS = [
  {
    slug: 'github',
    provider: 'github',
    auth: { type: 'github', secret_ref: 'GITHUB_SECRET' },
    trigger_key: { type: 'header', name: 'X-GitHub-Delivery' },
    filter: { source: 'header', key: 'x-github-event', op: 'in', values: ['issues', 'push'] },
    max_body_bytes: 1000,
  },
  { slug: 'stripe', auth: { type: 'stripe', secret_ref: 'STRIPE_SECRET' } },
  { slug: 'open', auth: 'none', allowed_content_types: ['*/*'], allowed_methods: ['GET', 'POST'] },
  { slug: 'off', auth: 'none', enabled: false },
  { slug: 'unset', auth: { type: 'github', secret_ref: 'NOT_SET' } },
];

export function environmentFor(apiUrl: string): Record<string, string> {
  return {
    CENTAUR_WEBHOOKS: JSON.stringify(WEBHOOKS),
    CENTAUR_API_URL: apiUrl,
    CENTAUR_API_KEY: API_KEY,
    CENTAUR_EDGE_SIGNING_KEY: SIGNING_KEY,
    CENTAUR_EDGE_SOURCE: 'cloudflare',
    ...SECRETS,
  };
}

export async function githubDelivery(changes: RequestInit & { readonly event?: string } = {}): Promise<RequestInit> {
  const { event, headers: more, ...rest } = changes;
  const headers = await signSample('github', SECRETS.GITHUB_SECRET, BODY, {
    nowSeconds: Date.now() / 1000,
    ...(event === undefined ? {} : { event }),
  });
  return { method: 'POST', body: BODY, headers: { ...headers, ...(more as Record<string, string>) }, ...rest };
}

/** A request as the API got it. */
export interface Arrived {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly headers: Headers;
  readonly body: string;
}

/** As the API reads it: whether the edge's word holds, and what it says. */
export async function sourceOf({ method, path, headers, body }: Arrived): Promise<string | null | undefined> {
  const sha256 = await sha256Hex(Buffer.from(body));
  const said = await verifyForward([SIGNING_KEY], headers.get(FORWARD_HEADER), { method, path, sha256, nowSeconds: Date.now() / 1000 });
  return said.ok ? said.sourceIp : undefined;
}

export interface FakeApi extends AsyncDisposable {
  readonly url: string;
  readonly arrived: Arrived[];
}

/** Answers 202 to everything. */
export async function startFakeApi(): Promise<FakeApi> {
  const arrived: Arrived[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method = '', url: path = '', headers } = request;
      arrived.push({ method, path, headers: new Headers(headers as Record<string, string>), body: Buffer.concat(chunks).toString() });
      response.writeHead(202, { 'content-type': 'application/json', 'set-cookie': 'inside=1' });
      response.end(JSON.stringify({ ok: true, run_id: 'r', created: true }));
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    arrived,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}
