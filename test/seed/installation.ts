/**
 * A whole installation for the sentences of the architecture document: `centaur up` in an empty home, its tools and workflows each in a sandbox,
 * a service in the world outside, and the database, to be looked into and to be broken.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import pg from 'pg';
import type { UserRole } from '../../kernel/users/index.ts';
import { type ServerSentEvent, readEvents } from '../../sdk/src/sse.ts';
import { createLocalBackend } from '../../runtime/sandbox/local/index.ts';
import { type Server, startServer } from '../hosts-e2e/server.ts';
import { createPlace, type Place, type Running } from '../support/cli.ts';
import { createTestDatabase } from '../support/database.ts';
import { type Service, type ServiceHandler, startService } from '../support/firewall.ts';
import { freePort } from '../support/ports.ts';

// oxlint-disable-next-line typescript/no-explicit-any -- answers of many shapes
export type Answer = any;

export interface Installation extends AsyncDisposable {
  readonly server: Server;
  /** Takes whatever it is sent; all of it is in `seen`. */
  readonly service: Service;
  readonly url: string;
  /** The admin's. */
  readonly key: string;
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
  /** Server-sent events from the beginning, or from behind one, to the end of the stream or until the signal aborts. */
  follow(at: string, options?: FollowOptions): AsyncGenerator<ServerSentEvent>;
  /** Tables with a text in them, in clear, base64 or hex, and the log when it has it. */
  findText(text: string): Promise<readonly string[]>;
  /** Another machine of the installation: the same code, master key and database, unless `env` names another, and an empty home. */
  elsewhere(env?: Readonly<Record<string, string>>): Promise<Place>;
}

export interface FollowOptions {
  /** Of another process. */
  readonly url?: string;
  readonly token?: string;
  readonly after?: string | undefined;
  readonly signal?: AbortSignal;
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
  const config = `egress:\n  allow_cidrs: [127.0.0.1]\n  ca_files: [service.pem]\ntools: {built_in: false}\n`;
  const all = { 'service.pem': service.caPem, ...files(outside) };
  const server = stack.use(
    await startServer({ samples: [], env: { DATABASE_URL: database.url, TOOL_DIRS: 'tools', ...env }, config, files: all }),
  );
  for (const [name, [value, ...args]] of Object.entries(secrets(outside.host))) {
    const { code, stderr } = await server.secret(name, value, ...args);
    if (code !== 0) throw new Error(stderr);
  }
  const pool = new pg.Pool({ connectionString: database.url, max: 2 });
  stack.defer(() => pool.end());
  const inHome = (file: string) => readFileSync(path.join(server.place.env['CENTAUR_HOME'] as string, file), 'utf8').trim();
  const key = inHome('admin.key');
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
    key,
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
    async *follow(at, { url = server.url, token = key, after, signal } = {}) {
      const headers = { authorization: `Bearer ${token}`, ...(after === undefined ? {} : { 'last-event-id': after }) };
      const response = await fetch(url + at, { headers, ...(signal === undefined ? {} : { signal }) });
      if (response.status !== 200 || response.body === null) throw new Error(`${at}: ${response.status} ${await response.text()}`);
      yield* readEvents(response.body, 30_000);
    },
    async findText(text) {
      const forms = [text, Buffer.from(text).toString('base64').replace(/=+$/, ''), Buffer.from(text).toString('hex')];
      const { rows: tables } = await pool.query<{ name: string }>(
        `select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname = 'public'`,
      );
      const found: string[] = [];
      for (const { name } of tables) {
        const hits = await pool.query(
          `select 1 from ${name} each where exists (select from unnest($1::text[]) form where position(form in each::text) > 0) limit 1`,
          [forms],
        );
        if (hits.rows.length > 0) found.push(name);
      }
      return forms.some((form) => server.log().includes(form)) ? [...found, 'the log'] : found;
    },
    async elsewhere(more = {}) {
      const place = createPlace({
        ...env,
        DATABASE_URL: database.url,
        CENTAUR_MASTER_KEY: inHome('master.key'),
        CENTAUR_API_KEY: key,
        CENTAUR_DEMO: '1',
        WORKFLOW_HOSTS: '',
        TOOL_DIRS: 'tools',
        PORT: String(await freePort()),
        FIREWALL_PORT: '0',
        ...more,
      });
      for (const [name, text] of Object.entries({ 'centaur.yaml': config, ...all })) {
        mkdirSync(path.dirname(path.join(place.folder, name)), { recursive: true });
        writeFileSync(path.join(place.folder, name), text);
      }
      const started: Running[] = [];
      return {
        ...place,
        async serve(role, others) {
          const running = await place.serve(role, others);
          started.push(running);
          return running;
        },
        async [Symbol.asyncDispose]() {
          for (const { child, finished } of started) {
            child.kill('SIGTERM');
            await finished;
          }
          // they outlive their server, and what they are found by is in the folder
          await createLocalBackend({ stateDir: path.join(place.env['CENTAUR_HOME'] as string, 'sandboxes') }).shutdown();
          await place[Symbol.asyncDispose]();
        },
      };
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  };
}
