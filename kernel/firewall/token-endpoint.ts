/** Asking an OAuth endpoint: one form by POST, one small JSON answer, no redirects, to addresses that may be dialled. */
import { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import { authorityText, parseAuthority, RefusedError } from './target.ts';
import type { Upstreams } from './upstream.ts';

export interface EndpointAnswer {
  readonly status: number;
  /** Empty when it was no JSON object. */
  readonly fields: Readonly<Record<string, unknown>>;
}

/** For all of it. */
export const ASK_MS = 20_000;
/** Tokens with signed claims in them are a few KiB. */
const ANSWER_MOST = 64 * 1024;

/**
 * @param until.unsent ends it as long as nothing of it was sent, and not any more afterwards: what it carries may be spent by then
 * @param until.signal ends it
 * @throws RefusedError 403, 502, what the connection failed with, and the signal's reason
 */
export async function askEndpoint(
  upstreams: Upstreams,
  url: string,
  form: Readonly<Record<string, string>>,
  { unsent, signal }: { readonly unsent?: AbortSignal | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<EndpointAnswer> {
  const text = new URLSearchParams(form).toString();
  // read when there is a connection, and before the first byte is sent on it
  async function* content() {
    unsent?.throwIfAborted();
    yield Buffer.from(text);
  }
  unsent?.throwIfAborted();
  signal?.throwIfAborted();
  const parsed = new URL(url);
  const target = parseAuthority(parsed.host, parsed.protocol === 'http:' ? 'http' : 'https', 'default');
  const { statusCode, body } = await upstreams.pool(target).request({
    path: `${parsed.pathname}${parsed.search}`,
    method: 'POST',
    headers: {
      host: authorityText(target),
      'content-type': 'application/x-www-form-urlencoded',
      'content-length': String(Buffer.byteLength(text)),
      accept: 'application/json',
    },
    body: Readable.from(content(), { objectMode: false }),
    headersTimeout: ASK_MS,
    bodyTimeout: ASK_MS,
    signal: AbortSignal.any([AbortSignal.timeout(ASK_MS), ...(signal === undefined ? [] : [signal])]),
  });
  return { status: statusCode, fields: readFields(await readBounded(body)) };
}

async function readBounded(body: Dispatcher.ResponseData['body']): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of body as AsyncIterable<Buffer>) {
    size += part.length;
    // leaving the loop closes the connection
    if (size > ANSWER_MOST) throw new RefusedError(502, 'TOKEN_REFUSED', `the endpoint answered more than ${ANSWER_MOST} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

function readFields(text: string): Readonly<Record<string, unknown>> {
  try {
    const answer: unknown = JSON.parse(text);
    return typeof answer === 'object' && answer !== null && !Array.isArray(answer) ? (answer as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
