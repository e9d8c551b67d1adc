/** OpenAI's chat completions. It has no thoughts: `think` is left out. */
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

export const completions: Dialect = {
  read(body) {
    const reader = createReader();
    for (const message of blocks(body.messages)) {
      if (message.role === 'user') reader.user(blocks(message.content));
      else if (message.role === 'tool') reader.result(plain(message.content));
    }
    const tools = blocks(body.tools).map((tool) => {
      const { name, parameters } = object(tool.function);
      return { name: words(name), kind: 'function', parameters: object(object(parameters).properties) } as const;
    });
    return { model: words(body.model), stream: body.stream === true, tools, ...reader.read() };
  },
  error: openaiError,
  async *stream(reply, about, signal) {
    const chunk = (delta: object, finish_reason: string | null = null): string =>
      frame({ ...envelope(about, 'chat.completion.chunk'), choices: [{ index: 0, delta, finish_reason }] });
    yield chunk({ role: 'assistant', content: '' });
    let calls = 0;
    for (const [index, piece] of reply.pieces.entries()) {
      if (piece.type === 'tool') {
        yield chunk({ tool_calls: [{ index: calls, ...callOf(piece, about, index) }] });
        calls += 1;
      } else if (piece.type === 'text') {
        for await (const content of spaced(piece, signal)) yield chunk({ content });
        if (signal.aborted) return;
      }
    }
    if (reply.ending === 'cut') return;
    yield chunk({}, reasonOf(reply));
    yield frame({ ...envelope(about, 'chat.completion.chunk'), choices: [], usage: usageOf(reply, about) });
    yield 'data: [DONE]\n\n';
  },
  whole(reply, about) {
    const content = reply.pieces.flatMap((piece) => (piece.type === 'text' ? [piece.deltas.join('')] : [])).join('\n');
    const tool_calls = reply.pieces.flatMap((piece, index) => (piece.type === 'tool' ? [callOf(piece, about, index)] : []));
    const message = { role: 'assistant', content, ...(tool_calls.length === 0 ? {} : { tool_calls }) };
    const choices = [{ index: 0, message, finish_reason: reasonOf(reply) }];
    return { ...envelope(about, 'chat.completion'), choices, usage: usageOf(reply, about) };
  },
};

/** Both APIs of OpenAI fail in this shape. */
export function openaiError(status: number, message: string): unknown {
  const { type, code = null } = ERRORS[status] ?? { type: status >= 500 ? 'server_error' : 'invalid_request_error' };
  return { error: { message, type, param: null, code } };
}

const ERRORS: Readonly<Record<number, { readonly type: string; readonly code?: string }>> = {
  401: { type: 'invalid_request_error', code: 'invalid_api_key' },
  429: { type: 'requests', code: 'rate_limit_exceeded' },
  529: { type: 'server_error', code: 'overloaded' },
};

function frame(data: object): string {
  return `data: ${JSON.stringify(data)}\n\n`;
}

function envelope({ id, model }: About, kind: string): JsonObject {
  return { id: `chatcmpl-${id}`, object: kind, created: 0, model };
}

function reasonOf({ ending }: Reply): string {
  return ending === 'tool' ? 'tool_calls' : 'stop';
}

function usageOf(reply: Reply, { input }: About): JsonObject {
  const completion_tokens = countTokens(reply);
  return { prompt_tokens: input, completion_tokens, total_tokens: input + completion_tokens };
}

function callOf({ tool, input }: Extract<Piece, { type: 'tool' }>, { id }: About, index: number): JsonObject {
  return { id: `call_${id}_${index}`, type: 'function', function: { name: tool.name, arguments: JSON.stringify(input) } };
}
