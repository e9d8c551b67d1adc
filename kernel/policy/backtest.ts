/** What a policy would have decided on requests that were made. */
import type { Store } from '../store/index.ts';
import { uuidAt } from '../store/partitions.ts';
import { compilePolicy, type CompiledPolicy, type PolicySchemas } from './compile.ts';
import { PolicyError } from './errors.ts';
import type { Decision, PolicyRequest } from './types.ts';
import { activePolicy } from './active.ts';

export interface RecordedRequest {
  readonly auditId: string;
  readonly request: PolicyRequest;
}

export interface ChangedDecision extends RecordedRequest {
  readonly before: Decision;
  readonly after: Decision;
}

export interface BacktestReport {
  /** The version that it is compared with; 0 is the built-in policy. */
  readonly version: number;
  readonly requests: number;
  /** How many went from one effect to another: `{"deny to allow": 3}`. */
  readonly counts: Readonly<Record<string, number>>;
  /** The newest of them. */
  readonly changed: readonly ChangedDecision[];
}

export interface BacktestOptions {
  /** Default: all there are, up to the limit. */
  readonly days?: number | undefined;
  /** The newest so many entries of the log. Default 10,000. */
  readonly limit?: number | undefined;
  readonly schemas?: PolicySchemas | undefined;
}

const PAGE = 2000;
const MOST_CHANGED = 200;

/**
 * Holds the text against the active policy, both on the recorded requests: so what people approved and limits refused
 * does not count as a change.
 *
 * @throws PolicyError INVALID_POLICY, POLICY_BROKEN
 */
export async function backtest(store: Store, text: string, options: BacktestOptions = {}): Promise<BacktestReport> {
  const { policy, problems } = compilePolicy(text, options.schemas);
  if (policy === undefined) throw new PolicyError('INVALID_POLICY', 'the policy has errors', problems);
  const active = await activePolicy(store, options.schemas);
  const since = options.days === undefined ? 0 : store.now() - options.days * 86_400_000;
  const counts: Record<string, number> = {};
  const changed: ChangedDecision[] = [];
  let requests = 0;
  for await (const recorded of recordedRequests(store, since, options.limit ?? 10_000)) {
    requests += 1;
    const change = diffDecisions(active.policy, policy, recorded);
    if (change === undefined) continue;
    const key = `${change.before.effect} to ${change.after.effect}`;
    counts[key] = (counts[key] ?? 0) + 1;
    if (changed.length < MOST_CHANGED) changed.push(change);
  }
  return { version: active.version, requests, counts, changed };
}

/** Undefined when both have the same effect, at the same gate. */
export function diffDecisions(before: CompiledPolicy, after: CompiledPolicy, recorded: RecordedRequest): ChangedDecision | undefined {
  const was = before.decide(recorded.request);
  const is = after.decide(recorded.request);
  return was.effect === is.effect && was.gate === is.gate ? undefined : { ...recorded, before: was, after: is };
}

/** What was let through and what was refused, newest first. What was refused before there was a request to decide on is left out. */
async function* recordedRequests(store: Store, sinceMs: number, limit: number): AsyncGenerator<RecordedRequest> {
  let before = 'ffffffff-ffff-ffff-ffff-ffffffffffff';
  let left = limit;
  while (left > 0) {
    const { rows } = await store.query<{ audit_id: string; entry: string }>(
      `select audit_id, entry from audit_log where action in ('egress.intent', 'egress.deny') and audit_id >= $1 and audit_id < $2 order by audit_id desc limit $3`,
      [uuidAt(sinceMs), before, Math.min(left, PAGE)],
    );
    for (const row of rows) {
      const request = readRequest(row.entry);
      if (request !== undefined) yield { auditId: row.audit_id, request };
    }
    const last = rows.at(-1);
    if (last === undefined) return;
    before = last.audit_id;
    left -= rows.length;
  }
}

function readRequest(entry: string): PolicyRequest | undefined {
  const { details } = JSON.parse(entry) as { readonly details?: { readonly request?: PolicyRequest } };
  const request = details?.request;
  return request?.kind === 'egress' && typeof request.host === 'string' && typeof request.path === 'string' ? request : undefined;
}
