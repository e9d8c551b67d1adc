/** The part of the platform that agents call tools at, with tools that are functions: lists, calls, and MCP without sessions. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';

export interface TestMethod {
  readonly description: string;
  readonly risk?: string;
  readonly input?: Readonly<Record<string, unknown>>;
  /** What it throws has a status, a code and details, or is a failure of the tool. */
  run(args: Readonly<Record<string, unknown>>): unknown;
}

export interface TestTool {
  readonly description: string;
  readonly missing_secrets?: readonly string[];
  readonly methods: Readonly<Record<string, TestMethod>>;
}

export class ToolRefused extends Error {
  readonly status: number;
  readonly code: string;
  readonly details: unknown;
  constructor(status: number, code: string, message: string, details?: unknown) {
    super(message);
    this.status = status;
    this.code = code;
    this.details = details;
  }
}

export interface ToolsServer extends AsyncDisposable {
  readonly url: string;
  readonly tools: Map<string, TestTool>;
  readonly requests: readonly {
    readonly method: string;
    readonly path: string;
    readonly rpc?: string;
    readonly host: string | undefined;
  }[];
}

/** @param accept whether a bearer token is good */
export async function createToolsServer(
  tools: Readonly<Record<string, TestTool>>,
  accept: (token: string) => boolean,
): Promise<ToolsServer> {
  const served = new Map(Object.entries(tools));
  const requests: { method: string; path: string; rpc?: string; host: string | undefined }[] = [];

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url: path = '' } = request;
    const note = { method, path, host: request.headers.host };
    requests.push(note);
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
    if (!accept(token)) throw new ToolRefused(401, 'UNAUTHENTICATED', 'the key is not known');
    if (path === '/mcp') {
      if (method !== 'POST') return send(response, 405, { code: 'METHOD_NOT_ALLOWED', message: 'there are no sessions' });
      const rpc = (await json(request)) as { id?: number; method: string; params?: Readonly<Record<string, unknown>> };
      Object.assign(note, { rpc: rpc.method });
      if (rpc.id === undefined) return void response.writeHead(202).end();
      return send(response, 200, { jsonrpc: '2.0', id: rpc.id, ...(await answerRpc(rpc.method, rpc.params ?? {})) });
    }
    const [, name, called] = /^\/api\/tools(?:\/([^/]+)(?:\/([^/]+))?)?$/.exec(path) ?? [];
    if (name === undefined) return send(response, 200, { items: [...served].map(([each, tool]) => view(each, tool)) });
    if (called === undefined) return send(response, 200, view(name, find(name)));
    const args = (await json(request)) as Readonly<Record<string, unknown>>;
    const result = await findMethod(name, called).run(args);
    send(response, 200, { tool: name, method: called, result: result ?? null });
  }

  async function answerRpc(method: string, params: Readonly<Record<string, unknown>>): Promise<object> {
    if (method === 'initialize') {
      const { protocolVersion } = params;
      return { result: { protocolVersion, capabilities: { tools: {} }, serverInfo: { name: 'centaur', version: '1' } } };
    }
    if (method === 'ping') return { result: {} };
    const all = [...served].flatMap(([tool, { methods }]) => Object.entries(methods).map(([name, about]) => ({ tool, name, ...about })));
    if (method === 'tools/list') {
      const list = all.map(({ tool, name, description, input }) => ({
        name: `${tool}_${name}`,
        description,
        inputSchema: input ?? NOTHING,
      }));
      return { result: { tools: list } };
    }
    if (method !== 'tools/call') return { error: { code: -32601, message: `there is no ${method}` } };
    const called = all.find(({ tool, name }) => `${tool}_${name}` === params['name']);
    if (called === undefined) return { error: { code: -32602, message: 'there is no such tool' } };
    try {
      const result = await called.run((params['arguments'] ?? {}) as Readonly<Record<string, unknown>>);
      return { result: { content: [{ type: 'text', text: typeof result === 'string' ? result : JSON.stringify(result ?? null) }] } };
    } catch (error) {
      return { result: { content: [{ type: 'text', text: (error as Error).message }], isError: true } };
    }
  }

  function find(name: string): TestTool {
    const tool = served.get(name);
    if (tool === undefined) throw new ToolRefused(404, 'TOOL_NOT_FOUND', `there is no tool ${name}`);
    return tool;
  }

  function findMethod(name: string, called: string): TestMethod {
    const found = find(name).methods[called];
    if (found === undefined) throw new ToolRefused(404, 'TOOL_METHOD_NOT_FOUND', `${name} has no method ${called}`);
    return found;
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error: Error) => {
      const { status, code, details } = error instanceof ToolRefused ? error : { status: 502, code: 'TOOL_FAILED', details: undefined };
      send(response, status, { code, message: error.message, ...(details === undefined ? {} : { details }) });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    tools: served,
    requests,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

const NOTHING = { type: 'object', properties: {}, additionalProperties: false };

function view(name: string, { description, methods, missing_secrets = [] }: TestTool) {
  const list = Object.entries(methods).map(([method, { description: about, risk = 'read', input = NOTHING }]) => ({
    name: method,
    description: about,
    risk,
    input,
  }));
  return { name, description, methods: list, missing_secrets };
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
