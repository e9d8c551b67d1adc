/**
 * Claude Code: `claude -p --input-format stream-json --output-format stream-json --verbose --include-partial-messages`.
 * It says nothing before the first user line, repeats `system/init` at every turn, and ends a turn with `result`, of which
 * `is_error` tells success from failure, not the subtype.
 */
import { createAnthropicStream } from './anthropic-stream.ts';
import type { Codec, HarnessCapabilities } from './codec.ts';
import { readAnthropicUsage } from './content.ts';
import { classifyHttp } from './errors.ts';
import type { ContentBlock, Usage } from './events.ts';
import { count, number, object, objects, text, words, type JsonObject } from './json.ts';
import { createTurn, type Failure } from './turn.ts';

export const claudeCapabilities: HarnessCapabilities = {
  resume: true,
  interrupt: 'inband',
  // into the running turn at its next tool call; if there is none, as one more round of the same turn
  steer: 'queue',
  approvals: true,
  images: true,
  deltas: true,
};

/** `name` is what notices call it. */
export function createClaudeCodec(name = 'claude'): Codec {
  const turn = createTurn();
  const stream = createAnthropicStream(turn, name);
  const send: string[] = [];
  const asked = new Map<string, unknown>();
  const requests = new Map<string, string>();
  let opened = false;
  let numbered = 0;
  let model: string | undefined;
  let effort: string | undefined;
  /** It repeats the lines it reads (--replay-user-messages): the turn's own first, then those that steer. */
  let repeats = false;
  /** The number of blocks of each line that it has not read: it reads lines that waited together as one. */
  let unread: { readonly blocks: number; readonly own: boolean }[] = [];
  /** Of the process so far; unknown after a resume, because the CLI goes on counting from before. */
  let cost: number | undefined = 0;

  const write = (line: unknown): void => {
    send.push(JSON.stringify(line));
  };

  const control = (request: { readonly subtype: string; readonly [key: string]: unknown }): void => {
    numbered += 1;
    const request_id = `${request.subtype}-${numbered}`;
    requests.set(request_id, request.subtype);
    write({ type: 'control_request', request_id, request });
  };

  const user = (content: readonly ContentBlock[]): void => write({ type: 'user', message: { role: 'user', content } });

  const onInit = (line: JsonObject): void => {
    const id = text(line.session_id);
    model = text(line.model) ?? model;
    if (id !== undefined) turn.session(id, { model, cwd: text(line.cwd) });
    // a line that was waiting begins a round of its own after an interrupt; the turn is not to go on with it
    if (turn.interrupting) control({ subtype: 'interrupt' });
  };

  /** The turn's share: the totals of a result are those of the process, and go on after a resume. */
  const addUsage = (line: JsonObject): void => {
    const total = number(line.total_cost_usd);
    const spent = total === undefined || cost === undefined ? undefined : Math.max(0, dollars(total - cost));
    cost = total ?? cost;
    const counted = stream.takeUsage();
    const byModel = object(line.model_usage_since_last_result);
    const reported = object(line.usage);
    if (byModel !== undefined) for (const used of objects(Object.values(byModel))) turn.addUsage(readModelUsage(used));
    else {
      const usage = reported === undefined ? counted : readAnthropicUsage(reported);
      if (usage !== undefined) turn.addUsage({ ...usage, ...(spent === undefined ? {} : { cost_usd: spent }) });
    }
  };

  const onResult = (line: JsonObject): void => {
    if (!turn.busy) return;
    addUsage(line);
    // the end of a round that a task in the background began on its own
    if (object(line.origin)?.kind === 'task-notification') return;
    const failure = line.is_error === true ? (stream.takeFailure() ?? readFailure(line)) : undefined;
    // a line that it has not read yet follows as one more round with a result of its own
    const waiting = repeats && unread.some(({ own }) => !own);
    if (waiting || count(line.queued_turn_count) > 0) {
      if (failure !== undefined && !turn.interrupting) turn.error(failure, 'passing');
      return;
    }
    stream.end();
    const aborted = text(line.terminal_reason)?.startsWith('aborted') === true;
    if (failure === undefined) turn.complete('completed', { result_text: text(line.result) });
    else if (turn.interrupting || aborted) turn.complete('interrupted');
    else turn.complete('failed', { failure });
  };

  const onRepeated = (blocks: number): void => {
    repeats = true;
    let left = blocks;
    do left -= unread.shift()?.blocks ?? left;
    while (left > 0);
  };

  const permit = (request_id: string, response: JsonObject): void =>
    write({ type: 'control_response', response: { subtype: 'success', request_id, response } });

  const onControlRequest = (line: JsonObject): void => {
    const request_id = text(line.request_id);
    const request = object(line.request);
    const subtype = text(request?.subtype);
    if (request_id === undefined || subtype === undefined) return turn.notice(`${name} asked for something without an id.`);
    if (subtype === 'can_use_tool' && turn.busy) {
      const tool_use_id = text(request?.tool_use_id);
      if (turn.approvalRequest(request_id, text(request?.tool_name) ?? '', request?.input, { tool_use_id }))
        asked.set(request_id, request?.input);
      else permit(request_id, { behavior: 'deny', message: 'This cannot be asked.' });
    } else {
      const error = `Not supported by this host: ${subtype}`;
      write({ type: 'control_response', response: { subtype: 'error', request_id, error } });
      turn.notice(`${name} asked for ${subtype}, which is not supported.`);
    }
  };

  const onControlResponse = (line: JsonObject): void => {
    const response = object(line.response);
    const request_id = text(response?.request_id) ?? '';
    const subtype = requests.get(request_id);
    requests.delete(request_id);
    if (response?.subtype !== 'error') return;
    const message = `${name} refused ${subtype ?? 'a request'}: ${text(response.error) ?? 'without a reason'}`;
    turn.error({ message, class: 'invalid_request' }, 'passing');
  };

  const onLine = (line: JsonObject): void => {
    switch (line.type) {
      case 'result':
        return onResult(line);
      case 'user':
        return onRepeated(objects(object(line.message)?.content).length);
      case 'control_request':
        return onControlRequest(line);
      case 'control_cancel_request': {
        const id = text(line.request_id) ?? '';
        asked.delete(id);
        return turn.approvalResolved(id, false);
      }
      case 'control_response':
        return onControlResponse(line);
      case 'system':
        if (line.subtype === 'init') return onInit(line);
        return turn.notice(`${name}, ${words(line.subtype)}: ${text(line.content) ?? text(line.message) ?? text(line.text) ?? ''}`);
      default:
        turn.notice(`${name} wrote a line of an unknown type: ${words(line.type)}`);
    }
  };

  return {
    get ready() {
      return opened && !turn.busy;
    },
    get busy() {
      return turn.busy;
    },
    open(options) {
      opened = true;
      model = options.model;
      if (options.resume !== undefined) cost = undefined;
      return turn.take(send);
    },
    turn(input) {
      turn.begin();
      stream.begin();
      asked.clear();
      unread = [{ blocks: input.content.length, own: true }];
      if (input.model !== undefined && input.model !== model) control({ subtype: 'set_model', model: input.model });
      model = input.model ?? model;
      if (input.effort !== undefined && input.effort !== effort) {
        control({ subtype: 'apply_flag_settings', settings: { effortLevel: input.effort } });
      }
      effort = input.effort ?? effort;
      user(input.content);
      return turn.take(send);
    },
    steer(content) {
      if (turn.busy) {
        user(content);
        unread.push({ blocks: content.length, own: false });
      }
      return turn.take(send);
    },
    interrupt() {
      if (turn.busy) control({ subtype: 'interrupt' });
      turn.interrupt();
      return turn.take(send);
    },
    answer(id, answer) {
      if (!asked.has(id)) return turn.take(send);
      const response = answer.allow
        ? { behavior: 'allow', updatedInput: answer.input ?? asked.get(id) }
        : { behavior: 'deny', message: answer.message };
      asked.delete(id);
      permit(id, response);
      turn.approvalResolved(id, answer.allow);
      return turn.take(send);
    },
    line(raw) {
      const line = stream.line(raw);
      if (line !== undefined) onLine(line);
      return turn.take(send);
    },
    exit(how) {
      opened = false;
      if (turn.busy) {
        stream.end();
        const usage = stream.takeUsage();
        if (usage !== undefined) turn.addUsage(usage);
        const failure = stream.takeFailure();
        if (failure !== undefined) turn.error(failure, 'passing');
      }
      turn.exit(how);
      return turn.take(send);
    },
  };
}

/** With sub-agents and the requests of an interrupted turn, which `usage` leaves out. */
function readModelUsage(used: JsonObject): Usage {
  const cost_usd = number(used.costUSD);
  return {
    input: count(used.inputTokens),
    output: count(used.outputTokens),
    cache_read: count(used.cacheReadInputTokens),
    cache_write: count(used.cacheCreationInputTokens),
    reasoning: count(used.thinkingTokens),
    ...(cost_usd === undefined ? {} : { cost_usd: dollars(cost_usd) }),
  };
}

/** To a billionth: the difference of two sums of floats has a tail. */
function dollars(amount: number): number {
  return Math.round(amount * 1e9) / 1e9;
}

function readFailure(line: JsonObject): Failure {
  const http = number(line.api_error_status);
  const errors = Array.isArray(line.errors) ? line.errors.map(words).join('\n') : '';
  const message = text(line.result) ?? text(errors) ?? `The turn ended: ${words(line.subtype)}`;
  return { message, http, class: classifyHttp(http) };
}
