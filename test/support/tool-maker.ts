/** A process that makes one call under a key and never ends it: tests kill it. */
import { connectStore } from '../../kernel/store/index.ts';
import { createTools } from '../../kernel/tools/index.ts';
import { localMasterKey, openInstallation } from '../../kernel/vault/index.ts';
import { createScriptedRunner, KEY, SHOP } from './tools.ts';

const { DATABASE_URL: url = '', MASTER_KEY: master = '', METHOD: method = '', CALL_KEY: key = '' } = process.env;

const store = await connectStore({ url, poolSize: 4 });
const installation = await openInstallation({ store, master: localMasterKey(Buffer.from(master, 'hex')) });
const runner = createScriptedRunner();
runner.serve(SHOP);
runner.act = () => {
  console.log('made');
  return new Promise(() => {});
};
const tools = await createTools({ store, installation, runner });
void tools.call(KEY, { tool: 'shop', method, args: { item: 'tea' }, idempotencyKey: key, onWaits: () => console.log('waits') });
setInterval(() => {}, 1000);
