/** The bot as a whole: webhooks into the inbox, what was heard acted on, turns shown. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { hostname } from 'node:os';
import type { AddressInfo } from 'node:net';
import { consume, createApi, ending, pause } from '../chat/index.ts';
import { actOn } from './act/index.ts';
import { createGitHubCalls, type GitHubCalls, GitHubRefused } from './calls.ts';
import { type GitHubContext, type Log, PLATFORM, type Self } from './context.ts';
import { createReceiver } from './receive/http.ts';
import type { GitHubSettings } from './settings.ts';
import { showTurns } from './show/index.ts';

export interface GitHubBot {
  readonly port: number;
  /** Resolves when it knows who it is, and works. @throws GitHubRefused when its credentials are refused */
  readonly ready: Promise<Self>;
  /** Takes nothing more, and ends what is under way, or leaves it to the next process. */
  close(): Promise<void>;
}

/** Events that are acted on at a time. */
const MOST = 20;
const GRACE_MS = 10_000;
const LONGEST_PAUSE_MS = 30_000;

export async function startGitHubBot(settings: GitHubSettings, log: Log, now: () => number = Date.now): Promise<GitHubBot> {
  const stopping = new AbortController();
  // what is being acted on may come to its end
  const over = new AbortController();
  const api = createApi({ url: settings.apiUrl, apiKey: settings.apiKey });
  const github = createGitHubCalls({ auth: settings.auth, apiUrl: settings.githubApiUrl, now });
  let self: Self | undefined;
  const server = createReceiver({ secret: settings.webhookSecret, rules: settings.rules, inbox: api.inbox, self: () => self, log });
  server.listen(settings.listen.port, settings.listen.host);
  await once(server, 'listening');

  let work: Promise<unknown> = Promise.resolve();
  const begin = async (): Promise<Self> => {
    self = await whoAmI(github, log, stopping.signal);
    const context: GitHubContext = {
      settings,
      api,
      github,
      self,
      consumerId: `${hostname()}-${process.pid}-${randomBytes(4).toString('hex')}`,
      log,
      now,
    };
    work = Promise.all([
      consume({
        inbox: api.inbox,
        platform: PLATFORM,
        consumerId: context.consumerId,
        most: MOST,
        signal: stopping.signal,
        act: (event) => actOn(context, event, over.signal),
        onTrouble: ({ error, event }) =>
          log({
            level: 'warn',
            message: 'an event could not be acted on',
            error: error.message,
            ...(event === undefined ? {} : { event_id: event.event_id }),
          }),
      }),
      showTurns(context, stopping.signal),
    ]);
    return self;
  };
  const ready = begin();
  // whoever waits for it hears of it
  ready.catch(() => {});

  return {
    port: (server.address() as AddressInfo).port,
    ready,
    async close() {
      stopping.abort();
      const grace = setTimeout(() => over.abort(), GRACE_MS);
      server.closeIdleConnections();
      await Promise.all([new Promise((resolve) => server.close(resolve)), ready.then(() => work).catch(() => {})]);
      clearTimeout(grace);
    },
  };
}

/** As long as GitHub is away, it is asked again. */
async function whoAmI(github: GitHubCalls, log: Log, signal: AbortSignal): Promise<Self> {
  for (let tries = 0; ; tries++) {
    try {
      return await Promise.race([github.self(signal), ending(signal).then(() => Promise.reject(new Error('stopped')))]);
    } catch (error) {
      if (error instanceof GitHubRefused || signal.aborted) throw error;
      log({ level: 'warn', message: 'GitHub could not be asked who we are', error: (error as Error).message });
      await pause(Math.min(LONGEST_PAUSE_MS, 500 * 2 ** tries), signal);
    }
  }
}
