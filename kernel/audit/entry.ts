/** What an entry is, and how it becomes a row: once, in one text that everything else is computed from. */
import { isUuid, uuidv7 } from '../store/index.ts';
import { leafOf, sha256 } from './offline.ts';

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

/** An entry's text may have this many bytes; more belongs into an attachment. */
const LONGEST_ENTRY = 64 * 1024;

/**
 * @param scrub applied to the text before it is hashed: the last barrier against a secret in the log
 * @throws RangeError for an entry above 64 KiB
 * @throws TypeError for an id that is no UUID: its column would say something else than the entry
 */
export function toRow(entry: AuditEntry, macKey: Buffer, nowMs: number, scrub?: (text: string) => string): AuditRow {
  const auditId = uuidv7(nowMs);
  const whole = {
    id: auditId,
    at: new Date(nowMs).toISOString(),
    action: plain(entry.action),
    actor: plain(entry.actor),
    resource: plain(entry.resource),
    decision: entry.decision,
    intent_id: uuid('intentId', entry.intentId),
    lease_id: uuid('leaseId', entry.leaseId),
    run_id: uuid('runId', entry.runId),
    thread_key: plain(entry.threadKey),
    trace_id: uuid('traceId', entry.traceId),
    details: entry.details,
    private: entry.private,
  };
  const written = JSON.stringify(whole);
  const text = scrub === undefined ? written : scrub(written);
  const bytes = Buffer.from(text);
  if (bytes.length > LONGEST_ENTRY) throw new RangeError(`an audit entry of ${bytes.length} bytes: ${LONGEST_ENTRY} are the most`);
  // what was scrubbed from the text must not be in a column either
  const shown = text === written ? whole : (JSON.parse(text) as typeof whole);
  const mac = macOf(bytes, macKey);
  return {
    auditId,
    action: shown.action,
    actor: shown.actor,
    resource: shown.resource ?? null,
    decision: shown.decision ?? null,
    intentId: shown.intent_id ?? null,
    leaseId: shown.lease_id ?? null,
    runId: shown.run_id ?? null,
    threadKey: shown.thread_key ?? null,
    traceId: shown.trace_id ?? null,
    entry: text,
    mac,
    leaf: leafOf(bytes, mac),
  };
}

/** Postgres keeps no zero byte and no half of a surrogate pair: with either, the column would differ from the entry. */
function plain<T extends string | undefined>(text: T): T {
  if (text === undefined || (text.isWellFormed() && !text.includes('\0'))) return text;
  return text.toWellFormed().replaceAll('\0', '\ufffd') as T;
}

function uuid(field: string, id: string | undefined): string | undefined {
  if (id === undefined) return undefined;
  const lower = id.toLowerCase();
  if (!isUuid(lower)) throw new TypeError(`an audit entry's ${field}: expected a UUID`);
  return lower;
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

const pads = new WeakMap<Buffer, { readonly inner: Buffer; readonly outer: Buffer }>();

/** HMAC-SHA-256 in two plain hashes: the library's costs more for making its key object than for the MAC. */
export function macOf(text: Buffer | string, key: Buffer): Buffer {
  let pad = pads.get(key);
  if (pad === undefined) {
    const block = Buffer.alloc(64);
    (key.length > 64 ? sha256(key) : key).copy(block);
    pad = { inner: Buffer.from(block.map((byte) => byte ^ 0x36)), outer: Buffer.from(block.map((byte) => byte ^ 0x5c)) };
    pads.set(key, pad);
  }
  return sha256(pad.outer, sha256(pad.inner, text));
}
