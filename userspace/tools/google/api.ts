/** Google's REST APIs, as the methods of this tool use them: one token, two hosts. */
import { secret, type ToolContext } from '@centaur/sdk';
import * as z from 'zod';
import { type Answer, apiBase, type Complaint, createRest, type RestRequest, type Service } from '../_shared/rest.ts';

export const TOKEN = 'GOOGLE_OAUTH';
/** Set, it takes the place of both. */
const elsewhere = 'GOOGLE_API_URL';
export const API = apiBase(elsewhere, 'https://www.googleapis.com');
export const MAIL = apiBase(elsewhere, 'https://gmail.googleapis.com');

const service: Omit<Service, 'base'> = { name: 'Google', headers: () => ({ authorization: `Bearer ${secret(TOKEN)}` }), explain };

export const send = createRest({ ...service, base: API });
const sendToMail = createRest({ ...service, base: MAIL });

export async function get<T>(ctx: ToolContext, path: string, query?: RestRequest['query']): Promise<T> {
  return (await send<T>(ctx, { path, ...(query === undefined ? {} : { query }) })).data;
}

/** Paths are below `/gmail/v1/users/me`. */
export async function mail<T>(ctx: ToolContext, request: RestRequest): Promise<T> {
  const { data }: Answer<T> = await sendToMail<T>(ctx, { ...request, path: `/gmail/v1/users/me${request.path}` });
  return data;
}

export const page_token = z.string().min(1).optional().describe('next_page of the answer before');

export function nextPage({ nextPageToken: next }: { readonly nextPageToken?: string }): { readonly next_page?: string } {
  return next === undefined || next === '' ? {} : { next_page: next };
}

interface Problem {
  readonly error?: {
    readonly message?: string;
    readonly status?: string;
    readonly errors?: readonly { readonly reason?: string }[];
  };
}

/** 403 that only mean: later. */
const LIMITS = new Set(['rateLimitExceeded', 'userRateLimitExceeded', 'quotaExceeded', 'dailyLimitExceeded']);

function explain(status: number, data: unknown): Complaint | undefined {
  const error = (data as Problem | undefined)?.error;
  if (typeof error !== 'object') return undefined;
  const { message: said = '', errors = [] } = error;
  const reason = errors[0]?.reason ?? '';
  if (status === 401) return { message: `${said} ${TOKEN} is wrong, or its account took it back` };
  if (LIMITS.has(reason)) return { code: 'RATE_LIMITED', message: said, again: true };
  if (status === 403 && /insufficient/i.test(`${reason} ${said}`))
    return { code: 'MISSING_SCOPE', message: `${said} ${TOKEN} was made without the scope for this` };
  if (status === 403 && reason === 'accessNotConfigured') return { message: `${said} Its project has not enabled this API` };
  if (status === 404) return { message: `${said} There is no such thing, or the account may not see it` };
  return { message: said, again: status === 429 };
}
