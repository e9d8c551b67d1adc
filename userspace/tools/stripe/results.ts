/** Stripe's objects with the fields that people look at; the others, and what could be used to pay, stay out. */
import { compact } from '../_shared/results.ts';

export interface RawObject {
  readonly id?: string;
  readonly object: string;
  readonly deleted?: boolean;
  readonly [field: string]: unknown;
}

/** By the name that Stripe gives the kind of object. Of kinds that are not here all fields are kept. */
const FIELDS: Readonly<Record<string, string>> = {
  customer: 'name email phone description currency balance delinquent address created metadata',
  payment_intent:
    'amount amount_received amount_capturable currency status customer description payment_method latest_charge capture_method ' +
    'cancellation_reason last_payment_error receipt_email created canceled_at metadata',
  charge:
    'amount amount_captured amount_refunded currency status paid captured refunded disputed customer payment_intent description ' +
    'failure_code failure_message receipt_url receipt_email created metadata',
  refund: 'amount currency status reason charge payment_intent failure_reason pending_reason created metadata',
  invoice:
    'number status customer customer_email customer_name currency total amount_due amount_paid amount_remaining collection_method ' +
    'auto_advance billing_reason attempt_count next_payment_attempt due_date period_start period_end description hosted_invoice_url ' +
    'invoice_pdf lines created metadata',
  invoiceitem: 'customer invoice amount currency quantity description date',
  line_item: 'amount currency quantity description',
  subscription:
    'status customer currency collection_method cancel_at cancel_at_period_end canceled_at ended_at start_date trial_end latest_invoice ' +
    'description items created metadata',
  subscription_item: 'price quantity current_period_start current_period_end',
  product: 'name description active default_price created metadata',
  price: 'product active currency unit_amount unit_amount_decimal billing_scheme type recurring nickname created metadata',
  balance_transaction: 'amount fee net currency type reporting_category status source description available_on created',
  event: 'type api_version created data',
};

const TIMES = new Set(
  (
    'created canceled_at cancel_at ended_at start_date trial_end current_period_start current_period_end due_date period_start period_end ' +
    'next_payment_attempt available_on date'
  ).split(' '),
);

/** Without what could be used to pay, wherever in it that is: `client_secret`, `secret` of an ephemeral key or a webhook. */
export function toResult(raw: RawObject): Readonly<Record<string, unknown>> {
  return shapeOf(withoutSecrets(raw) as RawObject);
}

function withoutSecrets(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutSecrets);
  if (typeof value !== 'object' || value === null) return value;
  const kept = Object.entries(value).filter(([name]) => !/(?:^|_)secret$/.test(name));
  return Object.fromEntries(kept.map(([name, each]) => [name, withoutSecrets(each)]));
}

function shapeOf(raw: RawObject): Readonly<Record<string, unknown>> {
  if (raw.deleted === true) return { id: raw.id, object: raw.object, deleted: true };
  const kept = FIELDS[raw.object]?.split(' ') ?? Object.keys(raw);
  return compact({ id: raw.id, object: raw.object, ...Object.fromEntries(kept.map((name) => [name, valueOf(name, raw[name])])) });
}

function valueOf(name: string, value: unknown): unknown {
  if (TIMES.has(name) && typeof value === 'number') return new Date(value * 1000).toISOString();
  if (typeof value !== 'object' || value === null) return value;
  if (name === 'last_payment_error') return errorOf(value);
  if (name === 'metadata' && Object.keys(value).length === 0) return undefined;
  if (name === 'recurring') return recurringOf(value);
  // of an event: the object as it was then, and what changed
  if (name === 'data') return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, isObject(each) ? shapeOf(each) : each]));
  if (isList(value)) return value.data.map(shapeOf);
  return isObject(value) ? shapeOf(value) : value;
}

/** It may carry the whole payment method. */
function errorOf(value: object): unknown {
  const { code, decline_code, message, type } = value as Readonly<Record<string, unknown>>;
  return compact({ code, decline_code, message, type });
}

function recurringOf(value: object): unknown {
  const { interval, interval_count, usage_type } = value as Readonly<Record<string, unknown>>;
  return compact({ interval, interval_count, usage_type });
}

function isObject(value: unknown): value is RawObject {
  return typeof value === 'object' && value !== null && typeof (value as RawObject).object === 'string';
}

function isList(value: object): value is { readonly data: readonly RawObject[] } {
  return (value as RawObject).object === 'list' && Array.isArray((value as { data?: unknown }).data);
}
