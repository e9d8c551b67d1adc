import { method, ToolFailure } from '@centaur/sdk';
import * as z from 'zod';
import { at } from '../_shared/rest.ts';
import { compact, cut } from '../_shared/results.ts';
import { change, get, list, number, paging, type Raw, type RawUser, repo } from './api.ts';

interface RawPull extends Raw {
  readonly number: number;
  readonly title: string;
  readonly state: string;
  readonly draft?: boolean;
  readonly merged?: boolean;
  readonly merged_at?: string | null;
  readonly merge_commit_sha?: string | null;
  readonly mergeable?: boolean | null;
  readonly mergeable_state?: string;
  readonly body?: string | null;
  readonly user?: RawUser | null;
  readonly head: { readonly ref: string; readonly sha: string; readonly label?: string };
  readonly base: { readonly ref: string };
  readonly labels?: readonly { readonly name?: string }[];
  readonly requested_reviewers?: readonly RawUser[] | null;
  readonly requested_teams?: readonly { readonly slug: string }[] | null;
  readonly comments?: number;
  readonly commits?: number;
  readonly additions?: number;
  readonly deletions?: number;
  readonly changed_files?: number;
  readonly created_at: string;
  readonly updated_at: string;
}

interface RawFile {
  readonly filename: string;
  readonly previous_filename?: string;
  readonly status: string;
  readonly additions: number;
  readonly deletions: number;
  readonly patch?: string;
}

interface RawReview extends Raw {
  readonly user?: RawUser | null;
  readonly state: string;
  readonly body?: string | null;
  readonly submitted_at?: string;
  readonly commit_id?: string | null;
}

interface RawReviewComment extends Raw {
  readonly user?: RawUser | null;
  readonly path: string;
  readonly line?: number | null;
  readonly start_line?: number | null;
  readonly side?: string;
  readonly body: string;
  readonly in_reply_to_id?: number;
  readonly created_at: string;
}

interface Merged {
  readonly sha: string;
  readonly merged: boolean;
  readonly message: string;
}

const PATCH_CHARACTERS = 4000;

export const pullMethods = {
  get_pull: method({
    description: 'One pull request: its text, branches, size, whether it can be merged, who is asked to review.',
    risk: 'read',
    input: z.strictObject({ ...repo, number }),
    run: async (input, ctx) => toPull(await get<RawPull>(ctx, pullPath(input))),
  }),

  list_pulls: method({
    description: 'Pull requests of a repository, newest first, without their texts.',
    risk: 'read',
    input: z.strictObject({
      ...repo,
      state: z.enum(['open', 'closed', 'all']).default('open'),
      head: z.string().optional().describe('Only from this branch: `owner:branch`'),
      base: z.string().optional().describe('Only into this branch'),
      sort: z.enum(['created', 'updated', 'popularity', 'long-running']).default('created'),
      ...paging,
    }),
    run: ({ owner, repo, ...query }, ctx) => list(ctx, at`/repos/${owner}/${repo}/pulls`, { ...query, direction: 'desc' }, toLine),
  }),

  list_pull_files: method({
    description: `The files that a pull request changes, with their patches (each cut after ${PATCH_CHARACTERS} characters).`,
    risk: 'read',
    input: z.strictObject({ ...repo, number, patches: z.boolean().default(true).describe('false: names and sizes only'), ...paging }),
    run: ({ owner, repo, number, patches, ...query }, ctx) =>
      list<RawFile, unknown>(
        ctx,
        `${pullPath({ owner, repo, number })}/files`,
        query,
        ({ filename, previous_filename, status, additions, deletions, patch }) =>
          compact({
            filename,
            previous_filename,
            status,
            additions,
            deletions,
            patch: patches && patch ? cut(patch, PATCH_CHARACTERS) : undefined,
          }),
      ),
  }),

  create_pull: method({
    description: 'Opens a pull request from a branch that exists on GitHub.',
    risk: 'write',
    input: z.strictObject({
      ...repo,
      title: z.string().min(1).max(256),
      head: z.string().min(1).describe('Branch with the changes; `owner:branch` from a fork'),
      base: z.string().min(1).describe('Branch to merge into'),
      body: z.string().max(65_536).optional().describe('Markdown'),
      draft: z.boolean().default(false),
      maintainer_can_modify: z.boolean().optional(),
    }),
    async run({ owner, repo, ...pull }, ctx) {
      return toLine(await change<RawPull>(ctx, 'POST', at`/repos/${owner}/${repo}/pulls`, pull));
    },
  }),

  update_pull: method({
    description: 'Changes the title, text, base or state of a pull request. What is left out stays.',
    risk: 'write',
    idempotent: true,
    input: z.strictObject({
      ...repo,
      number,
      title: z.string().min(1).max(256).optional(),
      body: z.string().max(65_536).optional(),
      base: z.string().min(1).optional(),
      state: z.enum(['open', 'closed']).optional(),
    }),
    run: async ({ owner, repo, number, ...fields }, ctx) =>
      toLine(await change<RawPull>(ctx, 'PATCH', pullPath({ owner, repo, number }), fields)),
  }),

  // destructive: a merge can be answered by a commit that reverts it, but what it set off (a deployment, a release) has happened
  merge_pull: method({
    description: 'Merges a pull request. Give the sha that was reviewed, so that nothing pushed since then is merged.',
    risk: 'destructive',
    // what is merged already is answered as merged
    idempotent: true,
    input: z.strictObject({
      ...repo,
      number,
      sha: z
        .string()
        .regex(/^[0-9a-f]{40}$/)
        .optional()
        .describe('Merge only if this is its newest commit (head_sha of get_pull)'),
      merge_method: z.enum(['merge', 'squash', 'rebase']).default('merge'),
      commit_title: z.string().optional(),
      commit_message: z.string().optional(),
    }),
    async run({ owner, repo, number, ...merge }, ctx) {
      const path = pullPath({ owner, repo, number });
      try {
        return await change<Merged>(ctx, 'PUT', `${path}/merge`, merge);
      } catch (error) {
        if (!(error instanceof ToolFailure && error.code === 'NOT_ALLOWED')) throw error;
        const { merged, merge_commit_sha: sha, head } = await get<RawPull>(ctx, path);
        if (merged !== true || !sha || head.sha !== (merge.sha ?? head.sha)) throw error;
        return { sha, merged, message: 'It had been merged before' } satisfies Merged;
      }
    },
  }),

  list_reviews: method({
    description: 'Reviews of a pull request, oldest first: who approved, who asked for changes.',
    risk: 'read',
    input: z.strictObject({ ...repo, number, ...paging }),
    run: ({ owner, repo, number, ...query }, ctx) => list(ctx, `${pullPath({ owner, repo, number })}/reviews`, query, toReview),
  }),

  list_review_comments: method({
    description: 'Comments on lines of code in a pull request, oldest first.',
    risk: 'read',
    input: z.strictObject({ ...repo, number, ...paging }),
    run: ({ owner, repo, number, ...query }, ctx) =>
      list<RawReviewComment, unknown>(ctx, `${pullPath({ owner, repo, number })}/comments`, query, (raw) =>
        compact({
          id: raw.id,
          author: raw.user?.login,
          path: raw.path,
          start_line: raw.start_line,
          line: raw.line,
          side: raw.side === 'LEFT' ? 'LEFT' : undefined,
          body: raw.body,
          in_reply_to: raw.in_reply_to_id,
          created_at: raw.created_at,
          url: raw.html_url,
        }),
      ),
  }),

  create_review: method({
    description: 'Reviews a pull request: approves, asks for changes, or only comments, with comments on lines if there are any.',
    risk: 'write',
    input: z
      .strictObject({
        ...repo,
        number,
        event: z.enum(['APPROVE', 'REQUEST_CHANGES', 'COMMENT']),
        body: z.string().max(65_536).optional().describe('Needed unless it approves'),
        commit_id: z.string().optional().describe('The commit that was read. Default: the newest'),
        comments: z
          .array(
            z.strictObject({
              path: z.string().min(1),
              line: z
                .int()
                .positive()
                .describe('Line of the file as changed (side RIGHT) or as it was (LEFT); it must be part of the diff'),
              start_line: z.int().positive().optional().describe('First line, if there are several'),
              side: z.enum(['LEFT', 'RIGHT']).default('RIGHT'),
              body: z.string().min(1),
            }),
          )
          .optional(),
      })
      .refine(({ event, body }) => event === 'APPROVE' || (body ?? '') !== '', {
        path: ['body'],
        message: 'needed unless the review approves',
      }),
    async run({ owner, repo, number, ...review }, ctx) {
      return toReview(await change<RawReview>(ctx, 'POST', `${pullPath({ owner, repo, number })}/reviews`, review));
    },
  }),

  request_reviewers: method({
    description: 'Asks people or teams to review a pull request, and answers who is asked then.',
    risk: 'write',
    idempotent: true,
    input: z
      .strictObject({
        ...repo,
        number,
        reviewers: z.array(z.string()).optional().describe('Logins'),
        team_reviewers: z.array(z.string()).optional().describe('Slugs of teams'),
      })
      .refine(({ reviewers = [], team_reviewers: teams = [] }) => reviewers.length + teams.length > 0, 'name a reviewer or a team'),
    async run({ owner, repo, number, ...who }, ctx) {
      const raw = await change<RawPull>(ctx, 'POST', `${pullPath({ owner, repo, number })}/requested_reviewers`, who);
      return { number: raw.number, ...asked(raw) };
    },
  }),
};

function pullPath(input: { readonly owner: string; readonly repo: string; readonly number: number }): string {
  return at`/repos/${input.owner}/${input.repo}/pulls/${input.number}`;
}

function asked(raw: RawPull): Record<string, unknown> {
  return {
    reviewers: raw.requested_reviewers?.map(({ login }) => login) ?? [],
    team_reviewers: raw.requested_teams?.map(({ slug }) => slug) ?? [],
  };
}

function toLine(raw: RawPull): Record<string, unknown> {
  return compact({
    number: raw.number,
    title: raw.title,
    state: raw.merged_at ? 'merged' : raw.state,
    draft: raw.draft === true ? true : undefined,
    author: raw.user?.login,
    head: raw.head.label ?? raw.head.ref,
    head_sha: raw.head.sha,
    base: raw.base.ref,
    labels: raw.labels?.map(({ name }) => name),
    created_at: raw.created_at,
    updated_at: raw.updated_at,
    url: raw.html_url,
  });
}

function toPull(raw: RawPull): Record<string, unknown> {
  return compact({
    ...toLine(raw),
    ...asked(raw),
    mergeable: raw.mergeable,
    mergeable_state: raw.mergeable_state,
    merged_at: raw.merged_at,
    merge_commit_sha: raw.merged_at ? raw.merge_commit_sha : undefined,
    commits: raw.commits,
    changed_files: raw.changed_files,
    additions: raw.additions,
    deletions: raw.deletions,
    comments: raw.comments,
    body: raw.body,
  });
}

function toReview(raw: RawReview): Record<string, unknown> {
  return compact({
    id: raw.id,
    author: raw.user?.login,
    state: raw.state,
    body: raw.body,
    commit_id: raw.commit_id,
    submitted_at: raw.submitted_at,
    url: raw.html_url,
  });
}
