/** The process of one version of a tool, and the calls that it serves. */
import { createHash } from 'node:crypto';
import type { Dispatch, DispatchResult, ServedTool, ToolCaller } from '@centaur/kernel/tools';
import type { Connection, RunMessage } from '../hosts/hosted/connection.ts';
import { plainText } from '../hosts/hosted/fields.ts';
import type { HostProcess } from '../hosts/hosted/launch.ts';
import { type Acquired, createPool, type Pool } from '../hosts/hosted/pool.ts';
import { ATTACHED_BYTES_MOST, RESULT_BYTES_MOST } from '../hosts/protocol/messages.ts';

export interface Service {
  /** Never throws for what the tool does. @param slots its concurrency: shared with its other versions */
  call(call: Dispatch, slots: (signal: AbortSignal) => Promise<() => void>): Promise<DispatchResult>;
  readonly pool: Pool;
  readonly busy: boolean;
  /** It gets no more calls: ends with those that it has. */
  retire(): void;
}

export interface ServiceOptions {
  readonly tool: ServedTool;
  /** Relative to the root that the process sees. */
  readonly file: string;
  launch(onClose: (reason: Error) => void): Promise<HostProcess>;
  isCurrent(): Promise<boolean>;
  readonly idleMs: number;
  readonly loadMs: number;
  readonly log: (entry: { readonly level: 'info' | 'warn' | 'error'; readonly message: string; readonly [field: string]: unknown }) => void;
}

/** The tool's files cannot be loaded: another process would not load them either. */
class LoadError extends Error {}

type Failure = Extract<DispatchResult, { readonly ok: false }>;

const SERVE_MS = 12 * 3_600_000;
const SERVE_CALLS = 1_000_000;
/** For an answer, once a call was cancelled: who takes longer is not going to give one. */
const CANCEL_MS = 2000;
const STARTS_MOST = 3;
const ATTACHED_MOST = 50;
/** Of one call, a second. */
const NOTES_MOST = 50;
const MESSAGE_MOST = 8192;
const DEPTH_MOST = 200;

export function createService(options: ServiceOptions): Service {
  const { tool, log } = options;
  let calls = 0;
  let retired = false;
  const pool = createPool({
    launch: startLoaded,
    isCurrent: options.isCurrent,
    idleMs: options.idleMs,
    serveMs: SERVE_MS,
    serveRuns: SERVE_CALLS,
    onEnd: (reason) => log({ level: 'warn', message: 'a tool host has ended', tool: tool.name, error: reason.message }),
  });

  /** A process counts as started when its tool is loaded: so a call that it was not yet sent is known not to have begun. */
  async function startLoaded(onClose: (reason: Error) => void): Promise<HostProcess> {
    const host = await options.launch(onClose);
    try {
      await loaded(host.connection, options.file, options.loadMs);
      return host;
    } catch (error) {
      await host.stop();
      throw error;
    }
  }

  async function call(call: Dispatch, slots: (signal: AbortSignal) => Promise<() => void>): Promise<DispatchResult> {
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort('TOOL_TIMEOUT'), call.method.timeoutMs);
    const gone = (): void => stop.abort('TOOL_CANCELLED');
    if (call.signal.aborted) gone();
    call.signal.addEventListener('abort', gone, { once: true });
    calls += 1;
    const began = performance.now();
    try {
      const leave = await slots(stop.signal);
      try {
        return await make(call, stop.signal, began);
      } finally {
        leave();
      }
    } catch (error) {
      if (!stop.signal.aborted) throw error;
      return stopped(stop.signal, 'unstarted');
    } finally {
      calls -= 1;
      clearTimeout(timer);
      call.signal.removeEventListener('abort', gone);
      end();
    }
  }

  async function make(call: Dispatch, stop: AbortSignal, began: number): Promise<DispatchResult> {
    for (let attempt = 1; ; attempt++) {
      try {
        const acquired = await unlessAborted(pool.acquire(), stop);
        if (acquired.connection.closed === undefined) {
          const waitedMs = Math.round((performance.now() - began) * 100) / 100;
          return { ...(await serve(call, acquired, stop)), waitedMs };
        }
        acquired.release();
        throw acquired.connection.closed;
      } catch (error) {
        if (stop.aborted) throw error;
        if (attempt < STARTS_MOST && !(error instanceof LoadError)) await pause(pool.delayMs, stop);
        else
          return {
            ok: false,
            code: 'TOOL_UNAVAILABLE',
            message: `the process of the tool ${tool.name} did not start: ${(error as Error).message}`,
            retryable: true,
            started: false,
          };
      }
    }
  }

  function serve(call: Dispatch, { connection, release, replace }: Acquired, stop: AbortSignal): Promise<DispatchResult> {
    const { callId, method, caller } = call;
    const note = perSecond(NOTES_MOST);
    let attached = 0;
    return new Promise((resolve) => {
      let grace: NodeJS.Timeout | undefined;
      const settle = (result: DispatchResult): void => {
        clearTimeout(grace);
        stop.removeEventListener('abort', cancel);
        off();
        release();
        resolve(result);
      };
      const cancel = (): void => {
        connection.send({ type: 'tool.cancel', run_id: callId });
        grace = setTimeout(() => {
          log({
            level: 'warn',
            message: 'a call did not end when it was cancelled; its process is replaced',
            tool: tool.name,
            method: method.name,
          });
          replace();
          settle(stopped(stop, 'started'));
        }, CANCEL_MS);
      };
      const off = connection.attach(callId, {
        lost: (reason) =>
          settle({
            ok: false,
            code: 'TOOL_CRASHED',
            message: `the process of the tool ${tool.name} ended: ${reason.message}`,
            retryable: true,
            started: true,
          }),
        message(message) {
          switch (message.type) {
            case 'tool.result': {
              const result = resultOf(message);
              // what fails because it was cancelled says that in its own words
              return settle(!result.ok && stop.aborted ? stopped(stop, 'started') : result);
            }
            case 'tool.progress':
              if (note()) call.onProgress?.(clip(message.message), finite(message.done), finite(message.total));
              return;
            case 'tool.log':
              if (note())
                log({
                  level: 'info',
                  message: clip(message.message),
                  tool: tool.name,
                  method: method.name,
                  call: callId,
                  ...(isPlainFields(message.fields) ? { fields: message.fields } : {}),
                });
              return;
            case 'tool.attach':
              attached += 1;
              return void attach(call, connection, message, attached);
            default:
          }
        },
      });
      stop.addEventListener('abort', cancel, { once: true });
      connection.send({
        type: 'tool.call',
        run_id: callId,
        tool: tool.name,
        method: method.name,
        args: call.args,
        context: {
          ...(caller.threadKey === undefined ? {} : { thread_key: caller.threadKey }),
          ...(caller.runId === undefined ? {} : { workflow_run_id: caller.runId }),
          ...(caller.traceId === undefined ? {} : { trace_id: caller.traceId }),
          ...call.trace,
          caller: callerOf(tool.name, caller),
          idempotency_key: call.idempotencyKey,
          timeout_ms: method.timeoutMs,
        },
      });
    });
  }

  function stopped({ reason }: AbortSignal, when: 'started' | 'unstarted'): Failure {
    const started = when === 'started';
    return reason === 'TOOL_TIMEOUT'
      ? {
          ok: false,
          code: 'TOOL_TIMEOUT',
          message: started ? `the tool ${tool.name} did not answer in time` : `the tool ${tool.name} had no room for the call in time`,
          retryable: true,
          started,
        }
      : { ok: false, code: 'TOOL_CANCELLED', message: 'the call was cancelled by its caller', retryable: true, started };
  }

  function end(): void {
    if (retired && calls === 0) void pool.close();
  }

  return {
    call,
    pool,
    get busy() {
      return calls > 0;
    },
    retire() {
      retired = true;
      end();
    },
  };
}

/** Names whoever calls, without telling the tool who that is: each tool knows them by another id. */
function callerOf(tool: string, { principal, runId }: ToolCaller): string {
  return createHash('sha256')
    .update(JSON.stringify(['caller of a tool', tool, principal, runId ?? null]))
    .digest('hex')
    .slice(0, 32);
}

function loaded(connection: Connection, file: string, ms: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => finish(new LoadError(`it did not load within ${ms / 1000} s`)), ms);
    const finish = (error?: Error): void => {
      clearTimeout(timer);
      off();
      if (error === undefined) resolve();
      else reject(error);
    };
    const off = connection.attach('ready', {
      lost: finish,
      message(message) {
        if (message.type !== 'tool.discovery') return;
        const [problem] = Array.isArray(message.problems) ? message.problems : [];
        finish(problem === undefined ? undefined : new LoadError(clip(problem?.message)));
      },
    });
    connection.send({ type: 'tool.discover', run_id: 'ready', files: [file] });
  });
}

async function attach(
  call: Dispatch,
  connection: Connection,
  { request_id: requestId, name, mime_type: mimeType, data }: Extract<RunMessage, { readonly type: 'tool.attach' }>,
  count: number,
): Promise<void> {
  const answer = { type: 'tool.attached', run_id: call.callId, request_id: requestId } as const;
  try {
    if (typeof requestId !== 'string' || typeof name !== 'string' || typeof mimeType !== 'string' || typeof data !== 'string')
      throw new Error('a file has a name, a type and data in base64');
    if (count > ATTACHED_MOST) throw new Error(`${ATTACHED_MOST} files are the most of one call`);
    const bytes = Buffer.from(data, 'base64');
    if (bytes.length > ATTACHED_BYTES_MOST) throw new Error(`${bytes.length} bytes are over the limit of ${ATTACHED_BYTES_MOST}`);
    const file = await call.attach({ name, mimeType, data: bytes });
    connection.send({ ...answer, ok: true, file });
  } catch (error) {
    connection.send({ ...answer, ok: false, message: (error as Error).message });
  }
}

function resultOf(told: Extract<RunMessage, { readonly type: 'tool.result' }>): DispatchResult {
  // of any shape
  const message: Readonly<Record<string, unknown>> = { ...told };
  if (message['ok'] === true) {
    const { value = null } = message;
    if (depthOf(value) <= DEPTH_MOST && JSON.stringify(value).length <= RESULT_BYTES_MOST) return { ok: true, value };
    return { ok: false, code: 'TOO_LARGE', message: 'its result is too large, or nested too deeply', retryable: false, started: true };
  }
  const code = plainText(message['code']).slice(0, 128);
  return {
    ok: false,
    code: code === '' ? 'TOOL_FAILED' : code,
    message: clip(message['message']),
    retryable: message['retryable'] === true,
    started: true,
  };
}

/** Without recursion: the value may be nested as deeply as its text is long. */
function depthOf(value: unknown): number {
  let depth = 0;
  let level: readonly unknown[] = [value];
  while (level.length > 0 && depth <= DEPTH_MOST) {
    const next: unknown[] = [];
    for (const each of level) if (typeof each === 'object' && each !== null) for (const inner of Object.values(each)) next.push(inner);
    if (next.length > 0) depth += 1;
    level = next;
  }
  return depth;
}

/** @throws the signal's reason; what is acquired later is given back */
async function unlessAborted(acquiring: Promise<Acquired>, signal: AbortSignal): Promise<Acquired> {
  signal.throwIfAborted();
  let leave: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    leave = () => reject(signal.reason as Error);
    signal.addEventListener('abort', leave, { once: true });
  });
  try {
    return await Promise.race([acquiring, aborted]);
  } catch (error) {
    acquiring.then(({ release }) => release()).catch(() => undefined);
    throw error;
  } finally {
    signal.removeEventListener('abort', leave as () => void);
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener(
      'abort',
      () => {
        clearTimeout(timer);
        reject(signal.reason as Error);
      },
      { once: true },
    );
  });
}

function perSecond(most: number): () => boolean {
  let second = 0;
  let count = 0;
  return () => {
    const now = Math.floor(performance.now() / 1000);
    if (now !== second) [second, count] = [now, 0];
    count += 1;
    return count <= most;
  };
}

const clip = (value: unknown): string => plainText(value).slice(0, MESSAGE_MOST);
const finite = (value: unknown): number | undefined => (typeof value === 'number' && Number.isFinite(value) ? value : undefined);

function isPlainFields(value: unknown): value is Readonly<Record<string, unknown>> {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    depthOf(value) < 10 &&
    JSON.stringify(value).length <= MESSAGE_MOST
  );
}
