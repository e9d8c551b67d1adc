/** What in a text would reach people through Slack, or be read as its markup. */

/** Joins words so that no line breaks there, and cannot be seen: what stands on both sides is no longer one token. */
export const JOINER = '\u2060';

/** For `text` fields of Slack, where these three begin mentions, links and entities. */
export function escapeSlack(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** Of a text that Slack has sent. */
export function unescapeSlack(text: string): string {
  return text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&');
}

/** So that nobody is called but who is on the list: not everyone in the channel, no group, no other person. Looks the same. */
export function withoutPings(text: string, mentions: readonly string[] = []): string {
  return text.replace(PINGS, (ping: string, id: string | undefined) =>
    id !== undefined && mentions.includes(id) ? ping : ping[0] + JOINER + ping.slice(1),
  );
}

const PINGS = /<@([UW][A-Z\d]+)(?=[|>])|<(?=[@#][A-Z\d]|!(?:channel|here|everyone|subteam|date)\b)|@(?=channel\b|here\b|everyone\b)/gi;

/** How much of a text that still grows can be said already: what may become a ping with its next characters is held back. */
export function settledLength(text: string): number {
  return text.length - (/(?:<(?:[@#][A-Z\d]{0,20}|![a-z]{0,8})?|@[a-z]{0,8})$/i.exec(text)?.[0].length ?? 0);
}
