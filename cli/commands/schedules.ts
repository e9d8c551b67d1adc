/** What starts runs by the clock. */
import type { Command } from 'commander';
import { connect } from '../api.ts';
import { examples, withJson } from '../arguments.ts';
import { clock, note, print, printJson, relative, table } from '../output.ts';

export function addSchedules(program: Command): void {
  const schedules = program.command('schedules').description('Look at schedules. They are declared in workflow files.');
  examples(schedules, 'centaur schedules ls');

  const ls = schedules.command('ls').description('List the schedules with their next and last ticks.').action(list);
  examples(withJson(ls), 'centaur schedules ls');
}

async function list(options: { readonly json?: true }): Promise<void> {
  const page = await connect().listSchedules();
  if (options.json) return printJson(page);
  if (page.items.length === 0) return note('no schedules');
  const { describeCron } = await import('@centaur/kernel/engine');
  const rows = page.items.map((each) => [
    each.schedule_id,
    describeCron(each.spec),
    each.enabled && each.next_at !== null ? `${clock(each.next_at)} (${relative(each.next_at)})` : 'off',
    relative(each.last_at),
    each.skipped === 0 ? '' : String(each.skipped),
  ]);
  print(table(['SCHEDULE', 'WHEN', 'NEXT', 'LAST', 'SKIPPED'], rows));
}
