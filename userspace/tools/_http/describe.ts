/** An operation for agents: with what the document refers to written out. */
import { compact } from '../_shared/results.ts';
import { type Json, lookUp, type OpenApi, type Operation } from './document.ts';

/** What is deeper, or refers to itself, is left as a reference. */
const DEEPEST = 8;
const MOST_NODES = 2000;

export function describeOperation(document: OpenApi, operation: Operation): Json {
  let nodes = 0;
  const body = operation.body;
  const responses = Object.entries(operation.responses).filter(([status]) => /^(2|default)/.test(status));
  return compact({
    operation: operation.id,
    call: `${operation.method} ${operation.server}${operation.path}`,
    with: methodFor(operation),
    summary: operation.summary,
    description: operation.description,
    deprecated: operation.deprecated || undefined,
    parameters: operation.parameters.map((parameter) => ({ ...(writeOut(parameter, [], 0) as Json) })),
    body:
      body &&
      compact({
        required: body.required,
        content: Object.fromEntries(Object.entries(body.content).map(([type, { schema }]) => [type, writeOut(schema, [], 0)])),
      }),
    responses: Object.fromEntries(responses.map(([status, response]) => [status, writeOut(response, [], 0)])),
  });

  function writeOut(value: unknown, within: readonly string[], depth: number): unknown {
    if (Array.isArray(value)) return value.map((each) => writeOut(each, within, depth + 1));
    if (typeof value !== 'object' || value === null) return value;
    const { $ref: reference } = value as Json;
    if (typeof reference === 'string') {
      if (within.includes(reference) || depth > DEEPEST || ++nodes > MOST_NODES) return { $ref: reference };
      const target = lookUp(document.root, reference);
      return target === undefined ? { $ref: reference } : writeOut(target, [...within, reference], depth + 1);
    }
    nodes++;
    const kept = Object.entries(value).filter(([name]) => name !== 'example' && name !== 'examples' && !name.startsWith('x-'));
    // under "properties" the names are the API's own
    return Object.fromEntries(
      (within.at(-1) === 'properties' ? Object.entries(value) : kept).map(([name, each]) => [
        name,
        writeOut(each, name === 'properties' ? [...within, 'properties'] : within.filter((part) => part !== 'properties'), depth + 1),
      ]),
    );
  }
}

/** The method of this tool that calls it. */
export function methodFor({ method }: Operation): 'read' | 'write' | 'delete' {
  if (method === 'DELETE') return 'delete';
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS' ? 'read' : 'write';
}
