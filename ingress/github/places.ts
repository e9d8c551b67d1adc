/** Writing at a place of GitHub, and finding what was written there: a comment of an issue or pull request, or in a review thread. */
import type { Hold } from './calls.ts';
import type { GitHubContext, Kind, Place } from './context.ts';

export interface Comment {
  readonly id: number;
  readonly body: string;
  readonly login: string;
  readonly association: string;
  readonly createdAt: string;
}

/** GitHub's longest, in characters. */
export const LONGEST_COMMENT = 65_536;

/** The new comment's id. */
export async function post(context: GitHubContext, place: Place, body: string, hold: Hold): Promise<number> {
  const path = place.root === null ? `/issues/${place.number}/comments` : `/pulls/${place.number}/comments/${place.root}/replies`;
  return (await context.github.write<{ id: number }>(place, 'POST', path, { body }, hold)).id;
}

export async function edit(context: GitHubContext, place: Place, id: number, body: string, hold: Hold): Promise<void> {
  await context.github.write(place, 'PATCH', `/${place.root === null ? 'issues' : 'pulls'}/comments/${id}`, { body }, hold);
}

export type Reaction = 'eyes' | 'rocket' | 'confused' | '+1';

/** Nobody misses one: never rejects, and is left out when there is no room for it. */
export async function react(
  context: GitHubContext,
  place: Place,
  to: { readonly kind: Kind; readonly id: number },
  content: Reaction,
  signal: AbortSignal,
): Promise<void> {
  const path = REACTIONS[to.kind];
  if (path === undefined || !context.github.hasRoom()) return;
  try {
    await context.github.write(place, 'POST', `${path}/${to.id}/reactions`, { content }, { signal });
  } catch (error) {
    if (!signal.aborted) context.log({ level: 'debug', message: 'could not react', error: (error as Error).message });
  }
}

/** Reviews take reactions over GraphQL only. */
const REACTIONS: Readonly<Record<Kind, string | undefined>> = {
  comment: '/issues/comments',
  'review-comment': '/pulls/comments',
  body: '/issues',
  review: undefined,
};

interface RawComment {
  readonly id: number;
  readonly body?: string | null;
  readonly user?: { readonly login?: string } | null;
  readonly author_association?: string;
  readonly created_at: string;
  readonly in_reply_to_id?: number | null;
}

const PAGE = 100;
const MOST_PAGES = 10;

/** Oldest first, of what was written or changed since. */
export async function commentsSince(context: GitHubContext, place: Place, since: number, signal: AbortSignal): Promise<Comment[]> {
  const all: Comment[] = [];
  const at = `since=${encodeURIComponent(new Date(since).toISOString())}&per_page=${PAGE}`;
  for (let page = 1; page <= MOST_PAGES; page++) {
    const path = `/${place.root === null ? 'issues' : 'pulls'}/${place.number}/comments?${at}&page=${page}`;
    const comments = await context.github.read<RawComment[]>(place, path, signal);
    all.push(...comments.filter((each) => isIn(place, each)).map(toComment));
    if (comments.length < PAGE) break;
  }
  return all;
}

/** The last ones before now, oldest first; a few more than `most` may come. @param count of all, where it is known */
export async function lastComments(
  context: GitHubContext,
  place: Place,
  of: { readonly most: number; readonly count: number },
  signal: AbortSignal,
): Promise<Comment[]> {
  if (of.most === 0) return [];
  if (place.root !== null) {
    const newest = `/pulls/${place.number}/comments?sort=created&direction=desc&per_page=${PAGE}`;
    const comments = await context.github.read<RawComment[]>(place, newest, signal);
    return comments
      .filter((each) => isIn(place, each))
      .map(toComment)
      .toReversed()
      .slice(-of.most);
  }
  // of an issue they come oldest first, whatever is asked for
  const last = Math.max(1, Math.ceil(of.count / PAGE));
  const pages = of.count - (last - 1) * PAGE < of.most && last > 1 ? [last - 1, last] : [last];
  const all: Comment[] = [];
  for (const page of pages) {
    const path = `/issues/${place.number}/comments?per_page=${PAGE}&page=${page}`;
    all.push(...(await context.github.read<RawComment[]>(place, path, signal)).map(toComment));
  }
  return all.slice(-of.most);
}

const isIn = (place: Place, comment: RawComment): boolean =>
  place.root === null || comment.id === place.root || comment.in_reply_to_id === place.root;

const toComment = (raw: RawComment): Comment => ({
  id: raw.id,
  body: raw.body ?? '',
  login: raw.user?.login ?? 'ghost',
  association: raw.author_association ?? 'NONE',
  createdAt: raw.created_at,
});

/** What the bot writes begins with it: nobody sees it, and after a crash it says whose words they are. */
export const turnMarker = (executionId: string, part: number): string => `<!-- centaur:turn ${executionId} ${part} -->`;
export const noteMarker = (about: string): string => `<!-- centaur:note ${about} -->`;

export function isMarked(body: string, marker: string): boolean {
  return body.startsWith(marker);
}

/** Whether it is ours: others may write our marker, too. */
export const isOwn = (context: GitHubContext, { login }: { readonly login: string }): boolean =>
  login.toLowerCase() === context.self.login.toLowerCase();
