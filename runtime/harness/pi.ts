/**
 * pi: `pi --mode rpc`, commands and events in lines. `agent_end` comes before pi has decided whether to try again or to
 * compact and go on, in the same breath: a `get_state` that is sent at `agent_end` is answered after that decision, so the
 * turn ends with its answer and not with a guess about time.
 */
import type { Codec, HarnessCapabilities, TurnInput } from './codec.ts';
import { readContent, readToolName, splitPrompt } from './content.ts';
import { classifyHttp, httpInText } from './errors.ts';
import type { BlockSource, ContentBlock, Usage } from './events.ts';
import { bounded, count, excerpt, number, object, objects, parseObject, text, words, type JsonObject } from './json.ts';
import { createTurn, type Failure } from './turn.ts';

export const piCapabilities: HarnessCapabilities = {
  resume: true,
  interrupt: 'inband',
  steer: 'merge',
  approvals: false,
  images: true,
  deltas: true,
};

/** pi drops the messages of a run into one line: past the longest line only its beginning is left, which says enough. */
const AGENT_END = /^\s*\{\s*"type"\s*:\s*"agent_end"/;

export function createPiCodec(): Codec {
  const turn = createTurn();
  const send: string[] = [];
  const sent = new Map<string, string>();
  /** Each tool's output so far: pi repeats all of it in every update. */
  let outputs = new Map<string, string>();
  let lastId = 0;
  let opened = false;
  let known = false;
  let exited = false;
  let provider: string | undefined;
  let model: string | undefined;
  /** The prompt waits until pi has changed the model: it starts without, if both are sent at once. */
  let waitingPrompt: (() => void) | undefined;
  let messages = 0;
  let currentMessage: string | undefined;
  let lastFailure: Failure | undefined;
  let lastStop: string | undefined;
  /** `agent_end` was read, and this get_state decides whether it was the last. */
  let settling: string | undefined;
  /** While a run starts, pi accepts a second prompt and loses it: steering lines wait until it has started. */
  let run: 'starting' | 'running' | 'ended' = 'ended';
  let waitingLines: (readonly ContentBlock[])[] = [];
  let compacting = false;

  const command = (line: { readonly type: string; readonly [key: string]: unknown }, purpose = line.type): string => {
    lastId += 1;
    const id = String(lastId);
    sent.set(id, purpose);
    send.push(JSON.stringify({ id, ...line }));
    return id;
  };

  const prompt = (type: 'prompt' | 'steer', content: readonly ContentBlock[]): void => {
    const { text: message, images, refused } = splitPrompt(content);
    const passed = images.flatMap(writeImage);
    if (refused.length > 0 || passed.length < images.length) turn.notice('pi takes text and images that are sent along, nothing else.');
    const line = { type: 'prompt', message, ...(passed.length === 0 ? {} : { images: passed }) };
    // and if pi has just become idle, the line begins a run: `steer` would leave it waiting for the next prompt
    if (type === 'steer') command({ ...line, streamingBehavior: 'steer' }, 'steer');
    else command(line);
  };

  const settle = (): void => {
    settling = command({ type: 'get_state' });
  };

  const finish = (): void => {
    settling = undefined;
    const answered = lastStop === 'stop' || lastStop === 'length';
    if (lastStop === 'aborted' || (turn.interrupting && !answered)) turn.complete('interrupted');
    else if (lastStop === 'error') turn.complete('failed', { failure: lastFailure });
    else turn.complete('completed');
  };

  const onState = (id: string, data: JsonObject | undefined): void => {
    const about = object(data?.model);
    provider = text(about?.provider) ?? provider;
    model = text(about?.id) ?? model;
    const session = text(data?.sessionId);
    if (session !== undefined) turn.session(session, { model });
    known = true;
    if (id !== settling) return;
    if (data?.isCompacting === true || compacting) return;
    if (data?.isStreaming === true) settle();
    else finish();
  };

  const onResponse = (line: JsonObject): void => {
    const id = text(line.id) ?? '';
    const type = sent.get(id);
    sent.delete(id);
    const failure = line.success === false ? (text(line.error) ?? 'without a reason') : undefined;
    switch (type) {
      case 'get_state':
        return onState(id, object(line.data));
      case 'set_model':
        if (failure !== undefined) return refuse(`pi refused the model: ${failure}`);
        model = text(object(line.data)?.id) ?? model;
        waitingPrompt?.();
        waitingPrompt = undefined;
        return;
      case 'prompt':
        return failure === undefined ? undefined : refuse(`pi refused the prompt: ${failure}`);
      default:
        if (type === undefined || failure === undefined) return;
        turn.notice(`pi refused ${type}: ${failure}`);
        if (type !== 'steer' || run === 'running') return;
        run = 'ended';
        settle();
    }
  };

  const refuse = (message: string): void => {
    waitingPrompt = undefined;
    turn.complete(turn.interrupting ? 'interrupted' : 'failed', { failure: { message, class: 'invalid_request' } });
  };

  const onMessageStart = (message: JsonObject | undefined): void => {
    if (message?.role !== 'assistant') return;
    // opened by its first content: an aborted or refused request leaves an empty message behind
    messages += 1;
    currentMessage = `message-${messages}`;
  };

  const onUpdate = (event: JsonObject | undefined): void => {
    if (currentMessage === undefined) return;
    if (event?.type === 'text_delta') turn.text(currentMessage, text(event.delta) ?? '');
    if (event?.type === 'thinking_delta') turn.thinking(currentMessage, text(event.delta) ?? '');
  };

  const onMessageEnd = (message: JsonObject | undefined): void => {
    if (message?.role !== 'assistant') return;
    if (currentMessage === undefined) onMessageStart(message);
    const id = currentMessage ?? '';
    currentMessage = undefined;
    lastStop = text(message.stopReason);
    turn.addUsage(readUsage(object(message.usage)));
    const content = objects(message.content).flatMap(readBlock);
    if (lastStop === 'error') {
      // left open: pi may try it again, and then what was streamed of it does not count
      lastFailure = readFailure(text(message.errorMessage) ?? 'pi reported an error and did not say which.');
    } else if (content.length === 0) turn.discard(id, lastStop ?? 'empty');
    else turn.message(id, content, { stop_reason: lastStop });
  };

  const onTool = (line: JsonObject): void => {
    const id = text(line.toolCallId);
    if (id === undefined) return;
    const name = readToolName(line.toolName);
    turn.toolUse(id, name, line.args);
    if (line.type === 'tool_execution_update') {
      const whole = objects(object(line.partialResult)?.content)
        .flatMap((block) => text(block.text) ?? [])
        .join('');
      turn.toolOutput(id, newOutput(outputs.get(id) ?? '', whole));
      outputs.set(id, whole);
    }
    if (line.type === 'tool_execution_end') {
      turn.toolResult(id, readContent(object(line.result)?.content), { is_error: line.isError === true });
    }
  };

  const onRetry = (line: JsonObject): void => {
    settling = undefined;
    const failure = readFailure(text(line.errorMessage) ?? '');
    turn.discardOpen('the request failed and is tried again');
    const about = { attempt: count(line.attempt), delay_ms: count(line.delayMs) };
    turn.status({ status: 'retrying', ...about, ...(failure.http === undefined ? {} : { http: failure.http }) });
  };

  const onCompactionEnd = (line: JsonObject): void => {
    compacting = false;
    if (line.willRetry === true) turn.discardOpen('the conversation was too long and is tried again, compacted');
    // what follows is another agent_start, or nothing
    else if (settling !== undefined) settle();
  };

  const onExtensionRequest = (line: JsonObject): void => {
    const dialog = ['select', 'confirm', 'input', 'editor'].includes(words(line.method));
    if (dialog) send.push(JSON.stringify({ type: 'extension_ui_response', id: line.id, cancelled: true }));
    const said = text(line.message) ?? text(line.title);
    if (said !== undefined && line.method !== 'setTitle') turn.notice(`A pi extension ${dialog ? 'asked' : 'says'}: ${said}`);
  };

  const onEvent = (line: JsonObject): void => {
    switch (line.type) {
      case 'response':
        return onResponse(line);
      case 'agent_start':
        settling = undefined;
        run = 'running';
        for (const content of waitingLines.splice(0)) prompt('steer', content);
        return;
      case 'agent_end':
        run = 'ended';
        return turn.busy ? settle() : undefined;
      case 'message_start':
        return onMessageStart(object(line.message));
      case 'message_update':
        return onUpdate(object(line.assistantMessageEvent));
      case 'message_end':
        return onMessageEnd(object(line.message));
      case 'tool_execution_start':
      case 'tool_execution_update':
      case 'tool_execution_end':
        return onTool(line);
      case 'queue_update':
        if (Array.isArray(line.steering) && line.steering.length > 0) turn.status({ status: 'queued' });
        return;
      case 'compaction_start':
        compacting = true;
        return turn.status({ status: 'compacting' });
      case 'compaction_end':
        return onCompactionEnd(line);
      case 'auto_retry_start':
        return onRetry(line);
      case 'extension_error':
        return turn.notice(`A pi extension failed: ${text(line.error) ?? 'without a reason'}`);
      case 'extension_ui_request':
        return onExtensionRequest(line);
      case 'session':
      case 'turn_start':
      case 'turn_end':
      case 'auto_retry_end':
      case 'thinking_level_changed':
      case 'session_info_changed':
        return;
      default:
        turn.notice(`pi wrote a line of an unknown type: ${words(line.type)}`);
    }
  };

  return {
    get ready() {
      return opened && known && !turn.busy && !exited;
    },
    get busy() {
      return turn.busy;
    },
    open() {
      opened = true;
      // the engine decides about retries, which is the only one that knows what a turn has done already
      command({ type: 'set_auto_retry', enabled: false });
      command({ type: 'get_state' });
      return turn.take(send);
    },
    turn(input) {
      turn.begin();
      outputs = new Map();
      messages = 0;
      currentMessage = undefined;
      lastFailure = undefined;
      lastStop = undefined;
      settling = undefined;
      run = 'starting';
      waitingLines = [];
      // what comes now for a turn before says nothing about this one
      sent.clear();
      if (input.effort !== undefined) command({ type: 'set_thinking_level', level: THINKING[input.effort] });
      if (input.model === undefined || input.model === model) prompt('prompt', input.content);
      else {
        waitingPrompt = () => prompt('prompt', input.content);
        command({ type: 'set_model', ...splitModel(input.model, provider) });
      }
      return turn.take(send);
    },
    steer(content) {
      if (!turn.busy) return turn.take(send);
      if (run === 'starting') waitingLines.push(content);
      else prompt('steer', content);
      if (run === 'ended') run = 'starting';
      settling = undefined;
      return turn.take(send);
    },
    interrupt() {
      turn.interrupt();
      if (waitingPrompt !== undefined) refuse('interrupted');
      else if (turn.busy) command({ type: 'abort' });
      return turn.take(send);
    },
    answer: () => turn.take(send),
    line(raw) {
      const line = parseObject(raw);
      if (line !== undefined) onEvent(line);
      else if (AGENT_END.test(raw)) onEvent({ type: 'agent_end' });
      else turn.notice(`pi wrote a line that is not of its protocol: ${excerpt(raw)}`);
      return turn.take(send);
    },
    exit(how) {
      exited = true;
      turn.exit(how);
      return turn.take(send);
    },
  };
}

const THINKING: Readonly<Record<NonNullable<TurnInput['effort']>, string>> = { low: 'low', medium: 'medium', high: 'high', max: 'xhigh' };

/** "provider/model", or a model of the provider that is in use. */
function splitModel(name: string, provider: string | undefined) {
  const slash = name.indexOf('/');
  if (slash > 0 && provider !== undefined && name.slice(0, slash) === provider) return { provider, modelId: name.slice(slash + 1) };
  return { provider: provider ?? '', modelId: name };
}

function writeImage(source: BlockSource): object[] {
  return source.type === 'base64' ? [{ type: 'image', data: source.data, mimeType: source.media_type }] : [];
}

function readBlock(block: JsonObject): ContentBlock[] {
  if (block.type === 'toolCall') {
    return [{ type: 'tool_use', id: text(block.id) ?? '', name: readToolName(block.name), input: bounded(block.arguments) }];
  }
  return readContent([block]);
}

/** Of a long output pi keeps the tail: then what was there before begins somewhere inside it. */
function newOutput(before: string, now: string): string {
  if (now.startsWith(before)) return now.slice(before.length);
  const overlap = before.length - before.indexOf(now.slice(0, 256));
  if (overlap <= before.length && now.startsWith(before.slice(-overlap))) return now.slice(overlap);
  return `\n[…]\n${now}`;
}

function readUsage(usage: JsonObject | undefined): Usage {
  const cost_usd = number(object(usage?.cost)?.total);
  return {
    input: count(usage?.input),
    output: count(usage?.output),
    cache_read: count(usage?.cacheRead),
    cache_write: count(usage?.cacheWrite),
    ...(cost_usd === undefined ? {} : { cost_usd }),
  };
}

/** `429 {"type":"error","error":{"message":"…"}}`: the status, and what the upstream said. */
function readFailure(reported: string): Failure {
  const http = httpInText(reported);
  const said = parseObject(reported.replace(/^\d{3}\s*/, ''));
  const message = text(object(said?.error)?.message) ?? text(said?.message) ?? reported;
  return { message, http, class: classifyHttp(http) };
}
