/** Tools: what there is, and calling it. The same for agents that speak the Model Context Protocol: see `mcp.ts`. */
import type { IncomingMessage } from 'node:http';
import { newTraceId } from '../../store/index.ts';
import { type ServedTool, type ToolCaller, TOOL_ERRORS, ToolError, type ToolView } from '../../tools/index.ts';
import { principalOfThread } from '../../vault/index.ts';
import { readJson } from '../body.ts';
import { ApiError } from '../errors.ts';
import { answerMcp } from '../mcp.ts';
import { actorOf, type Call, ok, route } from '../route.ts';
import { authoriseTool, type Caller, reachesTool } from '../scopes.ts';
import { type Services, toolsOf } from '../services.ts';
import { ToolDetailSchema, ToolMethodPath, ToolPath, ToolResultSchema, ToolsSchema } from '../tool-schemas.ts';

const ACCESS = { scope: 'tools:*', perTool: true, ofThread: 'found' } as const;
const ARGUMENT_BYTES = 1024 * 1024;

export const toolRoutes = [
  route({
    id: 'listTools',
    method: 'GET',
    path: '/tools',
    group: 'Tools',
    summary: 'List the tools that the caller may call',
    access: ACCESS,
    responses: { 200: { description: 'All of them, by name', schema: ToolsSchema } },
    errors: ['TOOLS_UNAVAILABLE'],
    async handle({ caller }, services) {
      const tools = toolsOf(services);
      const all = await tools.listFor(await userOf(caller, services));
      const seen = all.filter(({ tool }) => reachesTool(caller, tool.name));
      const problems = caller.thread === undefined && reachesTool(caller, '*') ? tools.problems() : [];
      return ok({ items: seen.map(toItem), next: null, problems });
    },
  }),
  route({
    id: 'getTool',
    method: 'GET',
    path: '/tools/{name}',
    group: 'Tools',
    summary: 'Read what a tool does: its methods, with JSON Schemas of their arguments, and where it goes',
    access: ACCESS,
    params: ToolPath,
    responses: { 200: { description: 'The tool', schema: ToolDetailSchema } },
    errors: ['TOOL_NOT_FOUND', 'TOOLS_UNAVAILABLE'],
    async handle({ params, caller }, services) {
      const tools = toolsOf(services);
      authoriseTool(caller, params.name);
      const view = await tools.getFor(await userOf(caller, services), params.name);
      if (view === undefined) throw new ToolError('TOOL_NOT_FOUND', `there is no tool ${JSON.stringify(params.name.slice(0, 100))}`);
      return ok(toDetail(view));
    },
  }),
  route({
    id: 'callTool',
    method: 'POST',
    path: '/tools/{name}/{method}',
    group: 'Tools',
    summary: 'Call a method of a tool',
    description:
      'The body is a JSON object with its arguments; no body is `{}`. With an `Idempotency-Key` header, a call that comes again is answered with ' +
      'the result of the first one, and not made. A call that a person has to approve is held for 55 s, then refused with the approval’s id: the same ' +
      'call made again goes through once it is approved. Without a key, hanging up stops the call.',
    access: ACCESS,
    raw: true,
    params: ToolMethodPath,
    responses: { 200: { description: 'The result', schema: ToolResultSchema } },
    errors: [...Object.keys(TOOL_ERRORS), 'TOOLS_UNAVAILABLE', 'METHOD_NOT_ALLOWED', 'MALFORMED_JSON', 'UNSUPPORTED_MEDIA_TYPE'],
    async handle(call, services) {
      const { params, caller, request, traceId } = call;
      if (request.method !== 'POST')
        throw new ApiError('METHOD_NOT_ALLOWED', `${request.method} is not allowed here; use POST`, { headers: { allow: 'POST' } });
      const tools = toolsOf(services);
      authoriseTool(caller, params.name);
      const { result, edited } = await tools.call(await toolCallerOf(caller, traceId, services), {
        tool: params.name,
        method: params.method,
        args: await readArguments(request, call.incoming),
        idempotencyKey: request.headers.get('idempotency-key') ?? undefined,
        signal: request.signal,
      });
      return ok({ tool: params.name, method: params.method, result, ...(edited === undefined ? {} : { edited }) });
    },
  }),
  route({
    id: 'mcp',
    method: 'POST',
    path: '/mcp',
    group: 'Tools',
    summary: 'The same tools by the Model Context Protocol: Streamable HTTP',
    description:
      'A method is the tool `{tool}_{method}`; with more than a hundred in sight there are `tools_search`, `tools_describe` and `tools_call` instead. ' +
      'GET is a stream that tells when the list changes. No session is needed. A call that takes long is answered as a stream, with progress for those who ask for it.',
    access: ACCESS,
    raw: true,
    responses: {
      200: { description: 'The answer to a JSON-RPC request', contentType: 'application/json' },
      202: { description: 'A notification was taken' },
    },
    errors: ['TOOLS_UNAVAILABLE', 'METHOD_NOT_ALLOWED', 'UNSUPPORTED_MEDIA_TYPE'],
    handle: async (call, services) => answerMcp(call, services, await toolCallerOf(call.caller, call.traceId, services)),
  }),
];

/**
 * On whose behalf a tool is called: of a sandbox's token, its thread. What a sandbox says of traces does not count: its calls are part of the
 * turn that runs in it.
 */
async function toolCallerOf(caller: Caller, given: string | undefined, { threads }: Services): Promise<ToolCaller> {
  const { thread } = caller;
  if (thread === undefined) return { principal: actorOf(caller), traceId: given ?? newTraceId() };
  const turn = await threads?.turnOf(thread);
  return { principal: principalOfThread(thread), threadKey: thread, ...turn, user: async () => threads?.userOfTurn(thread) };
}

/** Whose turn it is that asks. */
async function userOf({ thread }: Caller, { threads }: Services): Promise<string | undefined> {
  return thread === undefined ? undefined : threads?.userOfTurn(thread);
}

async function readArguments(request: Request, incoming: Call['incoming']): Promise<unknown> {
  return hasBody(request, incoming) ? readJson(request, { single: ARGUMENT_BYTES, many: ARGUMENT_BYTES }) : {};
}

function hasBody(request: Request, incoming: IncomingMessage | undefined): boolean {
  if (request.headers.has('transfer-encoding')) return true;
  const length = request.headers.get('content-length');
  return length === null ? incoming === undefined && request.body !== null : length !== '0';
}

function toItem({ tool, missingSecrets }: ToolView): object {
  const { name, description, version, methods } = tool;
  return {
    name,
    description,
    version,
    methods: methods.map((method) => ({ name: method.name, description: method.description, risk: method.risk })),
    missing_secrets: missingSecrets,
  };
}

function toDetail({ tool, missingSecrets }: ToolView): object {
  const { name, description, version, language, methods, secrets, hosts, memoryMb, processes }: ServedTool = tool;
  return {
    name,
    description,
    version,
    language,
    methods: methods.map(({ timeoutMs, ...method }) => ({ ...method, timeout_ms: timeoutMs })),
    secrets,
    hosts,
    memory_mb: memoryMb,
    processes,
    missing_secrets: missingSecrets,
  };
}
