/** Tools in plain processes, for the tests of this room. */
import { randomUUID } from 'node:crypto';
import type { TestContext } from 'node:test';
import type { Dispatch, DispatchResult, ServedTool } from '@centaur/kernel/tools';
import { closeCallLease, type Installation, openCallLease } from '@centaur/kernel/vault';
import { launchPlain } from '../hosts/hosted/launch.ts';
import { directory, type WorkflowDirectory } from '../hosts/node/testing.ts';
import { createToolRunner, type ToolRunnerOptions, type Tools, type ToolsLogEntry } from './index.ts';

export interface TestTools extends Tools {
  readonly dirs: readonly WorkflowDirectory[];
  readonly state: string;
  readonly logged: ToolsLogEntry[];
  /** Processes that were started, by what for: a tool's name, or `ask`. */
  readonly started: string[];
  invoke(tool: string, method: string, args?: Readonly<Record<string, unknown>>, more?: Partial<Dispatch>): Promise<DispatchResult>;
  /** The value, or an error that says what came instead. */
  value(tool: string, method: string, args?: Readonly<Record<string, unknown>>, more?: Partial<Dispatch>): Promise<unknown>;
}

/** Each element is a root with its files. Ends with the test. */
export async function testTools(
  t: TestContext,
  roots: readonly Readonly<Record<string, string>>[],
  options: Partial<ToolRunnerOptions> & { readonly state?: string } = {},
): Promise<TestTools> {
  const dirs = roots.map((files) => directory(t, files));
  const state = options.state ?? directory(t).dir;
  const logged: ToolsLogEntry[] = [];
  const started: string[] = [];
  const log = (entry: ToolsLogEntry): void => void logged.push(entry);
  const tools = await createToolRunner({
    dirs: dirs.map(({ dir }) => dir),
    stateDir: state,
    watch: false,
    log,
    launch(program, tool, onClose) {
      started.push(tool?.name ?? 'ask');
      return launchPlain({ program, label: tool?.name ?? '', python: 'python3', memoryMb: 256, log, onClose });
    },
    ...options,
  });
  t.after(() => tools.close());
  return { ...tools, dirs, state, logged, started, ...callers(tools) };
}

/** @param installation where calls have leases, as the kernel gives them: without them no secret of a tool is given out */
export function callers(tools: Pick<Tools, 'get' | 'dispatch'>, installation?: Installation): Pick<TestTools, 'invoke' | 'value'> {
  const invoke: TestTools['invoke'] = async (name, method, args = {}, more = {}) => {
    const tool = tools.get(name);
    if (tool === undefined) throw new Error(`no tool ${name} is in service`);
    const call = { ...dispatchOf(tool, method, args), ...more };
    if (installation !== undefined) await openLease(installation, call);
    try {
      return await tools.dispatch(call);
    } finally {
      if (installation !== undefined) await closeCallLease(installation.store, call.callId);
    }
  };
  return {
    invoke,
    async value(name, method, args, more) {
      const result = await invoke(name, method, args, more);
      if (!result.ok) throw new Error(`${result.code}: ${result.message}`);
      return result.value;
    },
  };
}

async function openLease({ store, audit }: Installation, { callId, tool, own }: Dispatch): Promise<void> {
  const auditId = await audit.write({ action: 'tool.call', actor: 'key:test', resource: `tool:${tool.name}` });
  await openCallLease(store, {
    callId,
    principal: `tool:${tool.name}`,
    onBehalfOf: own && `user:${own.user}`,
    runId: undefined,
    threadKey: undefined,
    traceId: undefined,
    seconds: 60,
    auditId,
  });
}

export function dispatchOf(tool: ServedTool, method: string, args: Readonly<Record<string, unknown>> = {}): Dispatch {
  return {
    trace: undefined,
    callId: randomUUID(),
    tool,
    method: tool.methods.find(({ name }) => name === method) ?? { ...(tool.methods[0] as ServedTool['methods'][number]), name: method },
    args,
    idempotencyKey: randomUUID(),
    caller: { principal: 'key:test', threadKey: 'thread-1' },
    signal: new AbortController().signal,
    attach: async ({ name, mimeType, data }) => ({ attachment_id: `att-${name}`, name, mime_type: mimeType, size: data.length }),
  };
}

/** A tool in TypeScript, from the text of its methods. */
export const nodeTool = (methods: string, more = ''): string => `
import { defineTool, method, secret, ToolFailure, type ToolContext } from '@centaur/sdk';
${more.includes('\n') ? more : ''}
export default defineTool({
  description: 'For tests.',
  ${more.includes('\n') ? '' : more}
  methods: { ${methods} },
});
`;
