/** Queues and their limits. */
import { InvalidArgumentError, type Command } from 'commander';
import { toMilliseconds } from '@centaur/sdk';
import { connect, type QueueView } from '../api.ts';
import { examples, limit, NONE, withJson } from '../arguments.ts';
import { duration, note, print, printJson, table } from '../output.ts';
import { UsageError } from '../exit.ts';

type RateLimit = NonNullable<QueueView['rate_limit']>;

interface Limits {
  readonly concurrency?: number | typeof NONE;
  readonly perKey?: number | typeof NONE;
  readonly rate?: RateLimit | typeof NONE;
  readonly json?: true;
}

export function addQueues(program: Command): void {
  const queues = program.command('queues').description('Look at queues and limit them.');
  examples(queues, 'centaur queues ls', 'centaur queues set mail --rate 100/1m');

  const ls = queues
    .command('ls')
    .description('List the queues that have limits or unfinished runs.')
    .action(async (options: { readonly json?: true }) => {
      const page = await connect().listQueues();
      if (options.json) printJson(page);
      else if (page.items.length === 0) note('no queues with limits or unfinished runs');
      else print(queueTable(page.items));
    });
  examples(withJson(ls), 'centaur queues ls');

  const set = queues
    .command('set')
    .description('Set limits of a queue. They hold across all workers; limits that are not named stay.')
    .argument('<queue>', 'name of the queue')
    .option('--concurrency <number>', 'most runs that execute at the same moment, or none', limit(1_000_000))
    .option('--per-key <number>', 'most unfinished runs per concurrency key, or none', limit(1_000_000))
    .option('--rate <limit/period>', 'most runs started in any window, such as 100/1m, or none', rate)
    .action(async (name: string, options: Limits) => {
      const { concurrency, perKey, rate: rateLimit } = options;
      if (concurrency === undefined && perKey === undefined && rateLimit === undefined) {
        throw new UsageError('nothing to set: give --concurrency, --per-key or --rate');
      }
      const queue = await connect().setQueue(name, {
        ...(concurrency === undefined ? {} : { concurrency: lifted(concurrency) }),
        ...(perKey === undefined ? {} : { concurrency_per_key: lifted(perKey) }),
        ...(rateLimit === undefined ? {} : { rate_limit: lifted(rateLimit) }),
      });
      if (options.json) printJson(queue);
      else print(queueTable([queue]));
    });
  examples(withJson(set), 'centaur queues set mail --concurrency 5 --rate 100/1m', 'centaur queues set mail --concurrency none');
}

function queueTable(queues: readonly QueueView[]): string {
  const rows = queues.map((each) => [
    each.name,
    String(each.queued),
    String(each.running),
    each.concurrency?.toString() ?? '-',
    each.concurrency_per_key?.toString() ?? '-',
    each.rate_limit === null ? '-' : `${each.rate_limit.limit} in ${duration(each.rate_limit.period_ms)}`,
  ]);
  return table(['QUEUE', 'QUEUED', 'RUNNING', 'CONCURRENCY', 'PER KEY', 'RATE'], rows);
}

function lifted<T>(value: T | typeof NONE): T | null {
  return value === NONE ? null : value;
}

function rate(text: string): RateLimit | typeof NONE {
  if (text === NONE) return NONE;
  const match = /^(\d+)\/(.+)$/.exec(text);
  try {
    if (match === null) throw new TypeError('no slash');
    return { limit: Number(match[1]), period_ms: toMilliseconds(match[2] ?? '') };
  } catch {
    throw new InvalidArgumentError('expected a number and a period, such as 100/1m or 5/10s, or none.');
  }
}
