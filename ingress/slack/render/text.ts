/** What in a text would reach people through Slack, or be read as its markup. */

/** Joins words so that no line breaks there, and cannot be seen: what stands on both sides is no longer one token. */
const JOINER = '\u2060';

/** For `text` fields of Slack, where these three begin mentions, links and entities. */
export function escapeSlack(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** So that nobody is called: neither everyone in the channel, nor the members of a group, nor a person. Looks the same. */
export function withoutPings(text: string): string {
  return text.replace(/<(?=[@#][A-Z\d]|!(?:channel|here|everyone|subteam|date)\b)|@(?=channel\b|here\b|everyone\b)/gi, `$&${JOINER}`);
}

/** How much of a text that still grows can be said already: what may become a ping with its next characters is held back. */
export function settledLength(text: string): number {
  return text.length - (/(?:<(?:[@#]|![a-z]{0,8})?|@[a-z]{0,8}|[\ud800-\udbff])$/i.exec(text)?.[0].length ?? 0);
}
