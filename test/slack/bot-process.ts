/** A bot in a process of its own, to be killed: `SLACK_RULES` is the section `slack` of centaur.yaml, as JSON. Prints where it listens. */
import { startSlackBot } from '../../ingress/slack/bot.ts';
import { readSlackSettings } from '../../ingress/slack/settings.ts';

const rules: unknown = JSON.parse(process.env['SLACK_RULES'] ?? '{}');
const bot = await startSlackBot(readSlackSettings(process.env, rules), () => {});
await bot.ready;
console.log(bot.url);
await bot.ended;
