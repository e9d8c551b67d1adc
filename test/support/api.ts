/** The HTTP API on a real engine and database. Every answer is held against what its route documents. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createTestEngine, type TestEngine } from './engine.ts';
import { EngineError, type EngineOptions } from '../../kernel/engine/index.ts';
import { ensureAdminKey } from '../../kernel/api/admin-key.ts';
import { type Api, type ApiOptions, createApi } from '../../kernel/api/server.ts';
import { ErrorSchema } from '../../kernel/api/schemas.ts';
import { ROUTES } from '../../kernel/api/routes/index.ts';
import { createOAuth, type OAuth } from '../../kernel/oauth/index.ts';
import type { Tools } from '../../kernel/tools/index.ts';
import { type Installation, installKey, localMasterKey, openInstallation } from '../../kernel/vault/index.ts';

export const ADMIN = 'an-operators-own-admin-key';

export interface Answered {
  readonly status: number;
  readonly headers: Headers;
  readonly body: any; // oxlint-disable-line typescript/no-explicit-any -- answers of many shapes; each is checked against its schema
}

export interface CallOptions {
  /** Default: the admin key; null sends none. */
  readonly key?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface TestApiOptions extends Partial<EngineOptions & ApiOptions> {
  readonly idle?: boolean;
  /** With the keys of an installation; and as if a firewall had been started on it. Default: without either. */
  readonly vault?: 'with a firewall' | 'alone';
  /** Made on its installation; closed with the API. */
  readonly toolsOn?: (installation: Installation, log: (entry: TestEngine['logs'][number]) => void) => Promise<Tools>;
  /** On an engine that is there, which is left open. Default: one of its own. */
  readonly on?: TestEngine;
}

export interface TestApi extends AsyncDisposable {
  readonly t: TestEngine;
  readonly api: Api;
  readonly url: string;
  /** @throws Error without the option `vault` */
  readonly installation: Installation;
  /** @throws Error without the option `vault` */
  readonly accounts: OAuth;
  /** A text is sent as it is, anything else as JSON. */
  call(method: string, path: string, body?: unknown, options?: CallOptions): Promise<Answered>;
  /** A new key with these scopes. */
  keyWith(...scopes: string[]): Promise<string>;
  /** Starts a run and waits for its end. */
  run(workflow: string, input?: unknown): Promise<string>;
}

/** An API with two workflows: `greet`, which asks for `{name}`, and `other`. */
export async function startTestApi({ vault, on, toolsOn, ...options }: TestApiOptions = {}): Promise<TestApi> {
  const t = on ?? (await createTestEngine(options));
  t.registry.define('greet', async (input: { name: string }, ctx) => ctx.step('greet', () => `hello ${input.name}`), {
    parseInput(input) {
      if (typeof (input as { name?: unknown } | null)?.name === 'string') return input;
      throw new EngineError('INVALID_INPUT', 'greet: input.name: expected a string', {
        details: { issues: [{ path: 'name', message: 'expected a string' }] },
      });
    },
  });
  t.registry.define('other', async () => 1);
  await ensureAdminKey({ store: t.store, given: ADMIN, home: '/nowhere' });
  const installation = vault === undefined ? undefined : await openTestInstallation(t, vault);
  const tools = installation && (await toolsOn?.(installation, (entry) => t.logs.push(entry)));
  const place = { url: 'http://127.0.0.1' };
  const accounts = installation && (await createOAuth({ installation, publicUrl: () => place.url, log: (entry) => t.logs.push(entry) }));
  const api = createApi({
    version: '1.2.3',
    registry: t.registry,
    engine: t.engine,
    store: t.store,
    log: (entry) => t.logs.push(entry),
    ...(installation === undefined
      ? {}
      : {
          trust: {
            installation,
            ...(vault === 'alone' ? {} : { firewall: { proxyUrl: 'http://127.0.0.1:8081', caFile: '/etc/centaur/ca.pem' } }),
          },
        }),
    ...(tools === undefined ? {} : { tools }),
    ...(accounts === undefined ? {} : { accounts }),
    publicUrl: () => place.url,
    // what a hash costs is another test's
    people: { passwordCost: { memory: 64, passes: 1, parallelism: 1 } },
    ...options,
  });
  const { url } = await api.listen({ host: '127.0.0.1', port: 0 });
  place.url = url;

  async function call(method: string, path: string, body?: unknown, { key = ADMIN, headers = {} }: CallOptions = {}): Promise<Answered> {
    const response = await fetch(url + path, {
      method,
      headers: {
        ...(key === null ? {} : { 'x-api-key': key }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = response.headers.get('content-type') === 'application/json' && method !== 'HEAD';
    const answer = { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
    if (isJson) checkAnswer(method, path, answer);
    return answer;
  }

  return {
    t,
    api,
    url,
    get installation() {
      if (installation === undefined) throw new Error('this API has no vault');
      return installation;
    },
    get accounts() {
      if (accounts === undefined) throw new Error('this API has no vault');
      return accounts;
    },
    call,
    keyWith: async (...scopes) => (await call('POST', '/keys', { name: 'test', scopes })).body.key,
    async run(workflow, input) {
      const { run_id } = (await call('POST', '/workflows/runs', { workflow_name: workflow, input })).body;
      await t.ended(run_id);
      return run_id;
    },
    async [Symbol.asyncDispose]() {
      await api.close(0);
      await tools?.close();
      await accounts?.close();
      await installation?.close();
      if (on === undefined) await t[Symbol.asyncDispose]();
    },
  };
}

async function openTestInstallation({ store, logs }: TestEngine, vault: 'with a firewall' | 'alone'): Promise<Installation> {
  const master = localMasterKey(randomBytes(32));
  const installation = await openInstallation({ store, master, log: (entry) => logs.push(entry), seal: { delayMs: 10 } });
  if (vault === 'with a firewall')
    await installKey(store, master, 'firewall.ca', async () => ({ public: CA_PEM, secret: randomBytes(32) }));
  return installation;
}

export const CA_PEM = '-----BEGIN CERTIFICATE-----\ntest\n-----END CERTIFICATE-----\n';

/** What the document says of an answer is true. */
function checkAnswer(method: string, path: string, { status, body }: Answered): void {
  if (status >= 400) {
    ErrorSchema.parse(body);
    assert.match(body.code, /^[A-Z][A-Z0-9_]+$/);
    return;
  }
  const plain = path.replace(/\?.*$/, '').replace(/^\/api\//, '/');
  const route = ROUTES.find((each) => each.method === method && new RegExp(`^${each.path.replace(/\{\w+\}/g, '[^/]+')}$`).test(plain));
  assert.ok(route, `${method} ${path} answered, but is in no table`);
  const documented = route.responses[status];
  assert.ok(documented, `${method} ${path} answered ${status}, which is not documented`);
  documented.schema?.parse(body);
}
