/** Workflows with a schema of their own, and sessions through a firewall as their processes open them. */
import pg from 'pg';
import { ensureWorkflowSchema, type Store, type WorkflowSchema } from '../../kernel/store/index.ts';
import type { TestFirewall } from './firewall.ts';

/** @throws Error when there is a reason against it */
export async function makeSchema(store: Store, workflow: string): Promise<WorkflowSchema> {
  const made = await ensureWorkflowSchema(store, workflow);
  if (made.schema === undefined) throw new Error(made.reason);
  return made;
}

/** Roles are the server's: they would outlive the test's database. */
export async function dropSchema(store: Store, { role }: WorkflowSchema): Promise<void> {
  await store.query(`drop owned by ${role} cascade`);
  await store.query(`drop role ${role}`);
}

/** As `DATABASE_URL` of a host makes a driver do it. */
export async function workflowSession(t: TestFirewall, token: string, user = 'workflow'): Promise<pg.Client> {
  const client = new pg.Client(`postgres://${user}:${token}@127.0.0.1:${t.firewall.postgresPort}/centaur?sslmode=disable`);
  client.on('error', () => undefined);
  await client.connect();
  return client;
}
