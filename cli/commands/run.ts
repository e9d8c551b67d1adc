/** Starting a run. */
import type { Command } from 'commander';
import type { StartedRun } from '@centaur/sdk';
import { connect } from '../api.ts';
import { examples, readJson, wholeNumber, withJson } from '../arguments.ts';
import { exitCodeOf, follow } from '../follow.ts';
import { note, paint, print, printJson } from '../output.ts';
import { createView, errorText } from '../progress.ts';

interface Options {
  readonly wait?: true;
  readonly triggerKey?: string;
  readonly queue?: string;
  readonly priority?: number;
  readonly runAt?: string;
  readonly key?: string;
  readonly eager: boolean;
  readonly json?: true;
}

export function addRun(program: Command): void {
  const command = program
    .command('run')
    .summary('Start a run, and follow it with --wait.')
    .description('Start a run and print its id; with --wait, follow it and print its result.')
    .argument('<workflow>', 'name of the workflow')
    .argument('[input]', 'its input as JSON, @file, or - for stdin')
    .option('--wait', 'follow the run to its end; progress goes to stderr, the result to stdout')
    .option('--trigger-key <key>', 'idempotency key: the same key and input answer with the first run')
    .option('--queue <name>', 'queue to wait in')
    .option('--priority <number>', 'from -100 to 100, higher goes first', wholeNumber(-100, 100))
    .option('--run-at <time>', 'start no sooner than this RFC 3339 time')
    .option('--key <key>', 'concurrency key: runs with one key take turns')
    .option('--no-eager', 'always pass through the queue')
    .action(run);
  examples(
    withJson(command),
    `centaur run nightly_report '{"topic": "incidents"}' --wait`,
    'centaur run import_orders @orders.json --trigger-key orders-2026-01-31',
    'echo \'{"topic": "incidents"}\' | centaur run nightly_report - --wait | jq .report',
  );
}

async function run(workflow: string, argument: string | undefined, options: Options): Promise<void> {
  const input = await readJson(argument, 'input');
  const api = connect();
  const started = await api.startRun(workflow, input, {
    ...(options.triggerKey === undefined ? {} : { triggerKey: options.triggerKey }),
    ...(options.queue === undefined ? {} : { queue: options.queue }),
    ...(options.priority === undefined ? {} : { priority: options.priority }),
    ...(options.runAt === undefined ? {} : { runAt: options.runAt }),
    ...(options.key === undefined ? {} : { concurrencyKey: options.key }),
    ...(options.eager ? {} : { eagerStart: false }),
  });
  if (!options.wait) {
    if (options.json) printJson(started);
    else print(started.run_id);
    if (process.stderr.isTTY && !options.json)
      note(paint('dim', `${startedText(started)}; follow it with: centaur runs tail ${started.run_id}`, process.stderr));
    return;
  }

  if (!options.json) note(`${startedText(started)} ${started.run_id}`);
  const outcome = await follow(api, started.run_id, options.json ? QUIET : createView(process.stderr));
  process.exitCode = exitCodeOf(outcome);
  if (outcome === undefined) note(`the run goes on; follow it with: centaur runs tail ${started.run_id}`);
  else if (options.json) printJson(outcome.run ?? (await api.getRun(started.run_id)));
  else if (outcome.status === 'completed') printJson(outcome.run?.result ?? null);
  else if (outcome.status === 'stuck')
    note(`${paint('red', 'stuck', process.stderr)}${errorText(outcome.error)}\nSee it with: centaur runs show ${started.run_id}`);
}

const QUIET = { event: () => {}, lost: () => {}, end: () => {} };

function startedText({ workflow_name, idempotent }: StartedRun): string {
  return idempotent ? `${workflow_name} was started before by this trigger key:` : `started ${workflow_name}`;
}
