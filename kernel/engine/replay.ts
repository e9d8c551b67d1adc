/**
 * Replaying a run that has ended: its handler is called again over its journal, by the same frame and context that run it live,
 * and the first difference ends it.
 *
 * Nothing is done and nothing is written: a call gets the outcome that the journal has for it, and one that has none there is
 * left open. What the handler does beside its calls, it does again, as after every crash of a worker. The code runs in the
 * process of the caller unless its workflow is hosted: whoever replays code that is not trusted does that in a process to spare.
 */
import { createHash } from 'node:crypto';
import { binary, canonicalJson, type Store } from '../store/index.ts';
import type { StepRecord } from './claim.ts';
import { type ContextHost, createContext } from './context.ts';
import { EngineError, HostCrashedError, HostUnavailableError } from './errors.ts';
import { type Call, createFrame, type FrameHost, type FrameRun, type HistoryRow, kindName, type Mismatch } from './frame.ts';
import { callHandler, failureOf, hostedRunOf } from './handler.ts';
import { toJson } from './json.ts';
import { mustRead, readSteps, type RunRecord } from './reads.ts';
import { parseRunId } from './start.ts';
import type { HostedRun, RegisteredWorkflow, RunStatus, StoredError, WorkflowRegistry } from './types.ts';

export interface ReplayOptions {
  /** After so long it is given up. Default 60,000. */
  readonly timeoutMs?: number | undefined;
  /** A handler that has come to rest, and does nothing for so long, waits for what the journal does not have. Default 5,000. */
  readonly stallMs?: number | undefined;
  /** `same`: refuse to replay when the code is another than the one that the run ended with. Default `present`: the code that new runs get. */
  readonly code?: 'present' | 'same' | undefined;
}

/** What of a run differs, and where. */
export interface Difference {
  /**
   * `name`, `kind` and `order`: another call than the journal has at this place. `asks`: the call waits for, or starts, something else.
   * `past_end`: a call where the journal ends. `ended_early`: no call where the journal has one. `stalled`: the handler waits for what the
   * journal does not have. `result`, `error`, `outcome`: another end.
   */
  readonly what: 'name' | 'kind' | 'order' | 'asks' | 'past_end' | 'ended_early' | 'stalled' | 'result' | 'error' | 'outcome';
  /** Of the call; null where the end differs. */
  readonly seq: number | null;
  readonly step: string | null;
  readonly expected: unknown;
  readonly found: unknown;
  readonly message: string;
}

export interface ReplayReport {
  readonly run_id: string;
  readonly workflow_name: string;
  readonly status: RunStatus;
  readonly attempt: number;
  readonly verdict: 'same' | 'different';
  readonly difference: Difference | null;
  /** Calls of the journal, and how many the handler made again. */
  readonly calls: { readonly recorded: number; readonly replayed: number };
  readonly code: { readonly recorded: string | null; readonly present: string; readonly same: boolean };
  readonly ms: number;
}

/** Errors by which the platform, and not the handler, ended a run: its journal breaks off. */
const BROKEN_OFF = new Set(['CRASH_LOOP', 'HOST_CRASHED', 'ROW_REJECTED']);
const TIMEOUT_MS = 60_000;
const STALL_MS = 5000;
const REST_MS = 400;
const LOOK_MS = 50;
/** A sleep that nobody stored the end of was over when the run ended: clocks may differ by less. */
const CLOCKS_MS = 1000;
const SHOWN_MOST = 300;
const OVER = new Error('the replay is over');

/**
 * @throws EngineError RUN_NOT_FOUND, RUN_NOT_ENDED, UNKNOWN_WORKFLOW, CODE_CHANGED, REPLAY_STOPPED
 */
export async function replayRun(
  { store, registry }: { readonly store: Store; readonly registry: WorkflowRegistry },
  runId: string,
  options: ReplayOptions = {},
): Promise<ReplayReport> {
  return replayOver(registry, await readJournal(store, runId), options);
}

/** All that a replay needs of the database; it passes from process to process. */
export interface Journal {
  readonly run: RunRecord;
  readonly steps: readonly StepRecord[];
  /** SHA-256 of the input, by run. */
  readonly children: ReadonlyMap<string, string>;
}

/** @throws EngineError RUN_NOT_FOUND, RUN_NOT_ENDED */
export async function readJournal(store: Store, runId: string): Promise<Journal> {
  const id = parseRunId(runId);
  const run = await mustRead(store, id);
  if (run.ended_at === null)
    throw new EngineError('RUN_NOT_ENDED', `run ${id} is ${run.status}: it is replayed when it has ended; "runs show" tells how far it is`);
  const steps = await readSteps(store, id);
  return { run, steps, children: await childInputs(store, steps) };
}

/** @throws EngineError UNKNOWN_WORKFLOW, CODE_CHANGED, REPLAY_STOPPED */
export async function replayOver(registry: WorkflowRegistry, journal: Journal, options: ReplayOptions = {}): Promise<ReplayReport> {
  const before = performance.now();
  const { run, steps } = journal;
  const workflow = codeOf(registry, run, options.code ?? 'present');
  // cancelled while it was queued: there is nothing to hold the code against
  const outcome = run.started_at === null ? { difference: null, replayed: 0 } : await replayJournal(workflow, journal, options);
  return {
    run_id: run.run_id,
    workflow_name: run.workflow_name,
    status: run.status as RunStatus,
    attempt: run.attempt,
    verdict: outcome.difference === null ? 'same' : 'different',
    difference: outcome.difference,
    calls: { recorded: steps.length, replayed: outcome.replayed },
    code: { recorded: run.workflow_version, present: workflow.version, same: run.workflow_version === workflow.version },
    ms: Math.round(performance.now() - before),
  };
}

function codeOf(registry: WorkflowRegistry, run: RunRecord, code: 'present' | 'same'): RegisteredWorkflow {
  const workflow = registry.get(run.workflow_name, code === 'same' ? (run.workflow_version ?? undefined) : undefined);
  if (workflow === undefined)
    throw new EngineError(
      'UNKNOWN_WORKFLOW',
      `no file defines the workflow "${run.workflow_name}" any more: put it back to replay its runs`,
    );
  if (code === 'same' && workflow.version !== run.workflow_version)
    throw new EngineError(
      'CODE_CHANGED',
      `run ${run.run_id} ended with version ${run.workflow_version ?? 'unknown'} of "${run.workflow_name}", and the one here is ${workflow.version}`,
    );
  return workflow;
}

/** Inputs with which the run started others, where these are still there. */
async function childInputs(store: Store, steps: readonly StepRecord[]): Promise<Map<string, string>> {
  const ids = steps.flatMap((step) => (step.kind === 'c' ? (startedBy(step.outcome)?.run_id ?? []) : []));
  if (ids.length === 0) return new Map();
  const { rows } = await store.query<{ run_id: string; digest: string | null }>(
    `select run_id, encode(sha256(convert_to(input::text, 'UTF8')), 'hex') as digest from workflow_runs where run_id = any($1::uuid[])
     union all select run_id, encode(sha256(convert_to(input::text, 'UTF8')), 'hex') from workflow_runs_finished where run_id = any($1::uuid[])`,
    [binary.uuidArray(ids)],
  );
  return new Map(rows.flatMap(({ run_id, digest }) => (digest === null ? [] : [[run_id, digest]])));
}

async function replayJournal(
  workflow: RegisteredWorkflow,
  { run, steps, children }: Journal,
  options: ReplayOptions,
): Promise<{ readonly difference: Difference | null; readonly replayed: number }> {
  const history = steps.map((step): HistoryRow => ({ ...step, wakeAt: step.wake_at, startedAt: step.started_at, endedAt: step.ended_at }));
  const expected = expectedEnd(run);
  const { promise, resolve, reject } = Promise.withResolvers<Difference | null>();
  /** Looks since the handler moved. A process that stands still takes none, so that its own pauses are not the handler's. */
  let looks = 0;
  let replayed = 0;

  const differ = (difference: Difference): void => resolve(difference);
  const frameHost: FrameHost = {
    whole: true,
    now: () => (run.ended_at as number) + CLOCKS_MS,
    // whatever the handler makes of its outcomes: it is not written
    push(write) {
      const row = write.type === 'step' || write.type === 'settleStep' ? write.row : undefined;
      if (expected.end !== 'broken off')
        differ(pastEnd(row === undefined ? null : { seq: row.seq, kind: kindName(row.kind), name: row.name }));
    },
    onParked: () => undefined,
    onMismatch: (_, problem) => differ(mismatched(problem, steps)),
    onRejected: (_, error) => reject(error),
    onFenced: () => undefined,
    onDelivered() {
      looks = 0;
    },
  };
  const contextHost: ContextHost = {
    now: frameHost.now,
    log: () => undefined,
    prepareStart: notHere,
    startAgent: notHere,
    outside: {},
    onStarted: () => undefined,
    checkWait: () => undefined,
    transactionStep: notHere,
    ask: notHere,
    expireApproval: notHere,
    useApproval: notHere,
    withdrawApproval: async () => undefined,
    countStep: () => undefined,
    timeStep: () => undefined,
    leaseInDoubt: () => undefined,
    observe(call, recorded, asks) {
      looks = 0;
      if (recorded === undefined) {
        // of a journal that breaks off, calls that were under way are missing
        if (expected.end !== 'broken off') differ(pastEnd({ seq: call.seq, kind: kindName(call.kind), name: call.name }));
        return 'hold';
      }
      replayed += 1;
      const other = asks === undefined ? undefined : asksForOther(call, recorded, asks, children);
      if (other !== undefined) differ(other);
      // the end of a lone sleep is not stored: it is handed out without being written
      return recorded.ord === null && recorded.kind !== 'z' ? 'hold' : 'go';
    },
  };

  const frame = createFrame(frameHost, frameRun(run), history);
  const timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  const timer = setTimeout(
    () => reject(new EngineError('REPLAY_STOPPED', `the replay took longer than ${timeoutMs / 1000} s; --timeout gives it more`)),
    timeoutMs,
  );
  const looking = setInterval(() => {
    // a process that starts, or is busy, is not one that waits
    looks = frame.executing > 0 || (workflow.hosted !== undefined && frame.isAtRest?.() !== true) ? 0 : looks + 1;
    const rested = looks * LOOK_MS;
    if (expected.end === 'broken off' && !frame.replaying && rested >= REST_MS) resolve(null);
    else if (rested >= (options.stallMs ?? STALL_MS)) differ(stalled(frame.replayState));
  }, LOOK_MS);

  async function go(): Promise<void> {
    const hosted = (): HostedRun => ({
      ...replayOnly(hostedRunOf(frame, 0, () => performance.now() + timeoutMs)),
    });
    let found: End;
    try {
      const result = await callHandler(workflow, run.input, createContext(contextHost, frame), hosted);
      await frame.join();
      found = { end: 'completed', result: toJson(result, `result of ${run.workflow_name}`) };
    } catch (error) {
      if (error instanceof HostUnavailableError) throw error;
      if (error instanceof HostCrashedError) throw new EngineError('REPLAY_STOPPED', `the replay's process ended: ${error.message}`);
      await frame.join();
      found = { end: 'failed', error: failureOf(error) };
    }
    if (frame.closed || (found.end === 'completed' && frame.unreached())) return;
    resolve(endDiffers(expected, found));
  }

  go().catch(reject);
  try {
    return { difference: await promise, replayed };
  } finally {
    clearTimeout(timer);
    clearInterval(looking);
    frame.close(OVER);
  }
}

/** Where a host would run a step before it has asked, or say what is for the log, it must not. */
function replayOnly(run: HostedRun): HostedRun {
  return {
    traceId: run.traceId,
    seed: run.seed,
    crashes: 0,
    replay: true,
    live: false,
    historyLength: 2 ** 31 - 1,
    get nextIsSettled() {
      return run.nextIsSettled;
    },
    patches: run.patches,
    get leaseHeldUntil() {
      return run.leaseHeldUntil;
    },
    onOutcome: run.onOutcome,
    onClose: run.onClose,
  };
}

const notHere = (): never => {
  throw new Error('a replay does nothing');
};

function frameRun(run: RunRecord): FrameRun {
  return {
    runId: run.run_id,
    workflow: run.workflow_name,
    version: run.workflow_version,
    attempt: run.attempt,
    seed: run.seed ?? run.run_id,
    traceId: run.trace_id ?? run.run_id,
    queue: run.queue,
    key: run.concurrency_key,
    input: run.input,
    startedAt: Math.round(run.started_at ?? 0),
  };
}

type End =
  | { readonly end: 'completed'; readonly result: string }
  | { readonly end: 'failed'; readonly error: StoredError }
  /** It was cancelled, or its process kept dying: the journal breaks off somewhere. */
  | { readonly end: 'broken off' };

function expectedEnd(run: RunRecord): End {
  if (run.letter === 'c') return { end: 'completed', result: run.result ?? 'null' };
  const error = run.error === null ? undefined : (JSON.parse(run.error) as StoredError);
  return run.letter === 'f' && error !== undefined && !BROKEN_OFF.has(error.code) ? { end: 'failed', error } : { end: 'broken off' };
}

function endDiffers(expected: End, found: End): Difference | null {
  if (expected.end === 'broken off' || found.end === 'broken off') return null;
  const of = (end: End) => (end.end === 'completed' ? digested(end.result) : end.end === 'failed' ? end.error : null);
  const differ = (what: Difference['what'], message: string): Difference => ({
    what,
    seq: null,
    step: null,
    expected: { end: expected.end, ...asMember(of(expected)) },
    found: { end: found.end, ...asMember(of(found)) },
    message,
  });
  if (expected.end !== found.end) return differ('outcome', `the run ${expected.end}, and in the replay its handler ${found.end}`);
  if (expected.end === 'completed' && found.end === 'completed')
    return digested(expected.result).sha256 === digested(found.result).sha256
      ? null
      : differ('result', 'the handler returns another result');
  return canonicalJson(of(expected)) === canonicalJson(of(found)) ? null : differ('error', 'the handler fails with another error');
}

const asMember = (value: unknown): object => (value === null ? {} : { value });

function digested(json: string): { readonly sha256: string; readonly begins: string } {
  const text = canonicalJson(JSON.parse(json));
  return { sha256: createHash('sha256').update(text).digest('hex'), begins: text.slice(0, SHOWN_MOST) };
}

function mismatched({ expected, found }: Mismatch, steps: readonly StepRecord[]): Difference {
  const was = expected as { readonly seq: number; readonly kind: string; readonly name: string };
  const is = found as { readonly kind: string; readonly name: string } | null;
  const place = `call ${was.seq}: the journal has ${was.kind} "${was.name}"`;
  const base = { seq: was.seq, step: was.name, expected, found };
  if (is === null) return { ...base, what: 'ended_early', message: `${place}, and the handler ended before it` };
  const what = is.name === was.name ? 'kind' : steps.some(({ name }) => name === is.name) ? 'order' : 'name';
  return { ...base, what, message: `${place}, and the code calls ${is.kind} "${is.name}"` };
}

function pastEnd(found: { readonly seq: number; readonly kind: string; readonly name: string } | null): Difference {
  const what = found === null ? 'a call' : `${found.kind} "${found.name}"`;
  return {
    what: 'past_end',
    seq: found?.seq ?? null,
    step: found?.name ?? null,
    expected: null,
    found,
    message: `the journal ends, and the code goes on with ${what}`,
  };
}

function stalled(state: {
  readonly next: { readonly seq: number; readonly name: string | undefined } | null;
  readonly open: readonly object[];
}): Difference {
  const { next, open } = state;
  return {
    what: 'stalled',
    seq: next?.seq ?? null,
    step: next?.name ?? null,
    expected: next,
    found: { open },
    message:
      next === null
        ? 'the run ended, and in the replay its handler waits for something'
        : `the journal goes on with the outcome of call ${next.seq}, "${next.name}", which the code has not made`,
  };
}

/** Waits and starts say in the journal what they were for. */
function asksForOther(call: Call, recorded: HistoryRow, asks: object, children: ReadonlyMap<string, string>): Difference | undefined {
  const differ = (expected: object, found: object): Difference => ({
    what: 'asks',
    seq: call.seq,
    step: call.name,
    expected,
    found,
    message: `call ${call.seq}, ${kindName(call.kind)} "${call.name}", is for something else than in the journal`,
  });
  if (call.kind !== 'c') {
    const was = recorded.detail === null ? {} : (JSON.parse(recorded.detail) as Record<string, unknown>);
    const same = Object.entries(asks).every(([field, value]) => was[field] === undefined || was[field] === value);
    return same ? undefined : differ(was, asks);
  }
  const started = recorded.status === 'o' ? startedBy(recorded.outcome) : undefined;
  if (started === undefined) return undefined;
  const { workflow_name, input } = asks as { readonly workflow_name: string; readonly input: unknown };
  if (started.workflow_name !== workflow_name) return differ({ workflow_name: started.workflow_name }, { workflow_name });
  const was = children.get(started.run_id);
  const is = createHash('sha256').update(toJson(input, 'input')).digest('hex');
  return was === undefined || was === is ? undefined : differ({ workflow_name, input_sha256: was }, { workflow_name, input_sha256: is });
}

function startedBy(outcome: string | null): { readonly run_id: string; readonly workflow_name: string } | undefined {
  const value = outcome === null ? null : (JSON.parse(outcome) as { run_id?: unknown; workflow_name?: unknown } | null);
  return typeof value?.run_id === 'string' && typeof value.workflow_name === 'string'
    ? { run_id: value.run_id, workflow_name: value.workflow_name }
    : undefined;
}
