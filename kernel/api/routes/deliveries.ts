/** The outbox of final answers, as any chat client uses it. */
import { ok, route } from '../route.ts';
import { page } from '../schemas.ts';
import { leaving, threadsOf } from '../services.ts';
import {
  ClaimBody,
  DeliveredBody,
  DeliveriesSchema,
  DeliveryQuery,
  DeliverySchema,
  DeliveryViewSchema,
  ExecutionPath,
  FailedBody,
  HeartbeatBody,
} from '../thread-schemas.ts';

export const deliveryRoutes = [
  route({
    id: 'listDeliveries',
    method: 'GET',
    path: '/agent/final-deliveries',
    group: 'Deliveries',
    summary: 'List final answers that are or were owed, newest first',
    access: { scope: 'threads.read' },
    query: DeliveryQuery,
    responses: { 200: { description: 'A page of them', schema: page(DeliveryViewSchema) } },
    handle: async ({ query }, services) => ok(await threadsOf(services).deliveries.list(query)),
  }),
  route({
    id: 'claimDeliveries',
    method: 'POST',
    path: '/agent/final-deliveries/claim',
    group: 'Deliveries',
    summary: 'Take final answers to deliver',
    description:
      'Each is this consumer’s until its lease ends; then another may take it. Deliver it, and say so. With `live` it has no payload while its turn runs: follow the turn’s events, renew the lease, and the answer is there with the next claim or in the execution.',
    access: { scope: 'deliveries.claim' },
    body: ClaimBody,
    example: { consumer_id: 'slackbot-1', limit: 5, platform: 'slack' },
    responses: { 200: { description: 'What was taken, oldest first', schema: DeliveriesSchema } },
    handle: async ({ body, request }, services) =>
      ok({ ok: true, deliveries: await threadsOf(services).deliveries.claim(body, leaving(request, services)) }),
  }),
  route({
    id: 'renewDelivery',
    method: 'POST',
    path: '/agent/final-deliveries/{execution_id}/heartbeat',
    group: 'Deliveries',
    summary: 'Keep a claim while delivering',
    access: { scope: 'deliveries.claim' },
    params: ExecutionPath,
    body: HeartbeatBody,
    example: { consumer_id: 'slackbot-1' },
    responses: { 200: { description: 'Renewed', schema: DeliverySchema } },
    errors: ['DELIVERY_NOT_CLAIMED', 'EXECUTION_NOT_FOUND'],
    async handle({ params: { execution_id }, body }, services) {
      const { renew } = threadsOf(services).deliveries;
      return ok({ ok: true, execution_id, ...(await renew(execution_id, body.consumer_id, body.lease_seconds, body.progress)) });
    },
  }),
  route({
    id: 'settleDelivery',
    method: 'POST',
    path: '/agent/final-deliveries/{execution_id}/delivered',
    group: 'Deliveries',
    summary: 'Say that an answer was delivered',
    access: { scope: 'deliveries.claim' },
    params: ExecutionPath,
    body: DeliveredBody,
    example: { consumer_id: 'slackbot-1' },
    responses: { 200: { description: 'Nothing is owed any more', schema: DeliverySchema } },
    errors: ['DELIVERY_NOT_CLAIMED', 'EXECUTION_NOT_FOUND'],
    async handle({ params: { execution_id }, body }, services) {
      const settled = await threadsOf(services).deliveries.settle(execution_id, body.consumer_id);
      return ok({ ok: true, execution_id, state: 'delivered', ...settled });
    },
  }),
  route({
    id: 'failDelivery',
    method: 'POST',
    path: '/agent/final-deliveries/{execution_id}/failed',
    group: 'Deliveries',
    summary: 'Say that delivering failed',
    description: 'It is due again after a while, up to 50 times; then, or when it can never succeed, it is a dead letter.',
    access: { scope: 'deliveries.claim' },
    params: ExecutionPath,
    body: FailedBody,
    example: { consumer_id: 'slackbot-1', error: 'rate limited', retry_after_seconds: 30 },
    responses: { 200: { description: 'When it is tried again, if ever', schema: DeliverySchema } },
    errors: ['DELIVERY_NOT_CLAIMED', 'EXECUTION_NOT_FOUND'],
    async handle({ params: { execution_id }, body }, services) {
      const { error_class, error, ...rest } = body;
      const failed = { ...rest, error: error_class === undefined ? error : `${error_class}: ${error}` };
      return ok({ ok: true, execution_id, ...(await threadsOf(services).deliveries.fail(execution_id, failed)) });
    },
  }),
  route({
    id: 'retryDelivery',
    method: 'POST',
    path: '/agent/final-deliveries/{execution_id}/retry',
    group: 'Deliveries',
    summary: 'Make a dead letter due again',
    access: { scope: 'admin' },
    params: ExecutionPath,
    responses: { 200: { description: 'Due at once', schema: DeliverySchema } },
    errors: ['DELIVERY_NOT_CLAIMED', 'EXECUTION_NOT_FOUND'],
    attribute: ({ params }) => ({ action: 'delivery.retry', resource: `execution:${params.execution_id.slice(0, 100)}` }),
    async handle({ params: { execution_id } }, services) {
      await threadsOf(services).deliveries.retry(execution_id);
      return ok({ ok: true, execution_id, state: 'pending' });
    },
  }),
];
