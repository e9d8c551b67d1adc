/** A process that serves one webhook, `hook`, and runs nothing: to be killed. DATABASE_URL is migrated; the address is its first line. */
import { createApi } from '../../kernel/api/index.ts';
import { createEngine } from '../../kernel/engine/index.ts';
import { connectStore } from '../../kernel/store/index.ts';
import { createWebhooks } from '../../kernel/webhooks/index.ts';
import { createRegistry } from './registry.ts';
import { GITHUB, SECRET } from './webhooks.ts';

const store = await connectStore({ url: process.env['DATABASE_URL'] as string });
const registry = createRegistry();
registry.define('triage', async (input) => input, { webhooks: [{ ...GITHUB, slug: 'hook' }] });
const engine = await createEngine({ store, registry });
const environment = { GITHUB_WEBHOOK_SECRET: SECRET };
const webhooks = await createWebhooks({ engine, store, workflows: registry, environment });
const { url } = await createApi({ engine, store, registry, webhooks, version: 'test' }).listen({ host: '127.0.0.1', port: 0 });
console.log(url);
