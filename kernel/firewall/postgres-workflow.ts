/**
 * The door to a workflow's own schema, in the database of the installation itself: no secret is needed for it. The user is
 * `workflow`, the password is the token of the lease that the workflow's process has.
 *
 * That there is a schema is the permission: a worker made it, and `findWorkflowSchema` says that it is closed on all sides.
 */
import type pg from 'pg';
import { describeUrl, findWorkflowSchema, type Store, WORKFLOW_ROLE } from '../store/index.ts';
import { undeclared } from './declared.ts';
import type { Parts } from './exchange.ts';
import type { LiveLease } from './lease-book.ts';
import { LEASE_ROLE_PREFIX, type LeaseRole, sessionOptions } from './lease-roles.ts';
import type { Admission, Door } from './postgres-door.ts';
import { RefusedError } from './target.ts';

export const WORKFLOW_USER = 'workflow';

/** Of all workflows at this firewall together: the engine needs connections, too. */
const SESSIONS_MOST = 40;
/** An open transaction keeps the engine's dead rows from being cleaned away. A client cannot change this limit. */
const TRANSACTION_MOST_MS = 600_000;
const LOOK_MS = 10_000;
/** What a session begins with, and may change. */
const SETTINGS = { statement_timeout: '5min', idle_in_transaction_session_timeout: '5min' };

export interface WorkflowDoors {
  /** @throws RefusedError 407, 403 for a lease that is not a workflow's */
  open(token: string, peer: string): Promise<Door>;
  close(): void;
}

export function createWorkflowDoors(parts: Parts, store: Store): WorkflowDoors {
  const { hostname, port } = new URL(store.url);
  const target = { scheme: 'https', host: hostname === '' ? 'localhost' : hostname, port: port === '' ? 5432 : Number(port) } as const;
  let sessions = 0;
  const timer = setInterval(() => {
    if (sessions > 0)
      endLongTransactions(store, TRANSACTION_MOST_MS).catch((error: Error) =>
        parts.log({ level: 'warn', message: 'long transactions of workflows could not be looked for', error: error.message }),
      );
  }, LOOK_MS);
  timer.unref();

  async function admit({ lease }: Door['channel']): Promise<Admission> {
    await parts.leases.check(lease);
    const { schema, role: grant, reason } = await find(workflowOf(lease));
    if (schema === undefined)
      throw new RefusedError(403, 'NO_WORKFLOW_SCHEMA', 'the workflow has no schema of its own in this database', { reason });
    if (sessions >= SESSIONS_MOST)
      throw new RefusedError(503, 'TOO_MANY_SESSIONS', `workflows have ${SESSIONS_MOST} sessions in the database already`);
    sessions += 1;
    return {
      id: schema,
      grant,
      owner: clientSettings(store.url),
      session: (role) => clientSettings(store.url, { role, options: sessionOptions(grant, { search_path: schema, ...SETTINGS }) }),
      resource: `postgres://${describeUrl(store.url)}`,
      details: { secrets: [], schema, role: grant },
      left: () => (sessions -= 1),
    };
  }

  async function find(workflow: string): ReturnType<typeof findWorkflowSchema> {
    try {
      return await findWorkflowSchema(store, workflow);
    } catch (error) {
      throw new RefusedError(503, 'STORE_UNAVAILABLE', 'the firewall cannot reach its database, and refuses until it can', {
        cause: (error as Error).message,
      });
    }
  }

  return {
    async open(token, peer) {
      const lease = await parts.leases.byToken(token, peer);
      const channel = { via: 'postgres', peer, target, lease } as const;
      return { channel, admit: () => admit(channel) };
    },
    close: () => clearInterval(timer),
  };
}

/**
 * Ends the sessions of workflows whose transaction is older, whichever firewall they came by. Answers how many.
 *
 * A transaction of somebody who listens keeps all notifications in their queue, and when that is full, whoever notifies
 * cannot commit. So while it fills, there is less patience.
 */
export async function endLongTransactions(store: Store, ms: number): Promise<number> {
  const { rowCount } = await store.query(
    `select pg_terminate_backend(a.pid) from pg_stat_activity a
       join pg_auth_members m on m.member = a.usesysid join pg_roles r on r.oid = m.roleid
     where r.rolname ~ $1 and a.usename ~ $3 and a.datname = current_database()
       and a.xact_start < clock_timestamp() - make_interval(secs => case when pg_notification_queue_usage() > 0.02 then least($2::float8, 1) else $2 end)`,
    [WORKFLOW_ROLE.source, ms / 1000, `^${LEASE_ROLE_PREFIX}`],
  );
  return rowCount;
}

/** The lease of a step or a single call is for what was asked of it, and that is no database. */
function workflowOf(lease: LiveLease): string {
  const { principal, kind, egress } = lease;
  if (egress !== undefined) throw undeclared(lease, 'database');
  const name = /^workflow:(.+)$/.exec(principal)?.[1];
  if (name === undefined || kind !== 'run')
    throw new RefusedError(403, 'NOT_A_WORKFLOW', 'only the process of a workflow has a schema of its own');
  return name;
}

/** As the store connects; what the address says of user and options gives way. */
function clientSettings(address: string, session?: { readonly role: LeaseRole; readonly options: string }): pg.ClientConfig {
  const url = new URL(address);
  url.searchParams.set('application_name', 'centaur firewall');
  if (session !== undefined) {
    url.searchParams.set('user', session.role.user);
    url.searchParams.set('password', session.role.password);
    url.searchParams.set('options', session.options);
  }
  return { connectionString: url.href, connectionTimeoutMillis: 10_000 };
}
