/**
 * What happened, from an export of the log alone: the entries about a run, a trace or a thread in their order, each with its
 * proof. Nothing else is read, so it tells the same on a machine that has neither Centaur's database nor its server.
 *
 * An export is read twice: leases, approvals and runs that an entry names are known only when it has been seen.
 */
import { checkExport, type ExportReport, type Finding } from './offline.ts';

export interface StoryOf {
  readonly runId?: string | undefined;
  /** 32 hex digits. */
  readonly traceId?: string | undefined;
  readonly threadKey?: string | undefined;
}

/** `signed`: in a batch that a signed checkpoint covers. `sealed`: in a batch, not signed yet. `broken`: the proof fails. */
export type Proof = 'signed' | 'sealed' | 'broken';

export interface StoryEntry {
  readonly id: string;
  readonly at: string;
  readonly action: string;
  readonly actor: string;
  readonly resource?: string;
  readonly decision?: string;
  readonly intent_id?: string;
  readonly lease_id?: string;
  readonly run_id?: string;
  readonly thread_key?: string;
  readonly trace_id?: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

export interface Told {
  readonly entry: StoryEntry;
  readonly batch: number;
  readonly proof: Proof;
  /** Of an intent: what came of it; null when the log does not say. */
  readonly outcome?: string | null;
}

export interface Story {
  readonly told: readonly Told[];
  readonly report: ExportReport;
  /** Texts that the log proves, by version. */
  readonly policies: ReadonlyMap<number, string>;
}

/** Actions that are said before they are done. */
const INTENTS = new Set(['egress.intent', 'tool.call']);
const TOLD_MOST = 100_000;
const SEAL = 'journal.seal';

/** @param lines of the export, anew for each reading @param anchor see `checkExport` */
export async function tellStory(lines: () => AsyncIterable<string>, of: StoryOf, anchor?: string): Promise<Story> {
  const related = relatedTo(of);
  for await (const line of lines()) {
    const read = readLine(line);
    if (read?.type === 'entry') related.learn(read.entry);
  }
  const check = checkExport(anchor);
  const found: { readonly entry: StoryEntry; readonly batch: number }[] = [];
  const sizes = new Map<number, number>();
  const policies = new Map<number, string>();
  const outcomes = new Map<string, string>();
  for await (const line of lines()) {
    check.line(line);
    const read = readLine(line);
    if (read === undefined) continue;
    if (read.type === 'batch') sizes.set(read.n, read.size);
    else if (read.type === 'policy') policies.set(read.version, read.text);
    else {
      const { entry } = read;
      if (entry.intent_id !== undefined) outcomes.set(entry.intent_id, entry.id);
      const part = related.part(entry);
      if (part === undefined) continue;
      if (found.length === TOLD_MOST) throw new RangeError(`more than ${TOLD_MOST} entries: ask for less`);
      found.push({ entry: part, batch: read.batch });
    }
  }
  const report = check.end();
  const proofOf = proofs(report, sizes);
  const told = found.map(({ entry, batch }): Told => {
    const outcome = INTENTS.has(entry.action) ? { outcome: outcomes.get(entry.id) ?? null } : {};
    return { entry, batch, proof: proofOf(entry.id, batch), ...outcome };
  });
  for (const version of policies.keys()) if (!report.policies.includes(version)) policies.delete(version);
  return { told: told.sort(({ entry: a }, { entry: b }) => (a.id < b.id ? -1 : 1)), report, policies };
}

type Line =
  | { readonly type: 'entry'; readonly batch: number; readonly entry: StoryEntry }
  | { readonly type: 'batch'; readonly n: number; readonly size: number }
  | { readonly type: 'policy'; readonly version: number; readonly text: string };

/** What cannot be read is the verifier's to tell. */
function readLine(text: string): Line | undefined {
  try {
    const line = JSON.parse(text) as Record<string, unknown>;
    if (line['type'] === 'entry')
      return { type: 'entry', batch: Number(line['batch']), entry: JSON.parse(String(line['entry'])) as StoryEntry };
    if (line['type'] === 'batch') return { type: 'batch', n: Number(line['n']), size: Number(line['size']) };
    if (line['type'] === 'policy') return { type: 'policy', version: Number(line['version']), text: String(line['text']) };
    return undefined;
  } catch {
    return undefined;
  }
}

function proofs(report: ExportReport, sizes: ReadonlyMap<number, number>): (id: string, batch: number) => Proof {
  const isGeneral = report.findings.some(({ batch, auditId }) => batch === null && auditId === null);
  const broken = new Set(report.findings.flatMap(({ auditId, batch }: Finding) => auditId ?? (batch === null ? [] : `batch ${batch}`)));
  // a batch that is broken breaks the chain of all behind it
  const firstBroken = Math.min(...report.findings.flatMap(({ batch, auditId }) => (batch === null || auditId !== null ? [] : batch)));
  return (id, batch) => {
    if (isGeneral || broken.has(id) || broken.has(`batch ${batch}`) || batch >= firstBroken) return 'broken';
    return (sizes.get(batch) ?? Number.POSITIVE_INFINITY) <= report.signed ? 'signed' : 'sealed';
  };
}

interface SealedRun {
  readonly run_id: string;
  readonly trace_id?: string;
}

/** Which entries belong to it: by their own ids, or by a lease, an approval or a run that one of those names. */
function relatedTo(of: StoryOf) {
  const traceId = of.traceId?.replaceAll('-', '');
  const runs = new Set(of.runId === undefined ? [] : [of.runId]);
  const leases = new Set<string>();
  const approvals = new Set<string>();
  const entries = new Set<string>();
  const isSealed = (run: SealedRun): boolean => runs.has(run.run_id) || (traceId !== undefined && run.trace_id === traceId);
  const runsOf = (entry: StoryEntry): readonly SealedRun[] => (entry.details?.['runs'] ?? []) as readonly SealedRun[];

  function isOwn(entry: StoryEntry): boolean {
    return (
      (of.runId !== undefined && (entry.run_id === of.runId || entry.resource === `run:${of.runId}`)) ||
      (traceId !== undefined && entry.trace_id?.replaceAll('-', '') === traceId) ||
      (of.threadKey !== undefined && (entry.thread_key === of.threadKey || entry.resource === `thread:${of.threadKey}`))
    );
  }

  return {
    learn(entry: StoryEntry): void {
      if (entry.action === SEAL) {
        for (const run of runsOf(entry)) if (isSealed(run)) runs.add(run.run_id);
        return;
      }
      if (!isOwn(entry)) return;
      entries.add(entry.id);
      if (entry.run_id !== undefined) runs.add(entry.run_id);
      if (entry.lease_id !== undefined) leases.add(entry.lease_id);
      for (const approval of approvalsOf(entry)) approvals.add(approval);
    },
    /** The entry as far as it belongs to it. */
    part(entry: StoryEntry): StoryEntry | undefined {
      if (entry.action === SEAL) {
        const own = runsOf(entry).filter(isSealed);
        return own.length === 0 ? undefined : { ...entry, details: { ...entry.details, runs: own } };
      }
      const belongs =
        isOwn(entry) ||
        (entry.run_id !== undefined && runs.has(entry.run_id)) ||
        (entry.lease_id !== undefined && leases.has(entry.lease_id) && (entry.run_id === undefined || runs.has(entry.run_id))) ||
        (entry.intent_id !== undefined && entries.has(entry.intent_id)) ||
        approvalsOf(entry).some((approval) => approvals.has(approval));
      return belongs ? entry : undefined;
    },
  };
}

function approvalsOf({ resource, details }: StoryEntry): string[] {
  const id = details?.['approval_id'];
  return [...(typeof id === 'string' ? [id] : []), ...(resource?.startsWith('approval:') ? [resource.slice('approval:'.length)] : [])];
}
