/** The API as the commands use it: the SDK's client, and the few calls that only operators make. */
import type { JournalCheck, JournalsReport } from '@centaur/kernel/journal';
import type { ReplayReport } from '@centaur/kernel/engine';
import type { AuditView, InclusionProof } from '@centaur/kernel/audit';
import type { Due, ErasurePlan, ErasureView, HoldView } from '@centaur/kernel/care';
import type {
  ConnectionView,
  ConnectRequest,
  OAuthAppRequest,
  OAuthAppView,
  RevokedConnection,
  StartedConnection,
} from '@centaur/kernel/oauth';
import type {
  ApprovalDetail,
  ApprovalView,
  BulkOutcome,
  Decision,
  DraftView,
  Explanation,
  PolicyRequest,
  PolicyVersion,
  Problem,
  ShadowReport,
  StickyView,
} from '@centaur/kernel/policy';
import type { DeliveryView, InboxView } from '@centaur/kernel/threads';
import type { MethodDeclaration, ServedTool } from '@centaur/kernel/tools';
import type { NewUser, SessionView, UserChange, UserView } from '@centaur/kernel/users';
import type { TraceView } from '@centaur/kernel/traces';
import type { GrantView, LeaseView, RefusalView, RewrapReport, SecretRequest, SecretView } from '@centaur/kernel/vault';
import type { DeliveryView as WebhookDelivery, Redelivered, WebhookView } from '@centaur/kernel/webhooks';
import type { UsageRow } from '@centaur/kernel/usage';
import { CentaurApiError, createClient, type Client, type Page, type Schedule, type WorkflowView } from '@centaur/sdk';
import { type Access, readAccess } from './access.ts';

export interface QueueView {
  readonly name: string;
  readonly concurrency: number | null;
  readonly concurrency_per_key: number | null;
  readonly rate_limit: { readonly limit: number; readonly period_ms: number } | null;
  readonly queued: number;
  readonly running: number;
}

export interface KeyView {
  readonly key_id: string;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly created_at: string;
  readonly last_used_at: string | null;
  readonly revoked_at: string | null;
}

export interface FileProblem {
  readonly file: string;
  readonly line?: number;
  readonly column?: number;
  readonly message: string;
}

export interface LoadedWorkflow extends WorkflowView {
  readonly source: string | null;
  readonly queue: string;
  readonly schedules: readonly Schedule[];
}

export interface LeaseBody {
  readonly principal?: string;
  readonly secrets: readonly string[];
  readonly ttl_seconds?: number;
  readonly max_uses?: number;
  readonly kind?: string;
  readonly run_id?: string;
  readonly step?: string;
  readonly source?: string;
}

export interface NewLease {
  readonly lease_id: string;
  /** With its token. */
  readonly proxy_url: string;
  readonly ca_file: string | null;
  readonly ca_pem: string;
  readonly placeholders: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string>>;
  readonly expires_at: string;
}

type WireVersion = Omit<PolicyVersion, 'created_at'> & { readonly created_at: string | null };
export type VersionText = WireVersion & { readonly text: string };
export type ActivePolicyText = VersionText & { readonly shadow: PolicyVersion | null };
export type PublishedVersion = PolicyVersion & { readonly problems: readonly Problem[] };

export interface ExplainedDecision extends Omit<Explanation, 'decision'> {
  readonly version: number;
  readonly request: PolicyRequest;
  readonly decision: Omit<Decision, 'limits'>;
}

export interface BacktestAnswer {
  readonly version: number;
  readonly requests: number;
  readonly counts: Readonly<Record<string, number>>;
  readonly changed: readonly {
    readonly audit_id: string;
    readonly request: PolicyRequest;
    readonly before: Omit<Decision, 'limits'>;
    readonly after: Omit<Decision, 'limits'>;
  }[];
}

export interface AuditReport {
  readonly ok: boolean;
  readonly entries: number;
  readonly batches: number;
  readonly checkpoints: number;
  readonly unsealed: number;
  readonly pruned: number;
  /** How many there are; the first thousand are below. */
  readonly problems: number;
  readonly findings: readonly { readonly batch: number | null; readonly audit_id: string | null; readonly problem: string }[];
}

type ToolMethod = Omit<MethodDeclaration, 'timeoutMs'> & { readonly timeout_ms: number };
export type ToolDetail = Omit<ServedTool, 'methods' | 'source' | 'memoryMb'> & {
  readonly methods: readonly ToolMethod[];
  readonly memory_mb: number | null;
  readonly missing_secrets: readonly string[];
};
export type ToolItem = Pick<ToolDetail, 'name' | 'description' | 'version' | 'missing_secrets'> & {
  readonly methods: readonly Pick<ToolMethod, 'name' | 'description' | 'risk'>[];
};

export interface PasswordSignIn {
  readonly name: string;
  readonly password: string;
  readonly new_password?: string;
}

/** Whose session it is, as the API says it. */
export interface SessionState extends Pick<SessionView, 'session_id' | 'kind' | 'how' | 'proven_at' | 'expires_at'> {
  readonly user: Pick<UserView, 'user_id' | 'name' | 'display_name' | 'role' | 'roles'>;
  readonly scopes: readonly string[];
  readonly has_password: boolean;
}

export interface StartedDevice {
  readonly handle: string;
  readonly user_code: string;
  readonly verification_uri: string;
  readonly verification_uri_complete: string | null;
  readonly expires_in: number;
  readonly interval: number;
}

export type PolledDevice =
  | { readonly status: 'pending'; readonly interval: number }
  | { readonly status: 'done'; readonly token: string; readonly session: SessionState };

export type UserWithPassword = UserView & { readonly temporary_password: string | null };

/** As the API names them. */
type Filter = Readonly<Record<string, string | number | undefined>>;

/** What a replay has found. */
export type Replay = Omit<ReplayReport, 'verdict' | 'calls' | 'code'> & {
  readonly verdict: 'same' | 'different' | 'tampered';
  readonly journal: JournalCheck | { readonly state: 'unsealed'; readonly why: 'no_key' };
  readonly calls: ReplayReport['calls'] | null;
  readonly code: ReplayReport['code'] | null;
};

export interface Api extends Client {
  readonly url: string;
  listLoaded(): Promise<Page<LoadedWorkflow> & { readonly problems: readonly FileProblem[] }>;
  listQueues(): Promise<Page<QueueView>>;
  setQueue(name: string, limits: Partial<Pick<QueueView, 'concurrency' | 'concurrency_per_key' | 'rate_limit'>>): Promise<QueueView>;
  listKeys(): Promise<Page<KeyView>>;
  createKey(key: { readonly name: string; readonly scopes: readonly string[] }): Promise<KeyView & { readonly key: string }>;
  revokeKey(keyId: string): Promise<KeyView>;

  signIn(body: PasswordSignIn): Promise<{ readonly token: string; readonly session: SessionState }>;
  startDevice(): Promise<StartedDevice>;
  pollDevice(handle: string): Promise<PolledDevice>;
  getSession(): Promise<SessionState>;
  signOut(): Promise<{ readonly signed_out: true }>;
  prove(password: string): Promise<SessionState>;
  listUsers(): Promise<Page<UserView>>;
  addUser(user: NewUser & { readonly password?: 'temporary' | 'none' }): Promise<UserWithPassword>;
  getUser(name: string): Promise<UserView>;
  changeUser(name: string, change: UserChange): Promise<UserView>;
  setUserRoles(name: string, roles: readonly string[]): Promise<UserView>;
  disableUser(name: string): Promise<UserView>;
  enableUser(name: string): Promise<UserView>;
  resetPassword(name: string): Promise<UserWithPassword>;
  listUserSessions(name: string): Promise<Page<SessionView>>;
  endUserSessions(name: string): Promise<{ readonly ended: number }>;

  listSecrets(): Promise<Page<SecretView>>;
  getSecret(name: string): Promise<SecretView>;
  putSecret(name: string, secret: SecretRequest): Promise<SecretView>;
  /** @param value undefined: its driver makes one */
  rotateSecret(name: string, value: string | undefined, graceSeconds?: number): Promise<SecretView>;
  removeSecret(name: string): Promise<{ readonly name: string; readonly removed: true }>;
  rewrapKeys(): Promise<RewrapReport>;
  listGrants(filter: Filter): Promise<Page<GrantView>>;
  addGrant(principal: string, secret: string): Promise<GrantView>;
  removeGrant(grantId: string): Promise<{ readonly grant_id: string; readonly removed: true }>;
  listRefusals(filter: Filter): Promise<Page<RefusalView>>;
  refuseGrant(principal: string, secret: string): Promise<RefusalView>;
  allowGrant(principal: string, secret: string): Promise<{ readonly principal: string; readonly secret: string; readonly refused: false }>;
  setRoles(principal: string, roles: readonly string[]): Promise<{ readonly principal: string; readonly roles: readonly string[] }>;

  listOAuthApps(): Promise<Page<OAuthAppView>>;
  putOAuthApp(name: string, app: OAuthAppRequest): Promise<OAuthAppView>;
  removeOAuthApp(name: string): Promise<{ readonly name: string; readonly removed: true }>;
  listConnections(): Promise<Page<ConnectionView>>;
  getConnection(connectionId: string): Promise<ConnectionView>;
  connectAccount(request: ConnectRequest): Promise<StartedConnection>;
  revokeConnection(connectionId: string): Promise<RevokedConnection>;

  createLease(lease: LeaseBody): Promise<NewLease>;
  listLeases(filter: Filter): Promise<Page<LeaseView>>;
  revokeLease(leaseId: string, reason?: string): Promise<{ readonly lease_id: string; readonly revoked: true }>;

  getPolicy(): Promise<ActivePolicyText>;
  listPolicyVersions(limit: number): Promise<Page<PolicyVersion>>;
  getPolicyVersion(version: number): Promise<VersionText>;
  publishPolicy(of: { readonly text: string } | { readonly draft: string }, message?: string): Promise<PublishedVersion>;
  shadowReport(filter: Filter): Promise<ShadowReport>;
  listDrafts(): Promise<Page<DraftView>>;
  getDraft(name: string): Promise<DraftView & { readonly text: string }>;
  saveDraft(name: string, text: string, message?: string): Promise<DraftView & { readonly problems: readonly Problem[] }>;
  removeDraft(name: string): Promise<{ readonly name: string; readonly removed: true }>;
  shadowPolicy(text: string, message?: string): Promise<PublishedVersion>;
  endShadow(): Promise<{ readonly ended: boolean }>;
  rollbackPolicy(version: number): Promise<PolicyVersion>;
  explainDecision(of: { readonly request: unknown } | { readonly audit_id: string }): Promise<ExplainedDecision>;
  backtestPolicy(text: string, days?: number): Promise<BacktestAnswer>;

  listUsage(filter: Filter): Promise<{ readonly since: string; readonly items: readonly UsageRow[]; readonly total: UsageRow }>;

  /** @param id of a trace, a run or a turn */
  getTrace(id: string, filter: Filter): Promise<TraceView>;
  listAudit(filter: Filter): Promise<Page<AuditView>>;
  proveAuditEntry(auditId: string): Promise<InclusionProof>;
  verifyAudit(anchors?: readonly string[]): Promise<AuditReport>;
  getAuditKey(): Promise<{ readonly origin: string; readonly public_key: string }>;
  /** The export as it arrives. */
  exportAudit(): Promise<AsyncIterable<Uint8Array>>;
  verifyJournals(after?: string): Promise<JournalsReport>;
  replayRun(runId: string, options: { readonly code?: 'present' | 'same'; readonly timeout_seconds?: number }): Promise<Replay>;
  forkFrom(
    runId: string,
    fork: { readonly from_step: string | number; readonly input?: unknown; readonly tampered?: 'accept' },
  ): Promise<{ readonly run_id: string }>;

  getRetention(): Promise<Page<Due>>;
  applyRetention(): Promise<{ readonly pruned: Readonly<Record<string, number>> }>;
  listHolds(filter: Filter): Promise<Page<HoldView>>;
  placeHold(subject: string, reason: string): Promise<HoldView>;
  releaseHold(holdId: string): Promise<HoldView>;
  planErasure(subject: string): Promise<ErasurePlan>;
  eraseData(subject: string): Promise<ErasureView>;
  listErasures(): Promise<Page<ErasureView>>;
  getErasure(erasureId: string): Promise<ErasureView>;
  /** The lines as they arrive. */
  exportData(subject: string): Promise<AsyncIterable<Uint8Array>>;

  listDeliveries(filter: Filter): Promise<Page<DeliveryView>>;
  retryDelivery(executionId: string): Promise<{ readonly execution_id: string; readonly state: string }>;
  listInboxEvents(filter: Filter): Promise<Page<InboxView>>;
  retryInboxEvent(platform: string, eventId: string): Promise<{ readonly state: string }>;

  listWebhooks(): Promise<Page<WebhookView> & { readonly problems: readonly FileProblem[] }>;
  listWebhookDeliveries(filter: Filter): Promise<Page<WebhookDelivery>>;
  redeliverWebhook(deliveryId: string): Promise<Redelivered>;

  listTools(): Promise<Page<ToolItem> & { readonly problems: readonly FileProblem[] }>;
  getTool(name: string): Promise<ToolDetail>;
  callTool(
    tool: string,
    method: string,
    args: object,
    idempotencyKey?: string,
  ): Promise<{ readonly tool: string; readonly method: string; readonly result: unknown }>;

  listApprovals(filter: Filter): Promise<Page<ApprovalView>>;
  getApproval(approvalId: string): Promise<ApprovalForYou>;
  voteOnMany(votes: readonly VoteRequest[]): Promise<{ readonly items: readonly BulkOutcome[] }>;
  overrideApproval(approvalId: string, body: { readonly reason: string; readonly digest: string }): Promise<ApprovalDetail>;
  listApprovalGrants(filter: Filter): Promise<Page<StickyView>>;
  revokeApprovalGrant(grantId: string): Promise<StickyView>;
}

export interface ApprovalForYou extends ApprovalDetail {
  /** Null for a key. */
  readonly you: { readonly may_vote: boolean; readonly why_not: string | null } | null;
}

export interface VoteRequest {
  readonly approval_id: string;
  readonly verdict: 'approve' | 'deny';
  readonly digest: string;
  readonly reason?: string | undefined;
  readonly args_patch?: Readonly<Record<string, unknown>> | undefined;
  readonly for?: 'thread' | 'run' | number | undefined;
  readonly fields?: readonly string[] | undefined;
}

/** @param access for what only a person may do: that of `readPerson` */
export function connect(environment: NodeJS.ProcessEnv = process.env, access: Access = readAccess(environment)): Api {
  const { url, apiKey } = access;
  const send = <T>(method: string, route: string, body?: object) => request<T>(url, apiKey, method, route, body);
  const enc = encodeURIComponent;
  return {
    ...createClient({ url, ...(apiKey === undefined ? {} : { apiKey }) }),
    url,
    listLoaded: () => send('GET', '/workflows'),
    listQueues: () => send('GET', '/workflows/queues'),
    setQueue: (name, limits) => send('PUT', `/workflows/queues/${enc(name)}`, limits),
    listKeys: () => send('GET', '/keys'),
    createKey: (key) => send('POST', '/keys', key),
    revokeKey: (keyId) => send('DELETE', `/keys/${enc(keyId)}`),

    signIn: (body) => send('POST', '/auth/password', body),
    startDevice: () => send('POST', '/auth/device/start'),
    pollDevice: (handle) => send('POST', '/auth/device/poll', { handle }),
    getSession: () => send('GET', '/auth/session'),
    signOut: () => send('DELETE', '/auth/session'),
    prove: (password) => send('POST', '/auth/prove', { password }),
    listUsers: () => send('GET', '/users'),
    addUser: (user) => send('POST', '/users', user),
    getUser: (name) => send('GET', `/users/${enc(name)}`),
    changeUser: (name, change) => send('PUT', `/users/${enc(name)}`, change),
    setUserRoles: (name, roles) => send('PUT', `/users/${enc(name)}/roles`, { roles }),
    disableUser: (name) => send('POST', `/users/${enc(name)}/disable`),
    enableUser: (name) => send('POST', `/users/${enc(name)}/enable`),
    resetPassword: (name) => send('POST', `/users/${enc(name)}/password`),
    listUserSessions: (name) => send('GET', `/users/${enc(name)}/sessions`),
    endUserSessions: (name) => send('DELETE', `/users/${enc(name)}/sessions`),

    listSecrets: () => send('GET', '/secrets'),
    getSecret: (name) => send('GET', `/secrets/${enc(name)}`),
    putSecret: (name, secret) => send('PUT', `/secrets/${enc(name)}`, secret),
    rotateSecret: (name, value, graceSeconds) => send('POST', `/secrets/${enc(name)}/rotate`, { value, grace_seconds: graceSeconds }),
    removeSecret: (name) => send('DELETE', `/secrets/${enc(name)}`),
    rewrapKeys: () => send('POST', '/master-key/rewrap'),
    listGrants: (filter) => send('GET', `/grants${queryText(filter)}`),
    addGrant: (principal, secret) => send('POST', '/grants', { principal, secret }),
    removeGrant: (grantId) => send('DELETE', `/grants/${enc(grantId)}`),
    listRefusals: (filter) => send('GET', `/refusals${queryText(filter)}`),
    refuseGrant: (principal, secret) => send('PUT', `/principals/${enc(principal)}/refusals/${enc(secret)}`),
    allowGrant: (principal, secret) => send('DELETE', `/principals/${enc(principal)}/refusals/${enc(secret)}`),
    setRoles: (principal, roles) => send('PUT', `/principals/${enc(principal)}/roles`, { roles }),

    listOAuthApps: () => send('GET', '/oauth/apps'),
    putOAuthApp: (name, app) => send('PUT', `/oauth/apps/${enc(name)}`, app),
    removeOAuthApp: (name) => send('DELETE', `/oauth/apps/${enc(name)}`),
    listConnections: () => send('GET', '/oauth/connections'),
    getConnection: (connectionId) => send('GET', `/oauth/connections/${enc(connectionId)}`),
    connectAccount: (request) => send('POST', '/oauth/connections', request),
    revokeConnection: (connectionId) => send('DELETE', `/oauth/connections/${enc(connectionId)}`),

    createLease: (lease) => send('POST', '/leases', lease),
    listLeases: (filter) => send('GET', `/leases${queryText(filter)}`),
    revokeLease: (leaseId, reason) => send('DELETE', `/leases/${enc(leaseId)}${queryText({ reason })}`),

    getPolicy: () => send('GET', '/policy'),
    listPolicyVersions: (limit) => send('GET', `/policy/versions${queryText({ limit })}`),
    getPolicyVersion: (version) => send('GET', `/policy/versions/${version}`),
    publishPolicy: (of, message) => send('POST', '/policy/publish', { ...of, message }),
    shadowReport: (filter) => send('GET', `/policy/shadow/report${queryText(filter)}`),
    listDrafts: () => send('GET', '/policy/drafts'),
    getDraft: (name) => send('GET', `/policy/drafts/${enc(name)}`),
    saveDraft: (name, text, message) => send('PUT', `/policy/drafts/${enc(name)}`, { text, message }),
    removeDraft: (name) => send('DELETE', `/policy/drafts/${enc(name)}`),
    shadowPolicy: (text, message) => send('POST', '/policy/shadow', { text, message }),
    endShadow: () => send('DELETE', '/policy/shadow'),
    rollbackPolicy: (version) => send('POST', '/policy/rollback', { version }),
    explainDecision: (of) => send('POST', '/policy/explain', of),
    backtestPolicy: (text, days) => send('POST', '/policy/backtest', { text, days }),

    listUsage: (filter) => send('GET', `/usage${queryText(filter)}`),

    getTrace: (id, filter) => send('GET', `/traces/${encodeURIComponent(id)}${queryText(filter)}`),
    listAudit: (filter) => send('GET', `/audit${queryText(filter)}`),
    proveAuditEntry: (auditId) => send('GET', `/audit/${enc(auditId)}/proof`),
    verifyAudit: (anchors) => send('POST', '/audit/verify', { anchors }),
    getAuditKey: () => send('GET', '/audit/key'),
    async exportAudit() {
      const response = await fetchRoute(url, apiKey, 'GET', '/audit/export');
      if (!response.ok || response.body === null) await readAnswer(url, response);
      return response.body as AsyncIterable<Uint8Array>;
    },

    getRetention: () => send('GET', '/data/retention'),
    applyRetention: () => send('POST', '/data/retention/apply', {}),
    listHolds: (filter) => send('GET', `/data/holds${queryText(filter)}`),
    placeHold: (subject, reason) => send('POST', '/data/holds', { subject, reason }),
    releaseHold: (holdId) => send('DELETE', `/data/holds/${enc(holdId)}`),
    planErasure: (subject) => send('GET', `/data/erasures/plan${queryText({ subject })}`),
    eraseData: (subject) => send('POST', '/data/erasures', { subject, confirm: subject }),
    listErasures: () => send('GET', '/data/erasures'),
    getErasure: (erasureId) => send('GET', `/data/erasures/${enc(erasureId)}`),
    async exportData(subject) {
      const response = await fetchRoute(url, apiKey, 'GET', `/data/export${queryText({ subject })}`);
      if (!response.ok || response.body === null) await readAnswer(url, response);
      return response.body as AsyncIterable<Uint8Array>;
    },

    verifyJournals: (after) => send('POST', '/audit/journals/verify', { after }),
    replayRun: (runId, options) => send('POST', `/workflows/runs/${enc(runId)}/replay`, options),
    forkFrom: (runId, fork) => send('POST', `/workflows/runs/${enc(runId)}/fork`, fork),

    listDeliveries: (filter) => send('GET', `/agent/final-deliveries${queryText(filter)}`),
    retryDelivery: (executionId) => send('POST', `/agent/final-deliveries/${enc(executionId)}/retry`),
    listInboxEvents: (filter) => send('GET', `/agent/inbox${queryText(filter)}`),
    retryInboxEvent: (platform, eventId) => send('POST', `/agent/inbox/${enc(platform)}/${enc(eventId)}/retry`),

    listWebhooks: () => send('GET', '/webhooks'),
    listWebhookDeliveries: (filter) => send('GET', `/webhooks/deliveries${queryText(filter)}`),
    redeliverWebhook: (deliveryId) => send('POST', `/webhooks/deliveries/${enc(deliveryId)}/redeliver`),

    listTools: () => send('GET', '/tools'),
    getTool: (name) => send('GET', `/tools/${enc(name)}`),
    async callTool(tool, method, args, idempotencyKey) {
      const headers = idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey };
      return readAnswer(url, await fetchRoute(url, apiKey, 'POST', `/tools/${enc(tool)}/${enc(method)}`, args, headers));
    },

    listApprovals: (filter) => send('GET', `/approvals${queryText(filter)}`),
    getApproval: (approvalId) => send('GET', `/approvals/${enc(approvalId)}`),
    voteOnMany: (votes) => send('POST', '/approvals/votes', { votes: votes.map((vote) => ({ ...vote, channel: 'cli' })) }),
    overrideApproval: (approvalId, body) => send('POST', `/approvals/${enc(approvalId)}/override`, { ...body, channel: 'cli' }),
    listApprovalGrants: (filter) => send('GET', `/approvals/grants${queryText(filter)}`),
    revokeApprovalGrant: (grantId) => send('DELETE', `/approvals/grants/${enc(grantId)}`),
  };
}

function queryText(filter: Filter): string {
  const given = Object.entries(filter).filter(([, value]) => value !== undefined);
  return given.length === 0
    ? ''
    : `?${new URLSearchParams(Object.fromEntries(given.map(([name, value]) => [name, String(value)]))).toString()}`;
}

async function request<T>(url: string, apiKey: string | undefined, method: string, route: string, body?: object): Promise<T> {
  return readAnswer<T>(url, await fetchRoute(url, apiKey, method, route, body));
}

async function fetchRoute(
  url: string,
  apiKey: string | undefined,
  method: string,
  route: string,
  body?: object,
  headers: Readonly<Record<string, string>> = {},
): Promise<Response> {
  try {
    return await fetch(baseOf(url) + route, {
      method,
      headers: {
        ...headers,
        ...(apiKey === undefined ? {} : { 'x-api-key': apiKey }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch (error) {
    throw unreachable(url, error);
  }
}

async function readAnswer<T>(url: string, response: Response): Promise<T> {
  const text = await response.text().catch((error: unknown) => Promise.reject(unreachable(url, error)));
  let answer: Record<string, unknown>;
  try {
    answer = JSON.parse(text) as Record<string, unknown>;
  } catch (error) {
    throw new CentaurApiError(response.status, 'NOT_JSON', `${baseOf(url)} did not answer in JSON; is it the Centaur API?`, {
      cause: error,
    });
  }
  if (response.ok) return answer as T;
  const { code, message, details } = answer;
  throw new CentaurApiError(response.status, String(code), String(message), { details });
}

export function baseOf(url: string): string {
  return `${url.replace(/\/api$/, '')}/api`;
}

export function unreachable(url: string, error: unknown): CentaurApiError {
  const cause = (error as Error).cause as Error | undefined;
  return new CentaurApiError(0, 'UNREACHABLE', `no answer from ${baseOf(url)}: ${(cause ?? (error as Error)).message}`, { cause: error });
}
