/**
 * The hashes of the audit log, and the verification of an export. This file depends on nothing but Node, so that an
 * auditor can read it whole and run it as it is, on a machine that has neither Centaur nor its database:
 *
 *   node offline.ts export.jsonl [public-key-or-checkpoint-file]
 *
 * An export is a file of JSON lines: one `head`, then `batch`, `entry` and `checkpoint` lines, and `policy` lines with the texts that
 * decided. What it proves: every entry
 * is as it was when it was sealed, none is missing, and the checkpoints were signed by the installation's key. A key or
 * checkpoint kept elsewhere proves besides that the export is of that installation and that its end was not cut off.
 */
import { createPublicKey, hash as hashAtOnce, verify as verifySignature } from 'node:crypto';
import { createReadStream, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface SealedBatch {
  readonly n: number;
  readonly count: number;
  /** Entries of the whole log up to the end of this batch. */
  readonly size: number;
  readonly lastXid: string;
  readonly lastId: string;
  readonly root: Buffer;
  readonly prevHash: Buffer;
  readonly hash: Buffer;
  /** Per entry its id (16 bytes) and its leaf (32 bytes). */
  readonly members: Buffer;
}

export interface Finding {
  readonly batch: number | null;
  readonly auditId: string | null;
  readonly problem: string;
}

const LEAF = Buffer.from([0]);
const NODE = Buffer.from([1]);
export const MEMBER_BYTES = 48;
export const FIRST_HASH = Buffer.alloc(32);
const MISSING = 'the entry is missing';

export function sha256(...parts: readonly (Buffer | string)[]): Buffer {
  // in one call: making a hash object costs more than hashing what is hashed here
  const [only = ''] = parts;
  return hashAtOnce(
    'sha256',
    parts.length === 1 ? only : Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part))),
    'buffer',
  );
}

/** What the seal covers of an entry: the entry's text, and the MAC that shows who wrote it. */
export function leafOf(entry: Buffer | string, mac: Buffer): Buffer {
  return sha256(LEAF, mac, sha256(entry));
}

/** Root of a Merkle tree as in RFC 6962, over leaves that are hashes already. */
export function merkleRoot(leaves: readonly Buffer[]): Buffer {
  if (leaves.length === 0) return sha256();
  // level by level: what is left over at the end of one goes up as it is
  let level = leaves;
  while (level.length > 1) {
    const below = level;
    level = Array.from({ length: Math.ceil(below.length / 2) }, (_, i) => {
      const [left, right] = [below[2 * i] as Buffer, below[2 * i + 1]];
      return right === undefined ? left : sha256(NODE, left, right);
    });
  }
  return level[0] as Buffer;
}

/** The largest power of two below the count. */
function split(count: number): number {
  return 2 ** (Math.ceil(Math.log2(count)) - 1);
}

/** The hashes that lead from leaf `index` to the root, lowest first. */
export function inclusionPath(leaves: readonly Buffer[], index: number): Buffer[] {
  if (leaves.length <= 1) return [];
  const half = split(leaves.length);
  return index < half
    ? [...inclusionPath(leaves.slice(0, half), index), merkleRoot(leaves.slice(half))]
    : [...inclusionPath(leaves.slice(half), index - half), merkleRoot(leaves.slice(0, half))];
}

/** The root to which a path leads. */
export function rootFromPath(leaf: Buffer, index: number, count: number, path: readonly Buffer[]): Buffer | undefined {
  if (count <= 1) return path.length === 0 && index === 0 ? leaf : undefined;
  const sibling = path.at(-1);
  if (sibling === undefined || index < 0 || index >= count) return undefined;
  const half = split(count);
  const below =
    index < half ? rootFromPath(leaf, index, half, path.slice(0, -1)) : rootFromPath(leaf, index - half, count - half, path.slice(0, -1));
  if (below === undefined) return undefined;
  return index < half ? sha256(NODE, below, sibling) : sha256(NODE, sibling, below);
}

export function batchHash(batch: Omit<SealedBatch, 'hash' | 'count' | 'members'>): Buffer {
  return sha256(
    'centaur audit batch\n',
    batch.prevHash,
    batch.root,
    int64(batch.n),
    int64(batch.size),
    int64(BigInt(batch.lastXid)),
    idBytes(batch.lastId),
  );
}

function int64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

export function idBytes(id: string): Buffer {
  return Buffer.from(id.replaceAll('-', ''), 'hex');
}

function idText(bytes: Buffer): string {
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

export interface Member {
  readonly id: string;
  readonly leaf: Buffer;
}

export function readMembers(members: Buffer): Member[] {
  return Array.from({ length: Math.floor(members.length / MEMBER_BYTES) }, (_, i) => {
    const at = i * MEMBER_BYTES;
    return { id: idText(members.subarray(at, at + 16)), leaf: members.subarray(at + 16, at + MEMBER_BYTES) };
  });
}

/** Whether a batch agrees with itself and with the one before it. */
export function checkBatch(batch: SealedBatch, before: SealedBatch | undefined): Finding[] {
  const found = (problem: string): Finding => ({ batch: batch.n, auditId: null, problem });
  const members = readMembers(batch.members);
  const findings: Finding[] = [];
  if (batch.n !== (before?.n ?? 0) + 1) findings.push(found(`batch ${(before?.n ?? 0) + 1} is missing`));
  else if (!batch.prevHash.equals(before?.hash ?? FIRST_HASH)) findings.push(found('it does not continue the batch before it'));
  if (members.length !== batch.count || batch.members.length % MEMBER_BYTES !== 0)
    findings.push(found(`it has ${members.length} members, not ${batch.count}`));
  if (batch.n === (before?.n ?? 0) + 1 && batch.size !== (before?.size ?? 0) + batch.count)
    findings.push(found('its size does not add up'));
  if (members.at(-1)?.id !== batch.lastId) findings.push(found('it does not end with its last member'));
  if (!merkleRoot(members.map((member) => member.leaf)).equals(batch.root)) findings.push(found('its root is not that of its members'));
  if (!batchHash(batch).equals(batch.hash)) findings.push(found('its hash is not that of its content'));
  return findings;
}

/** Whether the entries of a batch are those that were sealed. `pruned` tells of ids whose entries were dropped on purpose. */
export function checkEntries(
  batch: SealedBatch,
  entries: ReadonlyMap<string, { readonly entry: string; readonly mac: Buffer }>,
  pruned: (id: string) => boolean = () => false,
): Finding[] {
  const findings: Finding[] = [];
  const members = readMembers(batch.members);
  const known = new Set(members.map((member) => member.id));
  for (const { id, leaf } of members) {
    const row = entries.get(id);
    if (row === undefined) {
      if (!pruned(id)) findings.push({ batch: batch.n, auditId: id, problem: MISSING });
    } else if (!leafOf(row.entry, row.mac).equals(leaf)) findings.push({ batch: batch.n, auditId: id, problem: 'the entry was changed' });
  }
  for (const id of entries.keys()) if (!known.has(id)) findings.push({ batch: batch.n, auditId: id, problem: 'the entry was added later' });
  return findings;
}

/** The id before which an entry says that all were dropped; undefined when it says no such thing. */
export function prunedBefore(entry: string): string | undefined {
  try {
    const { action, actor, details } = JSON.parse(entry) as { action?: unknown; actor?: unknown; details?: { before?: unknown } };
    return action === 'audit.prune' && actor === 'system' && typeof details?.before === 'string' ? details.before : undefined;
  } catch {
    return undefined;
  }
}

/** The version of the policy that an entry says was published, and the SHA-256 of its text. */
function publishedBy(entry: string): { readonly version: number; readonly digest: string } | undefined {
  try {
    const { action, details } = JSON.parse(entry) as { action?: unknown; details?: { version?: unknown; digest?: unknown } };
    const { version, digest } = details ?? {};
    if (typeof action !== 'string' || !action.startsWith('policy.')) return undefined;
    return typeof version === 'number' && typeof digest === 'string' ? { version, digest } : undefined;
  } catch {
    return undefined;
  }
}

// ---- checkpoints: signed notes (C2SP), `origin\nsize\nhash\n\n— origin signature\n`

export function checkpointText(origin: string, size: number, hash: Buffer): string {
  return `${origin}\n${size}\n${hash.toString('base64')}\n`;
}

/** The first four bytes of a signature line: which key signed. */
export function keyHint(origin: string, rawPublicKey: Buffer): Buffer {
  return sha256(`${origin}\n`, Buffer.from([1]), rawPublicKey).subarray(0, 4);
}

export function readCheckpoint(
  note: string,
):
  | { readonly origin: string; readonly size: number; readonly hash: Buffer; readonly text: string; readonly signature: Buffer }
  | undefined {
  const parts = /^((.+)\n(\d+)\n([A-Za-z0-9+/=]+)\n)\n— (\S+) ([A-Za-z0-9+/=]+)\n$/u.exec(note);
  if (parts === null || parts[5] !== parts[2]) return undefined;
  return {
    text: parts[1] as string,
    origin: parts[2] as string,
    size: Number(parts[3]),
    hash: Buffer.from(parts[4] as string, 'base64'),
    signature: Buffer.from(parts[6] as string, 'base64'),
  };
}

/** @param rawPublicKey the 32 bytes of an Ed25519 key */
export function checkpointIsSigned(note: string, rawPublicKey: Buffer): boolean {
  const checkpoint = readCheckpoint(note);
  if (checkpoint === undefined || !checkpoint.signature.subarray(0, 4).equals(keyHint(checkpoint.origin, rawPublicKey))) return false;
  if (rawPublicKey.length !== 32) return false;
  const key = createPublicKey({
    key: Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), rawPublicKey]),
    format: 'der',
    type: 'spki',
  });
  return verifySignature(null, Buffer.from(checkpoint.text), key, checkpoint.signature.subarray(4));
}

// ---- an export

interface ExportLine {
  readonly type: string;
  readonly [field: string]: unknown;
}

export interface ExportReport {
  readonly entries: number;
  readonly batches: number;
  readonly checkpoints: number;
  /** Entries that were dropped when their time was over: the log itself says so. */
  readonly pruned: number;
  readonly findings: readonly Finding[];
  /** How many entries of the log a signed checkpoint in it covers. */
  readonly signed: number;
  /** Versions of the policy whose texts are there, and are those of which the log says that they were published. */
  readonly policies: readonly number[];
}

/** The notes in a file to which they are appended, one after the other. */
export function keptCheckpoints(text: string): string[] {
  return [...text.matchAll(/^[^\n]+\n\d+\n[A-Za-z0-9+/=]+\n\n— [^\n]+\n/gmu)].map(([note]) => note);
}

/** @param anchor a public key (base64, 32 bytes) or a checkpoint kept elsewhere */
export function verifyExport(text: string, anchor?: string): ExportReport {
  const check = checkExport(anchor);
  for (const line of text.split('\n')) check.line(line);
  return check.end();
}

/** Takes an export line by line, and keeps no more than one batch of it: an export may be larger than the memory. */
export function checkExport(anchor?: string): { line(text: string): void; end(): ExportReport } {
  const findings: Finding[] = [];
  const general = (problem: string) => findings.push({ batch: null, auditId: null, problem });
  const kept = anchor === undefined ? [] : keptCheckpoints(anchor);
  const hashes = new Map<number, Buffer>();
  const missing: Finding[] = [];
  const counts = { lines: 0, entries: 0, batches: 0, checkpoints: 0, signed: 0 };
  const published = new Map<number, string>();
  const policies: number[] = [];
  let publicKey: Buffer | undefined;
  let pruned = '';
  let before: SealedBatch | undefined;
  let open: { readonly batch: SealedBatch; readonly entries: Map<string, { readonly entry: string; readonly mac: Buffer }> } | undefined;

  function head(line: ExportLine): void {
    if (line.type !== 'head' || line['format'] !== 'centaur-audit-1') return void general('this is no export of an audit log');
    publicKey = Buffer.from(String(line['public_key']), 'base64');
    if (anchor === undefined) return;
    if (kept.length === 0) {
      if (!Buffer.from(anchor.trim(), 'base64').equals(publicKey)) general('the export is signed by another key than the one given');
    } else if (kept.some((note) => !checkpointIsSigned(note, publicKey as Buffer))) general('a checkpoint given was signed by another key');
  }

  function endBatch(): void {
    if (open === undefined) return;
    for (const finding of checkEntries(open.batch, open.entries)) (finding.problem === MISSING ? missing : findings).push(finding);
    open = undefined;
  }

  function batchLine(line: ExportLine): void {
    endBatch();
    const batch = readBatch(line);
    counts.batches += 1;
    // an export may begin in the middle: then its first batch is held against nothing before it
    if (counts.batches === 1 && batch.n > 1) before = { ...batch, n: batch.n - 1, hash: batch.prevHash, size: batch.size - batch.count };
    findings.push(...checkBatch(batch, before));
    hashes.set(batch.size, batch.hash);
    before = batch;
    open = { batch, entries: new Map() };
  }

  function entryLine(line: ExportLine): void {
    counts.entries += 1;
    const entry = String(line['entry']);
    const id = String((JSON.parse(entry) as { id?: unknown }).id);
    // a line that belongs to nothing, or stands in for another, would be read and not verified
    if (open === undefined || open.batch.n !== line['batch'])
      findings.push({ batch: Number(line['batch']), auditId: id, problem: 'the entry is not with its batch' });
    else if (open.entries.has(id)) findings.push({ batch: open.batch.n, auditId: id, problem: 'the entry is there twice' });
    else open.entries.set(id, { entry, mac: Buffer.from(String(line['mac']), 'base64') });
    const bound = prunedBefore(entry);
    if (bound !== undefined && bound > pruned) pruned = bound;
    const policy = publishedBy(entry);
    if (policy !== undefined) published.set(policy.version, policy.digest);
  }

  /** A text is believed for its digest, which the log has from when it was published. */
  function policyLine(line: ExportLine): void {
    const version = Number(line['version']);
    if (published.get(version) === sha256(String(line['text'])).toString('hex')) policies.push(version);
    else if (published.has(version)) general(`the text of version ${version} of the policy is not the one that was published`);
  }

  function checkpointLine(note: string): void {
    const checkpoint = readCheckpoint(note);
    if (checkpoint === undefined || publicKey === undefined || !checkpointIsSigned(note, publicKey))
      general('a checkpoint is not signed by the installation');
    else if (hashes.get(checkpoint.size)?.equals(checkpoint.hash) !== true)
      general(`the log is not the one of the checkpoint at ${checkpoint.size} entries`);
    else counts.signed = Math.max(counts.signed, checkpoint.size);
  }

  return {
    line(text) {
      counts.lines += 1;
      if (text.trim() === '') return;
      try {
        const line = JSON.parse(text) as ExportLine;
        if (publicKey === undefined) {
          if (findings.length === 0) head(line);
        } else if (line.type === 'batch') batchLine(line);
        else if (line.type === 'entry') entryLine(line);
        else if (line.type === 'checkpoint') {
          endBatch();
          counts.checkpoints += 1;
          checkpointLine(String(line['note']));
        } else if (line.type === 'policy') policyLine(line);
        else general(`line ${counts.lines} is of no known type`);
      } catch {
        general(`line ${counts.lines} cannot be read`);
      }
    },
    end() {
      endBatch();
      if (publicKey === undefined && findings.length === 0) general('this is no export of an audit log');
      if (publicKey !== undefined) for (const note of kept) checkpointLine(note);
      // what was dropped on purpose, an entry further on says
      const lost = missing.filter(({ auditId }) => String(auditId) >= pruned);
      return {
        entries: counts.entries,
        batches: counts.batches,
        checkpoints: counts.checkpoints,
        pruned: missing.length - lost.length,
        findings: [...findings, ...lost],
        signed: counts.signed,
        policies,
      };
    },
  };
}

function readBatch(line: ExportLine): SealedBatch {
  const bytes = (field: string) => Buffer.from(String(line[field]), 'base64');
  return {
    n: Number(line['n']),
    count: Number(line['count']),
    size: Number(line['size']),
    lastXid: String(line['last_xid']),
    lastId: String(line['last_id']),
    root: bytes('root'),
    prevHash: bytes('prev_hash'),
    hash: bytes('hash'),
    members: bytes('members'),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , file, anchor] = process.argv;
  if (file === undefined) {
    console.error('usage: node offline.ts export.jsonl [file with a public key or a checkpoint]');
    process.exitCode = 2;
  } else {
    const check = checkExport(anchor === undefined ? undefined : readFileSync(anchor, 'utf8'));
    for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY })) check.line(line);
    const report = check.end();
    for (const { batch, auditId, problem } of report.findings)
      console.log(`${batch === null ? '' : `batch ${batch}: `}${auditId === null ? '' : `${auditId}: `}${problem}`);
    console.log(
      `${report.entries} entries in ${report.batches} batches, ${report.checkpoints} checkpoints${report.pruned === 0 ? '' : `, ${report.pruned} entries dropped when their time was over`}: ${report.findings.length === 0 ? 'all as they were sealed' : `${report.findings.length} problems`}`,
    );
    process.exitCode = report.findings.length === 0 ? 0 : 1;
  }
}
