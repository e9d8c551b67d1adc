/** Sending events to runs. */
import type { Command } from 'commander';
import { connect } from '../api.ts';
import { examples, readJson, withJson } from '../arguments.ts';
import { print, printJson } from '../output.ts';

interface Options {
  readonly eventKey?: string;
  readonly json?: true;
}

export function addEvents(program: Command): void {
  const events = program.command('events').description('Send events to runs.');
  examples(events, `centaur events emit expense_decided E-42 '{"approved": true}'`);

  const emit = events
    .command('emit')
    .description('Send an event to whichever run waits, or will wait, for this type and correlation id.')
    .argument('<type>', 'type of the event')
    .argument('<correlation-id>', 'what it is about; the id of a run when the workflow names nothing else')
    .argument('[payload]', 'JSON, @file, or - for stdin')
    .option('--event-key <key>', 'idempotency key: the same key, id and payload are one event')
    .action(async (eventType: string, correlationId: string, argument: string | undefined, options: Options) => {
      const payload = await readJson(argument, 'payload');
      const emitted = await connect().emitEvent({
        eventType,
        correlationId,
        ...(payload === undefined ? {} : { payload }),
        ...(options.eventKey === undefined ? {} : { eventKey: options.eventKey }),
      });
      const { idempotent, runs_woken: woken } = emitted;
      if (options.json) printJson(emitted);
      else print(`${idempotent ? 'known' : 'stored'}${woken === 0 ? '' : `; woke ${woken} ${woken === 1 ? 'run' : 'runs'}`}`);
    });
  examples(
    withJson(emit),
    `centaur events emit expense_decided E-42 '{"by": "ann", "approved": true}'`,
    `centaur events emit expense_decided E-42 '{"by": "ann", "approved": true}' --event-key E-42-decided`,
  );
}
