/** What becomes of something that was said when it is asked of the platform. */
import { type GitHubDelivery, PLATFORM } from '../context.ts';
import type { Heard } from '../heard.ts';

/** The same however often it is heard, and whether it was said or edited in. */
export const executeIdOf = ({ repo, kind, id }: Pick<Heard, 'repo' | 'kind' | 'id'>): string => `github:${repo}:${kind}:${id}`;

/** Only of what was heard: the same words however often it is sent. */
export function describeAsked(heard: Heard, text: string): string {
  const what = `${heard.isPull ? 'pull request' : 'issue'} ${heard.repo}#${heard.number}`;
  const where = heard.code === null ? '' : `, on ${heard.code.path}${heard.code.line === null ? '' : ` line ${heard.code.line}`}`;
  const how = { comment: 'a comment', 'review-comment': 'a review comment', review: 'a review', body: 'its description' }[heard.kind];
  return [
    `@${heard.author.login} (${heard.author.association.toLowerCase() || 'bot'}) asks on ${what}${where}, in ${how}: ${heard.url}`,
    '',
    text === '' ? '(They only mentioned you: what is asked for is what the thread is about.)' : text,
  ].join('\n');
}

export function deliveryOf(heard: Heard): GitHubDelivery & Readonly<Record<string, unknown>> {
  const { repo, number, root, installation, kind, id, author } = heard;
  return { platform: PLATFORM, repo, number, root, installation, user: author.login, kind, id };
}
