/** The API as the commands use it: the SDK's client, and the few calls that only operators make. */
import type { AuditView, InclusionProof } from '@centaur/kernel/audit';
import type {
  ConnectionView,
  ConnectRequest,
  OAuthAppRequest,
  OAuthAppView,
  RevokedConnection,
  StartedConnection,
} from '@centaur/kernel/oauth';
import type { ApprovalView, Decision, Explanation, PolicyRequest, PolicyVersion, Problem } from '@centaur/kernel/policy';
import type { DeliveryView } from '@centaur/kernel/threads';
import type { MethodDeclaration, ServedTool } from '@centaur/kernel/tools';
import type { TraceView } from '@centaur/kernel/traces';
import type { GrantView, LeaseView, RefusalView, RewrapReport, SecretRequest, SecretView } from '@centaur/kernel/vault';
import type { DeliveryView as WebhookDelivery, Redelivered, WebhookView } from '@centaur/kernel/webhooks';
import { CentaurApiError, createClient, type Client, type Page, type Schedule, type WorkflowView } from '@centaur/sdk';
import { readAccess } from './access.ts';

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

/** As the API names them. */
type Filter = Readonly<Record<string, string | number | undefined>>;

export interface Api extends Client {
  readonly url: string;
  listLoaded(): Promise<Page<LoadedWorkflow> & { readonly problems: readonly FileProblem[] }>;
  listQueues(): Promise<Page<QueueView>>;
  setQueue(name: string, limits: Partial<Pick<QueueView, 'concurrency' | 'concurrency_per_key' | 'rate_limit'>>): Promise<QueueView>;
  listKeys(): Promise<Page<KeyView>>;
  createKey(key: { readonly name: string; readonly scopes: readonly string[] }): Promise<KeyView & { readonly key: string }>;
  revokeKey(keyId: string): Promise<KeyView>;

  listSecrets(): Promise<Page<SecretView>>;
  getSecret(name: string): Promise<SecretView>;
  putSecret(name: string, secret: SecretRequest): Promise<SecretView>;
  rotateSecret(name: string, value: string, graceSeconds?: number): Promise<SecretView>;
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
  publishPolicy(text: string, message?: string): Promise<PublishedVersion>;
  shadowPolicy(text: string, message?: string): Promise<PublishedVersion>;
  endShadow(): Promise<{ readonly ended: boolean }>;
  rollbackPolicy(version: number): Promise<PolicyVersion>;
  explainDecision(of: { readonly request: unknown } | { readonly audit_id: string }): Promise<ExplainedDecision>;
  backtestPolicy(text: string, days?: number): Promise<BacktestAnswer>;

  /** @param id of a trace, a run or a turn */
  getTrace(id: string, filter: Filter): Promise<TraceView>;
  listAudit(filter: Filter): Promise<Page<AuditView>>;
  proveAuditEntry(auditId: string): Promise<InclusionProof>;
  verifyAudit(anchors?: readonly string[]): Promise<AuditReport>;
  getAuditKey(): Promise<{ readonly origin: string; readonly public_key: string }>;
  /** The export as it arrives. */
  exportAudit(): Promise<AsyncIterable<Uint8Array>>;

  listDeliveries(filter: Filter): Promise<Page<DeliveryView>>;
  retryDelivery(executionId: string): Promise<{ readonly execution_id: string; readonly state: string }>;

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
  getApproval(approvalId: string): Promise<ApprovalView>;
  decideApproval(approvalId: string, decision: 'approve' | 'deny', reason?: string): Promise<ApprovalView>;
}

export function connect(environment: NodeJS.ProcessEnv = process.env): Api {
  const { url, apiKey } = readAccess(environment);
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
    publishPolicy: (text, message) => send('POST', '/policy/publish', { text, message }),
    shadowPolicy: (text, message) => send('POST', '/policy/shadow', { text, message }),
    endShadow: () => send('DELETE', '/policy/shadow'),
    rollbackPolicy: (version) => send('POST', '/policy/rollback', { version }),
    explainDecision: (of) => send('POST', '/policy/explain', of),
    backtestPolicy: (text, days) => send('POST', '/policy/backtest', { text, days }),

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

    listDeliveries: (filter) => send('GET', `/agent/final-deliveries${queryText(filter)}`),
    retryDelivery: (executionId) => send('POST', `/agent/final-deliveries/${enc(executionId)}/retry`),

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
    decideApproval: (approvalId, decision, reason) => send('POST', `/approvals/${enc(approvalId)}/${decision}`, { reason }),
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
