/** A role that logs in by a password, for tests that change it. */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import type { TestRotations } from './rotations.ts';

export interface TestRole extends AsyncDisposable {
  readonly name: string;
  readonly dsn: string;
  /** host:port */
  readonly host: string;
  /** The database refuses it, whatever its password. */
  lockOut(): Promise<void>;
  letIn(): Promise<void>;
  set(password: string): Promise<void>;
}

/** The server may be dialled from then on. */
export async function createTestRole({ t, configure }: TestRotations): Promise<TestRole> {
  const name = `role_${randomBytes(6).toString('hex')}`;
  const password = `first-${randomBytes(12).toString('hex')}`;
  await t.store.query(`create role ${name} login password '${password}'`);
  await configure({ allow_cidrs: ['127.0.0.1'] });
  const url = new URL(t.database.url);
  const { host } = url;
  url.username = name;
  url.password = password;
  return {
    name,
    host,
    dsn: url.href,
    lockOut: async () => void (await t.store.query(`alter role ${name} nologin`)),
    letIn: async () => void (await t.store.query(`alter role ${name} login`)),
    set: async (given) => void (await t.store.query(`alter role ${name} password '${given}'`)),
    async [Symbol.asyncDispose]() {
      await t.store.query(`drop role ${name}`);
    },
  };
}

/** @returns as whom the address logs in */
export async function asRole(dsn: string): Promise<string> {
  const client = new pg.Client(dsn);
  client.on('error', () => {});
  await client.connect();
  try {
    const { rows } = await client.query<{ name: string }>('select current_user as name');
    return rows[0]?.name as string;
  } finally {
    await client.end();
  }
}
