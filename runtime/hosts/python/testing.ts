/**
 * A small engine for tests of the Python host: it keeps a history as the real one does (numbered names, outcomes handed out one
 * at a time, the next one at rest), and can end a run's stay in the host at any moment and replay it.
 */
import assert from 'node:assert/strict';
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';

export const HERE = import.meta.dirname;
export const PYTHON = existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3';
const FAR = 1e15;

// oxlint-disable-next-line typescript/no-explicit-any -- messages of any shape are what is tested
export type Message = Record<string, any>;
type Answer = (message: Message, name: string, attempt: number) => unknown;

export interface Row {
  readonly type: string;
  readonly name: string;
  ord?: number;
  ok?: boolean;
  value?: unknown;
}

/** What a run leaves behind when it leaves a host. */
export interface Stay {
  readonly rows: Row[];
  readonly patches: { readonly seq: number; readonly id: string }[];
  ords: number;
  result?: Message;
  /** Answers handed out in this stay. */
  answers: number;
  readonly sent: Message[];
}

export interface RunOptions {
  readonly input?: unknown;
  /** The outcome of a call: a value, or an Error with `info`. A step's own outcome is the host's. */
  readonly answer?: Answer;
  /** Leave the host after so many answers; with `.5`, the next outcome is stored, but not told. */
  readonly stop?: number;
  readonly history?: Stay;
  /** Whether the host may save questions. */
  readonly lease?: number | null;
  /** Which of the outcomes that are ready is next. */
  readonly pick?: (count: number) => number;
  /** Called at each rest; may send messages of its own. */
  readonly onRest?: (host: Host, run: { readonly id: string; readonly sent: readonly Message[] }) => void;
  readonly attempt?: number;
}

export class Host {
  readonly child: ChildProcessWithoutNullStreams;
  readonly #listeners = new Map<string, (message: Message) => void>();
  readonly #others: ((message: Message) => void)[] = [];
  errors = '';
  #runs = 0;

  constructor(folders: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.child = spawn(PYTHON, [path.join(HERE, 'workflow-host')], {
      env: {
        PATH: process.env['PATH'],
        PYTHONPYCACHEPREFIX: path.join(tmpdir(), 'centaur-python-tests'),
        WORKFLOW_DIRS: folders.join(':'),
        ...env,
      },
    });
    this.child.stderr.on('data', (chunk: Buffer) => (this.errors += chunk.toString()));
    createInterface({ input: this.child.stdout }).on('line', (line) => {
      const message = JSON.parse(line) as Message;
      const listener = this.#listeners.get(message['run_id'] as string);
      if (listener !== undefined) listener(message);
      else this.#others.shift()?.(message);
    });
  }

  send(message: Message): void {
    this.child.stdin.write(`${JSON.stringify(message)}\n`);
  }

  /** Asks for something that belongs to no run. */
  ask(message: Message): Promise<Message> {
    this.send(message);
    return new Promise((resolve) => this.#others.push(resolve));
  }

  async check(workflow: string, input: unknown): Promise<Message> {
    return this.ask({ type: 'workflow.input', run_id: 'check', request_id: '1', workflow_name: workflow, input });
  }

  async end(): Promise<number | null> {
    this.child.stdin.end();
    return new Promise((resolve) => this.child.once('exit', resolve));
  }

  /** One stay of a run in this host. */
  run(workflow: string, options: RunOptions = {}): Promise<Stay> {
    const id = `run-${++this.#runs}`;
    const before = options.history;
    const stay: Stay = {
      rows: (before?.rows ?? []).map((row) => ({ ...row })),
      patches: [...(before?.patches ?? [])],
      ords: before?.ords ?? 0,
      answers: 0,
      sent: [],
    };
    return new Promise((resolve, reject) => {
      const play = playRun(this, id, stay, options, (error) => {
        this.#listeners.delete(id);
        if (error !== undefined) return reject(error);
        resolve(stay);
      });
      this.#listeners.set(id, play.take);
      this.send({
        type: 'workflow.start',
        run_id: id,
        task_id: id,
        workflow_name: workflow,
        input: options.input ?? null,
        attempt: options.attempt ?? 1,
        trace_id: 'trace',
        seed: 'seed',
        now: 1_766_000_000_000,
        live: play.live(),
        history_length: stay.rows.length,
        patches: stay.patches,
        lease_until: options.lease === undefined ? FAR : options.lease,
      });
    });
  }

  /** A run to its end. @throws what the handler failed with */
  async result(workflow: string, options: RunOptions = {}): Promise<unknown> {
    const { result } = await this.run(workflow, options);
    if (result?.['type'] === 'workflow.error') throw Object.assign(new Error(result['message'] as string), result['error'] as object);
    return result?.['result'];
  }
}

interface Open {
  readonly seq: number;
  readonly type: string;
  readonly name: string;
  /** Where the next word about it goes. */
  requestId: string;
  attempt: number;
  ready: { readonly ok: boolean; readonly value: unknown } | undefined;
}

function playRun(host: Host, id: string, stay: Stay, options: RunOptions, done: (error?: Error) => void) {
  const recorded = stay.rows.length;
  const lastOrd = stay.ords;
  const names = new Map<string, number>();
  const open = new Map<number, Open>();
  /** Words that are no outcomes: go on, or try again. */
  const words: Message[] = [];
  let burst: Message[] = [];
  let seq = 0;
  let ord = 0;
  let sent = 1;
  let now = 1_766_000_000_000;

  const live = () => ord >= lastOrd && seq >= recorded;

  function take(message: Message): void {
    try {
      stay.sent.push(message);
      burst.push(message);
      const last = message['type'] === 'workflow.result' || message['type'] === 'workflow.error';
      if (message['rest'] !== true && !last) return;
      for (const each of burst.splice(0)) handle(each);
      if (stay.result !== undefined) return done();
      options.onRest?.(host, { id, sent: stay.sent });
      if (message['taken'] >= sent) next();
    } catch (error) {
      done(error as Error);
    }
  }

  function handle(message: Message): void {
    const type = message['type'] as string;
    if (type === 'workflow.result' || type === 'workflow.error') return void (stay.result = message);
    if (type === 'ctx.rest' || type === 'ctx.log' || type === 'ctx.metric') return;
    if (type === 'ctx.patch') {
      stay.rows[seq] = { type, name: message['id'] };
      stay.patches.push({ seq: seq++, id: message['id'] });
      return;
    }
    if (message['checkpoint_name'] !== undefined) return settleStep(message);
    while (stay.rows[seq]?.type === 'ctx.patch') seq += 1;
    const kind = type.startsWith('ctx.step.') ? 'step' : type;
    const name = numbered((message['step'] as string | undefined) ?? defaultName(message));
    const row = stay.rows[seq];
    if (row === undefined) stay.rows[seq] = { type: kind, name };
    else assert.deepEqual([kind, name], [row.type, row.name], `checkpoint ${seq} is another one in the replay`);
    const call: Open = { seq: seq++, type: kind, name, requestId: message['request_id'], attempt: 1, ready: undefined };
    open.set(call.seq, call);
    if (row?.ord !== undefined) return;
    if (type === 'ctx.step.get') {
      words.push({ request_id: call.requestId, value: { done: false, checkpoint_name: name, attempt: 1 } });
    } else if (type === 'ctx.step.put') call.ready = { ok: true, value: message['value'] };
    else if (type === 'ctx.step.fail') call.ready = { ok: false, value: stepError(message, call) };
    else {
      const value = options.answer?.(message, name, 1) ?? defaultAnswer(message);
      if (value === 'never') return;
      call.ready = value instanceof Error ? { ok: false, value: (value as Error & { info: object }).info } : { ok: true, value };
    }
  }

  function settleStep(message: Message): void {
    const call = [...open.values()].find(({ name }) => name === message['checkpoint_name']);
    assert(call !== undefined, `nobody asked for ${message['checkpoint_name']}`);
    call.requestId = message['request_id'];
    if (message['type'] === 'ctx.step.put') return void (call.ready = { ok: true, value: message['value'] });
    const most = options.answer?.(message, call.name, call.attempt) ?? 1;
    if (call.attempt < (most as number) && message['error'].non_retryable !== true) {
      call.attempt += 1;
      words.push({ request_id: call.requestId, value: { retry: true, attempt: call.attempt } });
    } else call.ready = { ok: false, value: stepError(message, call) };
  }

  function next(): void {
    const word = words.shift();
    if (word !== undefined) return tell(word['request_id'], { ok: true, value: word['value'] });
    const ready = [...open.values()].filter((call) => call.ready !== undefined);
    const call =
      ord < lastOrd ? [...open.values()].find(({ seq: at }) => stay.rows[at]?.ord === ord) : ready[options.pick?.(ready.length) ?? 0];
    if (call === undefined) return;
    if (stay.answers === options.stop) return leave();
    const row = stay.rows[call.seq] as Row;
    if (row.ord === undefined) Object.assign(row, call.ready, { ord: stay.ords++ });
    if (stay.answers + 0.5 === options.stop) return leave();
    stay.answers += 1;
    ord += 1;
    now += 1000;
    open.delete(call.seq);
    const { ok, value } = row;
    if (ok === true) tell(call.requestId, { ok, value: value === undefined ? null : outcome(call, value, row) });
    else tell(call.requestId, { ok, error: (value as Message)['message'], error_info: value });
  }

  /** A step that was asked for and is in the history. */
  function outcome(call: Open, value: unknown, row: Row): unknown {
    const asked = stay.sent.findLast((each) => each['request_id'] === call.requestId);
    if (asked?.['type'] === 'ctx.step.get') return { done: true, checkpoint_name: row.name, value };
    return asked?.['echo'] === false ? null : value;
  }

  function tell(requestId: string, rest: Message): void {
    sent += 1;
    host.send({ type: 'ctx.response', run_id: id, request_id: requestId, now, live: live(), ...rest });
  }

  function leave(): void {
    host.send({ type: 'workflow.cancel', run_id: id, reason: 'suspended' });
    done();
  }

  function numbered(name: string): string {
    const count = (names.get(name) ?? 0) + 1;
    names.set(name, count);
    return count === 1 ? name : `${name}#${count}`;
  }

  return { take, live };
}

const stepError = (message: Message, call: Open): Message => ({
  name: 'StepError',
  code: message['error'].code,
  message: message['error'].message,
  step_name: call.name,
  attempts: call.attempt,
  cause_name: message['error'].name,
});

function defaultName({ type, tool, method, channel, workflow_name: workflow, message }: Message): string {
  if (type === 'ctx.call_tool') return `tool_${tool}_${method}`;
  if (type === 'ctx.post_to_slack') return `post_slack_${channel}`;
  if (type === 'ctx.update_slack') return `update_slack_${message.channel}`;
  if (type === 'ctx.workflow.start') return `start_${workflow}`;
  throw new Error(`${type} has no name`);
}

function defaultAnswer({ type, step, tool, method, args, channel, agent, workflow_name: workflow, child_run_id: child }: Message): unknown {
  const thread = args?.thread_key ?? `workflow:${step}`;
  switch (type) {
    case 'ctx.agent.start':
      return { execution_id: `exe-${step}`, thread_key: thread, run_id: `child-${step}` };
    case 'ctx.agent.wait':
      return {
        ...agent,
        status: 'completed',
        terminal_reason: 'completed',
        result_text: `did ${agent.execution_id}`,
        error_text: null,
        usage: null,
      };
    case 'ctx.call_tool':
      return { tool, method, args };
    case 'ctx.post_to_slack':
    case 'ctx.update_slack':
      return { channel: channel ?? 'C', ts: '1.0' };
    case 'ctx.workflow.start':
      return { workflow_name: workflow, run_id: `child-${workflow}`, task_id: `child-${workflow}`, created: true };
    case 'ctx.workflow.wait':
      return { run_id: child, status: 'completed', result: { of: child }, output_json: { of: child }, error: null };
    case 'ctx.event.wait':
      return { payload: step };
    case 'ctx.approval':
      return { verdict: 'approved', args: args ?? null, edited: false, reason: null, voters: [], approval_id: `approval-${step}` };
    default:
      return { slept: true };
  }
}

/** An answer with `"ok": false`. */
export function failure(name: string, code: string, message: string): Error {
  return Object.assign(new Error(message), { info: { name, code, message } });
}

/** What a run's handler returned. */
export function valueOf({ result }: Stay): Message[string] {
  return result?.['result'];
}

/** What a run did outside: each with its name, in order. */
export function effects({ rows }: Stay): string[] {
  return rows.map(({ type, name }) => `${type} ${name}`);
}
