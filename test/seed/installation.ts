/**
 * A whole installation for the sentences of the architecture document: `centaur up` in an empty home, its tools and workflows each in a sandbox,
 * a service in the world outside, and the database, to be looked into and to be broken.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import pg from 'pg';
import type { UserRole } from '../../kernel/users/index.ts';
import { type Server, startServer } from '../hosts-e2e/server.ts';
import { createTestDatabase } from '../support/database.ts';
import { type Service, type ServiceHandler, startService } from '../support/firewall.ts';

// oxlint-disable-next-line typescript/no-explicit-any -- answers of many shapes
export type Answer = any;

export interface Installation extends AsyncDisposable {
  readonly server: Server;
  /** Takes whatever it is sent; all of it is in `seen`. */
  readonly service: Service;
  readonly url: string;
  /** As the owner of the database: past all that the platform promises. */
  sql(text: string, values?: readonly unknown[]): Promise<readonly Answer[]>;
  /** With the admin key, unless another token is given. Answers the status with the body. */
  ask(method: string, at: string, body?: object, token?: string): Promise<{ readonly status: number; readonly body: Answer }>;
  /** Adds a user, who then chooses a password and signs in. Answers the token of the session. */
  person(name: string, role: UserRole): Promise<string>;
  /** A turn of the scripted model, which has ended. */
  turn(thread: string, text: string): Promise<Answer>;
  /** A run that has ended. */
  run(workflow: string, input?: object): Promise<Answer>;
  /** Oldest first. */
  entries(action: string): Promise<readonly Answer[]>;
}

export interface InstallationOptions {
  /** Files below the folder of the installation, made from the address of the service. */
  files(service: { readonly url: string; readonly host: string }): Readonly<Record<string, string>>;
  readonly handler?: ServiceHandler;
  /** Name to value and further arguments of `centaur secrets set`. */
  secrets(host: string): Readonly<Record<string, readonly [value: string, ...args: string[]]>>;
  readonly env?: Readonly<Record<string, string>>;
}

export async function startInstallation({ files, secrets, handler, env }: InstallationOptions): Promise<Installation> {
  await using stack = new AsyncDisposableStack();
  const service = stack.use(await startService(handler ?? ((_, response) => void response.end('done'))));
  const database = stack.use(await createTestDatabase());
  const outside = { url: `https://localhost:${service.port}`, host: `localhost:${service.port}` };
  const server = stack.use(
    await startServer({
      samples: [],
      env: { DATABASE_URL: database.url, TOOL_DIRS: 'tools', ...env },
      config: `egress:\n  allow_cidrs: [127.0.0.1]\n  ca_files: [service.pem]\ntools: {built_in: false}\n`,
      files: { 'service.pem': service.caPem, ...files(outside) },
    }),
  );
  for (const [name, [value, ...args]] of Object.entries(secrets(outside.host))) {
    const { code, stderr } = await server.secret(name, value, ...args);
    if (code !== 0) throw new Error(stderr);
  }
  const pool = new pg.Pool({ connectionString: database.url, max: 2 });
  stack.defer(() => pool.end());
  const key = readFileSync(path.join(server.place.env['CENTAUR_HOME'] as string, 'admin.key'), 'utf8').trim();
  const ask: Installation['ask'] = async (method, at, body, token = key) => {
    const response = await fetch(server.url + at, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
  };
  const rest = stack.move();
  return {
    server,
    service,
    url: outside.url,
    sql: async (text, values = []) => (await pool.query(text, [...values])).rows,
    ask,
    async person(name, role) {
      const { code, stdout, stderr } = await server.place.run(['users', 'add', name, '--role', role]);
      if (code !== 0) throw new Error(stderr);
      const password = { name, password: stdout.trim(), new_password: `the own password of ${name}` };
      const { status, body } = await ask('POST', '/api/auth/password', password, '');
      if (status !== 200) throw new Error(JSON.stringify(body));
      return body.token;
    },
    // also one that failed
    turn: async (thread, text) => JSON.parse((await server.place.run(['threads', 'send', thread, text, '--wait', '--json'])).stdout),
    async run(workflow, input = {}) {
      const { body } = await ask('POST', '/workflows/runs', { workflow_name: workflow, input });
      return server.ended(body.run_id);
    },
    async entries(action) {
      const rows = await pool.query<{ entry: string }>('select entry from audit_log where action = $1 order by audit_id', [action]);
      return rows.rows.map(({ entry }) => JSON.parse(entry));
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  };
}
