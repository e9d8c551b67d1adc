/** The inbox of chat services, as any ingress uses it. */
import {
  ClaimEventsBody,
  FailEventBody,
  InboxChangeSchema,
  InboxEventsSchema,
  InboxPath,
  InboxQuery,
  InboxViewSchema,
  PutEventBody,
  RenewEventBody,
  SettleEventBody,
} from '../inbox-schemas.ts';
import { ok, route } from '../route.ts';
import { page } from '../schemas.ts';
import { leaving, threadsOf } from '../services.ts';

export const inboxRoutes = [
  route({
    id: 'putInboxEvent',
    method: 'POST',
    path: '/agent/inbox',
    group: 'Inbox',
    summary: 'Store what a chat service said',
    description: 'It has been committed when this answers: then answer the service. What comes again under its id is not stored again.',
    access: { scope: 'inbox.use' },
    body: PutEventBody,
    maxBodyBytes: 2 * 1024 * 1024,
    example: { platform: 'slack', event_id: 'Ev0123', conversation: 'slack:T1:C1:1700000000.000100', body: { type: 'app_mention' } },
    responses: {
      200: { description: 'It was known', schema: InboxChangeSchema },
      201: { description: 'Stored', schema: InboxChangeSchema },
    },
    async handle({ body }, services) {
      const { platform, event_id } = body;
      const stored = await threadsOf(services).inbox.put(body);
      return { status: stored.created ? 201 : 200, body: { ok: true, platform, event_id, ...stored } };
    },
  }),
  route({
    id: 'listInboxEvents',
    method: 'GET',
    path: '/agent/inbox',
    group: 'Inbox',
    summary: 'List what chat services said lately, newest first, without what it was',
    access: { scope: 'threads.read' },
    query: InboxQuery,
    responses: { 200: { description: 'A page of them', schema: page(InboxViewSchema) } },
    handle: async ({ query }, services) => ok(await threadsOf(services).inbox.list(query)),
  }),
  route({
    id: 'claimInboxEvents',
    method: 'POST',
    path: '/agent/inbox/claim',
    group: 'Inbox',
    summary: 'Take events to act on',
    description:
      'Of each conversation the first, when nobody has it. Each is this consumer’s until its lease ends; then another may take it. Act on it, and say so.',
    access: { scope: 'inbox.use' },
    body: ClaimEventsBody,
    example: { consumer_id: 'slackbot-1', platform: 'slack', wait_ms: 20_000 },
    responses: { 200: { description: 'What was taken, oldest first', schema: InboxEventsSchema } },
    handle: async ({ body, request }, services) =>
      ok({ ok: true, events: await threadsOf(services).inbox.claim(body, leaving(request, services)) }),
  }),
  route({
    id: 'renewInboxEvent',
    method: 'POST',
    path: '/agent/inbox/{platform}/{event_id}/heartbeat',
    group: 'Inbox',
    summary: 'Keep a claim while acting on it',
    access: { scope: 'inbox.use' },
    params: InboxPath,
    body: RenewEventBody,
    example: { consumer_id: 'slackbot-1' },
    responses: { 200: { description: 'Renewed', schema: InboxChangeSchema } },
    errors: ['EVENT_NOT_CLAIMED'],
    async handle({ params, body }, services) {
      await threadsOf(services).inbox.renew(params.platform, params.event_id, body.consumer_id, body.lease_seconds);
      return ok({ ok: true, ...params, state: 'claimed' });
    },
  }),
  route({
    id: 'settleInboxEvent',
    method: 'POST',
    path: '/agent/inbox/{platform}/{event_id}/done',
    group: 'Inbox',
    summary: 'Say that an event was acted on',
    description: 'What it said is deleted. The next one of its conversation may be claimed.',
    access: { scope: 'inbox.use' },
    params: InboxPath,
    body: SettleEventBody,
    example: { consumer_id: 'slackbot-1' },
    responses: { 200: { description: 'It is over', schema: InboxChangeSchema } },
    errors: ['EVENT_NOT_CLAIMED'],
    async handle({ params, body }, services) {
      const settled = await threadsOf(services).inbox.settle(params.platform, params.event_id, body.consumer_id);
      return ok({ ok: true, ...params, state: 'done', ...settled });
    },
  }),
  route({
    id: 'failInboxEvent',
    method: 'POST',
    path: '/agent/inbox/{platform}/{event_id}/failed',
    group: 'Inbox',
    summary: 'Say that acting on an event failed',
    description:
      'It is due again after a while, up to 10 times, and its conversation waits for it; then, or when it can never succeed, it is given up.',
    access: { scope: 'inbox.use' },
    params: InboxPath,
    body: FailEventBody,
    example: { consumer_id: 'slackbot-1', error: 'the thread could not be read', retry_after_seconds: 30 },
    responses: { 200: { description: 'Whether it is tried again', schema: InboxChangeSchema } },
    errors: ['EVENT_NOT_CLAIMED'],
    async handle({ params, body }, services) {
      return ok({ ok: true, ...params, ...(await threadsOf(services).inbox.fail(params.platform, params.event_id, body)) });
    },
  }),
  route({
    id: 'retryInboxEvent',
    method: 'POST',
    path: '/agent/inbox/{platform}/{event_id}/retry',
    group: 'Inbox',
    summary: 'Make an event due again that was given up',
    description: 'It comes last in its conversation. One that waits for its next try is due at once, and keeps its place.',
    access: { scope: 'admin' },
    params: InboxPath,
    responses: { 200: { description: 'Due at once', schema: InboxChangeSchema } },
    errors: ['EVENT_NOT_CLAIMED'],
    attribute: ({ params }) => ({ action: 'inbox.retry', resource: `event:${params.platform}/${params.event_id}` }),
    async handle({ params }, services) {
      await threadsOf(services).inbox.retry(params.platform, params.event_id);
      return ok({ ok: true, ...params, state: 'pending' });
    },
  }),
];
