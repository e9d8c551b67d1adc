/** The bot of the fault test, in processes that are killed: the real one, as `centaur slack` starts it. */
import { startSlackBot } from '../../../ingress/slack/bot.ts';
import { readSlackSettings } from '../../../ingress/slack/index.ts';

const bot = await startSlackBot(readSlackSettings(process.env, {}), ({ level, message, ...more }) => {
  if (level === 'error' || process.env['FAULT_LOUD'] !== undefined) console.error(message, JSON.stringify(more));
});
process.on('disconnect', () => process.exit(0));
await bot.ready;
process.send?.('up');
await bot.ended;
