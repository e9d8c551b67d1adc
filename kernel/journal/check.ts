/** Holding journals against their seals. What is believed is the audit log alone: the digests beside it only name what differs. */
import { isOwnEntry } from '../audit/index.ts';
import { binary, type Store } from '../store/index.ts';
import { uuidAt } from '../store/partitions.ts';
import {
  headOf,
  readHead,
  readMembers,
  rootOf,
  RUN_FOR_DIGEST,
  type RunForDigest,
  STEP_FOR_DIGEST,
  stepDigest,
  type StepForDigest,
} from './digest.ts';
import { SEAL_ACTION, type SealedRun } from './seal.ts';

/** `step` is undefined where the run itself is meant. */
export interface JournalProblem {
  readonly run_id: string;
  readonly seq?: number;
  readonly step?: string;
  readonly problem: string;
}

export type JournalCheck =
  | { readonly state: 'intact'; readonly audit_id: string; readonly sealed_at: string }
  | { readonly state: 'tampered'; readonly audit_id: string | null; readonly problems: readonly JournalProblem[] }
  /** `pending`: it has ended just now. `never`: it ended before journals were sealed. */
  | { readonly state: 'unsealed'; readonly why: 'pending' | 'never' };

interface SealRow {
  readonly run_id: string;
  readonly attempt: number;
  readonly audit_id: string;
  readonly head: Buffer;
  readonly members: Buffer;
  readonly names: string[];
}

type FinishedRow = RunForDigest & { readonly ended_ms: number; readonly passed: boolean | null };

/** Between the end of a run and its seal other seals are looked at, of so many entries: one may be of this very run. */
const EARLIER_MOST = 2000;
const MINUTE_MS = 60_000;

/**
 * @param macKey without it, who wrote the seal is not verified
 * @returns undefined when no such run has ended
 */
export async function checkJournal(store: Store, macKey: Buffer | undefined, runId: string): Promise<JournalCheck | undefined> {
  const run = (await readFinished(store, [runId])).get(runId);
  if (run === undefined) return undefined;
  const seal = (await readSeals(store, [runId])).find(({ attempt }) => attempt === run.attempt);
  if (seal === undefined) {
    const of = (problem: string): JournalCheck => ({ state: 'tampered', audit_id: null, problems: [{ run_id: runId, problem }] });
    // the sealer has been past its place, and would have sealed it
    if (run.passed === true) return of('its seal is missing, or it was slipped in among runs that had been sealed');
    if (run.passed === false) return { state: 'unsealed', why: 'pending' };
    const first = await firstSealAt(store);
    if (first !== undefined && run.ended_ms > first) return of('it has no place among the runs that have ended');
    return { state: 'unsealed', why: 'never' };
  }
  const entries = await readEntries(store, macKey, [seal.audit_id, ...(await earlierSeals(store, run, seal.audit_id))]);
  const [told] = entries.flatMap(({ id, at, runs }) => runs.filter((each) => isOf(each, run)).map((each) => ({ id, at, each })));
  if (told === undefined)
    return {
      state: 'tampered',
      audit_id: seal.audit_id,
      problems: [{ run_id: runId, problem: 'the audit log has no seal of it' }],
    };
  const problems = compare(told.each, run, (await readSteps(store, [runId])).get(runId) ?? [], seal);
  return problems.length === 0
    ? { state: 'intact', audit_id: told.id, sealed_at: told.at }
    : { state: 'tampered', audit_id: told.id, problems };
}

export interface JournalsReport {
  /** Seals that were held against their runs. */
  readonly runs: number;
  readonly steps: number;
  /** Whose time was over; and those that were retried, and have another end, or none yet. */
  readonly pruned: number;
  readonly retried: number;
  readonly problems: readonly JournalProblem[];
  /** Where to go on; null at the end. */
  readonly next: string | null;
}

/** More are not listed, of one call. */
const PROBLEMS_MOST = 1000;

/**
 * Goes through the seals in the audit log, oldest first, and holds each against the journal: some hundred runs in a call.
 * The last call also looks for runs without a seal among those that are sealed.
 *
 * @param retentionDays how long runs are kept: one that is older and gone was dropped on purpose
 */
export async function checkJournals(
  store: Store,
  macKey: Buffer | undefined,
  options: { readonly after?: string | undefined; readonly entries?: number; readonly retentionDays: number },
): Promise<JournalsReport> {
  const limit = options.entries ?? 5;
  const { rows } = await store.query<{ audit_id: string }>(
    `select audit_id from audit_log where action = 'journal.seal' and ($1::uuid is null or audit_id > $1) order by audit_id limit $2`,
    [options.after ?? null, limit],
  );
  const ids = rows.map((row) => row.audit_id);
  const entries = await readEntries(store, macKey, ids);
  const problems: JournalProblem[] = [];
  for (const id of ids.filter((each) => !entries.some((entry) => entry.id === each)))
    problems.push({ run_id: '', problem: `the seal ${id} is not by this installation` });
  const told = entries.flatMap(({ runs }) => runs);
  const runIds = [...new Set(told.map((each) => each.run_id))];
  const [finished, seals, steps, live, again] = await Promise.all([
    readFinished(store, runIds),
    readSeals(store, runIds),
    readSteps(store, runIds),
    liveAttempts(store, runIds),
    sealedBefore(store, entries[0]?.id, runIds),
  ]);
  const keptFrom = store.now() - options.retentionDays * 86_400_000;
  let pruned = 0;
  let erased: ReadonlySet<string> | undefined;
  let retried = 0;
  const seen = new Set<string>();
  for (const each of told) {
    const key = `${each.run_id} ${each.attempt}`;
    if (seen.has(key) || again.has(key)) {
      problems.push({ run_id: each.run_id, problem: 'it was sealed twice: the first seal counts' });
      continue;
    }
    seen.add(key);
    const run = finished.get(each.run_id);
    const attempt = run?.attempt ?? live.get(each.run_id);
    if (attempt === undefined) {
      if (Date.parse(each.ended_at) < keptFrom || (erased ??= await readErased(store, macKey)).has(each.run_id)) pruned += 1;
      else problems.push({ run_id: each.run_id, problem: 'the run is missing' });
    } else if (attempt > each.attempt) retried += 1;
    else if (run === undefined || attempt < each.attempt)
      problems.push({ run_id: each.run_id, problem: `attempt ${each.attempt} of it has ended, and its row says attempt ${attempt}` });
    else {
      const seal = seals.find(({ run_id, attempt: of }) => run_id === each.run_id && of === each.attempt);
      problems.push(...compare(each, run, steps.get(each.run_id) ?? [], seal));
    }
  }
  const next = ids.length === limit ? (ids.at(-1) ?? null) : null;
  if (next === null) problems.push(...(await unsealedAmongSealed(store)));
  return {
    runs: told.length,
    steps: told.reduce((sum, each) => sum + (finished.has(each.run_id) ? each.steps : 0), 0),
    pruned,
    retried,
    problems: problems.slice(0, PROBLEMS_MOST),
    next,
  };
}

const isOf = (told: SealedRun, run: FinishedRow): boolean => told.run_id === run.run_id && told.attempt === run.attempt;

/** What differs, by name. Nothing, when the root is that of the seal. */
function compare(told: SealedRun, run: FinishedRow, steps: readonly StepForDigest[], seal: SealRow | undefined): JournalProblem[] {
  const { run_id } = told;
  const head = headOf(run);
  const digests = new Map(steps.map((step) => [step.seq, { name: step.name, digest: stepDigest(step) }]));
  const members = Buffer.concat([...digests].map(([seq, { digest }]) => Buffer.concat([int4(seq), digest])));
  const whole = Buffer.concat([head.run, head.input, head.end]);
  if (rootOf(whole, members).toString('hex') === told.root) return [];
  if (seal === undefined)
    return [{ run_id, problem: 'its journal is not the one that was sealed, and the digests that would tell where are gone' }];
  const problems: JournalProblem[] = [];
  if (rootOf(seal.head, seal.members).toString('hex') !== told.root)
    problems.push({ run_id, problem: 'the digests beside its seal were changed too: which row differs cannot be told for sure' });
  const sealedHead = readHead(seal.head);
  if (!sealedHead.run.equals(head.run)) problems.push({ run_id, problem: 'its row was changed' });
  if (!sealedHead.input.equals(head.input)) problems.push({ run_id, problem: 'its input was changed' });
  if (!sealedHead.end.equals(head.end)) problems.push({ run_id, problem: 'its result was changed' });
  const sealed = new Map(readMembers(seal.members).map(({ seq, digest }, i) => [seq, { name: seal.names[i] ?? '', digest }]));
  for (const [seq, { name, digest }] of sealed) {
    const found = digests.get(seq);
    if (found === undefined) problems.push({ run_id, seq, step: name, problem: 'the step was removed' });
    else if (!found.digest.equals(digest)) problems.push({ run_id, seq, step: name, problem: 'the step was changed' });
  }
  for (const [seq, { name }] of digests)
    if (!sealed.has(seq)) problems.push({ run_id, seq, step: name, problem: 'the step was slipped in' });
  return problems;
}

function int4(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

/** Runs that were erased on somebody's behalf, as the log says. */
async function readErased(store: Store, macKey: Buffer | undefined): Promise<ReadonlySet<string>> {
  const { rows } = await store.query<{ audit_id: string; entry: string; mac: Buffer; leaf: Buffer }>(
    `select audit_id, entry, mac, leaf from audit_log where action = 'data.erase_runs'`,
  );
  const own = rows.filter((row) => isOwnEntry(row, macKey));
  // what the row says of its entry is not under the seal
  const told = own.map(
    ({ entry }) => JSON.parse(entry) as { readonly action: string; readonly details: { readonly runs: readonly string[] } },
  );
  return new Set(told.flatMap(({ action, details }) => (action === 'data.erase_runs' ? details.runs : [])));
}

async function readFinished(store: Store, runIds: readonly string[]): Promise<Map<string, FinishedRow>> {
  const { rows } = await store.query<FinishedRow>(
    `select ${RUN_FOR_DIGEST}, (extract(epoch from f.ended_at) * 1000)::float8 as ended_ms,
       (select (f.ended_xid, f.run_id) <= (c.last_xid, c.last_run) from journal_cursor c) as passed
     from workflow_runs_finished f where f.run_id = any($1::uuid[])`,
    [binary.uuidArray(runIds)],
  );
  return new Map(rows.map((row) => [row.run_id, row]));
}

async function readSteps(store: Store, runIds: readonly string[]): Promise<Map<string, StepForDigest[]>> {
  const { rows } = await store.query<StepForDigest & { readonly run_id: string }>(
    `select s.run_id, ${STEP_FOR_DIGEST} from workflow_steps s where s.run_id = any($1::uuid[]) order by s.run_id, s.seq`,
    [binary.uuidArray(runIds)],
  );
  const found = new Map<string, StepForDigest[]>();
  for (const row of rows) {
    const of = found.get(row.run_id);
    if (of === undefined) found.set(row.run_id, [row]);
    else of.push(row);
  }
  return found;
}

async function readSeals(store: Store, runIds: readonly string[]): Promise<SealRow[]> {
  const { rows } = await store.query<SealRow>(
    'select run_id, attempt::int, audit_id, head, members, names from journal_seals where run_id = any($1::uuid[])',
    [binary.uuidArray(runIds)],
  );
  return rows;
}

async function liveAttempts(store: Store, runIds: readonly string[]): Promise<Map<string, number>> {
  const { rows } = await store.query<{ run_id: string; attempt: number }>(
    'select run_id, attempt::int from workflow_runs where run_id = any($1::uuid[])',
    [binary.uuidArray(runIds)],
  );
  return new Map(rows.map(({ run_id, attempt }) => [run_id, attempt]));
}

interface SealEntry {
  readonly id: string;
  readonly at: string;
  readonly runs: readonly SealedRun[];
}

/** Oldest first; without those that this installation did not write. */
async function readEntries(store: Store, macKey: Buffer | undefined, ids: readonly string[]): Promise<SealEntry[]> {
  const { rows } = await store.query<{ audit_id: string; entry: string; mac: Buffer; leaf: Buffer }>(
    `select audit_id, entry, mac, leaf from audit_log where audit_id = any($1::uuid[]) and action = 'journal.seal' order by audit_id`,
    [binary.uuidArray(ids)],
  );
  return rows.flatMap((row): SealEntry[] => {
    if (!isOwnEntry(row, macKey)) return [];
    const { at, details, action } = JSON.parse(row.entry) as {
      readonly at: string;
      readonly action: string;
      readonly details: { readonly runs: readonly SealedRun[] };
    };
    return action === SEAL_ACTION ? [{ id: row.audit_id, at, runs: details.runs }] : [];
  });
}

/** Entries between the end of a run and its seal that name it: whoever changes a journal may have made the sealer seal it again. */
async function earlierSeals(store: Store, run: FinishedRow, before: string): Promise<readonly string[]> {
  const { rows } = await store.query<{ audit_id: string }>(
    `select audit_id from (
       select audit_id, entry from audit_log where action = 'journal.seal' and audit_id >= $1 and audit_id < $2 order by audit_id limit $3) e
     where position($4 in entry) > 0`,
    [uuidAt(run.ended_ms - MINUTE_MS), before, EARLIER_MOST, run.run_id],
  );
  return rows.map((row) => row.audit_id);
}

/** Of these runs, those that an earlier entry than this has sealed, by the digests' own word; the entries decide. */
async function sealedBefore(store: Store, first: string | undefined, runIds: readonly string[]): Promise<ReadonlySet<string>> {
  if (first === undefined) return new Set();
  const { rows } = await store.query<{ run_id: string; attempt: number }>(
    'select run_id, attempt::int from journal_seals where run_id = any($1::uuid[]) and audit_id < $2',
    [binary.uuidArray(runIds), first],
  );
  return new Set(rows.map(({ run_id, attempt }) => `${run_id} ${attempt}`));
}

async function firstSealAt(store: Store): Promise<number | undefined> {
  const { rows } = await store.query<{ at: string }>(
    `select (entry::json->>'at') as at from audit_log where action = 'journal.seal' order by audit_id limit 1`,
  );
  return rows[0] === undefined ? undefined : Date.parse(rows[0].at);
}

const LISTED_MOST = 100;

/** Runs that have ended before the place that the sealer has come to, and that it has not sealed: they were not there then. */
async function unsealedAmongSealed(store: Store): Promise<JournalProblem[]> {
  const first = await firstSealAt(store);
  const { rows } = await store.query<{ run_id: string }>(
    `select f.run_id from workflow_runs_finished f, journal_cursor c
     where ((f.ended_xid, f.run_id) <= (c.last_xid, c.last_run) or (f.ended_xid is null and f.ended_at > to_timestamp($2::float8 / 1000)))
       and not exists (select from journal_seals s where s.run_id = f.run_id and s.attempt = f.attempt)
     limit $1`,
    [LISTED_MOST, first ?? Number.POSITIVE_INFINITY],
  );
  return rows.map(({ run_id }) => ({
    run_id,
    problem: 'it has no seal, although it ended before others that have one: it was slipped in',
  }));
}
