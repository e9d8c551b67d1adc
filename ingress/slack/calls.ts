/**
 * Calling Slack's Web API at the pace that it allows: one pace for the process, of which drawing turns knows, and for which everything
 * else waits. The library's own retries are off: whether a call may be made twice is for its caller to say.
 */
import { ErrorCode, WebClient } from '@slack/web-api';
import { pause } from '../chat/index.ts';
import { FRESH_PACE, type Method, noteCall, noteRetryAfter, type Pace, readyAt } from './render/pace.ts';
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
  /** A call that was planned by the pace: made at once. @throws as `call`; SlackRefused `ratelimited` too, after the pace has noted it */
  draw(method: Exclude<Method, 'files.upload'>, args: Arguments): Promise<{ readonly ts?: string }>;
  /** How fast it may be called, as of now. */
  pace(): Pace;
  /** For what neither `call` nor `draw` can do, such as files: its calls are not paced. */
  readonly client: WebClient;
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
  'files.info': 100,
  'reactions.add': 50,
  'reactions.remove': 20,
  'users.info': 100,
  'views.open': 100,
  'views.publish': 50,
  'views.update': 100,
};
const channelOf = (args: Arguments): string => (typeof args['channel'] === 'string' ? args['channel'] : '');

const TIER_2 = 20;
const TRIES = 6;
const TIMEOUT_MS = 30_000;

export function createSlackCalls(of: { readonly token: string; readonly apiUrl: string; readonly now: () => number }): SlackCalls {
  const client = new WebClient(of.token, {
    slackApiUrl: of.apiUrl,
    retryConfig: { retries: 0 },
    rejectRateLimitedCalls: true,
    timeout: TIMEOUT_MS,
    // its own log would tell what people wrote
    logger: { debug() {}, info() {}, warn() {}, error() {}, setLevel() {}, getLevel: () => 'error' as never, setName() {} },
  });
  let pace = FRESH_PACE;
  /** Of what is not drawn: when each method was called in the last minute, and until when Slack does not want to hear of it. */
  const others = new Map<string, { calls: number[]; pausedUntil: number }>();

  const isDrawing = (method: string): method is Method => Object.hasOwn(CALLS_PER_MINUTE, method);

  /** Takes the place of this call; undefined, or when to ask again. */
  function take(method: string, channel: string): number | undefined {
    const now = of.now();
    if (isDrawing(method)) {
      const ready = readyAt(pace, method, channel, now);
      if (ready > now) return ready;
      pace = noteCall(pace, method, channel, now);
      return undefined;
    }
    const known = others.get(method) ?? { calls: [], pausedUntil: 0 };
    others.set(method, known);
    known.calls = known.calls.filter((at) => now - at < 60_000);
    const most = PER_MINUTE[method] ?? TIER_2;
    const free = known.calls.length < most ? now : (known.calls[known.calls.length - most] as number) + 60_000;
    const ready = Math.max(free, known.pausedUntil);
    if (ready > now) return ready;
    known.calls.push(now);
    return undefined;
  }

  function pauseFor(method: string, seconds: number): void {
    const now = of.now();
    if (isDrawing(method)) pace = noteRetryAfter(pace, method, seconds, now);
    else others.set(method, { calls: others.get(method)?.calls ?? [], pausedUntil: now + Math.max(1, seconds) * 1000 });
  }

  async function ask<Answer>(method: string, args: Arguments): Promise<Answer> {
    try {
      return (await client.apiCall(method, args)) as Answer;
    } catch (error) {
      const told = error as {
        code?: string;
        retryAfter?: number;
        statusCode?: number;
        data?: { error?: string; response_metadata?: { messages?: string[] } };
      };
      if (told.code === ErrorCode.RateLimitedError) {
        pauseFor(method, told.retryAfter ?? 1);
        throw new SlackRefused(method, 'ratelimited');
      }
      if (told.code === ErrorCode.PlatformError)
        throw new SlackRefused(method, told.data?.error ?? 'unknown', told.data?.response_metadata?.messages ?? []);
      throw new SlackSilent(`${method}: ${told.statusCode === undefined ? 'no answer' : `status ${told.statusCode}`}`, { cause: error });
    }
  }

  return {
    client,
    pace: () => pace,
    async draw(method, args) {
      pace = noteCall(pace, method, channelOf(args), of.now());
      return ask(method, args);
    },
    async call<Answer>(method: string, args: Arguments, { signal = new AbortController().signal } = {}) {
      for (let tries = 1; ; tries++) {
        for (let at = take(method, channelOf(args)); at !== undefined; at = take(method, channelOf(args))) {
          await pause(at - of.now(), signal);
          signal.throwIfAborted();
        }
        try {
          return await ask<Answer>(method, args);
        } catch (error) {
          if (!(error instanceof SlackRefused) || error.code !== 'ratelimited' || tries >= TRIES) throw error;
        }
      }
    },
  };
}
