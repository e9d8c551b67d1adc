/** What a tool host does with each message. */
import { randomUUID } from 'node:crypto';
import path from 'node:path';
import { isToolDefinition, type ToolContext, type ToolDefinition, ToolFailure, type ToolFile } from '../../../sdk/src/tool.ts';
import { createSnapshots, type Snapshot } from '../node/snapshot.ts';
import type { Problem } from '../node/locate.ts';
import { fieldPosition } from '../node/position.ts';
import {
  ATTACHED_BYTES_MOST,
  type FromToolHost,
  PROTOCOL,
  RESULT_BYTES_MOST,
  type ToHost,
  type ToolCallMessage,
  type ToolDiscovery,
} from '../protocol/messages.ts';
import { checkInput, isStandardSchema } from './input.ts';
import type { Outbox } from './lines.ts';
import { strippedIn } from './stripped.ts';
import { tellTool, ToolDefinitionError } from './tool-definition.ts';
import { traceHeadersOf, withTrace } from './trace-headers.ts';
import { clip, describe } from '../../../sdk/src/values.ts';
import { EngineError, toJson } from './values.ts';

export interface ToolHost {
  /** One line from outside. */
  read(line: string): void;
}

interface Call {
  readonly abort: AbortController;
  readonly attaching: Map<string, { resolve(file: AttachedFile): void; reject(error: Error): void }>;
}

type AttachedFile = Awaited<ReturnType<ToolContext['attach']>>;
type Outcome = { readonly ok: true; readonly value: string } | { readonly ok: false; code: string; message: string; retryable: boolean };

/**
 * @param place `file`: the tool that is served, relative to the root; undefined where tools are only asked about
 */
export function createToolHost(
  place: { readonly root: string; readonly file: string | undefined; readonly stripped: string | undefined },
  outbox: Outbox,
): ToolHost {
  const roots = [path.resolve(place.root)];
  const snapshots = createSnapshots(roots, import.meta.resolve('../../../sdk/src/index.ts'), strippedIn(place.stripped, roots));
  const snapshot = snapshots.open();
  const calls = new Map<string, Call>();
  const serving = place.file === undefined ? undefined : definitionIn(path.resolve(place.root, place.file), snapshot);
  // told to whoever asks, and no reason to end before
  serving?.catch(() => undefined);

  const post = (message: FromToolHost | { type: 'host.pong'; id: string } | { type: 'host.error'; message: string }): void =>
    outbox.post(JSON.stringify(message));

  function read(line: string): void {
    let message: ToHost;
    try {
      message = JSON.parse(line) as ToHost;
    } catch (error) {
      return post({ type: 'host.error', message: `a line is not JSON: ${(error as Error).message}` });
    }
    switch (message?.type) {
      case 'tool.call':
        return void serve(message);
      case 'tool.cancel':
        return calls.get(message.run_id)?.abort.abort(new Error('the call was cancelled, or its time is up'));
      case 'tool.attached': {
        const call = calls.get(message.run_id);
        const waiting = call?.attaching.get(message.request_id);
        call?.attaching.delete(message.request_id);
        return message.ok ? waiting?.resolve(message.file) : waiting?.reject(new Error(message.message));
      }
      case 'tool.discover':
        return void discover(message.run_id, message.files);
      case 'host.ping':
        return post({ type: 'host.pong', id: message.id });
      default:
        return post({
          type: 'host.error',
          message: `no message is called ${JSON.stringify((message as { type?: unknown } | null)?.type)}`,
        });
    }
  }

  async function discover(runId: string, files: readonly string[]): Promise<void> {
    if (place.file !== undefined) return tellReady(runId, place.file);
    process.env['CENTAUR_ASKING'] = '1';
    // whoever ends this process while it loads would take the others' answers along
    const end = (): never => {
      throw new Error('it ends its process when it is loaded');
    };
    Object.assign(process, { exit: end, reallyExit: end, abort: end });
    const tell = (told: Pick<ToolDiscovery, 'tools' | 'problems' | 'done'>): void =>
      post({ type: 'tool.discovery', run_id: runId, protocol: PROTOCOL, ...told });
    for (const asked of files) {
      const file = path.resolve(place.root, asked);
      try {
        tell({ tools: [tellTool(await definitionIn(file, snapshot), asked)], problems: [], done: false });
      } catch (error) {
        const { file: where, ...problem } = await explain(error, file);
        tell({ tools: [], problems: [{ asked, source_path: where, ...problem }], done: false });
      }
      // it is out before the next one is loaded, which may end this process
      await new Promise((resolve) => setImmediate(resolve));
    }
    tell({ tools: [], problems: [], done: true });
  }

  /** One that serves a tool tells of that when it is loaded. */
  async function tellReady(runId: string, asked: string): Promise<void> {
    const answer = { type: 'tool.discovery', run_id: runId, protocol: PROTOCOL, done: true } as const;
    try {
      post({ ...answer, tools: [tellTool((await serving) as ToolDefinition, asked)], problems: [] });
    } catch (error) {
      const { file, ...problem } = await explain(error, path.resolve(place.root, asked));
      post({ ...answer, tools: [], problems: [{ asked, source_path: file, ...problem }] });
    }
  }

  async function explain(error: unknown, file: string): Promise<Problem> {
    if (error instanceof ToolDefinitionError)
      return { file, ...fieldPosition(snapshot.source(file) ?? '', error.field), message: error.message };
    // what explains errors is loaded when there is one
    const { locate } = await import('../node/locate.ts');
    return locate(error, file, snapshot, snapshots);
  }

  async function serve(message: ToolCallMessage): Promise<void> {
    const { run_id: runId } = message;
    const call: Call = { abort: new AbortController(), attaching: new Map() };
    calls.set(runId, call);
    const outcome = await run(message, call).catch(failureOf);
    calls.delete(runId);
    for (const { reject } of call.attaching.values()) reject(new Error('the call has ended'));
    // a result is text already
    if (outcome.ok) outbox.post(`{"type":"tool.result","run_id":${JSON.stringify(runId)},"ok":true,"value":${outcome.value}}`);
    else post({ type: 'tool.result', run_id: runId, ...outcome });
  }

  async function run({ run_id: runId, tool, method, args, context }: ToolCallMessage, call: Call): Promise<Outcome> {
    if (serving === undefined) throw new ToolFailure('TOOL_NOT_LOADED', 'this host only tells what tools are');
    const definition = await serving;
    const found = Object.hasOwn(definition.methods, method) ? definition.methods[method] : undefined;
    if (found === undefined) throw new ToolFailure('UNKNOWN_METHOD', `the tool ${tool} has no method ${method}`);
    let given: unknown = args;
    if (isStandardSchema(found.input)) {
      const checked = await checkInput(found.input, args);
      if (!checked.ok) throw new ToolFailure('INVALID_ARGUMENTS', `${tool}.${method}: ${checked.error}`);
      given = checked.value;
    }
    const value = await withTrace(traceHeadersOf(context), () => found.run(given, contextOf(runId, context, call)));
    return { ok: true, value: toJson(value, `the result of ${tool}.${method}`, RESULT_BYTES_MOST) };
  }

  function contextOf(runId: string, context: ToolCallMessage['context'], call: Call): ToolContext {
    return {
      callId: runId,
      idempotencyKey: context.idempotency_key,
      threadKey: context.thread_key,
      runId: context.workflow_run_id,
      traceId: context.trace_id,
      caller: context.caller,
      signal: call.abort.signal,
      log: (message, fields) =>
        post({ type: 'tool.log', run_id: runId, message: textOf(message), ...(fields === undefined ? {} : { fields }) }),
      progress: (message, done, total) =>
        post({
          type: 'tool.progress',
          run_id: runId,
          message: textOf(message),
          ...(done === undefined ? {} : { done }),
          ...(total === undefined ? {} : { total }),
        }),
      attach: (file) => attach(runId, call, file),
    };
  }

  function attach(runId: string, call: Call, { name, mimeType, data }: ToolFile): Promise<AttachedFile> {
    const bytes = Buffer.from(data);
    if (bytes.length > ATTACHED_BYTES_MOST)
      return Promise.reject(new ToolFailure('TOO_LARGE', `${name}: ${bytes.length} bytes are over the limit of ${ATTACHED_BYTES_MOST}`));
    return new Promise((resolve, reject) => {
      const id = randomUUID();
      call.attaching.set(id, { resolve, reject });
      post({ type: 'tool.attach', run_id: runId, request_id: id, name, mime_type: mimeType, data: bytes.toString('base64') });
    });
  }

  return { read };
}

async function definitionIn(file: string, snapshot: Snapshot): Promise<ToolDefinition> {
  const exported = (await snapshot.import(file))['default'];
  if (!isToolDefinition(exported))
    throw new ToolDefinitionError('default', 'its default export must be what defineTool({…}) returns: export default defineTool({ … })');
  return exported;
}

/** Whatever an author logs, as text. */
function textOf(message: unknown): string {
  return clip(typeof message === 'string' ? message : describe(message));
}

function failureOf(error: unknown): Outcome {
  // also one of another copy of the SDK
  const { name, code, message, retryable } = (typeof error === 'object' && error !== null ? error : {}) as Record<string, unknown>;
  if (name === 'ToolFailure' && typeof code === 'string')
    return { ok: false, code: clip(code, 128), message: clip(String(message)), retryable: retryable === true };
  if (error instanceof EngineError)
    return { ok: false, code: error.code === 'NOT_JSON' ? 'RESULT_NOT_JSON' : error.code, message: error.message, retryable: false };
  console.error(error);
  if (isRefusedConnection(error)) return { ok: false, code: 'REFUSED_BY_FIREWALL', message: REFUSED, retryable: false };
  const text = error instanceof Error ? withCause(error) : describe(error);
  return { ok: false, code: 'TOOL_FAILED', message: clip(text), retryable: true };
}

/** "fetch failed" alone says nothing: that the firewall refused the host is in its cause. */
function withCause(error: Error): string {
  const text = `${error.name}: ${error.message}`;
  return error.cause instanceof Error && error.cause.message !== '' ? `${text} (${error.cause.message})` : text;
}

const REFUSED = 'the firewall refused the connection: a tool reaches the hosts that it declares, and no other';

/** Node's fetch does not say what a proxy answers to CONNECT: it ends the request, and this is all that can be seen. */
function isRefusedConnection(error: unknown): boolean {
  const cause = error instanceof TypeError && error.message === 'fetch failed' ? error.cause : undefined;
  return cause instanceof Error && cause.message === 'Request was cancelled.';
}
