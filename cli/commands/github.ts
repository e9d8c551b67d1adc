/** The bot for GitHub: a process of its own, and what has to be set for it. */
import { randomBytes } from 'node:crypto';
import type { Command } from 'commander';
import { CentaurApiError } from '@centaur/sdk';
import { connect } from '../api.ts';
import { examples, withJson } from '../arguments.ts';
import { EXIT, HintedError, UsageError } from '../exit.ts';
import { createLog } from '../log.ts';
import { note, paint, print, printable, printJson } from '../output.ts';

const ENVIRONMENT = `
Environment:
  GITHUB_BOT_TOKEN           a token of a machine account, or else, for an app:
  GITHUB_APP_ID, GITHUB_APP_PRIVATE_KEY, _FILE
  GITHUB_WEBHOOK_SECRET      with which GitHub signs; "centaur github setup" makes one
  GITHUBBOT_API_KEY          the bot's key to the platform; "centaur github key" makes one
  CENTAUR_API_URL            where the platform answers (default http://127.0.0.1:8080)
  GITHUB_BOT_HOST, _PORT     where webhooks are taken (default 127.0.0.1, 8084)
  GITHUB_API_URL             of an Enterprise Server, such as https://github.example.com/api/v3
  CENTAUR_CONFIG             rules in the section github (default ./centaur.yaml)
  CENTAUR_LOG, CENTAUR_LOG_LEVEL  as of the servers`;

/** What the bot does at the platform. */
const SCOPES = ['threads.read', 'threads.write', 'deliveries.claim', 'inbox.use', 'chats.use'];

export function addGitHub(program: Command): void {
  const github = program.command('github');
  examples(
    github
      .description('Run the bot for GitHub: people mention it in issues and pull requests, and get their answers there.')
      .action(run)
      .addHelpText('after', ENVIRONMENT),
    'GITHUB_BOT_TOKEN=github_pat_… GITHUB_WEBHOOK_SECRET=… GITHUBBOT_API_KEY=… centaur github',
  );

  const setup = github
    .command('setup')
    .description('Say what has to be set at GitHub, and check all that is set here.')
    .option('--url <address>', 'where GitHub reaches the bot, such as https://centaur.example.com')
    .action(runSetup);
  examples(withJson(setup), 'centaur github setup --url https://centaur.example.com');

  const key = github
    .command('key')
    .description('Make the bot’s API key and print it, this once. This needs an admin key.')
    .action(async (options: { readonly json?: true }) => {
      const created = await makeKey();
      if (options.json) return printJson(created);
      note(`made ${created.key_id} (${created.scopes.join(', ')}); it is shown this once:`);
      print(created.key);
    });
  examples(withJson(key), 'GITHUBBOT_API_KEY=$(centaur github key)');
}

async function makeKey() {
  const name = 'GitHub bot';
  try {
    return await connect().createKey({ name, scopes: SCOPES });
  } catch (error) {
    // a platform that is older than the bot knows no chats.use
    if (!(error instanceof CentaurApiError) || error.code !== 'INVALID_REQUEST') throw error;
    return connect().createKey({ name, scopes: SCOPES.filter((scope) => scope !== 'chats.use') });
  }
}

async function readSettings() {
  const [{ loadConfig, readConfigFile }, { readGitHubSettings }] = await Promise.all([
    import('@centaur/kernel/config'),
    import('@centaur/ingress/github'),
  ]);
  const config = loadConfig(process.env);
  const section = config.configFile === undefined ? undefined : readConfigFile(config.configFile).chats.github;
  return { config, read: () => readGitHubSettings(process.env, section) };
}

async function run(): Promise<void> {
  const [{ startGitHubBot, WEBHOOK_PATH }, { untilStopped }, { config, read }] = await Promise.all([
    import('@centaur/ingress/github'),
    import('../serve/signals.ts'),
    readSettings(),
  ]);
  const { logLevel: level, logFormat } = config;
  const log = createLog({ level, component: 'github', ...(logFormat === undefined ? {} : { pretty: logFormat === 'text' }) });
  const settings = read();
  const bot = await startGitHubBot(settings, log);
  const stopped = untilStopped((signal) => log({ level: 'info', message: 'stopping', signal }));
  const address = `http://${settings.listen.host}:${bot.port}${WEBHOOK_PATH}`;
  try {
    const self = await Promise.race([bot.ready, stopped]);
    if (self !== undefined) print(`Centaur on GitHub is up\n  Account   @${self.name}\n  Webhooks  ${address}`);
    await stopped;
  } catch (error) {
    if (error instanceof Error && error.name === 'GitHubRefused')
      throw new HintedError(`GitHub refuses the credentials: ${error.message}`, 'centaur github setup says what is wrong.');
    throw error;
  } finally {
    await bot.close();
  }
  process.exit(EXIT.ok);
}

async function runSetup(options: { readonly url?: string; readonly json?: true }): Promise<void> {
  const { appManifest, checkSetup, EVENTS, PERMISSIONS, SettingsError, WEBHOOK_PATH } = await import('@centaur/ingress/github');
  const base = options.url === undefined ? undefined : URL.parse(options.url);
  if (base === null || (base !== undefined && !/^https?:$/.test(base.protocol)))
    throw new UsageError('--url: expected an address such as https://centaur.example.com');
  const url = base === undefined ? undefined : new URL(WEBHOOK_PATH, base).href;
  const { read } = await readSettings();
  const checks = await (async () => {
    try {
      return await checkSetup(read(), url);
    } catch (error) {
      if (!(error instanceof SettingsError)) throw error;
      return error.problems.map((message) => ({ what: 'settings', ok: false, message }));
    }
  })();
  const shown = url ?? `https://<where GitHub reaches the bot>${WEBHOOK_PATH}`;
  const manifest = appManifest(url ?? `https://centaur.example.com${WEBHOOK_PATH}`);
  if (options.json)
    printJson({ webhook: { url: shown, content_type: 'application/json', events: EVENTS }, permissions: PERMISSIONS, manifest, checks });
  else {
    const permissions = Object.entries(PERMISSIONS).map(([name, access]) => `${name}: ${access}`);
    print(
      [
        'At GitHub, for a machine account:',
        `  token     fine-grained, with ${permissions.join(', ')}`,
        `  webhook   ${shown}`,
        '            content type application/json, and the secret GITHUB_WEBHOOK_SECRET',
        `  events    ${EVENTS.join(', ')}`,
        '',
        'or for an app, this manifest (docs.github.com, "Registering a GitHub App from a manifest"):',
        JSON.stringify(manifest, null, 2),
        '',
        `A secret, if you have none yet: ${randomBytes(24).toString('base64url')}`,
        '',
        'Here:',
        ...checks.map(
          ({ what, ok, message }) => `  ${ok ? paint('green', 'ok   ') : paint('red', 'wrong')} ${printable(what)}: ${printable(message)}`,
        ),
      ].join('\n'),
    );
  }
  if (checks.some(({ ok }) => !ok)) process.exitCode = EXIT.failed;
}
