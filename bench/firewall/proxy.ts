/** The firewall under measurement, in a process of its own: `proxy.ts`, told its database and master key by the environment. */
import { startFirewall } from '@centaur/kernel/firewall';
import { connectStore } from '@centaur/kernel/store';
import { readMasterKey } from '@centaur/kernel/vault';
import { answerUsage } from './usage.ts';

const store = await connectStore({ url: process.env['DATABASE_URL'] ?? '' });
const firewall = await startFirewall({
  store,
  master: readMasterKey(process.env['CENTAUR_MASTER_KEY'] ?? ''),
  host: '127.0.0.1',
  port: 0,
  log: (entry) => (entry.level === 'error' || entry.level === 'warn' ? console.error(entry) : undefined),
});
process.send?.({ port: firewall.port, caPem: firewall.caPem });
answerUsage();
