/** What `defineTool` was given, as plain JSON. Whoever asked judges what it means; nothing is left out here. */
import type { ToolDefinition, ToolInput, ToolMethod } from '../../../sdk/src/tool.ts';
import type { HostTool } from '../protocol/messages.ts';
import { isStandardSchema } from './input.ts';
import { toJson } from './values.ts';

/** A definition that cannot be told. `field` is where to look for it in the file. */
export class ToolDefinitionError extends Error {
  readonly field: string;
  constructor(field: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.field = field;
  }
}

const DRAFT = 'draft-2020-12';

/** @throws ToolDefinitionError naming the field */
export function tellTool({ methods, ...tool }: ToolDefinition, asked: string): HostTool {
  if (typeof methods !== 'object' || methods === null) throw new ToolDefinitionError('methods', 'methods: expected an object');
  const told = Object.entries(methods).map(([name, each]) => [name, tellMethod(name, each)]);
  return { source_path: asked, language: 'node', declared: { ...plainFields(tool), methods: Object.fromEntries(told) } };
}

function tellMethod(name: string, { input, output, run, ...method }: ToolMethod): unknown {
  if (typeof run !== 'function') throw new ToolDefinitionError(name, `methods.${name}: expected method({ …, run() { … } })`);
  return {
    ...plainFields(method, name),
    ...(input === undefined ? {} : { input: schemaOf(input, name, 'input') }),
    ...(output === undefined ? {} : { output: schemaOf(output, name, 'output') }),
  };
}

/** @param at where in the file to look for them; default: for themselves */
function plainFields(fields: object, at?: string): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, plain(value, at ?? name)]));
}

function schemaOf(schema: ToolInput, name: string, side: 'input' | 'output'): unknown {
  if (!isStandardSchema(schema)) return plain(schema, name);
  const { '~standard': standard } = schema as { readonly '~standard': { readonly jsonSchema?: JsonSchemas; readonly vendor: string } };
  try {
    const told = standard.jsonSchema?.[side]({ target: DRAFT });
    if (told !== undefined) return plain(told, name);
  } catch (error) {
    throw new ToolDefinitionError(name, `methods.${name}.${side}: it has no JSON Schema: ${(error as Error).message}`, { cause: error });
  }
  throw new ToolDefinitionError(
    name,
    `methods.${name}.${side}: a schema of ${standard.vendor} that cannot tell its JSON Schema; give one that can, or the JSON Schema itself`,
  );
}

interface JsonSchemas {
  readonly input: (options: { readonly target: string }) => unknown;
  readonly output: (options: { readonly target: string }) => unknown;
}

function plain(value: unknown, field: string): unknown {
  if (value === undefined) return undefined;
  try {
    return JSON.parse(toJson(value, field));
  } catch (error) {
    if (error instanceof ToolDefinitionError) throw error;
    throw new ToolDefinitionError(field, (error as Error).message, { cause: error });
  }
}
