/**
 * One execution of a run in a host, as a worker conducts it: from the start, or from the history of an earlier one.
 *
 * Outcomes are handed out strictly in the order in which they were stored, one at a time, and the next one when the host
 * says that the run is at rest. New ones are stored by the rule that the test asks for. Whatever the host does against
 * the protocol is thrown at the end.
 */
import type { HostRetry } from '../../runtime/hosts/protocol/messages.ts';
import { type StepFailure, checkpointsOf, formProblem, retryDelay } from './calls.ts';
import { type HostProcess, type Message, PATIENCE_MS } from './process.ts';
import type { Outcome, Row, Story } from './story.ts';
import { type World, world } from './world.ts';

export interface PlayOptions {
  /** Of several answers that are ready, the one that is asked for first goes first (default), or last. */
  readonly order?: 'first' | 'last';
  /** After this many messages of the host nothing is answered or taken note of any more. */
  readonly stopAfter?: number;
  /** Until when, by the system's monotonic clock, the host may save a question; the test may change it on the way. */
  readonly lease?: { until: number | null };
  readonly world?: World;
  readonly attempt?: number;
}

/** How a play ended: the handler did, everything waits for what never comes, or it was stopped. */
export interface End {
  readonly how: 'result' | 'error' | 'parked' | 'stopped';
  readonly message: Message | undefined;
}

export interface Play {
  readonly story: Story;
  readonly messages: readonly Message[];
  /** What was asked and answered, in order: `? name`, `= name`. */
  readonly trace: readonly string[];
  readonly end: Promise<End>;
  /** The run leaves this host, for the reason that is given. */
  cancel(reason: string): void;
}

/** Between a function that ran in time and the message that tells so. */
const ON_THE_WAY_MS = 500;

interface Call {
  readonly rows: readonly Row[];
  readonly message: Message;
  /** Whose answer the outcome is: a put's, once there is one. */
  request: string;
  executing: boolean;
  /** A next attempt is due at the row's `wakeAt`. */
  retrying: boolean;
  /** This host has had an attempt of it. */
  tried: boolean;
  /** Its open transaction. */
  tx?: string;
  timer?: NodeJS.Timeout;
}

/** What is asked before a function is run. */
const ASKED: ReadonlySet<string> = new Set(['ctx.step.get', 'ctx.tx.begin']);

export function play(host: HostProcess, story: Story, options: PlayOptions = {}): Play {
  const { order = 'first', stopAfter = Infinity, lease = { until: null }, world: answers = world } = options;
  const known = story.rows.length;
  const lastOrd = story.ords - 1;
  const calls = new Map<string, Call>();
  const names = new Map<string, number>();
  const direct: { readonly call: Call; readonly request: string; readonly value: object }[] = [];
  const messages: Message[] = [];
  const trace: string[] = [];
  const { promise: end, resolve, reject } = Promise.withResolvers<End>();
  // a test that ends early is about something else
  end.catch(() => {});
  let nextSeq = 0;
  let nextOrd = 0;
  let requests = 0;
  let sent = 0;
  let transactions = 0;
  let now = story.startedAt;
  let busy = true;
  let live = known === 0;
  let state: 'playing' | 'stopped' | 'over' = 'playing';
  let watchdog: NodeJS.Timeout | undefined;

  const stop = host.listen((message) => {
    if (message.run_id === story.runId && message.type !== 'workflow.input') attempt(() => take(message));
  });
  void host.closed.then(() => {
    if (state === 'playing') fail(`the host ended; it printed:\n${host.stderr.slice(-500)}`);
  });
  start();

  function start(): void {
    watch();
    sent += 1;
    const patches = story.rows.filter(({ kind }) => kind === 'ctx.patch').map(({ seq, name }) => ({ seq, id: name }));
    host.send({
      type: 'workflow.start',
      run_id: story.runId,
      task_id: story.runId,
      workflow_name: story.workflow,
      input: story.input,
      attempt: options.attempt ?? 1,
      trace_id: `trace-${story.runId}`,
      seed: story.seed,
      now,
      live,
      history_length: known,
      patches,
      lease_until: lease.until,
    });
  }

  function take(message: Message): void {
    if (state !== 'playing') return;
    watch();
    messages.push(message);
    // a burst that a function began by itself may cross with an answer: that one is still to come
    busy = message.rest !== true || message.taken !== sent;
    const problem = formProblem(message, requests) ?? restProblem(message);
    if (problem !== undefined) return fail(problem);
    switch (message.type) {
      case 'ctx.rest':
        break;
      case 'ctx.log':
      case 'ctx.metric':
        if (!live) return fail(`${message.type} in a replay: ${JSON.stringify(message)}`);
        break;
      case 'ctx.patch':
        if (nextSeq < known) return fail(`ctx.patch "${String(message.id)}" at number ${nextSeq} of ${known}`);
        newRow('ctx.patch', String(message.id));
        break;
      case 'workflow.result':
      case 'workflow.error':
        return finish({ how: message.type === 'workflow.result' ? 'result' : 'error', message });
      default:
        requests += 1;
        request(message);
    }
    if (state !== 'playing') return;
    if (messages.length >= stopAfter) return halt();
    if (!busy) goOn();
  }

  function restProblem({ type, rest, taken }: Message): string | undefined {
    if (type.startsWith('workflow.')) return undefined;
    if (type === 'ctx.rest' && rest !== true) return 'ctx.rest without "rest":true';
    if (rest === true && !(Number.isInteger(taken) && (taken as number) >= 1 && (taken as number) <= sent))
      return `"taken" is ${JSON.stringify(taken)} where ${sent} messages were sent`;
    return undefined;
  }

  function request(message: Message): void {
    const id = String(message.request_id);
    const byName = typeof message.checkpoint_name === 'string';
    if (byName && (message.type === 'ctx.step.put' || message.type === 'ctx.step.fail')) {
      const call = calls.get(String(message.checkpoint_name));
      // of an attempt that timed out
      if (call === undefined || !call.executing) return;
      if (message.attempt !== undefined && message.attempt !== (call.rows[0] as Row).attempts + 1) return;
      return stepEnded(call, message, id);
    }
    if (typeof message.tx === 'string') return inTransaction(message, message.tx, id);
    const call = begin(message, id);
    if (call === undefined || message.type === 'ctx.step.get') return;
    if (message.type !== 'ctx.step.put' && message.type !== 'ctx.step.fail') return;
    if (!live || lease.until === null || lease.until + ON_THE_WAY_MS < monotonicMs())
      return fail(`"${call.rows[0]?.name}" ran without asking`);
    stepEnded(call, message, id);
  }

  /** Queries are answered at once and are no checkpoints; the end of a transaction is that of its step. */
  function inTransaction(message: Message, tx: string, id: string): void {
    const call = [...calls.values()].find((each) => each.tx === tx);
    if (call === undefined || !call.executing) return fail(`${message.type}: there is no transaction ${tx}`);
    if (message.type === 'ctx.tx.query') direct.push({ call, request: id, value: { rows: [{ n: 1 }], row_count: 1 } });
    else stepEnded(call, message, id);
  }

  function begin(message: Message, id: string): Call | undefined {
    const wanted = checkpointsOf(message) as NonNullable<ReturnType<typeof checkpointsOf>>;
    const rows: Row[] = [];
    for (const { kind, name } of wanted) {
      const row = claim(kind, name);
      if (row === undefined) return undefined;
      rows.push(row);
    }
    const last = rows.at(-1) as Row;
    const call: Call = { rows, message, request: id, executing: false, retrying: false, tried: false };
    calls.set(last.name, call);
    trace.push(`? ${rows[0]?.name}`);
    if (last.ord !== null) return call;
    if (ASKED.has(message.type) && last.wakeAt === null) execute(call, id);
    else if (ASKED.has(message.type)) call.retrying = true;
    else setWake(last, message);
    return call;
  }

  /** The row of the next checkpoint; the history must have the same there. */
  function claim(kind: string, name: string): Row | undefined {
    const count = (names.get(name) ?? 0) + 1;
    names.set(name, count);
    const whole = count === 1 ? name : `${name}#${count}`;
    // a patch that the history has is taken without a message
    while (nextSeq < known && story.rows[nextSeq]?.kind === 'ctx.patch') nextSeq += 1;
    const row = story.rows[nextSeq];
    if (row === undefined) return newRow(kind, whole);
    nextSeq += 1;
    if (row.kind === kind && row.name === whole) return row;
    fail(`at call ${row.seq} the history has ${row.kind} "${row.name}", but the host now makes ${kind} "${whole}"`);
    return undefined;
  }

  function newRow(kind: string, name: string): Row {
    const row: Row = { seq: nextSeq++, kind, name, outcome: null, ord: null, endedAt: 0, attempts: 0, wakeAt: null };
    story.rows.push(row);
    return row;
  }

  function setWake(row: Row, message: Message): void {
    if (row.wakeAt !== null) return;
    const seconds = message.duration_seconds ?? message.timeout_seconds;
    if (typeof seconds === 'number') row.wakeAt = story.clock + seconds * 1000;
    else if (message.type === 'ctx.sleep_until') row.wakeAt = Date.parse(String(message.wake_at));
    if (Number.isNaN(row.wakeAt)) fail(`${message.type}: wake_at is ${JSON.stringify(message.wake_at)}`);
  }

  function execute(call: Call, id: string): void {
    const row = call.rows[0] as Row;
    call.executing = true;
    call.retrying = false;
    direct.push({ call, request: id, value: { done: false, checkpoint_name: row.name, ...nextAttempt(call, row) } });
  }

  function nextAttempt(call: Call, { attempts }: Row): object {
    if (call.message.type !== 'ctx.tx.begin') return { attempt: attempts + 1 };
    transactions += 1;
    call.tx = `tx-${transactions}`;
    return { attempt: attempts + 1, tx: call.tx };
  }

  function stepEnded(call: Call, message: Message, id: string): void {
    clearTimeout(call.timer);
    call.executing = false;
    call.tried = true;
    call.request = id;
    const row = call.rows[0] as Row;
    if (message.type === 'ctx.step.put' || message.type === 'ctx.tx.commit') return store(call, { ok: true, value: message.value });
    const retry = (call.message.retry ?? message.retry) as HostRetry | undefined;
    attemptFailed(call, row, message.error as StepFailure, retry);
  }

  function attemptFailed(call: Call, row: Row, error: StepFailure, retry: HostRetry | undefined): void {
    row.attempts += 1;
    const delay = retryDelay(retry, row.attempts, error);
    if (delay === undefined) {
      const { code, message } = error;
      store(call, {
        ok: false,
        error: { name: 'StepError', code, message, step_name: row.name, attempts: row.attempts, cause_name: error.name },
      });
    } else {
      row.wakeAt = story.clock + delay;
      call.retrying = true;
    }
  }

  /** From here on it is in the history, whether the host hears of it or not. */
  function store(call: Call, outcome: Outcome): void {
    story.clock += 1;
    for (const row of call.rows) row.endedAt = story.clock;
    const last = call.rows.at(-1) as Row;
    last.outcome = outcome;
    last.ord = story.ords++;
  }

  /** The host is at rest: one thing happens, then it is its turn. */
  function goOn(): void {
    if (state !== 'playing' || busy) return;
    const asked = direct.shift();
    if (asked !== undefined) return tell(asked);
    const stored = [...calls.values()].find(({ rows }) => rows.at(-1)?.ord === nextOrd);
    if (stored !== undefined) return deliver(stored);
    const executing = [...calls.values()].some((call) => call.executing);
    if (nextOrd < story.ords) {
      const row = story.rows.find(({ ord }) => ord === nextOrd);
      const open = [...calls.keys()].join(', ') || 'nothing';
      if (!executing) fail(`the replay stands still: "${row?.name}" has an outcome, and open is ${open}`);
      return;
    }
    const ready = [...calls.values()].flatMap((call) => {
      const outcome = call.executing || call.retrying ? undefined : answers(call.message, call.rows[0]?.name ?? '');
      return outcome === undefined ? [] : [{ call, outcome }];
    });
    const chosen = order === 'first' ? ready[0] : ready.at(-1);
    if (chosen !== undefined) {
      store(chosen.call, chosen.outcome);
      return goOn();
    }
    if (!executing) timePasses();
  }

  /** Nothing else can happen, so the clock goes to what is due next. */
  function timePasses(): void {
    const waiting = [...calls.values()].filter(({ rows }) => rows.at(-1)?.wakeAt !== null);
    waiting.sort((a, b) => (a.rows.at(-1)?.wakeAt as number) - (b.rows.at(-1)?.wakeAt as number));
    const [call] = waiting;
    if (call === undefined) return finish({ how: 'parked', message: undefined });
    const row = call.rows.at(-1) as Row;
    story.clock = Math.max(story.clock, row.wakeAt as number);
    if (call.retrying) {
      row.wakeAt = null;
      call.executing = true;
      call.retrying = false;
      if (call.tried) direct.push({ call, request: call.request, value: { retry: true, ...nextAttempt(call, row) } });
      else execute(call, call.request);
    } else if (row.kind.startsWith('ctx.sleep')) store(call, { ok: true, value: { slept: true } });
    else store(call, { ok: false, error: { name: 'WaitTimeoutError', code: 'WAIT_TIMEOUT', message: `"${row.name}" timed out` } });
    goOn();
  }

  function tell({ call, request, value }: (typeof direct)[number]): void {
    answer({ request_id: request, ok: true, value });
    const limit = call.message.timeout_ms;
    if (typeof limit !== 'number') return;
    call.timer = setTimeout(() => {
      if (!call.executing || state !== 'playing') return;
      call.executing = false;
      call.tried = true;
      const error = { name: 'StepTimeoutError', code: 'STEP_TIMEOUT', message: `"${call.rows[0]?.name}" took more than ${limit} ms` };
      attemptFailed(call, call.rows[0] as Row, error, call.message.retry as HostRetry | undefined);
      goOn();
    }, limit);
  }

  function deliver(call: Call): void {
    const row = call.rows.at(-1) as Row;
    nextOrd += 1;
    now = Math.max(now, row.endedAt);
    calls.delete(row.name);
    trace.push(`= ${call.rows[0]?.name}`);
    const outcome = row.outcome as Outcome;
    if (!outcome.ok) return answer({ request_id: call.request, ok: false, error: outcome.error.message, error_info: outcome.error });
    const asked = call.request === String(call.message.request_id) && ASKED.has(call.message.type);
    const silent = call.message.echo === false || putOf(call)?.echo === false;
    const value = silent && !asked ? null : outcome.value;
    answer({ request_id: call.request, ok: true, value: asked ? { done: true, checkpoint_name: row.name, value } : value });
  }

  const putOf = ({ request: id }: Call): Message | undefined =>
    messages.find((message) => message.type === 'ctx.step.put' && message.request_id === id);

  function answer(fields: object): void {
    busy = true;
    sent += 1;
    live ||= nextOrd > lastOrd && nextSeq >= known;
    watch();
    host.send({ type: 'ctx.response', run_id: story.runId, ...fields, now, live });
  }

  /** The host is about to be killed. What is ready may still be stored: the worker lives on. */
  function halt(): void {
    if (stopAfter % 2 === 1 && nextOrd >= story.ords) {
      for (const call of calls.values()) {
        if (call.executing || call.retrying || call.rows.at(-1)?.ord !== null) continue;
        const outcome = answers(call.message, call.rows[0]?.name ?? '');
        if (outcome !== undefined) store(call, outcome);
      }
    }
    state = 'stopped';
    close();
    resolve({ how: 'stopped', message: undefined });
  }

  function finish(ended: End): void {
    if (ended.how !== 'parked') {
      state = 'over';
      close();
    } else clearTimeout(watchdog);
    resolve(ended);
  }

  function fail(problem: string): void {
    state = 'over';
    close();
    const last = messages.slice(-3).map((message) => `  < ${JSON.stringify(message).slice(0, 400)}`);
    reject(new Error([`${story.workflow} ${JSON.stringify(story.input)}: ${problem}`, `  ${trace.join(', ')}`, ...last].join('\n')));
  }

  function attempt(act: () => void): void {
    try {
      act();
    } catch (error) {
      fail((error as Error).stack ?? String(error));
    }
  }

  /** A step's function has its own time; all else is immediate. */
  function watch(): void {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => fail(busy ? 'the host did not say that the run is at rest' : 'nothing happens'), PATIENCE_MS);
  }

  function close(): void {
    stop();
    clearTimeout(watchdog);
    for (const { timer } of calls.values()) clearTimeout(timer);
  }

  return {
    story,
    messages,
    trace,
    end,
    cancel(reason) {
      state = 'over';
      close();
      host.send({ type: 'workflow.cancel', run_id: story.runId, reason });
    },
  };
}

export const monotonicMs = (): number => Number(process.hrtime.bigint()) / 1e6;
