/** Sending events to runs. */
import type { Command } from 'commander';
import { connect } from '../api.ts';
import { examples, readJson, withJson } from '../arguments.ts';
import { print, printJson } from '../output.ts';

export function addEvents(program: Command): void {
  const events = program.command('events').description('Send events to runs.');
  examples(events, `centaur events emit expense_decided E-42 '{"approved": true}'`);

  const emit = events
    .command('emit')
    .description('Send an event to whichever run waits, or will wait, for this type and correlation id.')
    .argument('<type>', 'type of the event')
    .argument('<correlation-id>', 'what it is about; the id of a run when the workflow names nothing else')
    .argument('[payload]', 'JSON, @file, or - for stdin')
    .action(async (eventType: string, correlationId: string, argument: string | undefined, options: { readonly json?: true }) => {
      const payload = await readJson(argument, 'payload');
      const emitted = await connect().emitEvent({ eventType, correlationId, ...(payload === undefined ? {} : { payload }) });
      if (options.json) printJson(emitted);
      else print(emitted.runs_woken === 0 ? 'stored' : `stored; woke ${emitted.runs_woken} ${emitted.runs_woken === 1 ? 'run' : 'runs'}`);
    });
  examples(withJson(emit), `centaur events emit expense_decided E-42 '{"by": "ann", "approved": true}'`);
}
