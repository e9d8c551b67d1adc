/**
 * The canonical form of a journal. A row is what Postgres calls the binary form of a record: the number of its columns, and
 * for each the OID of its type, its length, and its bytes; JSON counts as the text that is stored. So the sealer computes
 * digests where the rows are, and whoever verifies computes them here, from the rows alone.
 */
import { sha256 } from '../audit/index.ts';

/** OIDs of types never change. */
const OID = { int2: 21, int4: 23, text: 25, json: 114, char: 18, uuid: 2950, timestamptz: 1184 } as const;

export const MEMBER_BYTES = 36;
const FORM = 'centaur journal 1\n';

/** A step's row, as `STEP_FOR_DIGEST` reads it: times as the 8 bytes that Postgres sends. */
export interface StepForDigest {
  readonly seq: number;
  readonly ord: number | null;
  readonly attempt: number;
  readonly attempts: number;
  readonly kind: string;
  readonly status: string;
  readonly name: string;
  readonly outcome: string | null;
  readonly detail: string | null;
  readonly wake_at: Buffer | null;
  readonly started_at: Buffer;
  readonly ended_at: Buffer | null;
}

/** The same columns in the same order, for the sealer. */
export const STEP_RECORD =
  's.seq, s.ord, s.attempt, s.attempts, s.kind, s.status, s.name, s.outcome, s.detail, s.wake_at, s.started_at, s.ended_at';
export const STEP_FOR_DIGEST = `s.seq, s.ord, s.attempt::int, s.attempts::int, s.kind::text, s.status::text, s.name, s.outcome::text as outcome,
  s.detail::text as detail, timestamptz_send(s.wake_at) as wake_at, timestamptz_send(s.started_at) as started_at, timestamptz_send(s.ended_at) as ended_at`;

export function stepDigest(step: StepForDigest): Buffer {
  return record([
    [OID.int4, int4(step.seq)],
    [OID.int4, int4(step.ord)],
    [OID.int2, int2(step.attempt)],
    [OID.int2, int2(step.attempts)],
    [OID.char, text(step.kind)],
    [OID.char, text(step.status)],
    [OID.text, text(step.name)],
    [OID.json, text(step.outcome)],
    [OID.json, text(step.detail)],
    [OID.timestamptz, step.wake_at],
    [OID.timestamptz, step.started_at],
    [OID.timestamptz, step.ended_at],
  ]);
}

export interface RunForDigest {
  readonly run_id: string;
  readonly workflow_name: string;
  readonly workflow_version: string | null;
  readonly status: string;
  readonly attempt: number;
  readonly seed: string | null;
  readonly parent_run_id: string | null;
  readonly trace_id: string | null;
  readonly trigger_key: string | null;
  readonly input: string | null;
  readonly result: string | null;
  readonly error: string | null;
  readonly created_at: Buffer;
  readonly started_at: Buffer | null;
  readonly ended_at: Buffer;
}

export const RUN_RECORD = `f.run_id, f.workflow_name, f.workflow_version, f.status, f.attempt, f.seed, f.parent_run_id, f.trace_id, f.trigger_key,
  f.created_at, f.started_at, f.ended_at`;
export const RUN_FOR_DIGEST = `f.run_id, f.workflow_name, f.workflow_version, f.status::text as status, f.attempt::int, f.seed, f.parent_run_id, f.trace_id,
  f.trigger_key, f.input::text as input, f.result::text as result, f.error::text as error, timestamptz_send(f.created_at) as created_at,
  timestamptz_send(f.started_at) as started_at, timestamptz_send(f.ended_at) as ended_at`;

/** What a seal says of the run itself. */
export interface Head {
  readonly run: Buffer;
  readonly input: Buffer;
  readonly end: Buffer;
}

export function headOf(run: RunForDigest): Head {
  return {
    run: record([
      [OID.uuid, uuid(run.run_id)],
      [OID.text, text(run.workflow_name)],
      [OID.text, text(run.workflow_version)],
      [OID.char, text(run.status)],
      [OID.int2, int2(run.attempt)],
      [OID.uuid, uuid(run.seed)],
      [OID.uuid, uuid(run.parent_run_id)],
      [OID.uuid, uuid(run.trace_id)],
      [OID.text, text(run.trigger_key)],
      [OID.timestamptz, run.created_at],
      [OID.timestamptz, run.started_at],
      [OID.timestamptz, run.ended_at],
    ]),
    input: record([[OID.json, text(run.input)]]),
    end: record([
      [OID.json, text(run.result)],
      [OID.json, text(run.error)],
    ]),
  };
}

export function readHead(head: Buffer): Head {
  return { run: head.subarray(0, 32), input: head.subarray(32, 64), end: head.subarray(64, 96) };
}

/** @param head 96 bytes @param members of all steps, by seq */
export function rootOf(head: Buffer, members: Buffer): Buffer {
  return sha256(FORM, head, members);
}

export interface Member {
  readonly seq: number;
  readonly digest: Buffer;
}

export function readMembers(members: Buffer): Member[] {
  return Array.from({ length: Math.floor(members.length / MEMBER_BYTES) }, (_, i) => ({
    seq: members.readInt32BE(i * MEMBER_BYTES),
    digest: members.subarray(i * MEMBER_BYTES + 4, (i + 1) * MEMBER_BYTES),
  }));
}

/** What `sha256(record_send(row(…)))` is. */
function record(columns: readonly (readonly [oid: number, value: Buffer | null])[]): Buffer {
  const parts: Buffer[] = [int4(columns.length) as Buffer];
  for (const [oid, value] of columns) {
    const head = Buffer.alloc(8);
    head.writeInt32BE(oid);
    head.writeInt32BE(value === null ? -1 : value.length, 4);
    parts.push(head);
    if (value !== null) parts.push(value);
  }
  return sha256(...parts);
}

function int4(value: number | null): Buffer | null {
  if (value === null) return null;
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

function int2(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}

const text = (value: string | null): Buffer | null => (value === null ? null : Buffer.from(value));
const uuid = (value: string | null): Buffer | null => (value === null ? null : Buffer.from(value.replaceAll('-', ''), 'hex'));
