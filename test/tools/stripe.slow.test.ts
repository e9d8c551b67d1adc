/** The tool `stripe` against the emulator and, for what that has not, the stand-in. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { ToolDefinition } from '@centaur/sdk';
import { type Emulator, startEmulator } from '../hosts-e2e/emulate.ts';
import { callMethod, failureOf } from './call.ts';
import { type Front, startFront } from './front.ts';
import { KEY, stripeStandIn } from './stripe-stand-in.ts';

let emulator: Emulator;
let front: Front;
let stripe: ToolDefinition;

before(async () => {
  emulator = await startEmulator('stripe', {
    tokens: { [KEY]: { login: 'shop', scopes: [] } },
    stripe: { customers: [{ email: 'seed@example.com' }] },
  });
  front = await startFront(stripeStandIn());
  front.target = emulator.url;
  process.env['STRIPE_API_URL'] = front.url;
  process.env['STRIPE_API_KEY'] = KEY;
  stripe = (await import('../../userspace/tools/stripe/tool.ts')).default;
});

after(async () => {
  front.close();
  await emulator.close();
});

const sent = (): Record<string, string> => Object.fromEntries(new URLSearchParams(front.last.body.toString()));

test('a customer', async () => {
  const made = await callMethod(stripe, 'create_customer', { email: 'ana@example.com', name: 'Ana', metadata: { plan: 'pro' } });
  assert.match(made.id, /^cus_/);
  assert.equal(sent()['metadata[plan]'], 'pro');
  assert.match(made.created, /^\d{4}-\d\d-\d\dT/, 'times are such that people can read');
  const changed = await callMethod(stripe, 'update_customer', { customer: made.id, name: 'Ana Lima' });
  assert.deepEqual([changed.name, changed.email], ['Ana Lima', 'ana@example.com']);
  assert.equal((await callMethod(stripe, 'get_customer', { customer: made.id })).name, 'Ana Lima');
  front.next({ body: { id: 'cus_9', object: 'customer', deleted: true } });
  assert.deepEqual(await callMethod(stripe, 'get_customer', { customer: 'cus_9' }), { id: 'cus_9', object: 'customer', deleted: true });
});

test('pages end', async () => {
  for (let at = 0; at < 3; at++) await callMethod(stripe, 'create_customer', { name: `Number ${at}` });
  const ids: string[] = [];
  let cursor: string | undefined;
  do {
    const page: { items: { id: string }[]; next_cursor?: string } = await callMethod(stripe, 'list_customers', {
      limit: 2,
      ...(cursor === undefined ? {} : { cursor }),
    });
    ids.push(...page.items.map(({ id }) => id));
    cursor = page.next_cursor;
  } while (cursor !== undefined && ids.length < 50);
  assert.ok(ids.length >= 5);
  assert.equal(new Set(ids).size, ids.length);
});

test('a payment is made, and what could be used to pay stays out of the answer', async () => {
  const { id: customer } = await callMethod(stripe, 'create_customer', { email: 'payer@example.com' });
  const begun = await callMethod(stripe, 'create_payment_intent', { amount: 2000, currency: 'usd', customer });
  assert.deepEqual([begun.amount, begun.currency, begun.customer], [2000, 'usd', customer]);
  assert.equal(begun.client_secret, undefined);
  assert.deepEqual(
    [sent()['automatic_payment_methods[enabled]'], sent()['automatic_payment_methods[allow_redirects]']],
    ['true', undefined],
  );
  const confirmed = await callMethod(stripe, 'confirm_payment_intent', { payment_intent: begun.id, payment_method: 'pm_card_visa' });
  assert.equal(confirmed.status, 'succeeded');
  assert.equal((await callMethod(stripe, 'get_payment_intent', { payment_intent: begun.id })).status, 'succeeded');
  const { items } = await callMethod(stripe, 'list_payment_intents', { customer });
  assert.deepEqual(
    items.map(({ id }: { id: string }) => id),
    [begun.id],
  );
  const charges = await callMethod(stripe, 'list_charges', { payment_intent: begun.id });
  assert.equal(charges.items[0].amount, 2000);
  assert.equal((await callMethod(stripe, 'get_charge', { charge: charges.items[0].id })).payment_intent, begun.id);

  const other = await callMethod(stripe, 'create_payment_intent', { amount: 10, currency: 'eur' });
  assert.equal(
    (await callMethod(stripe, 'cancel_payment_intent', { payment_intent: other.id, cancellation_reason: 'abandoned' })).status,
    'canceled',
  );
  assert.equal(
    (await callMethod(stripe, 'capture_payment_intent', { payment_intent: 'pi_1', amount_to_capture: 1500 })).amount_received,
    1500,
  );
  assert.equal(
    (await failureOf(callMethod(stripe, 'create_payment_intent', { amount: 10, currency: 'eur', confirm: true }))).code,
    'INVALID_ARGUMENTS',
  );
});

test('a refund is made once for each idempotency key', async () => {
  const refund = await callMethod(
    stripe,
    'create_refund',
    { payment_intent: 'pi_1', amount: 500, reason: 'duplicate' },
    { idempotencyKey: 'k1' },
  );
  assert.deepEqual([refund.amount, refund.status, refund.metadata], [500, 'succeeded', undefined]);
  assert.equal(front.last.headers['idempotency-key'], 'k1');
  await callMethod(stripe, 'create_refund', { payment_intent: 'pi_1', amount: 500, reason: 'duplicate' }, { idempotencyKey: 'k1' });
  const other = await failureOf(callMethod(stripe, 'create_refund', { payment_intent: 'pi_1', amount: 900 }, { idempotencyKey: 'k1' }));
  assert.equal(other.code, 'IDEMPOTENCY_PAYLOAD_MISMATCH');
  assert.equal((await callMethod(stripe, 'get_refund', { refund: 're_1' })).id, 're_1');
  const first = await callMethod(stripe, 'list_refunds', { limit: 2 });
  assert.equal(first.next_cursor, 're_2');
  const second = await callMethod(stripe, 'list_refunds', { limit: 2, cursor: first.next_cursor });
  assert.deepEqual([second.items.length, second.next_cursor], [1, undefined]);
  for (const wrong of [{}, { payment_intent: 'pi_1', charge: 'ch_1' }, { charge: 'ch_1', amount: 1.5 }, { charge: '../customers' }])
    assert.equal((await failureOf(callMethod(stripe, 'create_refund', wrong))).code, 'INVALID_ARGUMENTS', JSON.stringify(wrong));
});

test('products and prices', async () => {
  const product = await callMethod(stripe, 'create_product', { name: 'Door' });
  const price = await callMethod(stripe, 'create_price', {
    product: product.id,
    currency: 'usd',
    unit_amount: 900,
    recurring: { interval: 'month' },
  });
  assert.equal(sent()['recurring[interval]'], 'month');
  assert.equal((await callMethod(stripe, 'get_product', { product: product.id })).name, 'Door');
  assert.equal((await callMethod(stripe, 'get_price', { price: price.id })).unit_amount, 900);
  assert.ok((await callMethod(stripe, 'list_products')).items.length > 0);
  assert.ok((await callMethod(stripe, 'list_prices', { product: product.id })).items.length > 0);
});

test('a subscription', async () => {
  const made = await callMethod(stripe, 'create_subscription', { customer: 'cus_1', items: [{ price: 'price_1', quantity: 2 }] });
  assert.deepEqual([sent()['items[0][price]'], sent()['items[0][quantity]']], ['price_1', '2']);
  assert.deepEqual(made.items[0], {
    id: 'si_1',
    object: 'subscription_item',
    price: {
      id: 'price_1',
      object: 'price',
      product: 'prod_1',
      active: true,
      currency: 'usd',
      unit_amount: 900,
      type: 'recurring',
      recurring: {
        interval: 'month',
        interval_count: 1,
        usage_type: 'licensed',
      },
      created: '2026-09-21T14:13:20.000Z',
    },
    quantity: 2,
    current_period_start: '2026-09-21T14:13:20.000Z',
    current_period_end: '2026-10-21T14:13:20.000Z',
  });
  assert.equal((await callMethod(stripe, 'get_subscription', { subscription: 'sub_1' })).status, 'active');
  assert.equal((await callMethod(stripe, 'list_subscriptions', { customer: 'cus_1', status: 'all' })).items.length, 1);
  assert.equal(
    (await callMethod(stripe, 'update_subscription', { subscription: 'sub_1', cancel_at_period_end: true })).cancel_at_period_end,
    true,
  );
  const ended = await callMethod(stripe, 'cancel_subscription', { subscription: 'sub_1', prorate: true });
  assert.deepEqual([ended.status, front.last.query.get('prorate')], ['canceled', 'true']);
  const unsaid = await failureOf(
    callMethod(stripe, 'create_subscription', { customer: 'cus_1', items: [{ price: 'p' }], collection_method: 'send_invoice' }),
  );
  assert.match(unsaid.message, /days_until_due/);
});

test('an invoice, from the draft to the money', async () => {
  const draft = await callMethod(stripe, 'create_invoice', { customer: 'cus_1', days_until_due: 14 });
  assert.deepEqual([draft.status, sent()['auto_advance']], ['draft', 'false']);
  const invoice = { invoice: 'in_1' };
  await callMethod(stripe, 'add_invoice_line', { customer: 'cus_1', ...invoice, price: 'price_1', quantity: 1 });
  assert.equal(sent()['pricing[price]'], 'price_1');
  await callMethod(stripe, 'add_invoice_line', { customer: 'cus_1', ...invoice, amount: 1050, currency: 'usd', description: 'Work' });
  assert.deepEqual((await callMethod(stripe, 'get_invoice', invoice)).lines, [
    { id: 'il_1', object: 'line_item', amount: 1050, currency: 'usd', quantity: 1, description: 'Work' },
  ]);
  assert.equal((await callMethod(stripe, 'finalize_invoice', invoice)).number, 'A-1');
  assert.equal((await callMethod(stripe, 'send_invoice', invoice)).status, 'open');
  assert.equal((await callMethod(stripe, 'pay_invoice', invoice)).amount_paid, 1050);
  assert.equal((await callMethod(stripe, 'void_invoice', invoice)).status, 'void');
  assert.equal((await callMethod(stripe, 'list_invoices', { status: 'open', since: '2026-09-21T14:13:20Z' })).items.length, 1);
  assert.equal(front.last.query.get('created[gte]'), '1790000000');
  assert.deepEqual(
    [stripe.methods['send_invoice']?.risk, stripe.methods['pay_invoice']?.risk, stripe.methods['void_invoice']?.risk],
    ['customer_facing', 'financial', 'destructive'],
  );
});

test('the balance, what moved it, and what happened', async () => {
  assert.deepEqual(await callMethod(stripe, 'get_balance'), {
    available: [{ amount: 941, currency: 'usd' }],
    pending: [],
    livemode: false,
  });
  assert.equal((await callMethod(stripe, 'list_balance_transactions', { type: 'charge' })).items[0].net, 941);
  assert.equal((await callMethod(stripe, 'list_events', { types: ['refund.created', 'charge.*'] })).items[0].data.object.id, 're_1');
  assert.equal(front.last.query.get('types[1]'), 'charge.*');
  assert.equal((await callMethod(stripe, 'get_event', { event: 'evt_1' })).data.object.status, 'succeeded');
});

test('search, to its last page', async () => {
  const query = { resource: 'customers', query: "email:'ana@example.com'" };
  const first = await callMethod(stripe, 'search', query);
  assert.deepEqual([first.items[0].id, first.next_cursor], ['cus_1', '2']);
  const second = await callMethod(stripe, 'search', { ...query, cursor: '2' });
  assert.deepEqual([second.items[0].id, second.next_cursor], ['cus_2', undefined]);
  const wrong = await failureOf(callMethod(stripe, 'search', { resource: 'charges', query: 'x' }));
  assert.deepEqual([wrong.code, wrong.message], ['INVALID', 'Stripe: Invalid query (parameter query).']);
});

test('what goes wrong says what to do', async () => {
  assert.equal((await failureOf(callMethod(stripe, 'get_customer', { customer: 'cus_none' }))).code, 'NOT_FOUND');

  process.env['STRIPE_API_KEY'] = 'rk_test_wrong';
  const stranger = await failureOf(callMethod(stripe, 'get_balance'));
  process.env['STRIPE_API_KEY'] = KEY;
  assert.deepEqual([stranger.code, stranger.retryable], ['UNAUTHORIZED', false]);
  assert.match(stranger.message, /STRIPE_API_KEY/);

  front.next({
    status: 402,
    body: { error: { type: 'card_error', code: 'card_declined', decline_code: 'insufficient_funds', message: 'Your card was declined.' } },
  });
  const declined = await failureOf(callMethod(stripe, 'confirm_payment_intent', { payment_intent: 'pi_1' }));
  assert.deepEqual([declined.code, declined.retryable], ['CARD_DECLINED', false]);
  assert.match(declined.message, /insufficient_funds/);

  front.next({
    status: 429,
    headers: { 'retry-after': '2' },
    body: { error: { type: 'rate_limit_error', message: 'Too many requests.' } },
  });
  const limited = await failureOf(callMethod(stripe, 'create_refund', { charge: 'ch_1' }));
  assert.deepEqual([limited.code, limited.retryable], ['RATE_LIMITED', true]);
  assert.match(limited.message, /after 2 s/);

  // under its key it may be sent again, whatever became of it
  front.next({ status: 500, body: { error: { type: 'api_error', message: 'Sorry.' } } });
  assert.equal((await failureOf(callMethod(stripe, 'create_refund', { charge: 'ch_1' }))).retryable, true);
  front.next({ status: 409, body: { error: { type: 'idempotency_error', code: 'idempotency_key_in_use', message: 'In use.' } } });
  assert.equal((await failureOf(callMethod(stripe, 'create_refund', { charge: 'ch_1' }))).retryable, true);
});
