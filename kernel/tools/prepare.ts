/**
 * The first look at a call, before anything of it is written: is the tool known and ready, do the arguments fit, whose is its key. What
 * is wrong here has changed nothing.
 */
import { createHash, randomUUID } from 'node:crypto';
import { canonicalJson } from '../store/index.ts';
import type { Waiting } from './approvals.ts';
import { ToolError } from './errors.ts';
import { refusedArguments } from './outcome.ts';
import { type Checker, compileSchema, withDefaults } from './schema.ts';
import type { Dispatch, MethodDeclaration, OwnSecrets, ServedTool, ToolCaller, ToolRunner } from './types.ts';

export interface CallRequest {
  readonly tool: string;
  readonly method: string;
  /** A JSON object. */
  readonly args: unknown;
  /** Within those of the caller's principal. A call that comes again under its key is answered, not made. */
  readonly idempotencyKey?: string | undefined;
  /** Of the run that calls. What failed under the key is made again by a later one, where it is known that it failed. Default 1. */
  readonly attempt?: number | undefined;
  /** Aborts when the caller has gone. A call under a key goes on, once it was begun: whoever comes again gets its answer. */
  readonly signal?: AbortSignal | undefined;
  /** How long the call is held while a person decides. Default 55 s; Infinity for as long as it takes. */
  readonly waitMs?: number | undefined;
  onProgress?(message: string, done: number | undefined, total: number | undefined): void;
  /** A person was asked. */
  onWaits?(waiting: Waiting): void;
}

/** A call that has been looked at, and may be made. */
export interface Prepared {
  readonly callId: string;
  readonly caller: ToolCaller;
  /** Whose turn it was when the call came. */
  readonly user: string | undefined;
  readonly tool: ServedTool;
  readonly method: MethodDeclaration;
  readonly args: Readonly<Record<string, unknown>>;
  readonly own: OwnSecrets | undefined;
  readonly key: string | undefined;
  readonly attempt: number;
  /** Whose keys these are: those of one user of a thread are not another's. Principals have no spaces in them. */
  readonly keysOf: string;
  /** Of tool, method and arguments, as they came. */
  readonly digest: Buffer;
  readonly waitMs: number;
  readonly onProgress: Dispatch['onProgress'];
  readonly onWaits: (waiting: Waiting) => void;
}

export interface Preparation {
  readonly runner: ToolRunner;
  /**
   * Whether the tool has what it needs to be called for the user.
   *
   * @returns what the user has of their own
   * @throws ToolError TOOL_NOT_READY
   */
  ready(tool: ServedTool, user: string | undefined): Promise<OwnSecrets | undefined>;
}

const WAIT_MS = 55_000;
const KEY_LONGEST = 512;

/** @throws ToolError TOOL_NOT_FOUND, TOOL_METHOD_NOT_FOUND, INVALID_ARGUMENTS, TOOL_NOT_READY */
export async function prepare({ runner, ready }: Preparation, caller: ToolCaller, request: CallRequest): Promise<Prepared> {
  const tool = runner.get(request.tool);
  if (tool === undefined) throw new ToolError('TOOL_NOT_FOUND', `there is no tool ${quote(request.tool)}`);
  const method = tool.methods.find(({ name }) => name === request.method);
  if (method === undefined) {
    const known = tool.methods.map(({ name }) => name).join(', ');
    throw new ToolError('TOOL_METHOD_NOT_FOUND', `${tool.name} has no method ${quote(request.method)}; it has ${known.slice(0, 1000)}`);
  }
  const key = request.idempotencyKey;
  if (key !== undefined && (key.length === 0 || key.length > KEY_LONGEST || /[^\x21-\x7e]/.test(key)))
    throw refusedArguments(`idempotency key: expected 1 to ${KEY_LONGEST} printable characters`, []);
  const args = checkArguments(method, request.args);
  const user = await caller.user?.();
  const own = await ready(tool, user);
  return {
    callId: randomUUID(),
    caller,
    user,
    keysOf: user === undefined ? caller.principal : `${caller.principal} user:${user}`,
    tool,
    method,
    args,
    own,
    key,
    attempt: request.attempt ?? 1,
    digest: digestOf({ tool: tool.name, method: method.name, args: request.args }),
    waitMs: request.waitMs ?? WAIT_MS,
    onProgress: request.onProgress,
    onWaits: (waiting) => request.onWaits?.(waiting),
  };
}

const checkers = new WeakMap<MethodDeclaration, Checker>();

/** Compiled once for each version of a tool. @throws ToolError INVALID_ARGUMENTS */
export function checkArguments(method: MethodDeclaration, given: unknown): Readonly<Record<string, unknown>> {
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    throw refusedArguments('arguments: expected a JSON object', [{ path: '', message: 'expected an object' }]);
  let check = checkers.get(method);
  if (check === undefined) checkers.set(method, (check = compileSchema(method.input)));
  const first = check(given);
  const [issue] = first;
  if (issue === undefined) return withDefaults(method.input, given as Readonly<Record<string, unknown>>);
  const more = first.length > 1 ? ` (and ${first.length - 1} more)` : '';
  throw refusedArguments(`arguments${issue.path === '' ? '' : ` ${issue.path}`}: ${issue.message}${more}`, first);
}

/** A call waits for a person, and for others under its key: what was a user's turn may be another's by now. */
export async function checkUser({ caller, user }: Prepared): Promise<void> {
  if (user === undefined || (await caller.user?.()) === user) return;
  throw new ToolError('TOOL_CANCELLED', `this was the turn of ${user} alone when the call was made, and is not any more; make it again`, {
    retryable: true,
  });
}

export const hasSecrets = ({ tool, own }: Prepared): boolean => tool.secrets.length > 0 || own !== undefined;

export function digestOf(value: unknown): Buffer {
  return createHash('sha256').update(canonicalJson(value)).digest();
}

const quote = (name: string): string => JSON.stringify(name.slice(0, 100));
