/** The shapes of policy on the wire. */
import { z } from 'zod';
import { named, time } from './schemas.ts';
import { text } from './trust-schemas.ts';

/** Longer texts are refused by the compiler, too. */
const policyText = text(0, 262_144).describe('The policy, in YAML');
const message = text(1, 500).optional().describe('Why, for the list of versions');

export const VersionPath = z.strictObject({ version: z.coerce.number().int().min(0).max(2_147_483_647) });
export const VersionsQuery = z.strictObject({ limit: z.coerce.number().int().min(1).max(500).optional().describe('Default 50') });
export const PolicyTextBody = named('PolicyText', z.strictObject({ text: policyText }));
export const PublishBody = named('PublishPolicy', z.strictObject({ text: policyText, message }));
const draftName = z
  .string()
  .regex(/^[A-Za-z0-9_.-]{1,64}$/, 'expected 1 to 64 letters, digits, "_", "." or "-"')
  .describe('Of a draft');
export const PublishOrDraftBody = named(
  'PublishPolicyOrDraft',
  z
    .strictObject({ text: policyText.optional(), draft: draftName.optional(), message })
    .refine(({ text: given, draft }) => (given === undefined) !== (draft === undefined), 'expected either text or draft'),
);
export const DraftPath = z.strictObject({ name: draftName });
export const DraftBody = named('SavePolicyDraft', z.strictObject({ text: policyText, message }));
export const ShadowQuery = z.strictObject({
  since: z.iso.datetime({ offset: true, error: 'expected an RFC 3339 time' }).optional().describe('Default: a week ago'),
  limit: z.coerce.number().int().min(1).max(100_000).optional().describe('The newest so many decisions. Default 10,000'),
});
export const RollbackBody = named('RollbackPolicy', z.strictObject({ version: z.int().min(1).max(2_147_483_647) }));
export const BacktestBody = named(
  'Backtest',
  z.strictObject({ text: policyText, days: z.number().positive().max(3650).optional().describe('Default: the newest 10,000 requests') }),
);

const name = text(1, 300);
const spent = z.strictObject({ tokens: z.int().min(0), micros: z.int().min(0) });
const windows = { day: spent, month: spent };

const caller = {
  principal: name.optional().describe('Default `workflow:test`'),
  agent: z.strictObject({ id: name, tenant: name.optional() }).optional(),
  run: name.optional(),
  workflow: name.optional(),
  thread: name.optional(),
  user: name.optional().describe('Whose turn it is, of calls of tools; who asked for it, of requests'),
  channel: name.optional().describe('In which it was asked for, such as channel:slack:C1'),
  spend: z
    .strictObject({ ...windows, user: z.strictObject(windows), all: z.strictObject(windows) })
    .optional()
    .describe('What was spent before. Default: what was in truth'),
  now: z.iso.datetime({ offset: true, error: 'expected an RFC 3339 time' }).optional().describe('When it would be made. Default: now'),
};

export const RequestSchema = named(
  'PolicyRequest',
  z
    .strictObject({
      host: name.optional(),
      scheme: z.enum(['https', 'http']).optional(),
      port: z.int().min(1).max(65_535).optional(),
      method: name.optional(),
      path: text(1, 8192).optional(),
      bytes: z.number().min(0).optional(),
      secrets: z.array(name).max(200).optional(),
      credentialed: z.boolean().optional().describe('It uses a secret that is bound to the host'),
      listed: z
        .boolean()
        .optional()
        .describe('The host is open in the egress configuration, or declared by the tool that sends the request'),
      lease: z.strictObject({ id: name, kind: name.optional() }).optional(),
      tool: z.strictObject({ name, risk: name.optional() }).optional(),
      args: z.unknown().optional(),
      integration: z.strictObject({ id: name, tenant: name.optional(), env: name.optional() }).optional(),
      ...caller,
    })
    .describe('A request to a `host`, or a call of a `tool`. What is left out is that of a harmless request'),
);

export const ExplainBody = named(
  'ExplainDecision',
  z.strictObject({
    request: RequestSchema.optional(),
    audit_id: z
      .string()
      .max(64)
      .toLowerCase()
      .optional()
      .describe('Instead of a request: an entry of the audit log that has one. This needs the scope audit.read too'),
  }),
);

const problem = named(
  'PolicyProblem',
  z.strictObject({ line: z.number().optional(), rule: z.string().optional(), level: z.enum(['error', 'warning']), message: z.string() }),
);
const effect = z.enum(['allow', 'approve', 'deny']);

const versionFields = {
  version: z.number().describe('0 is the built-in policy'),
  digest: z.string().describe('SHA-256 of the text, in hex'),
  author: z.string(),
  message: z.string().nullable(),
  state: z.enum(['active', 'shadow', 'retired']),
  created_at: time.nullable(),
  activated_at: time.nullable(),
};
export const PolicyVersionSchema = named('PolicyVersion', z.strictObject(versionFields));
export const PolicyVersionTextSchema = named('PolicyVersionText', z.strictObject({ ...versionFields, text: z.string() }));
export const ActivePolicySchema = named(
  'ActivePolicy',
  z.strictObject({
    ...versionFields,
    text: z.string(),
    shadow: PolicyVersionSchema.nullable().describe('The version that is evaluated and recorded beside it, without effect'),
  }),
);
export const PublishedPolicySchema = named(
  'PublishedPolicy',
  z.strictObject({ ...versionFields, problems: z.array(problem).describe('Warnings') }),
);
export const PolicyCheckSchema = named('PolicyCheck', z.strictObject({ ok: z.boolean(), problems: z.array(problem) }));
const draftFields = {
  name: z.string(),
  digest: z.string().describe('SHA-256 of the text, in hex'),
  author: z.string().describe('Who saved it last'),
  message: z.string().nullable(),
  created_at: time,
  updated_at: time,
};
export const DraftSchema = named('PolicyDraft', z.strictObject(draftFields));
export const DraftTextSchema = named('PolicyDraftText', z.strictObject({ ...draftFields, text: z.string() }));
export const SavedDraftSchema = named('SavedPolicyDraft', z.strictObject({ ...draftFields, problems: z.array(problem) }));
export const ShadowReportSchema = named(
  'ShadowReport',
  z.strictObject({
    decisions: z.number().describe('That were looked at'),
    shadowed: z.number().describe('Of them, those beside which something was in shadow'),
    failed: z.number().describe('Of them, those for which the version in shadow failed: it would have refused'),
    changes: z
      .array(
        z.strictObject({
          version: z.number().nullable().describe('In shadow; null: a rule of the policy in force whose mode is shadow'),
          rule: z.string().nullable().describe('That would have decided; null: the default'),
          from: effect,
          to: effect,
          count: z.number(),
          samples: z.array(z.strictObject({ audit_id: z.string(), at: time, resource: z.string().nullable(), actor: z.string() })),
        }),
      )
      .describe('The most frequent first'),
    more: z.boolean().describe('There are older decisions since then, which were not looked at'),
  }),
);
export const EndedShadowSchema = z.strictObject({ ended: z.boolean().describe('False when there was none') });

const decision = named(
  'Decision',
  z.strictObject({
    effect,
    rule: z.string().nullable().describe('Null: the default'),
    gate: z.string().optional(),
    message: z.string().optional(),
    limits: z.array(z.strictObject({ rule: z.string(), key: z.string(), max: z.number(), per_seconds: z.number(), gate: z.string() })),
    shadow: z.array(z.strictObject({ rule: z.string(), effect })),
    errors: z.array(z.strictObject({ rule: z.string(), message: z.string() })),
  }),
);
const recordedRequest = z.looseObject({ kind: z.enum(['egress', 'tool']) });

export const ExplanationSchema = named(
  'Explanation',
  z.strictObject({
    version: z.number(),
    request: recordedRequest,
    decision,
    rules: z.array(
      z.strictObject({
        rule: z.string(),
        effect,
        mode: z.enum(['enforce', 'shadow']),
        matched: z.boolean(),
        clauses: z.array(z.strictObject({ clause: z.string(), result: z.union([z.boolean(), z.strictObject({ error: z.string() })]) })),
      }),
    ),
  }),
);

export const BacktestReportSchema = named(
  'BacktestReport',
  z.strictObject({
    version: z.number().describe('The version that it is compared with'),
    requests: z.number(),
    counts: z.record(z.string(), z.number()).describe('Such as {"deny to allow": 3}'),
    changed: z
      .array(z.strictObject({ audit_id: z.string(), request: recordedRequest, before: decision, after: decision }))
      .describe('The newest 200'),
  }),
);
