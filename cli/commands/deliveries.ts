/** Final answers that are owed to a platform. */
import { type Command, Option } from 'commander';
import type { DeliveryState } from '@centaur/kernel/threads';
import { connect } from '../api.ts';
import { examples, wholeNumber, withJson } from '../arguments.ts';
import { note, paint, print, printable, printJson, relative, status, table } from '../output.ts';

const STATES: readonly DeliveryState[] = ['live', 'pending', 'sending', 'retry_wait', 'delivered', 'dead_letter'];
const EXAMPLE = '0198c0de-0000-7000-8000-000000000000';
/** Of an error, in a list. */
const ERROR_WIDTH = 80;

export function addDeliveries(program: Command): void {
  const deliveries = program.command('deliveries').description('Look after final answers that are owed to a platform.');
  examples(deliveries, 'centaur deliveries ls --state dead_letter', `centaur deliveries retry ${EXAMPLE}`);

  const ls = deliveries
    .command('ls')
    .description('List final answers that are or were owed, newest first.')
    .addOption(new Option('--state <state>', 'only those in this state').choices(STATES))
    .option('--platform <name>', 'only those for this platform')
    .option('--limit <number>', 'how many, 1 to 200', wholeNumber(1, 200), 20)
    .option('--after <cursor>', 'go on after this page’s "next"')
    .action(list);
  examples(withJson(ls), 'centaur deliveries ls', 'centaur deliveries ls --state dead_letter --platform slack');

  const retry = deliveries
    .command('retry')
    .description('Make a dead letter due again.')
    .argument('<turn>', 'id of the turn that it answers')
    .action(async (executionId: string, options: { readonly json?: true }) => {
      const { state } = await connect().retryDelivery(executionId);
      if (options.json) printJson({ execution_id: executionId, state });
      else print(`${executionId} is due again`);
    });
  examples(withJson(retry), `centaur deliveries retry ${EXAMPLE}`);
}

async function list(options: {
  readonly state?: DeliveryState;
  readonly platform?: string;
  readonly limit: number;
  readonly after?: string;
  readonly json?: true;
}): Promise<void> {
  const { json, ...filter } = options;
  const page = await connect().listDeliveries(filter);
  if (json) return printJson(page);
  if (page.items.length === 0) return note('no deliveries');
  const rows = page.items.map((each) => [
    each.execution_id,
    status(each.state),
    printable(each.platform),
    printable(each.thread_key),
    String(each.attempt_count),
    each.next_attempt_at === null ? '-' : relative(each.next_attempt_at),
    each.last_error === null ? '' : printable(each.last_error.slice(0, ERROR_WIDTH)),
  ]);
  print(table(['TURN', 'STATE', 'PLATFORM', 'THREAD', 'TRIES', 'DUE', 'LAST ERROR'], rows));
  if (page.next !== null) note(paint('dim', `more: --after ${page.next}`, process.stderr));
}
