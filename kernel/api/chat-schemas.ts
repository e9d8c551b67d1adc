/** Chats: who in one is whom, votes from one, approvals to be shown there. */
import { CHAT_PLATFORMS } from '@centaur/sdk';
import { z } from 'zod';
import { ApprovalDetailSchema } from './approval-schemas.ts';
import { named, time } from './schemas.ts';
import { id, pathId, text } from './trust-schemas.ts';

const platform = z.enum(CHAT_PLATFORMS).describe('The service');
const part = z.string().regex(/^[!-)+-9;-~]{1,100}$/, 'expected 1 to 100 printable characters without spaces, ":" and "*"');
const identity = {
  platform,
  team: part.describe('Slack’s id of the team; `github.com` for GitHub'),
  external_user: part.describe('Slack’s id of the user; GitHub’s login'),
};
const displayName = z
  .string()
  .min(1)
  .max(200)
  .regex(/^[^\p{Cc}]*$/u, 'expected one line')
  .optional()
  .describe('As people are called there');

export const LinkCodeBody = named('MakeLinkCode', z.strictObject({ platform }));
export const LinkBody = named(
  'LinkByCode',
  z.strictObject({
    ...identity,
    code: z.string().min(1).max(40).meta({ writeOnly: true }).describe('As the person typed it'),
    display_name: displayName,
  }),
);
export const AdminLinkBody = named(
  'LinkAsAdmin',
  z.strictObject({ ...identity, user: text(1, 100).describe('Name of the user'), display_name: displayName }),
);
export const IdentityBody = named('ChatIdentity', z.strictObject(identity));
export const LinkPath = z.strictObject({ platform, team: part, external_user: part });

export const LinkCodeSchema = named(
  'LinkCode',
  z.strictObject({ code: z.string().describe('Shown this once; good for ten minutes and one use'), expires_at: time }),
);
export const LinkedSchema = named(
  'Linked',
  z.strictObject({
    user: z.string().nullable().describe('Whose it is; null while it is nobody’s'),
    pending: z.boolean().describe('The person whose code it was has to confirm it, in a session of theirs'),
  }),
);
export const PendingLinkSchema = named(
  'PendingChatLink',
  z.strictObject({
    ...identity,
    team: z.string(),
    external_user: z.string().describe('By this it is known: look whether it is yours'),
    display_name: z.string().nullable().describe('As the bot says that it is called'),
    expires_at: time,
  }),
);
export const ChatLinkSchema = named(
  'ChatLink',
  z.strictObject({
    ...identity,
    team: z.string(),
    external_user: z.string(),
    display_name: z.string().nullable(),
    user: z.string().describe('Name of the user'),
    how: z.enum(['code', 'admin']).describe('`code`: they have shown that both are theirs; `admin`: an admin says so'),
    linked_by: z.string(),
    created_at: time,
  }),
);
export const ChatPersonSchema = named(
  'ChatPerson',
  z.strictObject({
    principal: z.string().describe('`user:<name>`; `slack:<team>:<user>` of one whom no user is linked to'),
    user: z.string().nullable().describe('Null, too, when the user is disabled'),
    role: z.enum(['viewer', 'operator', 'approver', 'admin']).nullable(),
  }),
);

const consumer = text(1, 512).describe('Names the process that shows them');
const BODY_LONGEST = 512 * 1024;
const REF_LONGEST = 8 * 1024;
const json = (most: number) =>
  z
    .unknown()
    .refine((value) => value !== undefined, 'is required')
    .refine((value) => (JSON.stringify(value) ?? '').length <= most, `longer than ${most} characters of JSON`);

export const SlackInteractionBody = named(
  'SlackInteraction',
  z.union([
    z.strictObject({
      body: z.string().min(1).max(BODY_LONGEST).describe('The body of Slack’s request, byte for byte'),
      signature: z.string().max(200).describe('Header X-Slack-Signature'),
      timestamp: z.string().max(20).describe('Header X-Slack-Request-Timestamp'),
    }),
    z.strictObject({
      payload: json(BODY_LONGEST).describe('As Socket Mode has it. It has no signature: refused, unless an admin has said that it counts'),
      socket: z.literal(true),
    }),
  ]),
);
export const InteractionOutcomeSchema = named(
  'InteractionOutcome',
  z.union([
    z.strictObject({ outcome: z.literal('voted'), approval: ApprovalDetailSchema }),
    z.strictObject({
      outcome: z.literal('refused'),
      code: z.string().describe('NOT_LINKED, or what a vote is refused with'),
      message: z.string().describe('For whoever clicked'),
    }),
  ]),
);

export const NoticePath = z.strictObject({ approval_id: pathId });
export const ClaimNoticesBody = named(
  'ClaimApprovalNotices',
  z.strictObject({
    platform,
    consumer_id: consumer,
    limit: z.int().min(1).max(50).default(10),
    lease_seconds: z.int().min(5).max(600).default(60).describe('5 to 600'),
    wait_ms: z.int().min(0).max(30_000).default(0).describe('When there is nothing, wait so long for it'),
  }),
);
export const ShownNoticeBody = named(
  'ApprovalShown',
  z.strictObject({
    platform,
    consumer_id: consumer,
    version: z.int().min(1).describe('Of the approval, as it is shown'),
    ref: json(REF_LONGEST).describe('Where: given back with the next version. Null: there is no place for it'),
    places: z
      .array(z.strictObject({ channel: part, ts: part }))
      .max(20)
      .default([])
      .describe('Messages with its buttons, in Slack: a click counts only there'),
  }),
);
export const FailedNoticeBody = named(
  'ApprovalNotShown',
  z.strictObject({
    platform,
    consumer_id: consumer,
    error: z.string().min(1).max(10_000),
    retry_after_seconds: z.int().min(1).max(3600).optional(),
  }),
);
export const NoticesSchema = named(
  'ApprovalNotices',
  z.strictObject({
    notices: z.array(
      z.strictObject({
        approval: ApprovalDetailSchema,
        thread_key: z.string().nullable(),
        delivery: z.unknown().describe('Of the turn that raised it, as its request gave it; null where none has'),
        shown: z.strictObject({ version: z.int(), ref: z.unknown() }).nullable().describe('What was shown last, and where'),
        lease_expires_at: time,
      }),
    ),
  }),
);
export const NoticeChangeSchema = named(
  'NoticeChange',
  z.strictObject({
    approval_id: id,
    state: z.enum(['shown', 'retry_wait', 'given_up']).describe('`given_up`: until there is a newer version'),
  }),
);
