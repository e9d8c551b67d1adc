/** Stripe's API, as the methods of this tool use it. */
import { secret, type ToolContext } from '@centaur/sdk';
import * as z from 'zod';
import { apiBase, type Complaint, createRest } from '../_shared/rest.ts';
import { toForm } from './form.ts';
import { type RawObject, toResult } from './results.ts';

export const API = apiBase('STRIPE_API_URL', 'https://api.stripe.com');

/** Pinned: what accounts are set to differs, and the fields of invoices and subscriptions with it. */
const VERSION = '2026-10-28.endive';

const send = createRest({
  name: 'Stripe',
  base: API,
  headers: () => ({ authorization: `Bearer ${secret('STRIPE_API_KEY')}`, 'stripe-version': VERSION }),
  explain,
});

export type Args = Readonly<Record<string, unknown>>;
export type Result = Readonly<Record<string, unknown>>;

interface RawPage {
  readonly data: readonly RawObject[];
  readonly has_more: boolean;
  /** Of searches. */
  readonly next_page?: string | null;
}

export async function get(ctx: ToolContext, path: string, query: Args = {}): Promise<Result> {
  const { data } = await send<RawObject>(ctx, { path: `${path}${asQuery(query)}` });
  return toResult(data);
}

/** Under the call's own idempotency key: however often it is sent, Stripe does it once. */
export async function post(ctx: ToolContext, path: string, args: Args = {}): Promise<Result> {
  const { data } = await send<RawObject>(ctx, {
    method: 'POST',
    path,
    form: toForm(args),
    headers: { 'idempotency-key': ctx.idempotencyKey },
    repeatable: true,
  });
  return toResult(data);
}

export async function remove(ctx: ToolContext, path: string, args: Args = {}): Promise<Result> {
  const { data } = await send<RawObject>(ctx, { method: 'DELETE', path: `${path}${asQuery(args)}` });
  return toResult(data);
}

export interface Page {
  readonly items: readonly Result[];
  readonly next_cursor?: string;
}

export async function list(ctx: ToolContext, path: string, { cursor, ...query }: Args): Promise<Page> {
  const { data } = await send<RawPage>(ctx, { path: `${path}${asQuery({ ...query, starting_after: cursor })}` });
  const last = data.data.at(-1)?.id;
  return { items: data.data.map(toResult), ...(data.has_more && last !== undefined ? { next_cursor: last } : {}) };
}

export async function search(ctx: ToolContext, path: string, { cursor, ...query }: Args): Promise<Page> {
  const { data } = await send<RawPage>(ctx, { path: `${path}/search${asQuery({ ...query, page: cursor })}` });
  return { items: data.data.map(toResult), ...(data.has_more && data.next_page ? { next_cursor: data.next_page } : {}) };
}

export function id(prefix: string, what: string): z.ZodString {
  return z
    .string()
    .regex(new RegExp(`^${prefix}_[\\w-]+$`))
    .describe(`Id of the ${what}, \`${prefix}_…\``);
}

export const paging = {
  cursor: z.string().min(1).optional().describe('next_cursor of the answer before'),
  limit: z.int().min(1).max(100).default(20),
};

/** ISO times in, seconds out. */
export const since = z.iso.datetime({ offset: true }).optional().describe('Made at this time or later');
export const until = z.iso.datetime({ offset: true }).optional().describe('Made before this time');

export function between({ since, until }: { readonly since?: string | undefined; readonly until?: string | undefined }): Args {
  const created = { gte: seconds(since), lt: seconds(until) };
  return created.gte === undefined && created.lt === undefined ? {} : { created };
}

function seconds(time: string | undefined): number | undefined {
  return time === undefined ? undefined : Math.floor(Date.parse(time) / 1000);
}

export const amount = z.int().positive().describe('In the smallest unit of the currency: 1050 for 10.50 USD, 1050 for 1050 JPY');
export const currency = z
  .string()
  .regex(/^[a-z]{3}$/)
  .describe('In small letters: `usd`');
export const metadata = z.record(z.string().max(40), z.string().max(500)).optional();

function asQuery(query: Args): string {
  const text = toForm(query).toString();
  return text === '' ? '' : `?${text}`;
}

interface StripeError {
  readonly type?: string;
  readonly code?: string;
  readonly decline_code?: string;
  readonly message?: string;
  readonly param?: string;
}

function explain(status: number, data: unknown): Complaint | undefined {
  const error = (data as { readonly error?: StripeError } | undefined)?.error;
  if (typeof error !== 'object' || error === null) return undefined;
  const details = [error.param && `parameter ${error.param}`, error.decline_code && `declined: ${error.decline_code}`].filter(Boolean);
  const said = `${error.message ?? error.type ?? ''}${details.length > 0 ? ` (${details.join(', ')})` : ''}`;
  if (status === 401) return { message: `${said}. STRIPE_API_KEY is wrong or has expired` };
  if (status === 403) return { message: `${said}. STRIPE_API_KEY lacks a permission for this: restricted keys have one for each resource` };
  // another request under the same key, or about the same object, is going on
  if (status === 409 || error.code === 'lock_timeout') return { code: 'CONFLICT', message: said, again: true };
  if (error.type === 'card_error') return { code: 'CARD_DECLINED', message: said };
  if (error.type === 'idempotency_error') return { code: 'IDEMPOTENCY_PAYLOAD_MISMATCH', message: said };
  if (error.code === 'resource_missing') return { code: 'NOT_FOUND', message: said };
  if (error.type === 'invalid_request_error') return { code: 'INVALID', message: said };
  return { message: said };
}
