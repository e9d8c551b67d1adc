/** Linear's GraphQL API, as the methods of this tool use it. */
import { secret, type ToolContext, ToolFailure } from '@centaur/sdk';
import * as z from 'zod';
import { apiBase, type Complaint, createRest } from '../_shared/rest.ts';

/** Without `/graphql`. */
export const API = apiBase('LINEAR_API_URL', 'https://api.linear.app');

interface GraphError {
  readonly message: string;
  readonly extensions?: {
    readonly type?: string;
    readonly code?: string;
    readonly userPresentableMessage?: string;
    readonly statusCode?: number;
  };
}

interface GraphAnswer<T> {
  readonly data?: T | null;
  readonly errors?: readonly GraphError[];
}

const send = createRest({
  name: 'Linear',
  base: API,
  // a personal key goes without "Bearer"
  headers: () => ({ authorization: secret('LINEAR_API_KEY') }),
  explain: (_status, data) => {
    const errors = errorsOf(data);
    return errors === undefined ? undefined : complaintOf(errors);
  },
});

type Variables = Readonly<Record<string, unknown>>;

/** @param document one query, which changes nothing */
export async function query<T>(ctx: ToolContext, document: string, variables: Variables = {}): Promise<T> {
  return ask<T>(ctx, document, variables, true);
}

/** @param repeatable sent twice it does no more than once */
export async function mutate<T>(ctx: ToolContext, document: string, variables: Variables, repeatable = false): Promise<T> {
  return ask<T>(ctx, document, variables, repeatable);
}

async function ask<T>(ctx: ToolContext, document: string, variables: Variables, repeatable: boolean): Promise<T> {
  const { data } = await send<GraphAnswer<T>>(ctx, { method: 'POST', path: '/graphql', json: { query: document, variables }, repeatable });
  const errors = errorsOf(data);
  if (errors !== undefined) {
    const { code = 'REFUSED', message, again = false } = complaintOf(errors);
    throw new ToolFailure(code, `Linear: ${message}.`, { retryable: again });
  }
  if (data.data === null || data.data === undefined) throw new ToolFailure('UNEXPECTED', 'Linear: the answer has no data.');
  return data.data;
}

/** What is asked for by its id: Linear answers an error for what there is not; others that speak its language answer null. */
export function found<T>(value: T | null | undefined, what: string): T {
  if (value === null || value === undefined)
    throw new ToolFailure('NOT_FOUND', `Linear: there is no ${what}, or LINEAR_API_KEY may not see it.`);
  return value;
}

export interface Connection<T> {
  readonly nodes: readonly T[];
  readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor?: string | null };
}

export function page<T, R>(
  { nodes, pageInfo }: Connection<T>,
  each: (node: T) => R,
): { readonly items: readonly R[]; readonly next_cursor?: string } {
  return { items: nodes.map(each), ...(pageInfo.hasNextPage && pageInfo.endCursor ? { next_cursor: pageInfo.endCursor } : {}) };
}

export const PAGE_INFO = 'pageInfo { hasNextPage endCursor }';

export const paging = {
  cursor: z.string().min(1).optional().describe('next_cursor of the answer before'),
  limit: z.int().min(1).max(100).default(25),
};

/** Only what is asked for: a filter with an empty part would match nothing. */
export function defined(filter: Variables): Variables | undefined {
  const entries = Object.entries(filter).filter(([, value]) => value !== undefined);
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export function isUuid(value: string): boolean {
  return UUID.test(value);
}

function errorsOf(data: unknown): readonly GraphError[] | undefined {
  const errors = typeof data === 'object' && data !== null ? (data as GraphAnswer<unknown>).errors : undefined;
  return Array.isArray(errors) && errors.length > 0 ? (errors as readonly GraphError[]) : undefined;
}

function complaintOf(errors: readonly GraphError[]): Complaint {
  const { message = '', extensions = {} } = errors[0] ?? {};
  const said = errors.map((error) => error.extensions?.userPresentableMessage ?? error.message).join('; ');
  const type = `${extensions.type ?? ''} ${extensions.code ?? ''}`.toLowerCase();
  if (/ratelimited/.test(type)) return { code: 'RATE_LIMITED', message: said, again: true };
  if (/authentication/.test(type) || extensions.statusCode === 401)
    return { code: 'UNAUTHORIZED', message: `${said}. LINEAR_API_KEY is wrong, or was revoked` };
  if (/forbidden/.test(type)) return { code: 'FORBIDDEN', message: `${said}. LINEAR_API_KEY may not do this` };
  if (/not found/i.test(`${message} ${said}`)) return { code: 'NOT_FOUND', message: said };
  if (/invalid input|validation|user_error|input_error|graphql/.test(type)) return { code: 'INVALID', message: said };
  return { message: said };
}
