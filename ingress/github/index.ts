/**
 * GitHub as a place where people talk to agents: in comments on issues and pull requests, and in threads of review comments.
 *
 * It promises that nothing is read that GitHub has not signed; that who asks may ask; that what was asked is asked of the platform
 * once, however often GitHub says it; that a turn is shown in one comment which ends as the answer, whoever dies meanwhile; and that
 * GitHub is written to no faster than it allows. It is a client of the public API, keeps nothing, and never votes.
 */
export { startGitHubBot } from './bot.ts';
export { checkSetup } from './setup/checks.ts';
export { appManifest, EVENTS, PERMISSIONS } from './setup/manifest.ts';
export { WEBHOOK_PATH } from './receive/http.ts';
export { SettingsError } from '../chat/index.ts';
export { readGitHubSettings } from './settings.ts';
