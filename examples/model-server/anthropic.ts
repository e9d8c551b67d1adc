/** Anthropic's Messages API. */
import {
  blocks,
  countTokens,
  createReader,
  object,
  plain,
  spaced,
  words,
  type About,
  type Dialect,
  type JsonObject,
  type Piece,
  type Reply,
} from './dialect.ts';

/** Opaque to callers, who send it back. */
const SIGNATURE = 'c2NyaXB0ZWQ=';

export const anthropic: Dialect = {
  read(body) {
    const reader = createReader();
    for (const message of blocks(body.messages)) {
      if (message.role !== 'user') continue;
      const content = blocks(message.content);
      for (const block of content) if (block.type === 'tool_result') reader.result(plain(block.content));
      reader.user(content.filter((block) => block.type !== 'tool_result'));
    }
    const tools = blocks(body.tools).map(
      (tool) => ({ name: words(tool.name), kind: 'function', parameters: object(object(tool.input_schema).properties) }) as const,
    );
    return { model: words(body.model), stream: body.stream === true, tools, ...reader.read() };
  },
  error: (status, message) => ({ type: 'error', error: { type: ERRORS[status] ?? 'api_error', message } }),
  async *stream(reply, about, signal) {
    const usage = { ...usageOf(about), output_tokens: 1 };
    yield frame('message_start', { message: { ...envelope(about), content: [], stop_reason: null, usage } });
    for (const [index, piece] of reply.pieces.entries()) {
      yield frame('content_block_start', { index, content_block: opening(piece, about, index) });
      for await (const delta of deltas(piece, signal)) yield frame('content_block_delta', { index, delta });
      if (signal.aborted) return;
      if (reply.ending === 'cut' && index === reply.pieces.length - 1) return;
      yield frame('content_block_stop', { index });
    }
    const delta = { stop_reason: reasonOf(reply), stop_sequence: null };
    yield frame('message_delta', { delta, usage: { output_tokens: countTokens(reply) } });
    yield frame('message_stop', {});
  },
  whole: (reply, about) => ({
    ...envelope(about),
    content: reply.pieces.map((piece, index) => whole(piece, about, index)),
    stop_reason: reasonOf(reply),
    usage: { ...usageOf(about), output_tokens: countTokens(reply) },
  }),
};

const ERRORS: Readonly<Record<number, string>> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  529: 'overloaded_error',
};

function frame(type: string, data: object): string {
  return `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;
}

function envelope({ id, model }: About): JsonObject {
  return { id: `msg_${id}`, type: 'message', role: 'assistant', model, stop_sequence: null };
}

function usageOf({ input }: About): JsonObject {
  return { input_tokens: input, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 };
}

function reasonOf({ ending }: Reply): string {
  return ending === 'tool' ? 'tool_use' : 'end_turn';
}

function opening(piece: Piece, { id }: About, index: number): JsonObject {
  if (piece.type === 'tool') return { type: 'tool_use', id: `toolu_${id}_${index}`, name: piece.tool.name, input: {} };
  return piece.type === 'text' ? { type: 'text', text: '' } : { type: 'thinking', thinking: '', signature: '' };
}

async function* deltas(piece: Piece, signal: AbortSignal): AsyncGenerator<JsonObject> {
  if (piece.type === 'tool') {
    // in two pieces, as a caller must expect
    const json = JSON.stringify(piece.input);
    const half = Math.ceil(json.length / 2);
    for (const partial_json of [json.slice(0, half), json.slice(half)]) yield { type: 'input_json_delta', partial_json };
    return;
  }
  for await (const delta of spaced(piece, signal)) {
    yield piece.type === 'text' ? { type: 'text_delta', text: delta } : { type: 'thinking_delta', thinking: delta };
  }
  if (piece.type === 'thinking') yield { type: 'signature_delta', signature: SIGNATURE };
}

function whole(piece: Piece, { id }: About, index: number): JsonObject {
  if (piece.type === 'tool') return { type: 'tool_use', id: `toolu_${id}_${index}`, name: piece.tool.name, input: piece.input };
  const text = piece.deltas.join('');
  return piece.type === 'text' ? { type: 'text', text } : { type: 'thinking', thinking: text, signature: SIGNATURE };
}
