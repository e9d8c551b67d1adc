/** Content blocks from and to what the CLIs write: foreign blocks become text, so that nothing a model saw is lost. */
import type { BlockSource, ContentBlock } from './events.ts';
import { bounded, number, object, objects, text, type JsonObject } from './json.ts';

/** A tool's result, or a message: a string, or blocks of Anthropic's or of MCP's shape. */
export function readContent(value: unknown): ContentBlock[] {
  if (typeof value === 'string') return value === '' ? [] : [{ type: 'text', text: value }];
  return objects(value).map(readBlock);
}

function readBlock(block: JsonObject): ContentBlock {
  switch (block.type) {
    case 'text':
      return { type: 'text', text: text(block.text) ?? '' };
    case 'thinking':
      return { type: 'thinking', thinking: text(block.thinking) ?? '' };
    case 'tool_use':
      return { type: 'tool_use', id: text(block.id) ?? '', name: readToolName(block.name), input: bounded(block.input) };
    case 'image':
    case 'document': {
      const source = readSource(block);
      return source === undefined ? asText(block) : { type: block.type, source };
    }
    default:
      return asText(block);
  }
}

/** `mcp:server/tool` for a tool of an MCP server, which most CLIs call `mcp__server__tool`; else as the CLI calls it. */
export function readToolName(value: unknown): string {
  const name = text(value) ?? '';
  const [, server, tool] = /^mcp__(.+?)__(.+)$/.exec(name) ?? [];
  return server === undefined || tool === undefined ? name : `mcp:${server}/${tool}`;
}

function readSource(block: JsonObject): BlockSource | undefined {
  const source = object(block.source);
  const url = text(source?.url);
  if (url !== undefined) return { type: 'url', url };
  const data = text(source?.data) ?? text(block.data);
  const media_type = text(source?.media_type) ?? text(block.mimeType);
  return data === undefined || media_type === undefined ? undefined : { type: 'base64', media_type, data };
}

function asText(block: JsonObject): ContentBlock {
  return { type: 'text', text: JSON.stringify(bounded(block)) };
}

/** Anthropic counts what was read from or written to a cache apart from the input; so do we. */
export function readAnthropicUsage(usage: JsonObject | undefined) {
  const reasoning = number(object(usage?.output_tokens_details)?.thinking_tokens);
  return {
    input: number(usage?.input_tokens) ?? 0,
    output: number(usage?.output_tokens) ?? 0,
    cache_read: number(usage?.cache_read_input_tokens) ?? 0,
    cache_write: number(usage?.cache_creation_input_tokens) ?? 0,
    ...(reasoning === undefined ? {} : { reasoning }),
  };
}

/** A user's blocks for a CLI that takes text and images only. What it cannot take is named in the text, and in `refused`. */
export function splitPrompt(content: readonly ContentBlock[]) {
  const texts: string[] = [];
  const images: BlockSource[] = [];
  const refused: string[] = [];
  for (const block of content) {
    if (block.type === 'text') texts.push(block.text);
    else if (block.type === 'image') images.push(block.source);
    else refused.push(block.type);
  }
  if (refused.length > 0) texts.push(`[Left out, because this agent does not take it: ${refused.join(', ')}]`);
  return { text: texts.join('\n\n'), images, refused };
}
