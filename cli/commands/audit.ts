/** The audit log: following it, verifying it, and taking it elsewhere. */
import { createWriteStream, renameSync, rmSync } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { type Command, Option } from 'commander';
import type { AuditView, InclusionProof } from '@centaur/kernel/audit';
import type { JournalsReport } from '@centaur/kernel/journal';
import { type Api, type AuditReport, connect } from '../api.ts';
import { examples, readTextFile, wholeNumber, withJson } from '../arguments.ts';
import { EXIT, UsageError } from '../exit.ts';
import { clock, fields, note, paint, print, printable, printJson, status } from '../output.ts';

const EXAMPLE = '0198c0de-0000-7000-8000-000000000000';

export function addAudit(program: Command): void {
  const audit = program.command('audit').description('Follow, verify and export the audit log.');
  examples(audit, 'centaur audit tail --follow', 'centaur audit verify');

  const tail = audit
    .command('tail')
    .description('Print the newest entries, the newest last; with --follow, go on with what comes.')
    .option('--follow', 'go on until Ctrl-C')
    .option('--limit <number>', 'how many to begin with, 0 to 500', wholeNumber(0, 500), 20)
    .option('--action <action>', 'only this action, such as lease.create, or lease for all of its kind')
    .option('--actor <actor>', 'only what this principal, or key:<id>, did')
    .option('--resource <resource>', 'only what was done to this, such as secret:STRIPE_API_KEY')
    .addOption(new Option('--decision <decision>', 'only what was decided so').choices(['allow', 'deny', 'approve']))
    .option('--lease <lease>', 'only under this lease')
    .option('--run <run>', 'only in this run')
    .option('--trace <trace>', 'only in this trace: 32 hex digits')
    .option('--json', 'print each entry as a line of JSON')
    .action(tailLog);
  examples(tail, 'centaur audit tail --decision deny', 'centaur audit tail --follow --json | jq .resource');

  const verify = audit
    .command('verify')
    .summary('Verify the log, or an export of it.')
    .description('Verify the log on the server, or an export of it here, without any server. The exit code is 1 when something is found.')
    .option('--file <export>', 'verify this export instead')
    .option('--key <file>', 'a public key (see "audit key") or a checkpoint that was kept elsewhere')
    .option('--journals', 'hold the journals of all runs that have ended against their seals, too')
    .action(verifyLog);
  examples(
    withJson(verify),
    'centaur audit verify',
    'centaur audit verify --journals',
    'centaur audit verify --file audit.jsonl --key audit.pub',
  );

  const exportCommand = audit
    .command('export')
    .description('Write the whole log as lines of JSON, which "audit verify --file" verifies on any machine.')
    .option('-o, --output <file>', 'write it here (default: stdout)')
    .action(exportLog);
  examples(exportCommand, 'centaur audit export -o audit.jsonl', 'centaur audit export | gzip > audit.jsonl.gz');

  const key = audit
    .command('key')
    .description('Print the public key that signs checkpoints. Keep it where whoever owns the database cannot write.')
    .action(async (options: { readonly json?: true }) => {
      const found = await connect().getAuditKey();
      if (options.json) printJson(found);
      else print(found.public_key);
    });
  examples(withJson(key), 'centaur audit key > audit.pub');

  const proof = audit
    .command('proof')
    .description('Show the proof that an entry is in the sealed log, after following it to the root of its batch.')
    .argument('<entry>', 'id of the entry')
    .action(showProof);
  examples(withJson(proof), `centaur audit proof ${EXAMPLE}`, `centaur audit proof ${EXAMPLE} --json > proof.json`);
}

interface TailOptions {
  readonly follow?: true;
  readonly limit: number;
  readonly action?: string;
  readonly actor?: string;
  readonly resource?: string;
  readonly decision?: string;
  readonly lease?: string;
  readonly run?: string;
  readonly trace?: string;
  readonly json?: true;
}

const FOLLOW_MS = 1000;
/** An entry has its place by when it was made, and shows when it is committed: so the last seconds are read again. */
const OVERLAP_MS = 10_000;
const PAGE = 500;

async function tailLog(options: TailOptions): Promise<void> {
  const { follow, limit, action, actor, resource, decision, lease, run, trace } = options;
  const api = connect();
  const filter = { action, actor, resource, decision, lease_id: lease, run_id: run, trace_id: trace };
  const show = (entry: AuditView) => (options.json ? process.stdout.write(`${JSON.stringify(entry)}\n`) : print(entryText(entry)));
  const { items } = await api.listAudit({ ...filter, limit: Math.max(1, limit) });
  const newest = items.slice(0, limit).toReversed();
  newest.forEach(show);
  if (!follow) return newest.length === 0 && !options.json ? note('no entries') : undefined;

  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  // What was there before is not told, unless it was asked for
  let seen = new Map(items.map((entry) => [entry.id, Date.parse(entry.at)]));
  let from = items[0] === undefined ? 0 : Date.parse(items[0].at);
  for (const start = from; !stop.signal.aborted;) {
    await pause(FOLLOW_MS, undefined, { signal: stop.signal }).catch(() => undefined);
    if (stop.signal.aborted) break;
    for await (const entry of entriesAfter(api, filter, idAt(Math.max(start, from - OVERLAP_MS)))) {
      if (seen.has(entry.id)) continue;
      show(entry);
      seen.set(entry.id, Date.parse(entry.at));
      from = Math.max(from, Date.parse(entry.at));
    }
    seen = new Map([...seen].filter(([, at]) => at >= from - 2 * OVERLAP_MS));
  }
  process.exitCode = EXIT.interrupted;
}

async function* entriesAfter(api: Api, filter: Readonly<Record<string, string | undefined>>, after: string): AsyncGenerator<AuditView> {
  for (let cursor: string | null = after; cursor !== null;) {
    const page: Awaited<ReturnType<Api['listAudit']>> = await api.listAudit({ ...filter, order: 'asc', after: cursor, limit: PAGE });
    yield* page.items;
    cursor = page.next;
  }
}

/** The least id of an entry that was made then. */
function idAt(ms: number): string {
  const hex = Math.max(0, ms).toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
}

const DECISION_COLOURS = { allow: 'green', approve: 'yellow', deny: 'red' } as const;

function entryText(entry: AuditView): string {
  const { at, action, actor, resource, decision, details } = entry;
  const colour = typeof decision === 'string' ? DECISION_COLOURS[decision as keyof typeof DECISION_COLOURS] : undefined;
  const parts = [
    paint('dim', clock(at)),
    action.padEnd(16),
    colour === undefined ? '' : paint(colour, String(decision)),
    printable(actor),
    typeof resource === 'string' ? printable(resource) : '',
    paint('dim', printable(detailText(details))),
  ];
  return parts.filter((part) => part !== '').join('  ');
}

/** What fits behind an entry: names and plain values. */
function detailText(details: unknown): string {
  return Object.entries((details ?? {}) as Record<string, unknown>)
    .filter(([, value]) => ['string', 'number', 'boolean'].includes(typeof value))
    .map(([name, value]) => `${name}=${String(value).slice(0, 60)}`)
    .join(' ')
    .slice(0, 160);
}

interface VerifyOptions {
  readonly file?: string;
  readonly key?: string;
  readonly journals?: true;
  readonly json?: true;
}

async function verifyLog(options: VerifyOptions): Promise<void> {
  if (options.journals && options.file !== undefined)
    throw new UsageError('--journals: an export has the seals of journals, and not the journals; leave --file out');
  const kept = options.key === undefined ? undefined : await readTextFile(options.key);
  const report = options.file === undefined ? await verifyServer(kept) : await verifyFile(options.file, kept);
  const journals = options.journals ? await verifyJournals(options.json ? () => {} : progress) : undefined;
  process.exitCode = report.ok && (journals?.problems.length ?? 0) === 0 ? EXIT.ok : EXIT.failed;
  if (options.json)
    return printJson(journals === undefined ? report : { ...report, ok: report.ok && journals.problems.length === 0, journals });
  for (const { batch, audit_id, problem } of report.findings) {
    const place = [batch === null ? '' : `batch ${batch}`, audit_id ?? ''].filter(Boolean).join(', ');
    print(`${paint('red', 'found')}  ${place === '' ? '' : `${place}: `}${printable(problem)}`);
  }
  const { entries, batches, checkpoints, unsealed = 0, pruned = 0 } = report;
  const read = `${entries} entries in ${batches} batches, ${checkpoints} signed checkpoints`;
  const besides = [unsealed > 0 ? `${unsealed} not sealed yet` : '', pruned > 0 ? `${pruned} dropped by retention` : ''].filter(Boolean);
  const verdict = report.ok
    ? paint('green', 'all as they were written')
    : paint('red', `${report.problems ?? report.findings.length} found`);
  print(`${read}${besides.length === 0 ? '' : ` (${besides.join(', ')})`}: ${verdict}`);
  if (journals === undefined) return;
  for (const { run_id, step, problem } of journals.problems)
    print(
      `${paint('red', 'found')}  ${run_id === '' ? '' : `run ${run_id}: `}${step === undefined ? '' : `step "${printable(step)}": `}${printable(problem)}`,
    );
  const gone = [
    journals.pruned > 0 ? `${journals.pruned} dropped by retention` : '',
    journals.retried > 0 ? `${journals.retried} retried since` : '',
  ].filter(Boolean);
  const journalVerdict =
    journals.problems.length === 0 ? paint('green', 'all as they were sealed') : paint('red', `${journals.problems.length} found`);
  print(`${journals.runs} journals with ${journals.steps} steps${gone.length === 0 ? '' : ` (${gone.join(', ')})`}: ${journalVerdict}`);
}

/** Problems that are kept, of all pages. */
const JOURNAL_PROBLEMS_MOST = 1000;

async function verifyJournals(onPage: (runs: number) => void): Promise<Omit<JournalsReport, 'next'>> {
  const api = connect();
  const all = { runs: 0, steps: 0, pruned: 0, retried: 0, problems: [] as JournalsReport['problems'][number][] };
  for (let after: string | undefined; ;) {
    const page: JournalsReport = await api.verifyJournals(after);
    all.runs += page.runs;
    all.steps += page.steps;
    all.pruned += page.pruned;
    all.retried += page.retried;
    all.problems.push(...page.problems.slice(0, JOURNAL_PROBLEMS_MOST - all.problems.length));
    if (page.next === null) return all;
    onPage(all.runs);
    after = page.next;
  }
}

const progress = (runs: number): void => {
  if (process.stderr.isTTY) note(`${runs} journals so far`);
};

/** The last ones stand for those before them. */
const NOTES_MOST = 50;

type Report = Omit<AuditReport, 'unsealed' | 'pruned' | 'problems'> & Partial<Pick<AuditReport, 'unsealed' | 'pruned' | 'problems'>>;

/** @param kept a public key, or checkpoints, one after the other */
async function verifyServer(kept: string | undefined): Promise<Report> {
  const api = connect();
  const { keptCheckpoints } = await import('@centaur/kernel/audit');
  const notes = kept === undefined ? [] : keptCheckpoints(kept).slice(-NOTES_MOST);
  const report = await api.verifyAudit(notes.length > 0 ? notes : undefined);
  if (kept === undefined || notes.length > 0 || kept.trim() === (await api.getAuditKey()).public_key) return report;
  const finding = { batch: null, audit_id: null, problem: 'the server signs with another key than the one given' };
  return { ...report, ok: false, problems: report.problems + 1, findings: [...report.findings, finding] };
}

async function verifyFile(file: string, kept: string | undefined): Promise<Report> {
  const text = await readTextFile(file);
  const { verifyExport } = await import('@centaur/kernel/audit');
  const { findings, signed: _, policies: __, ...report } = verifyExport(text, kept);
  const told = findings.map(({ batch, auditId, problem }) => ({ batch, audit_id: auditId, problem }));
  return { ok: told.length === 0, ...report, findings: told };
}

/** A file appears when it is whole. */
async function exportLog({ output }: { readonly output?: string }): Promise<void> {
  const body = await connect().exportAudit();
  if (output === undefined) return pipeline(Readable.from(body), process.stdout, { end: false });
  const draft = `${output}.part`;
  try {
    await pipeline(Readable.from(body), createWriteStream(draft, { mode: 0o600 }));
    renameSync(draft, output);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
  note(`wrote ${output}; verify it with: centaur audit verify --file ${output}`);
}

async function showProof(auditId: string, options: { readonly json?: true }): Promise<void> {
  const proof = await connect().proveAuditEntry(auditId);
  if (options.json) return printJson(proof);
  const { rootFromPath } = await import('@centaur/kernel/audit');
  const bytes = (text: string) => Buffer.from(text, 'base64');
  const root = rootFromPath(bytes(proof.leaf), proof.index, proof.count, proof.path.map(bytes));
  const leads = root?.equals(bytes(proof.root)) === true;
  if (!leads) process.exitCode = EXIT.failed;
  print(proofText(proof, leads));
}

function proofText(proof: InclusionProof, leads: boolean): string {
  const [origin = '', size = ''] = proof.checkpoint?.split('\n') ?? [];
  return fields(`${paint('bold', proof.audit_id)} ${leads ? status('sealed') : paint('red', 'the path does not lead to the root')}`, {
    place: `${proof.index + 1} of ${proof.count} in batch ${proof.batch}`,
    leaf: proof.leaf,
    path: proof.path.join(' '),
    root: proof.root,
    batch: proof.hash,
    signed: proof.checkpoint === null ? 'not yet: the next checkpoint covers it' : `by ${origin}, at ${size} entries`,
    entry: proof.entry,
  });
}
