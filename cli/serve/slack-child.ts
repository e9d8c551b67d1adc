/** The Slack bot beside `centaur up`: started, and kept up. Nothing of the bot is loaded here. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Log } from '../log.ts';

export const SLACK_KEY = 'slackbot';
/**
 * What the bot does; nothing of it lets a secret be seen or a key be made, nor, by itself, a person's vote be cast. Over HTTP the bot has Slack's signing
 * secret besides, and whoever has both can.
 */
export const SLACK_SCOPES = ['threads.read', 'threads.write', 'deliveries.claim', 'inbox.use', 'chats.use', 'events.emit', 'workflows:*'];

const COMMAND = fileURLToPath(new URL('../bin/centaur.js', import.meta.url));
const RESTART_MS = [100, 1000, 5000, 15_000, 60_000];
const STOP_MS = 25_000;
/** What the bot needs of the server's environment: what is Slack's, where its files and logs are, and how this machine reaches others. */
const FOR_BOTS =
  /^(?:SLACK_[A-Z_]+|CENTAUR_(?:CONFIG|HOME|LOG|LOG_LEVEL|OVERLAYS)|PATH|HOME|USER|TMPDIR|TZ|LANG|LC_[A-Z]+|NO_COLOR|NODE_EXTRA_CA_CERTS|NODE_OPTIONS|NODE_NO_WARNINGS|NODE_USE_ENV_PROXY|SSL_CERT_(?:FILE|DIR)|(?:https?|no|all)_proxy)$/i;

export function environmentForBots(environment: Readonly<NodeJS.ProcessEnv>): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => FOR_BOTS.test(name)));
}

export interface SlackChild {
  /** Where it listens; undefined while it does not. */
  url(): string | undefined;
  stop(): Promise<void>;
}

/** Starts a bot beside this process, and again whenever it ends. The platform is there without it, so nothing waits for it. */
export function keepSlackBot(of: { readonly apiUrl: string; readonly apiKey: string; readonly home: string }, log: Log): SlackChild {
  let stopping = false;
  let child: ChildProcess | undefined;
  let timer: NodeJS.Timeout | undefined;
  let restarts = 0;
  let url: string | undefined;
  let port: string | undefined;

  function start(): void {
    const inherited = environmentForBots(process.env);
    const own = {
      CENTAUR_API_URL: of.apiUrl,
      SLACKBOT_API_KEY: of.apiKey,
      CENTAUR_HOME: of.home,
      ...(port === undefined ? {} : { SLACK_PORT: port }),
    };
    const one = fork(COMMAND, ['slack'], { env: { ...inherited, ...own }, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    child = one;
    let problem: string | undefined;
    const began = performance.now();
    one.on('message', (message: { readonly ready?: string; readonly failed?: { readonly message: string } }) => {
      problem = message.failed?.message ?? problem;
      if (message.ready === undefined) return;
      url = message.ready;
      // the next one is found where this one was
      port = new URL(url).port;
    });
    one.once('exit', (code, signal) => {
      url = undefined;
      if (stopping) return;
      if (performance.now() - began > 120_000) restarts = 0;
      const delay = RESTART_MS[Math.min(restarts++, RESTART_MS.length - 1)] as number;
      log({ level: 'error', message: 'the Slack bot ended; it is started again', error: problem, exit_code: code, signal, in_ms: delay });
      timer = setTimeout(start, delay);
    });
  }

  start();
  return {
    url: () => url,
    async stop() {
      stopping = true;
      clearTimeout(timer);
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
      const ended = new Promise((resolve) => child?.once('exit', resolve));
      // a supervisor may have sent SIGTERM to all of us: a second one would end it in the middle of what it has to finish
      if (child.connected) child.disconnect();
      else child.kill('SIGTERM');
      const patience = setTimeout(() => child?.kill('SIGKILL'), STOP_MS);
      await ended;
      clearTimeout(patience);
    },
  };
}
