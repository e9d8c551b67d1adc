/** The host as a process, and a small worker for it that keeps a history: for the tests of this room. */
import assert from 'node:assert/strict';
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export interface Message {
  readonly type: string;
  readonly step?: string;
  readonly id?: string;
  /** Of `workflow.error`, and of a step's. */
  readonly error?: { readonly [field: string]: unknown };
  readonly [field: string]: unknown;
}

const MAIN = fileURLToPath(new URL('main.ts', import.meta.url));
const DENO = fileURLToPath(new URL('../../../node_modules/.bin/deno', import.meta.url));

const DENO_FLAGS = ['--no-config', '--node-modules-dir=manual', '--no-prompt', '--allow-read', '--allow-env', '--allow-net'];

/** The runtimes that are installed here, and how each runs the host; Deno connects to a socket that it may write to. */
export const RUNTIMES: readonly { readonly name: string; command(socket?: string): readonly string[] }[] = [
  { name: 'Node', command: () => [process.execPath, '--no-warnings', MAIN] },
  ...(existsSync(DENO)
    ? [{ name: 'Deno', command: (socket?: string) => [DENO, 'run', ...DENO_FLAGS, ...(socket ? [`--allow-write=${socket}`] : []), MAIN] }]
    : []),
];

export interface HostProcess extends AsyncDisposable {
  send(message: object): void;
  write(text: string): void;
  /** The next message that fits. */
  next(fits: (message: Message) => boolean): Promise<Message>;
  /** Everything it has written to standard error. */
  errors(): string;
  /** Closes its input, and resolves with its exit code. */
  end(): Promise<number | null>;
}

/** A directory of files; remove it yourself. */
export function writeFiles(files: Readonly<Record<string, string>>): { readonly dir: string; remove(): void } {
  const dir = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'centaur-program-')));
  for (const [file, content] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(dir, file)), { recursive: true });
    writeFileSync(path.join(dir, file), content);
  }
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) };
}

export function startHost(command: readonly string[], env: Readonly<Record<string, string>>): HostProcess {
  const [program = '', ...args] = command;
  const child = spawn(program, args, { env: { ...process.env, ...env } });
  return speak(child, child.stdout, (text) => child.stdin.write(text));
}

/** @param send writes to the host, over whichever way leads to it */
export function speak(child: ChildProcessWithoutNullStreams, from: NodeJS.ReadableStream, send: (text: string) => void): HostProcess {
  let errors = '';
  let rest = '';
  let unread: Message[] = [];
  let waiting: { readonly fits: (message: Message) => boolean; resolve(message: Message): void; reject(error: Error): void }[] = [];
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
  const closed = new Promise<number | null>((resolve) => child.once('close', resolve));
  from.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) take(JSON.parse(line) as Message);
  });
  void closed.then(() => {
    for (const { reject } of waiting) reject(new Error(`the host ended: ${errors}`));
  });

  function take(message: Message): void {
    const found = waiting.find(({ fits }) => fits(message));
    if (found === undefined) unread.push(message);
    else {
      waiting = waiting.filter((each) => each !== found);
      found.resolve(message);
    }
  }

  return {
    send: (message) => send(`${JSON.stringify(message)}\n`),
    write: send,
    next(fits) {
      const found = unread.find(fits);
      if (found === undefined) return new Promise((resolve, reject) => waiting.push({ fits, resolve, reject }));
      unread = unread.filter((each) => each !== found);
      return Promise.resolve(found);
    },
    errors: () => errors,
    end() {
      child.stdin.end();
      return closed;
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await closed;
    },
  };
}

/** A checkpoint: in the order of the calls; `ord` is the order of the outcomes. */
export interface Row {
  readonly type: string;
  readonly name: string;
  ord: number | undefined;
  outcome: Outcome | undefined;
}

export type Outcome = { readonly value: unknown } | { readonly error: Readonly<Record<string, unknown>> };

export interface PlayOptions {
  readonly input?: unknown;
  /** What the run did before. */
  readonly history?: Row[];
  /** What the outside world answers to a call; undefined: nothing yet. */
  readonly world?: (message: Message) => Outcome | undefined;
  /** Milliseconds of the system's clock until which the host need not ask. */
  readonly leaseUntil?: number;
  /** Messages after which nothing is answered. */
  readonly stopAfter?: number;
}

export interface Played {
  readonly runId: string;
  readonly rows: Row[];
  readonly messages: readonly Message[];
  /** Undefined when everything waits, or it was stopped. */
  readonly end: Message | undefined;
}

let runs = 0;

/** One execution of a run, from its start or from its history. Answers one call at a time, when the host says that the run is at rest. */
export async function play(host: HostProcess, workflow: string, options: PlayOptions = {}): Promise<Played> {
  const { input = null, history = [], world = () => undefined, leaseUntil = null, stopAfter = Infinity } = options;
  const runId = `run-${++runs}`;
  const rows = history;
  const known = rows.length;
  const messages: Message[] = [];
  const names = new Map<string, number>();
  const open = new Map<Row, { readonly message: Message; request: unknown; asked: boolean }>();
  let ords = rows.filter(({ ord }) => ord !== undefined).length;
  const recorded = ords;
  let seq = 0;
  let next = 0;
  let taken = 1;
  host.send({
    type: 'workflow.start',
    run_id: runId,
    task_id: runId,
    workflow_name: workflow,
    input,
    attempt: 1,
    trace_id: 'trace',
    seed: 'seed',
    now: 1_000,
    live: known === 0,
    history_length: known,
    patches: rows.flatMap(({ type, name }, seq) => (type === 'ctx.patch' ? [{ seq, id: name }] : [])),
    lease_until: leaseUntil,
  });

  function take(message: Message): void {
    const { checkpoint_name: whole } = message;
    if (whole !== undefined) return finishStep(rows.find(({ name }) => name === whole) as Row, message);
    if (message.request_id === undefined && message.type !== 'ctx.patch') return;
    const name = message.step ?? message.id ?? message.type;
    const count = (names.get(name) ?? 0) + 1;
    names.set(name, count);
    const row = claim(message.type.startsWith('ctx.step') ? 'ctx.step' : message.type, count === 1 ? name : `${name}#${count}`);
    if (message.type === 'ctx.patch') return;
    open.set(row, { message, request: message.request_id, asked: message.type === 'ctx.step.get' });
    if (message.type === 'ctx.step.put') finishStep(row, message);
  }

  function claim(type: string, name: string): Row {
    while (seq < known && rows[seq]?.type === 'ctx.patch' && type !== 'ctx.patch') seq += 1;
    const row = rows[seq] ?? { type, name, ord: undefined, outcome: undefined };
    assert.deepEqual([row.type, row.name], [type, name], 'a replay makes the calls of the history');
    rows[seq++] = row;
    return row;
  }

  function finishStep(row: Row, message: Message): void {
    const call = open.get(row);
    if (call === undefined) return;
    call.request = message.request_id;
    call.asked = false;
    const { name, ...error } = message.error ?? {};
    const failed = { name: 'StepError', step_name: row.name, attempts: 1, cause_name: name, ...error };
    store(row, message.type === 'ctx.step.put' ? { value: message.value } : { error: failed });
  }

  function store(row: Row, outcome: Outcome): void {
    row.outcome = outcome;
    row.ord = ords++;
  }

  /** One answer, if there is one to give. */
  function goOn(): boolean {
    for (const [row, call] of open) {
      if (!call.asked || row.ord !== undefined) continue;
      call.asked = false;
      return answer(call.request, { ok: true, value: { done: false, checkpoint_name: row.name, attempt: 1 } });
    }
    if (next >= ords) {
      for (const [row, { message }] of open) {
        const outcome = message.type.startsWith('ctx.step') ? undefined : world(message);
        if (outcome === undefined) continue;
        store(row, outcome);
        break;
      }
    }
    for (const [row, { asked, request }] of open) {
      if (row.ord !== next) continue;
      next += 1;
      open.delete(row);
      const outcome = row.outcome as Outcome;
      if ('error' in outcome) return answer(request, { ok: false, error: outcome.error.message, error_info: outcome.error });
      const silent = row.type === 'ctx.step' ? null : outcome.value;
      return answer(request, { ok: true, value: asked ? { done: true, checkpoint_name: row.name, value: outcome.value } : silent });
    }
    return false;
  }

  function answer(request: unknown, fields: object): true {
    const live = next >= recorded && seq >= known;
    taken += 1;
    host.send({ type: 'ctx.response', run_id: runId, request_id: request, ...fields, now: 1_000 + next, live });
    return true;
  }

  for (;;) {
    const message = await host.next(({ run_id }) => run_id === runId);
    messages.push(message);
    if (message.type === 'workflow.result' || message.type === 'workflow.error') return { runId, rows, messages, end: message };
    take(message);
    if (messages.length >= stopAfter) {
      host.send({ type: 'workflow.cancel', run_id: runId, reason: 'suspended' });
      return { runId, rows, messages, end: undefined };
    }
    const executing = [...open].some(([row, { asked }]) => row.type === 'ctx.step' && !asked && row.ord === undefined);
    // a step's function went on by itself while an answer was on its way: the reaction to that is still to come
    if (message.rest !== true || message.taken !== taken) continue;
    if (!goOn() && !executing) return { runId, rows, messages, end: undefined };
  }
}

export const monotonicMs = (): number => Number(process.hrtime.bigint()) / 1e6;
