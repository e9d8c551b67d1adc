/**
 * The bots of chats behind this server: what a chat service sends to `/webhooks/slack` goes on to the bot as it came, so that one public address
 * is enough. The bot checks the signature, over the very bytes; nothing of the request is read here.
 */
import http, { type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import https from 'node:https';
import { text } from 'node:stream/consumers';
import { readIncoming } from './body.ts';
import { ApiError } from './errors.ts';

/** Where each of them listens, by the slug of its webhooks; undefined while it does not. */
export type Bots = Readonly<Record<string, () => string | undefined>>;

const BODY_MOST = 1024 * 1024;
/** Slack waits for three seconds, and then sends it again. */
const ANSWER_MS = 2_800;
/** What the service says of its body. Whatever else came, a key or a cookie of this server among it, is not the bot's. */
const GOES_ON = /^(?:content-type|content-encoding|user-agent|x-slack-[a-z-]+)$/;
const GIVEN_BACK = ['content-type', 'retry-after', 'x-slack-no-retry'];

export interface Forwarded {
  readonly slug: string;
  readonly request: Request;
  readonly incoming: IncomingMessage | undefined;
}

/** Undefined when no bot has this slug. @throws ApiError BOT_UNAVAILABLE, TOO_LARGE, BODY_CUT_OFF, METHOD_NOT_ALLOWED; WebhookError TOO_BUSY, TOO_SLOW */
export async function forward(bots: Bots, { slug, request, incoming }: Forwarded): Promise<Response | undefined> {
  const whereOf = Object.hasOwn(bots, slug) ? bots[slug] : undefined;
  if (whereOf === undefined) return undefined;
  if (request.method !== 'POST')
    throw new ApiError('METHOD_NOT_ALLOWED', `${request.method} is not allowed here; use POST`, { headers: { allow: 'POST' } });
  const until = AbortSignal.timeout(ANSWER_MS);
  const body =
    incoming === undefined ? new Uint8Array(await request.arrayBuffer()) : await readIncoming(incoming, BODY_MOST, { withinMs: ANSWER_MS });
  if (body === undefined)
    throw new ApiError('TOO_LARGE', `the body is over the limit of ${BODY_MOST} bytes`, { headers: { connection: 'close' } });
  const where = whereOf();
  if (where === undefined) throw away(slug);
  const headers = Object.fromEntries([...request.headers].filter(([name]) => GOES_ON.test(name)));
  try {
    const answer = await post(`${where}/api/webhooks/${slug}`, headers, body, until);
    if (answer.status >= 300 && answer.status < 400) throw away(slug);
    const given = GIVEN_BACK.flatMap((name) => {
      const value = answer.headers[name];
      return typeof value === 'string' ? [[name, value] as [string, string]] : [];
    });
    return new Response(answer.text === '' ? null : answer.text, { status: answer.status, headers: given });
  } catch {
    throw away(slug);
  }
}

/** Not by `fetch`: what belongs to a request of it stays until all of the memory is collected, and a busy workspace sends some hundred a second. */
async function post(
  url: string,
  headers: Readonly<Record<string, string>>,
  body: Uint8Array,
  signal: AbortSignal,
): Promise<{ readonly status: number; readonly headers: IncomingHttpHeaders; readonly text: string }> {
  const { request } = url.startsWith('https:') ? https : http;
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    request(url, { method: 'POST', headers, signal }, resolve).on('error', reject).end(body);
  });
  return { status: answer.statusCode ?? 0, headers: answer.headers, text: await text(answer) };
}

function away(slug: string): ApiError {
  return new ApiError('BOT_UNAVAILABLE', `the bot for ${slug} does not answer; send it again`, { headers: { 'retry-after': '1' } });
}
