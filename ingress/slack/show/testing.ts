/** What tests of showing share: a Slack, the platform with turns that a test scripts, and a bot that shows them. */
import { createClient } from '@centaur/sdk';
import { setTimeout as sleep } from 'node:timers/promises';
import { ADMIN, startTestApi, type TestApi } from '../../../test/support/api.ts';
import { type Slack, type SlackOptions, startSlack } from '../../../test/support/slack/index.ts';
import type { SeenMessage } from '../../../test/support/slack/seen.ts';
import { createTestThreads, type TestThreads } from '../../../test/support/threads.ts';
import { createSlackCalls } from '../calls.ts';
import { PLATFORM, type SlackContext, threadKeyOf, userIdOf } from '../context.ts';
import { readSlackSettings } from '../settings.ts';
import { showTurns } from './index.ts';

type Owner = Parameters<TestThreads['threads']['turns']['append']>[0];

/** What an agent does in a turn, as its events say it. */
export interface Agent {
  readonly executionId: string;
  say(text: string, messageId?: string): Promise<void>;
  /** A message is over, and the turn goes on. */
  comment(text: string, messageId?: string): Promise<void>;
  work(title: string): Promise<void>;
  /** A tool hands over a file. */
  attach(name: string, data: string): Promise<void>;
  /** Waits until the test says so. */
  until(what: Promise<unknown>): Promise<void>;
}

/** Answers with the answer; throws for a turn that fails. */
export type Script = (agent: Agent) => Promise<string>;

export interface Asked {
  readonly executionId: string;
  readonly threadKey: string;
  readonly channel: string;
  readonly ts: string;
  readonly threadTs: string;
}

export interface Bot extends AsyncDisposable {
  readonly context: SlackContext;
  readonly logs: Readonly<Record<string, unknown>>[];
  /** Drops everything where it is, as a death does: what was under way in Slack goes on there. */
  die(): void;
  /** Resolves when the platform has nothing of it in its hands any more. */
  silent(): Promise<void>;
}

export interface SlackPlace extends AsyncDisposable {
  readonly slack: Slack;
  readonly t: TestThreads;
  readonly api: TestApi;
  /** A person mentions the bot, and the turn is asked for. */
  ask(script: Script, options?: { readonly channel?: string; readonly in?: Asked; readonly text?: string }): Promise<Asked>;
  bot(options?: BotOptions): Bot;
  /** What the bot has said in the thread. */
  said(asked: Asked): readonly SeenMessage[];
  /** All that a person reads of them, as JSON. */
  read(asked: Asked): string;
  /** Until nothing is owed for any of them. @throws when one is given up */
  delivered(...asked: readonly Asked[]): Promise<void>;
  /** As if the leases of a bot that is dead had ended. */
  forget(bot: Bot): Promise<void>;
}

export interface BotOptions {
  readonly show?: 'stream' | 'edits';
  readonly clock?: { readonly now: () => number; readonly pause: (ms: number, signal: AbortSignal) => Promise<void> };
  readonly fetch?: typeof globalThis.fetch;
}

let bots = 0;
const LONGEST_MS = 240_000;

export async function startSlackPlace(options: SlackOptions = {}): Promise<SlackPlace> {
  await using stack = new AsyncDisposableStack();
  const slack = stack.use(await startSlack(options));
  const t = stack.use(await createTestThreads());
  const api = stack.use(await startTestApi({ threads: t.threads, on: t.engine }));
  const scripts = new Map<string, Script>();
  t.onTurn(async (owner, threads) => {
    const { metadata } = await threads.getExecution(owner.executionId);
    await play(owner, threads, scripts.get(String(metadata['script'])) ?? (async () => 'Nobody wrote what to say.'));
  });
  const rest = stack.move();
  const said = ({ channel, threadTs }: Asked): readonly SeenMessage[] =>
    slack.see.thread(channel, threadTs).filter((message) => message.by === slack.app.userId);

  return {
    said,
    read: (asked) => JSON.stringify(said(asked).map(({ text, blocks }) => [text, blocks])),
    slack,
    t,
    api,
    async ask(script, { channel = 'general', in: thread, text = 'hello' } = {}) {
      const ada = slack.person('ada');
      const options = thread === undefined ? {} : { threadTs: thread.threadTs };
      const { channel: id, ts, threadTs } = ada.mention(channel, text, options);
      const threadKey = threadKeyOf(id, threadTs);
      const name = `script-${scripts.size}`;
      scripts.set(name, script);
      const { execution_id: executionId } = await createClient({ url: api.url, apiKey: ADMIN }).threads.send(threadKey, text, {
        executeId: `slack:${id}:${ts}`,
        userId: userIdOf(slack.team.id, ada.id),
        metadata: { script: name },
        delivery: { platform: PLATFORM, channel: id, thread_ts: threadTs, team: slack.team.id, user: ada.id, message_ts: ts },
      });
      return { executionId, threadKey, channel: id, ts, threadTs };
    },
    bot(botOptions) {
      const started = startBot(slack, api.url, botOptions);
      rest.defer(() => started[Symbol.asyncDispose]());
      return started;
    },
    async delivered(...asked) {
      for (const deadline = performance.now() + LONGEST_MS; ;) {
        const { rows } = await t.store.query<{ state: string; last_error: string | null }>(
          `select state, last_error from agent_final_delivery_outbox where execution_id = any($1::uuid[]) and state <> 'delivered'`,
          [asked.map(({ executionId }) => executionId)],
        );
        const [first] = rows;
        if (first === undefined) return;
        const dead = rows.find(({ state }) => state === 'dead_letter');
        if (dead !== undefined || performance.now() > deadline)
          throw new Error(`${rows.length} are not delivered: ${(dead ?? first).state}, ${(dead ?? first).last_error}`);
        await sleep(20);
      }
    },
    async forget({ context, silent }) {
      await silent();
      // a claim of its own that still waits in the API may take it before the API hears that nobody is there
      for (let held = true; held;) {
        await t.store.query('update agent_final_delivery_outbox set lease_expires_at = now() where lease_owner = $1', [context.consumerId]);
        await sleep(50);
        const { rows } = await t.store.query(
          'select 1 from agent_final_delivery_outbox where lease_owner = $1 and lease_expires_at > now()',
          [context.consumerId],
        );
        held = rows.length > 0;
      }
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  };
}

function startBot(slack: Slack, url: string, { show = 'stream', clock, fetch = globalThis.fetch }: BotOptions = {}): Bot {
  const settings = readSlackSettings(
    {
      SLACK_BOT_TOKEN: slack.botToken,
      SLACK_SIGNING_SECRET: slack.signingSecret,
      SLACK_API_URL: slack.apiUrl,
      CENTAUR_API_URL: url,
      SLACKBOT_API_KEY: ADMIN,
    },
    { show },
  );
  const now = clock?.now ?? Date.now;
  const logs: Bot['logs'] = [];
  const death = new AbortController();
  const underWay = new Set<Promise<unknown>>();
  const dying: typeof globalThis.fetch = async (input, init) => {
    // a dead process hears no answer, and asks nothing more
    if (death.signal.aborted) return new Promise(() => {});
    const asked = fetch(input, init);
    underWay.add(asked);
    const answer = await asked.finally(() => underWay.delete(asked));
    return death.signal.aborted ? new Promise(() => {}) : answer;
  };
  const calls = createSlackCalls({
    token: slack.botToken,
    apiUrl: slack.apiUrl,
    now,
    ...(clock === undefined ? {} : { pause: clock.pause }),
  });
  const context: SlackContext = {
    settings,
    api: createClient({ url, apiKey: ADMIN, fetch: dying }),
    slack: calls,
    self: {
      teamId: slack.team.id,
      userId: slack.app.userId,
      botId: slack.app.botId,
      appId: slack.app.appId,
      name: slack.app.name,
    },
    consumerId: `bot-${(bots += 1)}`,
    log: (entry) => logs.push(entry),
    now,
  };
  const stop = new AbortController();
  const running = showTurns(context, stop.signal);
  return {
    context,
    logs,
    die() {
      death.abort();
      stop.abort();
    },
    async silent() {
      await Promise.allSettled(underWay);
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      // of a dead one nothing ever ends
      if (!death.signal.aborted) await running;
    },
  };
}

async function play(owner: Owner, threads: TestThreads['threads'], script: Script): Promise<void> {
  const { executionId } = owner;
  const append = (kind: string, data: Readonly<Record<string, unknown>>) =>
    threads.turns.append(owner, [{ kind, data: { type: kind, execution_id: executionId, ...data } }]);
  await threads.turns.begin(owner);
  await append('turn.started', {});
  let steps = 0;
  const agent: Agent = {
    executionId,
    say: (text, message_id = 'm') => append('text.delta', { message_id, text }),
    comment: (text, message_id = 'm') => append('message', { message_id, content: [{ type: 'text', text }], phase: 'commentary' }),
    async work(title) {
      const id = `t${(steps += 1)}`;
      await append('tool_use', { id, name: 'Bash', input: { command: title } });
      await append('tool_result', { id, content: [], is_error: false });
    },
    attach: async (name, data) => void (await threads.attach(owner.threadKey, { name, mimeType: 'text/plain', data: Buffer.from(data) })),
    until: async (what) => void (await what),
  };
  try {
    const resultText = await script(agent);
    await append('message', { message_id: 'last', content: [{ type: 'text', text: resultText }], phase: 'final' });
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText });
  } catch (error) {
    await threads.turns.finish(owner, {
      status: 'failed_permanent',
      reason: 'harness_error',
      resultText: '',
      errorText: (error as Error).message,
    });
  }
}
