/** Usage: tokens and cost of turns. */
import { InvalidArgumentError, Option, type Command } from 'commander';
import type { UsageRow } from '@centaur/kernel/usage';
import { toMilliseconds } from '@centaur/sdk';
import { connect } from '../api.ts';
import { examples, wholeNumber, withJson } from '../arguments.ts';
import { note, print, printable, printJson, table } from '../output.ts';

interface Options {
  readonly by: string;
  readonly since?: string;
  readonly limit: number;
  readonly json?: true;
}

export function addUsage(program: Command): void {
  const usage = program
    .command('usage')
    .description('Say what tokens turns took and what they cost, by days of UTC on which they ended.')
    .addOption(new Option('--by <what>', 'what is summed up').choices(['thread', 'workflow', 'user', 'model', 'day']).default('day'))
    .option('--since <time>', 'a day such as 2026-01-31, or how long ago, such as 7d (default 30d)', since)
    .option('--limit <number>', 'the largest so many, 1 to 1000', wholeNumber(1, 1000), 100)
    .action(showUsage);
  examples(withJson(usage), 'centaur usage', 'centaur usage --by model --since 7d', 'centaur usage --by user --since 2026-01-01 --json');
}

async function showUsage({ by, since, limit, json }: Options): Promise<void> {
  const answer = await connect().listUsage({ by, since, limit });
  if (json) return printJson(answer);
  if (answer.items.length === 0) return note(`no turn has ended since ${answer.since} that told of its tokens`);
  const rows = [...answer.items.map((row) => line(printable(row.key ?? '-'), row)), line('total', answer.total)];
  print(table([by.toUpperCase(), 'TURNS', 'INPUT', 'CACHED', 'OUTPUT', 'COST'], rows));
  if (answer.total.unpriced_tokens > 0)
    note(`${answer.total.unpriced_tokens} tokens are of models without a price: "prices" in centaur.yaml sets one`);
}

function line(key: string, row: UsageRow): string[] {
  const { turns, input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, cost_micros, unpriced_tokens } = row;
  const cost = cost_micros === null ? '-' : `${(cost_micros / 1e6).toFixed(4)}${unpriced_tokens > 0 ? ' and more' : ''}`;
  return [key, String(turns), String(input_tokens), String(cache_read_tokens + cache_write_tokens), String(output_tokens), cost];
}

function since(text: string): string {
  if (/^\d{4}-\d{2}-\d{2}$/.test(text) && !Number.isNaN(Date.parse(text))) return `${text}T00:00:00Z`;
  try {
    return new Date(Date.now() - toMilliseconds(text)).toISOString();
  } catch {
    throw new InvalidArgumentError('expected a day such as 2026-01-31, or how long ago, such as 7d or 12h.');
  }
}
