/** What the three wire formats have in common: how a request is read, and how a played reply is written. */
import { setTimeout as pause } from 'node:timers/promises';

export type JsonObject = { readonly [key: string]: unknown };

export interface Tool {
  readonly name: string;
  /** `local_shell` has neither a name nor parameters: it is a type of its own. */
  readonly kind: 'function' | 'local_shell';
  /** The properties of its JSON Schema. */
  readonly parameters: JsonObject;
  /** What a call of it says in place of the name. */
  readonly called?: JsonObject;
}

export interface Conversation {
  readonly model: string;
  readonly stream: boolean;
  /** The last thing that the user said. */
  readonly prompt: string;
  /** What the user said before that, oldest first. */
  readonly before: readonly string[];
  /** How many images and documents came with it. */
  readonly attachments: number;
  /** What tools have answered since. */
  readonly results: readonly string[];
  readonly tools: readonly Tool[];
}

export type Piece =
  | { readonly type: 'thinking' | 'text'; readonly deltas: readonly string[]; readonly paceMs: number }
  | { readonly type: 'tool'; readonly tool: Tool; readonly input: unknown };

export interface Reply {
  readonly pieces: readonly Piece[];
  readonly ending: 'stop' | 'tool' | 'cut';
}

export interface About {
  /** Unique, and part of every id in the reply. */
  readonly id: string;
  readonly model: string;
  /** Tokens of the request. */
  readonly input: number;
}

export interface Dialect {
  read(body: JsonObject): Conversation;
  error(status: number, message: string): unknown;
  /** Server-sent events. Of a reply that is cut, everything but its end. */
  stream(reply: Reply, about: About, signal: AbortSignal): AsyncGenerator<string>;
  whole(reply: Reply, about: About): unknown;
}

/** The deltas of a piece, each after its pause; it ends early when the reader is gone. */
export async function* spaced({ deltas, paceMs }: Extract<Piece, { deltas: unknown }>, signal: AbortSignal): AsyncGenerator<string> {
  for (const delta of deltas) {
    if (paceMs > 0) await pause(paceMs, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    yield delta;
  }
}

/** Four characters to a token. */
export function countTokens({ pieces }: Reply): number {
  const lengths = pieces.map((piece) => (piece.type === 'tool' ? JSON.stringify(piece.input) : piece.deltas.join('')).length);
  return Math.ceil(lengths.reduce((all, length) => all + length, 0) / 4);
}

export function object(value: unknown): JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : {};
}

/** A string becomes one text block: the short form of all three formats. */
export function blocks(value: unknown, type = 'text'): readonly JsonObject[] {
  if (typeof value === 'string') return [{ type, text: value }];
  return Array.isArray(value) ? value.map(object) : [];
}

export function words(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** Blocks, or a string, as text. */
export function plain(value: unknown): string {
  return blocks(value)
    .map((block) => words(block.text))
    .filter((text) => text !== '')
    .join('\n');
}

/** Follows a conversation block by block: what the user says last is the prompt, and starts the count of results anew. */
export function createReader() {
  let prompt = '';
  const before: string[] = [];
  let attachments = 0;
  let results: string[] = [];

  const hear = (said: string, along: readonly JsonObject[] = []): void => {
    if (prompt !== '') before.push(prompt);
    prompt = said;
    attachments = along.filter((block) => /image|document|file/.test(words(block.type))).length;
    results = [];
  };

  return {
    user(message: readonly JsonObject[]) {
      const said = message.map((block) => words(block.text).trim()).filter((text) => text !== '' && !ADDED.test(text));
      if (said.length > 0) hear(said.at(-1) ?? '', message);
    },
    result(text: string) {
      results.push(text.replaceAll(REMINDER, '').trim());
      for (const [, reminder = ''] of text.matchAll(REMINDER)) {
        const said = SAID_MEANWHILE.exec(reminder)?.[1];
        if (said !== undefined) hear(said.trim());
      }
    },
    read: () => ({ prompt, before, attachments, results }),
  };
}

/** What a CLI says under the user's name: environment, instructions, and notes about interruptions and pictures. */
const ADDED = /^(<|# AGENTS|\[Request interrupted|\[Image)/;
/** What Claude Code appends to the results of tools; a line that the user wrote in mid-turn comes this way. */
const REMINDER = /<system-reminder>([^]*?)<\/system-reminder>/g;
const SAID_MEANWHILE = /user sent a new message while you were working:\n([^]*?)\n\n/;
