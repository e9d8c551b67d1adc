/** What happened in one task, as a waterfall. */
import type { Command } from 'commander';
import { connect } from '../api.ts';
import { examples, wholeNumber, withJson } from '../arguments.ts';
import { print, printJson } from '../output.ts';
import { waterfall } from '../waterfall.ts';

export function addTrace(program: Command): void {
  const trace = program
    .command('trace')
    .summary('Show what happened in one task, and how long each part took.')
    .description(
      'Show what happened in one task, from the request that began it to the last entry in the audit log, and how long each part of it took. ' +
        'As wide as the terminal, or COLUMNS.',
    )
    .argument('<id>', 'id of a trace (32 hex digits), or of a run or a turn that is part of it')
    .option('--limit <number>', 'most spans, 1 to 10000', wholeNumber(1, 10_000), 1000)
    .action(show);
  examples(
    withJson(trace),
    'centaur trace 0198c0de-0000-7000-8000-000000000000',
    `centaur trace 0af7651916cd43dd8448eb211c80319c --json | jq '.spans[] | select(.status != "ok")'`,
  );
}

async function show(id: string, { limit, json }: { readonly limit: number; readonly json?: true }): Promise<void> {
  const trace = await connect().getTrace(id, { limit });
  if (json) return printJson(trace);
  print(waterfall(trace, process.stdout.columns ?? (Number(process.env['COLUMNS']) || undefined)));
}
