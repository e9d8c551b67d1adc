/** The real `centaur github` in a process of its own, between the emulated GitHub and a real API, with turns that a test scripts. */
import { setTimeout as sleep } from 'node:timers/promises';
import { startTestApi } from '../api.ts';
import { createPlace, type Place, type Running } from '../cli.ts';
import { createTestThreads, type TestThreads } from '../threads.ts';
import { eventually } from '../wait.ts';
import { type TestGitHub, WEBHOOK_SECRET } from './index.ts';

export interface BotPlace extends AsyncDisposable {
  readonly t: TestThreads;
  /** Commands see what the bot sees. */
  readonly place: Place;
  /** An admin's. */
  readonly adminKey: string;
  /** Webhooks go to it. */
  startBot(): Promise<Running & { readonly url: string }>;
}

export const LONG = { timeoutMs: 200_000 };

export async function startBotPlace(github: TestGitHub, env: Readonly<Record<string, string>>): Promise<BotPlace> {
  const t = await createTestThreads();
  const api = await startTestApi({ threads: t.threads, on: t.engine, vault: 'alone' });
  const place = createPlace({
    CENTAUR_API_URL: api.url,
    GITHUBBOT_API_KEY: await api.keyWith('threads.read', 'threads.write', 'deliveries.claim', 'inbox.use', 'chats.use'),
    GITHUB_API_URL: github.url,
    GITHUB_WEBHOOK_SECRET: WEBHOOK_SECRET,
    GITHUB_BOT_PORT: '0',
    CENTAUR_LOG_LEVEL: 'debug',
    ...env,
  });
  return {
    t,
    place,
    adminKey: await api.keyWith('admin'),
    async startBot() {
      const running = place.start(['github']);
      await eventually(() => running.output.stdout.includes('is up') || running.child.exitCode !== null, { ...LONG, what: 'the bot' });
      const [, url] = /Webhooks +(\S+)/.exec(running.output.stdout) ?? [];
      if (url === undefined) throw new Error(`centaur github ended: ${running.output.stderr}`);
      github.pointAt(url);
      return { ...running, url };
    },
    async [Symbol.asyncDispose]() {
      await place[Symbol.asyncDispose]();
      await api[Symbol.asyncDispose]();
      await t[Symbol.asyncDispose]();
    },
  };
}

/** As `eventually`, but emulate counts what is read, and has enough of it one day. */
export function until<T>(check: () => Promise<T>, what: string): Promise<NonNullable<T>> {
  const calmly = async (): Promise<T> => {
    const value = await check();
    if (value === undefined || value === null || value === false) await sleep(250);
    return value;
  };
  return eventually(calmly, { ...LONG, what });
}
