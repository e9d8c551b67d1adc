/**
 * A run in memory: its handler, the history it replays, and the calls it has open.
 *
 * Every durable call gets a `seq` when it is made and an `ord` when its outcome is handed to the handler. Outcomes are
 * handed out strictly in ord order, one at a time, and the next one only when the handler has done all it can with the
 * last. So a replay sees the outcomes in the order in which they first came, makes the same calls in the same order,
 * and takes the same branch: also through Promise.all and Promise.race.
 *
 * One saving: when a sleep is the only open call, nothing else can happen before it ends. Its end takes the next ord
 * but is not written. A replay finds the ord missing, and hands it to the one sleep that is open.
 */
import type { StepRow, Write } from './flush.ts';
import { FencedError } from './flush.ts';

export interface HistoryRow {
  readonly seq: number;
  readonly ord: number | null;
  readonly attempts: number;
  readonly kind: string;
  readonly status: string;
  readonly name: string;
  readonly outcome: string | null;
  readonly detail: string | null;
  readonly wakeAt: number | null;
  readonly startedAt: number;
  readonly endedAt: number | null;
}

export interface FrameRun {
  readonly runId: string;
  readonly workflow: string;
  readonly version: string | null;
  readonly attempt: number;
  readonly seed: string;
  readonly traceId: string | null;
  readonly queue: string;
  readonly key: string | null;
  readonly input: string | null;
  readonly startedAt: number;
}

/** How a call ended: `o` ok, `e` error, `t` timed out. */
export interface Outcome {
  readonly status: string;
  readonly outcome: string | null;
  readonly attempts: number;
  readonly detail: string | null;
}

export interface Call {
  readonly seq: number;
  readonly kind: string;
  readonly name: string;
  readonly resolve: (outcome: Outcome, call: Call) => void;
  readonly startedAt: number;
  /** Pending row already stored: the outcome updates it. */
  stored: boolean;
  /** Set while the call waits: for a time, an event, or a run. */
  waiting: boolean;
  wakeAt: number | null;
  /** What happens when wakeAt passes. */
  onDue: ((call: Call) => void) | undefined;
  attempts: number;
  settling: boolean;
  detail: string | null;
  /** Event or run this call waits for. */
  awaits: { readonly eventType: string; readonly correlationId: string } | undefined;
  /** Its wait row is committed, so that whoever emits can see it. */
  registered: boolean;
  /** Looks for what it waits for that are not over: whether it is there is not known. */
  looks: number;
  /** What happens when the event comes; by default it is the call's outcome. */
  onEvent: ((payload: string | null) => void) | undefined;
  /** A write of its row is on the way: one statement cannot insert a row and update it too, so the next write waits. */
  writing: boolean;
  /** That next write. */
  then: (() => void) | undefined;
}

export interface FrameHost {
  /** The history is that of a run that has ended: nothing is added to it. */
  readonly whole?: true;
  now(): number;
  push(write: Write): void;
  /** Nothing runs and every open call waits: the frame may be evicted. */
  onParked(frame: Frame): void;
  onMismatch(frame: Frame, problem: Mismatch): void;
  /** A write of this run was refused: the run cannot go on. */
  onRejected(frame: Frame, error: Error): void;
  onFenced(): void;
  onDelivered(frame: Frame): void;
}

export interface Mismatch {
  readonly message: string;
  readonly expected: unknown;
  readonly found: unknown;
}

const CANCELLED: Outcome = { status: 'n', outcome: null, attempts: 0, detail: null };

const KIND_NAMES: Record<string, string> = {
  s: 'step',
  t: 'transaction',
  z: 'sleep',
  e: 'event',
  c: 'start_workflow',
  w: 'wait_workflow',
  p: 'patch',
  a: 'approval',
};
export function kindName(kind: string): string {
  return KIND_NAMES[kind] ?? kind;
}

export type Frame = ReturnType<typeof createFrame>;

export function createFrame(host: FrameHost, run: FrameRun, rows: readonly HistoryRow[]) {
  const history: (HistoryRow | undefined)[] = [];
  const outcomes = new Map<number, { seq: number; outcome: Outcome; endedAt: number }>();
  let lastRecordedOrd = -1;
  for (const row of rows) {
    history[row.seq] = row;
    if (row.ord === null) continue;
    outcomes.set(row.ord, { seq: row.seq, outcome: row, endedAt: row.endedAt ?? row.startedAt });
    lastRecordedOrd = Math.max(lastRecordedOrd, row.ord);
  }
  const calls = new Map<number, Call>();
  let names: Map<string, number> | undefined;
  /** Made when somebody asks for the signal: few handlers do. */
  let abort: AbortController | undefined;
  let nextSeq = 0;
  let nextOrd = 0;
  let freeOrd = lastRecordedOrd + 1;
  let delivering = false;
  let checkScheduled = false;
  let timer: NodeJS.Timeout | undefined;
  let gate: (() => void)[] | undefined;
  let joined: (() => void) | undefined;

  const frame = {
    run,
    /** Why the frame was closed, if there is more to tell than that it was. */
    closeReason: undefined as Error | undefined,
    get signal(): AbortSignal {
      if (abort === undefined) {
        abort = new AbortController();
        if (frame.closeReason !== undefined) abort.abort(frame.closeReason);
      }
      return abort.signal;
    },
    calls,
    /** User functions in progress. */
    executing: 0,
    /** Writes not yet committed. */
    writing: 0,
    closed: false,
    ended: false,
    // a step with a detail may have waited for a person
    hadWaits: rows.some((row) => 'ewa'.includes(row.kind) || (row.kind === 's' && row.detail !== null)),
    /** People may have been asked by it who have not answered. */
    asks: rows.some((row) => row.kind === 'a' || (row.kind === 's' && row.detail !== null)),
    /** Grows with each outcome handed out; lets an eviction timer see whether anything happened. */
    progress: 0,
    /** Time of the latest outcome: what ctx.now() tells. */
    time: run.startedAt,
    /** Events this run has already been given, by pair. */
    consumed: undefined as Map<string, Set<string>> | undefined,
    /** `progress` at which an eviction timer was set. */
    evicting: -1,
    /** Something it waits for came while it was being evicted. */
    nudged: false,
    /** Of a handler in another process: when it has done all it can with an outcome. */
    rest: undefined as ((done: () => void) => void) | undefined,
    /** Whether it is so just now. */
    isAtRest: undefined as (() => boolean) | undefined,
    /** Told when the frame is closed. */
    onClose: undefined as ((reason: Error | undefined) => void) | undefined,
    history,
    begin,
    mark,
    settle,
    park,
    retryLater,
    write,
    close,
    check,
    join,
    holdWrites,
    unreached,
    mismatch,
    handOut,
    whenOpen,
    get replaying() {
      return nextOrd <= lastRecordedOrd;
    },
    /** Neither an outcome nor a call of the history is still to come. */
    get live() {
      passPatches();
      return nextOrd > lastRecordedOrd && nextSeq >= history.length;
    },
    /** The next call has its outcome in the history. */
    get nextIsSettled() {
      passPatches();
      return history[nextSeq]?.ord != null;
    },
    /** What a replay that stands still is waiting for, for its report. */
    get replayState() {
      const next = outcomes.get(nextOrd);
      const open = [...calls.values()].map((call) => ({ seq: call.seq, kind: kindName(call.kind), name: call.name }));
      return {
        next: next === undefined ? null : { seq: next.seq, name: history[next.seq]?.name },
        ord: nextOrd,
        recorded: lastRecordedOrd,
        open,
        delivering,
      };
    },
    get held() {
      return gate !== undefined;
    },
    get parked() {
      return calls.size > 0 && !delivering && allWaiting();
    },
    get alone() {
      return calls.size === 1 && frame.executing === 0;
    },
    /** The earliest time at which an open call is due, if all of them wait. */
    get nextWake(): number | null {
      let earliest: number | null = null;
      for (const call of calls.values()) if (call.wakeAt !== null && (earliest === null || call.wakeAt < earliest)) earliest = call.wakeAt;
      return earliest;
    },
  };

  /** Registers a durable call; its outcome goes to `resolve` in its turn. Undefined when the frame takes no more calls. */
  function begin(kind: string, name: string, resolve: Call['resolve']): { call: Call; recorded: HistoryRow | undefined } | undefined {
    if (frame.closed) return undefined;
    passPatches();
    const seq = nextSeq++;
    const full = numbered(name);
    const recorded = history[seq];
    if (recorded !== undefined && (!isSameKind(recorded.kind, kind, frame.rest !== undefined) || recorded.name !== full)) {
      mismatch(seq, recorded, { kind: kindName(kind), name: full });
      return undefined;
    }
    const call: Call = {
      seq,
      kind,
      name: full,
      resolve,
      startedAt: recorded?.startedAt ?? host.now(),
      stored: recorded !== undefined,
      waiting: false,
      wakeAt: null,
      onDue: undefined,
      attempts: recorded?.attempts ?? 0,
      settling: false,
      detail: recorded?.detail ?? null,
      awaits: undefined,
      registered: recorded !== undefined,
      looks: 0,
      onEvent: undefined,
      writing: false,
      then: undefined,
    };
    calls.set(seq, call);
    if (recorded !== undefined) scheduleCheck();
    return { call, recorded };
  }

  function numbered(name: string): string {
    const count = ((names ??= new Map()).get(name) ?? 0) + 1;
    names.set(name, count);
    return count === 1 ? name : `${name}#${count}`;
  }

  /** A handler in another process was told of them when it began, and takes them without a word. */
  function passPatches(): void {
    if (frame.rest !== undefined) while (history[nextSeq]?.kind === 'p') nextSeq += 1;
  }

  /** A patch marker: true on new ground (and noted there), true where it was noted, false in a history that passed here without it. */
  function mark(id: string): boolean {
    if (frame.closed) return false;
    const name = id;
    const recorded = history[nextSeq];
    if (recorded !== undefined) {
      if (recorded.kind !== 'p' || recorded.name !== name) return false;
      nextSeq += 1;
      return true;
    }
    if (nextSeq < history.length || host.whole === true) return false;
    const now = host.now();
    write({ type: 'step', row: stepRow(nextSeq++, 'p', name, { ord: null, status: 'o', startedAt: now, endedAt: now }) });
    return true;
  }

  function stepRow(
    seq: number,
    kind: string,
    name: string,
    rest: Partial<StepRow> & Pick<StepRow, 'ord' | 'status' | 'startedAt'>,
  ): StepRow {
    return {
      runId: run.runId,
      seq,
      attempt: run.attempt,
      attempts: 1,
      kind,
      name,
      outcome: null,
      detail: null,
      wakeAt: null,
      endedAt: null,
      ...rest,
    };
  }

  /** Stores the outcome of a call, and hands it out once it is committed. */
  function settle(call: Call, outcome: Omit<Outcome, 'detail'> & { readonly detail?: string | null }): void {
    if (frame.closed || call.settling) return;
    call.settling = true;
    inTurn(call, () => {
      if (frame.closed) return;
      const ord = freeOrd++;
      const endedAt = Math.max(Math.round(host.now()), frame.time);
      const detail = outcome.detail ?? null;
      const row = stepRow(call.seq, call.kind, call.name, { ...outcome, detail, ord, startedAt: call.startedAt, endedAt });
      writeCall(call, row, () => handOut(ord, call.seq, { ...outcome, detail }, endedAt));
    });
  }

  /** After the write of this call that is on the way, and not while a transaction step commits. */
  function inTurn(call: Call, thunk: () => void): void {
    if (call.writing) call.then = () => whenOpen(thunk);
    else whenOpen(thunk);
  }

  function writeCall(call: Call, row: StepRow, done: (() => void) | undefined): void {
    const type = call.stored ? 'settleStep' : 'step';
    call.stored = true;
    call.writing = true;
    write({ type, row }, () => {
      call.writing = false;
      const next = call.then;
      call.then = undefined;
      done?.();
      next?.();
    });
  }

  function handOut(ord: number, seq: number, outcome: Outcome, endedAt: number): void {
    outcomes.set(ord, { seq, outcome, endedAt });
    pump();
  }

  /** Stores that a call waits, before its outcome is known. `then` runs once that is committed. */
  function park(
    call: Call,
    row: { wakeAt: number | null; detail: string | null; attempts?: number; outcome?: string | null },
    also: (() => void) | undefined,
    then: (() => void) | undefined,
  ): void {
    call.waiting = true;
    call.wakeAt = row.wakeAt;
    call.detail = row.detail;
    inTurn(call, () => {
      const pending = stepRow(call.seq, call.kind, call.name, {
        ord: null,
        status: 'p',
        attempts: row.attempts ?? 1,
        outcome: row.outcome ?? null,
        detail: row.detail,
        wakeAt: row.wakeAt,
        startedAt: call.startedAt,
      });
      writeCall(call, pending, then);
      also?.();
    });
    scheduleCheck();
  }

  /** A failed attempt with another one to come: the wait before it is durable, like a sleep. */
  function retryLater(call: Call, attempts: number, wakeAt: number, error: string): void {
    call.attempts = attempts;
    park(call, { wakeAt, detail: JSON.stringify({ retry: attempts }), attempts, outcome: error }, undefined, undefined);
  }

  function write(body: WriteBody, done?: (write: Write) => void): void {
    frame.writing += 1;
    const whole = {
      ...body,
      group: run.runId,
      bytes: body.type === 'step' || body.type === 'settleStep' ? 200 + (body.row.outcome?.length ?? 0) : 200,
      settle(error?: Error) {
        frame.writing -= 1;
        if (error === undefined) {
          done?.(whole);
          if (frame.writing === 0) joinIfDone();
        } else if (error instanceof FencedError) {
          // one that is closed was told, or tells by itself
          if (!frame.closed) host.onFenced();
        } else if (!frame.closed) host.onRejected(frame, error);
      },
    } as Write;
    host.push(whole);
  }

  /** Hands out what is next, if it is there, then looks again once the handler has come to rest. */
  function pump(): void {
    if (delivering || frame.closed) return;
    const next = outcomes.get(nextOrd);
    if (next !== undefined) {
      const call = calls.get(next.seq);
      if (call === undefined) return;
      outcomes.delete(nextOrd);
      deliver(call, next.outcome, next.endedAt);
    } else if (nextOrd <= lastRecordedOrd) {
      const [only] = calls.values();
      if (calls.size === 1 && only?.kind === 'z')
        deliver(only, { status: 'o', outcome: null, attempts: 1, detail: null }, only.wakeAt ?? frame.time);
    }
  }

  function deliver(call: Call, outcome: Outcome, endedAt: number): void {
    delivering = true;
    nextOrd += 1;
    frame.progress += 1;
    frame.time = Math.max(frame.time, endedAt);
    calls.delete(call.seq);
    call.resolve(outcome, call);
    host.onDelivered(frame);
    if (frame.rest === undefined) afterMicrotasks(rested);
    // the answer that this outcome makes is on its way by then
    else afterMicrotasks(() => frame.rest?.(rested));
  }

  function rested(): void {
    delivering = false;
    check();
  }

  function scheduleCheck(): void {
    if (checkScheduled || delivering) return;
    checkScheduled = true;
    afterMicrotasks(() => {
      checkScheduled = false;
      if (!delivering) check();
    });
  }

  /** The handler has come to rest: hand out the next outcome, fire what is due, or offer the frame for eviction. */
  function check(): void {
    if (frame.closed) return;
    pump();
    // a handler that ended in the middle of its replay takes no more outcomes
    if (frame.ended) joinIfDone();
    if (frame.ended || delivering || nextOrd <= lastRecordedOrd) return;
    const wake = frame.nextWake;
    if (wake !== null) {
      if (wake <= host.now()) fireDue();
      else armTimer(wake);
    }
    if (!delivering && frame.executing === 0 && calls.size > 0 && allWaiting()) host.onParked(frame);
  }

  function allWaiting(): boolean {
    for (const call of calls.values()) if (!call.waiting || call.settling) return false;
    return true;
  }

  function fireDue(): void {
    const now = host.now();
    const due = [...calls.values()].filter((call) => call.wakeAt !== null && call.wakeAt <= now && !call.settling);
    due.sort((a, b) => (a.wakeAt as number) - (b.wakeAt as number) || a.seq - b.seq);
    for (const call of due) {
      if (call.kind === 'z') {
        if (frame.alone) {
          freeOrd += 1;
          deliver(call, { status: 'o', outcome: null, attempts: 1, detail: null }, call.wakeAt as number);
        } else settle(call, { status: 'o', outcome: null, attempts: 1 });
        continue;
      }
      const act = call.onDue;
      call.wakeAt = null;
      call.onDue = undefined;
      act?.(call);
    }
  }

  function armTimer(wake: number): void {
    clearTimeout(timer);
    // setTimeout fires up to a millisecond early, and overflows above 2^31
    timer = setTimeout(check, Math.min(Math.max(1, Math.ceil(wake - host.now())), 2 ** 31 - 1));
  }

  function mismatch(seq: number, recorded: HistoryRow, found: { kind: string; name: string } | null, difference?: string): void {
    const expected = { seq, kind: kindName(recorded.kind), name: recorded.name };
    const did = difference ?? (found === null ? 'the handler ended before it' : `the code now calls ${found.kind} "${found.name}"`);
    host.onMismatch(frame, {
      message: `at call ${seq} the history has ${expected.kind} "${expected.name}", but ${did}; restore the code, guard the change with ctx.patched, or fork the run`,
      expected,
      found: found === null ? null : { seq, ...found },
    });
  }

  /** True, and reported, when the handler ended although its history goes on. */
  function unreached(): boolean {
    passPatches();
    const left = history[nextSeq];
    if (nextSeq >= history.length || left === undefined) return false;
    mismatch(nextSeq, left, null);
    return true;
  }

  /** Resolves when no user function runs and nothing is being written: a step that nobody awaited still counts. */
  function join(): Promise<void> {
    frame.ended = true;
    return new Promise((resolve) => {
      joined = resolve;
      scheduleCheck();
    });
  }

  function joinIfDone(): void {
    if (joined === undefined || frame.executing > 0 || frame.writing > 0) return;
    if (nextOrd > lastRecordedOrd) for (const call of calls.values()) if (isRetrying(call)) return joinLater();
    joined();
    joined = undefined;
  }

  /** One that waits for people is not: nobody would hear of what they decide on. */
  function isRetrying(call: Call): boolean {
    return (call.kind === 's' || call.kind === 't') && call.waiting && call.onDue !== undefined && call.awaits === undefined;
  }

  /** A step that waits for its retry keeps an ended handler open too. */
  function joinLater(): void {
    const now = host.now();
    for (const call of calls.values()) {
      if (!isRetrying(call)) continue;
      if ((call.wakeAt ?? 0) > now) armTimer(call.wakeAt as number);
      else {
        const act = call.onDue;
        call.wakeAt = null;
        call.onDue = undefined;
        act?.(call);
      }
    }
  }

  /** Keeps outcomes of other calls from being numbered while a transaction step commits beside the writer. Returns how to go on. */
  function holdWrites(): { readonly ord: number; release(committed: boolean): void } {
    gate = [];
    const ord = freeOrd++;
    return {
      ord,
      release(committed) {
        if (!committed) freeOrd -= 1;
        const held = gate ?? [];
        gate = undefined;
        for (const thunk of held) thunk();
      },
    };
  }

  function whenOpen(thunk: () => void): void {
    if (gate === undefined) thunk();
    else gate.push(thunk);
  }

  /**
   * Takes the frame out of use. Its open promises never settle, so that no user code runs on, and its signal tells what
   * still does. Only a cancelled run's calls are rejected: its handler may then tidy up in memory.
   */
  function close(reason?: Error): void {
    if (frame.closed) return;
    frame.closed = true;
    clearTimeout(timer);
    if (reason?.name === 'RunCancelledError') for (const call of calls.values()) call.resolve(CANCELLED, call);
    calls.clear();
    outcomes.clear();
    frame.closeReason = reason;
    if (reason !== undefined) abort?.abort(reason);
    frame.onClose?.(reason);
  }

  return frame;
}

type WriteBody = Write extends infer W ? (W extends Write ? Omit<W, 'group' | 'bytes' | 'settle'> : never) : never;

/** In another process a transaction is a step, and so is a start under a key: a run may have begun here and go on there. */
function isSameKind(one: string, other: string, hosted: boolean): boolean {
  const steps = hosted ? 'stc' : 'st';
  return one === other || (steps.includes(one) && steps.includes(other));
}

/** Runs `next` when all pending promise reactions have run: a microtask queues a tick, and ticks wait for microtasks. */
function afterMicrotasks(next: () => void): void {
  queueMicrotask(() => process.nextTick(next));
}
