/** Looking at runs and changing their course. */
import { type Command, Option } from 'commander';
import type { RunDetail, RunStatus } from '@centaur/sdk';
import { connect } from '../api.ts';
import { examples, readJson, wholeNumber, withJson } from '../arguments.ts';
import { exitCodeOf, follow } from '../follow.ts';
import { clock, note, paint, print, printable, printJson, relative, span, status, table } from '../output.ts';
import { createView, errorText, waitText } from '../progress.ts';

const STATUSES: readonly RunStatus[] = ['queued', 'running', 'sleeping', 'waiting', 'completed', 'failed', 'cancelled', 'stuck'];

export function addRuns(program: Command): void {
  const runs = program.command('runs').description('Look at runs, and cancel, retry or fork them.');
  examples(runs, 'centaur runs ls --status failed', 'centaur runs tail 0198c0de-0000-7000-8000-000000000000');

  const ls = runs
    .command('ls')
    .description('List runs, newest first.')
    .option('--workflow <name>', 'only runs of this workflow')
    .addOption(new Option('--status <status>', 'only runs with this status').choices(STATUSES))
    .option('--limit <number>', 'how many, 1 to 200', wholeNumber(1, 200), 20)
    .option('--after <cursor>', 'go on after this page’s "next"')
    .action(list);
  examples(
    withJson(ls),
    'centaur runs ls --status failed --limit 5',
    'centaur runs ls --workflow nightly_report --json | jq -r .items[].run_id',
  );

  const show = runs.command('show').description('Show a run with its steps.').argument('<run>', 'id of the run').action(showRun);
  examples(withJson(show), 'centaur runs show 0198c0de-0000-7000-8000-000000000000');

  const tail = runs
    .command('tail')
    .description('Follow a run to its end. What happened before is told first. The exit code is 0 when it completed, else 1.')
    .argument('<run>', 'id of the run')
    .option('--after <event>', 'id of the last event already seen')
    .action(async (run: string, options: { readonly after?: string; readonly json?: true }) => {
      const outcome = await follow(connect(), run, createView(process.stdout, { json: options.json === true }), options.after);
      process.exitCode = exitCodeOf(outcome);
      if (outcome?.status === 'stuck' && !options.json) note(`stuck${errorText(outcome.error)}`);
    });
  tail.option('--json', 'print each event as a line of JSON');
  examples(tail, 'centaur runs tail 0198c0de-0000-7000-8000-000000000000');

  const cancel = runs
    .command('cancel')
    .description('End an unfinished run and its unfinished children as cancelled.')
    .argument('<run>', 'id of the run')
    .action(async (run: string, options: { readonly json?: true }) => {
      const cancelled = await connect().cancelRun(run);
      if (options.json) printJson(cancelled);
      else print(`cancelled ${cancelled.run_id}`);
    });
  examples(withJson(cancel), 'centaur runs cancel 0198c0de-0000-7000-8000-000000000000');

  const retry = runs
    .command('retry')
    .description('Queue a failed, cancelled or stuck run again. Completed steps are kept.')
    .argument('<run>', 'id of the run')
    .action(async (run: string, options: { readonly json?: true }) => {
      const retried = await connect().retryRun(run);
      if (options.json) printJson(retried);
      else print(`queued ${retried.run_id} again, as attempt ${retried.attempt}`);
    });
  examples(withJson(retry), 'centaur runs retry 0198c0de-0000-7000-8000-000000000000');

  const fork = runs
    .command('fork')
    .description('Start a new run with the history before a step copied, and print its id.')
    .argument('<run>', 'id of the run')
    .requiredOption('--from <step>', 'first step that is executed anew: its name, or its number in "runs show"')
    .option('--input <json>', 'another input: JSON, @file, or - for stdin')
    .action(forkRun);
  examples(withJson(fork), 'centaur runs fork 0198c0de-0000-7000-8000-000000000000 --from summarize');
}

async function list(options: {
  readonly workflow?: string;
  readonly status?: RunStatus;
  readonly limit: number;
  readonly after?: string;
  readonly json?: true;
}): Promise<void> {
  const page = await connect().listRuns({
    limit: options.limit,
    ...(options.workflow === undefined ? {} : { workflowName: options.workflow }),
    ...(options.status === undefined ? {} : { status: options.status }),
    ...(options.after === undefined ? {} : { after: options.after }),
  });
  if (options.json) return printJson(page);
  if (page.items.length === 0) return note('no runs');
  const rows = page.items.map((run) => [
    run.run_id,
    run.workflow_name,
    status(run.status),
    run.queue,
    relative(run.created_at),
    span(run.started_at, run.ended_at),
    run.error === null ? '' : printable(run.error.message).slice(0, 60),
  ]);
  print(table(['RUN', 'WORKFLOW', 'STATUS', 'QUEUE', 'CREATED', 'TOOK', ''], rows));
  if (page.next !== null) note(paint('dim', `more: --after ${page.next}`, process.stderr));
}

async function showRun(runId: string, options: { readonly json?: true }): Promise<void> {
  const run = await connect().getRun(runId);
  if (options.json) return printJson(run);
  print(
    [
      `${paint('bold', run.workflow_name)} ${status(run.status)}`,
      field('run', run.run_id),
      field('created', `${clock(run.created_at)} (${relative(run.created_at)})`),
      field('took', run.started_at === null ? '' : span(run.started_at, run.ended_at)),
      field(
        'queue',
        `${run.queue}${run.priority === 0 ? '' : `, priority ${run.priority}`}${run.concurrency_key === null ? '' : `, key ${run.concurrency_key}`}`,
      ),
      field('trigger', run.trigger_key ?? ''),
      field('attempt', run.attempt > 1 ? String(run.attempt) : ''),
      field('parent', run.parent_run_id ?? ''),
      field('starts', run.status === 'queued' && run.run_at !== null ? `${clock(run.run_at)} (${relative(run.run_at)})` : ''),
      field('input', JSON.stringify(run.input)),
      field('result', run.status === 'completed' ? JSON.stringify(run.result) : ''),
      field('error', errorText(run.error, '')),
      ...run.waiting_on.map((wait) => field('waiting', waitText(wait))),
      ...run.children.map((child) => field('child', `${child.run_id} ${child.workflow_name} ${child.status}`)),
    ]
      .filter((line) => line !== '')
      .join('\n'),
  );
  if (run.steps.length > 0) print(`\n${stepTable(run)}`);
}

function field(label: string, text: string): string {
  return text === '' ? '' : `  ${paint('dim', label.padEnd(8))} ${printable(text)}`;
}

function stepTable(run: RunDetail): string {
  const rows = run.steps.map((step) => [
    String(step.seq),
    printable(step.name),
    step.kind,
    status(step.status),
    step.ended_at === null ? '' : span(step.started_at, step.ended_at),
    step.attempts > 1 ? String(step.attempts) : '',
    printable(step.error === null ? shorten(JSON.stringify(step.result)) : step.error.message),
  ]);
  return table(['#', 'STEP', 'KIND', 'STATUS', 'TOOK', 'ATTEMPTS', 'RESULT'], rows);
}

const shorten = (text: string): string => (text === 'null' ? '' : text.length > 80 ? `${text.slice(0, 79)}…` : text);

async function forkRun(runId: string, options: { readonly from: string; readonly input?: string; readonly json?: true }): Promise<void> {
  const input = await readJson(options.input, '--input');
  const fork = await connect().forkRun(runId, {
    fromStep: /^\d+$/.test(options.from) ? Number(options.from) : options.from,
    ...(options.input === undefined ? {} : { input }),
  });
  if (options.json) printJson(fork);
  else print(fork.run_id);
}
