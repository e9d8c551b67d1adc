/** The bot in this process, between an emulated Slack and a real API whose turns a test scripts. */
import { startSlackBot, type SlackBot } from '../../ingress/slack/bot.ts';
import type { Log } from '../../ingress/slack/context.ts';
import { readSlackSettings, type SlackSettings } from '../../ingress/slack/settings.ts';
import { startTestApi, type TestApi } from './api.ts';
import { type Slack, type SlackOptions, startSlack } from './slack/index.ts';
import { createTestThreads, type TestThreads } from './threads.ts';

export const BOT_SCOPES = ['threads.read', 'threads.write', 'deliveries.claim', 'inbox.use', 'events.emit', 'workflows:*', 'chats.use'];

export interface TestBotPlace extends AsyncDisposable {
  readonly slack: Slack;
  readonly threads: TestThreads;
  readonly api: TestApi;
  readonly settings: SlackSettings;
  readonly logs: Parameters<Log>[0][];
  /** One more; it is pointed at. */
  start(more?: Partial<SlackSettings>): Promise<SlackBot>;
}

/**
 * Its Slack waits longer than the three seconds of the real one: what is late only because the machine is busy would come twice.
 *
 * @param section `slack` of centaur.yaml
 */
export async function createBotPlace(options: SlackOptions & { readonly section?: object } = {}): Promise<TestBotPlace> {
  await using stack = new AsyncDisposableStack();
  const threads = stack.use(await createTestThreads());
  const api = stack.use(await startTestApi({ on: threads.engine, threads: threads.threads, vault: 'alone' }));
  const slack = stack.use(await startSlack({ rateLimits: 'counted', ackMs: 30_000, ...options }));
  const environment = {
    SLACK_BOT_TOKEN: slack.botToken,
    SLACK_SIGNING_SECRET: slack.signingSecret,
    ...(options.delivery === 'socket' ? { SLACK_APP_TOKEN: slack.appToken } : {}),
    SLACK_API_URL: slack.apiUrl,
    SLACK_PORT: '0',
    CENTAUR_API_URL: api.url,
    SLACKBOT_API_KEY: await api.keyWith(...BOT_SCOPES),
  };
  const settings = readSlackSettings(environment, options.section);
  const logs: TestBotPlace['logs'] = [];
  const bots = stack.use(new AsyncDisposableStack());
  const rest = stack.move();
  return {
    slack,
    threads,
    api,
    settings,
    logs,
    async start(more = {}) {
      const bot = await startSlackBot({ ...settings, ...more }, (entry) => logs.push(entry));
      bots.defer(() => bot.close());
      if (options.delivery !== 'socket') slack.pointAt(`${bot.url}/api/webhooks/slack`);
      await bot.ready;
      return bot;
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  };
}
