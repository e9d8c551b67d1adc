/** Hands a verified delivery to the API: its raw body and its headers, with our key and our word for where it came from. */
import { FORWARD_HEADER, signForward } from '../../kernel/webhooks/forward.ts';
import { refusal } from './answer.ts';
import type { EdgeOptions } from './edge.ts';

const TIMEOUT_MS = 10_000;
/** A delivery is one run however often it comes, so a lost answer may be asked for again. */
const TRIES = 2;

export interface Verified {
  readonly slug: string;
  readonly method: string;
  /** With its question mark, or empty. */
  readonly query: string;
  readonly headers: Headers;
  readonly rawBody: Uint8Array<ArrayBuffer>;
  readonly sha256: string;
  readonly sourceIp: string | null;
}

export async function forward(options: EdgeOptions, delivery: Verified): Promise<Response> {
  const { log = () => {}, now = Date.now } = options;
  const send = options.fetch ?? ((request: Request) => fetch(request));
  const { slug, method, rawBody } = delivery;
  const path = `/api/webhooks/${slug}${delivery.query}`;
  const headers = forwardedHeaders(delivery.headers);
  headers.set('x-api-key', options.key);
  headers.set(FORWARD_HEADER, await signForward(options.signingKey, { ...delivery, path, nowSeconds: now() / 1000 }));
  const url = `${options.forwardTo.replace(/\/+$/, '')}${path}`;
  const body = rawBody.length === 0 ? null : rawBody;
  const signal = AbortSignal.timeout(options.timeoutMs ?? TIMEOUT_MS);
  for (let attempt = 1; ; attempt++) {
    try {
      // a redirect would take our key to wherever it points
      const response = await send(new Request(url, { method, headers, body, signal, redirect: 'manual' }));
      return await passOn(response);
    } catch (error) {
      if (!signal.aborted && attempt < TRIES) continue;
      const message = signal.aborted ? 'the API did not answer in time' : 'the API cannot be reached';
      log({ level: 'error', message, slug, error: (error as Error).name });
      const code = signal.aborted ? 'API_TIMEOUT' : 'API_UNREACHABLE';
      return refusal(signal.aborted ? 504 : 502, code, `${message}; send this delivery again later`, { 'retry-after': '5' });
    }
  }
}

/** The connection's own headers, those that we set, and what proxies say of the sender, which our own word replaces. */
const LEFT_OUT = new RegExp(
  `^(?:${[
    'connection|keep-alive|proxy-connection|te|trailer|transfer-encoding|upgrade|host|content-length|expect|accept-encoding|cookie',
    'x-api-key|x-centaur-edge',
    'forwarded|x-forwarded-.*|x-real-ip|true-client-ip|cf-(?:connecting-.*|pseudo-ipv4|ip.*|ray|visitor|worker|ew-via)',
  ].join('|')})$`,
);

function forwardedHeaders(headers: Headers): Headers {
  return new Headers([...headers].filter(([name]) => !LEFT_OUT.test(name)));
}

const PASSED_ON = ['content-type', 'retry-after', 'allow'];

async function passOn(response: Response): Promise<Response> {
  if (response.status >= 300 && response.status < 400) {
    await response.body?.cancel();
    return refusal(502, 'API_UNREACHABLE', 'the API answered with a redirect: the edge has the wrong address');
  }
  const body = await response.arrayBuffer();
  const headers = PASSED_ON.flatMap((name) => {
    const value = response.headers.get(name);
    return value === null ? [] : [[name, value] as [string, string]];
  });
  return new Response(body, { status: response.status, headers: [['cache-control', 'no-store'], ...headers] });
}
