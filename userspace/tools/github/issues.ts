import { method } from '@centaur/sdk';
import * as z from 'zod';
import { at } from '../_shared/rest.ts';
import { compact, cut } from '../_shared/results.ts';
import { change, get, list, nextPage, number, paging, type Raw, type RawUser, repo, send } from './api.ts';

interface RawIssue extends Raw {
  readonly number: number;
  readonly title: string;
  readonly state: string;
  readonly state_reason?: string | null;
  readonly body?: string | null;
  readonly user?: RawUser | null;
  readonly labels?: readonly (string | { readonly name?: string })[];
  readonly assignees?: readonly RawUser[];
  readonly milestone?: { readonly number: number; readonly title: string } | null;
  readonly comments?: number;
  readonly created_at: string;
  readonly updated_at: string;
  readonly closed_at?: string | null;
  readonly pull_request?: unknown;
  readonly repository_url?: string;
}

interface RawComment extends Raw {
  readonly user?: RawUser | null;
  readonly body?: string;
  readonly created_at: string;
  readonly updated_at: string;
}

interface RawLabel {
  readonly name: string;
  readonly color?: string;
  readonly description?: string | null;
}

const labels = z.array(z.string().min(1)).min(1);

export const issueMethods = {
  get_issue: method({
    description: 'One issue (or pull request, as an issue) with its text; get_pull has the rest of a pull request.',
    risk: 'read',
    input: z.strictObject({ ...repo, number }),
    run: async (input, ctx) => toIssue(await get<RawIssue>(ctx, issuePath(input))),
  }),

  list_issues: method({
    description: 'Issues of a repository, newest first, without their texts. Pull requests are left out: list_pulls has them.',
    risk: 'read',
    input: z.strictObject({
      ...repo,
      state: z.enum(['open', 'closed', 'all']).default('open'),
      labels: z.array(z.string()).optional().describe('Only issues that have all of them'),
      assignee: z.string().optional().describe('Login; "none"; "*" for any'),
      creator: z.string().optional().describe('Login'),
      milestone: z.string().optional().describe('Number; "none"; "*" for any'),
      since: z.iso.datetime({ offset: true }).optional().describe('Changed since then'),
      sort: z.enum(['created', 'updated', 'comments']).default('created'),
      ...paging,
    }),
    async run({ owner, repo, labels, ...query }, ctx) {
      const page = await list<RawIssue, RawIssue>(
        ctx,
        at`/repos/${owner}/${repo}/issues`,
        { ...query, labels: labels?.join(',') },
        (raw) => raw,
      );
      return { ...page, items: page.items.filter((raw) => raw.pull_request === undefined).map(toLine) };
    },
  }),

  search_issues: method({
    description:
      'Searches issues and pull requests everywhere GITHUB_TOKEN may look, in the words of the search on github.com: ' +
      '`repo:acme/site is:issue is:open label:bug crash in:title`.',
    risk: 'read',
    input: z.strictObject({
      query: z.string().min(1).max(256),
      sort: z.enum(['comments', 'reactions', 'created', 'updated']).optional().describe('Default: the best match first'),
      order: z.enum(['asc', 'desc']).default('desc'),
      ...paging,
    }),
    async run({ query, ...rest }, ctx) {
      const answer = await send<{
        readonly total_count: number;
        readonly incomplete_results: boolean;
        readonly items: readonly RawIssue[];
      }>(ctx, {
        path: '/search/issues',
        query: { q: query, ...rest },
      });
      const { total_count, incomplete_results, items } = answer.data;
      return { total: total_count, ...(incomplete_results ? { incomplete: true } : {}), items: items.map(toLine), ...nextPage(answer) };
    },
  }),

  create_issue: method({
    description: 'Opens an issue. In a public repository everybody sees it.',
    risk: 'write',
    input: z.strictObject({
      ...repo,
      title: z.string().min(1).max(256),
      body: z.string().max(65_536).optional().describe('Markdown'),
      labels: labels.optional(),
      assignees: z.array(z.string()).max(10).optional().describe('Logins'),
      milestone: z.int().positive().optional().describe('Number of the milestone'),
    }),
    async run({ owner, repo, ...issue }, ctx) {
      return toLine(await change<RawIssue>(ctx, 'POST', at`/repos/${owner}/${repo}/issues`, issue));
    },
  }),

  update_issue: method({
    description: 'Changes an issue: title, text, state, people, milestone. What is left out stays. Labels have methods of their own.',
    risk: 'write',
    idempotent: true,
    input: z.strictObject({
      ...repo,
      number,
      title: z.string().min(1).max(256).optional(),
      body: z.string().max(65_536).optional().describe('Replaces the whole text'),
      state: z.enum(['open', 'closed']).optional(),
      state_reason: z.enum(['completed', 'not_planned', 'reopened']).optional(),
      assignees: z.array(z.string()).max(10).optional().describe('Replaces all of them'),
      milestone: z.int().positive().nullable().optional().describe('null: none'),
    }),
    run: async ({ owner, repo, number, ...fields }, ctx) =>
      toLine(await change<RawIssue>(ctx, 'PATCH', issuePath({ owner, repo, number }), fields)),
  }),

  list_comments: method({
    description: 'Comments of an issue or pull request, oldest first. Comments on lines of code: list_review_comments.',
    risk: 'read',
    input: z.strictObject({ ...repo, number, since: z.iso.datetime({ offset: true }).optional(), ...paging }),
    run: ({ owner, repo, number, ...query }, ctx) => list(ctx, `${issuePath({ owner, repo, number })}/comments`, query, toComment),
  }),

  create_comment: method({
    description: 'Comments on an issue or pull request. In a public repository everybody sees it.',
    risk: 'write',
    input: z.strictObject({ ...repo, number, body: z.string().min(1).max(65_536).describe('Markdown') }),
    run: async ({ body, ...input }, ctx) => toComment(await change<RawComment>(ctx, 'POST', `${issuePath(input)}/comments`, { body })),
  }),

  update_comment: method({
    description: 'Replaces the text of a comment.',
    risk: 'write',
    idempotent: true,
    input: z.strictObject({ ...repo, comment_id: z.int().positive(), body: z.string().min(1).max(65_536) }),
    async run({ owner, repo, comment_id, body }, ctx) {
      return toComment(await change<RawComment>(ctx, 'PATCH', at`/repos/${owner}/${repo}/issues/comments/${comment_id}`, { body }));
    },
  }),

  list_labels: method({
    description: 'The labels that a repository has.',
    risk: 'read',
    input: z.strictObject({ ...repo, ...paging }),
    run: ({ owner, repo, ...query }, ctx) => list(ctx, at`/repos/${owner}/${repo}/labels`, query, toLabel),
  }),

  add_labels: method({
    description: 'Adds labels to an issue or pull request, and answers all that it has then.',
    risk: 'write',
    idempotent: true,
    input: z.strictObject({ ...repo, number, labels }),
    async run({ labels, ...input }, ctx) {
      return { labels: (await change<readonly RawLabel[]>(ctx, 'POST', `${issuePath(input)}/labels`, { labels })).map(({ name }) => name) };
    },
  }),

  remove_label: method({
    description: 'Takes one label off an issue or pull request, and answers those that are left.',
    risk: 'write',
    input: z.strictObject({ ...repo, number, label: z.string().min(1) }),
    async run({ label, ...input }, ctx) {
      const left = await change<readonly RawLabel[]>(ctx, 'DELETE', `${issuePath(input)}${at`/labels/${label}`}`);
      return { labels: left.map(({ name }) => name) };
    },
  }),
};

function issuePath(input: { readonly owner: string; readonly repo: string; readonly number: number }): string {
  return at`/repos/${input.owner}/${input.repo}/issues/${input.number}`;
}

function toLine(raw: RawIssue): Record<string, unknown> {
  return compact({
    repository: raw.repository_url?.replace(/^.*\/repos\//, ''),
    number: raw.number,
    title: raw.title,
    kind: raw.pull_request === undefined ? undefined : 'pull_request',
    state: raw.state,
    state_reason: raw.state_reason,
    author: raw.user?.login,
    labels: raw.labels?.map((label) => (typeof label === 'string' ? label : label.name)),
    assignees: raw.assignees?.map(({ login }) => login),
    milestone: raw.milestone?.title,
    comments: raw.comments,
    created_at: raw.created_at,
    updated_at: raw.updated_at,
    closed_at: raw.closed_at,
    url: raw.html_url,
  });
}

function toIssue(raw: RawIssue): Record<string, unknown> {
  return { ...toLine(raw), body: cut(raw.body ?? '', 65_536) };
}

function toComment(raw: RawComment): Record<string, unknown> {
  return compact({
    id: raw.id,
    author: raw.user?.login,
    body: raw.body,
    created_at: raw.created_at,
    updated_at: raw.updated_at === raw.created_at ? undefined : raw.updated_at,
    url: raw.html_url,
  });
}

function toLabel({ name, color, description }: RawLabel): Record<string, unknown> {
  return compact({ name, color, description });
}
