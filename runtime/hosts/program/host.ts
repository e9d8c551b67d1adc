/** What the host does with each message of the worker. */
import type { FromHost, HostErrorInfo, StartMessage, ToHost } from '../protocol/messages.ts';
import type { Catalog } from './catalog.ts';
import { createContext } from './context.ts';
import { checkInput } from './input.ts';
import type { Outbox } from './lines.ts';
import { Run } from './run.ts';
import { traceHeadersOf, withTrace } from './trace-headers.ts';
import { EngineError, errorInfo, toJson } from './values.ts';

type InputMessage = Extract<ToHost, { readonly type: 'workflow.input' }>;
type Judgement = Omit<Extract<FromHost, { readonly type: 'workflow.input' }>, 'type' | 'run_id' | 'request_id'>;

export interface Host {
  /** One line from the worker. */
  read(line: string): void;
  /** Resolves when everything that was read is answered, as far as that needs no more of the worker. */
  idle(): Promise<void>;
}

const LOADS_LONG_MS = 5000;

/**
 * @param clock milliseconds of the clock that the worker's lease is told in; undefined where that cannot be read
 */
export function createHost(loading: Promise<Catalog>, outbox: Outbox, clock: (() => number) | undefined): Host {
  const runs = new Map<string, Run>();
  const unknownTypes = new Set<string>();
  let catalog: Catalog | undefined;
  let early: ToHost[] = [];
  let leaseUntil: number | null = null;
  let questions = Promise.resolve();

  const leaseHolds = (): boolean => clock !== undefined && leaseUntil !== null && clock() < leaseUntil;
  const post = (message: FromHost): void => outbox.post(JSON.stringify(message));

  const loaded = loading.then((ready) => {
    clearTimeout(slow);
    catalog = ready;
    receiveEarly();
  });

  // a file may load slowly; that the host is there is told meanwhile
  let loadsLong = false;
  const slow = setTimeout(() => {
    loadsLong = true;
    receiveEarly();
  }, LOADS_LONG_MS);

  function receiveEarly(): void {
    const waiting = early;
    early = [];
    for (const message of waiting) receive(message);
  }

  function read(line: string): void {
    let message: ToHost;
    try {
      message = JSON.parse(line) as ToHost;
    } catch (error) {
      post({ type: 'host.error', message: `a line is not JSON: ${(error as Error).message}` });
      return;
    }
    receive(message);
  }

  function receive(message: ToHost): void {
    if (catalog !== undefined) handle(message, catalog);
    else if (loadsLong && message?.type === 'host.ping') pong(message);
    else early.push(message);
  }

  function pong({ id }: { readonly id: string }): void {
    post({ type: 'host.pong', id });
  }

  function handle(message: ToHost, ready: Catalog): void {
    switch (message?.type) {
      case 'ctx.response':
        return runs.get(message.run_id)?.answer(message);
      case 'workflow.start':
        return begin(message, ready);
      case 'workflow.cancel':
        runs.get(message.run_id)?.close(message.reason);
        runs.delete(message.run_id);
        return;
      case 'host.lease':
        leaseUntil = message.until;
        return;
      case 'workflow.input':
        questions = Promise.all([questions, answerInput(message, ready)]).then(() => undefined);
        return;
      case 'workflow.discover':
      case 'discover':
        return post(ready.discovery);
      case 'host.ping':
        return pong(message);
      default:
        refuseType(String((message as { type?: unknown } | null)?.type));
    }
  }

  function refuseType(type: string): void {
    if (unknownTypes.has(type)) return;
    unknownTypes.add(type);
    post({ type: 'host.error', message: `no message is called ${JSON.stringify(type)} in this version of the protocol` });
  }

  async function answerInput(message: InputMessage, ready: Catalog): Promise<void> {
    const judgement = await judgeInput(message, ready);
    post({ type: 'workflow.input', run_id: message.run_id, request_id: message.request_id, ...judgement });
  }

  function begin(start: StartMessage, ready: Catalog): void {
    leaseUntil = start.lease_until ?? null;
    runs.get(start.run_id)?.close('suspended');
    const run = new Run(start, outbox, leaseHolds);
    runs.set(start.run_id, run);
    void withTrace(traceHeadersOf(start), () => execute(run, ready)).then(() => {
      if (runs.get(start.run_id) === run) runs.delete(start.run_id);
    });
  }

  return {
    read,
    async idle() {
      if (early.length > 0) await loaded;
      await questions;
    },
  };
}

async function execute(run: Run, catalog: Catalog): Promise<void> {
  try {
    const result = await handlerResult(run, catalog);
    await run.join();
    run.complete(resultJson(result, run.start.workflow_name));
  } catch (error) {
    await run.join();
    run.fail(runError(error), error instanceof Error ? tracebackOf(error) : undefined);
  }
}

async function handlerResult(run: Run, catalog: Catalog): Promise<unknown> {
  const { workflow_name, input } = run.start;
  const definition = catalog.get(workflow_name);
  if (definition === undefined) throw new EngineError('UNKNOWN_WORKFLOW', `no file of this host defines the workflow "${workflow_name}"`);
  let given: unknown = input ?? null;
  if (definition.input !== undefined) {
    const checked = await checkInput(definition.input, given);
    if (!checked.ok) throw new EngineError('INVALID_INPUT', `${workflow_name}: ${checked.error}`);
    given = checked.value;
  }
  return definition.handler(given as never, createContext(run) as never);
}

/** Without the mark that tells one loading of a file from another. */
const tracebackOf = ({ stack }: Error): string | undefined => stack?.replaceAll(/\?centaur=[\d.]+/g, '');

function resultJson(result: unknown, workflow: string): string {
  try {
    return toJson(result, `result of ${workflow}`);
  } catch (error) {
    const { code, message } = error as EngineError;
    throw new EngineError(code === 'NOT_JSON' ? 'RESULT_NOT_JSON' : code, message);
  }
}

/** What the engine would refuse again is not tried again. */
function runError(error: unknown): HostErrorInfo {
  const info = errorInfo(error);
  return error instanceof EngineError ? { ...info, non_retryable: true } : info;
}

async function judgeInput({ workflow_name, input }: InputMessage, catalog: Catalog): Promise<Judgement> {
  const definition = catalog.get(workflow_name);
  if (definition === undefined) return { ok: false, error: `no file of this host defines the workflow "${workflow_name}"` };
  try {
    let value: unknown = input ?? null;
    if (definition.input !== undefined) {
      const checked = await checkInput(definition.input, value);
      if (!checked.ok) return checked;
      value = checked.value;
    }
    const key = definition.concurrencyKey?.(value as never);
    if (key !== undefined && key !== null && typeof key !== 'string')
      return { ok: false, error: `${definition.fields.concurrencyKey}: expected text or nothing, got a ${typeof key}` };
    return { ok: true, concurrency_key: key ?? null };
  } catch (error) {
    const { name, message } = errorInfo(error);
    return { ok: false, error: `input: checking it failed: ${name}: ${message}` };
  }
}
