/** What an entry is, and how it becomes a row: once, in one canonical text that everything else is computed from. */
import { createHmac } from 'node:crypto';
import { canonicalJson, uuidv7 } from '../store/index.ts';
import { leafOf } from './offline.ts';

export interface AuditEntry {
  /** `secret.create`, `lease.create`, `egress.intent` and so on. */
  readonly action: string;
  /** Who acts: a principal, `key:<id>` of an API key, or `system`. */
  readonly actor: string;
  /** What is acted on: `secret:NAME`, `https://host/path`. */
  readonly resource?: string | undefined;
  readonly decision?: 'allow' | 'deny' | 'approve' | undefined;
  /** Of an outcome: the entry of its intent. */
  readonly intentId?: string | undefined;
  readonly leaseId?: string | undefined;
  readonly runId?: string | undefined;
  readonly threadKey?: string | undefined;
  readonly traceId?: string | undefined;
  /** JSON. Never a secret; what is personal goes into `private`. */
  readonly details?: object | undefined;
  /** Sealed under the subject's own key, so that it can be erased: see `erase`. */
  readonly private?: { readonly subject: string; readonly sealed: string } | undefined;
}

export interface AuditRow {
  readonly auditId: string;
  readonly action: string;
  readonly actor: string;
  readonly resource: string | null;
  readonly decision: string | null;
  readonly intentId: string | null;
  readonly leaseId: string | null;
  readonly runId: string | null;
  readonly threadKey: string | null;
  readonly traceId: string | null;
  readonly entry: string;
  readonly mac: Buffer;
  readonly leaf: Buffer;
}

/** An entry's text may be this long; more belongs into an attachment. */
const LONGEST_ENTRY = 64 * 1024;

/**
 * @param scrub applied to the text before it is hashed: the last barrier against a secret in the log
 * @throws RangeError for an entry above 64 KiB
 */
export function toRow(entry: AuditEntry, macKey: Buffer, nowMs: number, scrub?: (text: string) => string): AuditRow {
  const auditId = uuidv7(nowMs);
  const whole = {
    id: auditId,
    at: new Date(nowMs).toISOString(),
    action: entry.action,
    actor: entry.actor,
    resource: entry.resource,
    decision: entry.decision,
    intent_id: entry.intentId,
    lease_id: entry.leaseId,
    run_id: entry.runId,
    thread_key: entry.threadKey,
    trace_id: entry.traceId,
    details: entry.details,
    private: entry.private,
  };
  let text = canonicalJson(whole);
  let { resource } = entry;
  if (scrub !== undefined) {
    const scrubbed = scrub(text);
    if (scrubbed !== text) ({ resource } = JSON.parse((text = scrubbed)) as { resource?: string });
  }
  if (text.length > LONGEST_ENTRY) throw new RangeError(`an audit entry of ${text.length} characters: ${LONGEST_ENTRY} are the most`);
  const mac = createHmac('sha256', macKey).update(text).digest();
  return {
    auditId,
    action: entry.action,
    actor: entry.actor,
    resource: resource ?? null,
    decision: entry.decision ?? null,
    intentId: entry.intentId ?? null,
    leaseId: entry.leaseId ?? null,
    runId: entry.runId ?? null,
    threadKey: entry.threadKey ?? null,
    traceId: entry.traceId ?? null,
    entry: text,
    mac,
    leaf: leafOf(text, mac),
  };
}

/** Which of the searchable columns say something else than the entry. */
export function columnsThatDiffer(row: Omit<AuditRow, 'mac' | 'leaf'>): string[] {
  const entry = JSON.parse(row.entry) as Record<string, unknown>;
  const columns: [column: string, value: string | null, field: string][] = [
    ['audit_id', row.auditId, 'id'],
    ['action', row.action, 'action'],
    ['actor', row.actor, 'actor'],
    ['resource', row.resource, 'resource'],
    ['decision', row.decision, 'decision'],
    ['intent_id', row.intentId, 'intent_id'],
    ['lease_id', row.leaseId, 'lease_id'],
    ['run_id', row.runId, 'run_id'],
    ['thread_key', row.threadKey, 'thread_key'],
    ['trace_id', row.traceId, 'trace_id'],
  ];
  return columns.filter(([, value, field]) => (entry[field] ?? null) !== value).map(([column]) => column);
}
