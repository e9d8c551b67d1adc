/** What rules and versions in shadow would have decided otherwise, from what was recorded when it was decided. */
import type { Store } from '../store/index.ts';
import { uuidAt } from '../store/partitions.ts';
import type { Effect } from './types.ts';

export interface ShadowChange {
  /** The version in shadow; null of a rule in the policy in force whose mode is shadow. */
  readonly version: number | null;
  /** That would have decided; null: the default. */
  readonly rule: string | null;
  readonly from: Effect;
  readonly to: Effect;
  readonly count: number;
  /** The newest of them. */
  readonly samples: readonly ShadowSample[];
}

export interface ShadowSample {
  readonly audit_id: string;
  readonly at: string;
  readonly resource: string | null;
  readonly actor: string;
}

export interface ShadowReport {
  /** Decisions that were looked at, and those of them beside which something was in shadow. */
  readonly decisions: number;
  readonly shadowed: number;
  /** For which the version in shadow failed: it would have refused. */
  readonly failed: number;
  /** The most frequent first. */
  readonly changes: readonly ShadowChange[];
  /** There are older ones since then, which were not looked at. */
  readonly more: boolean;
}

const PAGE = 2000;
const SAMPLES = 5;
const MOST_CHANGES = 200;

/** @param limit the newest so many decisions */
export async function shadowReport(
  store: Store,
  { since, limit = 10_000 }: { readonly since: number; readonly limit?: number },
): Promise<ShadowReport> {
  const changes = new Map<string, Omit<ShadowChange, 'count' | 'samples'> & { count: number; samples: ShadowSample[] }>();
  let [decisions, shadowed, failed] = [0, 0, 0];
  let before = 'ffffffff-ffff-ffff-ffff-ffffffffffff';
  for (;;) {
    const { rows } = await store.query<{ audit_id: string; entry: string }>(
      `select audit_id, entry from audit_log where action in ('egress.intent', 'egress.deny', 'tool.call', 'tool.deny')
         and audit_id >= $1 and audit_id < $2 order by audit_id desc limit $3`,
      [uuidAt(since), before, Math.min(PAGE, limit - decisions + 1)],
    );
    for (const row of rows) {
      if (decisions === limit) return { decisions, shadowed, failed, changes: sorted(), more: true };
      decisions += 1;
      const entry = JSON.parse(row.entry) as Entry;
      const shadow = entry.details?.shadow;
      if (shadow === undefined) continue;
      shadowed += 1;
      if (shadow.failed === true || shadow.error !== undefined) failed += 1;
      for (const change of changesOf(entry, shadow)) add(change, entry);
    }
    const last = rows.at(-1);
    if (last === undefined) return { decisions, shadowed, failed, changes: sorted(), more: false };
    before = last.audit_id;
  }

  function add(change: Omit<ShadowChange, 'count' | 'samples'>, { id, at, resource, actor }: Entry): void {
    const key = JSON.stringify(change);
    const known = changes.get(key) ?? { ...change, count: 0, samples: [] };
    known.count += 1;
    if (known.samples.length < SAMPLES) known.samples.push({ audit_id: id, at, resource: resource ?? null, actor });
    changes.set(key, known);
  }

  function sorted(): readonly ShadowChange[] {
    return [...changes.values()].toSorted((a, b) => b.count - a.count).slice(0, MOST_CHANGES);
  }
}

interface Shadow {
  readonly rules?: readonly { readonly rule: string; readonly effect: Effect }[];
  readonly version?: number;
  readonly effect?: Effect;
  readonly rule?: string | null;
  readonly failed?: boolean;
  readonly error?: string;
}

interface Entry {
  readonly id: string;
  readonly at: string;
  readonly action: string;
  readonly actor: string;
  readonly resource?: string;
  readonly details?: { readonly shadow?: Shadow; readonly approval_id?: string; readonly rule?: string | null };
}

const RANK = { allow: 0, approve: 1, deny: 2 } as const;

function changesOf({ action, details }: Entry, shadow: Shadow): readonly Omit<ShadowChange, 'count' | 'samples'>[] {
  const asked = details?.approval_id !== undefined;
  const from: Effect = asked ? 'approve' : action.endsWith('.deny') ? 'deny' : 'allow';
  const byDefault = details?.rule === null || details?.rule === 'default';
  const changes: Omit<ShadowChange, 'count' | 'samples'>[] = [];
  if (shadow.version !== undefined && shadow.effect !== undefined && shadow.effect !== from)
    changes.push({ version: shadow.version, rule: shadow.rule ?? null, from, to: shadow.effect });
  for (const { rule, effect } of shadow.rules ?? [])
    // an allowance decides where nothing else does, and what denies or asks where nothing is stricter
    if (effect === 'allow' ? byDefault && from !== 'allow' : RANK[effect] > RANK[from])
      changes.push({ version: null, rule, from, to: effect });
  return changes;
}
