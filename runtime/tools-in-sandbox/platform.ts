/** What is asked of the platform: directly, whatever the surroundings say about proxies, and with the thread's own token. */
import { once } from 'node:events';
import { Agent as HttpAgent, type IncomingMessage, request as requestHttp } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import { text } from 'node:stream/consumers';
import { type JsonObject, list, object, parseJson, words } from './json.ts';
import { type ExitCode, FAILED, Refusal, REFUSED, USAGE } from './refusal.ts';

/** For what is only looked up. A call takes as long as it takes. */
const LOOK_MS = 15_000;
const PROTOCOL = '2025-06-18';

export interface ToolSummary {
  readonly name: string;
  readonly description: string;
  readonly methods: readonly MethodSummary[];
  readonly missing_secrets: readonly string[];
}

export interface MethodSummary {
  readonly name: string;
  readonly description: string;
  readonly risk: string;
  readonly input: JsonObject;
}

export async function readTools(): Promise<ToolSummary[]> {
  const { status, body } = await ask('GET', '/api/tools');
  if (status !== 200) throw toRefusal(status, body, 'the list of tools');
  return list(object(body).items)
    .map(toTool)
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

export async function readTool(name: string): Promise<ToolSummary> {
  const { status, body } = await ask('GET', `/api/tools/${encodeURIComponent(name)}`);
  if (status !== 200) throw toRefusal(status, body, name);
  return toTool(body);
}

function toTool(value: unknown): ToolSummary {
  const { name, description, methods, missing_secrets } = object(value);
  return {
    name: words(name),
    description: words(description),
    methods: list(methods).map(toMethod),
    missing_secrets: list(missing_secrets).map((each) => words(each)),
  };
}

function toMethod(value: unknown): MethodSummary {
  const { name, description, risk, input } = object(value);
  return { name: words(name), description: words(description), risk: words(risk), input: object(input) };
}

export function methodOf({ name: tool, methods }: ToolSummary, name: string): MethodSummary {
  const found = methods.find((method) => method.name === name);
  if (found !== undefined) return found;
  throw new Refusal(USAGE, `${tool} has no method ${name}; it has ${methods.map((method) => method.name).join(', ')}`);
}

export function toRefusal(status: number, body: unknown, what: string): Refusal {
  const { code, message, details } = object(body);
  const { issues, approval_id, gate } = object(details);
  const lines = [`${what}: ${words(message, `the platform answered ${status}`)}${typeof code === 'string' ? ` (${code})` : ''}`];
  for (const issue of list(issues)) {
    const { path, message: why } = object(issue);
    lines.push(`  --${words(path) === '' ? 'json' : words(path)}: ${words(why, 'is wrong')}`);
  }
  if (code === 'APPROVAL_REQUIRED') {
    const about = [words(approval_id), gate === undefined ? '' : `gate ${words(gate)}`].filter((part) => part !== '').join(', ');
    lines.push(`  A person has been asked (${about}). Make the same call again when it has been approved.`);
  }
  return new Refusal(exitCodeOf(status, code), lines.join('\n'));
}

function exitCodeOf(status: number, code: unknown): ExitCode {
  if (code === 'APPROVAL_REQUIRED' || status === 401 || status === 403 || status === 503) return REFUSED;
  if (code === 'TOOL_REFUSED') return FAILED;
  return status === 400 || status === 404 || status === 422 ? USAGE : FAILED;
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

/** @throws Refusal when nobody answers */
export async function ask(method: 'GET' | 'POST', path: string, body?: JsonObject): Promise<Answer> {
  const { base, token } = readPlatform();
  const options = method === 'GET' ? { signal: AbortSignal.timeout(LOOK_MS) } : {};
  try {
    const answer = await send(new URL(path, base), token, { method, ...(body === undefined ? {} : { body }), ...options });
    return { status: answer.status, body: parseJson(answer.text) };
  } catch (error) {
    throw new Refusal(REFUSED, `The platform at ${base} could not be reached: ${(error as Error).message}`);
  }
}

function readPlatform(): { readonly base: string; readonly token: string } {
  const { CENTAUR_API_URL: base, CENTAUR_API_KEY: token } = process.env;
  if (base !== undefined && token !== undefined) return { base, token };
  throw new Refusal(REFUSED, 'CENTAUR_API_URL and CENTAUR_API_KEY are not set: there is no platform to ask.');
}

interface SendOptions {
  readonly method: 'GET' | 'POST';
  readonly body?: JsonObject;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

interface Said {
  readonly status: number;
  readonly text: string;
}

/** Over connections of its own: those of Node go through the proxy, if it is told so. */
async function send(url: URL, token: string, { method, body, headers = {}, signal }: SendOptions): Promise<Said> {
  const data = body === undefined ? undefined : JSON.stringify(body);
  const secure = url.protocol === 'https:';
  const about = {
    method,
    agent: secure ? new HttpsAgent() : new HttpAgent(),
    headers: {
      accept: 'application/json',
      authorization: `Bearer ${token}`,
      ...(data === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(data) }),
      ...headers,
    },
    ...(signal === undefined ? {} : { signal }),
  };
  const request = (secure ? requestHttps : requestHttp)(url, about);
  // told by the wait below, and later ones by the reading
  request.on('error', () => {});
  request.end(data);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return { status: response.statusCode ?? 0, text: await text(response) };
}

// For agents

/** A method of a tool, in the words of MCP. */
export interface AgentTool {
  readonly name: string;
  readonly description: string;
  readonly inputSchema: JsonObject;
  /** @throws what the caller is told when nobody answers */
  call(args: JsonObject, signal?: AbortSignal): Promise<{ readonly content: readonly JsonObject[]; readonly isError: boolean }>;
}

/** Asks the platform's MCP server, which keeps no sessions. @throws when it cannot be asked */
export async function connectTools(): Promise<AgentTool[]> {
  const { base, token } = readPlatform();
  const url = new URL('/mcp', base);
  let asked = 0;
  const rpc = async (method: string, params: JsonObject, signal?: AbortSignal): Promise<JsonObject> => {
    asked += 1;
    const { status, text: said } = await send(url, token, {
      method: 'POST',
      body: { jsonrpc: '2.0', id: asked, method, params },
      headers: { accept: 'application/json, text/event-stream', 'mcp-protocol-version': PROTOCOL },
      ...(signal === undefined ? {} : { signal }),
    });
    const answer = readRpc(said, asked);
    if (status !== 200 || answer === undefined) throw new Error(`The tools answered ${status}: ${said.slice(0, 500)}`);
    if (answer.error !== undefined) throw new Error(words(object(answer.error).message, 'The tools refused without a reason.'));
    return object(answer.result);
  };
  const tools: AgentTool[] = [];
  for (let cursor: unknown; ;) {
    const page = await rpc('tools/list', cursor === undefined ? {} : { cursor }, AbortSignal.timeout(LOOK_MS));
    for (const tool of list(page.tools).map(object)) {
      const name = words(tool.name);
      tools.push({
        name,
        description: words(tool.description),
        inputSchema: object(tool.inputSchema),
        async call(args, signal) {
          const { content, isError } = await rpc('tools/call', { name, arguments: args }, signal);
          return { content: list(content).map(object), isError: isError === true };
        },
      });
    }
    cursor = page.nextCursor;
    if (typeof cursor !== 'string') return tools;
  }
}

/** As JSON, or the last event of a stream that answers this request. */
function readRpc(said: string, id: number): JsonObject | undefined {
  const plain = parseJson(said);
  if (plain !== undefined) return object(plain);
  const events = said.split(/\r?\n/).flatMap((line) => (line.startsWith('data:') ? [object(parseJson(line.slice(5)))] : []));
  return events.findLast((event) => event.id === id);
}
