/** Policy: what holds, what would hold, and why something was decided. */
import { z } from 'zod';
import {
  activePolicy,
  backtest,
  BUILTIN_POLICY,
  type CompiledPolicy,
  compilePolicy,
  type Decision,
  endShadow,
  getDraft,
  getVersion,
  listDrafts,
  listVersions,
  policyTime,
  type PolicyRequest,
  PolicyError,
  publishPolicy,
  removeDraft,
  rollbackPolicy,
  saveDraft,
  shadowPolicy,
  shadowReport,
} from '../../policy/index.ts';
import type { Store } from '../../store/index.ts';
import { readSpend } from '../../usage/index.ts';
import { ApiError } from '../errors.ts';
import {
  ActivePolicySchema,
  BacktestBody,
  BacktestReportSchema,
  DraftBody,
  DraftPath,
  DraftSchema,
  DraftTextSchema,
  EndedShadowSchema,
  ExplainBody,
  ExplanationSchema,
  PolicyCheckSchema,
  PolicyTextBody,
  PolicyVersionSchema,
  PolicyVersionTextSchema,
  PublishBody,
  PublishOrDraftBody,
  PublishedPolicySchema,
  type RequestSchema,
  RollbackBody,
  SavedDraftSchema,
  ShadowQuery,
  ShadowReportSchema,
  VersionPath,
  VersionsQuery,
} from '../policy-schemas.ts';
import { actorOf, ok, route } from '../route.ts';
import { page } from '../schemas.ts';
import { requireScope } from '../scopes.ts';
import { installationOf } from '../services.ts';
import { readEntry } from './audit.ts';

const WEEK_MS = 7 * 86_400_000;

export const policyRoutes = [
  route({
    id: 'getPolicy',
    method: 'GET',
    path: '/policy',
    group: 'Policy',
    summary: 'Read the policy that holds',
    access: { scope: 'policy.read' },
    responses: {
      200: { description: 'The active version; 0, the built-in policy, before the first is published', schema: ActivePolicySchema },
    },
    errors: ['POLICY_BROKEN', 'VAULT_UNAVAILABLE'],
    async handle(_call, services) {
      const { store } = installationOf(services);
      const { version, shadow } = await activePolicy(store);
      const { text: _, ...beside } = shadow === undefined ? { text: '' } : await getVersion(store, shadow.version);
      return ok({ ...(await readVersion(store, version)), shadow: shadow === undefined ? null : beside });
    },
  }),
  route({
    id: 'listPolicyVersions',
    method: 'GET',
    path: '/policy/versions',
    group: 'Policy',
    summary: 'List what was ever published, newest first',
    access: { scope: 'policy.read' },
    query: VersionsQuery,
    responses: { 200: { description: 'The newest versions', schema: page(PolicyVersionSchema) } },
    errors: ['VAULT_UNAVAILABLE'],
    handle: async ({ query }, services) => ok({ items: await listVersions(installationOf(services).store, query.limit), next: null }),
  }),
  route({
    id: 'getPolicyVersion',
    method: 'GET',
    path: '/policy/versions/{version}',
    group: 'Policy',
    summary: 'Read a version with its text',
    access: { scope: 'policy.read' },
    params: VersionPath,
    responses: { 200: { description: 'The version', schema: PolicyVersionTextSchema } },
    errors: ['POLICY_NOT_FOUND', 'VAULT_UNAVAILABLE'],
    handle: async ({ params }, services) => ok(await readVersion(installationOf(services).store, params.version)),
  }),
  route({
    id: 'checkPolicy',
    method: 'POST',
    path: '/policy/check',
    group: 'Policy',
    summary: 'Compile a text and run its tests, without publishing it',
    access: { scope: 'policy.read' },
    body: PolicyTextBody,
    example: { text: 'version: 1\ndefault: deny\nrules:\n  - {id: stripe, host: api.stripe.com, effect: allow, methods: [GET]}\n' },
    responses: { 200: { description: 'What is wrong with it, line by line', schema: PolicyCheckSchema } },
    errors: ['VAULT_UNAVAILABLE'],
    handle({ body }, services) {
      installationOf(services);
      const { policy, problems } = compilePolicy(body.text);
      return ok({ ok: policy !== undefined, problems });
    },
  }),
  route({
    id: 'publishPolicy',
    method: 'POST',
    path: '/policy/publish',
    group: 'Policy',
    summary: 'Put a text into force in place of the active version',
    description:
      'A text, or a draft. Firewalls obey it within a second. A text with an error in it is refused; the version before stays in force then. Where the version in force has a gate for publishing, the answer is `APPROVAL_REQUIRED` with the id of the approval until somebody else has approved this text.',
    access: { scope: 'policy.write' },
    body: PublishOrDraftBody,
    example: {
      text: 'version: 1\ndefault: deny\nrules:\n  - {id: stripe, host: api.stripe.com, effect: allow, methods: [GET]}\n',
      message: 'reading from Stripe',
    },
    responses: { 201: { description: 'The new version, with warnings', schema: PublishedPolicySchema } },
    errors: [
      'INVALID_POLICY',
      'POLICY_NOT_FOUND',
      'APPROVAL_REQUIRED',
      'APPROVAL_DENIED',
      'APPROVAL_BY_AUTHOR',
      'TOO_MANY_PENDING',
      'VAULT_UNAVAILABLE',
    ],
    async handle({ body: { text, draft, message }, caller }, services) {
      const installation = installationOf(services);
      const from = draft === undefined ? undefined : await getDraft(installation.store, draft);
      const publication = { text: from?.text ?? text ?? '', message: message ?? from?.message ?? undefined, author: from?.author };
      return { status: 201, body: await publishPolicy(installation, actorOf(caller), publication) };
    },
  }),
  route({
    id: 'shadowPolicy',
    method: 'POST',
    path: '/policy/shadow',
    group: 'Policy',
    summary: 'Have a text evaluated and recorded beside the active version, without effect',
    access: { scope: 'policy.write' },
    body: PublishBody,
    example: { text: 'version: 1\ndefault: deny\nrules: []\n', message: 'what would nothing at all refuse?' },
    responses: { 201: { description: 'The version in shadow, with warnings', schema: PublishedPolicySchema } },
    errors: ['INVALID_POLICY', 'VAULT_UNAVAILABLE'],
    handle: async ({ body, caller }, services) => ({
      status: 201,
      body: await shadowPolicy(installationOf(services), actorOf(caller), body),
    }),
  }),
  route({
    id: 'endShadow',
    method: 'DELETE',
    path: '/policy/shadow',
    group: 'Policy',
    summary: 'End the shadow',
    access: { scope: 'policy.write' },
    responses: { 200: { description: 'There is none any more', schema: EndedShadowSchema } },
    errors: ['VAULT_UNAVAILABLE'],
    handle: async ({ caller }, services) => ok({ ended: await endShadow(installationOf(services), actorOf(caller)) }),
  }),
  route({
    id: 'readShadowReport',
    method: 'GET',
    path: '/policy/shadow/report',
    group: 'Policy',
    summary: 'What rules and versions in shadow would have decided otherwise',
    description: 'From the decisions in the audit log, whose scope it needs.',
    access: { scope: 'audit.read' },
    query: ShadowQuery,
    responses: { 200: { description: 'How often, by rule, with the newest of each', schema: ShadowReportSchema } },
    errors: ['VAULT_UNAVAILABLE'],
    async handle({ query: { since, limit } }, services) {
      const { store } = installationOf(services);
      const from = since === undefined ? store.now() - WEEK_MS : Date.parse(since);
      return ok(await shadowReport(store, { since: from, ...(limit === undefined ? {} : { limit }) }));
    },
  }),
  route({
    id: 'listPolicyDrafts',
    method: 'GET',
    path: '/policy/drafts',
    group: 'Policy',
    summary: 'List the drafts, the last saved first',
    access: { scope: 'policy.read' },
    responses: { 200: { description: 'All of them', schema: page(DraftSchema) } },
    errors: ['VAULT_UNAVAILABLE'],
    handle: async (_call, services) => ok({ items: await listDrafts(installationOf(services).store), next: null }),
  }),
  route({
    id: 'getPolicyDraft',
    method: 'GET',
    path: '/policy/drafts/{name}',
    group: 'Policy',
    summary: 'Read a draft with its text',
    access: { scope: 'policy.read' },
    params: DraftPath,
    responses: { 200: { description: 'The draft', schema: DraftTextSchema } },
    errors: ['POLICY_NOT_FOUND', 'VAULT_UNAVAILABLE'],
    handle: async ({ params }, services) => ok(await getDraft(installationOf(services).store, params.name)),
  }),
  route({
    id: 'savePolicyDraft',
    method: 'PUT',
    path: '/policy/drafts/{name}',
    group: 'Policy',
    summary: 'Save a draft, in place of the one with that name',
    description: 'It may have errors in it: they are told. Nothing obeys a draft.',
    access: { scope: 'policy.write' },
    params: DraftPath,
    body: DraftBody,
    example: { text: 'version: 1\ndefault: deny\nrules: []\n', message: 'for the review' },
    responses: { 200: { description: 'The draft, with what is wrong with it', schema: SavedDraftSchema } },
    errors: ['INVALID_POLICY', 'VAULT_UNAVAILABLE'],
    handle: async ({ params, body, caller }, services) =>
      ok(await saveDraft(installationOf(services), actorOf(caller), { name: params.name, ...body })),
  }),
  route({
    id: 'removePolicyDraft',
    method: 'DELETE',
    path: '/policy/drafts/{name}',
    group: 'Policy',
    summary: 'Remove a draft',
    access: { scope: 'policy.write' },
    params: DraftPath,
    responses: { 200: { description: 'It is gone', schema: z.strictObject({ name: z.string(), removed: z.literal(true) }) } },
    errors: ['POLICY_NOT_FOUND', 'VAULT_UNAVAILABLE'],
    async handle({ params, caller }, services) {
      await removeDraft(installationOf(services), actorOf(caller), params.name);
      return ok({ name: params.name, removed: true });
    },
  }),
  route({
    id: 'rollbackPolicy',
    method: 'POST',
    path: '/policy/rollback',
    group: 'Policy',
    summary: 'Publish the text of an earlier version again, as a new one',
    access: { scope: 'policy.write' },
    body: RollbackBody,
    example: { version: 3 },
    responses: { 201: { description: 'The new version', schema: PolicyVersionSchema } },
    errors: [
      'POLICY_NOT_FOUND',
      'INVALID_POLICY',
      'APPROVAL_REQUIRED',
      'APPROVAL_DENIED',
      'APPROVAL_BY_AUTHOR',
      'TOO_MANY_PENDING',
      'VAULT_UNAVAILABLE',
    ],
    handle: async ({ body, caller }, services) => ({
      status: 201,
      body: await rollbackPolicy(installationOf(services), actorOf(caller), body.version),
    }),
  }),
  route({
    id: 'explainDecision',
    method: 'POST',
    path: '/policy/explain',
    group: 'Policy',
    summary: 'What the active policy decides on a request, and how each rule came to its part in it',
    access: { scope: 'policy.read' },
    body: ExplainBody,
    example: { request: { host: 'api.stripe.com', method: 'POST', path: '/v1/refunds', credentialed: true } },
    responses: { 200: { description: 'The decision, rule by rule', schema: ExplanationSchema } },
    errors: ['AUDIT_ENTRY_NOT_FOUND', 'POLICY_BROKEN', 'VAULT_UNAVAILABLE'],
    async handle({ body, caller }, services) {
      const { store } = installationOf(services);
      if (body.audit_id !== undefined) requireScope(caller, 'audit.read');
      const request =
        body.audit_id === undefined ? completeRequest(body.request, store.now()) : await recordedRequest(store, body.audit_id);
      const { version, policy } = await activePolicy(store);
      const { decision, rules } = policy.explain(await withSpend(store, policy, request));
      return ok({ version, request, decision: decisionView(decision), rules });
    },
  }),
  route({
    id: 'backtestPolicy',
    method: 'POST',
    path: '/policy/backtest',
    group: 'Policy',
    summary: 'What a text would have decided otherwise on the requests that were made',
    description: 'Holds it against the active policy on the requests in the audit log, so it needs the scope audit.read too.',
    access: { scope: 'policy.read' },
    body: BacktestBody,
    example: { text: 'version: 1\ndefault: deny\nrules: []\n', days: 7 },
    responses: { 200: { description: 'How many, and the newest of them', schema: BacktestReportSchema } },
    errors: ['INVALID_POLICY', 'POLICY_BROKEN', 'VAULT_UNAVAILABLE'],
    async handle({ body, caller }, services) {
      requireScope(caller, 'audit.read');
      const { version, requests, counts, changed } = await backtest(installationOf(services).store, body.text, { days: body.days });
      const items = changed.map(({ auditId, request, before, after }) => ({
        audit_id: auditId,
        request,
        before: decisionView(before),
        after: decisionView(after),
      }));
      return ok({ version, requests, counts, changed: items });
    },
  }),
];

async function readVersion(store: Store, version: number): Promise<z.output<typeof PolicyVersionTextSchema>> {
  if (version > 0) return getVersion(store, version);
  const { version: active } = await activePolicy(store).catch((error: unknown) => {
    if (error instanceof PolicyError) return { version: -1 };
    throw error;
  });
  return {
    version: 0,
    digest: compilePolicy(BUILTIN_POLICY).policy?.digest ?? '',
    author: 'centaur',
    message: 'the built-in policy',
    state: active === 0 ? 'active' : 'retired',
    created_at: null,
    activated_at: null,
    text: BUILTIN_POLICY,
  };
}

/** The wire has snake case, and seconds. */
function decisionView({ limits, ...decision }: Decision): object {
  return { ...decision, limits: limits.map(({ perMs, ...limit }) => ({ ...limit, per_seconds: perMs / 1000 })) };
}

/** @throws ApiError AUDIT_ENTRY_NOT_FOUND, INVALID_REQUEST for an entry without a request */
async function recordedRequest(store: Store, auditId: string): Promise<PolicyRequest> {
  const { details } = (await readEntry(store, auditId)) as { readonly details?: { readonly request?: PolicyRequest } };
  const kind: unknown = details?.request?.kind;
  if (details?.request === undefined || (kind !== 'egress' && kind !== 'tool'))
    throw invalid('audit_id', 'that entry has no request in it; those of the actions egress.intent and egress.deny have');
  return details.request;
}

async function withSpend(store: Store, policy: CompiledPolicy, request: PolicyRequest): Promise<PolicyRequest> {
  if (!policy.readsSpend || request.spend !== undefined) return request;
  return { ...request, spend: await readSpend(store, request, store.now()) };
}

/** What people leave out is that of a harmless request. */
function completeRequest(given: z.output<typeof RequestSchema> | undefined, nowMs: number): PolicyRequest {
  if (given === undefined) throw invalid('request', 'is required: a request, or the id of an audit entry as audit_id');
  const {
    principal = 'workflow:test',
    agent,
    run,
    workflow,
    thread,
    user,
    spend,
    tool,
    args,
    integration,
    lease,
    now,
    host,
    ...egress
  } = given;
  if ((tool === undefined) === (host === undefined)) throw invalid('request', 'expected either a host or a tool');
  const defined = <T extends object>(members: T) =>
    Object.fromEntries(Object.entries(members).filter(([, member]) => member !== undefined)) as {
      [K in keyof T]: Exclude<T[K], undefined>;
    };
  const caller = {
    principal,
    ...defined({ agent: agent && defined(agent), run, workflow, thread, spend }),
    now: policyTime(now === undefined ? nowMs : Date.parse(now)),
  };
  if (tool !== undefined)
    return {
      kind: 'tool',
      tool: { name: tool.name, risk: tool.risk ?? 'write' },
      args: args ?? {},
      ...defined({ user, integration: integration && defined(integration) }),
      ...caller,
    };
  const scheme = egress.scheme ?? 'https';
  return {
    kind: 'egress',
    lease: { id: lease?.id ?? 'test', kind: lease?.kind ?? 'run' },
    scheme,
    host: (host as string).toLowerCase(),
    port: egress.port ?? (scheme === 'https' ? 443 : 80),
    method: (egress.method ?? 'GET').toUpperCase(),
    path: egress.path ?? '/',
    bytes: egress.bytes ?? 0,
    secrets: egress.secrets ?? [],
    credentialed: egress.credentialed ?? false,
    listed: egress.listed ?? false,
    ...caller,
  };
}

function invalid(path: string, message: string): ApiError {
  return new ApiError('INVALID_REQUEST', `${path}: ${message}`, { details: { issues: [{ path, message }] } });
}
