/** Databases for tests: each its own, cloned from a template that is migrated once per server. */
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import pg from 'pg';
import { migrate } from '../../kernel/store/index.ts';
import { eventually } from './wait.ts';

export interface TestDatabase extends AsyncDisposable {
  readonly url: string;
  drop(): Promise<void>;
}

/** Any fixed number of ours: all test processes on one server must use the same. */
const TEMPLATE_LOCK = 7_226_100;
const OBJECT_IN_USE = '55006';

let template: Promise<string> | undefined;

/** A database of its own; `empty` without our tables, else migrated. */
export async function createTestDatabase(options: { readonly empty?: boolean } = {}): Promise<TestDatabase> {
  const server = process.env.TEST_DATABASE_URL;
  if (server === undefined) throw new Error('TEST_DATABASE_URL is not set: run the tests with npm test');
  const name = `t_${randomBytes(6).toString('hex')}`;
  const source = options.empty === true ? 'template0' : await (template ??= ensureTemplate(server));
  await admin(server, (client) => client.query(`create database ${name} template ${source}`));
  const drop = async () => {
    await eventually(() => tryDrop(server, name), { what: `the sessions of ${name} to end` });
  };
  return { url: at(server, name), drop, [Symbol.asyncDispose]: drop };
}

/** Whether it is gone: the sessions that are told to end have five seconds for it, which are not enough on a busy machine. */
async function tryDrop(server: string, name: string): Promise<boolean> {
  try {
    await admin(server, (client) => client.query(`drop database if exists ${name} with (force)`));
    return true;
  } catch (error) {
    if ((error as { code?: string }).code === OBJECT_IN_USE) return false;
    throw error;
  }
}

async function ensureTemplate(server: string): Promise<string> {
  const folder = new URL('../../kernel/store/migrations/', import.meta.url);
  const hash = createHash('sha256');
  for (const file of readdirSync(folder).sort()) hash.update(readFileSync(new URL(file, folder)));
  const name = `template_${hash.digest('hex').slice(0, 12)}`;
  await admin(server, async (client) => {
    await client.query('select pg_advisory_lock($1)', [TEMPLATE_LOCK]);
    const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [name]);
    if (rowCount !== 0) return;
    // under another name until it is complete: a template with open connections cannot be cloned
    const draft = `${name}_draft`;
    await client.query(`drop database if exists ${draft} with (force)`);
    await client.query(`create database ${draft} template template0`);
    await migrate(at(server, draft));
    await client.query(`alter database ${draft} rename to ${name}`);
  });
  return name;
}

async function admin(server: string, work: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client(server);
  await client.connect();
  try {
    await work(client);
  } finally {
    await client.end();
  }
}

function at(server: string, database: string): string {
  const url = new URL(server);
  url.pathname = `/${database}`;
  return url.href;
}
