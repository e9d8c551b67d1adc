/** A Slack in memory, strict about what it is known to refuse; and a bot that shows turns in it, and may die between any two calls. */
import type { ThreadEventData } from '@centaur/sdk';
import { startTurn, takeEvent, type Turn } from '../../../chat/index.ts';
import { EXECUTION, numbered } from '../../../chat/testing.ts';
import type { Block } from '../blocks.ts';
import { plainText } from '../blocks.ts';
import type { Chunk } from '../cards.ts';
import { LIMITS } from '../limits.ts';
import { FRESH_PACE, type Method, noteAnswer, noteCall, noteRetryAfter, type Pace } from '../pace.ts';
import { type Metadata, nothingShown, recoverShown, type Shown, type ThreadMessage } from '../shown.ts';
import { answered, type Next, type Place, planNext, refused } from '../stream.ts';
import { refusals } from '../testing.ts';

export type Call = Extract<Next, { do: 'call' }>;

interface Message {
  readonly ts: string;
  streaming: boolean;
  startedAt: number;
  editedAt: number;
  text: string;
  cards: Map<string, { title: string; status: string; details: string }>;
  title: string;
  blocks: readonly Block[];
  metadata?: Metadata;
  edits: number;
}

interface Answer {
  readonly ts?: string;
  readonly error?: string;
}

export interface FakeSlack {
  readonly messages: Message[];
  readonly calls: { method: Method; at: number; args: Call['args'] }[];
  readonly files: string[];
  /** What Slack refused, or would not like. */
  readonly complaints: string[];
  /** The answer, or the code of the error. */
  call(call: Pick<Call, 'method' | 'args'>, now: number): Answer;
  /** As `conversations.replies` tells it. */
  thread(): ThreadMessage[];
}

const SLACK_STREAM_MS = 300_000;

export function createFakeSlack(): FakeSlack {
  const messages: Message[] = [];
  const calls: FakeSlack['calls'] = [];
  const files: string[] = [];
  const complaints: string[] = [];
  let count = 0;

  function take(message: Message, chunks: readonly Chunk[]): void {
    for (const chunk of chunks) {
      if (chunk.type === 'markdown_text') message.text += chunk.text;
      else if (chunk.type === 'plan_update') message.title = chunk.title;
      else
        message.cards.set(chunk.id, {
          title: chunk.title,
          status: chunk.status,
          details: (message.cards.get(chunk.id)?.details ?? '') + (chunk.details ?? ''),
        });
      for (const [key, value] of Object.entries(chunk)) {
        if (key !== 'text' && value.length > LIMITS.chunkField) complaints.push(`${key} of ${value.length} in a chunk`);
        if (value === '') complaints.push(`an empty ${key} in a chunk`);
      }
    }
    const cards = [...message.cards.values()];
    const bytes = cards.reduce((sum, card) => sum + Buffer.byteLength(card.title) + 2 * Buffer.byteLength(card.details), 0);
    if (cards.length > LIMITS.cards) complaints.push(`${cards.length} cards`);
    if (bytes > LIMITS.cardBytes) complaints.push(`cards of ${bytes} bytes`);
    if (message.text.length > LIMITS.streamText) complaints.push(`a stream of ${message.text.length}`);
    if (Buffer.byteLength(message.text) + bytes > LIMITS.streamBytes)
      complaints.push(`a stream of ${Buffer.byteLength(message.text) + bytes} bytes`);
  }

  function add(now: number, as: 'streaming' | 'whole'): Message {
    const message: Message = {
      ts: `${++count}.0`,
      streaming: as === 'streaming',
      startedAt: now,
      editedAt: now,
      text: '',
      cards: new Map(),
      title: '',
      blocks: [],
      edits: 0,
    };
    messages.push(message);
    return message;
  }

  const act: Record<Method, (args: Record<string, unknown>, now: number) => Answer> = {
    'chat.startStream': (args, now) => {
      const message = add(now, 'streaming');
      take(message, args['chunks'] as Chunk[]);
      return { ts: message.ts };
    },
    'chat.appendStream': (args, now) => {
      const message = find(args['ts']);
      if (message === undefined || !isStreaming(message, now)) return { error: 'message_not_in_streaming_state' };
      take(message, args['chunks'] as Chunk[]);
      return {};
    },
    'chat.stopStream': (args, now) => {
      const message = find(args['ts']);
      if (message === undefined || !isStreaming(message, now)) return { error: 'message_not_in_streaming_state' };
      take(message, (args['chunks'] as Chunk[] | undefined) ?? []);
      message.streaming = false;
      message.blocks = (args['blocks'] as Block[] | undefined) ?? [];
      if (args['metadata'] !== undefined) message.metadata = args['metadata'] as Metadata;
      return {};
    },
    'chat.postMessage': (args, now) => {
      const message = add(now, 'whole');
      write(message, args);
      return { ts: message.ts };
    },
    'chat.update': (args, now) => {
      const message = find(args['ts']);
      if (message === undefined) return { error: 'message_not_found' };
      if (isStreaming(message, now)) return { error: 'streaming_state_conflict' };
      if (now - message.editedAt < LIMITS.updateEveryMs && message.edits > 0)
        complaints.push(`an edit ${now - message.editedAt} ms after the last`);
      message.editedAt = now;
      message.edits++;
      message.cards.clear();
      message.text = '';
      write(message, args);
      return {};
    },
    'chat.delete': (args) => {
      const index = messages.findIndex((message) => message.ts === args['ts']);
      if (index === -1) return { error: 'message_not_found' };
      messages.splice(index, 1);
      return {};
    },
    'files.upload': (args) => {
      files.push(String(args['content']));
      return {};
    },
  };

  function write(message: Message, args: Record<string, unknown>): void {
    message.blocks = args['blocks'] as Block[];
    message.metadata = args['metadata'] as Metadata;
    complaints.push(...refusals({ blocks: message.blocks, text: String(args['text']) }));
  }

  const find = (ts: unknown): Message | undefined => messages.find((message) => message.ts === ts);
  const isStreaming = (message: Message, now: number): boolean => message.streaming && now - message.startedAt < SLACK_STREAM_MS;

  return {
    messages,
    calls,
    files,
    complaints,
    call({ method, args }, now) {
      calls.push({ method, at: now, args });
      return act[method]({ ...args }, now);
    },
    thread: () =>
      messages.map(({ ts, metadata, cards, blocks }) => ({
        ts,
        ...(metadata === undefined ? {} : { metadata }),
        blocks: [{ type: 'plan', tasks: [...cards.keys()].map((task_id) => ({ task_id })) }, ...blocks],
      })),
  };
}

/** What a person reads in the thread. */
export function readThread(slack: FakeSlack): string {
  return slack.messages.map((message) => [message.text, plainText(message.blocks)].filter((text) => text !== '').join('\n')).join('\n');
}

export const PLACE: Place = { channel: 'C1', threadTs: '0.1', recipient: { userId: 'U1', teamId: 'T1' } };

export interface Bot {
  shown: Shown;
  pace: Pace;
  /** Makes the calls that are due, `most` at once. False when the turn is all shown. */
  step(turn: Turn, now: number, most?: number): boolean;
}

export interface Faults {
  /** Before which calls it dies: before the call is made, or after, with its answer. */
  readonly dies?: (call: Call) => 'before' | 'after' | undefined;
  /** Errors of Slack's. */
  readonly refuses?: (call: Call, now: number) => { error: string; retryAfter?: number } | undefined;
}

export function createBot(slack: FakeSlack, by: Shown['by'], faults: Faults = {}): Bot {
  const bot: Bot = {
    shown: nothingShown(by),
    pace: FRESH_PACE,
    step(turn, now, most = 10) {
      for (let made = 0; made < most; made++) {
        const next = planNext(
          { turn, shown: bot.shown, place: PLACE, facts: { harness: 'pi', startedAt: 0, endedAt: 1_000 }, now },
          bot.pace,
        );
        if (next.do === 'done') return false;
        if (next.do === 'recover') bot.shown = recoverShown(turn.executionId, slack.thread());
        else if (next.do === 'call') bot.shown = make(next, turn, now);
        else return true;
      }
      return true;
    },
  };

  function make(next: Call, turn: Turn, now: number): Shown {
    const death = faults.dies?.(next);
    if (death === 'before') return recoverShown(turn.executionId, slack.thread());
    bot.pace = noteCall(bot.pace, next.method, PLACE.channel, now);
    const refusal = faults.refuses?.(next, now);
    const answer: Answer = refusal ?? slack.call(next, now);
    bot.pace = noteAnswer(bot.pace, next.method, PLACE.channel, now, now);
    if (death === 'after') return recoverShown(turn.executionId, slack.thread());
    if (answer.error !== undefined) {
      if (refusal?.retryAfter !== undefined) bot.pace = noteRetryAfter(bot.pace, next.method, refusal.retryAfter, now);
      const after = refused(bot.shown, next, answer.error);
      if (after.do !== 'again') throw new Error(`stopped by ${answer.error} of ${next.method}`);
      return after.shown;
    }
    return JSON.parse(JSON.stringify(answered(next.afterwards, answer))) as Shown;
  }
  return bot;
}

// ---- turns to show

export const of = { execution_id: EXECUTION };
export const running: ThreadEventData = { type: 'execution.state', ...of, thread_key: 't', status: 'running' };
export const delta = (text: string, message_id = 'm'): ThreadEventData => ({ type: 'text.delta', ...of, message_id, text });
export const tool = (id: number | string, input: unknown = { command: `step ${id}` }): ThreadEventData => ({
  type: 'tool_use',
  ...of,
  id: `${id}`,
  name: 'Bash',
  input,
});
export const result = (id: number | string): ThreadEventData => ({ type: 'tool_result', ...of, id: `${id}`, content: [], is_error: false });
export const usage: ThreadEventData = { type: 'usage', ...of, usage: { input: 1, output: 1, cache_read: 0, cache_write: 0 } };
export const completed = (text?: string): ThreadEventData => ({
  type: 'execution.state',
  ...of,
  thread_key: 't',
  status: 'completed',
  ...(text === undefined ? {} : { result_text: text }),
});

/** One event after another, each so many milliseconds after the last; then time alone until all is shown. */
export function play(
  data: readonly ThreadEventData[],
  options: { by: Shown['by']; everyMs?: number; faults?: Faults; idleMs?: number; slack?: FakeSlack },
): { slack: FakeSlack; turn: Turn; shown: Shown; took: number } {
  const slack = options.slack ?? createFakeSlack();
  const bot = createBot(slack, options.by, options.faults);
  let now = 1_000_000;
  let turn = startTurn({ executionId: EXECUTION, after: 0, traceId: 'trace_1' });
  for (const event of numbered(data)) {
    turn = takeEvent(turn, event);
    bot.step(turn, now, 2);
    now += options.everyMs ?? 50;
  }
  const ended = now;
  while (bot.step(turn, now, 2) && now - ended < (options.idleMs ?? 1_200_000)) now += 100;
  return { slack, turn, shown: bot.shown, took: now - ended };
}

export const methods = (slack: FakeSlack): string[] => slack.calls.map((call) => call.method.replace('chat.', ''));
/** The numbered words of the text, in their order. */
export const wordsIn = (text: string): string[] => text.match(/w\d+\.\d+|The answer \d+\./g) ?? [];
export const answer = 'The answer 42.';
