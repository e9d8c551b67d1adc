/**
 * Leases of single calls of tools. A process that serves a tool has placeholders for as long as it lives; the firewall gives out what
 * stands behind them while a call of the tool is open, and not in between.
 */
import type { Queryable } from '../store/index.ts';

export interface CallLease {
  readonly callId: string;
  /** Of the processes that serve the call: `tool:<name>`. */
  readonly principal: string;
  /** `user:<name>`: of the processes that serve the calls of that user alone. */
  readonly onBehalfOf: string | undefined;
  readonly runId: string | undefined;
  readonly threadKey: string | undefined;
  /** UUID. */
  readonly traceId: string | undefined;
  /** For the case that nobody ends it. */
  readonly seconds: number;
  /** The entry of the call. */
  readonly auditId: string;
}

/** Whose calls are asked for. */
export interface CallHolder {
  readonly principal: string;
  readonly onBehalfOf: string | null;
}

/** A call that is open, and what it is part of. */
export interface OpenCall {
  readonly callId: string;
  readonly runId: string | null;
  readonly threadKey: string | null;
  readonly traceId: string | null;
}

/** In the transaction of the call's audit entry. */
export async function openCallLease(tx: Queryable, lease: CallLease): Promise<void> {
  await tx.query(
    `insert into tool_call_leases (call_id, principal, on_behalf_of, run_id, thread_key, trace_id, expires_at, audit_id)
     values ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7), $8)`,
    [
      lease.callId,
      lease.principal,
      lease.onBehalfOf ?? null,
      lease.runId ?? null,
      lease.threadKey ?? null,
      lease.traceId ?? null,
      lease.seconds,
      lease.auditId,
    ],
  );
}

export async function closeCallLease(on: Queryable, callId: string): Promise<void> {
  await on.query('delete from tool_call_leases where call_id = $1', [callId]);
}

/** Those whose holders died. Answers how many. */
export async function pruneCallLeases(on: Queryable): Promise<number> {
  return (await on.query('delete from tool_call_leases where expires_at < now()')).rowCount;
}

/** A few of them, the newest first. */
export async function openCalls(on: Queryable, { principal, onBehalfOf }: CallHolder): Promise<readonly OpenCall[]> {
  const { rows } = await on.query<{ call_id: string; run_id: string | null; thread_key: string | null; trace_id: string | null }>(
    `select call_id, run_id, thread_key, trace_id from tool_call_leases
     where principal = $1 and on_behalf_of is not distinct from $2 and expires_at > now() order by expires_at desc limit 10`,
    [principal, onBehalfOf],
  );
  return rows.map((row) => ({ callId: row.call_id, runId: row.run_id, threadKey: row.thread_key, traceId: row.trace_id }));
}

/** Those of them that have a call open. */
export async function withOpenCalls<Holder extends CallHolder>(on: Queryable, holders: readonly Holder[]): Promise<ReadonlySet<Holder>> {
  const { rows } = await on.query<{ principal: string; on_behalf_of: string | null }>(
    'select distinct principal, on_behalf_of from tool_call_leases where principal = any($1::text[]) and expires_at > now()',
    [[...new Set(holders.map(({ principal }) => principal))]],
  );
  return new Set(
    holders.filter(({ principal, onBehalfOf }) => rows.some((row) => row.principal === principal && row.on_behalf_of === onBehalfOf)),
  );
}
