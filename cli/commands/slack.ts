/** The Slack bot: running it, and setting it up. */
import type { Command } from 'commander';
import { connect } from '../api.ts';
import { examples, withJson } from '../arguments.ts';
import { readPlace } from '../access.ts';
import { EXIT, UsageError } from '../exit.ts';
import { createLog } from '../log.ts';
import { note, paint, print, printJson, printable } from '../output.ts';
import { SLACK_KEY, SLACK_SCOPES } from '../serve/slack-child.ts';

const ENVIRONMENT = `
Environment:
  SLACK_BOT_TOKEN       the bot token of the app, which begins with xoxb-
  SLACK_SIGNING_SECRET  for events over HTTP, which Slack signs with it
  SLACK_APP_TOKEN       for Socket Mode, in place of an address that Slack reaches; begins with xapp-
  SLACKBOT_API_KEY      the bot's own key of the API (default CENTAUR_HOME/slackbot.key)
  CENTAUR_API_URL       where the API answers (default http://127.0.0.1:8080)
  SLACK_HOST, SLACK_PORT  where events are listened for (default 127.0.0.1, 8083)
  SLACK_API_URL         Slack's Web API (default https://slack.com/api)
  CENTAUR_CONFIG        what is decided about channels and people: the section slack (default ./centaur.yaml)
"centaur up" with these tokens starts the bot by itself.`;

const OTHER_SCOPES = `
The key may: ${SLACK_SCOPES.join(', ')}.`;

export function addSlack(program: Command): void {
  const slack = program
    .command('slack')
    .description('Run the Slack bot: a process of its own, which asks the API as anyone does.')
    .action(start)
    .addHelpText('after', ENVIRONMENT);
  examples(
    slack,
    'SLACK_BOT_TOKEN=xoxb-… SLACK_SIGNING_SECRET=… centaur slack',
    'SLACK_BOT_TOKEN=xoxb-… SLACK_APP_TOKEN=xapp-… centaur slack',
  );

  const setup = slack
    .command('setup')
    .description('Print the manifest of the Slack app, and check whatever is set up by now. Exit code 1 when something is wrong.')
    .option('--url <url>', 'where Slack reaches the platform (default CENTAUR_PUBLIC_URL)')
    .option('--socket', 'for Socket Mode: Slack reaches nothing here')
    .option('--no-manifest', 'only check')
    .action(setUp);
  examples(
    withJson(setup),
    'centaur slack setup --url https://centaur.example.com',
    'centaur slack setup --socket',
    'centaur slack setup --no-manifest',
  );

  const key = slack
    .command('key')
    .description("Make the bot's own API key. This needs an admin key.")
    .option('--save', 'keep it in CENTAUR_HOME, where "centaur slack" finds it, and do not print it')
    .action(makeKey)
    .addHelpText('after', OTHER_SCOPES);
  examples(withJson(key), 'centaur slack key --save', 'SLACKBOT_API_KEY=$(centaur slack key)');
}

async function start(): Promise<void> {
  // only here: the other commands start faster without
  const [{ loadConfig }, { createScrubber, secretsOfEnvironment }, { serveSlack, slackSettings }] = await Promise.all([
    import('@centaur/kernel/config'),
    import('@centaur/kernel/firewall/scrub'),
    import('../serve/slack.ts'),
  ]);
  try {
    const config = loadConfig(process.env);
    const settings = slackSettings(config, process.env);
    const scrubber = createScrubber(secretsOfEnvironment({ ...process.env, SLACKBOT_API_KEY: settings.apiKey }));
    const { logLevel: level, logFormat } = config;
    const pretty = logFormat === undefined ? {} : { pretty: logFormat === 'text' };
    const log = createLog({ level, component: 'slack', scrub: scrubber.scrub, ...pretty });
    await serveSlack(settings, log, (url, name) =>
      process.stdout.write(
        `Centaur is in Slack as @${printable(name)}\n  ${settings.appToken === undefined ? `Events  ${url}/api/webhooks/slack` : 'Socket Mode'}\n`,
      ),
    );
  } catch (error) {
    // whoever started it says so, once
    if (process.send === undefined) throw error;
    const { message } = error as Error;
    await new Promise((resolve) => process.send?.({ failed: { message } }, resolve));
    process.exit(EXIT.failed);
  }
  process.exit(EXIT.ok);
}

interface SetupFlags {
  readonly url?: string;
  readonly socket?: true;
  readonly manifest: boolean;
  readonly json?: true;
}

const MARKS = { ok: ['green', 'ok'], wrong: ['red', 'wrong'], note: ['yellow', 'note'], 'left out': ['dim', '–'] } as const;

async function setUp(flags: SetupFlags): Promise<void> {
  const [{ loadConfig, readConfigFile }, { readBotKey }, { checkSetup, manifest }] = await Promise.all([
    import('@centaur/kernel/config'),
    import('@centaur/kernel/api/bot-key-file'),
    import('@centaur/ingress/slack'),
  ]);
  if (flags.url !== undefined && flags.socket) throw new UsageError('--url, --socket: give one of them');
  if (flags.url !== undefined && !/^https?:$/.test(URL.parse(flags.url)?.protocol ?? ''))
    throw new UsageError('--url: expected an address such as https://centaur.example.com');
  const config = loadConfig(process.env);
  const publicUrl = flags.socket ? undefined : (flags.url ?? process.env['CENTAUR_PUBLIC_URL']);
  const way = publicUrl === undefined ? 'socket' : { url: publicUrl };
  const app = manifest(way);
  const environment = {
    ...process.env,
    SLACKBOT_API_KEY: process.env['SLACKBOT_API_KEY'] || readBotKey(config.home, SLACK_KEY),
    CENTAUR_API_URL: config.apiUrl,
    ...(flags.socket ? { SLACK_SIGNING_SECRET: undefined } : {}),
  };
  const section = config.configFile === undefined ? undefined : readConfigFile(config.configFile).chats.slack;
  const isBegun = ['SLACK_BOT_TOKEN', 'SLACK_SIGNING_SECRET', 'SLACK_APP_TOKEN'].some((name) => (process.env[name] ?? '') !== '');
  const checks = isBegun ? await checkSetup({ environment, section, publicUrl }) : [];
  if (checks.some(({ state }) => state === 'wrong')) process.exitCode = EXIT.failed;
  if (flags.json) return printJson({ ...(flags.manifest ? { manifest: app } : {}), checks });
  if (flags.manifest) print(JSON.stringify(app, null, 2));
  if (!isBegun)
    return note(
      `Make the app at https://api.slack.com/apps ("From a manifest"), install it, and run this again with SLACK_BOT_TOKEN and ${
        way === 'socket' ? 'SLACK_APP_TOKEN' : 'SLACK_SIGNING_SECRET'
      }.`,
    );
  for (const { what, state, says, fix } of checks) {
    const [colour, mark] = MARKS[state];
    print(`${paint(colour, mark.padEnd(6))} ${what.padEnd(15)} ${printable(says)}`);
    if (fix !== undefined) print(`${' '.repeat(23)}${printable(fix)}`);
  }
}

async function makeKey(flags: { readonly save?: true; readonly json?: true }): Promise<void> {
  const created = await connect().createKey({ name: SLACK_KEY, scopes: SLACK_SCOPES });
  if (!flags.save) {
    if (flags.json) return printJson(created);
    note(`made ${created.key_id}; it is shown this once:`);
    return print(created.key);
  }
  const { botKeyFile, writeBotKey } = await import('@centaur/kernel/api/bot-key-file');
  const { home } = readPlace(process.env);
  writeBotKey(home, SLACK_KEY, created.key);
  const { key: _, ...told } = created;
  if (flags.json) return printJson({ ...told, file: botKeyFile(home, SLACK_KEY) });
  note(`made ${created.key_id}; it is kept in ${botKeyFile(home, SLACK_KEY)}`);
}
