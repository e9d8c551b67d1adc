/**
 * Codex: `codex app-server`, JSON-RPC in lines without the `jsonrpc` member. The handshake is initialize, initialized, then
 * thread/start or thread/resume; a turn runs from turn/start to turn/completed. Its items are messages and tool calls at
 * once, and an interrupted one just stops: what it left open is closed here.
 */
import type { ApprovalAnswer, Codec, HarnessCapabilities, TurnInput } from './codec.ts';
import { readContent, splitPrompt } from './content.ts';
import { classifyHttp } from './errors.ts';
import type { ContentBlock, ErrorClass, Usage } from './events.ts';
import { bounded, count, defined, excerpt, number, object, objects, parseObject, text, words, type JsonObject } from './json.ts';
import { createTurn, type Failure } from './turn.ts';

export const codexCapabilities: HarnessCapabilities = {
  resume: true,
  interrupt: 'inband',
  steer: 'merge',
  approvals: true,
  images: true,
  deltas: true,
};

type Sent = 'initialize' | 'thread' | 'turn/start' | 'turn/interrupt' | 'turn/steer';

interface Asked {
  /** The id as Codex wrote it: a number there is not the same as a string. */
  readonly rpc: unknown;
  readonly method: string;
  readonly input: unknown;
  readonly permissions: unknown;
}

export function createCodexCodec(): Codec {
  const turn = createTurn();
  const send: string[] = [];
  const sent = new Map<number, Sent>();
  const asked = new Map<string, Asked>();
  /** What the calls that are open were given, by their ids. */
  const called = new Map<string, unknown>();
  /** Threads of sub-agents, and the tool call that runs each. */
  const children = new Map<string, string>();
  let startThread: () => void = () => {};
  let cwd = '';
  let lastId = 0;
  let threadId: string | undefined;
  let turnId: string | undefined;
  let turnBefore: string | undefined;
  let waitingForTurnId: (() => void)[] = [];
  let exited = false;
  /** The thread's total before the last report. `last` alone does not add up: an interrupt repeats the one before. */
  let counted: Usage | undefined;

  const write = (line: unknown): void => {
    send.push(JSON.stringify(line));
  };

  const request = (method: string, kind: Sent, params: object): void => {
    lastId += 1;
    sent.set(lastId, kind);
    write({ id: lastId, method, params });
  };

  /** Interrupts and steers name the turn, whose id Codex tells some milliseconds after it was given. */
  const whenTurnIsKnown = (action: () => void): void => {
    if (turnId === undefined) waitingForTurnId.push(action);
    else action();
  };

  const learnTurn = (id: string | undefined): void => {
    if (id === undefined || turnId !== undefined || !turn.busy) return;
    turnId = id;
    for (const action of waitingForTurnId.splice(0)) action();
  };

  const learnThread = (thread: JsonObject | undefined, model?: string): void => {
    const id = text(thread?.id);
    if (id === undefined || (threadId !== undefined && threadId !== id)) return;
    if (threadId === undefined || model !== undefined) turn.session(id, { model, cwd });
    threadId = id;
  };

  const onResponse = (id: number, line: JsonObject): void => {
    const kind = sent.get(id);
    sent.delete(id);
    const failure = line.error === undefined ? undefined : (text(object(line.error)?.message) ?? 'without a reason');
    const result = object(line.result);
    switch (kind) {
      case 'initialize':
        if (failure !== undefined) return turn.error({ message: `Codex refused to start: ${failure}`, class: 'protocol' }, 'fatal');
        write({ method: 'initialized' });
        return startThread();
      case 'thread':
        if (failure !== undefined) return turn.error({ message: `Codex opened no thread: ${failure}`, class: 'harness' }, 'fatal');
        return learnThread(object(result?.thread), text(result?.model));
      case 'turn/start':
        if (failure === undefined) return learnTurn(text(object(result?.turn)?.id));
        return turn.complete('failed', { failure: { message: `Codex refused the turn: ${failure}`, class: 'invalid_request' } });
      case 'turn/steer':
      case 'turn/interrupt':
        if (failure !== undefined) turn.notice(`Codex refused ${kind}: ${failure}`);
        return;
      case undefined:
    }
  };

  const onCleaned = (line: JsonObject): void => {
    if (line.error !== undefined) turn.notice('Codex did not end the commands that an interrupted turn had left running.');
  };

  const onServerRequest = (method: string, rpc: unknown, params: JsonObject): void => {
    const approval = readApproval(method, params, called.get(text(params.itemId) ?? ''));
    if (approval === undefined || !turn.busy) {
      write({ id: rpc, error: { code: -32601, message: `Not supported by this host: ${method}` } });
      if (approval === undefined) turn.notice(`Codex asked for ${method}, which is not supported.`);
      return;
    }
    const id = words(rpc);
    const parent = children.get(text(params.threadId) ?? '');
    const question: Asked = { rpc, method, input: approval.input, permissions: params.permissions };
    if (turn.approvalRequest(id, approval.tool, approval.input, { tool_use_id: text(params.itemId), parent })) asked.set(id, question);
    else write({ id: rpc, result: writeDecision(question, { allow: false, message: '' }, false) });
  };

  const onItem = (item: JsonObject, done: boolean, parent: string | undefined): void => {
    const id = text(item.id);
    if (id === undefined) return;
    switch (item.type) {
      case 'agentMessage':
      case 'plan':
      case 'reasoning': {
        turn.openMessage(id, parent);
        if (done) turn.message(id, readMessage(item), { parent });
        return;
      }
      case 'userMessage':
        // what was added in the middle of an answer: Codex breaks the answer off without a word, and asks again
        if (parent === undefined) turn.discardOpen('the model was asked again, with what was added');
        return;
      case 'contextCompaction':
        if (!done) turn.status({ status: 'compacting' });
        return;
      case 'subAgentActivity':
        if (text(item.agentThreadId) !== undefined && !children.has(words(item.agentThreadId))) children.set(words(item.agentThreadId), id);
        return;
      default: {
        const tool = readTool(item);
        if (tool === undefined) return;
        if (Array.isArray(item.receiverThreadIds)) for (const thread of item.receiverThreadIds) children.set(words(thread), id);
        turn.toolUse(id, tool.name, tool.input, parent);
        if (done) called.delete(id);
        else called.set(id, tool.input);
        if (done) turn.toolResult(id, tool.content, { is_error: tool.is_error, exit_code: number(item.exitCode) });
      }
    }
  };

  const onUsage = (params: JsonObject): void => {
    const reported = object(params.tokenUsage);
    const total = readUsage(object(reported?.total));
    const last = readUsage(object(reported?.last));
    const before = counted ?? minus(total, last);
    counted = total;
    // after a resume the last turn's report comes again
    if (turn.busy && turnId !== undefined && params.turnId === turnId) turn.addUsage(minus(total, before));
  };

  const onError = (params: JsonObject): void => {
    const failure = readFailure(object(params.error));
    if (params.willRetry !== true) return turn.error(failure, 'fatal');
    turn.discardOpen('the request failed and is tried again');
    const attempt = Number(/(\d+)\/\d+/.exec(failure.message)?.[1] ?? Number.NaN);
    turn.status({
      status: 'retrying',
      ...(Number.isNaN(attempt) ? {} : { attempt }),
      ...(failure.http === undefined ? {} : { http: failure.http }),
    });
  };

  const onTurnCompleted = (ended: JsonObject | undefined): void => {
    if (turnId !== undefined && text(ended?.id) !== turnId) return;
    for (const item of objects(ended?.items)) onItem(item, true, undefined);
    if (ended?.status === 'interrupted') {
      // Codex leaves the command that was running, as a terminal in the background; whoever interrupts means it, too
      write({ id: CLEAN, method: 'thread/backgroundTerminals/clean', params: { threadId } });
      turn.complete('interrupted');
    } else if (ended?.status === 'failed') turn.complete('failed', { failure: readFailure(object(ended.error)) });
    else turn.complete('completed');
  };

  const onNotification = (method: string, params: JsonObject): void => {
    if (method === 'thread/started') return threadId === undefined ? learnThread(object(params.thread)) : undefined;
    if (NOTICES.has(method)) return turn.notice(readNotice(method, params));
    if (method === 'serverRequest/resolved') {
      const id = words(params.requestId);
      asked.delete(id);
      return turn.approvalResolved(id, false);
    }
    // a sub-agent's thread: what it says belongs to the call that runs it, and it never ends the turn
    const thread = text(params.threadId);
    const foreign = thread !== undefined && threadId !== undefined && thread !== threadId;
    const parent = foreign ? children.get(thread) : undefined;
    if (foreign && parent === undefined) return;
    const itemId = text(params.itemId) ?? '';
    const delta = text(params.delta) ?? text(params.message) ?? '';
    // a line of the turn before; the end of a command that was interrupted comes when the next turn has been given
    const ofTurn = text(params.turnId);
    if (!foreign && ofTurn !== undefined && (ofTurn === turnBefore || (turnId !== undefined && ofTurn !== turnId))) return;
    switch (method) {
      case 'item/started':
        return onItem(object(params.item) ?? {}, false, parent);
      case 'item/completed':
        return onItem(object(params.item) ?? {}, true, parent);
      case 'item/agentMessage/delta':
      case 'item/plan/delta':
        return turn.text(itemId, delta, parent);
      case 'item/reasoning/summaryTextDelta':
      case 'item/reasoning/textDelta':
        return turn.thinking(itemId, delta, parent);
      case 'item/commandExecution/outputDelta':
      case 'item/fileChange/outputDelta':
      case 'item/mcpToolCall/progress':
        return turn.toolOutput(itemId, delta);
    }
    if (foreign || !turn.busy) return method === 'thread/tokenUsage/updated' && !foreign ? onUsage(params) : undefined;
    switch (method) {
      case 'turn/started':
        return learnTurn(text(object(params.turn)?.id));
      case 'thread/tokenUsage/updated':
        return onUsage(params);
      case 'error':
        return onError(params);
      case 'turn/completed':
        return onTurnCompleted(object(params.turn));
    }
  };

  return {
    get ready() {
      return threadId !== undefined && !turn.busy && !exited;
    },
    get busy() {
      return turn.busy;
    },
    open(options) {
      ({ cwd } = options);
      const { resume: resumed, model, approvals } = options;
      // the configuration file does not take "untrusted" any more, the thread does
      const policy = approvals === undefined ? {} : { approvalPolicy: approvals === 'ask' ? 'untrusted' : 'never' };
      const about = { cwd, ...(model === undefined ? {} : { model }), ...policy };
      startThread = () =>
        resumed === undefined
          ? request('thread/start', 'thread', about)
          : request('thread/resume', 'thread', { threadId: resumed, excludeTurns: true, ...about });
      const clientInfo = { name: 'centaur', title: null, version: '1' };
      request('initialize', 'initialize', { clientInfo, capabilities: { experimentalApi: true } });
      return turn.take(send);
    },
    turn(input) {
      called.clear();
      turn.begin();
      turnBefore = turnId ?? turnBefore;
      turnId = undefined;
      waitingForTurnId = [];
      asked.clear();
      sent.clear();
      request('turn/start', 'turn/start', {
        threadId,
        input: writeInput(input.content),
        ...(input.model === undefined ? {} : { model: input.model }),
        ...(input.effort === undefined ? {} : { effort: EFFORT[input.effort] }),
      });
      return turn.take(send);
    },
    steer(content) {
      if (turn.busy) {
        whenTurnIsKnown(() => request('turn/steer', 'turn/steer', { threadId, expectedTurnId: turnId, input: writeInput(content) }));
      }
      return turn.take(send);
    },
    interrupt() {
      if (turn.busy) whenTurnIsKnown(() => request('turn/interrupt', 'turn/interrupt', { threadId, turnId }));
      turn.interrupt();
      return turn.take(send);
    },
    answer(id, answer) {
      const approval = asked.get(id);
      asked.delete(id);
      if (approval === undefined) return turn.take(send);
      // Codex runs what it asked for: an input that somebody changed cannot be handed to it, so it must not run
      const changed = answer.allow && answer.input !== undefined && JSON.stringify(answer.input) !== JSON.stringify(approval.input);
      if (changed) turn.notice('Declined, because Codex takes no changed input.');
      write({ id: approval.rpc, result: writeDecision(approval, answer, answer.allow && !changed) });
      turn.approvalResolved(id, answer.allow && !changed);
      return turn.take(send);
    },
    line(raw) {
      const line = parseObject(raw);
      const method = text(line?.method);
      const params = object(line?.params) ?? {};
      if (line === undefined) turn.notice(`Codex wrote a line that is not of its protocol: ${excerpt(raw)}`);
      else if (method === undefined && line.id === CLEAN) onCleaned(line);
      else if (method === undefined) onResponse(number(line.id) ?? 0, line);
      else if (line.id !== undefined) onServerRequest(method, line.id, params);
      else onNotification(method, params);
      return turn.take(send);
    },
    exit(how) {
      exited = true;
      turn.exit(how);
      return turn.take(send);
    },
  };
}

/** A request outside of the numbering, whose answer nobody waits for. */
const CLEAN = 'clean';

const EFFORT: Readonly<Record<NonNullable<TurnInput['effort']>, string>> = { low: 'low', medium: 'medium', high: 'high', max: 'xhigh' };

const NOTICES = new Set(['warning', 'configWarning', 'guardianWarning', 'deprecationNotice', 'model/rerouted']);

function readNotice(method: string, params: JsonObject): string {
  if (method === 'model/rerouted') return `The model ${words(params.toModel)} answers instead of ${words(params.fromModel)}.`;
  const details = text(params.details);
  return `${text(params.message) ?? text(params.summary) ?? method}${details === undefined ? '' : ` ${details}`}`;
}

function writeInput(content: readonly ContentBlock[]): unknown[] {
  const prompt = splitPrompt(content);
  return [
    ...(prompt.text === '' ? [] : [{ type: 'text', text: prompt.text, text_elements: [] }]),
    ...prompt.images.map((source) => ({
      type: 'image',
      url: source.type === 'url' ? source.url : `data:${source.media_type};base64,${source.data}`,
    })),
  ];
}

/** @param called what the call that it is about was given: a change of files does not say it again */
function readApproval(method: string, params: JsonObject, called: unknown): { readonly tool: string; readonly input: unknown } | undefined {
  switch (method) {
    case 'item/commandExecution/requestApproval':
      return { tool: 'shell', input: { command: params.command ?? null, cwd: params.cwd ?? null, ...reason(params) } };
    case 'item/fileChange/requestApproval':
      return { tool: 'edit', input: { call: called ?? null, grant_root: params.grantRoot ?? null, ...reason(params) } };
    case 'item/permissions/requestApproval':
      return { tool: 'permissions', input: { permissions: params.permissions ?? null, ...reason(params) } };
    default:
      return undefined;
  }
}

function reason(params: JsonObject): { readonly reason?: string } {
  const why = text(params.reason);
  return why === undefined ? {} : { reason: why };
}

function writeDecision({ method, permissions }: Asked, answer: ApprovalAnswer, allowed: boolean): unknown {
  if (method === 'item/permissions/requestApproval') return { permissions: allowed ? permissions : {}, scope: 'turn' };
  return { decision: allowed ? 'accept' : 'decline' };
}

function readMessage(item: JsonObject): ContentBlock[] {
  if (item.type !== 'reasoning') return text(item.text) === undefined ? [] : [{ type: 'text', text: words(item.text) }];
  const parts = [item.summary, item.content].map((part) => (Array.isArray(part) ? part.filter((piece) => typeof piece === 'string') : []));
  const thinking = (parts.find((part) => part.length > 0) ?? []).join('\n\n');
  return thinking === '' ? [] : [{ type: 'thinking', thinking }];
}

interface Tool {
  readonly name: string;
  readonly input: unknown;
  readonly content: ContentBlock[];
  readonly is_error: boolean;
}

/** The items that are tool calls. An unknown one is none: its `item/started` may mean anything. */
function readTool(item: JsonObject): Tool | undefined {
  const status = text(item.status) ?? 'completed';
  const failed = status === 'failed' || status === 'declined';
  const said = (content: ContentBlock[]): ContentBlock[] => (content.length > 0 ? content : [{ type: 'text', text: status }]);
  switch (item.type) {
    case 'commandExecution':
      return {
        name: 'shell',
        input: defined({ command: item.command, cwd: item.cwd }),
        content: status === 'declined' ? said([]) : readContent(item.aggregatedOutput ?? ''),
        is_error: failed || count(item.exitCode) !== 0,
      };
    case 'fileChange':
      return { name: 'edit', input: defined({ changes: item.changes }), content: said([]), is_error: failed };
    case 'mcpToolCall': {
      const error = text(object(item.error)?.message);
      const content = error === undefined ? readContent(object(item.result)?.content) : readContent(error);
      return {
        name: `mcp:${words(item.server)}/${words(item.tool)}`,
        input: item.arguments,
        content: said(content),
        is_error: failed || error !== undefined,
      };
    }
    case 'dynamicToolCall':
      return {
        name: words(item.tool),
        input: item.arguments,
        content: said(objects(item.contentItems).map(readDynamic)),
        is_error: failed || item.success === false,
      };
    case 'collabAgentToolCall':
      return {
        name: `agent:${words(item.tool)}`,
        input: defined({ prompt: item.prompt, model: item.model }),
        content: said([]),
        is_error: failed,
      };
    case 'webSearch':
      return { name: 'web_search', input: defined({ query: item.query, action: item.action }), content: said([]), is_error: failed };
    case 'imageView':
      return { name: 'view_image', input: defined({ path: item.path }), content: said([]), is_error: failed };
    case 'imageGeneration':
      return {
        name: 'generate_image',
        input: defined({ prompt: item.revisedPrompt }),
        content: said(readContent(item.savedPath)),
        is_error: failed,
      };
    case 'sleep':
      return { name: 'sleep', input: defined({ duration_ms: item.durationMs }), content: said([]), is_error: failed };
    default:
      return undefined;
  }
}

function readDynamic(item: JsonObject): ContentBlock {
  const url = text(item.imageUrl);
  if (item.type === 'inputText') return { type: 'text', text: text(item.text) ?? '' };
  if (url !== undefined) return { type: 'image', source: { type: 'url', url } };
  return { type: 'text', text: JSON.stringify(bounded(item)) };
}

/** Codex counts what came from a cache as input too; we do not. */
function readUsage(usage: JsonObject | undefined): Usage {
  const cache_read = count(usage?.cachedInputTokens);
  const cache_write = count(usage?.cacheWriteInputTokens);
  return {
    input: Math.max(0, count(usage?.inputTokens) - cache_read - cache_write),
    output: count(usage?.outputTokens),
    cache_read,
    cache_write,
    reasoning: count(usage?.reasoningOutputTokens),
  };
}

function minus(a: Usage, b: Usage): Usage {
  return {
    input: Math.max(0, a.input - b.input),
    output: Math.max(0, a.output - b.output),
    cache_read: Math.max(0, a.cache_read - b.cache_read),
    cache_write: Math.max(0, a.cache_write - b.cache_write),
    reasoning: Math.max(0, (a.reasoning ?? 0) - (b.reasoning ?? 0)),
  };
}

const CLASSES = new Map<string, ErrorClass>(
  Object.entries({
    unauthorized: 'auth',
    usageLimitExceeded: 'rate_limit',
    rateLimitExceeded: 'rate_limit',
    serverOverloaded: 'overloaded',
    internalServerError: 'overloaded',
    badRequest: 'invalid_request',
    modelNotFound: 'invalid_request',
    contextWindowExceeded: 'invalid_request',
    cyberPolicy: 'policy',
    misalignmentPolicyViolation: 'policy',
    inferenceHookDenied: 'policy',
    tooManyDenials: 'policy',
    httpConnectionFailed: 'network',
    responseStreamConnectionFailed: 'network',
    responseStreamDisconnected: 'network',
    responseTooManyFailedAttempts: 'network',
  } as const),
);

/** `codexErrorInfo` is a word, or an object of one key with the HTTP status inside. */
function readFailure(error: JsonObject | undefined): Failure {
  const info = error?.codexErrorInfo;
  const key = text(info) ?? Object.keys(object(info) ?? {})[0] ?? '';
  const http = number(object(object(info)?.[key])?.httpStatusCode);
  return {
    message: text(error?.message) ?? 'Codex reported an error and did not say which.',
    http,
    class: classifyHttp(http) ?? CLASSES.get(key),
  };
}
