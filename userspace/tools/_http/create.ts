/** The tool for some APIs: tests have their own. */
import {
  defineTool,
  method,
  secret,
  type ToolContext,
  type ToolDefinition,
  type ToolFile,
  ToolFailure,
  type ToolSecret,
} from '@centaur/sdk';
import { compact, cut } from '../_shared/results.ts';
import { createRest, hostOf } from '../_shared/rest.ts';
import type { Api, ApiAuth } from './apis.ts';
import { describeOperation, methodFor } from './describe.ts';
import { findOperation, type Json, loadDocument, type Operation } from './document.ts';
import { buildRequest } from './request.ts';

const HOW_TO_ADD =
  'An API is added by copying the folder of this tool into an overlay (tools/<name>, with tools/_shared beside it) and naming the API and its hosts in apis.ts.';

const MOST_BYTES = 8 * 1024 * 1024;
const MOST_CHARACTERS = 100_000;
/** What tells of further pages, limits and versions. */
const HEADERS = /^(link|location|etag|last-modified|retry-after|x-(total|page|per|next)[\w-]*|x-?ratelimit-[\w-]*)$/;

const api = {
  type: 'string',
  minLength: 1,
  description: 'Name of an API of list_apis, or the https address of an OpenAPI 3 document (JSON) on a declared host',
};
const operation = { type: 'string', minLength: 1, description: 'Of list_operations: its id, or `GET /pets/{id}`' };
// plain JSON Schema, so that a copy of this folder needs no package
const CALL = {
  type: 'object',
  properties: {
    api,
    operation,
    parameters: { type: 'object', description: 'Of the path, the query and the headers, by name' },
    body: { description: 'As the operation describes it' },
  },
  required: ['api', 'operation'],
  additionalProperties: false,
} as const;

interface CallInput {
  readonly api: string;
  readonly operation: string;
  readonly parameters?: Json;
  readonly body?: unknown;
}

export function createHttpTool(apis: readonly Api[], more: readonly string[]): ToolDefinition {
  const hosts = [...new Set([...apis.flatMap(hostsOf), ...more])];

  return defineTool({
    description: `Any REST API that has an OpenAPI 3 document: ${apis.map(({ name }) => name).join(', ') || 'none yet'}. ${HOW_TO_ADD}`,
    secrets: secretsOf(apis),
    hosts,
    methods: {
      list_apis: method({
        description: 'The APIs that this tool knows, and the hosts that it may reach.',
        risk: 'read',
        input: { type: 'object', properties: {}, additionalProperties: false },
        run: () => ({
          apis: apis.map(({ name, description, document }) => compact({ name, description, document })),
          hosts,
          ...(hosts.length === 0 ? { note: HOW_TO_ADD } : {}),
        }),
      }),

      list_operations: method({
        description: 'The operations of an API, in one line each.',
        risk: 'read',
        input: {
          type: 'object',
          properties: {
            api,
            search: { type: 'string', description: 'Words that all have to be in its id, path, tags or summary' },
            cursor: { type: 'string', pattern: '^[0-9]+$', description: 'next_cursor of the answer before' },
            limit: { type: 'integer', minimum: 1, maximum: 200, default: 50 },
          },
          required: ['api'],
          additionalProperties: false,
        },
        async run(input, ctx) {
          const { api, search = '', cursor = '0', limit = 50 } = input as { api: string; search?: string; cursor?: string; limit?: number };
          const { title, version, description, operations } = await loadDocument(ctx, pick(api));
          const words = search.toLowerCase().split(/\s+/);
          const found = operations.filter((each) => words.every((word) => wordsOf(each).includes(word)));
          const start = Number(cursor);
          return {
            api: compact({ title, version, description: description && cut(description, 500) }),
            total: found.length,
            items: found.slice(start, start + limit).map((each) =>
              compact({
                id: each.id,
                call: `${each.method} ${each.path}`,
                with: methodFor(each),
                summary: each.summary,
                deprecated: each.deprecated || undefined,
              }),
            ),
            ...(start + limit < found.length ? { next_cursor: String(start + limit) } : {}),
          };
        },
      }),

      describe_operation: method({
        description: 'What one operation takes and answers.',
        risk: 'read',
        input: { type: 'object', properties: { api, operation }, required: ['api', 'operation'], additionalProperties: false },
        async run(input, ctx) {
          const { api, operation } = input as { api: string; operation: string };
          const document = await loadDocument(ctx, pick(api));
          return describeOperation(document, findOperation(document, operation));
        },
      }),

      read: method({
        description: 'Calls an operation that reads (GET, HEAD, OPTIONS).',
        risk: 'read',
        input: CALL,
        run: (input, ctx) => call(ctx, input as unknown as CallInput, 'read'),
      }),

      write: method({
        description: 'Calls an operation that changes something (POST, PUT, PATCH).',
        risk: 'write',
        input: CALL,
        run: (input, ctx) => call(ctx, input as unknown as CallInput, 'write'),
      }),

      delete: method({
        description: 'Calls an operation that deletes (DELETE).',
        risk: 'destructive',
        input: CALL,
        run: (input, ctx) => call(ctx, input as unknown as CallInput, 'delete'),
      }),
    },
  });

  function pick(name: string): Api {
    const known = apis.find((each) => each.name === name);
    if (known !== undefined) return known;
    if (!/^https?:\/\//.test(name) || !URL.canParse(name))
      throw new ToolFailure(
        'NOT_FOUND',
        `There is no API ${name}, only ${apis.map((each) => each.name).join(', ') || 'none'}. ${HOW_TO_ADD}`,
      );
    mustBeDeclared(name);
    // the key of an API that is known goes to no document that an agent has named
    return { name, document: name };
  }

  async function call(ctx: ToolContext, input: CallInput, as: ReturnType<typeof methodFor>): Promise<unknown> {
    const picked = pick(input.api);
    const document = await loadDocument(ctx, picked);
    const found = findOperation(document, input.operation);
    if (methodFor(found) !== as)
      throw new ToolFailure('WRONG_METHOD', `${found.id} is a ${found.method}: call it with ${methodFor(found)}, not with ${as}.`);
    if (found.server === '')
      throw new ToolFailure('BAD_DOCUMENT', `The document of ${picked.name} does not say where the API is: name its server in apis.ts.`);
    mustBeDeclared(found.server);
    const request = buildRequest(document, found, { parameters: input.parameters ?? {}, body: input.body });
    const send = createRest({
      name: document.title,
      base: found.server,
      headers: () => ({ accept: 'application/json, */*;q=0.5', ...authHeaders(picked.auth) }),
      explain: () => undefined,
    });
    const { status, headers, data } = await send<Uint8Array>(ctx, {
      ...request,
      path: withKey(request.path, picked.auth),
      bytes: MOST_BYTES,
    });
    const kept = Object.fromEntries([...headers].filter(([name]) => HEADERS.test(name)));
    return { status, ...(Object.keys(kept).length === 0 ? {} : { headers: kept }), ...(await bodyOf(ctx, headers, data)) };
  }

  /** The firewall would stop it as well; here is who can say what to do. */
  function mustBeDeclared(address: string): void {
    const host = hostOf(address);
    const fits = (declared: string): boolean => (declared.startsWith('*.') ? host.endsWith(declared.slice(1)) : declared === host);
    if (!hosts.some(fits))
      throw new ToolFailure(
        'HOST_NOT_DECLARED',
        `${host} is not among the hosts of this tool (${hosts.join(', ') || 'none'}). ${HOW_TO_ADD}`,
      );
  }
}

function hostsOf({ document, server }: Api): string[] {
  return [document, server ?? ''].filter((address) => /^https?:\/\//.test(address)).map(hostOf);
}

/** One for each secret, though several APIs may have it in common. */
function secretsOf(apis: readonly Api[]): ToolSecret[] {
  const secrets = new Map<string, ToolSecret>();
  for (const { name, server, document, auth } of apis) {
    if (auth === undefined) continue;
    const address = server ?? document;
    if (!/^https?:\/\//.test(address)) throw new Error(`${name} has a key, and its document is a file: name its server in apis.ts, too`);
    const before = secrets.get(auth.secret);
    secrets.set(auth.secret, {
      name: auth.secret,
      hosts: [...new Set([...(before?.hosts ?? []), hostOf(address)])],
      ...(auth.query === undefined ? { match_headers: [auth.header ?? 'authorization'] } : { match_query: [auth.query] }),
      ...(auth.description === undefined ? {} : { description: auth.description }),
    });
  }
  return [...secrets.values()];
}

function authHeaders(auth: ApiAuth | undefined): Record<string, string> {
  if (auth === undefined || auth.query !== undefined) return {};
  const header = auth.header?.toLowerCase() ?? 'authorization';
  return { [header]: `${auth.prefix ?? (header === 'authorization' ? 'Bearer ' : '')}${secret(auth.secret)}` };
}

function withKey(path: string, auth: ApiAuth | undefined): string {
  if (auth?.query === undefined) return path;
  const key = new URLSearchParams({ [auth.query]: `${auth.prefix ?? ''}${secret(auth.secret)}` });
  return `${path}${path.includes('?') ? '&' : '?'}${key.toString()}`;
}

async function bodyOf(ctx: ToolContext, headers: Headers, data: Uint8Array): Promise<Json> {
  if (data.byteLength === 0) return {};
  const type = headers.get('content-type')?.split(';')[0]?.trim() ?? '';
  if (/[/+]json$/.test(type)) return { body: JSON.parse(new TextDecoder().decode(data)) as unknown };
  if (/^text\/|[/+]xml$|^application\/(javascript|x-ndjson|yaml)$/.test(type))
    return { body: cut(new TextDecoder().decode(data), MOST_CHARACTERS) };
  const file: ToolFile = { name: nameOf(headers), mimeType: type || 'application/octet-stream', data };
  return { attachment: await ctx.attach(file) };
}

function nameOf(headers: Headers): string {
  return /filename="?([^";/\\]+)/.exec(headers.get('content-disposition') ?? '')?.[1] ?? 'response';
}

function wordsOf({ id, method, path, tags, summary }: Operation): string {
  return [id, method, path, ...tags, summary ?? ''].join(' ').toLowerCase();
}
