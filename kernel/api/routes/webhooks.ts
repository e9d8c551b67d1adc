/** Webhooks: the door for providers, and for operators what came through it. */
import { z } from 'zod';
import type { Incoming, Received } from '../../webhooks/index.ts';
import { readIncoming } from '../body.ts';
import { forward } from '../bots.ts';
import { type Answer, type Call, ok, route } from '../route.ts';
import { page } from '../schemas.ts';
import { authoriseRun, readableWorkflows, requireScope } from '../scopes.ts';
import { type Services, webhooksOf } from '../services.ts';
import {
  NotStartedSchema,
  ReceivedSchema,
  RedeliveredSchema,
  SlugPath,
  WebhookDeliveryPath,
  WebhookDeliveryQuery,
  WebhookDeliverySchema,
  WebhooksSchema,
} from '../webhook-schemas.ts';

export const webhookRoutes = [
  route({
    id: 'listWebhooks',
    method: 'GET',
    path: '/webhooks',
    group: 'Webhooks',
    summary: 'List the webhooks that are served, and the declarations that were refused',
    access: { scope: 'workflows.read', perWorkflow: true },
    responses: {
      200: { description: 'All of them. `problems` is empty for a key that may not see every workflow', schema: WebhooksSchema },
    },
    errors: ['WEBHOOKS_UNAVAILABLE'],
    async handle({ caller }, services) {
      const readable = readableWorkflows(caller);
      const webhooks = webhooksOf(services);
      const items = (await webhooks.list()).filter((each) => readable === 'all' || readable.includes(each.workflow_name));
      const problems = readable === 'all' ? webhooks.problems().map(({ file, message }) => ({ file, message })) : [];
      return ok({ items, next: null, problems });
    },
  }),
  // before the one that takes every slug
  route({
    id: 'listWebhookDeliveries',
    method: 'GET',
    path: '/webhooks/deliveries',
    group: 'Webhooks',
    summary: 'List deliveries whose signature held, newest first',
    access: { scope: 'workflows.read', perWorkflow: true },
    query: WebhookDeliveryQuery,
    responses: { 200: { description: 'A page of them', schema: page(WebhookDeliverySchema) } },
    errors: ['WEBHOOKS_UNAVAILABLE'],
    async handle({ query, caller }, services) {
      const readable = readableWorkflows(caller);
      return ok(await webhooksOf(services).deliveries.list({ ...query, ...(readable === 'all' ? {} : { workflows: readable }) }));
    },
  }),
  route({
    id: 'redeliverWebhook',
    method: 'POST',
    path: '/webhooks/deliveries/{delivery_id}/redeliver',
    group: 'Webhooks',
    summary: 'Start a fresh run with what a delivery brought',
    description: 'The run gets the input of the delivery’s own run, under a trigger key of its own.',
    access: { scope: 'workflows:*', perWorkflow: true },
    params: WebhookDeliveryPath,
    responses: { 201: { description: 'Started', schema: RedeliveredSchema } },
    errors: ['DELIVERY_NOT_FOUND', 'RUN_NOT_FOUND', 'UNKNOWN_WORKFLOW', 'INVALID_INPUT', 'DRAINING', 'WEBHOOKS_UNAVAILABLE'],
    attribute: ({ params }) => ({ action: 'webhook.redeliver', resource: `delivery:${params.delivery_id}` }),
    async handle({ params, caller }, services) {
      const webhooks = webhooksOf(services);
      const delivery = await webhooks.deliveries.get(params.delivery_id);
      authoriseRun(caller, delivery.workflow_name);
      return { status: 201, body: await webhooks.redeliver(delivery) };
    },
  }),
  route({
    id: 'receiveWebhook',
    method: 'POST',
    path: '/webhooks/{slug}',
    group: 'Webhooks',
    summary: 'Deliver to a workflow; the provider’s signature stands for a key',
    description:
      'With any method that the workflow file allows. What is in the body, and how it is signed, is up to the provider. ' +
      'Answers when the run is committed; a delivery that comes again is answered with its first run. Slack’s question for a challenge is answered, too. ' +
      'Where the bot of a chat is connected, what is sent to its name, such as `slack`, is its own, and it answers.',
    access: 'public',
    raw: true,
    params: SlugPath,
    responses: {
      202: { description: 'A run was started', schema: ReceivedSchema },
      200: {
        description: 'The run of an earlier delivery with the same trigger key; or nothing was started, because of the filter',
        schema: z.union([ReceivedSchema, NotStartedSchema]),
      },
    },
    errors: [
      'MALFORMED_BODY',
      'BODY_CUT_OFF',
      'BAD_SIGNATURE',
      'WEBHOOK_NOT_FOUND',
      'METHOD_NOT_ALLOWED',
      'TOO_BUSY',
      'TOO_SLOW',
      'TOO_LARGE',
      'UNSUPPORTED_MEDIA_TYPE',
      'INVALID_INPUT',
      'NOT_JSON',
      'RATE_LIMITED',
      'WEBHOOK_SECRET_MISSING',
      'WEBHOOKS_UNAVAILABLE',
      'DRAINING',
      'STORE_UNAVAILABLE',
      'BOT_UNAVAILABLE',
    ],
    async handle(call, services) {
      const { slug } = call.params;
      const byBot = await forward(services.bots, { slug, request: call.request, incoming: call.incoming });
      if (byBot !== undefined) {
        services.metrics.webhook(slug, byBot.ok ? 'forwarded' : `status_${byBot.status}`);
        return byBot;
      }
      const webhooks = webhooksOf(services);
      const count = (outcome: string) => {
        // a name that anybody made up would make a line of its own for ever
        if (webhooks.serves(slug)) services.metrics.webhook(slug, outcome);
      };
      try {
        const received = await webhooks.receive(toIncoming(call, services));
        count(received.outcome);
        return toAnswer(received);
      } catch (error) {
        const { code } = error as { readonly code?: unknown };
        count(typeof code === 'string' ? code : 'INTERNAL');
        throw error;
      }
    },
  }),
];

function toIncoming({ params, request, incoming, traceId }: Call<z.output<typeof SlugPath>>, { keys }: Services): Incoming {
  const { method, headers } = request;
  return {
    slug: params.slug,
    method,
    url: new URL(request.url),
    headers,
    peer: incoming?.socket.remoteAddress,
    traceId,
    readBody: async (most) => (incoming === undefined ? new Uint8Array(await request.arrayBuffer()) : readIncoming(incoming, most)),
    authoriseForward: async () => requireScope(await keys.authenticate(headers), 'webhooks:forward'),
  };
}

function toAnswer(received: Received): Answer {
  switch (received.outcome) {
    case 'created':
    case 'known': {
      const created = received.outcome === 'created';
      const body = { ok: true, run_id: received.runId, delivery_id: received.deliveryId, created, idempotent: !created };
      return { status: created ? 202 : 200, body };
    }
    case 'filtered':
      return ok({ ok: true, filtered: true, run_id: null, created: false });
    case 'challenge':
      return ok({ challenge: received.challenge });
  }
}
