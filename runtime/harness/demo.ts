/**
 * The demo harness (demo/program.ts): it writes normalised events as they are, one a line. They are read like any other
 * CLI's lines, because whoever is in the sandbox can write to the same pipe: each is checked, and then told to the book of
 * the turn, so that what comes out is well-formed whatever came in.
 */
import type { Codec, HarnessCapabilities, OpenOptions } from './codec.ts';
import { readContent, readToolName } from './content.ts';
import type { ErrorClass, TurnStatus, Usage } from './events.ts';
import { count, defined, excerpt, number, object, parseObject, text, words, type JsonObject } from './json.ts';
import { createTurn } from './turn.ts';

export const demoCapabilities: HarnessCapabilities = {
  resume: true,
  interrupt: 'inband',
  steer: 'merge',
  approvals: true,
  images: true,
  deltas: true,
};

export function createDemoCodec(): Codec {
  const turn = createTurn();
  const send: string[] = [];
  const asked = new Set<string>();
  let resumed: string | undefined;
  let opened = false;
  let known = false;
  let exited = false;

  const write = (command: { readonly type: string; readonly [key: string]: unknown }): void => {
    send.push(JSON.stringify(command));
  };

  /** False when the line is not what its type says. */
  const onEvent = (line: JsonObject): boolean => {
    const message_id = text(line.message_id);
    const id = text(line.id);
    switch (line.type) {
      case 'session':
        return onSession(line);
      // the codec has said so when it gave the turn
      case 'turn.started':
        return true;
      case 'message.start':
        if (message_id !== undefined) turn.openMessage(message_id);
        return message_id !== undefined;
      case 'text.delta':
      case 'thinking.delta': {
        if (message_id === undefined || typeof line.text !== 'string') return false;
        turn[line.type === 'text.delta' ? 'text' : 'thinking'](message_id, line.text);
        return true;
      }
      case 'message':
        if (message_id === undefined || !Array.isArray(line.content)) return false;
        turn.message(message_id, readContent(line.content), { stop_reason: text(line.stop_reason) });
        return true;
      case 'message.discarded':
        if (message_id !== undefined) turn.discard(message_id, text(line.reason) ?? '');
        return message_id !== undefined;
      case 'tool_use':
        if (id === undefined || text(line.name) === undefined) return false;
        turn.toolUse(id, readToolName(line.name), line.input);
        return true;
      case 'tool_output.delta':
        if (id === undefined || typeof line.text !== 'string') return false;
        turn.toolOutput(id, line.text);
        return true;
      case 'tool_result':
        return onToolResult(line, id);
      case 'approval.request':
        return onApprovalRequest(line, id);
      case 'approval.resolved':
        if (id === undefined || typeof line.allowed !== 'boolean') return false;
        asked.delete(id);
        turn.approvalResolved(id, line.allowed);
        return true;
      default:
        return onReport(line);
    }
  };

  const onSession = (line: JsonObject): boolean => {
    const native_id = text(line.native_id);
    if (native_id === undefined || !SESSION_ID.test(native_id)) return false;
    // the files of a session are packed by its id: another one than was restored would be packed instead of it
    if (resumed !== undefined && native_id !== resumed) return false;
    known = true;
    turn.session(native_id, { model: text(line.model), cwd: text(line.cwd) });
    return true;
  };

  const onToolResult = (line: JsonObject, id: string | undefined): boolean => {
    if (id === undefined || !Array.isArray(line.content) || typeof line.is_error !== 'boolean') return false;
    const { content, is_error, exit_code } = line;
    return turn.toolResult(id, readContent(content), { is_error, exit_code: number(exit_code) });
  };

  const onApprovalRequest = (line: JsonObject, id: string | undefined): boolean => {
    const tool = text(line.tool);
    if (id === undefined || tool === undefined) return false;
    if (turn.approvalRequest(id, tool, line.input, { tool_use_id: text(line.tool_use_id) })) asked.add(id);
    else write({ type: 'approval', id, allow: false, message: 'This cannot be asked.' });
    return true;
  };

  const onReport = (line: JsonObject): boolean => {
    switch (line.type) {
      case 'usage': {
        const usage = readUsage(object(line.usage));
        if (usage !== undefined) turn.addUsage(usage);
        return usage !== undefined;
      }
      case 'status': {
        const status = STATUSES.find((each) => each === line.status);
        if (status === undefined) return false;
        const about = { attempt: number(line.attempt), delay_ms: number(line.delay_ms), http: number(line.http) };
        turn.status({ status, ...defined(about) });
        return true;
      }
      case 'error': {
        const [message, known] = [text(line.message), CLASSES.find((each) => each === line.class)];
        if (message === undefined || known === undefined || typeof line.fatal !== 'boolean') return false;
        turn.error({ message, class: known, http: number(line.http) }, line.fatal ? 'fatal' : 'passing');
        return true;
      }
      case 'notice':
        if (text(line.text) !== undefined) turn.notice(words(line.text));
        return text(line.text) !== undefined;
      case 'turn.completed':
        return onTurnCompleted(line);
      default:
        return false;
    }
  };

  const onTurnCompleted = (line: JsonObject): boolean => {
    const status = ENDINGS.find((each) => each === line.status);
    if (status === undefined || typeof line.result_text !== 'string') return false;
    const message = text(line.error);
    const failure = message === undefined ? undefined : { message, class: 'harness' as const };
    turn.complete(status, { failure, result_text: line.result_text });
    return true;
  };

  return {
    get ready() {
      return opened && known && !turn.busy && !exited;
    },
    get busy() {
      return turn.busy;
    },
    open(options: OpenOptions) {
      opened = true;
      resumed = options.resume;
      return turn.take(send);
    },
    turn({ content, model, effort }) {
      turn.begin();
      asked.clear();
      write({ type: 'user', content, ...(model === undefined ? {} : { model }), ...(effort === undefined ? {} : { effort }) });
      return turn.take(send);
    },
    steer(content) {
      if (turn.busy) write({ type: 'steer', content });
      return turn.take(send);
    },
    interrupt() {
      turn.interrupt();
      if (turn.busy) write({ type: 'interrupt' });
      return turn.take(send);
    },
    answer(id, answer) {
      if (!asked.delete(id)) return turn.take(send);
      write({ type: 'approval', id, ...answer });
      turn.approvalResolved(id, answer.allow);
      return turn.take(send);
    },
    line(raw) {
      const line = parseObject(raw);
      if (line === undefined || !onEvent(line)) turn.notice(`demo wrote a line that is not of its protocol: ${excerpt(raw)}`);
      return turn.take(send);
    },
    exit(how) {
      exited = true;
      turn.exit(how);
      return turn.take(send);
    },
  };
}

const SESSION_ID = /^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/;
/** `waiting_approval` is said by the book, with the request. */
const STATUSES = ['requesting', 'retrying', 'compacting', 'queued'] as const;
const ENDINGS = ['completed', 'failed', 'interrupted'] as const satisfies readonly TurnStatus[];
const CLASSES = [
  'auth',
  'rate_limit',
  'overloaded',
  'network',
  'policy',
  'invalid_request',
  'harness',
  'protocol',
] as const satisfies readonly ErrorClass[];

function readUsage(usage: JsonObject | undefined): Usage | undefined {
  if (usage === undefined || number(usage.input) === undefined || number(usage.output) === undefined) return undefined;
  const { input, output, cache_read, cache_write } = usage;
  return { input: count(input), output: count(output), cache_read: count(cache_read), cache_write: count(cache_write) };
}
