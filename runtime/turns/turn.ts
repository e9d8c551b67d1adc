/**
 * One turn: the user's words go to the harness, what it says goes to the thread, and the end is stored in one commit.
 *
 * A worker that dies in the middle leaves the harness at work: it writes to its journal, and the next worker reads that on
 * from the last event that was stored. A harness or a sandbox that dies takes the turn with it only when a tool had run:
 * before that, nothing has happened in the world, and the turn begins again.
 */
import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { RunCancelledError } from '@centaur/sdk';
import { isTransient, type StoreLogEntry } from '@centaur/kernel/store';
import type { NewEvent, TerminalReason, Threads } from '@centaur/kernel/threads';
import { VaultError } from '@centaur/kernel/vault';
import type { ApprovalAnswer, ContentBlock, ErrorClass, HarnessEvent, TurnStatus, Usage } from '../harness/index.ts';
import { SandboxError } from '../sandbox/errors.ts';
import { watchSignals } from './control.ts';
import type { Heard } from './conversation.ts';
import { toContent } from './input.ts';
import type { PermissionRequest, Permissions, Waiting } from './permissions.ts';
import type { Place, Places, Renewal } from './place.ts';
import { createEventStream } from './stream.ts';

export type Owner = Parameters<Threads['turns']['begin']>[0];
type Turn = Awaited<ReturnType<Threads['turns']['begin']>>;
type Execution = Awaited<ReturnType<Threads['getExecution']>>;

export interface TurnParts {
  readonly threads: Threads;
  readonly places: Places;
  readonly permissions: Permissions;
  readonly deadlines: Deadlines;
  /** Aborts when this process stops: its turns go on in their sandboxes, and in whoever takes them over. */
  readonly detached: AbortSignal;
  readonly log: (entry: StoreLogEntry) => void;
}

export interface Deadlines {
  /** Without a line from the harness. */
  readonly silenceMs: number;
  readonly hardMs: number;
  /** Between asking a harness to stop and killing it. */
  readonly graceMs: number;
}

/** How often a turn begins again after something died. */
const ATTEMPTS = 3;
/** How often the start of a sandbox is tried, when it is not for want of room that it fails. */
const STARTS = 3;
const CAPACITY_WAIT_MS = [250, 500, 1000, 2000, 4000];
const SNAPSHOT_LARGEST = 64 * 1024 * 1024;

/** How long a sandbox that does not answer is waited for. */
const UNREACHABLE_MS = 60_000;
const UNREACHABLE_PAUSE_MS = 500;
/** After a process was killed, for its journal to say so. */
const KILLED_MS = 5000;

/** What became of one attempt. */
type Attempt =
  | {
      readonly kind: 'ended';
      readonly completed: TurnCompleted;
      readonly errorClass: ErrorClass | undefined;
      readonly why: Why | undefined;
    }
  | { readonly kind: 'died'; readonly message: string; readonly renew: Renewal; readonly toolRan: boolean; readonly why: Why | undefined }
  /** Its input cannot be given to the harness. */
  | { readonly kind: 'unfit'; readonly message: string }
  /** The sandbox did not answer; it may be there all the same. */
  | { readonly kind: 'unheard'; readonly message: string; readonly sandboxId: string };

type TurnCompleted = Extract<HarnessEvent, { type: 'turn.completed' }>;
type ApprovalRequest = Extract<HarnessEvent, { type: 'approval.request' }>;

interface Question {
  readonly event: ApprovalRequest;
  /** Aborts when it is answered, or taken back. */
  readonly gone: AbortController;
  begun: boolean;
  answered: boolean;
}

/** A harness that asks for more at a time is refused: each costs a place in somebody's list. */
const QUESTIONS_MOST = 32;
type Why = Extract<TerminalReason, 'cancelled' | 'silence_deadline_exceeded' | 'hard_deadline_exceeded'>;

/** @throws what ends this worker's part in the turn: it was taken over, or the worker stops */
export async function runTurn(parts: TurnParts, begun: Owner, signal: AbortSignal): Promise<Execution> {
  const { threads } = parts;
  let turn = await threads.turns.begin(begun);
  const owner: Owner = { ...begun, workerId: turn.workerId };
  if (turn.status === 'running' || turn.status === 'cancel_requested') await run();
  return threads.getExecution(owner.executionId);

  async function run(): Promise<void> {
    let renew: Renewal = 'no';
    let unheardSince: number | undefined;
    for (let attempt = 1; ;) {
      const place = await openPlace(parts, turn, owner, renew, signal);
      if ('reason' in place) return endWithout(place.reason, place.message);
      const tale = createTale(owner);
      let result = await talk(parts, place, turn, owner, tale, signal);
      if (result.kind === 'unfit') return endWithout('execution_error', result.message);
      if (result.kind === 'unheard') {
        unheardSince ??= performance.now();
        const gone = await isGone(result.sandboxId, performance.now() - unheardSince > UNREACHABLE_MS);
        if (gone === 'no') {
          if (Date.now() - turn.startedAt > parts.deadlines.hardMs) return endWithout('hard_deadline_exceeded', result.message);
          await pause(UNREACHABLE_PAUSE_MS, undefined, { signal });
          turn = await threads.turns.begin(owner);
          renew = 'no';
          continue;
        }
        // what nobody can read may have a tool in it
        const toolRan = tale.toolRan || (await threads.turns.hasEvent(owner, gone === 'yes' ? 'tool_use' : 'turn.started'));
        result = { kind: 'died', message: `the sandbox was lost: ${result.message}`, renew: 'sandbox', toolRan, why: undefined };
      }
      unheardSince = undefined;
      if (result.kind === 'died' && result.why === undefined && !result.toolRan && attempt < ATTEMPTS) {
        attempt += 1;
        parts.log({ level: 'warn', message: 'a turn begins again', execution_id: owner.executionId, reason: result.message });
        await threads.turns.append(owner, [
          noticeOf(owner, `${result.message.replace(/\.$/, '')}; no tool had run, so the turn begins again (${attempt} of ${ATTEMPTS})`),
        ]);
        renew = result.renew;
        turn = await threads.turns.begin(owner);
        continue;
      }
      await finish(parts, place, owner, result, tale);
      if (result.kind === 'ended') parts.places.keep(turn.threadKey, place);
      return;
    }
  }

  /** `unknown`: nobody has answered for long. */
  async function isGone(sandboxId: string, impatient: boolean): Promise<'yes' | 'no' | 'unknown'> {
    try {
      return (await parts.places.isKnown(sandboxId)) ? 'no' : 'yes';
    } catch (error) {
      if (!(error instanceof SandboxError)) throw error;
      return impatient ? 'unknown' : 'no';
    }
  }

  function endWithout(reason: TerminalReason, message: string): Promise<void> {
    return threads.turns.finish(owner, {
      status: reason === 'cancelled' ? 'cancelled' : 'failed_permanent',
      reason,
      resultText: '',
      errorText: message,
    });
  }
}

/** What a turn has come to, as told by its events. */
function createTale(owner: Owner) {
  let usage: Usage | undefined;
  return {
    toolRan: false,
    offset: 0,
    errorClass: undefined as ErrorClass | undefined,
    errorMessage: undefined as string | undefined,
    completed: undefined as TurnCompleted | undefined,
    get usage() {
      return usage;
    },
    hear(event: HarnessEvent): void {
      if (event.type === 'tool_use') this.toolRan = true;
      if (event.type === 'error' && event.fatal) {
        this.errorClass = event.class;
        this.errorMessage = event.message;
      }
      if (event.type === 'usage') usage = added(usage, event.usage);
      if (event.type === 'turn.completed') this.completed = event;
    },
    completedEvent(event: TurnCompleted): NewEvent {
      return { kind: event.type, data: { ...event, execution_id: owner.executionId } };
    },
  };
}
type Tale = ReturnType<typeof createTale>;

/** Where the turn can run, or why it cannot. Waits while there is no room. */
async function openPlace(
  { threads, places, deadlines, log }: TurnParts,
  turn: Turn,
  owner: Owner,
  renew: Renewal,
  signal: AbortSignal,
): Promise<Place | { readonly reason: TerminalReason; readonly message: string }> {
  for (let waits = 0; ; waits++) {
    signal.throwIfAborted();
    try {
      return await places.open(turn, owner, renew, signal);
    } catch (error) {
      if (error instanceof VaultError) return { reason: 'harness_auth_failed', message: error.message };
      if (!(error instanceof SandboxError)) throw error;
      const { code, message, retryable } = error;
      if (code === 'SANDBOX_LOST')
        return { reason: 'sandbox_lost', message: `${message}; a tool may have run, so the turn was not repeated` };
      const isFull = code === 'SANDBOX_CAPACITY';
      if (!retryable || (!isFull && waits >= STARTS) || Date.now() - turn.startedAt > deadlines.hardMs)
        return code === 'SANDBOX_COMMAND_MISSING'
          ? {
              reason: 'harness_missing',
              message: `${message}: install ${turn.harness} into CENTAUR_HARNESS_DIR; centaur doctor tells which harnesses work`,
            }
          : { reason: 'sandbox_unavailable', message };
      if (isFull && waits === 0) {
        log({ level: 'info', message: 'a turn waits for a sandbox', execution_id: owner.executionId, reason: message });
        await threads.turns.append(owner, [
          { kind: 'status', data: { type: 'status', status: 'queued', reason: message, execution_id: owner.executionId } },
        ]);
      }
      await pause(CAPACITY_WAIT_MS[Math.min(waits, CAPACITY_WAIT_MS.length - 1)], undefined, { signal });
      const { cancelRequested } = await threads.turns.readSignals(owner, 0);
      if (cancelRequested) return { reason: 'cancelled', message: 'cancelled before it began' };
    }
  }
}

async function talk(parts: TurnParts, place: Place, turn: Turn, owner: Owner, tale: Tale, signal: AbortSignal): Promise<Attempt> {
  const { threads, places, deadlines, log } = parts;
  const { conversation, sandbox, harness, stored } = place;
  const events = createEventStream(threads.turns, owner);
  const over = new AbortController();
  const listening = AbortSignal.any([signal, over.signal]);
  const timers: NodeJS.Timeout[] = [];
  let why: Why | undefined;
  let stopSoon: Why | undefined;
  let giving = false;
  let unfit: string | undefined;
  let exited: Heard['exited'] = null;

  const kill = () => conversation.process.signal('SIGKILL').catch(() => {});

  /** In band, so that the harness keeps its session; by force when it does not listen. */
  async function stop(reason: Why): Promise<void> {
    if (why !== undefined) return;
    // what the journal has still to tell decides: whether the harness has the turn, or is even done with it
    if (!conversation.caughtUp) {
      stopSoon ??= reason;
      return;
    }
    why = reason;
    if (!conversation.hasTaken(owner.executionId)) {
      // one that hangs in its start is of no use to the next turn either
      if (!conversation.ready) await kill();
      over.abort();
      return;
    }
    timers.push(setTimeout(() => void kill(), deadlines.graceMs));
    timers.push(setTimeout(() => over.abort(), deadlines.graceMs + KILLED_MS));
    await conversation.interrupt();
  }

  /** What the harness asks, until it is answered. */
  const questions = new Map<string, Question>();
  const answers = new Set<Promise<void>>();
  const hardMs = turn.startedAt + deadlines.hardMs - Date.now();

  function hearQuestion(event: HarnessEvent): void {
    if (event.type === 'approval.request') questions.set(event.id, { event, gone: new AbortController(), begun: false, answered: false });
    if (event.type !== 'approval.resolved') return;
    const question = questions.get(event.id);
    questions.delete(event.id);
    question?.gone.abort();
    // not by us: the harness has taken it back
    if (question !== undefined && !question.answered) withdraw(question);
  }

  function withdraw(question: Question): void {
    parts.permissions.withdraw(requestOf(question)).catch((error: Error) =>
      // the end of the turn does it too
      log({ level: 'warn', message: 'a question could not be withdrawn yet', execution_id: owner.executionId, error: error.message }),
    );
  }

  function requestOf({ event: { id, tool, input } }: Question): PermissionRequest {
    const { threadKey, executionId, runId } = owner;
    return { threadKey, executionId, runId, harness: turn.harness, id, tool, input, ms: Math.max(1000, hardMs) };
  }

  /** Of an earlier worker too: what it asked is found again. */
  function answerQuestions(): void {
    if (!conversation.caughtUp || why !== undefined || stopSoon !== undefined) return;
    let before = 0;
    for (const question of questions.values()) {
      before += 1;
      if (question.begun) continue;
      question.begun = true;
      const answering = answer(question, before > QUESTIONS_MOST).catch((error: unknown) => {
        if (!listening.aborted && !question.gone.signal.aborted) over.abort(error);
      });
      answers.add(answering);
      void answering.finally(() => answers.delete(answering));
    }
  }

  async function answer(question: Question, tooMany: boolean): Promise<void> {
    const signal = AbortSignal.any([listening, question.gone.signal]);
    const given: ApprovalAnswer = tooMany
      ? { allow: false, message: `more than ${QUESTIONS_MOST} questions are open` }
      : await parts.permissions.answer(requestOf(question), signal, (waiting) => announce(question, waiting, signal));
    if (signal.aborted || why !== undefined || stopSoon !== undefined) return;
    question.answered = true;
    await conversation.answer(question.event.id, given);
  }

  async function announce(question: Question, { approvalId, gate, expiresAt, isNew }: Waiting, signal: AbortSignal): Promise<void> {
    if (question.gone.signal.aborted) withdraw(question);
    signal.throwIfAborted();
    try {
      if (!isNew && (await threads.turns.hasEvent(owner, 'approval_pending', approvalId))) return;
      // behind the question
      await events.drained();
      const expires_at = new Date(expiresAt).toISOString();
      const data = {
        type: 'approval.pending',
        execution_id: owner.executionId,
        id: question.event.id,
        approval_id: approvalId,
        gate,
        expires_at,
      };
      await threads.turns.append(owner, [{ kind: 'approval_pending', data }]);
    } catch (error) {
      // that nobody can be told is no answer to the question
      over.abort(error);
      throw error;
    }
  }

  const control = watchSignals(threads, owner, {
    deadlines: { ...deadlines, hardMs },
    waits: () => questions.size > 0,
    isRunning: () => conversation.caughtUp && conversation.busy,
    conversation,
    stop,
    fail: (error) => over.abort(error),
  });

  try {
    for await (const heard of conversation.listen(listening)) {
      control.heard();
      if (heard.executionId === owner.executionId) {
        for (const event of heard.events) {
          tale.hear(event);
          hearQuestion(event);
        }
        tale.offset = heard.offset;
        // its completion is stored with the end of the turn, and only if that is the end
        const fresh = heard.events.filter((event) => event.type !== 'turn.completed' && event.type !== 'turn.started');
        if (heard.offset > stored) await events.push(fresh, heard.offset);
      }
      ({ exited } = heard);
      if (tale.completed !== undefined || exited !== null) break;
      if (stopSoon !== undefined && conversation.caughtUp) await stop(stopSoon);
      if (conversation.caughtUp && conversation.ready && !giving && !conversation.hasTaken(owner.executionId)) {
        giving = true;
        await give();
        if (unfit !== undefined) break;
      }
      control.look();
      answerQuestions();
    }
    await events.drained();
  } catch (error) {
    await events.drained().catch(() => {});
    if (signal.aborted) {
      // nobody will hear what it says
      if (signal.reason instanceof RunCancelledError) await kill();
      throw signal.reason;
    }
    const failed = over.signal.aborted && isError(over.signal.reason) ? over.signal.reason : undefined;
    if (over.signal.aborted && why !== undefined && failed === undefined) {
      if (conversation.hasTaken(owner.executionId)) await kill();
      return died('it was stopped', 'no');
    }
    const cause = failed ?? error;
    if (!(cause instanceof SandboxError)) throw cause;
    if (OF_FILES.has(cause.code)) return { kind: 'unfit', message: `the message cannot be given to the agent: ${cause.message}` };
    if (cause.code !== 'SANDBOX_UNREACHABLE' && cause.code !== 'SANDBOX_LOST') throw cause;
    log({ level: 'warn', message: 'a sandbox did not answer in a turn', execution_id: owner.executionId, error: cause.message });
    return { kind: 'unheard', message: cause.message, sandboxId: sandbox.id };
  } finally {
    for (const timer of timers) clearTimeout(timer);
    control.close();
    over.abort();
    // what they ask is withdrawn with the end of the turn, and not asked behind it
    await Promise.all(answers);
  }
  if (unfit !== undefined) return { kind: 'unfit', message: unfit };
  const { completed } = tale;
  // of a sandbox that dies its connections are the first to go, which a harness may live to call a failure of its own
  const isLost = async () => !(await places.isReady(sandbox.id).catch(() => true));
  if (
    completed !== undefined &&
    completed.status !== 'crashed' &&
    (completed.status !== 'failed' || why !== undefined || !(await isLost()))
  )
    return { kind: 'ended', completed, errorClass: tale.errorClass, why };
  const said = conversation.stderr.trim().split('\n').at(-1) ?? '';
  const message =
    exited?.reason === 'memory'
      ? 'it needed more memory than a sandbox has'
      : completed === undefined
        ? `the harness ended before it took the turn${said === '' ? '' : `: ${said.slice(0, 500)}`}`
        : (completed.error ?? 'the harness ended in the middle of the turn');
  const isSandbox = exited?.reason === 'lost' || exited?.reason === 'memory' || (await isLost());
  return isSandbox ? died(`the sandbox was lost: ${message}`, 'sandbox') : died(message, 'process');

  async function give(): Promise<void> {
    const [content, { cancelRequested }] = await Promise.all([readInput(), threads.turns.readSignals(owner, conversation.signalPosition)]);
    if (cancelRequested) await stop('cancelled');
    if (content === undefined || why !== undefined || listening.aborted) return;
    // told before it is given: from here on somebody else must read the journal to know what has happened
    const told = turn.begunBefore && (await threads.turns.hasEvent(owner, 'turn.started'));
    if (!told)
      await threads.turns.append(owner, [{ kind: 'turn.started', data: { type: 'turn.started', execution_id: owner.executionId } }]);
    await conversation.turn(owner.executionId, {
      content,
      ...(turn.model === null ? {} : { model: turn.model }),
      ...(turn.effort === null ? {} : { effort: turn.effort as 'low' | 'medium' | 'high' | 'max' }),
    });
  }

  async function readInput(): Promise<ContentBlock[] | undefined> {
    try {
      const parts = turn.messages.flatMap((message) => message.parts);
      return await toContent(parts, { threads, threadKey: turn.threadKey, sandbox, capabilities: harness.capabilities });
    } catch (error) {
      if (isTransient(error) || (error instanceof SandboxError && !OF_FILES.has(error.code))) throw error;
      unfit = `the message cannot be given to the agent: ${(error as Error).message}`;
      return undefined;
    }
  }

  async function died(message: string, renew: Renewal): Promise<Attempt> {
    // what was read of its journal may be less than what was stored of it
    const toolRan = tale.toolRan || (await threads.turns.hasEvent(owner, 'tool_use'));
    return { kind: 'died', message, renew, toolRan, why };
  }
}

/** What a sandbox refuses to take, as opposed to one that is not there. */
const OF_FILES: ReadonlySet<string> = new Set(['SANDBOX_FILE', 'SANDBOX_LIMIT', 'INVALID_SPEC']);

function isError(reason: unknown): reason is Error {
  return reason instanceof Error && reason.name !== 'AbortError';
}

const FAILURES: Readonly<Partial<Record<ErrorClass, TerminalReason>>> = { auth: 'harness_auth_failed' };

async function finish(
  { threads, log }: TurnParts,
  place: Place,
  owner: Owner,
  result: Extract<Attempt, { kind: 'ended' | 'died' }>,
  tale: Tale,
): Promise<void> {
  const { conversation, sandbox, harness } = place;
  if (result.kind === 'died') {
    const reason = result.why ?? (result.renew === 'sandbox' ? 'sandbox_lost' : 'harness_crashed');
    const completed: TurnCompleted = { type: 'turn.completed', status: 'crashed', result_text: '', error: result.message };
    const before = tale.completed ?? completed;
    await threads.turns.finish(owner, {
      status: reason === 'cancelled' ? 'cancelled' : 'failed_permanent',
      reason,
      resultText: before.result_text,
      errorText: result.toolRan ? `${result.message}; a tool had run, so the turn was not repeated` : result.message,
      usage: tale.usage,
      signalPosition: conversation.signalPosition,
      events: [tale.completedEvent(before)],
      ...(tale.offset > 0 && result.renew !== 'sandbox' ? { logOffset: tale.offset } : {}),
    });
    return;
  }
  const { completed, why, errorClass } = result;
  const { status, reason } = ending(completed.status, why, errorClass);
  const snapshot = await takeSnapshot();
  await threads.turns.finish(owner, {
    status,
    reason,
    resultText: completed.result_text,
    ...(status === 'failed_permanent' ? { errorText: completed.error ?? tale.errorMessage ?? reason } : {}),
    usage: tale.usage,
    signalPosition: conversation.signalPosition,
    events: [tale.completedEvent(completed)],
    logOffset: tale.offset,
    snapshot,
  });

  /** Without it the thread goes on as long as its sandbox does, so its failure is no failure of the turn. */
  async function takeSnapshot() {
    const { nativeId } = conversation;
    if (nativeId === null || !harness.capabilities.resume) return undefined;
    try {
      const data = await sandbox.pack(harness.launch.sessionFiles(nativeId), { maxBytes: SNAPSHOT_LARGEST });
      return data === null ? undefined : { agentThreadId: nativeId, data, sha256: createHash('sha256').update(data).digest() };
    } catch (error) {
      log({
        level: 'warn',
        message: 'the session of a harness could not be kept',
        thread_key: owner.threadKey,
        error: (error as Error).message,
      });
      return undefined;
    }
  }
}

function ending(
  status: TurnStatus,
  why: Why | undefined,
  errorClass: ErrorClass | undefined,
): { readonly status: 'completed' | 'failed_permanent' | 'cancelled'; readonly reason: TerminalReason } {
  // what was done before it was told to stop is done
  if (status === 'completed') return { status: 'completed', reason: 'completed' };
  if (why === 'cancelled') return { status: 'cancelled', reason: 'cancelled' };
  if (why !== undefined) return { status: 'failed_permanent', reason: why };
  return { status: 'failed_permanent', reason: (errorClass === undefined ? undefined : FAILURES[errorClass]) ?? 'harness_error' };
}

function noticeOf({ executionId }: Owner, text: string): NewEvent {
  return { kind: 'notice', data: { type: 'notice', text, execution_id: executionId } };
}

function added(before: Usage | undefined, more: Usage): Usage {
  if (before === undefined) return more;
  const cost =
    before.cost_usd === undefined && more.cost_usd === undefined ? {} : { cost_usd: (before.cost_usd ?? 0) + (more.cost_usd ?? 0) };
  const reasoning =
    before.reasoning === undefined && more.reasoning === undefined ? {} : { reasoning: (before.reasoning ?? 0) + (more.reasoning ?? 0) };
  return {
    input: before.input + more.input,
    output: before.output + more.output,
    cache_read: before.cache_read + more.cache_read,
    cache_write: before.cache_write + more.cache_write,
    ...reasoning,
    ...cost,
  };
}
