/**
 * Steps and transactions: functions of the handler whose outcome is stored.
 *
 * A step in a run that has left its history behind runs at once, and its outcome is told as it returns. A function
 * that takes its time asks as soon as that is seen, at its place among the handler's other calls: in a replay it asks
 * there too. Everywhere else the worker is asked first, and tells an outcome, or to run.
 */
import type { StepInfo, StepOptions, TransactionClient } from '../../../sdk/src/context.ts';
import { toMilliseconds } from '../../../sdk/src/duration.ts';
import { toHostRetry } from './retry.ts';
import { checkName, type Open, type Run } from './run.ts';
import { EngineError, errorInfo, toJson } from './values.ts';

interface Kind {
  readonly noun: string;
  readonly ask: string;
  readonly store: string;
  readonly fail: string;
}

const STEP: Kind = { noun: 'step', ask: 'ctx.step.get', store: 'ctx.step.put', fail: 'ctx.step.fail' };
const TRANSACTION: Kind = { noun: 'transaction', ask: 'ctx.tx.begin', store: 'ctx.tx.commit', fail: 'ctx.tx.rollback' };

/** What the worker says to a step: its outcome, or what to do next. */
interface Told {
  readonly done?: boolean;
  readonly retry?: boolean;
  readonly value?: unknown;
  readonly attempt?: number;
  readonly checkpoint_name?: string;
  readonly tx?: string;
}

export function runStep(run: Run, name: string, fn: (info: StepInfo) => unknown, options: StepOptions | undefined): Promise<unknown> {
  const limits = readLimits(name, fn, options);
  return (
    run.refusal() ??
    new Promise((resolve, reject) => new Step(run, STEP, name, limits, fn as Work, resolve, reject).begin(run.mayRunAtOnce))
  );
}

export function runTransaction(
  run: Run,
  name: string,
  fn: (tx: TransactionClient) => Promise<unknown>,
  options: StepOptions | undefined,
): Promise<unknown> {
  const limits = readLimits(name, fn, options);
  return (
    run.refusal() ?? new Promise((resolve, reject) => new Step(run, TRANSACTION, name, limits, fn as Work, resolve, reject).begin(false))
  );
}

type Work = (given: StepInfo | TransactionClient) => unknown;

/** JSON members that follow the step's name in what begins it. */
function readLimits(name: string, fn: unknown, options: StepOptions | undefined): string {
  checkName(name);
  if (typeof fn !== 'function') throw new EngineError('INVALID_REQUEST', `step "${name}": the second argument must be a function`);
  if (options === undefined) return '';
  for (const key of Object.keys(options)) {
    if (key !== 'retry' && key !== 'timeout')
      throw new EngineError('INVALID_REQUEST', `step "${name}": unknown option "${key}"; use retry and timeout`);
  }
  const { retry, timeout } = options;
  return (
    (retry === undefined ? '' : `,"retry":${JSON.stringify(toHostRetry(retry, `retry of step "${name}"`))}`) +
    (timeout === undefined ? '' : `,"timeout_ms":${toMilliseconds(timeout, `timeout of step "${name}"`)}`)
  );
}

class Step implements Open {
  readonly #run: Run;
  readonly #kind: Kind;
  readonly #name: string;
  readonly #limits: string;
  readonly #work: Work;
  readonly #resolve: (value: unknown) => void;
  readonly #reject: (error: Error) => void;
  #attempt = 0;
  /** The first attempt has begun, and the worker was asked: its word comes before the outcome is told. */
  #asked = false;
  #early: (() => void) | undefined;
  /** How the worker knows the step, since it has answered. */
  #checkpoint: string | undefined;
  #tx: string | undefined;
  /** The request that waits for its answer. */
  #pending: string | undefined;
  /** Requests that were answered with an attempt to make: that it took too long is told as another answer to one of them. */
  #told: string[] | undefined;
  /** What was sent to be stored, as JSON. */
  #stored: string | undefined;
  #abort: AbortController | undefined;
  #settled = false;

  constructor(
    run: Run,
    kind: Kind,
    name: string,
    limits: string,
    work: Work,
    resolve: (value: unknown) => void,
    reject: (error: Error) => void,
  ) {
    this.#run = run;
    this.#kind = kind;
    this.#name = name;
    this.#limits = limits;
    this.#work = work;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  begin(atOnce: boolean): void {
    this.#run.position += 1;
    this.#run.stepBegins();
    if (atOnce) this.#try(1);
    else this.#ask();
  }

  answered(value: unknown, requestId: string): void {
    if (this.#settled) return;
    if (requestId === this.#pending && this.#stored !== undefined && !isNextAttempt(value)) {
      return this.#settle(value ?? JSON.parse(this.#stored));
    }
    const told = value as Told | null;
    if (told?.done === true) return this.#settle(told.value ?? null);
    // what the worker took of an attempt that it had already given up
    if (told?.done !== false && told?.retry !== true) return this.#settle(value);
    (this.#told ??= []).push(requestId);
    this.#run.keepOpen(requestId, this);
    this.#checkpoint = told.checkpoint_name ?? this.#checkpoint;
    this.#tx = told.tx ?? this.#tx;
    if (this.#asked) {
      this.#asked = false;
      this.#early?.();
    } else this.#try(told.attempt ?? this.#attempt + 1);
  }

  refused(error: Error): void {
    if (this.#settled) return;
    this.#leave();
    this.#abort?.abort(error);
    this.#reject(error);
  }

  #ask(): void {
    this.#pending = this.#run.request(this.#kind.ask, `"step":${JSON.stringify(this.#name)}${this.#limits}`, this);
  }

  #askLate(): void {
    this.#asked = true;
    this.#ask();
  }

  #try(attempt: number): void {
    this.#abort?.abort(new Error('another attempt of this step has begun'));
    this.#abort = undefined;
    this.#stored = undefined;
    this.#pending = undefined;
    this.#attempt = attempt;
    let value: unknown;
    try {
      value = this.#work(this.#given(attempt));
    } catch (error) {
      return this.#failed(attempt, error);
    }
    if (!isThenable(value)) return this.#done(attempt, value);
    if (this.#pending === undefined && this.#told === undefined) this.#askLate();
    value.then(
      (settled) => this.#inTurn(() => this.#done(attempt, settled)),
      (error: unknown) => this.#inTurn(() => this.#failed(attempt, error)),
    );
  }

  #given(attempt: number): StepInfo | TransactionClient {
    return this.#kind === TRANSACTION ? createClient(this.#run, this.#tx ?? '') : new Info(attempt, this);
  }

  /** Of the attempt that is under way. */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    return AbortSignal.any([this.#run.signal, this.#abort.signal]);
  }

  #inTurn(tell: () => void): void {
    if (this.#asked) this.#early = tell;
    else tell();
  }

  #done(attempt: number, value: unknown): void {
    if (this.#settled || attempt !== this.#attempt) return;
    let text: string;
    try {
      text = toJson(value, `${this.#kind.noun} "${this.#checkpoint ?? this.#name}"`);
    } catch (error) {
      return this.#failed(attempt, error);
    }
    this.#stored = text;
    // what the handler gets is made of the same text: the worker need not send it back
    this.#pending = this.#run.request(this.#kind.store, `${this.#reference()},"value":${text},"echo":false`, this);
  }

  #failed(attempt: number, error: unknown): void {
    if (this.#settled || attempt !== this.#attempt) return;
    // the next attempt will need the name that the worker gives the step
    if (this.#pending === undefined && this.#told === undefined) {
      this.#early = () => this.#failed(attempt, error);
      return this.#askLate();
    }
    this.#pending = this.#run.request(this.#kind.fail, `${this.#reference()},"error":${JSON.stringify(errorInfo(error))}`, this);
  }

  #reference(): string {
    if (this.#tx !== undefined) return `"tx":${JSON.stringify(this.#tx)}`;
    if (this.#checkpoint !== undefined) return `"checkpoint_name":${JSON.stringify(this.#checkpoint)},"attempt":${this.#attempt}`;
    return `"step":${JSON.stringify(this.#name)}${this.#limits}`;
  }

  #settle(value: unknown): void {
    this.#leave();
    this.#resolve(value);
  }

  #leave(): void {
    this.#settled = true;
    for (const request of this.#told ?? []) this.#run.forget(request);
    this.#run.stepEnds();
  }
}

/** What a step's function is told. Its signal is made for those who look at it: few do. */
class Info implements StepInfo {
  readonly attempt: number;
  readonly #step: Step;

  constructor(attempt: number, step: Step) {
    this.attempt = attempt;
    this.#step = step;
  }

  get signal(): AbortSignal {
    return this.#step.signal;
  }
}

/** The only other answer there is to what was sent to be stored. */
function isNextAttempt(value: unknown): boolean {
  const { retry, checkpoint_name, tx } = (value ?? {}) as Told;
  return retry === true && (typeof checkpoint_name === 'string' || typeof tx === 'string');
}

function createClient(run: Run, tx: string): TransactionClient {
  return {
    query: <Row extends object>(sql: string, params: readonly unknown[] = []) =>
      run.ask('ctx.tx.query', { tx, sql, params: params.map(toParameter) }, (value: { rows: Row[]; row_count: number }) => ({
        rows: value.rows,
        rowCount: value.row_count,
      })),
  };
}

/** What JSON cannot hold, as text that Postgres reads. */
function toParameter(value: unknown): unknown {
  if (typeof value === 'bigint') return String(value);
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  return value instanceof Uint8Array ? `\\x${Buffer.from(value).toString('hex')}` : value;
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null)?.then === 'function';
}
