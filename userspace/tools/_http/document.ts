/** OpenAPI documents: fetching them, and finding operations in them. */
import { readFile } from 'node:fs/promises';
import { type ToolContext, ToolFailure } from '@centaur/sdk';
import { createRest } from '../_shared/rest.ts';
import type { Api } from './apis.ts';

export type Json = Readonly<Record<string, unknown>>;

export interface Parameter {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header' | 'cookie';
  readonly required?: boolean;
  readonly description?: string;
  readonly schema?: Json;
  readonly style?: string;
  readonly explode?: boolean;
  readonly content?: Readonly<Record<string, unknown>>;
}

export interface Operation {
  /** operationId, or `GET /pets/{id}` where there is none. */
  readonly id: string;
  /** In capitals. */
  readonly method: string;
  readonly path: string;
  readonly summary: string | undefined;
  readonly description: string | undefined;
  readonly tags: readonly string[];
  readonly deprecated: boolean;
  readonly parameters: readonly Parameter[];
  readonly body: { readonly required: boolean; readonly content: Readonly<Record<string, { readonly schema?: Json }>> } | undefined;
  readonly responses: Json;
  /** Absolute. */
  readonly server: string;
}

export interface OpenApi {
  readonly title: string;
  readonly description: string | undefined;
  readonly version: string | undefined;
  readonly operations: readonly Operation[];
  /** The whole document, for what it refers to. */
  readonly root: Json;
}

const METHODS = ['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace'];
const KEEP_MS = 10 * 60_000;
const MOST_BYTES = 16 * 1024 * 1024;

/** Of the texts of all documents that are kept; parsed they are several times that. An agent can name any number of addresses. */
const KEPT_MOST = 32 * 1024 * 1024;

interface Loaded {
  readonly until: number;
  readonly document: OpenApi;
  readonly characters: number;
}

/** The longest unused first. */
const loaded = new Map<string, Loaded>();

/** Read once, unless there is no room for all of them, and addresses again after ten minutes. */
export async function loadDocument(ctx: ToolContext, api: Api): Promise<OpenApi> {
  // two APIs may have one document, and not the same operations of it
  const key = JSON.stringify([api.name, api.document, api.server, api.operations]);
  const known = loaded.get(key);
  if (known !== undefined && known.until > Date.now()) {
    loaded.delete(key);
    loaded.set(key, known);
    return known.document;
  }
  const isAddress = /^https?:/.test(api.document);
  const text = isAddress ? await fetchText(ctx, api.document) : await readFile(new URL(api.document, import.meta.url), 'utf8');
  const document = readDocument(text, api, isAddress ? api.document : undefined);
  loaded.delete(key);
  loaded.set(key, { until: isAddress ? Date.now() + KEEP_MS : Infinity, document, characters: text.length });
  makeRoom();
  return document;
}

function makeRoom(): void {
  let kept = 0;
  for (const { characters } of loaded.values()) kept += characters;
  for (const [key, { until, characters }] of loaded) {
    if (kept <= KEPT_MOST && until > Date.now()) continue;
    loaded.delete(key);
    kept -= characters;
  }
}

export function readDocument(text: string, api: Pick<Api, 'name' | 'server' | 'operations'>, address?: string): OpenApi {
  const root = parse(text, api.name);
  const version = root['openapi'];
  if (typeof version !== 'string' || !version.startsWith('3.'))
    throw new ToolFailure('BAD_DOCUMENT', `The document of ${api.name} is no OpenAPI 3: its "openapi" is ${JSON.stringify(version)}.`);
  const info = asObject(root['info']);
  const operations = Object.entries(asObject(root['paths'])).flatMap(([path, item]) => operationsOf(root, path, item, api, address));
  const wanted = api.operations;
  return {
    title: textOf(info['title']) ?? api.name,
    description: textOf(info['description']),
    version: textOf(info['version']),
    operations: wanted === undefined ? operations : operations.filter((each) => wanted.some((name) => isNamed(each, name))),
    root,
  };
}

/** @throws ToolFailure that names those which are like it */
export function findOperation(document: OpenApi, name: string): Operation {
  const found = document.operations.find((each) => isNamed(each, name));
  if (found !== undefined) return found;
  const word =
    name
      .toLowerCase()
      .replaceAll(/[^a-z0-9]+/g, ' ')
      .trim()
      .split(' ')
      .at(-1) ?? '';
  const like = document.operations.filter(({ id, path }) => `${id} ${path}`.toLowerCase().includes(word)).slice(0, 5);
  throw new ToolFailure(
    'NOT_FOUND',
    `${document.title} has no operation ${name}${like.length === 0 ? '' : `; it has ${like.map(({ id }) => id).join(', ')}`}. list_operations shows all.`,
  );
}

/** What a reference inside of the document stands for. */
export function lookUp(root: Json, reference: string): unknown {
  if (!reference.startsWith('#/')) return undefined;
  let value: unknown = root;
  for (const part of reference.slice(2).split('/')) {
    const name = decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~');
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Json)[name];
  }
  return value;
}

function isNamed({ id, method, path }: Operation, name: string): boolean {
  return id === name || `${method} ${path}` === name;
}

function operationsOf(root: Json, path: string, raw: unknown, api: Pick<Api, 'server'>, address: string | undefined): Operation[] {
  const item = resolved(root, raw);
  return METHODS.flatMap((name) => {
    const operation = item[name];
    if (typeof operation !== 'object' || operation === null) return [];
    const of = operation as Json;
    const method = name.toUpperCase();
    return [
      {
        id: textOf(of['operationId']) ?? `${method} ${path}`,
        method,
        path,
        summary: textOf(of['summary']),
        description: textOf(of['description']),
        tags: list(of['tags']).filter((tag) => typeof tag === 'string'),
        deprecated: of['deprecated'] === true,
        parameters: parametersOf(root, item['parameters'], of['parameters']),
        body: bodyOf(root, of['requestBody']),
        responses: asObject(of['responses']),
        server: api.server ?? serverOf([of['servers'], item['servers'], root['servers']], address),
      },
    ];
  });
}

/** Those of the path, unless the operation has its own of the same name and place. */
function parametersOf(root: Json, ofPath: unknown, ofOperation: unknown): Parameter[] {
  const all = new Map<string, Parameter>();
  for (const raw of [...list(ofPath), ...list(ofOperation)]) {
    const parameter = resolved(root, raw) as unknown as Parameter;
    if (typeof parameter.name === 'string') all.set(`${parameter.in} ${parameter.name}`, parameter);
  }
  return [...all.values()];
}

function bodyOf(root: Json, raw: unknown): Operation['body'] {
  if (raw === undefined) return undefined;
  const body = resolved(root, raw);
  return { required: body['required'] === true, content: asObject(body['content']) as never };
}

/** '' when there is none that leads anywhere: found out when it is called. */
function serverOf(candidates: readonly unknown[], address: string | undefined): string {
  for (const servers of candidates) {
    const server = asObject(list(servers)[0]);
    const pattern = textOf(server['url']);
    if (pattern === undefined) continue;
    const variables = asObject(server['variables']);
    const url = pattern.replaceAll(/\{([^}]+)\}/g, (_, name: string) => textOf(asObject(variables[name])['default']) ?? '');
    if (URL.canParse(url, address)) return new URL(url, address).href.replace(/\/+$/, '');
  }
  return address === undefined ? '' : new URL(address).origin;
}

async function fetchText(ctx: ToolContext, address: string): Promise<string> {
  const { origin, pathname, search } = new URL(address);
  const fetchIt = createRest({ name: new URL(address).host, base: origin, headers: () => ({}), explain: () => undefined });
  const { data } = await fetchIt<Uint8Array>(ctx, { path: pathname + search, bytes: MOST_BYTES });
  return new TextDecoder().decode(data);
}

function parse(text: string, name: string): Json {
  try {
    return asObject(JSON.parse(text));
  } catch (error) {
    throw new ToolFailure(
      'BAD_DOCUMENT',
      `The document of ${name} is no JSON (YAML has to be converted first): ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  }
}

function resolved(root: Json, raw: unknown): Json {
  const { $ref: reference } = asObject(raw);
  return asObject(typeof reference === 'string' ? lookUp(root, reference) : raw);
}

function asObject(value: unknown): Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
