/** Tools as the Model Context Protocol has them: each method one, or three that find and call them where there are too many to list. */
import { createHash } from 'node:crypto';
import {
  type CallRequest,
  type Edited,
  type MethodDeclaration,
  ToolError,
  type ToolCaller,
  type Tools,
  type ToolView,
} from '../tools/index.ts';
import { refusal } from './errors.ts';
import { type Caller, reachesTool } from './scopes.ts';
import type { Log } from './services.ts';

/** An error of the protocol; what a tool refuses is an answer. */
export class McpError extends Error {
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

export interface ToolAnswer {
  readonly content: readonly { readonly type: 'text'; readonly text: string }[];
  readonly structuredContent?: object;
  readonly isError?: true;
}

interface Listed {
  readonly name: string;
  readonly view: ToolView;
  readonly method: MethodDeclaration;
}

/** More than this, and an agent's context is full of what it does not need. */
const LISTED_MOST = 100;
const PAGE_BYTES = 512 * 1024;
const NAME_LONGEST = 64;
const FOUND = 10;
const FOUND_MOST = 50;

/** @throws McpError for a cursor that is not ours */
export async function listPage(tools: Tools, key: Caller, caller: ToolCaller, cursor: unknown): Promise<object> {
  const listed = await inSight(tools, key, caller);
  if (listed.length > LISTED_MOST) return { tools: metaTools(listed) };
  // by name, so that a page goes on where the last one ended whatever was added or removed meanwhile
  const after = cursor === undefined ? '' : readCursor(cursor);
  const rest = listed.filter(({ name }) => name > after);
  const page: object[] = [];
  let bytes = 0;
  for (const [i, each] of rest.entries()) {
    const shown = toMcp(each);
    bytes += JSON.stringify(shown).length;
    if (i > 0 && bytes > PAGE_BYTES) return { tools: page, nextCursor: Buffer.from((rest[i - 1] as Listed).name).toString('base64url') };
    page.push(shown);
  }
  return { tools: page };
}

interface RunOptions extends Pick<CallRequest, 'onProgress' | 'onWaits'> {
  readonly signal: AbortSignal;
  readonly log: Log;
}

/** @throws McpError for what is no call of a tool */
export async function runTool(
  tools: Tools,
  key: Caller,
  caller: ToolCaller,
  params: Readonly<Record<string, unknown>>,
  options: RunOptions,
): Promise<ToolAnswer> {
  const { name, arguments: args = {}, _meta: meta } = params;
  if (typeof name !== 'string') throw new McpError(-32_602, 'name: expected the name of a tool');
  const listed = await inSight(tools, key, caller);
  const found = find(listed, name);
  if (found !== undefined) return callOne(tools, caller, found, args, meta, options);
  if (listed.length > LISTED_MOST) {
    const { query, limit, name: inner, arguments: innerArgs = {} } = isObject(args) ? args : {};
    if (name === 'tools_search') return answer({ tools: search(listed, typeof query === 'string' ? query : '', limit) });
    if (name === 'tools_describe' || name === 'tools_call') {
      const target = typeof inner === 'string' ? find(listed, inner) : undefined;
      if (target === undefined) return problem('TOOL_NOT_FOUND', 'there is no such tool: tools_search finds what there is');
      return name === 'tools_call' ? callOne(tools, caller, target, innerArgs, meta, options) : answer(describe(target));
    }
  }
  throw new McpError(-32_602, `there is no tool ${JSON.stringify(name.slice(0, 100))}`);
}

async function callOne(
  tools: Tools,
  caller: ToolCaller,
  { view, method }: Listed,
  args: unknown,
  meta: unknown,
  { log, ...options }: RunOptions,
): Promise<ToolAnswer> {
  const key = isObject(meta) ? meta['centaur/idempotencyKey'] : undefined;
  try {
    const { result, edited } = await tools.call(caller, {
      ...options,
      tool: view.tool.name,
      method: method.name,
      args,
      ...(typeof key === 'string' ? { idempotencyKey: key } : {}),
    });
    return edited === undefined ? answer(result) : withNote(answer(result), edited);
  } catch (error) {
    const { body } = refusal(error, log, { route: 'mcp', tool: view.tool.name, method: method.name });
    const { code, message, details } = body as { readonly code: string; readonly message: string; readonly details?: unknown };
    const own = error instanceof ToolError ? error.details?.['tool_code'] : undefined;
    return problem(typeof own === 'string' ? own : code, message, details);
  }
}

function answer(result: unknown): ToolAnswer {
  const text = typeof result === 'string' ? result : JSON.stringify(result);
  return { content: [{ type: 'text', text }], ...(isObject(result) ? { structuredContent: result } : {}) };
}

/** First, so that an agent does not take the result for that of what it asked for. */
function withNote({ content, ...answered }: ToolAnswer, { by, changed }: Edited): ToolAnswer {
  const note = `${by} approved this call with other arguments: ${JSON.stringify(changed)}. What follows is the result of that.`;
  return { ...answered, content: [{ type: 'text', text: note }, ...content] };
}

function problem(code: string, message: string, details?: unknown): ToolAnswer {
  const said = { code, message, ...(details === undefined ? {} : { details }) };
  return { content: [{ type: 'text', text: `${code}: ${message}` }], structuredContent: said, isError: true };
}

// ---- names

/** Methods that the caller may call, by their names here. A tool that lacks a secret, and for whose user there is no own one, would only refuse. */
async function inSight(tools: Tools, key: Caller, caller: ToolCaller): Promise<readonly Listed[]> {
  const views = await tools.listFor(await caller.user?.());
  return listedOf(views).filter(({ view }) => view.missingSecrets.length === 0 && reachesTool(key, view.tool.name));
}

/** Names are made of all that there is, so that they are the same for whoever sees a part of it. */
function listedOf(views: readonly ToolView[]): readonly Listed[] {
  const all = views.flatMap((view) => view.tool.methods.map((method) => ({ view, method, plain: `${view.tool.name}_${method.name}` })));
  const counts = new Map<string, number>();
  for (const { plain } of all) counts.set(plain, (counts.get(plain) ?? 0) + 1);
  return all
    .map(({ view, method, plain }) => {
      const isPlain = plain.length <= NAME_LONGEST && counts.get(plain) === 1;
      const hash = () => createHash('sha256').update(`${view.tool.name}.${method.name}`).digest('hex').slice(0, 8);
      return { view, method, name: isPlain ? plain : `${plain.slice(0, NAME_LONGEST - 9)}_${hash()}` };
    })
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** By its name here, or as `tool.method`. */
function find(listed: readonly Listed[], name: string): Listed | undefined {
  return listed.find((each) => each.name === name || `${each.view.tool.name}.${each.method.name}` === name);
}

function readCursor(cursor: unknown): string {
  if (typeof cursor === 'string' && /^[A-Za-z0-9_-]{1,100}$/.test(cursor)) return Buffer.from(cursor, 'base64url').toString();
  throw new McpError(-32_602, 'cursor: expected the nextCursor of an earlier answer');
}

// ---- what agents read

function toMcp({ name, view, method }: Listed): object {
  return {
    name,
    title: `${view.tool.name}.${method.name}`,
    description: descriptionOf(view, method),
    inputSchema: method.input,
    annotations: {
      readOnlyHint: method.risk === 'read',
      destructiveHint: method.risk !== 'read' && method.risk !== 'write',
      idempotentHint: method.idempotent,
      openWorldHint: true,
    },
  };
}

function descriptionOf({ tool, missingSecrets }: ToolView, method: MethodDeclaration): string {
  const text = method.description === '' ? `${method.name} of ${tool.name}: ${tool.description}` : method.description;
  return missingSecrets.length === 0 ? text : `${text} (Not ready: an operator has to give it ${missingSecrets.join(', ')}.)`;
}

function metaTools(listed: readonly Listed[]): object[] {
  const names = [...new Set(listed.map(({ view }) => view.tool.name))];
  const shown = `${names.slice(0, 100).join(', ')}${names.length > 100 ? ` and ${names.length - 100} more` : ''}`;
  const name = { type: 'string', description: 'As tools_search answers it' };
  return [
    {
      name: 'tools_search',
      description: `Finds tools by words, among ${listed.length} methods of: ${shown}. Answers names and what they do.`,
      inputSchema: {
        type: 'object',
        properties: {
          query: { type: 'string', description: 'Words of what is to be done, or the name of a tool. Empty: the first of all' },
          limit: { type: 'integer', minimum: 1, maximum: FOUND_MOST, description: `Default ${FOUND}` },
        },
        required: ['query'],
      },
      annotations: { readOnlyHint: true },
    },
    {
      name: 'tools_describe',
      description: 'What one tool takes: the JSON Schema of its arguments.',
      inputSchema: { type: 'object', properties: { name }, required: ['name'] },
      annotations: { readOnlyHint: true },
    },
    {
      name: 'tools_call',
      description: 'Calls one tool. Read what it takes first.',
      inputSchema: {
        type: 'object',
        properties: { name, arguments: { type: 'object', description: 'As its JSON Schema says' } },
        required: ['name'],
      },
    },
  ];
}

/** Those with the most of the words, and in the most telling places. */
function search(listed: readonly Listed[], query: string, limit: unknown): object[] {
  const words = (query.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []).slice(0, 20);
  const score = ({ name, view, method }: Listed) => {
    const [names, own, tool] = [name.toLowerCase(), method.description.toLowerCase(), view.tool.description.toLowerCase()];
    return words.reduce(
      (sum, word) => sum + (names.includes(word) ? 4 : 0) + (own.includes(word) ? 2 : 0) + (tool.includes(word) ? 1 : 0),
      0,
    );
  };
  const most = typeof limit === 'number' && limit >= 1 ? Math.min(Math.floor(limit), FOUND_MOST) : FOUND;
  return listed
    .map((each) => ({ each, score: score(each) }))
    .filter((found) => words.length === 0 || found.score > 0)
    .toSorted((a, b) => b.score - a.score)
    .slice(0, most)
    .map(({ each }) => ({ name: each.name, description: descriptionOf(each.view, each.method), risk: each.method.risk }));
}

function describe({ name, view, method }: Listed): object {
  const { risk, input, output, idempotent } = method;
  return { name, description: descriptionOf(view, method), risk, input, ...(output === null ? {} : { output }), idempotent };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
