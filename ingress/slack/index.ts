/**
 * Slack as the place where people talk to agents. So far: what they see there.
 *
 * It promises that an answer is shown whole and once, within Slack's limits, however long it is and however often its writer
 * dies; that nothing an agent writes calls people who were not asked for, or pretends to lead elsewhere than it does. It
 * decides only, and calls nothing: whoever uses it makes the calls, keeps what was shown, and hands in the time.
 */
export { type RenderOptions } from './render/markdown.ts';
export { type SlackMessage, splitAnswer, type SplitAnswer } from './render/split.ts';
export { FRESH_PACE, type Method, noteCall, noteRetryAfter, type Pace } from './render/pace.ts';
export { nothingShown, recoverShown, type Shown, type ThreadMessage } from './render/shown.ts';
export { answered, type Next, type Place, planNext, planWorkspace, type Refused, refused, type Scene } from './render/stream.ts';
export { type Facts } from './render/words.ts';
export { createSlackCalls, SlackRefused, type SlackCalls, SlackSilent } from './calls.ts';
export { type Log, placeOfKey, PLATFORM, type Self, type SlackContext, type SlackDelivery, threadKeyOf, userIdOf } from './context.ts';
export { NotInSlack, startSlackBot, type SlackBot } from './bot.ts';
export { TURN_ACTIONS } from './render/buttons.ts';
export { showTurns } from './show/index.ts';
export { type Heard, type Raw, type Signed } from './heard.ts';
export {
  type ChannelRules,
  readSlackSettings,
  rulesOf,
  SettingsError,
  SLACK_RULES,
  type SlackRules,
  type SlackSettings,
} from './settings.ts';
export { type Check, checkSetup } from './setup/checks.ts';
export { manifest } from './setup/manifest.ts';
