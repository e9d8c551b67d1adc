/** Chats, as any bot uses them; and the links that people make. */
import { readExternalId, type Identity } from '@centaur/sdk';
import {
  AdminLinkBody,
  ChatLinkSchema,
  ChatPersonSchema,
  ClaimNoticesBody,
  FailedNoticeBody,
  IdentityBody,
  InteractionOutcomeSchema,
  LinkBody,
  LinkCodeBody,
  LinkCodeSchema,
  LinkedSchema,
  LinkPath,
  PendingLinkSchema,
  NoticeChangeSchema,
  NoticePath,
  NoticesSchema,
  ShownNoticeBody,
  SlackInteractionBody,
} from '../chat-schemas.ts';
import { getApproval } from '../../policy/index.ts';
import { ApprovalDetailSchema } from '../approval-schemas.ts';
import { ApiError } from '../errors.ts';
import { actorOf, ok, route } from '../route.ts';
import { page } from '../schemas.ts';
import { type Caller, type CallerUser, isAdmin } from '../scopes.ts';
import { chatsOf, installationOf, leaving } from '../services.ts';
import { checksOf, known } from './approvals.ts';

const BOT = { scope: 'chats.use' } as const;
const OWN = { scope: 'admin', person: true } as const;

export const chatRoutes = [
  route({
    id: 'makeLinkCode',
    method: 'POST',
    path: '/chats/links/codes',
    group: 'Chats',
    summary: 'Make a code that links your account at a chat service to you',
    description: 'Type it to the bot there, within ten minutes; then confirm the account that has brought it.',
    access: 'person',
    body: LinkCodeBody,
    example: { platform: 'slack' },
    responses: { 201: { description: 'The code, this once', schema: LinkCodeSchema } },
    errors: ['TOO_MANY_CODES', 'CHATS_UNAVAILABLE'],
    handle: async ({ body, caller }, services) => ({
      status: 201,
      body: await chatsOf(services).makeCode(personOf(caller), body.platform),
    }),
  }),
  route({
    id: 'linkByCode',
    method: 'POST',
    path: '/chats/links',
    group: 'Chats',
    summary: 'Hand over a code that an account has brought',
    description:
      'For bots. It is linked when the person whose code it is has confirmed it. Tries are limited, for each account and each key.',
    access: BOT,
    body: LinkBody,
    example: { platform: 'slack', team: 'T1', external_user: 'U1', code: 'ABCD-EFGH' },
    responses: { 200: { description: 'Whether it waits', schema: LinkedSchema } },
    errors: ['LINK_CODE_INVALID', 'LINK_TAKEN', 'TOO_MANY_TRIES', 'CHATS_UNAVAILABLE'],
    handle: async ({ body: { code, display_name, ...given }, caller }, services) =>
      ok(await chatsOf(services).bringCode(actorOf(caller), toIdentity(given), { code, displayName: display_name })),
  }),
  route({
    id: 'listPendingChatLinks',
    method: 'GET',
    path: '/chats/links/pending',
    group: 'Chats',
    summary: 'List the accounts that have brought a code of yours',
    access: 'person',
    responses: { 200: { description: 'What waits for your yes', schema: page(PendingLinkSchema) } },
    errors: ['CHATS_UNAVAILABLE'],
    handle: async ({ caller }, services) => ok({ items: await chatsOf(services).listPending(personOf(caller).userId), next: null }),
  }),
  route({
    id: 'confirmChatLink',
    method: 'POST',
    path: '/chats/links/confirm',
    group: 'Chats',
    summary: 'Confirm that an account that has brought a code of yours is yours',
    description: 'Whoever has the account is taken for you from then on: look at its id, not at its name.',
    access: 'person',
    body: IdentityBody,
    example: { platform: 'slack', team: 'T1', external_user: 'U1' },
    responses: { 200: { description: 'The link', schema: ChatLinkSchema } },
    errors: ['LINK_NOT_PENDING', 'LINK_TAKEN', 'USER_DISABLED', 'CHATS_UNAVAILABLE'],
    handle: async ({ body, caller }, services) => ok(await chatsOf(services).confirmLink(personOf(caller), toIdentity(body))),
  }),
  route({
    id: 'linkAsAdmin',
    method: 'POST',
    path: '/chats/links/admin',
    group: 'Chats',
    summary: 'Say whose an account at a chat service is, without a code',
    access: { scope: 'admin' },
    body: AdminLinkBody,
    example: { platform: 'github', team: 'github.com', external_user: 'octocat', user: 'ann' },
    responses: { 201: { description: 'The link', schema: ChatLinkSchema } },
    errors: ['LINK_TAKEN', 'USER_DISABLED', 'USER_NOT_FOUND', 'CHATS_UNAVAILABLE'],
    handle: async ({ body: { user, display_name, ...given }, caller }, services) => ({
      status: 201,
      body: await chatsOf(services).linkAsAdmin(actorOf(caller), toIdentity(given), { user, displayName: display_name }),
    }),
  }),
  route({
    id: 'listChatLinks',
    method: 'GET',
    path: '/chats/links',
    group: 'Chats',
    summary: 'List your accounts at chat services; an admin sees everybody’s',
    access: OWN,
    responses: { 200: { description: 'All of them', schema: page(ChatLinkSchema) } },
    errors: ['CHATS_UNAVAILABLE'],
    handle: async ({ caller }, services) => ok({ items: await chatsOf(services).listLinks(ownerOf(caller)), next: null }),
  }),
  route({
    id: 'unlinkChat',
    method: 'DELETE',
    path: '/chats/links/{platform}/{team}/{external_user}',
    group: 'Chats',
    summary: 'Unlink an account of yours; an admin may unlink anybody’s',
    description: 'What was leased for a turn of this person ends with it.',
    access: OWN,
    params: LinkPath,
    responses: { 200: { description: 'The link that was', schema: ChatLinkSchema } },
    errors: ['LINK_NOT_FOUND', 'CHATS_UNAVAILABLE'],
    handle: async ({ params, caller }, services) =>
      ok(await chatsOf(services).unlink(actorOf(caller), toIdentity(params), ownerOf(caller))),
  }),
  route({
    id: 'identifyInChat',
    method: 'POST',
    path: '/chats/identities',
    group: 'Chats',
    summary: 'Say who somebody in a chat is',
    access: BOT,
    body: IdentityBody,
    example: { platform: 'slack', team: 'T1', external_user: 'U1' },
    responses: { 200: { description: 'Who that is', schema: ChatPersonSchema } },
    errors: ['CHATS_UNAVAILABLE'],
    handle: async ({ body }, services) => ok(await chatsOf(services).identify(toIdentity(body))),
  }),
  route({
    id: 'voteBySlack',
    method: 'POST',
    path: '/chats/slack/interactions',
    group: 'Chats',
    summary: 'Hand over a click on an approval, as Slack sent and signed it',
    description:
      'A vote of the user to whom the account is linked that Slack says has clicked. What is refused is answered with a message for that person. The same body again changes nothing.',
    access: BOT,
    body: SlackInteractionBody,
    example: { body: 'payload=%7B%22type%22%3A%22block_actions%22%7D', signature: 'v0=a2114d57b48eac39', timestamp: '1700000000' },
    responses: { 200: { description: 'What became of it', schema: InteractionOutcomeSchema } },
    errors: ['SIGNATURE_INVALID', 'SIGNATURE_REQUIRED', 'NOT_AN_APPROVAL', 'CHAT_NOT_CONFIGURED', 'CHATS_UNAVAILABLE'],
    handle: async ({ body }, services) => ok(await chatsOf(services).voteBySlack(checksOf(services), body)),
  }),
  route({
    id: 'claimApprovalNotices',
    method: 'POST',
    path: '/chats/approvals/claim',
    group: 'Chats',
    summary: 'Take approvals whose present version is not shown on a platform yet',
    description:
      'Each is this consumer’s until its lease ends; then another may take it. What was decided before anybody claimed for the platform is not told.',
    access: BOT,
    body: ClaimNoticesBody,
    example: { platform: 'slack', consumer_id: 'slackbot-1', wait_ms: 20_000 },
    responses: { 200: { description: 'What was taken, oldest first', schema: NoticesSchema } },
    errors: ['CHATS_UNAVAILABLE'],
    handle: async ({ body, request }, services) => ok({ notices: await chatsOf(services).claimNotices(body, leaving(request, services)) }),
  }),
  route({
    id: 'approvalForChat',
    method: 'GET',
    path: '/chats/approvals/{approval_id}',
    group: 'Chats',
    summary: 'Read an approval that somebody in a chat wants to look at whole',
    description: 'For bots, which are told the same of it by a claim.',
    access: BOT,
    params: NoticePath,
    responses: { 200: { description: 'The approval', schema: ApprovalDetailSchema } },
    errors: ['APPROVAL_NOT_FOUND', 'VAULT_UNAVAILABLE'],
    handle: async ({ params }, services) => ok(await getApproval(installationOf(services).store, known(params.approval_id))),
  }),
  route({
    id: 'approvalShown',
    method: 'POST',
    path: '/chats/approvals/{approval_id}/shown',
    group: 'Chats',
    summary: 'Say that a version of an approval is shown',
    access: BOT,
    params: NoticePath,
    body: ShownNoticeBody,
    example: { platform: 'slack', consumer_id: 'slackbot-1', version: 1, ref: { channel: 'C1', ts: '1700000000.000100' } },
    responses: { 200: { description: 'Noted', schema: NoticeChangeSchema } },
    errors: ['NOTICE_NOT_CLAIMED', 'CHATS_UNAVAILABLE'],
    async handle({ params: { approval_id }, body }, services) {
      await chatsOf(services).noticeShown(approval_id, body);
      return ok({ approval_id, state: 'shown' });
    },
  }),
  route({
    id: 'approvalNotShown',
    method: 'POST',
    path: '/chats/approvals/{approval_id}/failed',
    group: 'Chats',
    summary: 'Say that an approval could not be shown',
    description: 'It is due again after a while; after 20 times not before it has changed.',
    access: BOT,
    params: NoticePath,
    body: FailedNoticeBody,
    example: { platform: 'slack', consumer_id: 'slackbot-1', error: 'channel_not_found' },
    responses: { 200: { description: 'Whether it is tried again', schema: NoticeChangeSchema } },
    errors: ['NOTICE_NOT_CLAIMED', 'CHATS_UNAVAILABLE'],
    handle: async ({ params: { approval_id }, body }, services) =>
      ok({ approval_id, ...(await chatsOf(services).noticeFailed(approval_id, body)) }),
  }),
];

/** @throws ApiError INVALID_REQUEST */
function toIdentity(given: { readonly platform: string; readonly team: string; readonly external_user: string }): Identity {
  const identity = readExternalId(`${given.platform}:${given.team}:${given.external_user}`);
  if (identity === undefined) throw new ApiError('INVALID_REQUEST', 'platform, team, external_user: they name nobody in a chat');
  return identity;
}

/** Of a route for people. */
function personOf({ user }: Caller): CallerUser {
  if (user === undefined) throw new ApiError('FORBIDDEN', 'this is for people, by a session of theirs (centaur login)');
  return user;
}

/** Undefined: it may be anybody's. */
function ownerOf(caller: Caller): string | undefined {
  return isAdmin(caller) ? undefined : personOf(caller).name;
}
