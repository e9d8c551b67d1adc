/**
 * The stream-json protocol of Claude Code, which Amp and the demo harness speak too: what a line means for the turn.
 *
 * An assistant message arrives as one `assistant` line per block, all under one id and without a stop reason; with partial
 * messages on, `stream_event` lines stream it and `message_stop` ends it. A message whose stream ended without a single
 * `assistant` line was abandoned and is tried again.
 */
import { readAnthropicUsage, readContent } from './content.ts';
import { classifyHttp, classifyText } from './errors.ts';
import type { ContentBlock, ErrorClass, Usage } from './events.ts';
import { count, excerpt, number, object, objects, parseObject, text, words, type JsonObject } from './json.ts';
import type { Failure, Turn } from './turn.ts';

export interface AnthropicStream {
  /** Forgets the messages of the turn before. */
  begin(): void;
  /** Returns what the parser has no opinion about: results, control lines, repeated input and some `system` lines. */
  line(line: string): JsonObject | undefined;
  /** Ends what is open, because the turn ends. */
  end(): void;
  /** The tokens of the messages since this was last asked: for a turn that ends without a result. */
  takeUsage(): Usage | undefined;
  /** The failed request that a synthetic message told of, once. */
  takeFailure(): Failure | undefined;
}

interface Message {
  readonly id: string;
  readonly parent: string | undefined;
  readonly streamed: boolean;
  blocks: ContentBlock[];
  stop_reason: string | undefined;
}

/** Of no use to anyone who follows a turn, or said by another event. */
const SILENT_TYPES = new Set(['keep_alive', 'tool_progress', 'tool_use_summary', 'rate_limit_event', 'prompt_suggestion', 'auth_status']);
const SILENT_SYSTEM =
  /^(thinking_tokens|task_\w+|hook_\w+|session_state_changed|files_persisted|commands_changed|background_tasks_changed|compact_boundary|permission_denied|memory_recall|local_command_output|plugin_install|elicitation_complete)$/;

export function createAnthropicStream(turn: Turn, name: string): AnthropicStream {
  /** The message that is being written, by the sub-agent that writes it. */
  let current = new Map<string | undefined, Message>();
  let usages = new Map<string, Usage>();
  let failure: Failure | undefined;
  let unnamed = 0;

  const nameMessage = (id: unknown): string => {
    if (text(id) !== undefined) return id as string;
    unnamed += 1;
    return `message-${unnamed}`;
  };

  const finish = (message: Message | undefined, reason: string): void => {
    if (message === undefined) return;
    if (current.get(message.parent) === message) current.delete(message.parent);
    if (message.blocks.length === 0) turn.discard(message.id, reason);
    else turn.message(message.id, message.blocks, { stop_reason: message.stop_reason, parent: message.parent });
  };

  const start = (id: string, parent: string | undefined, streamed: boolean): Message => {
    const before = current.get(parent);
    if (before?.id === id) return before;
    finish(before, 'another message took its place');
    const message: Message = { id, parent, streamed, blocks: [], stop_reason: undefined };
    current.set(parent, message);
    turn.openMessage(id, parent);
    return message;
  };

  const use = (id: string, reported: JsonObject | undefined): void => {
    if (reported === undefined) return;
    const before = usages.get(id);
    const now = readAnthropicUsage(reported);
    // message_delta repeats the input or leaves it out, and only its output is the final one
    usages.set(id, before === undefined ? now : greater(before, now));
  };

  const onStreamEvent = (line: JsonObject): void => {
    const event = object(line.event);
    const parent = text(line.parent_tool_use_id);
    switch (event?.type) {
      case 'message_start': {
        const started = object(event.message);
        const message = start(nameMessage(started?.id), parent, true);
        use(message.id, object(started?.usage));
        return;
      }
      case 'content_block_delta': {
        const message = current.get(parent);
        const delta = object(event.delta);
        // without its message_start it is nobody's, and the assistant line that follows has it all
        if (message === undefined) return;
        if (delta?.type === 'text_delta') turn.text(message.id, text(delta.text) ?? '', parent);
        if (delta?.type === 'thinking_delta') turn.thinking(message.id, text(delta.thinking) ?? '', parent);
        return;
      }
      case 'message_delta': {
        const message = current.get(parent);
        if (message === undefined) return;
        message.stop_reason = text(object(event.delta)?.stop_reason) ?? message.stop_reason;
        use(message.id, object(event.usage));
        return;
      }
      case 'message_stop':
        finish(current.get(parent), 'the stream of the answer broke off');
    }
  };

  const onAssistant = (line: JsonObject): void => {
    const said = object(line.message);
    const parent = text(line.parent_tool_use_id);
    const blocks = readContent(said?.content);
    if (text(line.error) !== undefined) {
      failure = readApiError(line, blocks);
      return;
    }
    const id = nameMessage(said?.id);
    const message = start(id, parent, false);
    message.blocks.push(...blocks);
    for (const block of blocks) if (block.type === 'tool_use') turn.toolUse(block.id, block.name, block.input, parent);
    use(id, object(said?.usage));
    message.stop_reason = text(said?.stop_reason) ?? message.stop_reason;
    if (!message.streamed && message.stop_reason !== undefined) finish(message, '');
  };

  const onUser = (line: JsonObject): void => {
    const parent = text(line.parent_tool_use_id);
    const results = objects(object(line.message)?.content).filter((block) => block.type === 'tool_result');
    if (results.length === 0) return;
    const writing = current.get(parent);
    if (writing?.streamed === false) finish(writing, '');
    for (const result of results) {
      const id = text(result.tool_use_id) ?? '';
      // the last message of the sub-agent that this call ran
      finish(current.get(id), '');
      const known = turn.toolResult(id, readContent(result.content), { is_error: result.is_error === true });
      if (!known) turn.notice(`${name} gave the result of a tool call that it had not announced: ${excerpt(id, 80)}`);
    }
  };

  /** True when it was understood. */
  const onSystem = (line: JsonObject): boolean => {
    switch (line.subtype) {
      case 'status':
        if (line.status === 'requesting' || line.status === 'compacting') turn.status({ status: line.status });
        return true;
      case 'api_retry': {
        const http = number(line.error_status);
        turn.discardOpen('the request failed and is tried again');
        current.delete(undefined);
        const about = { attempt: count(line.attempt), delay_ms: count(line.retry_delay_ms), ...(http === undefined ? {} : { http }) };
        turn.status({ status: 'retrying', ...about });
        return true;
      }
      default:
        return SILENT_SYSTEM.test(words(line.subtype));
    }
  };

  return {
    begin() {
      current = new Map();
      usages = new Map();
      failure = undefined;
      unnamed = 0;
    },
    line(raw) {
      const line = parseObject(raw);
      switch (line?.type) {
        case 'stream_event':
          onStreamEvent(line);
          return undefined;
        case 'assistant':
          onAssistant(line);
          return undefined;
        case 'user':
          if (line.isReplay === true) return line;
          onUser(line);
          return undefined;
        case 'system':
          return onSystem(line) ? undefined : line;
        case undefined:
          turn.notice(`${name} wrote a line that is not of its protocol: ${excerpt(raw)}`);
          return undefined;
        default:
          return SILENT_TYPES.has(words(line?.type)) ? undefined : line;
      }
    },
    end() {
      for (const message of current.values()) if (message.blocks.length > 0) finish(message, '');
      current = new Map();
    },
    takeUsage() {
      const all = [...usages.values()];
      usages = new Map();
      return all.length === 0 ? undefined : all.reduce(add);
    },
    takeFailure() {
      const taken = failure;
      failure = undefined;
      return taken;
    },
  };
}

const CLASSES = new Map<string, ErrorClass>(
  Object.entries({
    authentication_failed: 'auth',
    oauth_org_not_allowed: 'auth',
    account_on_hold: 'auth',
    verification_required: 'auth',
    billing_error: 'auth',
    rate_limit: 'rate_limit',
    overloaded: 'overloaded',
    server_error: 'overloaded',
    invalid_request: 'invalid_request',
    model_not_found: 'invalid_request',
  } as const),
);

/** The synthetic message that stands for a failed request. */
function readApiError(line: JsonObject, blocks: readonly ContentBlock[]): Failure {
  const http = number(line.api_error_status);
  const message = blocks.flatMap((block) => (block.type === 'text' ? [block.text] : [])).join('\n') || words(line.error);
  // a connection that broke off is told as an error of the server
  const broken = http === undefined && classifyText(message) === 'network';
  return { message, http, class: broken ? 'network' : (classifyHttp(http) ?? CLASSES.get(words(line.error))) };
}

function greater(a: Usage, b: Usage): Usage {
  return {
    input: Math.max(a.input, b.input),
    output: Math.max(a.output, b.output),
    cache_read: Math.max(a.cache_read, b.cache_read),
    cache_write: Math.max(a.cache_write, b.cache_write),
  };
}

function add(a: Usage, b: Usage): Usage {
  return {
    input: a.input + b.input,
    output: a.output + b.output,
    cache_read: a.cache_read + b.cache_read,
    cache_write: a.cache_write + b.cache_write,
  };
}
