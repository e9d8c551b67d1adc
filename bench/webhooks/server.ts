/** What `bench:webhooks` measures: an API, and a worker whose workflow is in a process of its own. Says its address when it serves. */
import fs from 'node:fs';
import path from 'node:path';
import { createApi, ensureAdminKey } from '@centaur/kernel/api';
import { createEngine } from '@centaur/kernel/engine';
import { connectStore, migrate } from '@centaur/kernel/store';
import { createWebhooks } from '@centaur/kernel/webhooks';
import { createHosts } from '@centaur/runtime/hosts/hosted';
import { launchPlain } from '@centaur/runtime/hosts/launch';

const [url = '', folder = '', secret = '', key = ''] = process.argv.slice(2);
/** `bench` is only started, by a queue that nobody serves; `warm` tells when its first step runs. */
const WORKFLOW = (name: string, queue: string, handler: string) => `export const WORKFLOW_NAME = '${name}';
export const QUEUE = '${queue}';
export const WEBHOOKS = [{ slug: '${name}', auth: { type: 'github', secret_ref: 'BENCH_SECRET' },
  trigger_key: { type: 'header', name: 'X-GitHub-Delivery' }, rate_limit: { limit: 1000000, period_seconds: 1 } }];
export async function handler(input, ctx) { ${handler} }
`;
const code = path.join(folder, 'code');
fs.mkdirSync(code, { recursive: true });
fs.writeFileSync(path.join(code, 'bench.mjs'), WORKFLOW('bench', 'unserved', 'return 1;'));
fs.writeFileSync(path.join(code, 'warm.mjs'), WORKFLOW('warm', 'default', "return ctx.step('first', () => Date.now());"));

await migrate(url);
const store = await connectStore({ url });
const log = () => {};
const hosts = await createHosts({
  dirs: [code],
  stateDir: path.join(folder, 'state'),
  watch: false,
  launch: (program, label, onClose) => launchPlain({ program, label, python: 'python3', memoryMb: 512, log, onClose }),
});
const engine = await createEngine({ store, registry: hosts.registry, queues: ['default'] });
hosts.serve({ startRun: ({ from, ...request }) => engine.startFrom(from, request), metric: log, log });
await engine.work();
const webhooks = await createWebhooks({ engine, store, workflows: hosts.registry, environment: { BENCH_SECRET: secret } });
await ensureAdminKey({ store, given: key, home: folder });
const api = createApi({ engine, store, registry: hosts.registry, webhooks, version: 'bench' });
const { url: address } = await api.listen({ host: '127.0.0.1', port: 0 });
process.send?.({ address });
process.once('disconnect', () => {
  void (async () => {
    await api.close(500);
    await webhooks.close();
    await engine.drain(500);
    await hosts.close();
    await store.close();
    process.exit(0);
  })();
});
