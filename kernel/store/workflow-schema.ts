/**
 * A workflow's own place in the installation's database: a schema, and a role that owns all that is in it.
 *
 * Nobody logs in as that role. Whoever opens a session for the workflow makes a short-lived role for it that may only
 * become this one. It has no rights on the tables of the installation, and none of the workflows has any on another's.
 */
import { createHash } from 'node:crypto';
import { sqlState } from './errors.ts';
import type { Queryable, Store } from './store.ts';

export interface WorkflowSchema {
  readonly schema: string;
  /** Owner of the schema: sessions of the workflow act as this role. */
  readonly role: string;
}

/** The place, or why there is none: a sentence for people. */
export type WorkflowSchemaResult =
  | (WorkflowSchema & { readonly reason?: undefined })
  | { readonly schema?: undefined; readonly role?: undefined; readonly reason: string };

/** Any fixed number of ours: two that change the rights of one function at a time would fail. */
const SCHEMA_LOCK = 7_226_018;
/** Names of the roles that are made here, and of no others. */
export const WORKFLOW_ROLE = /^centaur_wfx?_/;
/** The engine tells by such locks who lives: nobody else may take them. Giving back is harmless, and drivers do it. */
const LOCKS = `pronamespace = 'pg_catalog'::regnamespace and proname ~ '^pg_(try_)?advisory_(xact_)?lock'`;

/**
 * A plain name is kept, so that a person finds it. Any other becomes a hash, under a prefix that no plain one has: nobody
 * can choose a name whose schema is another's.
 */
export function schemaNameOf(workflow: string): string {
  if (/^[a-z][a-z0-9_]{0,39}$/.test(workflow)) return `wf_${workflow}`;
  const readable = workflow
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '_')
    .slice(0, 18);
  return `wfx_${readable}_${createHash('sha256').update(workflow).digest('hex').slice(0, 20)}`;
}

/**
 * Makes it when it is missing, and closes the database where it is too open for a stranger: that takes a superuser, once.
 * Whoever is none, and may make no roles, or may not close it, is told so by the reason.
 */
export async function ensureWorkflowSchema(store: Store, workflow: string): Promise<WorkflowSchemaResult> {
  const found = await findWorkflowSchema(store, workflow);
  if (found.schema !== undefined) return found;
  try {
    return await store.transaction(async (tx) => {
      await tx.query('select pg_advisory_xact_lock($1)', [SCHEMA_LOCK]);
      const { superuser, user } = await whoAmI(tx);
      if (superuser) await closeDatabase(tx);
      if ((await readState(tx, workflow)) === undefined) await makeSchema(tx, workflow);
      const made = judge(workflow, await readState(tx, workflow), user);
      // all of it or nothing: what is not closed is not left behind
      if (made.schema === undefined) throw new NotClosed(made.reason);
      return made;
    });
  } catch (error) {
    if (error instanceof NotClosed) return { reason: error.message };
    if (sqlState(error) !== '42501') throw error;
    return {
      reason: `the database user of this installation may not make one (${(error as Error).message}): it needs CREATEROLE, and CREATE on the database`,
    };
  }
}

/** What was made for the workflow before. */
export async function findWorkflowSchema(on: Queryable, workflow: string): Promise<WorkflowSchemaResult> {
  const state = await readState(on, workflow);
  return judge(workflow, state, state?.user ?? '');
}

class NotClosed extends Error {}

interface State {
  readonly user: string;
  readonly role: string;
  /** Attributes that such a role must not have. */
  readonly strong: boolean;
  /** It may create where the installation's own names are looked up. */
  readonly creates: boolean;
  readonly locks: boolean;
}

async function readState(on: Queryable, workflow: string): Promise<State | undefined> {
  const { rows } = await on.query<State>(
    `select current_user as user, r.rolname as role,
       r.rolcanlogin or r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolreplication or r.rolbypassrls as strong,
       has_database_privilege(r.oid, current_database(), 'create')
         or exists (select from unnest(current_schemas(false)) s where has_schema_privilege(r.oid, s::text, 'create')) as creates,
       exists (select from pg_proc p where ${LOCKS} and has_function_privilege(r.oid, p.oid, 'execute')) as locks
     from pg_namespace n join pg_roles r on r.oid = n.nspowner where n.nspname = $1`,
    [schemaNameOf(workflow)],
  );
  return rows[0];
}

function judge(workflow: string, state: State | undefined, user: string): WorkflowSchemaResult {
  const schema = schemaNameOf(workflow);
  if (state === undefined) return { reason: `the workflow ${workflow} has no schema yet` };
  const { role } = state;
  if (!WORKFLOW_ROLE.test(role))
    return { reason: `the schema ${schema} belongs to ${role}, which is not a workflow's role: rename the schema` };
  if (state.strong) return { reason: `the role ${role} may log in, or may do more than a workflow: take its attributes away` };
  if (state.creates)
    return {
      reason: `everybody may create in this database, or in the schema of the installation: as its owner, run "revoke create on schema public from public", and the same for the database`,
    };
  if (state.locks)
    return {
      reason: `everybody may take advisory locks in this database, and so disturb the engine: as a superuser, run in psql "${takeLocksAway(user)} \\gexec"`,
    };
  return { schema, role };
}

async function whoAmI(on: Queryable): Promise<{ readonly superuser: boolean; readonly user: string }> {
  const { rows } = await on.query<{ superuser: boolean; user: string }>(
    'select rolsuper as superuser, rolname as user from pg_roles where rolname = current_user',
  );
  return rows[0] ?? { superuser: false, user: '' };
}

/** What Postgres gives to everybody, and workflows must not have. Only a superuser can take it away. */
async function closeDatabase(tx: Queryable): Promise<void> {
  const { rows: open } = await tx.query(
    `select 1 from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where ${LOCKS} and a.grantee = 0`,
  );
  if (open.length > 0) {
    // the owner of our tables keeps it, who may be another user than this one
    const { rows: owners } = await tx.query<{ name: string }>(
      `select distinct o.rolname as name from pg_roles o where o.rolname = current_user
         or o.oid = (select relowner from pg_class where oid = to_regclass('centaur_migrations'))`,
    );
    for (const { name } of owners) {
      const { rows } = await tx.query<{ statement: string }>(takeLocksAway(name));
      for (const { statement } of rows) await tx.query(statement);
    }
  }
  const { rows: schemas } = await tx.query<{ name: string }>(
    `select quote_ident(n.nspname) as name from pg_namespace n, aclexplode(n.nspacl) a
     where n.nspname = any(current_schemas(false)) and a.grantee = 0 and a.privilege_type = 'CREATE'`,
  );
  for (const { name } of schemas) await tx.query(`revoke create on schema ${name} from public`);
}

/** A query whose answers are the statements. */
function takeLocksAway(keeper: string): string {
  const kept = keeper.replaceAll(`'`, `''`);
  return (
    `select format('revoke execute on function %s from public; grant execute on function %1$s to %I', oid::regprocedure, '${kept}') ` +
    `as statement from pg_proc where ${LOCKS}`
  );
}

async function makeSchema(tx: Queryable, workflow: string): Promise<void> {
  const schema = schemaNameOf(workflow);
  const { rows } = await tx.query<{ name: string; known: boolean }>(
    // roles are the server's, schemas the database's: one server may hold several installations
    `select d.name, exists (select from pg_roles where rolname = d.name) as known
     from (select 'centaur_' || $1::text || '_' || left(encode(sha256(convert_to(current_database(), 'UTF8')), 'hex'), 8) as name) d`,
    [schema],
  );
  const { name, known } = rows[0] as { name: string; known: boolean };
  // whoever makes it is a member of it, so that a user who is no superuser can give it the schema, and back it up
  if (!known) await tx.query(`create role ${name} nologin role current_user`);
  await tx.query(`create schema ${schema} authorization ${name}`);
}
