/**
 * To whose task a request belongs. A lease that was made for one run, turn or call says so itself, and nobody else is asked. The process of a
 * tool or of a workflow serves many: its requests say to which call or run they belong, and that is looked up. What they say of traces is
 * never believed, so nobody writes into the trace of a task that is not theirs.
 */
import { readReference, type Store } from '../store/index.ts';
import type { LiveLease } from './lease-book.ts';
import type { HeaderLines } from './substitute.ts';

export interface RequestTrace {
  readonly traceId?: string | undefined;
  readonly runId?: string | undefined;
  readonly threadKey?: string | undefined;
  /** The entry of the call in the audit log that the request was made for. */
  readonly causedBy?: string | undefined;
}

export interface TraceBook {
  of(lease: LiveLease, headers: HeaderLines): Promise<RequestTrace>;
}

/** A call that has ended is not believed for longer. */
const FRESH_MS = 1000;
const KNOWN_MOST = 5000;

export const TRACE_HEADERS: ReadonlySet<string> = new Set(['traceparent', 'tracestate']);

export function createTraceBook(store: Pick<Store, 'query'>): TraceBook {
  const known = new Map<string, { readonly at: number; readonly trace: Promise<RequestTrace> }>();

  async function look(lease: LiveLease, tracestate: string): Promise<RequestTrace> {
    const reference = readReference(tracestate);
    const [kind, name] = [lease.principal.slice(0, lease.principal.indexOf(':')), lease.principal.slice(lease.principal.indexOf(':') + 1)];
    if (reference?.kind === 'call' && kind === 'tool') {
      const { rows } = await store.query<{ trace_id: string | null; run_id: string | null; thread_key: string | null }>(
        `select trace_id, run_id, thread_key from audit_log i where audit_id = $1 and action = 'tool.call'
           and starts_with(resource, $2) and not exists (select from audit_log o where o.intent_id = i.audit_id)`,
        [reference.id, `tool:${name}.`],
      );
      const [call] = rows;
      if (call === undefined) return {};
      return {
        traceId: call.trace_id ?? undefined,
        runId: call.run_id ?? undefined,
        threadKey: call.thread_key ?? undefined,
        causedBy: reference.id,
      };
    }
    if (reference?.kind === 'run' && kind === 'workflow') {
      const { rows } = await store.query<{ trace_id: string }>(
        'select coalesce(trace_id, run_id) as trace_id from workflow_runs where run_id = $1 and workflow_name = $2',
        [reference.id, name],
      );
      return rows[0] === undefined ? {} : { traceId: rows[0].trace_id, runId: reference.id };
    }
    return {};
  }

  return {
    async of(lease, headers) {
      const { traceId, runId, threadKey } = lease;
      const own = { traceId: traceId ?? undefined, runId: runId ?? undefined, threadKey: threadKey ?? undefined };
      if (traceId !== null) return own;
      const said = headers.find(([name]) => name === 'tracestate')?.[1];
      if (said === undefined) return own;
      const key = `${lease.leaseId} ${said.slice(0, 512)}`;
      const now = performance.now();
      let found = known.get(key);
      if (found === undefined || now - found.at > FRESH_MS) {
        if (known.size >= KNOWN_MOST) known.clear();
        // without an answer the request is nobody's: whether it may be sent does not depend on this
        found = { at: now, trace: look(lease, said).catch(() => ({})) };
        known.set(key, found);
      }
      const looked = await found.trace;
      return { ...looked, runId: own.runId ?? looked.runId, threadKey: own.threadKey ?? looked.threadKey };
    },
  };
}
