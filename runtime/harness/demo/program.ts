/**
 * The demo harness: a small agent, which plain Node runs inside a sandbox, where it is one file. It talks to a model over the
 * Messages API, has a few tools, and writes the normalised events of a turn to its standard output, one JSON object a line.
 *
 *   node program.ts [--model ID] [--effort low|medium|high|max] [--persona FILE] [--approvals ask|none] [--tools FILE]
 *     [--resume ID]
 *
 * It reads commands from its standard input, one JSON object a line:
 *
 *   {"type":"user","content":[blocks],"model"?,"effort"?}             begins a turn
 *   {"type":"steer","content":[blocks]}                               adds to the turn before the model is asked again
 *   {"type":"interrupt"}                                              ends the turn, whatever it is doing
 *   {"type":"approval","id":"…","allow":true,"input"?} or {…,"allow":false,"message":"…"}
 *
 * ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY say where the model is; the key is a placeholder, which the firewall exchanges.
 * Node itself reads the proxy (NODE_USE_ENV_PROXY, HTTPS_PROXY) and its certificate (NODE_EXTRA_CA_CERTS). The session is
 * saved at the end of each turn, in a file that another sandbox can go on with. FILE is the program of `tools-in-sandbox`: with it,
 * the platform's tools are among those of the model, and the platform decides about their calls.
 */
import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { emit, isObject, type JsonObject, objectOf, platformTools, stringOf, type ToolOutcome, TOOLS, type ToolSpec } from './tools.ts';
import type { ContentBlock, ErrorClass, TurnStatus, Usage } from '../events.ts';

type Effort = 'low' | 'medium' | 'high' | 'max';

/** A block as the API has it: with what must be sent back and is no event, such as the signature of a thought. */
type ApiBlock = JsonObject & { readonly type: string };
interface ApiMessage {
  readonly role: 'user' | 'assistant';
  readonly content: readonly ApiBlock[];
}

interface ToolUse extends ApiBlock {
  readonly type: 'tool_use';
  readonly id: string;
  readonly name: string;
  readonly input: JsonObject;
}

interface RunningTurn {
  readonly abort: AbortController;
  readonly steers: ApiBlock[];
  readonly model: string;
  readonly effort: Effort | undefined;
  usage: Usage;
}

interface Failure {
  readonly class: ErrorClass;
  readonly message: string;
  readonly http?: number;
}

const VERSION = 'demo 1';
const DEFAULT_MODEL = 'claude-sonnet-4-5';
/** After the first try. */
const RETRIES = 2;
const FIRST_BACKOFF_MS = 200;
const LONGEST_BACKOFF_MS = 5000;
/** A model that says nothing for so long is gone. */
const SILENCE_MS = 120_000;
const MOST_CALLS = 200;
const MOST_TOKENS = 8192;
const THINKING: Readonly<Record<Effort, number>> = { low: 0, medium: 4096, high: 16_384, max: 31_999 };
const LONGEST_COMMAND = 64 * 1024 * 1024;
const NO_USAGE: Usage = { input: 0, output: 0, cache_read: 0, cache_write: 0 };

const { values: options } = parseArgs({
  options: {
    model: { type: 'string', default: DEFAULT_MODEL },
    effort: { type: 'string' },
    persona: { type: 'string' },
    approvals: { type: 'string', default: 'none' },
    tools: { type: 'string' },
    resume: { type: 'string' },
    version: { type: 'boolean', default: false },
  },
});

/** Read once: the agent can delete it. */
const persona = options.persona === undefined ? '' : `\n\n${readFileSync(options.persona, 'utf8')}`;
const session: { readonly id: string; readonly messages: ApiMessage[] } = { id: options.resume ?? randomUUID(), messages: [] };
const approvals = new Map<string, (answer: JsonObject) => void>();
let turn: RunningTurn | undefined;
/** Said to a turn that had just ended: the next one begins with it. */
let late: ApiBlock[] = [];
let approvalsAsked = 0;
let inputEnded = false;
let exitCode = 0;
/** To the model; with those of the platform when the first turn has begun. */
let offered: readonly ToolSpec[] | undefined;

if (options.version) console.log(VERSION);
else start();

function start(): void {
  process.stdout.on('error', () => process.exit(1));
  try {
    if (options.resume !== undefined) session.messages.push(...loadSession(options.resume));
  } catch (error) {
    emit({ type: 'error', class: 'harness', message: `The session cannot be resumed: ${(error as Error).message}`, fatal: true });
    process.exitCode = 1;
    return;
  }
  const onSignal = (_signal: string, number: number): void => {
    exitCode = 128 + number;
    inputEnded = true;
    turn?.abort.abort();
    exitIfDone();
  };
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, onSignal);
  readLines(onCommand, () => {
    inputEnded = true;
    for (const answer of approvals.values()) answer({ allow: false, message: 'Nobody is there to answer.' });
    exitIfDone();
  });
  emit({ type: 'session', native_id: session.id, model: options.model, cwd: process.cwd() });
}

function exitIfDone(): void {
  if (inputEnded && turn === undefined) process.exit(exitCode);
}

function onCommand(line: string): void {
  const command = parseObject(line);
  const content = readBlocks(command?.content);
  switch (command?.type) {
    case 'user':
      if (turn === undefined && content !== undefined) return void runTurn(content, command);
      return emit({ type: 'notice', text: 'A user line was refused: a turn is running, or it has no content.' });
    case 'steer':
      if (content === undefined) return emit({ type: 'notice', text: 'A steer line was refused: it has no content.' });
      return void (turn?.steers ?? late).push(...content);
    case 'interrupt':
      return turn?.abort.abort();
    case 'approval':
      return approvals.get(String(command.id))?.(command);
    default:
      emit({ type: 'notice', text: `A line that is no command was passed over: ${line.slice(0, 200)}` });
  }
}

function readBlocks(value: unknown): ApiBlock[] | undefined {
  if (!Array.isArray(value) || value.length === 0) return undefined;
  const known = value.every((block) => ['text', 'image', 'document'].includes(String((block as JsonObject | null)?.type)));
  return known ? (value as ApiBlock[]) : undefined;
}

async function runTurn(content: readonly ApiBlock[], about: JsonObject): Promise<void> {
  const model = typeof about.model === 'string' ? about.model : options.model;
  turn = { abort: new AbortController(), steers: [], model, effort: readEffort(about.effort ?? options.effort), usage: NO_USAGE };
  const running = turn;
  const { signal } = running.abort;
  session.messages.push({ role: 'user', content: [...late.splice(0), ...content] });
  emit({ type: 'turn.started' });
  try {
    offered ??= [...TOOLS, ...(await platformTools(options.tools))];
    const answer = await converse(running);
    finish(running, 'completed', answer);
  } catch (error) {
    if (signal.aborted) return finish(running, 'interrupted');
    const failure = error instanceof TurnFailure ? error.failure : { class: 'harness' as const, message: String(error) };
    emit({ type: 'error', ...failure, fatal: true });
    finish(running, 'failed', '', failure.message);
  }
}

/** Asks the model, runs the tools that it calls, and asks again, until it calls none and nobody has added anything. */
async function converse(running: RunningTurn): Promise<string> {
  const { signal } = running.abort;
  for (let call = 0; call < MOST_CALLS; call += 1) {
    const answer = await askModel(running);
    if (answer.length > 0) session.messages.push({ role: 'assistant', content: answer });
    const uses = answer.filter((block): block is ToolUse => block.type === 'tool_use');
    for (const { id, name, input } of uses) emit({ type: 'tool_use', id, name, input });
    const results: ApiBlock[] = [];
    for (const use of uses) {
      const { text, is_error, exit_code } = signal.aborted ? INTERRUPTED : await runTool(use, signal);
      const content = [{ type: 'text', text: text === '' ? '(no output)' : text }] as const;
      emit({ type: 'tool_result', id: use.id, content, is_error, ...(exit_code === undefined ? {} : { exit_code }) });
      results.push({ type: 'tool_result', tool_use_id: use.id, content, is_error });
    }
    const added = running.steers.splice(0);
    if (uses.length === 0 && added.length === 0) return textOf(answer);
    session.messages.push({ role: 'user', content: [...results, ...added] });
    signal.throwIfAborted();
  }
  throw new TurnFailure({ class: 'harness', message: `The turn was ended after ${MOST_CALLS} calls of the model.` });
}

function finish(running: RunningTurn, status: TurnStatus, result_text = '', error?: string): void {
  late.push(...running.steers.splice(0));
  try {
    saveSession();
  } catch (error) {
    emit({ type: 'notice', text: `The session was not saved: ${(error as Error).message}` });
  }
  if (Object.values(running.usage).some((amount) => amount > 0)) emit({ type: 'usage', usage: running.usage, model: running.model });
  emit({ type: 'turn.completed', status, result_text, ...(error === undefined ? {} : { error }) });
  turn = undefined;
  exitIfDone();
}

// The model

/** A failure that the model or the way to it is the reason of. */
class TurnFailure extends Error {
  readonly failure: Failure;
  /** Whether the same request may succeed later. */
  readonly passing: boolean;
  readonly retryAfterMs: number | undefined;

  constructor(failure: Failure, { passing = false, retryAfterMs }: { passing?: boolean; retryAfterMs?: number | undefined } = {}) {
    super(failure.message);
    this.failure = failure;
    this.passing = passing;
    this.retryAfterMs = retryAfterMs;
  }
}

/** Tries again what failed before it had said anything; later than that, what was seen cannot be taken back. */
async function askModel(running: RunningTurn): Promise<ApiBlock[]> {
  for (let attempt = 1; ; attempt += 1) {
    emit({ type: 'status', status: 'requesting' });
    const answer = createAnswer(running);
    try {
      await request(running, (event) => answer.read(event));
      return answer.end();
    } catch (error) {
      const { aborted } = running.abort.signal;
      const kept = answer.breakOff(aborted);
      if (aborted) {
        if (kept.length > 0) session.messages.push({ role: 'assistant', content: kept });
        throw error;
      }
      const failure = error instanceof TurnFailure ? error : unreachable(error);
      if (answer.begun || !failure.passing || attempt > RETRIES) throw failure;
      const delay_ms = Math.min(failure.retryAfterMs ?? FIRST_BACKOFF_MS * 4 ** (attempt - 1), LONGEST_BACKOFF_MS);
      const { http } = failure.failure;
      emit({ type: 'status', status: 'retrying', attempt, delay_ms, ...(http === undefined ? {} : { http }) });
      await pause(delay_ms, undefined, { signal: running.abort.signal });
    }
  }
}

async function request({ model, effort, abort }: RunningTurn, onEvent: (event: JsonObject) => void): Promise<void> {
  const key = process.env.ANTHROPIC_API_KEY;
  if (key === undefined || key === '') throw new TurnFailure({ class: 'auth', message: 'ANTHROPIC_API_KEY is not set in this sandbox.' });
  const budget_tokens = effort === undefined ? 0 : THINKING[effort];
  const body = {
    model,
    stream: true,
    max_tokens: MOST_TOKENS + budget_tokens,
    ...(budget_tokens === 0 ? {} : { thinking: { type: 'enabled', budget_tokens } }),
    system: systemPrompt(),
    tools: (offered ?? TOOLS).map(({ name, description, input_schema }) => ({ name, description, input_schema })),
    messages: session.messages,
  };
  const silence = new AbortController();
  const timer = setTimeout(() => silence.abort(new Error(`it said nothing for ${SILENCE_MS / 1000} s`)), SILENCE_MS);
  try {
    const response = await fetch(`${process.env.ANTHROPIC_BASE_URL ?? 'https://api.anthropic.com'}/v1/messages`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'anthropic-version': '2023-06-01', 'x-api-key': key },
      body: JSON.stringify(body),
      signal: AbortSignal.any([abort.signal, silence.signal]),
    });
    if (!response.ok) throw readRefusal(response.status, response.headers.get('retry-after'), await response.text());
    if (response.body === null) throw new TurnFailure({ class: 'protocol', message: 'The model answered without a body.' });
    for await (const event of readEvents(response.body, () => timer.refresh())) onEvent(event);
  } finally {
    clearTimeout(timer);
  }
}

/** The data of server-sent events. */
async function* readEvents(body: AsyncIterable<Uint8Array>, onChunk: () => void): AsyncGenerator<JsonObject> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of body) {
    onChunk();
    const frames = (rest + decoder.decode(chunk, { stream: true })).split(/\r?\n\r?\n/);
    rest = frames.pop() ?? '';
    for (const frame of frames) {
      const data = frame.split(/\r?\n/).flatMap((line) => (line.startsWith('data:') ? [line.slice(5).trim()] : []));
      const event = parseObject(data.join('\n'));
      if (event !== undefined) yield event;
    }
  }
}

/** One answer, put together from its events. */
function createAnswer(running: RunningTurn) {
  const blocks: (ApiBlock | undefined)[] = [];
  const json = new Map<number, string>();
  const before = running.usage;
  let id: string | undefined;
  let stop_reason: string | undefined;
  let begun = false;
  let ended = false;

  const patch = (index: number, change: (block: ApiBlock) => JsonObject): void => {
    const block = blocks[index];
    if (block !== undefined) blocks[index] = { ...block, ...change(block) };
  };

  const onDelta = (index: number, delta: JsonObject): void => {
    const [text, thinking] = [stringOf(delta.text), stringOf(delta.thinking)];
    begun = true;
    switch (delta.type) {
      case 'text_delta':
        patch(index, (block) => ({ text: stringOf(block.text) + text }));
        return emit({ type: 'text.delta', message_id: id ?? '', text });
      case 'thinking_delta':
        patch(index, (block) => ({ thinking: stringOf(block.thinking) + thinking }));
        return emit({ type: 'thinking.delta', message_id: id ?? '', text: thinking });
      case 'signature_delta':
        return patch(index, (block) => ({ signature: stringOf(block.signature) + stringOf(delta.signature) }));
      case 'input_json_delta':
        json.set(index, (json.get(index) ?? '') + stringOf(delta.partial_json));
    }
  };

  const close = (whole: readonly ApiBlock[]): void => {
    const goesOn = whole.some(({ type }) => type === 'tool_use') || running.steers.length > 0 || running.abort.signal.aborted;
    const content = whole.flatMap(toContent);
    const about = { ...(stop_reason === undefined ? {} : { stop_reason }), phase: goesOn ? 'commentary' : 'final' } as const;
    emit({ type: 'message', message_id: id ?? '', content, ...about });
  };

  return {
    get begun() {
      return begun;
    },
    read(event: JsonObject): void {
      const index = typeof event.index === 'number' ? event.index : 0;
      switch (event.type) {
        case 'message_start': {
          const message = objectOf(event.message);
          id = stringOf(message.id) || `message-${randomUUID()}`;
          running.usage = addUsage(before, objectOf(message.usage));
          return emit({ type: 'message.start', message_id: id });
        }
        case 'content_block_start':
          blocks[index] = { type: '', ...objectOf(event.content_block) };
          return;
        case 'content_block_delta':
          return onDelta(index, objectOf(event.delta));
        case 'content_block_stop': {
          const input = json.get(index);
          if (input !== undefined) patch(index, () => ({ input: parseObject(input) ?? { [UNREADABLE]: input.slice(0, 1000) } }));
          return;
        }
        case 'message_delta': {
          stop_reason = stringOf(objectOf(event.delta).stop_reason) || stop_reason;
          // cumulative, and its input is what message_start said
          const output = objectOf(event.usage).output_tokens;
          if (typeof output === 'number') running.usage = { ...running.usage, output: before.output + output };
          return;
        }
        case 'message_stop':
          ended = true;
          return;
        case 'error':
          throw readRefusal(STATUS[stringOf(objectOf(event.error).type)] ?? 500, null, JSON.stringify(event));
      }
    },
    end(): ApiBlock[] {
      if (!ended || id === undefined)
        throw new TurnFailure({ class: 'network', message: 'The answer of the model broke off.' }, { passing: true });
      const whole = blocks.filter((block) => block !== undefined);
      close(whole);
      return whole;
    },
    /** What remains of an answer that has no end: nothing, unless its reader ended it. */
    breakOff(interrupted: boolean): ApiBlock[] {
      if (id === undefined) return [];
      const said = blocks.filter((block) => block?.type === 'text' && block.text !== '') as ApiBlock[];
      if (interrupted && said.length > 0) {
        stop_reason = 'interrupted';
        close(said);
        return said;
      }
      emit({ type: 'message.discarded', message_id: id, reason: interrupted ? 'interrupted' : 'the answer broke off' });
      return [];
    },
  };
}

/** Marks the input of a tool call that was cut off. */
const UNREADABLE = 'unreadable_input';

/** In mid-stream an error has a name only; what else is named there is told as 500. */
const STATUS: Readonly<Record<string, number>> = { invalid_request_error: 400, rate_limit_error: 429, overloaded_error: 529 };

function readRefusal(http: number, retryAfter: string | null, body: string): TurnFailure {
  const said = stringOf(objectOf(parseObject(body)?.error).message) || body.slice(0, 500) || `HTTP ${http}`;
  const passing = http === 408 || http === 429 || http >= 500;
  const retryAfterMs = /^\d+$/.test(retryAfter ?? '') ? Number(retryAfter) * 1000 : undefined;
  return new TurnFailure({ class: classOf(http), message: said, http }, { passing, retryAfterMs });
}

function classOf(http: number): ErrorClass {
  if (http === 401 || http === 402) return 'auth';
  // the firewall refuses with 403, in the words of the API
  if (http === 403 || http === 451) return 'policy';
  if (http === 429) return 'rate_limit';
  return http >= 500 ? 'overloaded' : http === 408 ? 'network' : 'invalid_request';
}

/** `fetch failed` says nothing: the reason is behind it. */
function unreachable(error: unknown): TurnFailure {
  const { message, cause } = error as Error;
  const why = cause instanceof Error ? `${message}: ${cause.message || ((cause as NodeJS.ErrnoException).code ?? cause.name)}` : message;
  return new TurnFailure({ class: 'network', message: `The model could not be reached: ${why}` }, { passing: true });
}

function addUsage(before: Usage, usage: JsonObject): Usage {
  const plus = (amount: number, more: unknown): number => amount + (typeof more === 'number' ? more : 0);
  return {
    input: plus(before.input, usage.input_tokens),
    output: plus(before.output, usage.output_tokens),
    cache_read: plus(before.cache_read, usage.cache_read_input_tokens),
    cache_write: plus(before.cache_write, usage.cache_creation_input_tokens),
  };
}

function systemPrompt(): string {
  return `You are an agent in a sandbox. Your working folder is ${process.cwd()}. Use the tools to do what you are asked.${persona}`;
}

function readEffort(value: unknown): Effort | undefined {
  return typeof value === 'string' && value in THINKING ? (value as Effort) : undefined;
}

// The tools

const INTERRUPTED: ToolOutcome = { text: 'interrupted', is_error: true };

async function runTool({ id, name, input }: ToolUse, signal: AbortSignal): Promise<ToolOutcome> {
  const tool = offered?.find((each) => each.name === name);
  if (tool === undefined) return { text: `There is no tool ${name}.`, is_error: true };
  if (UNREADABLE in input) return { text: 'The input of this call is not JSON.', is_error: true };
  try {
    const allowed = options.approvals === 'ask' && tool.asks ? await askApproval(id, tool, input, signal) : input;
    return typeof allowed === 'string' ? { text: allowed, is_error: true } : await tool.run(allowed, id, signal);
  } catch (error) {
    return signal.aborted ? INTERRUPTED : { text: (error as Error).message, is_error: true };
  }
}

/** The input that was allowed, or why it was not. */
async function askApproval(tool_use_id: string, tool: ToolSpec, input: JsonObject, signal: AbortSignal): Promise<JsonObject | string> {
  approvalsAsked += 1;
  const id = `approval-${approvalsAsked}`;
  const { promise, resolve: answer, reject } = Promise.withResolvers<JsonObject>();
  const onAbort = (): void => reject(new Error('interrupted'));
  signal.addEventListener('abort', onAbort, { once: true });
  approvals.set(id, answer);
  emit({ type: 'approval.request', id, tool_use_id, tool: tool.name, input });
  if (inputEnded) answer({ allow: false, message: 'Nobody is there to answer.' });
  let allowed = false;
  try {
    const given = await promise;
    allowed = given.allow === true;
    if (!allowed) return stringOf(given.message) || 'This call was not allowed.';
    return given.input === undefined ? input : objectOf(given.input);
  } finally {
    approvals.delete(id);
    signal.removeEventListener('abort', onAbort);
    emit({ type: 'approval.resolved', id, allowed });
  }
}

// The session

function sessionPath(id: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/.test(id)) throw new Error(`${JSON.stringify(id.slice(0, 40))} is not the id of a session.`);
  return join(homedir(), '.centaur/demo/sessions', `${id}.json`);
}

/** Replaced as a whole: whoever packs the home never finds half of it. */
function saveSession(): void {
  const path = sessionPath(session.id);
  mkdirSync(join(path, '..'), { recursive: true, mode: 0o700 });
  writeFileSync(`${path}.new`, JSON.stringify({ version: 1, ...session }), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

function loadSession(id: string): ApiMessage[] {
  const saved = parseObject(readFileSync(sessionPath(id), 'utf8'));
  const messages = saved?.messages;
  if (saved?.version !== 1 || !Array.isArray(messages)) throw new Error('its file is not of this version, or not whole.');
  return messages as ApiMessage[];
}

// Reading

/** Calls back for each line of the standard input, and at its end. */
function readLines(onLine: (line: string) => void, onEnd: () => void): void {
  let pieces: string[] = [];
  let length = 0;
  process.stdin.setEncoding('utf8');
  process.stdin.on('data', (chunk: string) => {
    const [first = '', ...more] = chunk.split('\n');
    for (const [index, piece] of [first, ...more].entries()) {
      if (index > 0) {
        const line = pieces.join('');
        if (length > LONGEST_COMMAND) emit({ type: 'notice', text: 'A command was passed over: it is too long.' });
        else if (line.trim() !== '') onLine(line);
        pieces = [];
        length = 0;
      }
      length += piece.length;
      if (length <= LONGEST_COMMAND) pieces.push(piece);
    }
  });
  process.stdin.on('end', onEnd);
}

function toContent(block: ApiBlock): ContentBlock[] {
  if (block.type === 'text') return [{ type: 'text', text: stringOf(block.text) }];
  if (block.type === 'thinking') return [{ type: 'thinking', thinking: stringOf(block.thinking) }];
  if (block.type === 'tool_use') return [{ type: 'tool_use', id: stringOf(block.id), name: stringOf(block.name), input: block.input }];
  return [];
}

function textOf(blocks: readonly ApiBlock[]): string {
  return blocks.flatMap((block) => (block.type === 'text' && block.text !== '' ? [stringOf(block.text)] : [])).join('\n\n');
}

function parseObject(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
