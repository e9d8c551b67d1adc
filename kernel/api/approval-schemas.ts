/** The shapes of approvals, votes and what is let through for a while on the wire. */
import { z } from 'zod';
import { APPROVAL_STATES, BULK_MOST } from '../policy/index.ts';
import { named, time } from './schemas.ts';
import { id, pathId, text } from './trust-schemas.ts';

export const ApprovalPath = z.strictObject({ approval_id: pathId });
export const ApprovalGrantPath = z.strictObject({ grant_id: pathId });
export const ApprovalQuery = z.strictObject({
  state: z.enum(APPROVAL_STATES).optional(),
  after: id.optional().describe('`next` of the page before'),
  limit: z.coerce.number().int().min(1).max(200).optional().describe('Default 50'),
});
export const ApprovalGrantQuery = z.strictObject({ all: z.enum(['all', 'active']).optional().describe('Default active') });

const reason = text(1, 1000);
const channel = z.enum(['api', 'cli', 'console']).optional().describe('Default api');
const digest = z
  .string()
  .regex(/^[\da-f]{64}$/i, 'expected a SHA-256 in hex: the digest of the approval that was looked at')
  .toLowerCase();

const vote = {
  verdict: z.enum(['approve', 'deny', 'abstain']),
  digest: digest.describe('Of the approval as it was looked at: what was edited since is not voted on'),
  reason: reason.optional().describe('Needed to deny, and for what is destructive or financial. Whoever asked is told why it was denied'),
  args_patch: z
    .record(z.string().min(1).max(200), z.unknown())
    .optional()
    .describe('Values by their paths in the arguments, such as {"amount": 20}: only those that are `editable`'),
  for: z
    .union([z.enum(['thread', 'run']), z.int().min(1).max(86_400)])
    .optional()
    .describe('Also lets calls like it through for this thread, this run or so many seconds, a day at most. Never what is financial'),
  fields: z.array(text(1, 200)).min(1).max(20).optional().describe('With `for`: the arguments that have to be the same. Default: all'),
  channel,
};

export const VoteBody = named('Vote', z.strictObject(vote));
export const BulkVoteBody = named(
  'BulkVote',
  z.strictObject({
    votes: z
      .array(z.strictObject({ approval_id: id, version: z.int().min(1).optional(), ...vote }))
      .min(1)
      .max(BULK_MOST),
  }),
);
export const ApproveBody = named('Approve', z.strictObject({ reason: reason.optional(), digest: digest.optional(), channel }));
export const DenyBody = named('Deny', z.strictObject({ reason: reason.describe('The agent is told'), digest: digest.optional(), channel }));
export const OverrideBody = named(
  'Override',
  z.strictObject({ reason: reason.describe('Why the gate is passed by'), digest: digest.optional(), channel }),
);

const approval = {
  approval_id: z.string(),
  state: z.enum(APPROVAL_STATES).describe('`consumed`: approved, and used for its request; `cancelled`: nobody waits for it any more'),
  version: z.int().describe('Changes with every vote, edit and decision: for `If-Match`'),
  kind: z.string().describe('`egress`, `tool`, `permission`, or what else asks'),
  risk: z.string().nullable(),
  gate: z.string(),
  rule: z.string(),
  principal: z.string(),
  summary: z
    .unknown()
    .describe(
      'What is asked for: {"method", "url", "secrets", "bytes"} of a request, {"tool", "risk", "input", "thread"} of a tool, {"summary", "tool", "args", "workflow", "step"} of a workflow’s question; of a policy, in lists without its `text`',
    ),
  digest: z.string().describe('Of what would happen, edits included: SHA-256 in hex. Votes name it'),
  quorum: z.int(),
  approvals: z.int().describe('Votes for it as it is now'),
  approvers: z.array(z.string()).describe('Whose votes count by now: `role:finance`, `user:ann`'),
  exclude: z.array(z.string()),
  editable: z.array(z.string()).describe('Paths of arguments that an approver may change'),
  edited_by: z.string().nullable(),
  overridden: z.boolean().describe('Decided by one administrator, past the gate'),
  asked: z.int().describe('How often it was asked while it waited'),
  thread_key: z.string().nullable(),
  lease_id: z.string().nullable(),
  run_id: z.string().nullable(),
  reason: z.string().nullable(),
  decided_by: z.string().nullable(),
  created_at: time,
  expires_at: time,
  escalate_at: time.nullable().describe('From then on more people may vote'),
  decided_at: time.nullable(),
  use_by: time.nullable().describe('What is approved and not used by then is over'),
  consumed_at: time.nullable(),
  audit_id: z.string(),
  decided_audit_id: z.string().nullable(),
};

export const ApprovalSchema = named('Approval', z.strictObject(approval));

const names = z.array(z.string());

const detail = {
  ...approval,
  votes: z.array(
    z.strictObject({
      voter: z.string(),
      verdict: z.enum(['approve', 'deny', 'abstain']),
      counts: z.boolean().describe('False: cast before it was edited, or by somebody who then asked for it, too'),
      digest: z.string(),
      reason: z.string().nullable(),
      channel: z.string(),
      at: time,
      audit_id: z.string(),
    }),
  ),
  args: z
    .unknown()
    .describe('Of a tool’s call or a workflow’s question, as they were asked with; what the schema marks `x-sensitive` is blanked'),
  edited_args: z.unknown().describe('As they would be sent; null: as they were asked with'),
  policy_diff: z
    .string()
    .nullable()
    .describe('Of a policy’s text: what it changes of the text that it would replace, as lines with a space, `-` or `+` before them'),
  changed: names.describe('Paths of arguments that somebody changed'),
  involved: z
    .strictObject({ requester: names, run_owner: names, trigger_actor: names, policy_author: names })
    .describe('Names of users who have a part in it'),
};

export const ApprovalDetailSchema = named('ApprovalDetail', z.strictObject(detail));
export const ApprovalForYouSchema = named(
  'ApprovalForYou',
  z.strictObject({
    ...detail,
    you: z
      .strictObject({ may_vote: z.boolean(), why_not: z.string().nullable() })
      .nullable()
      .describe('Of the person who asks; null for a key, which never votes'),
  }),
);

export const BulkVotedSchema = z.strictObject({
  items: z.array(
    z.union([
      z.strictObject({ approval_id: z.string(), ok: z.literal(true), approval: ApprovalDetailSchema }),
      z.strictObject({ approval_id: z.string(), ok: z.literal(false), code: z.string(), message: z.string() }),
    ]),
  ),
});

export const ApprovalGrantSchema = named(
  'ApprovalGrant',
  z.strictObject({
    grant_id: z.string(),
    approval_id: z.string().describe('With which it was given'),
    state: z.enum(['active', 'expired', 'revoked']),
    tool: z.string(),
    principal: z.string(),
    thread_key: z.string().nullable(),
    run_id: z.string().nullable(),
    fields: z.array(z.string()).nullable().describe('Arguments that have to be the same; null: all'),
    granted_by: z.string(),
    reason: z.string().nullable(),
    used: z.int(),
    last_used_at: time.nullable(),
    created_at: time,
    expires_at: time,
    revoked_at: time.nullable(),
    revoked_by: z.string().nullable(),
    audit_id: z.string(),
  }),
);
