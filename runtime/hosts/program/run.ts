/** A run in the host: what it has asked, what it is about to say, and how it ends. */
import { type Duration, toMilliseconds } from '../../../sdk/src/duration.ts';
import { RunCancelledError } from '../../../sdk/src/errors.ts';
import type { CancelReason, HostErrorInfo, StartMessage, ToHost } from '../protocol/messages.ts';
import type { Burst, Outbox } from './lines.ts';
import { blame, EngineError, toError } from './values.ts';

export type Answer = Extract<ToHost, { readonly type: 'ctx.response' }>;

/** Something of a handler that waits for an answer. */
export interface Open {
  answered(value: unknown, requestId: string): void;
  refused(error: Error): void;
}

export class Run implements Burst {
  readonly start: StartMessage;
  /** Milliseconds: what `ctx.now()` tells. */
  now: number;
  /** It has left its history behind. */
  live: boolean;
  /** Checkpoints and patches so far: the number of the next one. */
  position = 0;

  readonly #outbox: Outbox;
  readonly #mayRun: () => boolean;
  readonly #id: string;
  readonly #open = new Map<string, Open>();
  #requests = 0;
  /** Whole lines, and the last one without its closing brace: it may have to say that the run is at rest. */
  #lines = '';
  #last = '';
  #owesRest = true;
  /** Messages of the worker about this run: the start, and answers. */
  #taken = 1;
  /** Steps whose function may still run. */
  #steps = 0;
  #joined: (() => void) | undefined;
  #closed: CancelReason | 'ended' | undefined;
  #abort: AbortController | undefined;

  constructor(start: StartMessage, outbox: Outbox, leaseHolds: () => boolean) {
    this.start = start;
    this.now = start.now;
    this.live = start.live;
    this.#outbox = outbox;
    this.#mayRun = leaseHolds;
    this.#id = JSON.stringify(start.run_id);
    outbox.rest(this);
  }

  get closed(): boolean {
    return this.#closed !== undefined;
  }

  /** A step's function may run before the worker was asked: nobody else can have run it, and the worker still owns the run. */
  get mayRunAtOnce(): boolean {
    return this.live && this.#mayRun();
  }

  /** Made when somebody asks for it: few handlers do. */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#isCancelled) this.#abort.abort(new RunCancelledError());
    }
    return this.#abort.signal;
  }

  /** A call that is one checkpoint. `read` makes its result of the answer. */
  call<T>(type: string, fields: object, read: (value: never) => T): Promise<T> {
    this.position += 1;
    return this.ask(type, fields, read);
  }

  /** A call that is no checkpoint of its own. */
  ask<T>(type: string, fields: object, read: (value: never) => T): Promise<T> {
    const ended = this.refusal();
    if (ended !== undefined) return ended;
    return new Promise<T>((resolve, reject) => {
      this.request(type, JSON.stringify(fields).slice(1, -1), {
        answered(value, requestId) {
          try {
            resolve(read(value as never));
          } catch (error) {
            blame(error, requestId);
            reject(error);
          }
        },
        refused: reject,
      });
    });
  }

  /**
   * What a call of a run that is over gets: an error when it was cancelled, else nothing ever. A fresh promise each
   * time: a shared one would keep every dropped run alive.
   */
  refusal(): Promise<never> | undefined {
    if (this.#closed === undefined) return undefined;
    return this.#isCancelled ? Promise.reject(new RunCancelledError()) : new Promise<never>(() => {});
  }

  /**
   * @param fields JSON members without braces
   * @returns the request's id
   */
  request(type: string, fields: string, open: Open): string {
    const id = String(++this.#requests);
    this.#open.set(id, open);
    this.#put(`{"type":"${type}","run_id":${this.#id},"request_id":"${id}",${fields}`);
    return id;
  }

  /** A message without an answer. */
  tell(type: string, fields: object): void {
    this.#put(`{"type":"${type}","run_id":${this.#id},${JSON.stringify(fields).slice(1, -1)}`);
  }

  answer(message: Answer): void {
    if (this.closed) return;
    const id = message.request_id;
    const open = this.#open.get(id);
    this.now = message.now;
    this.live = message.live;
    this.#taken += 1;
    this.#owesRest = true;
    this.#outbox.rest(this);
    if (open === undefined) return;
    this.#open.delete(id);
    if (message.ok) open.answered(message.value, id);
    else {
      const error = toError(message.error, message.error_info);
      blame(error, id);
      open.refused(error);
    }
  }

  /** More answers to a request may come: when a step times out while its function runs. */
  keepOpen(requestId: string, open: Open): void {
    this.#open.set(requestId, open);
  }

  forget(requestId: string): void {
    this.#open.delete(requestId);
  }

  stepBegins(): void {
    this.#steps += 1;
  }

  stepEnds(): void {
    this.#steps -= 1;
    if (this.#steps === 0) this.#joined?.();
  }

  /** Resolves when no step is under way: one that nobody awaited still counts. */
  async join(): Promise<void> {
    if (this.#steps > 0) await new Promise<void>((resolve) => (this.#joined = resolve));
  }

  /** @param result JSON text */
  complete(result: string): void {
    this.#end(`{"type":"workflow.result",${this.#header()},"result":${result}`);
  }

  fail(error: HostErrorInfo, traceback: string | undefined): void {
    const rest = JSON.stringify({ message: error.message, traceback, error });
    this.#end(`{"type":"workflow.error",${this.#header()},${rest.slice(1, -1)}`);
  }

  /** Takes the run out of use. Only a cancelled one hears of it: its handler may then tidy up in memory. */
  close(reason: CancelReason): void {
    if (this.closed) return;
    this.#closed = reason;
    this.#lines = '';
    this.#last = '';
    this.#owesRest = false;
    const open = new Set(this.#open.values());
    this.#open.clear();
    if (!this.#isCancelled) return;
    for (const each of open) each.refused(new RunCancelledError());
    this.#abort?.abort(new RunCancelledError());
  }

  take(): string {
    if (this.#last === '') {
      if (!this.#owesRest) return '';
      this.#last = `{"type":"ctx.rest","run_id":${this.#id}`;
    }
    const text = `${this.#lines}${this.#last},"rest":true,"taken":${this.#taken}}\n`;
    this.#lines = '';
    this.#last = '';
    this.#owesRest = false;
    return text;
  }

  get #isCancelled(): boolean {
    return this.#closed === 'cancelled' || this.#closed === 'timeout';
  }

  #put(message: string): void {
    if (this.closed) return;
    if (this.#last === '') this.#outbox.rest(this);
    else this.#lines += `${this.#last}}\n`;
    this.#last = message;
  }

  #end(message: string): void {
    this.#put(message);
    this.#closed ??= 'ended';
    this.#open.clear();
  }

  #header(): string {
    const name = JSON.stringify(this.start.workflow_name);
    return `"workflow_run_id":${this.#id},"run_id":${this.#id},"workflow_task_id":${this.#id},"task_id":${this.#id},"workflow_name":${name}`;
  }
}

/** @throws EngineError INVALID_REQUEST */
export function checkName(name: unknown): void {
  if (typeof name !== 'string' || name === '' || name.length > 256 || name.includes('\0'))
    throw new EngineError('INVALID_REQUEST', 'a step needs a name of 1 to 256 characters');
}

/** @returns seconds */
export function timeoutOf(name: string, timeout: Duration | undefined): number | undefined {
  return timeout === undefined ? undefined : toMilliseconds(timeout, `timeout of "${name}"`) / 1000;
}
