import { method, type ToolContext, ToolFailure } from '@centaur/sdk';
import * as z from 'zod';
import { at, segments } from '../_shared/rest.ts';
import { compact, cut } from '../_shared/results.ts';
import { change, get, list, nextPage, paging, type Raw, repo, send } from './api.ts';

interface RawRepo extends Raw {
  readonly full_name: string;
  readonly description: string | null;
  readonly private: boolean;
  readonly visibility?: string;
  readonly default_branch: string;
  readonly language?: string | null;
  readonly topics?: readonly string[];
  readonly archived?: boolean;
  readonly fork?: boolean;
  readonly open_issues_count?: number;
  readonly stargazers_count?: number;
  readonly pushed_at?: string | null;
  readonly permissions?: Readonly<Record<string, boolean>>;
}

interface RawEntry {
  readonly type: 'file' | 'dir' | 'symlink' | 'submodule';
  readonly name: string;
  readonly path: string;
  readonly size: number;
  readonly sha: string;
  readonly html_url: string | null;
}

interface RawFile extends RawEntry {
  readonly content?: string;
  readonly encoding?: string;
}

interface RawHit {
  readonly path: string;
  readonly sha: string;
  readonly html_url: string;
  readonly repository: { readonly full_name: string };
  readonly text_matches?: readonly { readonly fragment: string }[];
}

const path = z.string().describe('Path from the top of the repository');
const ref = z.string().min(1).optional().describe('Branch, tag or commit. Default: the default branch');

const MOST_CHARACTERS = 200_000;

export const contentMethods = {
  get_repo: method({
    description: 'One repository: default branch, visibility, what the token may do there.',
    risk: 'read',
    input: z.strictObject({ ...repo }),
    run: async ({ owner, repo }, ctx) => toRepo(await get<RawRepo>(ctx, at`/repos/${owner}/${repo}`)),
  }),

  list_repos: method({
    description: 'Repositories that the token can see: of an organisation, of a user, or (without either) its own.',
    risk: 'read',
    input: z
      .strictObject({
        org: repo.owner.optional().describe('Organisation'),
        user: repo.owner.optional().describe('Login'),
        sort: z.enum(['created', 'updated', 'pushed', 'full_name']).default('pushed'),
        ...paging,
      })
      .refine(({ org, user }) => org === undefined || user === undefined, 'give org or user, not both'),
    run({ org, user, ...query }, ctx) {
      const where = org !== undefined ? at`/orgs/${org}/repos` : user !== undefined ? at`/users/${user}/repos` : '/user/repos';
      return list(ctx, where, query, toRepo);
    },
  }),

  get_file: method({
    description: `A file of a repository as text, of long ones the lines asked for. What is no text becomes an attachment. sha is what put_file wants.`,
    risk: 'read',
    input: z.strictObject({
      ...repo,
      path: path.min(1),
      ref,
      first_line: z.int().positive().default(1),
      last_line: z.int().positive().optional(),
    }),
    async run({ owner, repo, path, ref, first_line, last_line }, ctx) {
      const found = await get<RawFile | readonly RawEntry[]>(ctx, contentPath(owner, repo, path), { ref });
      if (Array.isArray(found)) throw new ToolFailure('NOT_A_FILE', `${path} is a folder: list_files shows what is in it.`);
      const file = found as RawFile;
      if (file.type !== 'file') throw new ToolFailure('NOT_A_FILE', `${path} is a ${file.type}.`);
      if (file.encoding !== 'base64' || file.content === undefined)
        throw new ToolFailure('TOO_LARGE', `${path} has ${file.size} bytes; GitHub gives up to 1 MB here. Clone the repository instead.`);
      const data = Buffer.from(file.content, 'base64');
      const about = { path: file.path, sha: file.sha, size: file.size, ...compact({ url: file.html_url }) };
      const text = asText(data);
      return text === undefined
        ? { ...about, attachment: await attach(ctx, file.name, data) }
        : { ...about, ...linesOf(text, first_line, last_line) };
    },
  }),

  list_files: method({
    description: 'What is in a folder of a repository.',
    risk: 'read',
    input: z.strictObject({ ...repo, path: path.default(''), ref }),
    async run({ owner, repo, path, ref }, ctx) {
      const found = await get<RawEntry | readonly RawEntry[]>(ctx, contentPath(owner, repo, path), { ref });
      if (!Array.isArray(found)) throw new ToolFailure('NOT_A_FOLDER', `${path} is no folder: get_file shows it.`);
      return {
        items: (found as readonly RawEntry[]).map(({ path, type, size }) => ({ path, type, ...(type === 'file' ? { size } : {}) })),
      };
    },
  }),

  // the commit before keeps what was there
  put_file: method({
    description:
      'Writes one file in a commit of its own. To replace a file, give the sha that get_file answered: it is refused when somebody was faster.',
    risk: 'write',
    input: z.strictObject({
      ...repo,
      path: path.min(1),
      content: z.string().describe('The whole file'),
      encoding: z.enum(['utf-8', 'base64']).default('utf-8').describe('base64 for what is no text'),
      message: z.string().min(1).describe('Of the commit'),
      branch: z.string().min(1).optional().describe('Default: the default branch'),
      sha: z.string().optional().describe('Of the file that is replaced. Leave it out for a new file'),
    }),
    async run({ owner, repo, path, content, encoding, ...commit }, ctx) {
      const answer = await change<{ readonly content: RawEntry; readonly commit: { readonly sha: string; readonly html_url?: string } }>(
        ctx,
        'PUT',
        contentPath(owner, repo, path),
        { ...commit, content: encoding === 'base64' ? content : Buffer.from(content, 'utf8').toString('base64') },
      );
      return { path: answer.content.path, sha: answer.content.sha, commit: answer.commit.sha, ...compact({ url: answer.commit.html_url }) };
    },
  }),

  create_branch: method({
    description: 'Makes a branch, from the default branch or any branch or commit.',
    risk: 'write',
    input: z.strictObject({
      ...repo,
      branch: z.string().min(1).describe('Its name'),
      from: z.string().min(1).optional().describe('Branch or commit (40 hex digits). Default: the default branch'),
    }),
    async run({ owner, repo, branch, from }, ctx) {
      const here = at`/repos/${owner}/${repo}`;
      const start = from ?? (await get<RawRepo>(ctx, here)).default_branch;
      const sha = /^[0-9a-f]{40}$/.test(start)
        ? start
        : (await get<{ readonly object: { readonly sha: string } }>(ctx, `${here}/git/ref/heads/${segments(start)}`)).object.sha;
      await change(ctx, 'POST', `${here}/git/refs`, { ref: `refs/heads/${branch}`, sha });
      return { branch, sha };
    },
  }),

  search_code: method({
    description: 'Searches code, in the words of the search on github.com: `repo:acme/site retryAfter language:ts`. Default branches only.',
    risk: 'read',
    input: z.strictObject({ query: z.string().min(1).max(256), ...paging }),
    async run({ query, ...rest }, ctx) {
      const answer = await send<{ readonly total_count: number; readonly incomplete_results: boolean; readonly items: readonly RawHit[] }>(
        ctx,
        {
          path: '/search/code',
          query: { q: query, ...rest },
          headers: { accept: 'application/vnd.github.text-match+json' },
        },
      );
      const { total_count, incomplete_results, items } = answer.data;
      return { total: total_count, ...(incomplete_results ? { incomplete: true } : {}), items: items.map(toHit), ...nextPage(answer) };
    },
  }),
};

function contentPath(owner: string, repo: string, path: string): string {
  const rest = path.replace(/^\/+|\/+$/g, '');
  return `${at`/repos/${owner}/${repo}/contents`}${rest === '' ? '' : `/${segments(rest)}`}`;
}

/** undefined for what is no UTF-8, or has a zero byte. */
function asText(data: Buffer): string | undefined {
  if (data.includes(0)) return undefined;
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(data);
  } catch {
    return undefined;
  }
}

async function attach(ctx: ToolContext, name: string, data: Buffer): Promise<unknown> {
  return ctx.attach({ name, mimeType: 'application/octet-stream', data });
}

function linesOf(text: string, first: number, last: number | undefined): Record<string, unknown> {
  const lines = text.split('\n');
  const whole = first === 1 && (last === undefined || last >= lines.length);
  const part = whole ? text : lines.slice(first - 1, last).join('\n');
  return { lines: lines.length, ...(whole ? {} : { first_line: first }), content: cut(part, MOST_CHARACTERS) };
}

function toRepo(raw: RawRepo): Record<string, unknown> {
  return compact({
    full_name: raw.full_name,
    description: raw.description,
    visibility: raw.visibility ?? (raw.private ? 'private' : 'public'),
    default_branch: raw.default_branch,
    language: raw.language,
    topics: raw.topics?.length ? raw.topics : undefined,
    archived: raw.archived === true ? true : undefined,
    fork: raw.fork === true ? true : undefined,
    open_issues: raw.open_issues_count,
    stars: raw.stargazers_count,
    pushed_at: raw.pushed_at,
    permissions:
      raw.permissions &&
      Object.entries(raw.permissions)
        .filter(([, may]) => may)
        .map(([name]) => name),
    url: raw.html_url,
  });
}

function toHit(raw: RawHit): Record<string, unknown> {
  return compact({
    repository: raw.repository.full_name,
    path: raw.path,
    sha: raw.sha,
    fragments: raw.text_matches?.map(({ fragment }) => fragment),
    url: raw.html_url,
  });
}
