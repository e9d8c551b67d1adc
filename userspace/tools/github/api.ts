/** GitHub's REST API, as the methods of this tool use it. */
import { secret, type ToolContext } from '@centaur/sdk';
import * as z from 'zod';
import { type Answer, apiBase, type Complaint, createRest, type RestRequest } from '../_shared/rest.ts';

/** GitHub Enterprise Server: `https://HOST/api/v3`. */
export const API = apiBase('GITHUB_API_URL', 'https://api.github.com');

export const send = createRest({
  name: 'GitHub',
  base: API,
  headers: () => ({
    authorization: `Bearer ${secret('GITHUB_TOKEN')}`,
    accept: 'application/vnd.github+json',
    'x-github-api-version': '2022-11-28',
  }),
  explain,
});

export async function get<T>(ctx: ToolContext, path: string, query?: RestRequest['query']): Promise<T> {
  return (await send<T>(ctx, { path, ...(query === undefined ? {} : { query }) })).data;
}

export async function change<T>(ctx: ToolContext, method: 'POST' | 'PATCH' | 'PUT' | 'DELETE', path: string, json?: unknown): Promise<T> {
  // setting the same fields to the same values is no second change
  return (
    await send<T>(ctx, { method, path, ...(json === undefined ? {} : { json }), repeatable: method === 'PATCH' || method === 'DELETE' })
  ).data;
}

/** One page, and the number of the next. */
export async function list<Raw, T>(
  ctx: ToolContext,
  path: string,
  query: RestRequest['query'],
  each: (raw: Raw) => T,
): Promise<{ readonly items: readonly T[]; readonly next_page?: number }> {
  const answer = await send<readonly Raw[]>(ctx, { path, ...(query === undefined ? {} : { query }) });
  return { items: answer.data.map(each), ...nextPage(answer) };
}

export function nextPage({ headers }: Answer<unknown>): { readonly next_page?: number } {
  const next = /<([^>]+)>;\s*rel="next"/.exec(headers.get('link') ?? '')?.[1];
  const page = next === undefined ? null : new URL(next, API).searchParams.get('page');
  return page === null ? {} : { next_page: Number(page) };
}

/** Names as GitHub allows them. */
export const repo = {
  owner: z
    .string()
    .regex(/^[\w.-]+$/)
    .describe('User or organisation'),
  repo: z
    .string()
    .regex(/^[\w.-]+$/)
    .describe('Name of the repository, without its owner'),
};

export const number = z.int().positive().describe('Number of the issue or pull request');

export const paging = {
  page: z.int().positive().default(1).describe('next_page of the answer before'),
  per_page: z.int().min(1).max(100).default(30),
};

export interface Raw {
  readonly id: number;
  readonly html_url: string;
}

export interface RawUser {
  readonly login: string;
}

interface Problem {
  readonly message?: string;
  readonly errors?: readonly (
    | string
    | { readonly message?: string; readonly resource?: string; readonly field?: string; readonly code?: string }
  )[];
}

function explain(status: number, data: unknown, headers: Headers): Complaint | undefined {
  if (typeof data !== 'object' || data === null) return undefined;
  const { message = '', errors = [] } = data as Problem;
  const details = errors.map((error) =>
    typeof error === 'string' ? error : (error.message ?? [error.resource, error.field, error.code].filter(Boolean).join(' ')),
  );
  const said = [message, ...details].filter(Boolean).join('; ');
  if (status === 401) return { message: `${said}. GITHUB_TOKEN is wrong or has expired` };
  if (status === 404) return { message: `${said}: there is no such thing, or GITHUB_TOKEN may not see it` };
  if (status === 403 && isRateLimit(message, headers))
    return { code: 'RATE_LIMITED', message: said, again: true, after: untilReset(headers) };
  if (status === 403) return { message: `${said}. GITHUB_TOKEN lacks a permission for this, or the repository forbids it` };
  if (status === 429) return { message: said, after: untilReset(headers) };
  return { message: said };
}

/** GitHub answers 403 for both of its limits. */
function isRateLimit(message: string, headers: Headers): boolean {
  return headers.get('x-ratelimit-remaining') === '0' || headers.has('retry-after') || /rate limit/i.test(message);
}

function untilReset(headers: Headers): number | undefined {
  const reset = Number(headers.get('x-ratelimit-reset') ?? '');
  if (headers.has('retry-after') || headers.get('x-ratelimit-remaining') !== '0' || !(reset > 0)) return undefined;
  return Math.max(1, Math.ceil(reset - Date.now() / 1000));
}
