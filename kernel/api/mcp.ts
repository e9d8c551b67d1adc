/**
 * The Model Context Protocol over Streamable HTTP: the tools as agents know them. Nothing is kept between two requests, so any process
 * answers any of them; the session id that is handed out only tells which call a client takes back.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { ToolCaller } from '../tools/index.ts';
import { readJson } from './body.ts';
import { ApiError } from './errors.ts';
import { listPage, McpError, runTool, type ToolAnswer } from './mcp-tools.ts';
import type { Answer, Call } from './route.ts';
import type { Reply } from './reply.ts';
import { type Services, toolsOf } from './services.ts';
import { frameStream } from './stream.ts';

/** Newest first. What differs between them is nothing that is used here. */
const VERSIONS = ['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05'];
const BODY_BYTES = 2 * 1024 * 1024;
const BATCH_MOST = 50;
/** A call that takes longer is answered as a stream, so that nobody on the way takes it for dead. */
const PLAIN_MS = 1000;
/** Clients give up on a call that says nothing; what a person has to approve takes up to a minute. */
const PROGRESS_MS = 5000;

type Id = string | number;

interface Message {
  readonly id?: Id;
  readonly method?: string;
  readonly params: Readonly<Record<string, unknown>>;
}

/** @throws ApiError */
export async function answerMcp(call: Call, services: Services, caller: ToolCaller): Promise<Answer> {
  const { request } = call;
  checkOrigin(request);
  const streams = /(?:text\/event-stream|\*\/\*)/.test(request.headers.get('accept') ?? '');
  if (request.method === 'GET' && streams) return changes(call, services);
  // there is nothing to end
  if (request.method === 'DELETE') return new Response(null, { status: 204 });
  if (request.method !== 'POST')
    throw new ApiError('METHOD_NOT_ALLOWED', `${request.method} is not allowed here; use POST`, {
      headers: { allow: 'GET, POST, DELETE' },
    });
  const version = request.headers.get('mcp-protocol-version');
  if (version !== null && !VERSIONS.includes(version))
    return invalid(null, -32_600, `protocol version ${version.slice(0, 40)} is not spoken here; ${VERSIONS.join(', ')} are`);
  toolsOf(services);
  let body: unknown;
  try {
    body = await readJson(request, { single: BODY_BYTES, many: BODY_BYTES });
  } catch (error) {
    if (error instanceof ApiError && error.code === 'MALFORMED_JSON') return invalid(null, -32_700, error.message);
    throw error;
  }
  const talk: Talk = { call, services, caller, session: request.headers.get('mcp-session-id')?.slice(0, 100) };
  return Array.isArray(body) ? answerBatch(talk, body) : answerOne(talk, body, streams);
}

interface Talk {
  readonly call: Call;
  readonly services: Services;
  readonly caller: ToolCaller;
  readonly session: string | undefined;
}

async function answerOne(talk: Talk, body: unknown, streams: boolean): Promise<Answer> {
  const message = readMessage(body);
  if (message === undefined) return invalid(idOf(body), -32_600, 'expected a JSON-RPC 2.0 request or notification');
  const { id, method } = message;
  if (id === undefined || method === undefined) {
    take(talk, message);
    return new Response(null, { status: 202 });
  }
  const headers = method === 'initialize' && talk.session === undefined ? { 'mcp-session-id': randomUUID() } : undefined;
  const work = begin(talk, id, method, message.params);
  const timer = new AbortController();
  const late = streams ? delay(PLAIN_MS, 'late' as const, { signal: timer.signal }).catch(() => 'late' as const) : undefined;
  const first = await Promise.race([work.answer, ...(late === undefined ? [] : [late])]);
  timer.abort();
  if (first === 'late') return longAnswer(talk, work);
  return { status: 200, body: first, ...(headers === undefined ? {} : { headers }) };
}

/** Of versions before 2025-06-18. */
async function answerBatch(talk: Talk, batch: readonly unknown[]): Promise<Answer> {
  if (batch.length === 0 || batch.length > BATCH_MOST) return invalid(null, -32_600, `expected 1 to ${BATCH_MOST} messages`);
  const answers = await Promise.all(
    batch.map(async (body) => {
      const message = readMessage(body);
      if (message === undefined) return failure(idOf(body), -32_600, 'expected a JSON-RPC 2.0 request or notification');
      if (message.id !== undefined && message.method !== undefined) return begin(talk, message.id, message.method, message.params).answer;
      take(talk, message);
      return undefined;
    }),
  );
  const said = answers.filter((answer) => answer !== undefined);
  return said.length === 0 ? new Response(null, { status: 202 }) : { status: 200, body: said };
}

// ---- one request

interface Work {
  readonly answer: Promise<object>;
  readonly stop: AbortController;
  /** Undefined when nobody asked for it. */
  readonly progressToken: Id | undefined;
  /** What was said last. */
  said: Progress | undefined;
  onProgress: () => void;
}

interface Progress {
  readonly message: string;
  readonly done?: number | undefined;
  readonly total?: number | undefined;
}

function begin(talk: Talk, id: Id, method: string, params: Message['params']): Work {
  const stop = new AbortController();
  const { progressToken } = (params['_meta'] ?? {}) as { readonly progressToken?: unknown };
  const work: Work = {
    stop,
    progressToken: isId(progressToken) ? progressToken : undefined,
    said: undefined,
    onProgress: () => {},
    answer: answerTo(talk, method, params, stop.signal, (said) => {
      work.said = said;
      work.onProgress();
    })
      .then(
        (result) => ({ jsonrpc: '2.0', id, result }),
        (error: unknown) => {
          if (error instanceof McpError) return failure(id, error.code, error.message);
          talk.services.log({ level: 'error', message: 'a request of an agent failed', error: (error as Error).stack ?? String(error) });
          return failure(id, -32_603, 'something went wrong on our side');
        },
      )
      .finally(() => forget(talk, id, stop)),
  };
  remember(talk, id, stop);
  return work;
}

async function answerTo(
  { call, services, caller }: Talk,
  method: string,
  params: Message['params'],
  stop: AbortSignal,
  onProgress: (said: Progress) => void,
): Promise<object> {
  switch (method) {
    case 'initialize':
      return {
        protocolVersion: VERSIONS.includes(params['protocolVersion'] as string) ? params['protocolVersion'] : VERSIONS[0],
        capabilities: { tools: { listChanged: true } },
        serverInfo: { name: 'centaur', title: 'Centaur', version: services.version },
        instructions:
          'Tools of this organisation. Keys are put in on the way: never ask for one. Some calls wait for the approval of a person; ' +
          'when one is refused with APPROVAL_REQUIRED, make the same call again later.',
      };
    case 'ping':
      return {};
    case 'tools/list':
      return listPage(toolsOf(services), call.caller, caller, params['cursor']);
    case 'tools/call':
      return runTool(toolsOf(services), call.caller, caller, params, {
        signal: AbortSignal.any([call.request.signal, stop]),
        log: services.log,
        onProgress: (message, done, total) => onProgress({ message, done, total }),
        onWaits: ({ approvalId }) => onProgress({ message: `waiting for a person to approve (${approvalId})` }),
      }) satisfies Promise<ToolAnswer>;
    default:
      throw new McpError(-32_601, `there is no ${method.slice(0, 100)} here`);
  }
}

/** Progress for those who asked for it, comments for all, and at last the answer. */
function longAnswer({ call, services }: Talk, work: Work): Response {
  return frameStream({
    async *open(signal) {
      const left = () => work.stop.abort();
      signal.addEventListener('abort', left);
      try {
        let told = 0;
        for (;;) {
          if (work.progressToken !== undefined) {
            const { message = 'still working', done, total } = work.said ?? {};
            // it may never go back
            told = done !== undefined && done > told ? done : Math.round((told + 0.001) * 1000) / 1000;
            const params = { progressToken: work.progressToken, progress: told, ...(total === undefined ? {} : { total }), message };
            yield frame({ jsonrpc: '2.0', method: 'notifications/progress', params });
          }
          const next = await Promise.race([work.answer, spoken(work, signal)]);
          if (signal.aborted) return;
          if (next !== undefined) return yield frame(next);
        }
      } finally {
        signal.removeEventListener('abort', left);
      }
    },
    client: call.request.signal,
    // a server that closes lets what it has begun come to its end
    server: new AbortController().signal,
    isAllowed: () => services.keys.isActive(call.caller),
    onChange: (open) => {
      services.metrics.streams(open);
      if (open < 0) work.stop.abort();
    },
    log: services.log,
  });
}

/** Resolves when there is progress to tell, or it is time to say that there is none. Not more than twice a second. */
async function spoken(work: Work, signal: AbortSignal): Promise<undefined> {
  const since = performance.now();
  let wake = () => {};
  await new Promise<void>((resolve) => {
    wake = resolve;
    signal.addEventListener('abort', wake);
    const timer = setTimeout(wake, PROGRESS_MS);
    work.onProgress = () => {
      clearTimeout(timer);
      setTimeout(wake, Math.max(0, 500 - (performance.now() - since)));
    };
    void work.answer.finally(() => clearTimeout(timer));
  });
  signal.removeEventListener('abort', wake);
  work.onProgress = () => {};
}

// ---- changes of the list

function changes({ request, caller }: Call, services: Services): Response {
  const tools = toolsOf(services);
  return frameStream({
    async *open(signal) {
      let changed = false;
      let wake = () => {};
      const told = () => {
        changed = true;
        wake();
      };
      const stop = tools.onChange(told);
      const left = () => wake();
      signal.addEventListener('abort', left);
      try {
        while (!signal.aborted) {
          if (!changed) await new Promise<void>((resolve) => (wake = resolve));
          if (!changed) continue;
          changed = false;
          yield frame({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' });
        }
      } finally {
        stop();
        signal.removeEventListener('abort', left);
      }
    },
    client: request.signal,
    server: services.closing,
    isAllowed: () => services.keys.isActive(caller),
    onChange: (open) => services.metrics.streams(open),
    log: services.log,
  });
}

// ---- what a client takes back

/** Calls that are being made, by key, session and request. */
const running = new Map<string, AbortController>();

function take(talk: Talk, { method, params }: Message): void {
  if (method !== 'notifications/cancelled' || !isId(params['requestId'])) return;
  running.get(placeOf(talk, params['requestId']))?.abort();
}

/** Without a session nobody knows whose request has this id. */
function remember(talk: Talk, id: Id, stop: AbortController): void {
  if (talk.session !== undefined) running.set(placeOf(talk, id), stop);
}

function forget(talk: Talk, id: Id, stop: AbortController): void {
  // a client may have used the id again meanwhile
  const place = placeOf(talk, id);
  if (running.get(place) === stop) running.delete(place);
}

function placeOf({ call, session }: Talk, id: Id): string {
  return JSON.stringify([call.caller.keyId, session, id]);
}

// ---- messages

function readMessage(body: unknown): Message | undefined {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return undefined;
  const { jsonrpc, id, method, params = {} } = body as Readonly<Record<string, unknown>>;
  if (jsonrpc !== '2.0' || (id !== undefined && !isId(id)) || typeof params !== 'object' || params === null || Array.isArray(params))
    return undefined;
  const isResponse = method === undefined && ('result' in body || 'error' in body);
  if (typeof method !== 'string' && !isResponse) return undefined;
  return {
    params: params as Message['params'],
    ...(id === undefined ? {} : { id }),
    ...(method === undefined ? {} : { method }),
  };
}

function isId(value: unknown): value is Id {
  return (typeof value === 'string' && value.length <= 200) || (typeof value === 'number' && Number.isFinite(value));
}

function idOf(body: unknown): Id | null {
  const { id } = (typeof body === 'object' && body !== null ? body : {}) as { readonly id?: unknown };
  return isId(id) ? id : null;
}

function failure(id: Id | null, code: number, message: string): object {
  return { jsonrpc: '2.0', id, error: { code, message } };
}

function invalid(id: Id | null, code: number, message: string): Reply {
  return { status: 400, body: failure(id, code, message) };
}

function frame(message: object): { readonly bytes: Uint8Array } {
  // JSON has no line breaks of its own, so one data line holds it
  return { bytes: Buffer.from(`event: message\ndata: ${JSON.stringify(message)}\n\n`) };
}

/**
 * A page that a browser shows must not speak to a server on the reader's machine: names can be made to point there. Agents send no Origin;
 * pages of the machine itself may.
 */
function checkOrigin({ headers }: Request): void {
  const origin = headers.get('origin');
  if (origin === null) return;
  const host = URL.canParse(origin) ? new URL(origin).hostname : '';
  if (!/^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/.test(host))
    throw new ApiError(
      'FORBIDDEN',
      'pages of other places may not speak to the tools: there is an Origin header that is not of this machine',
    );
}
