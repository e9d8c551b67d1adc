/**
 * One call, in order: is the tool known and ready, do the arguments fit, does the policy allow it, was it made before; then the intent is
 * committed to the audit log, and only then is the tool's process asked. Nothing of the arguments or the result is in the log: their
 * digest is.
 */
import { createHash, randomUUID } from 'node:crypto';
import {
  activePolicy,
  consumeApproval,
  type Decision,
  decideCounted,
  DEFAULT_GATE,
  findSticky,
  type Given,
  policyTime,
  returnApproval,
  type StickyCall,
  takeLimit,
  type ToolRequest,
  useSticky,
} from '../policy/index.ts';
import { readSpend } from '../usage/index.ts';
import { canonicalJson, contextOfCall, isTransient, isUuid, type Queryable, type StoreLogEntry, traceUuidOf } from '../store/index.ts';
import { closeCallLease, type Installation, openCallLease } from '../vault/index.ts';
import { type ApprovalRequest, approvalOf, approvalRequired, givenFor, type Waiting } from './approvals.ts';
import { principalOf } from './declared-grants.ts';
import { type Edited, editedBy, editOf, withEdit } from './edited.ts';
import { ToolError } from './errors.ts';
import type { KnownCall, Ledger } from './ledger.ts';
import { failed, gone, isRepeatable, mismatch, type Outcome, readError, refusedArguments, unknown, writeError } from './outcome.ts';
import { type AttachFile, attachments, keepResult } from './results.ts';
import { type Checker, compileSchema, withDefaults } from './schema.ts';
import { sensitivePaths } from './sensitive.ts';
import type { Dispatch, DispatchResult, MethodDeclaration, OwnSecrets, ServedTool, ToolCaller, ToolRunner } from './types.ts';

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

export interface CallAnswer {
  readonly callId: string;
  /** JSON. */
  readonly result: unknown;
  /** It was made before, under the same key. */
  readonly repeated: boolean;
  /** Whoever approved the call changed its arguments: what was made is not what was asked for. */
  readonly edited?: Edited;
}

export interface CallParts {
  readonly installation: Installation;
  readonly runner: ToolRunner;
  readonly ledger: Ledger;
  readonly attach: AttachFile | undefined;
  readonly log: (entry: StoreLogEntry) => void;
  /** Aborts when the process stops: nobody waits for a person any more then. */
  readonly closing: AbortSignal;
  /**
   * Whether the tool has what it needs to be called for the user.
   *
   * @returns what the user has of their own
   * @throws ToolError TOOL_NOT_READY
   */
  ready(tool: ServedTool, user: string | undefined): Promise<OwnSecrets | undefined>;
}

const WAIT_MS = 55_000;
/** A runner that does not answer after its time is up is answered for. */
const LATE_MS = 5000;
/** For what is under way when the time of a call is up. */
const LEASE_MARGIN_SECONDS = 10;
const KEY_LONGEST = 512;

/** A call that has been looked at, and may be made. */
interface Prepared {
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

/** What the policy said to a call that may be made: for its intent. */
type Verdict = Readonly<Record<string, unknown>>;

/** That the call is made is recorded. */
interface Intent {
  readonly id: string;
  /** Until its entry was committed, ms. */
  readonly auditMs: number;
  /** What a person approved, and is used for it. */
  readonly approvalId?: string;
  /** With the arguments that a person put in place of the caller's. */
  readonly call: Prepared;
  readonly edited?: Edited;
}

interface Open {
  readonly digest: Buffer;
  readonly answer: Promise<CallAnswer>;
  /** How many wait for it. */
  waiting: number;
  readonly left: AbortController;
  readonly listeners: Set<Pick<CallRequest, 'onProgress' | 'onWaits'>>;
}

export function createCalls(parts: CallParts) {
  const { installation, runner, ledger, log } = parts;
  const { store, audit } = installation;
  const checkers = new WeakMap<MethodDeclaration, Checker>();
  /** Calls under a key that this process makes. */
  const open = new Map<string, Open>();

  return {
    /** @throws ToolError */
    async call(caller: ToolCaller, request: CallRequest): Promise<CallAnswer> {
      if (parts.closing.aborted) throw gone();
      const prepared = await prepare(caller, request);
      const signal = request.signal === undefined ? parts.closing : AbortSignal.any([request.signal, parts.closing]);
      return prepared.key === undefined ? make(prepared, signal, signal) : join(prepared, prepared.key, request, signal);
    },
    /** What is wrong with arguments for `tool.method`; undefined when there is no such method here. */
    check(name: string, args: unknown): readonly string[] | undefined {
      const dot = name.indexOf('.');
      const method = runner.get(name.slice(0, dot))?.methods.find((each) => each.name === name.slice(dot + 1));
      if (method === undefined) return undefined;
      try {
        checkArguments(method, args);
        return [];
      } catch (error) {
        if (error instanceof ToolError) return [error.message];
        throw error;
      }
    },
  };

  async function prepare(caller: ToolCaller, request: CallRequest): Promise<Prepared> {
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
    const own = await parts.ready(tool, user);
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

  /** Compiled once for each version of a tool. */
  function checkArguments(method: MethodDeclaration, given: unknown): Readonly<Record<string, unknown>> {
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

  // ---- under a key

  /** One of many at once makes the call; the others get its answer. */
  async function join(call: Prepared, key: string, request: CallRequest, signal: AbortSignal): Promise<CallAnswer> {
    const place = `${call.keysOf}\0${key}`;
    let known = open.get(place);
    // all who waited for it have left, and it is being given up: this caller's call is one of its own, after it
    while (known?.left.signal.aborted === true) {
      await known.answer.catch(() => {});
      known = open.get(place) === known ? undefined : open.get(place);
    }
    const isFirst = known === undefined;
    if (known !== undefined && !known.digest.equals(call.digest)) throw mismatch();
    if (known === undefined) {
      const left = new AbortController();
      const listeners: Open['listeners'] = new Set();
      const heard: Prepared = {
        ...call,
        onProgress: (...progress) => listeners.forEach((each) => each.onProgress?.(...progress)),
        onWaits: (waiting) => listeners.forEach((each) => each.onWaits?.(waiting)),
      };
      const answer = onceUnder(heard, key, left.signal).finally(() => open.delete(place));
      // each of those who wait hears of it below
      answer.catch(() => {});
      open.set(place, (known = { digest: call.digest, answer, waiting: 0, left, listeners }));
    }
    const mine = known;
    mine.waiting += 1;
    mine.listeners.add(request);
    try {
      const answer = await orGone(mine.answer, signal);
      return isFirst ? answer : { ...answer, repeated: true };
    } finally {
      mine.waiting -= 1;
      mine.listeners.delete(request);
      if (mine.waiting === 0) mine.left.abort();
    }
  }

  async function onceUnder(call: Prepared, key: string, left: AbortSignal): Promise<CallAnswer> {
    const known: KnownCall = { principal: call.keysOf, key, callId: call.callId };
    for (;;) {
      if (left.aborted) throw gone();
      const begun = await ledger.begin({
        ...known,
        tool: call.tool.name,
        method: call.method.name,
        digest: call.digest,
        repeatable: isRepeatable(call.method),
        attempt: call.attempt,
      });
      if (begun.state === 'mine') break;
      if (begun.state === 'mismatch') throw mismatch();
      if (begun.state === 'completed')
        return { callId: begun.callId, result: begun.result, repeated: true, ...editOf(begun.edited as Edited | undefined) };
      if (begun.state === 'failed') throw readError(begun.error);
      if (begun.state === 'unknown') throw unknown(begun.callId);
      await ledger.changed(left);
    }
    // what was begun is not taken back by a caller that goes away: its answer is for whoever comes again
    return make(call, left, new AbortController().signal, known);
  }

  // ---- deciding, recording and making

  /**
   * @param waiting aborts when nobody waits for a decision any more
   * @param signal aborts what has been begun
   */
  async function make(call: Prepared, waiting: AbortSignal, signal: AbortSignal, row?: KnownCall): Promise<CallAnswer> {
    let intent: Intent;
    try {
      const { verdict, ask, sticky } = await decide(call, waiting);
      if (waiting.aborted) throw gone();
      await checkUser(call);
      intent =
        ask === undefined
          ? await record(call, verdict, row)
          : ((await recordSticky(call, verdict, row, ask, sticky)) ?? (await recordApproved(call, verdict, row, ask)));
    } catch (error) {
      if (row !== undefined)
        void ledger.settle(async (tx) => void (await ledger.forget(tx, row))).catch((cause: Error) => complain(call, cause));
      throw error;
    }
    const started = performance.now();
    const outcome = withEdit(await answerOf(intent.call, intent, signal), intent.edited);
    await settle(call, intent, outcome, msSince(started), row);
    if (outcome.ok) return { callId: call.callId, result: outcome.result, repeated: false, ...editOf(intent.edited) };
    // whoever comes again under the key hears the same
    throw row !== undefined && outcome.unsure && !outcome.error.retryable ? unknown(call.callId) : outcome.error;
  }

  /** A call waits for a person, and for others under its key: what was a user's turn may be another's by now. */
  async function checkUser({ caller, user }: Prepared): Promise<void> {
    if (user === undefined || (await caller.user?.()) === user) return;
    throw new ToolError('TOOL_CANCELLED', `this was the turn of ${user} alone when the call was made, and is not any more; make it again`, {
      retryable: true,
    });
  }

  /** @throws ToolError POLICY_DENIED, POLICY_FAILED */
  async function decide(
    call: Prepared,
    waiting: AbortSignal,
  ): Promise<{ readonly verdict: Verdict; readonly ask?: ApprovalRequest; readonly sticky?: StickyCall }> {
    const { caller, user, tool, method, args } = call;
    const began = performance.now();
    const { facts, decision, shadow, request, policy } = await judge(call);
    const beside = shadowOf(decision, shadow, request);
    const { effect, gate, exhausted } = await decideCounted(decision, (...limit) => takeLimit(store, ...limit));
    const verdict: Verdict = {
      ...facts,
      policy_ms: msSince(began),
      ...(exhausted.length === 0 ? {} : { exhausted }),
      ...(beside === undefined ? {} : { shadow: beside }),
    };
    if (effect === 'allow') return { verdict };
    // what was approved for one user is not approved for another
    const asUser = user === undefined ? {} : { user, own: [...(call.own?.secrets.values() ?? [])].toSorted() };
    const bound = { kind: 'tool', principal: caller.principal, tool: tool.name, method: method.name, risk: method.risk, ...asUser };
    // what was approved for one run of a workflow is not approved for another
    const once = { ...bound, ...(caller.workflow === undefined ? {} : { run: caller.runId }) };
    const { args: _, now: __, ...subject } = request;
    const ask: ApprovalRequest = {
      digest: digestOf({ ...once, args }),
      gate,
      rule: facts.rule,
      caller,
      user,
      tool: tool.name,
      method: method.name,
      risk: method.risk,
      editing: { args, request: subject, bound: once, sensitive: sensitivePaths(method.input) },
      facts: verdict,
      until: performance.now() + call.waitMs,
      signal: waiting,
      onWaits: call.onWaits,
    };
    const terms = policy.gates.get(gate) ?? DEFAULT_GATE;
    const { threadKey, runId } = caller;
    return { verdict, ask, sticky: { bound, args, risk: method.risk, gate, rule: facts.rule, terms, threadKey, runId } };
  }

  /** What the policy says now, without counting it. @throws ToolError POLICY_DENIED, POLICY_FAILED */
  async function judge(call: Prepared) {
    const { caller, user, tool, method, args } = call;
    const asked: ToolRequest = {
      kind: 'tool',
      principal: caller.principal,
      ...(caller.runId === undefined ? {} : { run: caller.runId }),
      ...(caller.workflow === undefined ? {} : { workflow: caller.workflow }),
      ...(caller.threadKey === undefined ? {} : { thread: caller.threadKey }),
      ...(user === undefined ? {} : { user }),
      ...(caller.channel === undefined ? {} : { channel: caller.channel }),
      tool: { name: `${tool.name}.${method.name}`, risk: method.risk },
      args,
      now: policyTime(store.now()),
    };
    const { version, policy, shadow } = await activePolicy(store);
    const reads = policy.readsSpend || shadow?.policy.readsSpend === true;
    const spent = reads ? await readSpend(store, { thread: caller.threadKey, workflow: caller.workflow, user }, store.now()) : undefined;
    const request: ToolRequest = { ...asked, ...(spent === undefined ? {} : { spend: spent }) };
    let decision: Decision;
    try {
      decision = policy.decide(request);
    } catch {
      await deny(call, { policy: version, reason: 'POLICY_FAILED' });
      throw new ToolError('POLICY_FAILED', 'the policy could not decide, so the call is refused');
    }
    const rule = decision.rule ?? 'default';
    const facts = {
      policy: version,
      rule,
      // an input of the decision, like the time
      ...(spent === undefined ? {} : { spend: spent }),
      // which conditions failed; what they say of it may quote the arguments
      ...(decision.errors.length === 0 ? {} : { failed_rules: decision.errors.map((each) => each.rule) }),
    };
    if (decision.effect === 'deny') {
      const beside = shadowOf(decision, shadow, request);
      await deny(call, { ...facts, ...(beside === undefined ? {} : { shadow: beside }) });
      throw new ToolError('POLICY_DENIED', decision.message ?? 'the policy does not allow this call', { details: { rule } });
    }
    return { facts, decision, shadow, request, policy };
  }

  /** When people have approved calls like this one for a while. Undefined: they have to be asked. */
  async function recordSticky(
    call: Prepared,
    verdict: Verdict,
    row: KnownCall | undefined,
    ask: ApprovalRequest,
    sticky: StickyCall | undefined,
  ): Promise<Intent | undefined> {
    const grantId = sticky && (await findSticky(store, sticky));
    // what was approved for this one call is used for it first: a yes is not left lying about
    if (grantId === undefined || (await givenFor(store, ask.digest)) !== undefined) return undefined;
    const began = performance.now();
    return store.transaction(async (tx) => {
      if (!(await useSticky(tx, grantId))) return undefined;
      const id = await write(tx, call, { ...verdict, approval_grant: grantId }, row);
      return { id, call, auditMs: msSince(began) };
    });
  }

  /** When people have approved it. A call like this one may use what was approved: then they are asked once more. */
  async function recordApproved(call: Prepared, verdict: Verdict, row: KnownCall | undefined, ask: ApprovalRequest): Promise<Intent> {
    for (;;) {
      const given = await approve(call, ask);
      if (ask.signal.aborted) throw gone();
      // a person takes time
      await checkUser(call);
      const { made, edited } = changed(call, given);
      const { facts } = await judge(made);
      const about = {
        ...verdict,
        ...facts,
        approval_id: given.approvalId,
        ...(edited === undefined
          ? {}
          : {
              edited: Object.keys(edited.changed),
              edited_digest: digestOf({ tool: made.tool.name, method: made.method.name, args: made.args }).toString('hex'),
            }),
      };
      const began = performance.now();
      const intent = await store.transaction(async (tx) => {
        // in the transaction that records that the call is made: one that is not made uses none
        if (!(await consumeApproval(tx, given.approvalId))) return undefined;
        return { id: await write(tx, call, about, row), approvalId: given.approvalId, call: made, ...editOf(edited) };
      });
      if (intent !== undefined) return { ...intent, auditMs: msSince(began) };
      if (performance.now() >= ask.until) throw approvalRequired(given.approvalId, ask.gate);
    }
  }

  /** The call as it was approved. Its arguments are checked again: the tool may be another version by now. */
  function changed(call: Prepared, given: Given): { readonly made: Prepared; readonly edited?: Edited } {
    if (given.edited === undefined) return { made: call };
    return { made: { ...call, args: checkArguments(call.method, given.edited.args) }, ...editOf(editedBy(given)) };
  }

  /** @throws ToolError APPROVAL_DENIED, APPROVAL_REQUIRED, TOO_MANY_APPROVALS */
  async function approve(call: Prepared, ask: ApprovalRequest): Promise<Given> {
    const decided = await approvalOf(installation, ask);
    if (!('denied' in decided) && !('late' in decided)) return decided;
    await deny(call, { ...ask.facts, approval_id: decided.approvalId });
    const said =
      'late' in decided
        ? 'nobody has approved this call in time'
        : `a person denied this call${decided.denied === null ? '' : `: ${decided.denied}`}`;
    throw new ToolError('APPROVAL_DENIED', said, { details: { approval_id: decided.approvalId } });
  }

  /** Committed when it answers: without it there is no call. */
  async function record(call: Prepared, verdict: Verdict, row: KnownCall | undefined): Promise<Intent> {
    const began = performance.now();
    const alone = row === undefined && !hasSecrets(call);
    const id = await (alone ? audit.write(intentOf(call, verdict)) : store.transaction((tx) => write(tx, call, verdict, row)));
    return { id, call, auditMs: msSince(began) };
  }

  async function write(tx: Queryable, call: Prepared, verdict: Verdict, row: KnownCall | undefined): Promise<string> {
    if (row !== undefined) await ledger.start(tx, row);
    const intent = intentOf(call, verdict);
    const auditId = await audit.append(tx, intent);
    if (hasSecrets(call))
      await openCallLease(tx, {
        callId: call.callId,
        principal: principalOf(call.tool),
        onBehalfOf: call.own && `user:${call.own.user}`,
        runId: intent.runId,
        threadKey: intent.threadKey,
        traceId: intent.traceId,
        seconds: (call.method.timeoutMs + LATE_MS) / 1000 + LEASE_MARGIN_SECONDS,
        auditId,
      });
    return auditId;
  }

  /** It has been answered: its tool has no more business with the secrets. One that stays ends by itself. */
  async function discardLease(call: Prepared): Promise<void> {
    if (hasSecrets(call)) await closeCallLease(store, call.callId).catch((cause: Error) => complain(call, cause));
  }

  async function deny(call: Prepared, about: object): Promise<void> {
    await audit.write({ ...entryOf(call), action: 'tool.deny', decision: 'deny', details: { ...detailsOf(call), ...about } });
  }

  async function answerOf(call: Prepared, intent: Intent, signal: AbortSignal): Promise<Outcome> {
    const { caller, tool, method, args } = call;
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(new DOMException('the time of the call is up', 'TimeoutError')), method.timeoutMs);
    let hard: NodeJS.Timeout | undefined;
    const unanswered = new Promise<DispatchResult>((resolve) => {
      const code = 'TOOL_TIMEOUT';
      hard = setTimeout(
        () => resolve({ ok: false, code, message: 'no answer', retryable: true, started: true }),
        method.timeoutMs + LATE_MS,
      );
    });
    const trace = traceUuidOf(caller.traceId);
    const dispatch: Dispatch = {
      callId: call.callId,
      trace: trace === undefined ? undefined : contextOfCall(trace, intent.id),
      tool,
      method,
      args,
      idempotencyKey: call.key === undefined ? call.callId : uuidOf(`${call.keysOf}\0${call.key}`),
      caller,
      own: call.own,
      signal: AbortSignal.any([signal, late.signal]),
      onProgress: (message, done, total) => call.onProgress?.(message.slice(0, 1000), finite(done), finite(total)),
      attach: attachments(parts.attach, caller.threadKey),
    };
    try {
      const told = await Promise.race([runner.dispatch(dispatch), unanswered]);
      const outcome = told.ok ? await kept(call, told.value) : failed(call, told, late.signal.aborted, signal.aborted);
      return { ...outcome, waitedMs: told.waitedMs };
    } catch (error) {
      // what the tool does wrong is an answer: this is a fault of ours
      complain(call, error as Error);
      const told = { ok: false, code: 'TOOL_FAILED', message: 'the tool could not be asked', retryable: true, started: true } as const;
      return failed(call, told, false, false);
    } finally {
      clearTimeout(timer);
      clearTimeout(hard);
    }
  }

  /** The call was made: whatever happens to its result, it must not look as if it could be made again. */
  async function kept(call: Prepared, value: unknown): Promise<Outcome> {
    const { caller, tool, method } = call;
    try {
      return { ok: true, ...(await keepResult(value, `${tool.name}.${method.name}`, parts.attach, caller.threadKey)) };
    } catch (error) {
      if (error instanceof ToolError) return { ok: false, error, code: error.code, unsure: false };
      complain(call, error as Error);
      const retryable = isRepeatable(method);
      const details = { call_id: call.callId, retryable, started: true };
      const made = new ToolError('TOOL_FAILED', 'the call was made, and its result could not be kept', { details, retryable });
      return { ok: false, error: made, code: 'TOOL_FAILED', unsure: !retryable };
    }
  }

  /** Its entry, and what is stored under its key, in one commit. */
  async function settle(call: Prepared, intent: Intent, outcome: Outcome, ms: number, row: KnownCall | undefined): Promise<void> {
    // what was approved is for a call that is made
    const unused = outcome.ok || outcome.error.details?.['started'] !== false ? undefined : intent.approvalId;
    const entry = {
      ...entryOf(call),
      action: 'tool.outcome',
      intentId: intent.id,
      details: {
        call_id: call.callId,
        ok: outcome.ok,
        ...(outcome.ok ? { bytes: outcome.bytes, attachment_id: outcome.attachmentId } : { code: outcome.code }),
        ms,
        audit_ms: intent.auditMs,
        dispatch_ms: outcome.waitedMs,
        approval_returned: unused,
      },
    };
    const warn = (cause: Error) => complain(call, cause);
    if (row === undefined && unused !== undefined) {
      const returned = store.transaction(async (tx) => {
        await returnApproval(tx, unused);
        await audit.append(tx, entry);
      });
      await Promise.all([returned.catch(warn), discardLease(call)]);
      return;
    }
    if (row === undefined) {
      // nobody waits for what only reads; of what changes something, the answer comes after its entry
      const discarded = discardLease(call);
      if (call.method.risk === 'read') void audit.writeSoon(entry).catch(warn);
      else await Promise.all([audit.write(entry).catch(warn), discarded]);
      return;
    }
    const settled = ledger.settle(async (tx, isAgain) => {
      if (hasSecrets(call)) await closeCallLease(tx, call.callId);
      const changed = outcome.ok
        ? await ledger.complete(tx, row, outcome.result, intent.edited)
        : outcome.error.retryable
          ? await ledger.forget(tx, row)
          : await ledger.fail(tx, row, writeError(outcome.unsure ? unknown(call.callId) : outcome.error));
      // the try before had committed, and its answer was lost
      if (!changed && isAgain) return;
      if (unused !== undefined) await returnApproval(tx, unused);
      await audit.append(tx, entry);
    });
    await settled.catch(warn);
  }

  function complain(call: Prepared, error: Error): void {
    const level = isTransient(error) ? 'warn' : 'error';
    log({
      level,
      message: 'a tool call met a fault of the platform',
      tool: call.tool.name,
      method: call.method.name,
      call_id: call.callId,
      error: error.message,
    });
  }
}

const hasSecrets = ({ tool, own }: Prepared): boolean => tool.secrets.length > 0 || own !== undefined;

function entryOf({ caller, tool, method }: Prepared) {
  const trace = traceUuidOf(caller.traceId);
  return {
    actor: caller.principal,
    resource: `tool:${tool.name}.${method.name}`,
    threadKey: caller.threadKey,
    ...(caller.runId !== undefined && isUuid(caller.runId) ? { runId: caller.runId } : {}),
    ...(trace === undefined ? {} : { traceId: trace }),
  };
}

function intentOf(call: Prepared, verdict: Verdict) {
  return { ...entryOf(call), action: 'tool.call', decision: 'allow' as const, details: { ...detailsOf(call), ...verdict } };
}

function detailsOf({ callId, caller, user, tool, method, own, digest, key }: Prepared): object {
  const { name, version } = tool;
  return {
    call_id: callId,
    tool: name,
    method: method.name,
    version,
    risk: method.risk,
    digest: digest.toString('hex'),
    keyed: key !== undefined,
    ...(caller.step === undefined ? {} : { step: caller.step.slice(0, 256) }),
    ...(user === undefined ? {} : { user }),
    ...(own === undefined ? {} : { on_behalf_of: `user:${own.user}` }),
  };
}

/** What rules and versions in shadow would have said: recorded, without effect. */
function shadowOf(decision: Decision, beside: Awaited<ReturnType<typeof activePolicy>>['shadow'], request: ToolRequest): unknown {
  const rules = decision.shadow.length > 0 ? { rules: decision.shadow } : {};
  if (beside === undefined) return decision.shadow.length > 0 ? rules : undefined;
  try {
    const { effect, rule } = beside.policy.decide(request);
    return { ...rules, version: beside.version, effect, rule };
  } catch {
    return { ...rules, version: beside.version, failed: true };
  }
}

/** Rejects when whoever waits has gone; the answer is for the others. */
async function orGone<T>(answer: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) throw gone();
  let leave = () => {};
  const left = new Promise<never>((_, reject) => signal.addEventListener('abort', (leave = () => reject(gone()))));
  try {
    return await Promise.race([answer, left]);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}

function digestOf(value: unknown): Buffer {
  return createHash('sha256').update(canonicalJson(value)).digest();
}

function uuidOf(text: string): string {
  const hex = createHash('sha256').update(text).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/** To the hundredth. */
const msSince = (began: number): number => Math.round((performance.now() - began) * 100) / 100;
const quote = (name: string): string => JSON.stringify(name.slice(0, 100));
const finite = (value: number | undefined): number | undefined => (Number.isFinite(value) ? value : undefined);
