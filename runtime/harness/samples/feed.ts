/** Lines to a codec, and what came of them. */
import type { Codec, CodecOutput } from '../codec.ts';
import { brief } from './replay.ts';

export const HELLO = { content: [{ type: 'text', text: 'hello' }] } as const;

export interface Fed {
  readonly events: readonly string[];
  readonly send: readonly unknown[];
}

export function feed(codec: Codec, ...lines: readonly (object | string)[]): Fed {
  return shown(...lines.map((line) => codec.line(typeof line === 'string' ? line : JSON.stringify(line))));
}

export function shown(...outputs: readonly CodecOutput[]): Fed {
  return {
    events: outputs.flatMap(({ events }) => events.map(brief)),
    send: outputs.flatMap(({ send }) => send.map((line) => JSON.parse(line) as unknown)),
  };
}
