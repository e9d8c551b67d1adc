/** Starting runs: requests are checked whole before anything is written. */
import { createHash } from 'node:crypto';
import { canonicalJson, isUuid, nearNames, uuidv7 } from '../store/index.ts';
import { addAsker } from './askers.ts';
import { LATEST_MS } from './context.ts';
import type { Core } from './core.ts';
import { roomForRuns, workflowFor } from './core.ts';
import { EngineError } from './errors.ts';
import { FencedError, type Of, type StartRow } from './flush.ts';
import { toJson } from './json.ts';
import { checkQueueName } from './queues.ts';
import { readRun, statusName } from './reads.ts';
import type { Beside, RunId, StartedRun, StartRequest } from './types.ts';

/**
 * @param by who asks for it; not of the request, which may be the words of code that is not trusted
 * @throws EngineError naming the field
 */
export async function prepareStart(
  core: Core,
  request: StartRequest,
  parent: { runId: string; traceId: string | null } | null,
  by: string | null,
): Promise<StartRow> {
  const name = request.workflow_name;
  if (typeof name !== 'string' || name === '' || name.length > 128)
    throw new EngineError('INVALID_REQUEST', 'workflow_name: expected the name of a workflow');
  const workflow = workflowFor(core, name, null);
  if (workflow === undefined) throw unknownWorkflow(core, name);
  const input = toJson(request.input, 'input');
  const raw: unknown = request.input === undefined ? null : request.input;
  const checked = await workflow.checkInput?.(raw);
  const parsed = workflow.parseInput === undefined ? request.input : await workflow.parseInput(raw === null ? null : JSON.parse(input));
  const queue = checkQueueName(request.queue ?? (typeof workflow.queue === 'object' ? workflow.queue.name : workflow.queue) ?? 'default');
  const key = request.concurrency_key ?? checked?.concurrencyKey ?? workflow.concurrencyKey?.(parsed as never) ?? null;
  checkText('concurrency_key', key, 256);
  checkText('trigger_key', request.trigger_key ?? null, 512);
  const priority = request.priority ?? 0;
  if (!Number.isInteger(priority) || priority < -100 || priority > 100)
    throw new EngineError('INVALID_REQUEST', 'priority: expected a whole number from -100 to 100');
  const wakeAt = request.run_at === undefined ? null : parseTime('run_at', request.run_at);
  const traceId = request.trace_id === undefined ? (parent?.traceId ?? null) : parseTraceId(request.trace_id);
  const now = core.store.now();
  const delayed = wakeAt !== null && wakeAt > now;
  const eager = request.eager_start !== false && !delayed && canStartHere(core, queue, key);
  const runId = uuidv7(now);
  return {
    runId,
    workflow: name,
    version: eager ? workflow.version : null,
    status: delayed ? 's' : eager ? 'r' : 'q',
    queue,
    priority,
    key,
    wakeAt: delayed ? wakeAt : null,
    startedAt: eager ? Math.round(now) : null,
    parent: parent?.runId ?? null,
    startedBy: by,
    traceId: traceId ?? (parent === null ? null : parent.runId),
    triggerKey: request.trigger_key ?? null,
    inputHash:
      request.trigger_key === undefined
        ? null
        : createHash('sha256')
            .update(request.trigger_identity ?? canonicalJson(request.input ?? null))
            .digest(),
    input,
  };
}

/** A limited queue hands out its runs itself; a keyed run must take its turn among the other keys. */
function canStartHere(core: Core, queue: string, key: string | null): boolean {
  if (core.workerId === null || core.draining || key !== null || core.queues.isLimited(queue)) return false;
  if (core.options.queues !== undefined && !core.options.queues.includes(queue)) return false;
  return roomForRuns(core) > 0;
}

export function unknownWorkflow(core: Core, name: string): EngineError {
  const known = core.registry.list().map((workflow) => workflow.name);
  const near = nearNames(name, known);
  const hint =
    near.length > 0
      ? `; did you mean ${near.join(' or ')}?`
      : known.length > 0
        ? `; known are ${known.slice(0, 20).join(', ')}`
        : '; no workflow is loaded: check WORKFLOW_DIRS';
  return new EngineError('UNKNOWN_WORKFLOW', `workflow_name: no workflow is named "${name}"${hint}`);
}

export function checkText(field: string, value: unknown, most: number): void {
  if (value === null) return;
  if (typeof value !== 'string' || value === '' || value.length > most || value.includes('\0')) {
    throw new EngineError('INVALID_REQUEST', `${field}: expected 1 to ${most} characters`);
  }
}

function parseTime(field: string, text: unknown): number {
  const ms =
    typeof text === 'string' && /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:?\d\d)$/.test(text)
      ? Date.parse(text)
      : Number.NaN;
  if (!Number.isFinite(ms) || ms > LATEST_MS)
    throw new EngineError('INVALID_REQUEST', `${field}: expected an RFC 3339 time with a zone, such as 2026-01-31T09:00:00Z`);
  return ms;
}

/** A trace id is kept in a uuid column: it has as many digits. */
function parseTraceId(text: string): string {
  const parts = /^([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})$/.exec(text);
  if (parts === null) throw new EngineError('INVALID_REQUEST', 'trace_id: expected 32 lower-case hex digits');
  return parts.slice(1).join('-');
}

/**
 * Writes prepared starts; answers when they are committed.
 *
 * @param beside of each of them
 */
export async function commitStarts(
  core: Core,
  rows: readonly StartRow[],
  begin: (row: StartRow) => void,
  beside?: Beside,
): Promise<StartedRun[]> {
  if (core.draining || core.closed) throw new EngineError('DRAINING', 'this process is shutting down; try another one');
  await core.starts.room();
  const refused: StartRow[] = [];
  if (rows.length > 0)
    await new Promise<void>((resolve, reject) => {
      let left = rows.length;
      for (const row of rows) {
        const write: Of<'start'> = {
          type: 'start',
          row,
          beside,
          group: row.runId,
          bytes: 200 + row.input.length,
          settle(error) {
            if (error instanceof FencedError) core.onFenced();
            if (error !== undefined) reject(startFailure(error));
            else if (write.refused === true) refused.push(row);
            else {
              core.counters.started += 1;
              if (row.status === 'r') begin(row);
            }
            core.starting.delete(row.runId);
            left -= 1;
            if (left === 0) resolve();
          },
        };
        if (row.status === 'r') core.starting.add(row.runId);
        core.starts.push(write);
      }
    });
  if (rows.some((row) => row.status !== 'r')) core.kick();
  const known = refused.length === 0 ? new Map<StartRow, StartedRun>() : await findTriggered(core, refused);
  return rows.map(
    (row) =>
      known.get(row) ?? {
        run_id: row.runId as RunId,
        workflow_name: row.workflow,
        status: row.status === 'r' ? 'running' : 'queued',
        created: true,
        idempotent: false,
      },
  );
}

function startFailure(error: Error): Error {
  if (error instanceof FencedError)
    return new EngineError('STORE_UNAVAILABLE', 'this worker just lost its lease; nothing was started, try again', { cause: error });
  return new EngineError('ROW_REJECTED', `Postgres refused the run: ${error.message}`, { cause: error });
}

async function findTriggered(core: Core, rows: readonly StartRow[]): Promise<Map<StartRow, StartedRun>> {
  const found = new Map<StartRow, StartedRun>();
  for (const row of rows) {
    const { rows: triggers } = await core.store.query<{ run_id: string; input_hash: Buffer }>(
      'select run_id, input_hash from workflow_triggers where workflow_name = $1 and trigger_key = $2',
      [row.workflow, row.triggerKey],
    );
    const trigger = triggers[0];
    if (trigger === undefined) throw new EngineError('STORE_UNAVAILABLE', 'trigger_key: its run is just being removed; try again');
    if (row.inputHash === null || !trigger.input_hash.equals(row.inputHash)) {
      throw new EngineError(
        'TRIGGER_KEY_MISMATCH',
        `trigger_key: "${row.triggerKey}" has started run ${trigger.run_id} with another input`,
        { details: { run_id: trigger.run_id } },
      );
    }
    const run = await readRun(core.store, trigger.run_id);
    // before the answer: who has it has asked for what the run does
    if (run !== undefined && run.started_by !== row.startedBy) await addAsker(core.store, trigger.run_id, row.startedBy);
    found.set(row, {
      run_id: trigger.run_id as RunId,
      workflow_name: row.workflow,
      status: run === undefined ? 'queued' : statusName(run),
      created: false,
      idempotent: true,
    });
  }
  return found;
}

export function parseRunId(text: unknown): RunId {
  const id = typeof text === 'string' ? text.toLowerCase() : '';
  if (!isUuid(id)) throw new EngineError('RUN_NOT_FOUND', `run ${JSON.stringify(text)} does not exist: a run id is a UUID`);
  return id as RunId;
}
