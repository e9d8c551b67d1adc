/** A consumer of the inbox in a process of its own, to be killed: it takes an event, says so, and never ends. */
import { createClient } from '@centaur/sdk';
import { consume } from '../../ingress/chat/index.ts';

const [url = '', apiKey = '', platform = ''] = process.argv.slice(2);
process.on('disconnect', () => process.exit(1));
await consume({
  inbox: createClient({ url, apiKey }).inbox,
  platform,
  consumerId: `child:${process.pid}`,
  most: 5,
  signal: new AbortController().signal,
  act: async (event) => {
    process.send?.(event.event_id);
    await new Promise(() => {});
  },
  onTrouble: () => {},
});
