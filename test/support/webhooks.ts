/** The API with webhooks, on a real engine, database and vault; and requests signed as providers sign them. */
import { createHmac, randomBytes } from 'node:crypto';
import { startTestApi, type TestApi } from './api.ts';
import { createTestEngine } from './engine.ts';
import { type Installation, localMasterKey, openInstallation, putSecret } from '../../kernel/vault/index.ts';
import { createWebhooks, type Webhooks, type WebhooksOptions } from '../../kernel/webhooks/index.ts';

export const SECRET = 'whsec-of-the-test-0123456789';

export interface Sent {
  readonly status: number;
  readonly headers: Headers;
  readonly body: any; // oxlint-disable-line typescript/no-explicit-any -- answers of many shapes
}

export interface SendOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Of the signature; null sends none. Default: SECRET. */
  readonly secret?: string | null;
  readonly query?: string;
}

export interface TestWebhooks extends AsyncDisposable {
  readonly api: TestApi;
  readonly webhooks: Webhooks;
  readonly installation: Installation;
  /** Declares a workflow with these webhooks. */
  declare(name: string, ...webhooks: readonly unknown[]): void;
  /** Sends a body as GitHub would. */
  send(slug: string, body: string | Uint8Array, options?: SendOptions): Promise<Sent>;
  /** Rows of runs, triggers and deliveries. */
  rows(): Promise<{ readonly runs: number; readonly deliveries: number; readonly triggers: number }>;
}

export const GITHUB = {
  slug: 'issues',
  provider: 'github',
  auth: { type: 'github_hmac', secret_ref: 'GITHUB_WEBHOOK_SECRET' },
  trigger_key: { type: 'header', name: 'X-GitHub-Delivery' },
};

export async function startTestWebhooks(options: Partial<WebhooksOptions> = {}): Promise<TestWebhooks> {
  const t = await createTestEngine({ idle: true });
  const log = (entry: (typeof t.logs)[number]) => t.logs.push(entry);
  const installation = await openInstallation({ store: t.store, master: localMasterKey(randomBytes(32)), log });
  await putSecret(installation, 'test', 'GITHUB_WEBHOOK_SECRET', { type: 'webhook', value: SECRET });
  const webhooks = await createWebhooks({
    engine: t.engine,
    store: t.store,
    workflows: t.registry,
    installation,
    environment: {},
    log,
    ...options,
  });
  const api = await startTestApi({ on: t, trust: { installation }, webhooks });

  return {
    api,
    webhooks,
    installation,
    declare: (name, ...declared) =>
      t.registry.define(name, async (input) => input, { webhooks: declared, source: `/workflows/${name}.ts` }),
    async send(slug, body, { method = 'POST', headers = {}, secret = SECRET, query = '' } = {}) {
      const signature =
        secret === null ? {} : { 'x-hub-signature-256': `sha256=${createHmac('sha256', secret).update(body).digest('hex')}` };
      const response = await fetch(`${api.url}/api/webhooks/${slug}${query}`, {
        method,
        headers: { 'content-type': 'application/json', ...signature, ...headers },
        ...(method === 'GET' || method === 'HEAD' ? {} : { body: body as string }),
      });
      const text = await response.text();
      return { status: response.status, headers: response.headers, body: text === '' ? undefined : JSON.parse(text) };
    },
    async rows() {
      const { rows } = await t.store.query<{ runs: number; deliveries: number; triggers: number }>(
        `select (select count(*) from workflow_runs) + (select count(*) from workflow_runs_finished) as runs,
           (select count(*) from webhook_deliveries) as deliveries, (select count(*) from workflow_triggers) as triggers`,
      );
      return rows[0] as { runs: number; deliveries: number; triggers: number };
    },
    async [Symbol.asyncDispose]() {
      await api[Symbol.asyncDispose]();
      await webhooks.close();
      await installation.close();
      await t[Symbol.asyncDispose]();
    },
  };
}
