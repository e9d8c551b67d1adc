/**
 * Calling Slack's Web API at the pace that it allows: one pace for the process, of which drawing turns knows, and for which everything
 * else waits. The library's own retries are off: whether a call may be made twice is for its caller to say.
 */
import { ErrorCode, WebClient } from '@slack/web-api';
import { LONGEST_DRAW_MS, pause as inRealTime } from '../chat/index.ts';
import { FRESH_PACE, type Method, noteAnswer, noteCall, noteRetryAfter, type Pace, readyAt } from './render/pace.ts';
import { CALLS_PER_MINUTE } from './render/limits.ts';

type Arguments = Readonly<Record<string, unknown>>;

export interface SlackCalls {
  /**
   * Waits until Slack wants to hear of it, and again for as long as it asks for.
   *
   * @throws SlackRefused with Slack's code; SlackSilent when nobody knows whether it was done
   */
  call<Answer = Readonly<Record<string, unknown>>>(
    method: string,
    args: Arguments,
    options?: { readonly signal?: AbortSignal },
  ): Promise<Answer>;
  /** Takes the place of a call that was planned by the pace: nobody else plans with it, until `draw` makes the call or `forgo` leaves it. */
  reserve(method: DrawingMethod, channel: string): Reserved;
  /** The call is not made: what waits for its answer waits no longer. */
  forgo(reserved: Reserved): void;
  /** Made at once. @throws as `call`; SlackRefused `ratelimited` too, after the pace has noted it */
  draw(reserved: Reserved, args: Arguments): Promise<{ readonly ts?: string }>;
  /** How fast it may be called, as of now. */
  pace(): Pace;
  /** Resolves at that time, or when the signal aborts. */
  until(time: number, signal: AbortSignal): Promise<void>;
  /** For what neither `call` nor `draw` can do, such as files: its calls are not paced. */
  readonly client: WebClient;
}

export type DrawingMethod = Exclude<Method, 'files.upload'>;

export interface Reserved {
  readonly method: DrawingMethod;
  readonly channel: string;
  readonly at: number;
}

export class SlackRefused extends Error {
  override readonly name = 'SlackRefused';
  readonly method: string;
  /** Such as `channel_not_found`. */
  readonly code: string;
  /** What else Slack says of it: names of fields, never values. */
  readonly reasons: readonly string[];
  constructor(method: string, code: string, reasons: readonly string[] = []) {
    super(`${method}: ${code}${reasons.length === 0 ? '' : ` (${reasons.join('; ')})`}`);
    this.method = method;
    this.code = code;
    this.reasons = reasons;
  }
}

/** There was no answer, or one that says nothing: it may have been done. */
export class SlackSilent extends Error {
  override readonly name = 'SlackSilent';
}

/** Slack's tiers, of what is called here besides drawing. What is not named is taken for tier 2. */
const PER_MINUTE: Readonly<Record<string, number>> = {
  ...CALLS_PER_MINUTE,
  'assistant.threads.setStatus': 600,
  'assistant.threads.setSuggestedPrompts': 50,
  'assistant.threads.setTitle': 50,
  'auth.test': 100,
  'bots.info': 50,
  'chat.postEphemeral': 100,
  'conversations.info': 50,
  'conversations.replies': 50,
  'conversations.open': 50,
  'files.getUploadURLExternal': 100,
  'files.info': 100,
  'reactions.add': 50,
  'reactions.remove': 20,
  'users.info': 100,
  'views.open': 100,
  'views.publish': 50,
  'views.update': 100,
};
/** What puts a file into a channel is one more message there. */
const PACED_AS: Readonly<Record<string, Method>> = { 'files.completeUploadExternal': 'files.upload' };

function channelOf(args: Arguments): string {
  const channel = args['channel'] ?? args['channel_id'];
  return typeof channel === 'string' ? channel : '';
}

/** Of an answer that is not 429. */
const RATE_LIMITED = new Set(['ratelimited', 'rate_limited']);
const TIER_2 = 20;
const TRIES = 6;
const TIMEOUT_MS = 30_000;

export function createSlackCalls(of: {
  readonly token: string;
  readonly apiUrl: string;
  readonly now: () => number;
  /** How time passes on the clock of `now`. */
  readonly pause?: (ms: number, signal: AbortSignal) => Promise<void>;
}): SlackCalls {
  const { now, pause = inRealTime } = of;
  const connect = (timeout: number): WebClient =>
    new WebClient(of.token, {
      slackApiUrl: of.apiUrl,
      retryConfig: { retries: 0 },
      rejectRateLimitedCalls: true,
      timeout,
      // its own log would tell what people wrote
      logger: { debug() {}, info() {}, warn() {}, error() {}, setLevel() {}, getLevel: () => 'error' as never, setName() {} },
    });
  const client = connect(TIMEOUT_MS);
  const drawing = connect(LONGEST_DRAW_MS);
  let pace = FRESH_PACE;
  /** Of what is not drawn: when each method was called in the last minute, and until when Slack does not want to hear of it. */
  const others = new Map<string, { calls: number[]; pausedUntil: number }>();

  function knownOf(method: string): { calls: number[]; pausedUntil: number } {
    const known = others.get(method) ?? { calls: [], pausedUntil: 0 };
    others.set(method, known);
    return known;
  }

  /** Takes the place of this call, or says when to ask again. */
  function take(method: string, channel: string): { readonly at: number } | { readonly again: number } {
    const at = now();
    const drawing = drawingOf(method);
    if (drawing !== undefined) {
      const ready = readyAt(pace, drawing, channel, at);
      if (ready > at) return { again: ready };
      pace = noteCall(pace, drawing, channel, at);
      return { at };
    }
    const known = knownOf(method);
    known.calls = known.calls.filter((each) => at - each < 60_000);
    const most = PER_MINUTE[method] ?? TIER_2;
    const free = known.calls.length < most ? at : (known.calls[known.calls.length - most] as number) + 60_000;
    const ready = Math.max(free, known.pausedUntil);
    if (ready > at) return { again: ready };
    known.calls.push(at);
    return { at };
  }

  function noteAnswered(method: string, channel: string, plannedAt: number): void {
    const drawing = drawingOf(method);
    if (drawing !== undefined) {
      pace = noteAnswer(pace, drawing, channel, plannedAt, now());
      return;
    }
    const known = knownOf(method);
    const place = known.calls.indexOf(plannedAt);
    if (place !== -1) known.calls.splice(place, 1);
    known.calls.push(now());
  }

  function pauseFor(method: string, seconds: number): void {
    const drawing = drawingOf(method);
    if (drawing !== undefined) pace = noteRetryAfter(pace, drawing, seconds, now());
    else knownOf(method).pausedUntil = now() + Math.max(1, seconds) * 1000;
  }

  async function ask<Answer>(by: WebClient, method: string, args: Arguments, plannedAt: number): Promise<Answer> {
    try {
      return (await by.apiCall(method, args)) as Answer;
    } catch (error) {
      const told = error as {
        code?: string;
        retryAfter?: number;
        statusCode?: number;
        data?: { error?: string; response_metadata?: { messages?: string[] } };
      };
      if (told.code === ErrorCode.RateLimitedError || RATE_LIMITED.has(told.data?.error ?? '')) {
        pauseFor(method, told.retryAfter ?? 1);
        throw new SlackRefused(method, 'ratelimited');
      }
      if (told.code === ErrorCode.PlatformError)
        throw new SlackRefused(method, told.data?.error ?? 'unknown', told.data?.response_metadata?.messages ?? []);
      throw new SlackSilent(`${method}: ${told.statusCode === undefined ? 'no answer' : `status ${told.statusCode}`}`, { cause: error });
    } finally {
      noteAnswered(method, channelOf(args), plannedAt);
    }
  }

  const until = (time: number, signal: AbortSignal): Promise<void> => pause(Math.max(0, time - now()), signal);

  return {
    client,
    until,
    pace: () => pace,
    reserve(method, channel) {
      const at = now();
      pace = noteCall(pace, method, channel, at);
      return { method, channel, at };
    },
    forgo: ({ method, channel, at }) => noteAnswered(method, channel, at),
    draw: ({ method, at }, args) => ask(drawing, method, args, at),
    async call<Answer>(method: string, args: Arguments, { signal = new AbortController().signal } = {}) {
      for (let tries = 1; ; tries++) {
        let taken = take(method, channelOf(args));
        for (; 'again' in taken; taken = take(method, channelOf(args))) {
          await until(taken.again, signal);
          signal.throwIfAborted();
        }
        try {
          return await ask<Answer>(client, method, args, taken.at);
        } catch (error) {
          if (!(error instanceof SlackRefused) || error.code !== 'ratelimited' || tries >= TRIES) throw error;
        }
      }
    },
  };
}

function drawingOf(method: string): Method | undefined {
  return PACED_AS[method] ?? (Object.hasOwn(CALLS_PER_MINUTE, method) ? (method as Method) : undefined);
}
