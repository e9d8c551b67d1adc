/**
 * Questions to people, as far as a run is concerned: a call that waits for a decision, which comes as an event of a type that nobody
 * else can send. Who is asked, and what counts as a decision, is the business of whoever serves `Approvals`.
 */
import { createHash } from 'node:crypto';
import type { ApprovalOptions, ApprovalVerdict } from '@centaur/sdk';
import { toMilliseconds } from '@centaur/sdk';
import { binary, canonicalJson, type Queryable } from '../store/index.ts';
import type { Core } from './core.ts';
import { EngineError } from './errors.ts';
import { fromJson, toJson } from './json.ts';

/** Sent in the transaction of the decision, with the approval's id as correlation. */
export const APPROVAL_EVENT = '$approval';

/** Of one run, undecided at a time. */
export const OPEN_MOST = 100;

const SUMMARY_MOST = 2000;
const TOOL_MOST = 200;
const ARGS_BYTES_MOST = 32 * 1024;
const EDITABLE_MOST = 50;
const PATH_MOST = 200;
const SCHEMA_BYTES_MOST = 16 * 1024;

export interface ApprovalQuestion {
  readonly runId: string;
  readonly workflow: string;
  readonly traceId: string | null;
  /** The step that asks. */
  readonly step: string;
  readonly summary: string;
  readonly gate: string;
  readonly tool: string | undefined;
  /** JSON. */
  readonly args: unknown;
  /** Paths in the arguments that people may change. */
  readonly editable: readonly string[];
  /** What they have to fit then: said to be a JSON Schema. */
  readonly schema: Readonly<Record<string, unknown>> | undefined;
  /** At most this long, whatever the gate gives. */
  readonly shortenedMs: number | undefined;
}

export interface AskedApproval {
  readonly approvalId: string;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
}

export interface Approvals {
  /**
   * Asks, in the transaction in which the run's call becomes one that waits: so a call asks once, whenever its worker dies.
   *
   * @throws whatever the handler is to hear, such as that there is no such gate
   */
  ask(tx: Queryable, question: ApprovalQuestion): Promise<AskedApproval>;
  /** Time is up: makes that the decision, unless there is one. Answers until when it is open, if it still is. */
  expire(approvalId: string): Promise<number | undefined>;
  /**
   * The run goes on with these arguments, unless the time to use what was approved is over. Any number of times.
   *
   * @throws when others were approved
   */
  use(approvalId: string, args: unknown): Promise<boolean>;
  /** Nobody waits for these answers any more. */
  withdraw(tx: Queryable, approvalIds: readonly string[]): Promise<void>;
}

/** What a decision tells the run. */
export interface ApprovalEvent {
  readonly verdict: ApprovalVerdict;
  readonly approval_id: string;
  readonly reason: string | null;
  readonly voters: readonly { readonly name: string; readonly verdict: string }[];
  readonly edited: boolean;
  /** Where they were edited. */
  readonly args?: unknown;
  readonly edited_by?: string;
}

/** Of a step that waits for a decision, stored with it. */
export interface ApprovalDetail {
  readonly approval_id: string;
  readonly gate: string;
  /** Of a question of the run's own. */
  readonly binding?: string;
  readonly args?: unknown;
}

/** What a step's function throws when people have to decide before it can be tried again. */
export class WaitsForApprovalError extends Error {
  readonly approvalId: string;
  readonly gate: string;
  readonly expiresAt: number;
  constructor(asked: AskedApproval & { readonly gate: string }) {
    super(`waits for approval ${asked.approvalId}`);
    this.name = 'WaitsForApprovalError';
    this.approvalId = asked.approvalId;
    this.gate = asked.gate;
    this.expiresAt = asked.expiresAt;
  }
}

export type CheckedQuestion = Pick<ApprovalQuestion, 'summary' | 'gate' | 'tool' | 'args' | 'editable' | 'schema' | 'shortenedMs'> & {
  /** What must be the same in a replay: tool, arguments and gate, as SHA-256 in hex. The words, and what people may edit, may change. */
  readonly binding: string;
};

/** @throws EngineError naming the field */
export function checkQuestion(name: string, options: ApprovalOptions): CheckedQuestion {
  const refuse = (problem: string): never => {
    throw new EngineError('INVALID_REQUEST', `approval "${name}": ${problem}`);
  };
  if (typeof options !== 'object' || options === null) refuse('the second argument must be an object with a summary');
  const { summary, gate = 'default', tool, args, editable = [], schema, expires, ...unknown } = options;
  const [odd] = Object.keys(unknown);
  if (odd !== undefined) refuse(`unknown option "${odd}"; use summary, gate, tool, args, editable, schema and expires`);
  const isText = (value: unknown, most: number) =>
    typeof value === 'string' && value.trim() !== '' && value.length <= most && !value.includes('\0');
  if (!isText(summary, SUMMARY_MOST)) refuse(`summary: expected 1 to ${SUMMARY_MOST} characters that say what people decide about`);
  if (!isText(gate, 64)) refuse('gate: expected the name of a gate of the policy');
  if (tool !== undefined && !isText(tool, TOOL_MOST)) refuse(`tool: expected 1 to ${TOOL_MOST} characters`);
  const json = toJson(args, `args of approval "${name}"`);
  const bytes = Buffer.byteLength(json);
  if (bytes > ARGS_BYTES_MOST) refuse(`args: ${bytes} bytes of JSON; ${ARGS_BYTES_MOST} are the most that people are shown`);
  if (!Array.isArray(editable) || editable.length > EDITABLE_MOST || !editable.every(isPath))
    refuse(`editable: expected a list of at most ${EDITABLE_MOST} paths in the arguments, such as "amount" or "items.*.price"`);
  if (schema !== undefined && editable.length === 0) refuse('schema: nothing can be edited that would have to fit it; name it in editable');
  if (editable.length > 0 && !json.startsWith('{')) refuse('editable: args has to be an object for that');
  const schemaJson = schema === undefined ? undefined : toJson(schema, `schema of approval "${name}"`);
  if (schemaJson !== undefined && Buffer.byteLength(schemaJson) > SCHEMA_BYTES_MOST)
    refuse(`schema: ${Buffer.byteLength(schemaJson)} bytes of JSON; ${SCHEMA_BYTES_MOST} are the most`);
  const shortenedMs = expires === undefined ? undefined : toMilliseconds(expires, `expires of approval "${name}"`);
  if (shortenedMs !== undefined && shortenedMs < 1000) refuse('expires: expected at least a second');
  const plain = fromJson(json);
  const binding = createHash('sha256')
    .update(canonicalJson({ tool: tool ?? null, args: plain, gate }))
    .digest('hex');
  const plainSchema = schemaJson === undefined ? undefined : (fromJson(schemaJson) as Readonly<Record<string, unknown>>);
  return { summary: summary.toWellFormed(), gate, tool, args: plain, editable: [...editable], schema: plainSchema, shortenedMs, binding };
}

/** `customer.email`, `items.*.price`. */
const isPath = (path: unknown): boolean =>
  typeof path === 'string' && path.length <= PATH_MOST && /^[^.\0]+(?:\.[^.\0]+)*$/.test(path) && path.isWellFormed();

/** Of a step that waits, or waited, for a decision. */
export function approvalDetail(detail: string | null | undefined): ApprovalDetail | undefined {
  const read = fromJson(detail) as Partial<ApprovalDetail> | null;
  return typeof read?.approval_id === 'string' ? (read as ApprovalDetail) : undefined;
}

/** Of runs that end: nobody waits for what they have asked. */
export async function withdrawOf({ options: { approvals } }: Core, tx: Queryable, runIds: readonly string[]): Promise<void> {
  if (approvals === undefined) return;
  const { rows } = await tx.query<{ id: string }>(
    `select detail->>'approval_id' as id from workflow_steps
     where run_id = any($1::uuid[]) and status = 'p' and detail->>'approval_id' is not null`,
    [binary.uuidArray(runIds)],
  );
  if (rows.length === 0) return;
  await approvals.withdraw(
    tx,
    rows.map(({ id }) => id),
  );
}
