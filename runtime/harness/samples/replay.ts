/**
 * Recorded sessions of real CLIs, played to a codec: what went to standard input becomes a call, what came from standard
 * output a line. Recorded 2026-11-20 to -22 with Claude Code 2.1.329, Codex 0.169.0 and pi 0.73.1; deltas are thinned,
 * bulky keys are left out. Those named `live-` were recorded through our codecs (test/harnesses/run.ts --record) and hold
 * the codec's own calls.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { createClaudeCodec } from '../claude.ts';
import type { Codec, CodecOutput } from '../codec.ts';
import { createCodexCodec } from '../codex.ts';
import type { ContentBlock, HarnessEvent } from '../events.ts';

import { parseObject } from '../json.ts';
import { harnesses, type HarnessKind } from '../index.ts';
import { createPiCodec } from '../pi.ts';

type Json = Record<string, any>; // oxlint-disable-line typescript/no-explicit-any -- recorded lines of three protocols

export interface Entry {
  readonly t: number;
  readonly stdin?: Json;
  readonly stdout?: Json;
  /** What the codec was told: one of its methods, with what it was given. */
  readonly call?: Json;
  /** A line that no CLI wrote. */
  readonly raw?: string;
}

export const SAMPLES = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith('.ndjson'))
  .map((file) => file.replace(/\.ndjson$/, ''))
  .sort();

export function kindOf(sample: string): HarnessKind {
  return sample.replace('live-', '').split('-', 1)[0] as HarnessKind;
}

export function readSample(name: string): Entry[] {
  const lines = readFileSync(new URL(`${name}.ndjson`, import.meta.url), 'utf8')
    .trimEnd()
    .split('\n');
  return lines.map((line) => JSON.parse(line) as Entry);
}

/** One call of a codec. */
export interface Noted {
  readonly method: 'open' | 'turn' | 'steer' | 'interrupt' | 'answer' | 'line' | 'exit';
  readonly given: readonly unknown[];
  readonly output: CodecOutput;
}

export interface Replay {
  readonly codec: Codec;
  readonly events: HarnessEvent[];
  readonly sent: string[];
  /** How many turns were given. */
  readonly turns: number;
  readonly journal: readonly Noted[];
}

/** Plays the entries, and then lets the process end. */
export function replay(name: string, entries: readonly Entry[] = readSample(name)): Replay {
  return play(name, entries, entries.length).end();
}

/** Plays the first so many entries, and leaves the process running. */
export function play(name: string, entries: readonly Entry[], count: number) {
  const started = name.startsWith('live-') ? live(name) : name.startsWith('claude') ? claude() : name.startsWith('codex') ? codex() : pi();
  for (const [index, entry] of entries.slice(0, count).entries()) started.play(entry, entries[index + 1]);
  return started;
}

/** Notes what a codec is told, and what it answers. */
function noting(codec: Codec, journal: Noted[]): Codec {
  const methods = ['open', 'turn', 'steer', 'interrupt', 'answer', 'line', 'exit'] as const;
  const noted = Object.fromEntries(
    methods.map((method) => [
      method,
      (...given: readonly unknown[]) => {
        const output = (codec[method] as (...given: readonly unknown[]) => CodecOutput)(...given);
        journal.push({ method, given, output });
        return output;
      },
    ]),
  ) as unknown as Codec;
  return Object.defineProperties(noted, { ready: { get: () => codec.ready }, busy: { get: () => codec.busy } });
}

/** `opened` by the player, or by a call of the sample. */
function player(plain: Codec, opened: 'at once' | 'by a call' = 'at once') {
  const events: HarnessEvent[] = [];
  const sent: string[] = [];
  const journal: Noted[] = [];
  const codec = noting(plain, journal);
  let turns = 0;
  const take = (output: CodecOutput): readonly string[] => {
    events.push(...output.events);
    sent.push(...output.send);
    return output.send;
  };
  if (opened === 'at once') take(codec.open({ cwd: '/workspace' }));
  return {
    codec,
    events,
    sent,
    take,
    /** A turn can only be given to a codec that is ready; a sample that lost a line may not get that far. */
    turn(content: readonly ContentBlock[], about: object = {}) {
      if (!codec.ready) return [];
      turns += 1;
      return take(codec.turn({ content, ...about }));
    },
    end(): Replay {
      take(codec.exit({ code: 0, signal: null, stderr: '' }));
      return { codec, events, sent, turns, journal };
    },
  };
}

/** The calls and lines of a sample that holds both. */
function live(name: string) {
  const { codec, events, sent, take, turn, end } = player(harnesses[kindOf(name)].createCodec(), 'by a call');
  return {
    end,
    events,
    sent,
    play({ call, stdout, raw }: Entry, _next?: Entry) {
      if (raw !== undefined) take(codec.line(raw));
      if (stdout !== undefined) take(codec.line(JSON.stringify(stdout)));
      if (call?.open !== undefined) take(codec.open(call.open));
      if (call?.turn !== undefined) turn(call.turn.content, call.turn);
      if (call?.steer !== undefined) take(codec.steer(call.steer));
      if (call?.interrupt !== undefined) take(codec.interrupt());
      if (call?.answer !== undefined) take(codec.answer(call.answer.id, call.answer.answer));
      if (call?.exit !== undefined) take(codec.exit(call.exit));
    },
  };
}

const words = (text: string): ContentBlock[] => [{ type: 'text', text }];

function claude() {
  const { codec, events, sent, take, turn, end } = player(createClaudeCodec());
  return {
    end,
    events,
    play({ stdin, stdout, raw }: Entry) {
      if (raw !== undefined) take(codec.line(raw));
      if (stdout !== undefined) take(codec.line(JSON.stringify(stdout)));
      if (stdin?.type === 'user') {
        if (codec.busy) take(codec.steer(stdin.message.content));
        else turn(stdin.message.content);
      }
      // the samples of November 21 were recorded with this codec: what it sent on its own, it sends again
      const ours = stdin !== undefined && sent.includes(JSON.stringify(stdin));
      if (stdin?.request?.subtype === 'interrupt' && !ours) take(codec.interrupt());
      if (stdin?.type === 'control_response') {
        const { request_id, response } = stdin.response;
        const allow = response.behavior === 'allow';
        take(codec.answer(request_id, allow ? { allow, input: response.updatedInput } : { allow, message: response.message }));
      }
    },
  };
}

/** The codec numbers its requests as the recording program did, so that the recorded answers fit. */
function codex() {
  const { codec, events, take, turn, end } = player(createCodexCodec());
  return {
    end,
    events,
    play({ stdin, stdout, raw }: Entry) {
      if (raw !== undefined) take(codec.line(raw));
      if (stdout !== undefined) take(codec.line(JSON.stringify(stdout)));
      if (stdin?.method === 'turn/start') turn(words(stdin.params.input[0].text));
      if (stdin?.method === 'turn/steer') take(codec.steer(words(stdin.params.input[0].text)));
      if (stdin?.method === 'turn/interrupt') take(codec.interrupt());
      if (stdin?.result?.decision === 'decline') take(codec.answer(String(stdin.id), { allow: false, message: 'no' }));
    },
  };
}

const STATE = { sessionId: 'session-1', model: { id: 'fake-claude', provider: 'fake-anthropic' }, isStreaming: false, isCompacting: false };

/**
 * The recorded answers carry the recorder's ids, which are exchanged for the codec's. The codec asks for the state more
 * often than the recorder did; those answers are made up, in pi's order: after whatever else it writes in the same breath.
 */
function pi() {
  const { codec, events, sent, take, turn, end } = player(createPiCodec());
  const ids = new Map<string, string>();
  const unanswered: string[] = [];
  let seen = 0;
  const listen = (): void => {
    for (const line of sent.slice(seen)) {
      const command = parseObject(line);
      if (command?.type === 'get_state') unanswered.push(String(command.id));
    }
    seen = sent.length;
  };
  const answer = (): void => {
    listen();
    for (const id of unanswered.splice(0)) {
      take(codec.line(JSON.stringify({ id, type: 'response', command: 'get_state', success: true, data: STATE })));
      listen();
    }
  };
  answer();
  const playOne = ({ t, stdin, stdout, raw }: Entry, next: Entry | undefined): void => {
    const before = sent.length;
    if (raw !== undefined) take(codec.line(raw));
    if (stdout !== undefined)
      take(codec.line(JSON.stringify(typeof stdout.id === 'string' ? { ...stdout, id: ids.get(stdout.id) ?? stdout.id } : stdout)));
    if (stdin?.type === 'prompt') turn([...words(stdin.message), ...images(stdin)]);
    if (stdin?.type === 'steer') take(codec.steer(words(stdin.message)));
    if (stdin?.type === 'abort') take(codec.interrupt());
    const type = stdin?.type === 'steer' ? 'prompt' : stdin?.type;
    const command =
      stdin === undefined
        ? undefined
        : sent
            .slice(before)
            .map(parseObject)
            .find((line) => line?.type === type);
    if (command !== undefined) ids.set(String(stdin?.id), String(command.id));
    listen();
    if (next === undefined || next.stdin !== undefined || next.t > t + 5) answer();
  };
  return { end, events, play: playOne };
}

function images({ images: sent = [] }: Json): ContentBlock[] {
  return sent.map(({ data, mimeType }: Json) => ({ type: 'image', source: { type: 'base64', media_type: mimeType, data } }));
}

/** An event in a line. */
export function brief(event: HarnessEvent): string {
  const { type, parent_id, ...rest } = event;
  const values = Object.entries(rest).map(([key, value]) => brevity(key, value));
  return [`${parent_id === undefined ? '' : `(${parent_id}) `}${type}`, ...values].join(' ');
}

const NAMED = new Set([
  'is_error',
  'exit_code',
  'attempt',
  'delay_ms',
  'http',
  'fatal',
  'allowed',
  'stop_reason',
  'tool_use_id',
  'error',
  'cwd',
]);

function brevity(key: string, value: unknown): string {
  const shown =
    key === 'content'
      ? (value as ContentBlock[]).map(block).join(' + ')
      : typeof value === 'string' && /[\s"]|^$/.test(value)
        ? quote(value)
        : plain(value);
  return NAMED.has(key) ? `${key}=${shown}` : shown;
}

function block(content: ContentBlock): string {
  switch (content.type) {
    case 'text':
      return quote(content.text);
    case 'thinking':
      return `thinking ${quote(content.thinking)}`;
    case 'tool_use':
      return `tool_use ${content.id}`;
    default:
      return content.type;
  }
}

function plain(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value).replaceAll('"', '');
}

function quote(value: string): string {
  const line = value.replaceAll('\n', '⏎');
  return `"${line.length <= 60 ? line : `${line.slice(0, 40)}…${line.slice(-15)}`}"`;
}

export function transcript(events: readonly HarnessEvent[]): string {
  return events.map(brief).join('\n');
}
