/** Data care: retention, legal holds, export and erasure for a thread or a person. */
import { setTimeout as pause } from 'node:timers/promises';
import type { Command } from 'commander';
import type { ErasurePlan, ErasureView } from '@centaur/kernel/care';
import { connect } from '../api.ts';
import { examples, withJson } from '../arguments.ts';
import { checkArchive, writeArchive } from '../data-archive.ts';
import { EXIT, HintedError, UsageError } from '../exit.ts';
import { fields, note, paint, print, printable, printJson, table } from '../output.ts';

interface Of {
  readonly thread?: string;
  readonly person?: string;
  readonly json?: true;
}

export function addData(program: Command): void {
  const data = program.command('data').description('Retention, legal holds, export and erasure of what is stored.');
  examples(data, 'centaur data retention', 'centaur data export --thread slack:C1:1700000000.1 --out export');

  const retention = data
    .command('retention')
    .summary('Delete what is over its time; with --dry-run, count it.')
    .description('Delete now what is over its time. Servers do so each hour by themselves; how long what is kept is in centaur.yaml.')
    .option('--dry-run', 'count what would go, and delete nothing')
    .action(applyRetention);
  examples(withJson(retention), 'centaur data retention --dry-run', 'centaur data retention');

  const exportCommand = of(data.command('export'))
    .description('Write everything that is stored of a thread or a person into a folder. It has no secrets in it.')
    .requiredOption('--out <folder>', 'the folder, which must not be there')
    .action(exportData);
  examples(withJson(exportCommand), 'centaur data export --person user:ann --out ann', 'centaur data verify ann');

  const verify = data
    .command('verify')
    .description('Hold the files of an export against its manifest. The exit code is 1 when one is not as it was written.')
    .argument('<folder>')
    .action(verifyData);
  examples(withJson(verify), 'centaur data verify ann');

  const erase = of(data.command('erase'))
    .summary('Erase what is stored of a thread or a person.')
    .description(
      'Erase what is stored of a thread or a person. It does not come back. Without --confirm, or with --dry-run, it shows what would go and deletes nothing.',
    )
    .option('--dry-run', 'count what would go, and delete nothing')
    .option('--confirm <subject>', 'the subject once more, such as user:ann')
    .action(eraseData);
  examples(withJson(erase), 'centaur data erase --person user:ann --dry-run', 'centaur data erase --person user:ann --confirm user:ann');

  const erasures = data
    .command('erasures')
    .description('List erasures, and how far they are.')
    .action(async (options: { readonly json?: true }) => {
      const { items } = await connect().listErasures();
      if (options.json) return printJson({ items });
      const rows = items.map((job) => [job.created_at, job.state, job.subject, job.requested_by, job.problem ?? '']);
      print(rows.length === 0 ? 'no erasures' : table(['asked for', 'state', 'subject', 'by', 'waits because'], rows));
    });
  examples(withJson(erasures), 'centaur data erasures');

  const hold = of(data.command('hold'))
    .description('Keep what is of a thread or a person, whatever retention or an erasure says, until it is released.')
    .requiredOption('--reason <text>', 'why, such as the number of the case')
    .action(async (options: Of & { readonly reason: string }) => {
      const placed = await connect().placeHold(subjectOf(options), options.reason);
      if (options.json) printJson(placed);
      else print(placed.hold_id);
    });
  examples(withJson(hold), `centaur data hold --person user:ann --reason 'case 2026-11'`);

  const release = data
    .command('release')
    .description('Release a legal hold.')
    .argument('<hold>', 'its id')
    .action(async (holdId: string, options: { readonly json?: true }) => {
      const released = await connect().releaseHold(holdId);
      if (options.json) printJson(released);
      else note(`released ${released.subject}`);
    });
  examples(withJson(release), 'centaur data release 0198c0de-0000-7000-8000-000000000000');

  const holds = data
    .command('holds')
    .description('List legal holds.')
    .option('--all', 'also those that were released')
    .action(async (options: { readonly all?: true; readonly json?: true }) => {
      const { items } = await connect().listHolds({ all: options.all === true ? 'true' : undefined });
      if (options.json) return printJson({ items });
      const rows = items.map((each) => [
        each.hold_id,
        each.released_at === null ? 'stands' : 'released',
        each.subject,
        each.reason,
        each.created_by,
      ]);
      print(rows.length === 0 ? 'no holds' : table(['hold', 'state', 'subject', 'reason', 'by'], rows));
    });
  examples(withJson(holds), 'centaur data holds --all');
}

function of(command: Command): Command {
  return command
    .option('--thread <key>', 'what is of this thread')
    .option('--person <user>', 'what is of this person: user:<name>, as messages name them');
}

/** @throws UsageError */
function subjectOf({ thread, person }: Of): string {
  if ((thread === undefined) === (person === undefined)) throw new UsageError('name a thread with --thread, or a person with --person');
  if (thread !== undefined) return `thread:${thread}`;
  if (!/^user:[^]/.test(person as string)) throw new UsageError('--person: expected user:<name>, such as user:ann');
  return person as string;
}

async function applyRetention(options: { readonly dryRun?: true; readonly json?: true }): Promise<void> {
  const api = connect();
  if (options.dryRun) {
    const { items } = await api.getRetention();
    if (options.json) return printJson({ items });
    const rows = items.map(({ what, days, due, kept, because }) => [
      what.replaceAll('_', ' '),
      days === null ? 'for ever' : `${days} days`,
      String(due),
      kept === 0 ? '' : `${kept}: ${because ?? ''}`,
    ]);
    return print(table(['what', 'kept', 'would go', 'stays'], rows));
  }
  const { pruned } = await api.applyRetention();
  if (options.json) return printJson({ pruned });
  print(Object.keys(pruned).length === 0 ? 'nothing is over its time' : countsText(pruned));
}

async function exportData(options: Of & { readonly out: string }): Promise<void> {
  const subject = subjectOf(options);
  let shown = 0;
  const end = await writeArchive(options.out, await connect().exportData(subject), (bytes) => {
    if (bytes - shown < PROGRESS_BYTES) return;
    shown = bytes;
    note(`${Math.round(bytes / 1e6)} MB`);
  });
  if (options.json) return printJson(end);
  const rows = Object.entries(end.files).filter(([file]) => file.endsWith('.jsonl') && (end.files[file]?.rows ?? 0) > 0);
  print(fields(paint('bold', subject), Object.fromEntries(rows.map(([file, { rows: n }]) => [file, String(n)]))));
  note(`wrote ${options.out}; verify it with: centaur data verify ${options.out}`);
}

const PROGRESS_BYTES = 50_000_000;

async function verifyData(folder: string, options: { readonly json?: true }): Promise<void> {
  const { end, problems } = await checkArchive(folder);
  process.exitCode = problems.length === 0 ? EXIT.ok : EXIT.failed;
  if (options.json) return printJson({ ok: problems.length === 0, subject: end.subject, problems });
  for (const problem of problems) print(`${paint('red', 'found')}  ${printable(problem)}`);
  const files = Object.keys(end.files).length;
  print(
    `${end.subject}, ${files} files: ${problems.length === 0 ? paint('green', 'all as they were written') : paint('red', `${problems.length} found`)}`,
  );
}

async function eraseData(options: Of & { readonly dryRun?: true; readonly confirm?: string }): Promise<void> {
  const subject = subjectOf(options);
  const api = connect();
  if (options.dryRun || options.confirm === undefined) {
    const plan = await api.planErasure(subject);
    if (options.json) return printJson(plan);
    print(planText(plan));
    if (!options.dryRun) note(`nothing was erased; to do it: --confirm ${subject}`);
    return;
  }
  if (options.confirm !== subject) throw new UsageError(`--confirm: expected ${subject}, the subject once more`);
  let job: ErasureView = await api.eraseData(subject);
  for (let told = ''; job.state === 'running'; job = await api.getErasure(job.erasure_id)) {
    if (job.problem !== null) throw new HintedError(job.problem, `It goes on by itself: centaur data erasures`);
    const text = countsText(job.counts);
    if (text !== told && text !== '' && !options.json) note((told = text));
    await pause(200);
  }
  if (options.json) return printJson(job);
  print(Object.keys(job.counts).length === 0 ? `there was nothing of ${subject}` : `erased ${subject}: ${countsText(job.counts)}`);
}

function planText(plan: ErasurePlan): string {
  const some = (names: readonly string[]) =>
    names.length > 5 ? `${names.slice(0, 5).join(', ')} and ${names.length - 5} more` : names.join(', ');
  return fields(paint('bold', plan.subject), {
    'would go': Object.keys(plan.counts).length === 0 ? 'nothing' : countsText(plan.counts),
    threads: some(plan.threads.map(printable)),
    'emptied in': some(plan.shared.map(printable)),
    'in the way': some(plan.in_the_way.map(printable)),
    'not covered': plan.not_covered.join('; '),
  });
}

function countsText(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([what, n]) => `${n} ${what.replaceAll('_', ' ')}`)
    .join(', ');
}
