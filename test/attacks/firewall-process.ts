/** A firewall that can be killed: in a process of its own, on the database and under the master key that it is given. */
import { startFirewall } from '../../kernel/firewall/index.ts';
import { connectStore } from '../../kernel/store/index.ts';
import { localMasterKey } from '../../kernel/vault/index.ts';

const [url = '', master = ''] = process.argv.slice(2);
const firewall = await startFirewall({
  store: await connectStore({ url, poolSize: 3 }),
  master: localMasterKey(Buffer.from(master, 'hex')),
  host: '127.0.0.1',
  port: 0,
  metricsPort: 0,
  log: () => undefined,
  environment: {},
  resolver: async () => ['127.0.0.1'],
});
const { port, metricsPort, caPem } = firewall;
process.stdout.write(JSON.stringify({ port, metricsPort, caPem }));
