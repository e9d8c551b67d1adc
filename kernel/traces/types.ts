/** What a trace is made of. */

/** What a span tells of. Those of seed: a request comes in, is decided on, its state is kept, somebody is sent to work, secrets are lent, a tool is called. */
export const SPAN_KINDS = [
  'ingress.webhook',
  'run',
  'queue.wait',
  'run.attempt',
  'run.takeover',
  'step',
  'transaction',
  'state.checkpoint',
  'sleep',
  'event.wait',
  'run.start',
  'run.wait',
  'agent.dispatch',
  'agent.turn',
  'policy.eval',
  'approval.wait',
  'audit.log',
  'secrets.lease',
  'tool.call',
  'execute_tool',
  'egress',
  'egress.upstream',
  'delivery',
] as const;
export type SpanKind = (typeof SPAN_KINDS)[number];

/** `open`: it has not ended, or nobody wrote down that it did. */
export type SpanStatus = 'ok' | 'error' | 'denied' | 'cancelled' | 'open';

/** Times are Unix milliseconds. */
export interface Span {
  /** 16 hex digits: the same whenever it is asked for. */
  readonly id: string;
  readonly parent: string | null;
  readonly kind: SpanKind;
  readonly name: string;
  readonly start: number;
  readonly end: number | null;
  readonly status: SpanStatus;
  /** A code, such as `TOOL_TIMEOUT`. Never a message: it may quote what was sent. */
  readonly error: string | null;
  /** 1 for what went well the first time. */
  readonly attempt: number;
  /** What it took is at most this: it is known from what came next. */
  readonly atMost: boolean;
  /** Entries of the audit log that tell of it. */
  readonly auditIds: readonly string[];
  readonly runId: string | null;
  readonly threadKey: string | null;
  /** Who acted. */
  readonly actor: string | null;
  /** Facts without arguments, results or paths. */
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
}

// ---- rows, as they are read

export interface RunRow {
  readonly runId: string;
  readonly workflow: string;
  /** As the engine writes it: see its `reads.ts`. */
  readonly status: string;
  readonly queue: string;
  readonly attempt: number;
  readonly parent: string | null;
  readonly error: string | null;
  readonly hasTrigger: boolean;
  readonly createdAt: number;
  readonly startedAt: number | null;
  readonly endedAt: number | null;
}

export interface StepRow {
  readonly runId: string;
  readonly seq: number;
  readonly name: string;
  readonly kind: string;
  readonly status: string;
  readonly attempts: number;
  readonly startedAt: number;
  readonly endedAt: number | null;
  readonly wakeAt: number | null;
  readonly error: string | null;
  /** The run that it started, or waits for. */
  readonly other: string | null;
}

export interface AttemptRow {
  readonly runId: string;
  readonly attempt: number;
  readonly startedAt: number | null;
  readonly endedAt: number;
  readonly error: string | null;
}

export interface TakeoverRow {
  readonly runId: string;
  readonly takenAt: number;
}

export interface WebhookRow {
  readonly runId: string;
  readonly slug: string;
  readonly provider: string | null;
  readonly event: string | null;
  readonly receivedAt: number;
}

export interface TurnRow {
  readonly executionId: string;
  readonly threadKey: string;
  readonly executeId: string;
  readonly runId: string | null;
  readonly askedBy: string | null;
  readonly status: string;
  readonly reason: string | null;
  readonly harness: string;
  readonly model: string | null;
  readonly inputTokens: number | null;
  readonly outputTokens: number | null;
  readonly createdAt: number;
  readonly startedAt: number | null;
  readonly completedAt: number | null;
  readonly deliveryState: string | null;
  readonly deliveryPlatform: string | null;
  readonly deliveryAttempts: number | null;
  readonly deliveryFrom: number | null;
  readonly deliveredAt: number | null;
}

/** An entry of the audit log: what is told of it here, and nothing else of it. */
export interface EntryRow {
  readonly auditId: string;
  readonly at: number;
  readonly action: string;
  readonly actor: string;
  readonly decision: string | null;
  readonly intentId: string | null;
  readonly leaseId: string | null;
  readonly runId: string | null;
  readonly threadKey: string | null;
  /** UUID. */
  readonly trace: string | null;
  /** `tool:shop.create`, or scheme, host and port; never a path. */
  readonly resource: string | null;
  readonly details: EntryDetails;
}

export interface EntryDetails {
  readonly step?: string | null;
  readonly caused_by?: string | null;
  readonly approval_id?: string | null;
  readonly code?: string | null;
  readonly error?: string | null;
  readonly ok?: boolean | null;
  readonly risk?: string | null;
  readonly method?: string | null;
  readonly rule?: string | null;
  readonly call_id?: string | null;
  readonly status?: number | null;
  readonly bytes?: number | null;
  readonly ms?: number | null;
  readonly policy_ms?: number | null;
  readonly audit_ms?: number | null;
  readonly lease_ms?: number | null;
  readonly dispatch_ms?: number | null;
  readonly secrets?: number | null;
}

export interface ApprovalRow {
  readonly approvalId: string;
  readonly state: string;
  readonly gate: string;
  readonly principal: string;
  readonly runId: string | null;
  readonly auditId: string;
  readonly decidedAuditId: string | null;
  readonly createdAt: number;
  readonly decidedAt: number | null;
  readonly expiresAt: number;
}

export interface Rows {
  readonly runs: readonly RunRow[];
  readonly steps: readonly StepRow[];
  readonly attempts: readonly AttemptRow[];
  readonly takeovers: readonly TakeoverRow[];
  readonly webhooks: readonly WebhookRow[];
  readonly turns: readonly TurnRow[];
  readonly entries: readonly EntryRow[];
  readonly approvals: readonly ApprovalRow[];
}
