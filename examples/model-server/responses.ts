/** OpenAI's Responses API, as far as Codex and pi use it. */
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
  type Tool,
} from './dialect.ts';
import { openaiError } from './completions.ts';

export const responses: Dialect = {
  read(body) {
    const reader = createReader();
    const input: readonly JsonObject[] = typeof body.input === 'string' ? [{ role: 'user', content: body.input }] : blocks(body.input);
    for (const item of input) {
      if (item.role === 'user') reader.user(blocks(item.content));
      else if (words(item.type).endsWith('_output')) reader.result(plain(item.output));
    }
    const tools = blocks(body.tools).flatMap((tool) =>
      tool.type === 'namespace' ? blocks(tool.tools).map((each) => toTool(each, words(tool.name))) : [toTool(tool)],
    );
    return { model: words(body.model), stream: body.stream === true, tools, ...reader.read() };
  },
  error: openaiError,
  async *stream(reply, about, signal) {
    let sequence_number = 0;
    const frame = (type: string, data: object): string => {
      const line = `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number, ...data })}\n\n`;
      sequence_number += 1;
      return line;
    };
    yield frame('response.created', { response: { ...envelope(about), status: 'in_progress', output: [] } });
    for (const [output_index, piece] of reply.pieces.entries()) {
      const item = itemOf(piece, about, output_index);
      const place = { item_id: item.id, output_index };
      yield frame('response.output_item.added', { output_index, item: emptied(item) });
      if (piece.type === 'tool') {
        if (piece.tool.kind === 'function') {
          yield frame('response.function_call_arguments.delta', { ...place, delta: item.arguments });
          yield frame('response.function_call_arguments.done', { ...place, arguments: item.arguments });
        }
      } else {
        const { part, delta: deltaEvent, done, index, shape } = NAMES[piece.type];
        const text = piece.deltas.join('');
        yield frame(`${part}.added`, { ...place, ...index, part: { type: shape, text: '' } });
        for await (const delta of spaced(piece, signal)) yield frame(deltaEvent, { ...place, ...index, delta });
        if (signal.aborted) return;
        if (reply.ending === 'cut' && output_index === reply.pieces.length - 1) return;
        yield frame(done, { ...place, ...index, text });
        yield frame(`${part}.done`, { ...place, ...index, part: { type: shape, text } });
      }
      yield frame('response.output_item.done', { output_index, item });
    }
    yield frame('response.completed', { response: completed(reply, about) });
  },
  whole: completed,
};

/** Scripts call a tool of a namespace, such as an MCP server, by both names: `mcp__files__read`. */
function toTool(tool: JsonObject, namespace?: string): Tool {
  const name = words(tool.name) || words(tool.type);
  return {
    name: namespace === undefined ? name : `${namespace}__${name}`,
    kind: tool.type === 'local_shell' ? 'local_shell' : 'function',
    parameters: object(object(tool.parameters).properties),
    ...(namespace === undefined ? {} : { called: { name, namespace } }),
  };
}

const NAMES = {
  text: {
    part: 'response.content_part',
    delta: 'response.output_text.delta',
    done: 'response.output_text.done',
    index: { content_index: 0 },
    shape: 'output_text',
  },
  thinking: {
    part: 'response.reasoning_summary_part',
    delta: 'response.reasoning_summary_text.delta',
    done: 'response.reasoning_summary_text.done',
    index: { summary_index: 0 },
    shape: 'summary_text',
  },
} as const;

function envelope({ id, model }: About): JsonObject {
  return { id: `resp_${id}`, object: 'response', created_at: 0, model };
}

function completed(reply: Reply, about: About): JsonObject {
  const output_tokens = countTokens(reply);
  const usage = {
    input_tokens: about.input,
    input_tokens_details: { cached_tokens: 0 },
    output_tokens,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: about.input + output_tokens,
  };
  return { ...envelope(about), status: 'completed', output: reply.pieces.map((piece, index) => itemOf(piece, about, index)), usage };
}

function itemOf(piece: Piece, about: About, index: number): JsonObject {
  const id = `${about.id}_${index}`;
  if (piece.type === 'tool') {
    const call = { id: `fc_${id}`, call_id: `call_${id}`, status: 'completed' };
    if (piece.tool.kind === 'local_shell') return { type: 'local_shell_call', ...call, action: piece.input };
    return { type: 'function_call', ...call, ...(piece.tool.called ?? { name: piece.tool.name }), arguments: JSON.stringify(piece.input) };
  }
  const text = piece.deltas.join('');
  if (piece.type === 'thinking') return { type: 'reasoning', id: `rs_${id}`, summary: [{ type: 'summary_text', text }] };
  const content = [{ type: 'output_text', text, annotations: [] }];
  return { type: 'message', id: `msg_${id}`, role: 'assistant', status: 'completed', content };
}

/** As an item is announced, before it has said anything. */
function emptied(item: JsonObject): JsonObject {
  if (item.type === 'message') return { ...item, status: 'in_progress', content: [] };
  if (item.type === 'reasoning') return { ...item, summary: [] };
  return item.type === 'function_call' ? { ...item, status: 'in_progress', arguments: '' } : { ...item, status: 'in_progress' };
}
