/**
 * Amp: `amp --execute --stream-json --stream-json-input`. The lines are Claude's without partial messages, message ids and
 * control requests. While standard input is open there may be no `result`: the turn ends with the agent's terminal stop
 * reason, and a `result` that follows it is not the next turn's. Nothing but a signal interrupts it. Written after its
 * documentation; Amp's model loop runs on its vendor's servers, so that no session of it could be recorded here.
 */
import { createAnthropicStream } from './anthropic-stream.ts';
import type { Codec, HarnessCapabilities } from './codec.ts';
import { object, parseObject, text, words, type JsonObject } from './json.ts';
import { createTurn } from './turn.ts';

export const ampCapabilities: HarnessCapabilities = {
  resume: true,
  interrupt: 'signal',
  steer: 'none',
  approvals: false,
  images: true,
  deltas: false,
};

const TERMINAL = new Set(['end_turn', 'stop_sequence', 'max_tokens', 'refusal']);

export function createAmpCodec(): Codec {
  const turn = createTurn();
  const stream = createAnthropicStream(turn, 'amp');
  const send: string[] = [];
  let opened = false;
  /** The turn before ended with its stop reason, and its `result` may yet come. */
  let resultOwed = false;

  const complete = (line: JsonObject | undefined): void => {
    stream.end();
    const usage = stream.takeUsage();
    if (usage !== undefined) turn.addUsage(usage);
    const message = text(line?.error) ?? text(line?.result) ?? 'Amp reported an error.';
    const failure = stream.takeFailure() ?? (line?.is_error === true ? { message } : undefined);
    if (failure !== undefined) turn.complete(turn.interrupting ? 'interrupted' : 'failed', { failure });
    else turn.complete('completed', { result_text: text(line?.result) });
  };

  const onLine = (line: JsonObject): void => {
    if (line.type === 'result') {
      if (resultOwed) resultOwed = false;
      else if (turn.busy) complete(line);
    } else if (line.type === 'system' && line.subtype === 'init') {
      const id = text(line.session_id);
      if (id !== undefined) turn.session(id, { cwd: text(line.cwd) });
    } else turn.notice(`amp wrote a line of an unknown type: ${words(line.type)}`);
  };

  return {
    get ready() {
      return opened && !turn.busy;
    },
    get busy() {
      return turn.busy;
    },
    open() {
      opened = true;
      return turn.take(send);
    },
    turn(input) {
      turn.begin();
      stream.begin();
      send.push(JSON.stringify({ type: 'user', message: { role: 'user', content: input.content } }));
      return turn.take(send);
    },
    steer: () => turn.take(send),
    interrupt() {
      turn.interrupt();
      return turn.take(send);
    },
    answer: () => turn.take(send),
    line(raw) {
      const line = stream.line(raw);
      if (line !== undefined) onLine(line);
      else if (turn.busy && saysItIsDone(raw)) {
        complete(undefined);
        resultOwed = true;
      }
      return turn.take(send);
    },
    exit(how) {
      opened = false;
      stream.end();
      const usage = stream.takeUsage();
      if (usage !== undefined && turn.busy) turn.addUsage(usage);
      turn.exit(how);
      return turn.take(send);
    },
  };
}

/** A message of the agent itself that asks for no tool; one of a sub-agent ends nothing. */
function saysItIsDone(raw: string): boolean {
  const line = parseObject(raw);
  const message = object(line?.message);
  const own = line?.type === 'assistant' && text(line.parent_tool_use_id) === undefined && text(line.error) === undefined;
  return own && TERMINAL.has(text(message?.stop_reason) ?? '');
}
