/** From an operation and arguments to a request. */
import { ToolFailure } from '@centaur/sdk';
import { at, type RestRequest } from '../_shared/rest.ts';
import type { Json, OpenApi, Operation, Parameter } from './document.ts';
import { lookUp } from './document.ts';

export interface Arguments {
  /** By name, of all places. */
  readonly parameters: Json;
  readonly body?: unknown;
}

/** Those that would change whom the request is from or where it goes. */
const NOT_OURS = new Set(['authorization', 'cookie', 'host', 'content-length', 'proxy-authorization', 'connection', 'transfer-encoding']);

/** @throws ToolFailure INVALID with all that is wrong with the arguments */
export function buildRequest(document: OpenApi, operation: Operation, { parameters, body }: Arguments): RestRequest {
  const problems = problemsOf(document, operation, { parameters, body });
  if (problems.length > 0)
    throw new ToolFailure('INVALID', `${operation.id}: ${problems.join('; ')}. describe_operation shows what it takes.`);
  const search = new URLSearchParams();
  const headers: Record<string, string> = {};
  let path = operation.path;
  for (const parameter of operation.parameters) {
    const value = parameters[parameter.name];
    if (value === undefined) continue;
    if (parameter.in === 'path') path = path.replaceAll(`{${parameter.name}}`, at`${simple(value)}`);
    else if (parameter.in === 'query') addQuery(search, parameter, value);
    else if (parameter.in === 'header' && !NOT_OURS.has(parameter.name.toLowerCase()))
      headers[parameter.name.toLowerCase()] = simple(value);
  }
  const query = search.toString();
  return { method: operation.method, path: query === '' ? path : `${path}?${query}`, headers, ...bodyOf(operation, body) };
}

function problemsOf(document: OpenApi, operation: Operation, { parameters, body }: Arguments): string[] {
  const known = new Set(operation.parameters.map(({ name }) => name));
  const unknown = Object.keys(parameters).filter((name) => !known.has(name));
  const wrong = operation.parameters.flatMap((parameter) => {
    const value = parameters[parameter.name];
    const needed = parameter.required === true || parameter.in === 'path';
    if (value === undefined)
      return needed && !NOT_OURS.has(parameter.name.toLowerCase()) ? [`the parameter ${parameter.name} is missing`] : [];
    const why = misfit(document, parameter, value);
    return why === undefined ? [] : [`the parameter ${parameter.name} ${why}`];
  });
  return [
    ...unknown.map((name) => `there is no parameter ${name}`),
    ...wrong,
    ...(operation.body?.required === true && body === undefined ? ['the body is missing'] : []),
    ...(operation.body === undefined && body !== undefined ? ['it takes no body'] : []),
  ];
}

/** What a service would complain about in ways that are hard to read; the rest is for the service itself to say. */
function misfit(document: OpenApi, { schema }: Parameter, value: unknown): string | undefined {
  const reference = schema?.['$ref'];
  const resolved = (typeof reference === 'string' ? lookUp(document.root, reference) : schema) as Json | undefined;
  const options = resolved?.['enum'];
  if (Array.isArray(options) && !options.includes(value)) return `must be one of ${options.map(String).join(', ')}`;
  const type = resolved?.['type'];
  if (
    (type === 'integer' || type === 'number') &&
    typeof value !== 'number' &&
    !(typeof value === 'string' && value !== '' && Number.isFinite(Number(value)))
  )
    return `must be a number`;
  if (type === 'array' && !Array.isArray(value)) return 'must be a list';
  return undefined;
}

function addQuery(search: URLSearchParams, { name, style = 'form', explode = style === 'form', content }: Parameter, value: unknown): void {
  if (content !== undefined) search.append(name, JSON.stringify(value));
  else if (Array.isArray(value)) {
    const separator = style === 'spaceDelimited' ? ' ' : style === 'pipeDelimited' ? '|' : ',';
    if (explode) for (const each of value) search.append(name, simple(each));
    else search.append(name, value.map(simple).join(separator));
  } else if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value);
    if (style === 'deepObject') for (const [key, each] of entries) search.append(`${name}[${key}]`, simple(each));
    else if (explode) for (const [key, each] of entries) search.append(key, simple(each));
    else search.append(name, entries.flatMap(([key, each]) => [key, simple(each)]).join(','));
  } else search.append(name, simple(value));
}

/** Style `simple`: lists with commas. */
function simple(value: unknown): string {
  if (Array.isArray(value)) return value.map(simple).join(',');
  if (typeof value === 'object' && value !== null)
    return Object.entries(value)
      .flatMap(([key, each]) => [key, simple(each)])
      .join(',');
  return String(value);
}

function bodyOf(
  operation: Operation,
  body: unknown,
): Pick<RestRequest, 'json' | 'form' | 'body'> & { readonly headers?: Record<string, string> } {
  if (body === undefined) return {};
  const types = Object.keys(operation.body?.content ?? {});
  const isJson = (type: string): boolean => /[/+]json\b/.test(type);
  if (types.length === 0 || types.some(isJson)) return { json: body };
  if (types.includes('application/x-www-form-urlencoded') && typeof body === 'object' && body !== null) {
    const form = new URLSearchParams();
    for (const [name, value] of Object.entries(body)) addQuery(form, { name, in: 'query' }, value);
    return { form };
  }
  if (types.some((type) => type.startsWith('text/')) && typeof body === 'string') return { body: new TextEncoder().encode(body) };
  throw new ToolFailure('UNSUPPORTED', `${operation.id} takes ${types.join(' or ')}; this tool sends JSON, forms of text, and text.`);
}
