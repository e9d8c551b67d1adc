/** What chat services said, until somebody has acted on it. */
import { type Command, Option } from 'commander';
import type { InboxState } from '@centaur/kernel/threads';
import { connect } from '../api.ts';
import { examples, wholeNumber, withJson } from '../arguments.ts';
import { note, paint, print, printable, printJson, relative, status, table } from '../output.ts';

const STATES: readonly InboxState[] = ['pending', 'claimed', 'retry_wait', 'done', 'dead_letter'];
/** Of an error, in a list. */
const ERROR_WIDTH = 80;

export function addInbox(program: Command): void {
  const inbox = program.command('inbox').description('Look after what chat services said and nobody has acted on yet.');
  examples(inbox, 'centaur inbox ls --state dead_letter', 'centaur inbox retry slack Ev08MFMKH6');

  const ls = inbox
    .command('ls')
    .description('List what came lately, newest first, without what it said.')
    .addOption(new Option('--state <state>', 'only those in this state').choices(STATES))
    .option('--platform <name>', 'only those of this service')
    .option('--limit <number>', 'how many, 1 to 200', wholeNumber(1, 200), 20)
    .option('--after <cursor>', 'go on after this page’s "next"')
    .action(list);
  examples(withJson(ls), 'centaur inbox ls', 'centaur inbox ls --state dead_letter --platform slack');

  const retry = inbox
    .command('retry')
    .description('Make one due again that was given up.')
    .argument('<platform>', 'the service that sent it')
    .argument('<event>', 'the service’s id of it')
    .action(async (platform: string, eventId: string, options: { readonly json?: true }) => {
      const { state } = await connect().retryInboxEvent(platform, eventId);
      if (options.json) printJson({ platform, event_id: eventId, state });
      else print(`${printable(eventId)} is due again`);
    });
  examples(withJson(retry), 'centaur inbox retry slack Ev08MFMKH6');
}

async function list(options: {
  readonly state?: InboxState;
  readonly platform?: string;
  readonly limit: number;
  readonly after?: string;
  readonly json?: true;
}): Promise<void> {
  const { json, ...filter } = options;
  const page = await connect().listInboxEvents(filter);
  if (json) return printJson(page);
  if (page.items.length === 0) return note('nothing has come');
  const rows = page.items.map((each) => [
    printable(each.platform),
    printable(each.event_id),
    status(each.state),
    printable(each.conversation),
    String(each.attempt_count),
    relative(each.received_at),
    each.next_attempt_at === null ? '-' : relative(each.next_attempt_at),
    each.last_error === null ? '' : printable(each.last_error.slice(0, ERROR_WIDTH)),
  ]);
  print(table(['PLATFORM', 'EVENT', 'STATE', 'CONVERSATION', 'TRIES', 'CAME', 'DUE', 'LAST ERROR'], rows));
  if (page.next !== null) note(paint('dim', `more: --after ${page.next}`, process.stderr));
}
