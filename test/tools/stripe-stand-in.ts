/**
 * The parts of Stripe's API that the emulator has not, answered as Stripe documents them for the version that the tool names: a form,
 * a key, the version and (where something is made) an idempotency key, which is honoured. Anything else is refused as Stripe would.
 */
import type { Handler, Said, Seen } from './front.ts';

export const KEY = 'rk_test_0123456789';

interface Made {
  readonly digest: string;
  readonly said: Said;
}

type Fields = Readonly<Record<string, unknown>>;

/** Parameters that each path takes, besides those of lists. */
const TAKES: Readonly<Record<string, string>> = {
  '/v1/refunds': 'payment_intent charge amount reason metadata',
  '/v1/subscriptions': 'customer items trial_period_days collection_method days_until_due payment_behavior metadata price status',
  '/v1/subscriptions/sub_1': 'items cancel_at_period_end proration_behavior metadata invoice_now prorate',
  '/v1/invoices':
    'customer collection_method days_until_due description metadata auto_advance pending_invoice_items_behavior subscription status',
  '/v1/invoiceitems': 'customer invoice pricing quantity amount currency description',
  '/v1/invoices/in_1/finalize': 'auto_advance',
  '/v1/invoices/in_1/pay': 'payment_method paid_out_of_band',
  '/v1/payment_intents/pi_1/capture': 'amount_to_capture',
  '/v1/balance_transactions': 'type payout',
  '/v1/events': 'types delivery_success',
};
const OF_LISTS = 'limit starting_after created query page expand';

const REFUND = {
  id: 're_1',
  object: 'refund',
  amount: 500,
  currency: 'usd',
  status: 'succeeded',
  charge: 'ch_1',
  payment_intent: 'pi_1',
  created: 1_790_000_000,
  metadata: {},
};
const PRICE = {
  id: 'price_1',
  object: 'price',
  product: 'prod_1',
  active: true,
  currency: 'usd',
  unit_amount: 900,
  type: 'recurring',
  recurring: { interval: 'month', interval_count: 1, meter: null, usage_type: 'licensed' },
  created: 1_790_000_000,
  metadata: {},
};
const SUBSCRIPTION = {
  id: 'sub_1',
  object: 'subscription',
  status: 'active',
  customer: 'cus_1',
  currency: 'usd',
  cancel_at_period_end: false,
  start_date: 1_790_000_000,
  items: {
    object: 'list',
    has_more: false,
    data: [
      {
        id: 'si_1',
        object: 'subscription_item',
        quantity: 2,
        price: PRICE,
        plan: {},
        current_period_start: 1_790_000_000,
        current_period_end: 1_792_592_000,
      },
    ],
  },
  billing_mode: { type: 'flexible' },
  metadata: {},
};
const INVOICE = {
  id: 'in_1',
  object: 'invoice',
  status: 'draft',
  customer: 'cus_1',
  currency: 'usd',
  total: 1050,
  amount_due: 1050,
  amount_paid: 0,
  lines: {
    object: 'list',
    has_more: false,
    data: [{ id: 'il_1', object: 'line_item', amount: 1050, currency: 'usd', description: 'Work', quantity: 1, taxes: [] }],
  },
  payment_settings: { payment_method_types: null },
  metadata: {},
};
const MOVED = {
  id: 'txn_1',
  object: 'balance_transaction',
  amount: 1000,
  fee: 59,
  net: 941,
  currency: 'usd',
  type: 'charge',
  reporting_category: 'charge',
  status: 'pending',
  source: 'ch_1',
  available_on: 1_790_086_400,
  created: 1_790_000_000,
  fee_details: [],
};
const EVENT = {
  id: 'evt_1',
  object: 'event',
  type: 'refund.created',
  api_version: '2026-10-28.endive',
  created: 1_790_000_000,
  data: { object: REFUND },
  pending_webhooks: 0,
  request: null,
};

export function stripeStandIn(): Readonly<Record<string, Handler>> {
  const made = new Map<string, Made>();
  const answers = (object: Fields, ...more: Fields[]): Handler => strict(made, () => ({ body: Object.assign({}, object, ...more) }));
  const list = (...all: Fields[]): Handler =>
    strict(made, ({ query }) => {
      const start = query.has('starting_after') ? all.findIndex(({ id }) => id === query.get('starting_after')) + 1 : 0;
      const end = start + Number(query.get('limit') ?? 10);
      return { body: { object: 'list', data: all.slice(start, end), has_more: end < all.length } };
    });
  return {
    'POST /v1/refunds': strict(made, ({ body }) => ({
      body: { ...REFUND, amount: Number(new URLSearchParams(body.toString()).get('amount') ?? 2000) },
    })),
    'GET /v1/refunds/re_1': answers(REFUND),
    'GET /v1/refunds': list(REFUND, { ...REFUND, id: 're_2' }, { ...REFUND, id: 're_3' }),
    'POST /v1/payment_intents/pi_1/capture': answers({
      id: 'pi_1',
      object: 'payment_intent',
      amount: 2000,
      amount_received: 1500,
      currency: 'usd',
      status: 'succeeded',
      client_secret: 'pi_1_secret_x',
    }),
    'POST /v1/subscriptions': answers(SUBSCRIPTION),
    'GET /v1/subscriptions': list(SUBSCRIPTION),
    'GET /v1/subscriptions/sub_1': answers(SUBSCRIPTION),
    'POST /v1/subscriptions/sub_1': answers(SUBSCRIPTION, { cancel_at_period_end: true }),
    'DELETE /v1/subscriptions/sub_1': answers(SUBSCRIPTION, { status: 'canceled', canceled_at: 1_790_000_100 }),
    'POST /v1/invoices': answers(INVOICE),
    'GET /v1/invoices': list(INVOICE),
    'GET /v1/invoices/in_1': answers(INVOICE),
    'POST /v1/invoiceitems': answers({
      id: 'ii_1',
      object: 'invoiceitem',
      customer: 'cus_1',
      invoice: 'in_1',
      amount: 1050,
      currency: 'usd',
      date: 1_790_000_000,
    }),
    'POST /v1/invoices/in_1/finalize': answers(INVOICE, { status: 'open', number: 'A-1' }),
    'POST /v1/invoices/in_1/send': answers(INVOICE, { status: 'open' }),
    'POST /v1/invoices/in_1/pay': answers(INVOICE, { status: 'paid', amount_paid: 1050 }),
    'POST /v1/invoices/in_1/void': answers(INVOICE, { status: 'void' }),
    'GET /v1/balance': answers({
      object: 'balance',
      livemode: false,
      available: [{ amount: 941, currency: 'usd', source_types: { card: 941 } }],
      pending: [],
    }),
    'GET /v1/balance_transactions': list(MOVED),
    'GET /v1/events': list(EVENT),
    'GET /v1/events/evt_1': answers(EVENT),
    'GET /v1/(customers|payment_intents|charges|invoices|subscriptions|products|prices)/search': strict(made, ({ query }) =>
      query.get('query') === "email:'ana@example.com'"
        ? {
            body: {
              object: 'search_result',
              data: [{ id: `cus_${query.get('page') ?? 1}`, object: 'customer', email: 'ana@example.com' }],
              has_more: !query.has('page'),
              next_page: query.has('page') ? null : '2',
            },
          }
        : refusal(400, { type: 'invalid_request_error', message: 'Invalid query', param: 'query' }),
    ),
  };
}

function strict(made: Map<string, Made>, handler: (seen: Seen) => Said): Handler {
  return (seen) => {
    const problem = problemOf(seen);
    if (problem !== undefined) return problem;
    if (!seen.line.startsWith('POST ')) return handler(seen);
    const key = String(seen.headers['idempotency-key']);
    const digest = `${seen.line} ${seen.body.toString()}`;
    const before = made.get(key);
    if (before !== undefined)
      return before.digest === digest
        ? before.said
        : refusal(400, { type: 'idempotency_error', message: 'Keys can only be used with the same parameters.' });
    const said = handler(seen);
    made.set(key, { digest, said });
    return said;
  };
}

function problemOf({ line, headers, query, body }: Seen): Said | undefined {
  const [method = '', path = ''] = line.split(' ');
  if (headers.authorization !== `Bearer ${KEY}`)
    return refusal(401, { type: 'invalid_request_error', message: 'Invalid API Key provided: rk_test_****' });
  if (headers['stripe-version'] !== '2026-10-28.endive')
    return refusal(400, { type: 'invalid_request_error', message: 'Invalid Stripe API version' });
  if (method === 'POST' && !headers['idempotency-key'])
    return refusal(400, { type: 'invalid_request_error', message: 'the stand-in wants an idempotency key' });
  if (method === 'POST' && body.length > 0 && !headers['content-type']?.startsWith('application/x-www-form-urlencoded'))
    return refusal(400, { type: 'invalid_request_error', message: 'Invalid request: the body has to be a form' });
  const known = new Set([...(TAKES[path] ?? '').split(' '), ...(method === 'GET' ? OF_LISTS.split(' ') : [])]);
  const names = [...query.keys(), ...new URLSearchParams(body.toString()).keys()].map((name) => name.replace(/\[.*$/, ''));
  const unknown = names.find((name) => !known.has(name));
  return unknown === undefined
    ? undefined
    : refusal(400, {
        type: 'invalid_request_error',
        code: 'parameter_unknown',
        message: `Received unknown parameter: ${unknown}`,
        param: unknown,
      });
}

function refusal(status: number, error: Fields): Said {
  return { status, body: { error } };
}
