/** Verification of the log in the database: every batch, every entry in it, and what is not sealed yet. */
import type { Store } from '../store/index.ts';
import { type AuditRow, columnsThatDiffer, macOf } from './entry.ts';
import {
  checkBatch,
  checkEntries,
  checkpointIsSigned,
  type Finding,
  inclusionPath,
  leafOf,
  prunedBefore,
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
  /** How many there are. */
  readonly problems: number;
  /** The first thousand of them. */
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

const ROW = `a.audit_id as "auditId", a.action, a.actor, a.resource, a.decision, a.intent_id as "intentId", a.lease_id as "leaseId", a.run_id as "runId",
  a.thread_key as "threadKey", a.trace_id as "traceId", a.entry, a.mac, a.leaf`;

const BATCH = `n, count, size, last_xid::text as "lastXid", last_id as "lastId", root, prev_hash as "prevHash", hash, members`;

/** Reads the whole log, batch by batch. */
export async function verifyLog(store: Store, options: VerifyOptions): Promise<VerifyReport> {
  const findings: Finding[] = [];
  let problems = 0;
  const report = (found: readonly Finding[]) => {
    problems += found.length;
    findings.push(...found.slice(0, FINDINGS_MAX - findings.length));
  };
  // before the batches: what is sealed meanwhile may be signed meanwhile, too
  const { rows: checkpoints } = await store.query<Checkpoint>('select n, size, note from audit_checkpoints order by n');
  let entries = 0;
  let pruned = 0;
  let batches = 0;
  let before: SealedBatch | undefined;
  const hashes = new Map<number, Buffer>();
  // up to here: a log that grows faster than it is read would never end
  const last = await lastBatch(store);
  while ((before?.n ?? 0) < last) {
    const { rows } = await store.query<SealedBatch>(`select ${BATCH} from audit_batches where n > $1 order by n limit 1`, [before?.n ?? 0]);
    const [batch] = rows;
    if (batch === undefined) break;
    batches += 1;
    hashes.set(batch.size, batch.hash);
    report(checkBatch(batch, before));
    const rowsOf = new Map((await entriesBetween(store, before, batch)).map((row) => [row.auditId, row]));
    entries += rowsOf.size;
    const missing = readMembers(batch.members).filter(({ id }) => !rowsOf.has(id));
    // after the rows: a pruning in between has said so by now
    const bound = missing.length === 0 ? '' : await pruneBound(store, options.macKey);
    const isPruned = (id: string) => id < bound;
    pruned += missing.filter(({ id }) => isPruned(id)).length;
    report(checkEntries(batch, rowsOf, isPruned));
    for (const row of rowsOf.values()) report(checkRow(row, batch.n, options.macKey));
    options.onProgress?.(entries);
    before = batch;
  }
  const unsealed = await entriesBetween(store, before, undefined);
  for (const row of unsealed) report(checkRow(row, null, options.macKey));
  for (const checkpoint of [...checkpoints, ...(options.anchors ?? []).map((note) => ({ note }))]) {
    const problem = checkpointProblem(checkpoint, hashes, options.rawPublicKey);
    if (problem !== undefined) report([{ batch: null, auditId: null, problem }]);
  }
  return {
    entries: entries + unsealed.length,
    batches,
    checkpoints: checkpoints.length,
    unsealed: unsealed.length,
    pruned,
    problems,
    findings,
  };
}

async function lastBatch(store: Store): Promise<number> {
  const { rows } = await store.query<{ n: number }>('select coalesce(max(n), 0) as n from audit_batches');
  return rows[0]?.n ?? 0;
}

interface Checkpoint {
  readonly n?: number;
  readonly size?: number;
  readonly note: string;
}

function checkpointProblem({ n, size, note }: Checkpoint, hashes: ReadonlyMap<number, Buffer>, rawPublicKey: Buffer): string | undefined {
  const checkpoint = readCheckpoint(note);
  if (checkpoint === undefined || !checkpointIsSigned(note, rawPublicKey)) return 'a checkpoint is not signed by the installation';
  if (size !== undefined && size !== checkpoint.size) return `the checkpoint of batch ${n} is the one at ${checkpoint.size} entries`;
  return hashes.get(checkpoint.size)?.equals(checkpoint.hash) === true
    ? undefined
    : `the log is not the one of the checkpoint at ${checkpoint.size} entries`;
}

/** In the order of the log. Without an end: what is not sealed. */
async function entriesBetween(store: Store, after: SealedBatch | undefined, upTo: SealedBatch | undefined): Promise<AuditRow[]> {
  const { rows } = await store.query<AuditRow>(
    `select ${ROW} from audit_log a where ($1::xid8 is null or (a.xid, a.audit_id) > ($1::xid8, $2::uuid))
       and ($3::xid8 is null or (a.xid, a.audit_id) <= ($3::xid8, $4::uuid)) order by a.xid, a.audit_id`,
    [after?.lastXid ?? null, after?.lastId ?? null, upTo?.lastXid ?? null, upTo?.lastId ?? null],
  );
  return rows;
}

function checkRow(row: AuditRow, batch: number | null, macKey: Buffer | undefined): Finding[] {
  const findings: Finding[] = [];
  const found = (problem: string) => findings.push({ batch, auditId: row.auditId, problem });
  if (macKey !== undefined && !isOurs(row, macKey)) found('its MAC is not by this installation');
  if (!leafOf(row.entry, row.mac).equals(row.leaf)) found(batch === null ? 'the entry was changed' : 'its leaf is not that of the entry');
  try {
    const columns = columnsThatDiffer(row);
    if (columns.length > 0) found(`its columns say something else than the entry: ${columns.join(', ')}`);
  } catch {
    found('the entry is not JSON');
  }
  return findings;
}

/** Whether an entry is as it was written, and by this installation. Without the key, who wrote it is not verified. */
export function isOwnEntry(
  row: { readonly entry: string; readonly mac: Buffer; readonly leaf: Buffer },
  macKey: Buffer | undefined,
): boolean {
  return (macKey === undefined || isOurs(row, macKey)) && leafOf(row.entry, row.mac).equals(row.leaf);
}

function isOurs({ entry, mac }: { readonly entry: string; readonly mac: Buffer }, macKey: Buffer): boolean {
  return macOf(entry, macKey).equals(mac);
}

/** Entries older than this were dropped on purpose, which the log itself says. A forged entry says nothing. */
async function pruneBound(store: Store, macKey: Buffer | undefined): Promise<string> {
  const { rows } = await store.query<{ entry: string; mac: Buffer }>(
    `select entry, mac from audit_log where action = 'audit.prune' and actor = 'system'`,
  );
  return rows
    .filter((row) => macKey === undefined || isOurs(row, macKey))
    .map(({ entry }) => prunedBefore(entry) ?? '')
    .reduce((latest, before) => (before > latest ? before : latest), '');
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
    `select ${BATCH} from audit_batches where (last_xid, last_id) >= ($1::xid8, $2::uuid) order by last_xid, last_id limit 1`,
    [row.xid, auditId],
  );
  const [batch] = rows;
  if (batch === undefined) return null;
  const members = readMembers(batch.members);
  const index = members.findIndex((member) => member.id === auditId.toLowerCase());
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

/**
 * The export that `offline.ts` verifies, line by line.
 *
 * @param onEnd hears that it was read to its end, and up to which batch
 */
export async function* exportLog(
  store: Store,
  head: { readonly origin: string; readonly rawPublicKey: Buffer },
  onEnd?: (lastBatch: number) => Promise<void>,
): AsyncGenerator<string> {
  const line = (value: object) => `${JSON.stringify(value)}\n`;
  const text = (bytes: Buffer) => bytes.toString('base64');
  yield line({ type: 'head', format: 'centaur-audit-1', origin: head.origin, public_key: text(head.rawPublicKey) });
  let before: SealedBatch | undefined;
  // up to here: a log that grows faster than it is read would never end
  const last = await lastBatch(store);
  while ((before?.n ?? 0) < last) {
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
  // so that decisions can be repeated where no database is
  const { rows: policies } = await store.query<{ version: number; source: string }>(
    'select version, source from policy_versions order by version',
  );
  for (const { version, source } of policies) yield line({ type: 'policy', version, text: source });
  if (before !== undefined) await onEnd?.(before.n);
}
