/** Verification of the log in the database: every batch, every entry in it, and what is not sealed yet. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Store } from '../store/index.ts';
import { type AuditRow, columnsThatDiffer } from './entry.ts';
import {
  checkBatch,
  checkEntries,
  checkpointIsSigned,
  type Finding,
  idBytes,
  inclusionPath,
  leafOf,
  readCheckpoint,
  readMembers,
  type SealedBatch,
} from './offline.ts';

export interface VerifyReport {
  readonly entries: number;
  readonly batches: number;
  readonly checkpoints: number;
  /** Entries that are committed and not sealed yet. */
  readonly unsealed: number;
  /** Sealed entries that were dropped when their time was over. */
  readonly pruned: number;
  readonly findings: readonly Finding[];
}

export interface VerifyOptions {
  /** Without it, who wrote an entry is not verified. */
  readonly macKey?: Buffer;
  readonly rawPublicKey: Buffer;
  /** Checkpoints kept outside the database. */
  readonly anchors?: readonly string[];
  readonly onProgress?: (entries: number) => void;
}

/** More are counted, not listed. */
const FINDINGS_MAX = 1000;
const FIRST_ID = '00000000-0000-0000-0000-000000000000';

type Row = Omit<AuditRow, never>;

const ROW = `a.audit_id as "auditId", a.action, a.actor, a.resource, a.decision, a.intent_id as "intentId", a.lease_id as "leaseId", a.run_id as "runId",
  a.thread_key as "threadKey", a.trace_id as "traceId", a.entry, a.mac, a.leaf`;

const BATCH = `n, count, size, last_xid::text as "lastXid", last_id as "lastId", root, prev_hash as "prevHash", hash, members`;

/** Reads the whole log, batch by batch. */
export async function verifyLog(store: Store, options: VerifyOptions): Promise<VerifyReport> {
  const findings: Finding[] = [];
  const prunedBefore = await pruneBound(store);
  let entries = 0;
  let pruned = 0;
  let batches = 0;
  let before: SealedBatch | undefined;
  const hashes = new Map<number, Buffer>();
  for (;;) {
    const { rows } = await store.query<SealedBatch>(`select ${BATCH} from audit_batches where n > $1 order by n limit 1`, [before?.n ?? 0]);
    const [batch] = rows;
    if (batch === undefined) break;
    batches += 1;
    hashes.set(batch.size, batch.hash);
    findings.push(...checkBatch(batch, before));
    const rowsOf = await entriesBetween(store, before, batch);
    entries += rowsOf.length;
    const isPruned = (id: string) => id < prunedBefore;
    findings.push(...checkEntries(batch, new Map(rowsOf.map((row) => [row.auditId, row])), isPruned));
    for (const row of rowsOf) findings.push(...checkRow(row, batch.n, options.macKey));
    if (rowsOf.length < batch.count) {
      const present = new Set(rowsOf.map((row) => row.auditId));
      pruned += readMembers(batch.members).filter(({ id }) => isPruned(id) && !present.has(id)).length;
    }
    options.onProgress?.(entries);
    before = batch;
    if (findings.length > FINDINGS_MAX) break;
  }
  const unsealed = await entriesBetween(store, before, undefined);
  for (const row of unsealed) findings.push(...checkRow(row, null, options.macKey));
  const { rows: checkpoints } = await store.query<{ note: string }>('select note from audit_checkpoints order by n');
  for (const note of [...checkpoints.map((row) => row.note), ...(options.anchors ?? [])]) {
    const problem = checkpointProblem(note, hashes, options.rawPublicKey);
    if (problem !== undefined) findings.push({ batch: null, auditId: null, problem });
  }
  return {
    entries: entries + unsealed.length,
    batches,
    checkpoints: checkpoints.length,
    unsealed: unsealed.length,
    pruned,
    findings: findings.slice(0, FINDINGS_MAX),
  };
}

function checkpointProblem(note: string, hashes: ReadonlyMap<number, Buffer>, rawPublicKey: Buffer): string | undefined {
  const checkpoint = readCheckpoint(note);
  if (checkpoint === undefined || !checkpointIsSigned(note, rawPublicKey)) return 'a checkpoint is not signed by the installation';
  return hashes.get(checkpoint.size)?.equals(checkpoint.hash) === true
    ? undefined
    : `the log is not the one of the checkpoint at ${checkpoint.size} entries`;
}

/** In the order of the log. Without an end: what is not sealed. */
async function entriesBetween(store: Store, after: SealedBatch | undefined, upTo: SealedBatch | undefined): Promise<Row[]> {
  const { rows } = await store.query<Row>(
    `select ${ROW} from audit_log a where (a.xid, a.audit_id) > ($1::xid8, $2::uuid)
       and ($3::xid8 is null or (a.xid, a.audit_id) <= ($3::xid8, $4::uuid)) order by a.xid, a.audit_id`,
    [after?.lastXid ?? '0', after?.lastId ?? FIRST_ID, upTo?.lastXid ?? null, upTo?.lastId ?? null],
  );
  return rows;
}

function checkRow(row: Row, batch: number | null, macKey: Buffer | undefined): Finding[] {
  const findings: Finding[] = [];
  const found = (problem: string) => findings.push({ batch, auditId: row.auditId, problem });
  if (macKey !== undefined && !timingSafeEqual(createHmac('sha256', macKey).update(row.entry).digest(), row.mac))
    found('its MAC is not by this installation');
  if (batch === null && !leafOf(row.entry, row.mac).equals(row.leaf)) found('the entry was changed');
  try {
    const columns = columnsThatDiffer(row);
    if (columns.length > 0) found(`its columns say something else than the entry: ${columns.join(', ')}`);
  } catch {
    found('the entry is not JSON');
  }
  return findings;
}

/** Entries older than this were dropped on purpose, which the log itself says. */
async function pruneBound(store: Store): Promise<string> {
  const { rows } = await store.query<{ entry: string }>(
    `select entry from audit_log where action = 'audit.prune' and actor = 'system' order by audit_id desc limit 1`,
  );
  if (rows[0] === undefined) return FIRST_ID;
  return (JSON.parse(rows[0].entry) as { details: { before: string } }).details.before;
}

export interface InclusionProof {
  readonly audit_id: string;
  readonly entry: string;
  readonly mac: string;
  readonly leaf: string;
  readonly batch: number;
  readonly index: number;
  readonly count: number;
  /** Hashes that lead from the leaf to the root, lowest first, base64. */
  readonly path: readonly string[];
  readonly root: string;
  readonly prev_hash: string;
  readonly hash: string;
  readonly size: number;
  readonly last_xid: string;
  readonly last_id: string;
  /** The first signed checkpoint that covers it; null when there is none yet. */
  readonly checkpoint: string | null;
}

/** Undefined when there is no such entry, null while it is not sealed. */
export async function proveInclusion(store: Store, auditId: string): Promise<InclusionProof | null | undefined> {
  const { rows: found } = await store.query<{ entry: string; mac: Buffer; leaf: Buffer; xid: string }>(
    'select entry, mac, leaf, xid::text as xid from audit_log where audit_id = $1',
    [auditId],
  );
  const [row] = found;
  if (row === undefined) return undefined;
  const { rows } = await store.query<SealedBatch>(
    `select ${BATCH} from audit_batches where (last_xid, last_id) >= ($1::xid8, $2::uuid) order by n limit 1`,
    [row.xid, auditId],
  );
  const [batch] = rows;
  if (batch === undefined) return null;
  const members = readMembers(batch.members);
  const index = members.findIndex((member) => idBytes(member.id).equals(idBytes(auditId)));
  if (index < 0) return null;
  const { rows: notes } = await store.query<{ note: string }>('select note from audit_checkpoints where n >= $1 order by n limit 1', [
    batch.n,
  ]);
  const text = (bytes: Buffer) => bytes.toString('base64');
  return {
    audit_id: auditId,
    entry: row.entry,
    mac: text(row.mac),
    leaf: text(row.leaf),
    batch: batch.n,
    index,
    count: members.length,
    path: inclusionPath(
      members.map((member) => member.leaf),
      index,
    ).map(text),
    root: text(batch.root),
    prev_hash: text(batch.prevHash),
    hash: text(batch.hash),
    size: batch.size,
    last_xid: batch.lastXid,
    last_id: batch.lastId,
    checkpoint: notes[0]?.note ?? null,
  };
}

/** The export that `offline.ts` verifies, line by line. */
export async function* exportLog(store: Store, head: { readonly origin: string; readonly rawPublicKey: Buffer }): AsyncGenerator<string> {
  const line = (value: object) => `${JSON.stringify(value)}\n`;
  const text = (bytes: Buffer) => bytes.toString('base64');
  yield line({ type: 'head', format: 'centaur-audit-1', origin: head.origin, public_key: text(head.rawPublicKey) });
  let before: SealedBatch | undefined;
  for (;;) {
    const { rows } = await store.query<SealedBatch>(`select ${BATCH} from audit_batches where n > $1 order by n limit 1`, [before?.n ?? 0]);
    const [batch] = rows;
    if (batch === undefined) break;
    yield line({
      type: 'batch',
      n: batch.n,
      count: batch.count,
      size: batch.size,
      last_xid: batch.lastXid,
      last_id: batch.lastId,
      root: text(batch.root),
      prev_hash: text(batch.prevHash),
      hash: text(batch.hash),
      members: text(batch.members),
    });
    for (const row of await entriesBetween(store, before, batch))
      yield line({ type: 'entry', batch: batch.n, mac: text(row.mac), entry: row.entry });
    before = batch;
  }
  const { rows: checkpoints } = await store.query<{ note: string }>('select note from audit_checkpoints where n <= $1 order by n', [
    before?.n ?? 0,
  ]);
  for (const { note } of checkpoints) yield line({ type: 'checkpoint', note });
}
