/** `centaur slack`: the bot as a process of its own. */
import { type Config, readConfigFile } from '@centaur/kernel/config';
import { readBotKey } from '@centaur/kernel/api/bot-key-file';
import { NotInSlack, readSlackSettings, SettingsError, type SlackSettings, startSlackBot } from '@centaur/ingress/slack';
import { HintedError, UsageError } from '../exit.ts';
import type { Log } from '../log.ts';
import { SLACK_KEY } from './slack-child.ts';
import { tellLastWords } from './last-words.ts';
import { untilStopped } from './signals.ts';

const HINT = '"centaur slack setup" says what is missing, and what is wrong.';

/** The key of the environment, or else that of `centaur slack key` or `centaur up` on this machine. @throws UsageError */
export function slackSettings(config: Config, environment: NodeJS.ProcessEnv): SlackSettings {
  const apiKey = environment['SLACKBOT_API_KEY'] || readBotKey(config.home, SLACK_KEY);
  const section = config.configFile === undefined ? undefined : readConfigFile(config.configFile).chats.slack;
  try {
    return readSlackSettings({ ...environment, SLACKBOT_API_KEY: apiKey, CENTAUR_API_URL: config.apiUrl }, section);
  } catch (error) {
    if (error instanceof SettingsError) throw new UsageError(`${error.message}\n${HINT}`, { cause: error });
    throw error;
  }
}

/** Serves until it is told to stop, or until the process that started it is gone. */
export async function serveSlack(settings: SlackSettings, log: Log, onStarted: (url: string, name: string) => void): Promise<void> {
  tellLastWords(log);
  const bot = await startSlackBot(settings, log).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EADDRINUSE') throw error;
    throw new HintedError(
      `SLACK_PORT: ${settings.port} on ${settings.host} is in use by another program`,
      'Set SLACK_PORT to another one.',
    );
  });
  process.send?.({ ready: bot.url });
  const stopped = untilStopped((signal) => log({ level: 'info', message: 'stopping', signal }));
  const orphaned = new Promise<void>((resolve) => process.once('disconnect', resolve));
  try {
    const self = await Promise.race([bot.ready, stopped, orphaned]);
    if (self !== undefined) onStarted(bot.url, self.name);
    await Promise.race([bot.ended, stopped, orphaned]);
  } catch (error) {
    throw error instanceof NotInSlack ? new HintedError(error.message, HINT, { cause: error }) : error;
  } finally {
    await bot.close();
  }
}
