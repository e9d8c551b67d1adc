/** What GitHub says, as it is kept in the inbox until it was acted on: what is acted on and no more, checked when it came. */
import { z } from 'zod';
import { isId, type Kind, type Place, REPOSITORY } from './context.ts';

export interface Heard extends Place {
  readonly action: 'said' | 'edited' | 'deleted';
  readonly kind: Kind;
  /** Of the comment or review; of a body the number of its issue. */
  readonly id: number;
  readonly author: Author;
  /** Who did it: who edits or deletes may be another than the author. */
  readonly sender: string;
  readonly text: string;
  /** Of an edit: what it was before, where GitHub says so. */
  readonly before: string | null;
  readonly isPull: boolean;
  readonly title: string;
  readonly url: string;
  /** Of a review comment: what it is about. */
  readonly code: { readonly path: string; readonly line: number | null; readonly hunk: string } | null;
}

export interface Author {
  readonly login: string;
  readonly isBot: boolean;
  /** Such as `MEMBER`. */
  readonly association: string;
}

const HeardSchema = z.object({
  repo: z.string().regex(REPOSITORY),
  number: z.int().positive(),
  root: z.int().positive().nullable(),
  installation: z.int().positive().nullable(),
  action: z.enum(['said', 'edited', 'deleted']),
  kind: z.enum(['comment', 'review-comment', 'review', 'body']),
  id: z.int().positive(),
  author: z.object({ login: z.string(), isBot: z.boolean(), association: z.string() }),
  sender: z.string(),
  text: z.string(),
  before: z.string().nullable(),
  isPull: z.boolean(),
  title: z.string(),
  url: z.string(),
  code: z.object({ path: z.string(), line: z.int().nullable(), hunk: z.string() }).nullable(),
});

/** Out of the inbox: anybody with `inbox.use` may have put it there. */
export function readHeard(body: unknown): Heard | undefined {
  return HeardSchema.safeParse(body).data;
}

type Raw = Readonly<Record<string, unknown>>;

const HUNK_MOST = 4_000;
const TEXT_MOST = 70_000;

/**
 * What an event of a webhook says; undefined: nothing that anybody acts on.
 *
 * @param event `X-GitHub-Event`
 */
export function readEvent(event: string, payload: unknown): Heard | undefined {
  const raw = record(payload);
  if (!Object.hasOwn(SUBJECTS, event)) return undefined;
  const [subject, kind] = SUBJECTS[event as keyof typeof SUBJECTS];
  const said = record(raw[subject]);
  const thread = record(raw['issue'] ?? raw['pull_request']);
  const action = actionOf(event, text(raw['action']));
  const repo = text(record(raw['repository'])['full_name']).toLowerCase();
  const user = record(said['user']);
  const id = kind === 'body' ? said['number'] : said['id'];
  if (action === undefined || !REPOSITORY.test(repo) || !isId(thread['number']) || !isId(id)) return undefined;
  // of an account that is gone
  if (text(user['login']) === '') return undefined;
  const repliesTo = said['in_reply_to_id'];
  const installation = record(raw['installation'])['id'];
  const before = record(record(raw['changes'])['body'])['from'];
  return {
    action,
    kind,
    repo,
    number: thread['number'],
    root: kind === 'review-comment' ? (isId(repliesTo) ? repliesTo : id) : null,
    installation: isId(installation) ? installation : null,
    id,
    author: {
      login: text(user['login']),
      isBot: user['type'] === 'Bot' || text(user['login']).endsWith('[bot]'),
      association: text(said['author_association']),
    },
    sender: text(record(raw['sender'])['login']),
    text: text(said['body']).slice(0, TEXT_MOST),
    before: typeof before === 'string' ? before.slice(0, TEXT_MOST) : null,
    isPull: event !== 'issues' && (raw['pull_request'] !== undefined || thread['pull_request'] !== undefined),
    title: text(thread['title']).slice(0, 1_000),
    url: text(said['html_url']).slice(0, 1_000),
    code:
      kind === 'review-comment'
        ? {
            path: text(said['path']).slice(0, 1_000),
            line: Number.isSafeInteger(said['line']) ? (said['line'] as number) : null,
            hunk: text(said['diff_hunk']).slice(-HUNK_MOST),
          }
        : null,
  };
}

/** Where in the payload it is, and what it is. */
const SUBJECTS = {
  issue_comment: ['comment', 'comment'],
  pull_request_review_comment: ['comment', 'review-comment'],
  pull_request_review: ['review', 'review'],
  issues: ['issue', 'body'],
  pull_request: ['pull_request', 'body'],
} as const satisfies Readonly<Record<string, readonly [string, Kind]>>;

function actionOf(event: string, action: string): Heard['action'] | undefined {
  if (action === 'edited' || action === 'deleted') return action;
  const said = event === 'pull_request_review' ? 'submitted' : event.endsWith('_comment') ? 'created' : 'opened';
  return action === said ? 'said' : undefined;
}

const record = (value: unknown): Raw => (typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Raw) : {});
/** Postgres keeps no zero bytes, and JSON no half characters. */
const text = (value: unknown): string => (typeof value === 'string' ? value.replaceAll('\0', '').toWellFormed() : '');
