/**
 * Slack as a place where people talk to agents: in threads of channels, in direct messages, and by `/centaur`.
 *
 * It promises that nothing is read that Slack has not signed, and nothing acknowledged that is not stored; that what was asked is asked of
 * the platform once, by whom the operator's rules let ask; that an answer is shown whole and once, within Slack's limits, whoever dies
 * meanwhile; that nothing an agent writes calls people who were not asked for, or pretends to lead elsewhere than it does; and that a vote
 * is handed on as Slack has signed it. It is a client of the public API, keeps nothing, and never votes.
 */
export { SettingsError } from '../chat/index.ts';
export { NotInSlack, startSlackBot } from './bot.ts';
export { readSlackSettings, type SlackSettings } from './settings.ts';
export { checkSetup } from './setup/checks.ts';
export { manifest } from './setup/manifest.ts';
