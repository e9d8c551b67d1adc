/** Calls a method of a tool as the kernel and the tool's host do, without either: the arguments are checked first. */
import assert from 'node:assert/strict';
import type { ToolContext, ToolDefinition, ToolFile } from '@centaur/sdk';
import { ToolFailure } from '@centaur/sdk';
import * as z from 'zod';

export interface CallOptions {
  readonly idempotencyKey?: string;
  /** Default: none. */
  readonly threadKey?: string | undefined;
  readonly signal?: AbortSignal;
  /** Gets what the method attaches. */
  readonly attached?: ToolFile[];
}

let calls = 0;

// results of many shapes
// oxlint-disable-next-line typescript/no-explicit-any
export async function callMethod(tool: ToolDefinition, name: string, args: unknown = {}, options: CallOptions = {}): Promise<any> {
  const method = tool.methods[name];
  assert.ok(method, `the tool has no method ${name}`);
  const input = checked(method.input ?? z.strictObject({}), args);
  const result: unknown = await method.run(input, context(options));
  // what does not survive JSON would be lost on the way
  return JSON.parse(JSON.stringify(result)) as unknown;
}

export function schemaOf(input: unknown): Readonly<Record<string, unknown>> {
  return input instanceof z.ZodType ? z.toJSONSchema(input, { io: 'input' }) : (input as Readonly<Record<string, unknown>>);
}

/** The failure of a call that has to fail. */
export async function failureOf(promise: Promise<unknown>): Promise<ToolFailure> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof ToolFailure, `not a ToolFailure but ${String(error)}`);
    return error;
  }
  return assert.fail('it should have failed');
}

function checked(input: unknown, args: unknown): unknown {
  const byKernel = z.fromJSONSchema(schemaOf(input)).safeParse(args);
  if (!byKernel.success) throw new ToolFailure('INVALID_ARGUMENTS', z.prettifyError(byKernel.error));
  if (!(input instanceof z.ZodType)) return args;
  const byTool = input.safeParse(args);
  if (!byTool.success) throw new ToolFailure('INVALID_ARGUMENTS', z.prettifyError(byTool.error));
  return byTool.data;
}

function context({
  idempotencyKey = `key-${++calls}`,
  threadKey,
  signal = new AbortController().signal,
  attached = [],
}: CallOptions): ToolContext {
  return {
    callId: `call-${calls}`,
    idempotencyKey,
    threadKey,
    runId: undefined,
    traceId: undefined,
    caller: threadKey ?? 'test',
    signal,
    log: () => {},
    progress: () => {},
    attach(file) {
      attached.push(file);
      return Promise.resolve({
        attachment_id: `a${attached.length}`,
        name: file.name,
        mime_type: file.mimeType,
        size: file.data.byteLength,
      });
    },
  };
}
