/**
 * The bot: one process between Slack and the platform's API. It hears (receive), acts (dispatch) and shows (show, approvals), and keeps
 * nothing of its own: several may run side by side, and any may die.
 */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { CentaurApiError } from '@centaur/sdk';
import { consume, createApi, Hopeless, pause, within } from '../chat/index.ts';
import { openAtOnce, showApprovals } from './approvals/index.ts';
import { createSlackCalls, SlackRefused } from './calls.ts';
import { type Log, PLATFORM, type Self, type SlackContext } from './context.ts';
import { dispatch } from './dispatch.ts';
import { listen } from './receive/http.ts';
import { type Ears, keep } from './receive/keep.ts';
import { openSocket, type Socket } from './receive/socket.ts';
import { showTurns } from './show/index.ts';
import type { SlackSettings } from './settings.ts';

export interface SlackBot {
  /** Where it listens: for Slack, and for whoever asks how it is. */
  readonly url: string;
  /** Resolves when Slack has said who we are and everything runs. @throws NotInSlack when it will not let us in */
  readonly ready: Promise<Self>;
  /** Rejects when a part of it has ended that should not have: then this process is of no use. Resolves when it was closed. */
  readonly ended: Promise<void>;
  /** Takes nothing more, and ends what is under way; what is left is the next process's. */
  close(): Promise<void>;
}

/** Slack refuses the token, and will refuse it again. */
export class NotInSlack extends Error {
  override readonly name = 'NotInSlack';
  /** Such as `invalid_auth`. */
  readonly code: string;
  constructor(code: string) {
    super(`Slack does not take SLACK_BOT_TOKEN: ${code}`);
    this.code = code;
  }
}

/** Conversations at a time. Few enough that events which come meanwhile are stored, and acknowledged, between them. */
const ACT_MOST = 12;
const LONGEST_PAUSE_MS = 10_000;
/** How long what was asked of the API about its health is believed. */
const HEALTH_MS = 1_000;
const ANSWER_MS = 2_000;
const CLOSE_MS = 10_000;
/** What Slack says of tokens that are none. */
const NO_TOKEN = [
  'invalid_auth',
  'not_authed',
  'account_inactive',
  'token_revoked',
  'token_expired',
  'missing_scope',
  'not_allowed_token_type',
];

/** @throws the error of `listen`, such as EADDRINUSE */
export async function startSlackBot(settings: SlackSettings, log: Log): Promise<SlackBot> {
  const now = Date.now;
  const stopping = new AbortController();
  const { signal } = stopping;
  const api = createApi({ url: settings.apiUrl, apiKey: settings.apiKey });
  const slack = createSlackCalls({ token: settings.botToken, apiUrl: settings.slackApiUrl, now });
  const consumerId = `slack:${hostname()}:${process.pid}:${randomBytes(4).toString('hex')}`;
  let context: SlackContext | undefined;
  let socket: Socket | undefined;
  const ears: Ears = { context: () => context, openAtOnce };
  const hear: Parameters<typeof listen>[0]['hear'] = (told) => keep(told, ears);

  const health = createHealth(async () => {
    await api.threads.list({ limit: 1 });
  }, now);
  const door = await listen({
    host: settings.host,
    port: settings.port,
    // with Socket Mode nobody but Slack's own line is heard
    signingSecret: settings.appToken === undefined ? settings.signingSecret : undefined,
    hear,
    async problem() {
      if (context === undefined) return 'Slack has not said yet who we are';
      if (socket !== undefined && !socket.isOpen()) return 'there is no line to Slack (Socket Mode)';
      return health();
    },
    log,
    now,
  });

  const parts: Promise<void>[] = [];
  const failed = Promise.withResolvers<never>();
  // whoever does not wait for it must not die of it
  failed.promise.catch(() => {});
  const run = (name: string, part: Promise<void>): void => {
    parts.push(part.catch(() => {}));
    part.then(
      () => {
        if (!signal.aborted) failed.reject(new Error(`${name} ended by itself`));
      },
      (error: Error) => failed.reject(error),
    );
  };

  const ready = identify(slack, signal, log).then((self) => {
    if (signal.aborted) return self;
    const known: SlackContext = { settings, api, slack, self, consumerId, log, now };
    context = known;
    if (settings.appToken !== undefined) {
      socket = openSocket({ appToken: settings.appToken, slackApiUrl: settings.slackApiUrl, hear, log, signal });
      run('Socket Mode', socket.ended);
    }
    run(
      'acting',
      consume({
        inbox: api.inbox,
        platform: PLATFORM,
        consumerId,
        most: ACT_MOST,
        signal,
        act: (event) => dispatch(known, event),
        onTrouble: ({ error, event }) =>
          log({
            level: error instanceof Hopeless || event === undefined ? 'warn' : 'error',
            message: event === undefined ? 'the inbox could not be asked' : 'an event could not be acted on',
            event_id: event?.event_id,
            attempt: event?.attempt_count,
            error: error.message,
          }),
      }),
    );
    run('showing turns', showTurns(known, signal));
    run('showing approvals', showApprovals(known, signal));
    log({ level: 'info', message: 'in Slack', team: self.teamId, user: self.userId, name: self.name, app: self.appId });
    return self;
  });
  ready.catch(() => {});

  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    // what is being heard is stored and acknowledged first
    await within(door.close(), CLOSE_MS);
    stopping.abort();
    await within(Promise.all([...parts, ready.catch(() => {})]), CLOSE_MS);
  };
  const closed = Promise.withResolvers<void>();
  return {
    url: door.url,
    ready,
    ended: Promise.race([failed.promise, closed.promise]),
    close: () => (closing ??= close().finally(() => closed.resolve())),
  };
}

/** Asks until Slack answers. */
async function identify(slack: SlackContext['slack'], signal: AbortSignal, log: Log): Promise<Self> {
  for (let failures = 0; ; failures++) {
    signal.throwIfAborted();
    try {
      const who = await slack.call<Readonly<Record<string, string | undefined>>>('auth.test', {}, { signal });
      const { team_id: teamId = '', user_id: userId = '', bot_id: botId = '', user: name = '' } = who;
      return { teamId, userId, botId, name, appId: who['app_id'] ?? (await appOf(slack, botId, signal)) };
    } catch (error) {
      if (signal.aborted) throw error;
      if (error instanceof SlackRefused && NO_TOKEN.includes(error.code)) throw new NotInSlack(error.code);
      log({ level: 'warn', message: 'Slack does not say who we are; asking again', error: (error as Error).message });
      await pause(Math.min(LONGEST_PAUSE_MS, 500 * 2 ** failures), signal);
    }
  }
}

/** `auth.test` does not name the app. Without the scope for asking, what we say is known by user and bot alone. */
async function appOf(slack: SlackContext['slack'], botId: string, signal: AbortSignal): Promise<string | undefined> {
  try {
    const { bot } = await slack.call<{ readonly bot?: { readonly app_id?: string } }>('bots.info', { bot: botId }, { signal });
    return bot?.app_id;
  } catch (error) {
    if (error instanceof SlackRefused) return undefined;
    throw error;
  }
}

/** Whether the platform answers, asked at most once a second however often we are. */
function createHealth(ask: () => Promise<void>, now: () => number): () => Promise<string | undefined> {
  let known: { readonly until: number; readonly problem: Promise<string | undefined> } | undefined;
  return () => {
    if (known !== undefined && known.until > now()) return known.problem;
    const asked = ask().then(
      () => undefined,
      (error: Error) => `the platform refuses: ${error instanceof CentaurApiError ? error.code : 'no answer'}`,
    );
    const problem = within(asked, ANSWER_MS).then((told) => (told === 'late' ? 'the platform does not answer' : told));
    known = { until: now() + HEALTH_MS, problem };
    return problem;
  };
}
