/** Users: what is said of them, with the audit entry in the same transaction. */
import type { AuditLog } from '../audit/index.ts';
import { nearNames, type Queryable, type Store, uuidv7 } from '../store/index.ts';
import { endLeasesOfAsker } from './asker-leases.ts';
import { UserError } from './errors.ts';
import { type NewUser, USER_ROLES, type UserChange, type UserRole, type UserView } from './types.ts';

export interface Parts {
  readonly store: Store;
  readonly audit: AuditLog;
  readonly now: () => number;
}

export interface UserRow {
  readonly user_id: string;
  readonly name: string;
  readonly display_name: string;
  readonly role: UserRole;
  readonly email: string | null;
  readonly password_hash: string | null;
  readonly temporary_until: number | null;
  readonly created_at: number;
  readonly updated_at: number;
  readonly last_sign_in_at: number | null;
  readonly disabled_at: number | null;
}

type ViewRow = UserRow & { readonly roles: readonly string[]; readonly providers: readonly string[] };

const VIEW = `select u.*, u.user_id::text,
    array(select r.role from principal_roles r where r.principal = 'user:' || u.name order by r.role) as roles,
    array(select distinct i.issuer from user_identities i where i.user_id = u.user_id order by 1) as providers
  from users u`;

export const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;

export async function listUsers({ store }: Parts): Promise<readonly UserView[]> {
  const { rows } = await store.query<ViewRow>(`${VIEW} order by u.name`);
  return rows.map(toView);
}

/** @throws UserError USER_NOT_FOUND */
export async function getUser({ store }: Parts, name: string): Promise<UserView> {
  const { rows } = await store.query<ViewRow>(`${VIEW} where u.name = $1`, [name]);
  if (rows[0] !== undefined) return toView(rows[0]);
  const { rows: all } = await store.query<{ name: string }>('select name from users order by name limit 1000');
  const near = nearNames(
    name,
    all.map((each) => each.name),
  );
  throw notFound(name, near.length === 0 ? '' : `; did you mean ${near.join(' or ')}?`);
}

/** @throws UserError INVALID_USER, USER_EXISTS */
export async function insertUser(
  tx: Queryable,
  { audit, now }: Parts,
  actor: string,
  user: NewUser & { readonly passwordHash?: string; readonly temporaryUntil?: number },
): Promise<UserRow> {
  const { name, role } = user;
  if (!NAME.test(name)) throw invalid('name', 'expected 1 to 64 small letters, digits, ".", "-" and "_", such as ann or ann.lee');
  if (!USER_ROLES.includes(role)) throw invalid('role', `expected one of ${USER_ROLES.join(', ')}`);
  const email = checkEmail(user.email ?? null);
  const displayName = checkDisplayName(user.display_name ?? name);
  await lockUsers(tx);
  await refuseTaken(tx, { name, email });
  const at = new Date(now());
  await audit.append(tx, { action: 'user.add', actor, resource: `user:${name}`, details: { role, email, display_name: displayName } });
  const { rows } = await tx.query<UserRow>(
    `insert into users (user_id, name, display_name, role, email, password_hash, temporary_until, created_at, updated_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $8) returning *, user_id::text`,
    [
      uuidv7(now()),
      name,
      displayName,
      role,
      email,
      user.passwordHash ?? null,
      user.temporaryUntil === undefined ? null : new Date(user.temporaryUntil),
      at,
    ],
  );
  return rows[0] as UserRow;
}

/**
 * @param onRole when the role is another one, in the same transaction
 * @throws UserError INVALID_USER, USER_NOT_FOUND, USER_EXISTS, LAST_ADMIN
 */
export async function changeUser(
  { store, audit, now }: Parts,
  actor: string,
  name: string,
  change: UserChange,
  onRole: (tx: Queryable, user: UserRow) => Promise<unknown>,
): Promise<void> {
  if (change.role !== undefined && !USER_ROLES.includes(change.role)) throw invalid('role', `expected one of ${USER_ROLES.join(', ')}`);
  const email = change.email === undefined ? undefined : checkEmail(change.email);
  const displayName = change.display_name === undefined ? undefined : checkDisplayName(change.display_name);
  await store.transaction(async (tx) => {
    const user = await lockUser(tx, name);
    if (change.role !== undefined && change.role !== 'admin') await refuseLastAdmin(tx, user, 'demoted');
    if (email !== undefined && email !== null && email !== user.email) await refuseTaken(tx, { email });
    const next = {
      role: change.role ?? user.role,
      email: email === undefined ? user.email : email,
      display_name: displayName ?? user.display_name,
    };
    const before = { role: user.role, email: user.email, display_name: user.display_name };
    if (JSON.stringify(next) === JSON.stringify(before)) return;
    await audit.append(tx, { action: 'user.change', actor, resource: `user:${name}`, details: { before, after: next } });
    await tx.query('update users set role = $2, email = $3, display_name = $4, updated_at = $5 where user_id = $1', [
      user.user_id,
      next.role,
      next.email,
      next.display_name,
      new Date(now()),
    ]);
    if (next.role !== user.role) await onRole(tx, user);
  });
}

/** One at a time for whatever decides who is an admin: two that demote each other would leave nobody. */
export async function lockUsers(tx: Queryable): Promise<void> {
  await tx.query('select pg_advisory_xact_lock(7226020)');
}

/** @throws UserError USER_NOT_FOUND */
export async function lockUser(tx: Queryable, name: string): Promise<UserRow> {
  await lockUsers(tx);
  const { rows } = await tx.query<UserRow>('select *, user_id::text from users where name = $1 for update', [name]);
  if (rows[0] === undefined) throw notFound(name);
  return rows[0];
}

/** @throws UserError LAST_ADMIN */
export async function refuseLastAdmin(tx: Queryable, user: UserRow, what: 'demoted' | 'disabled'): Promise<void> {
  if (user.role !== 'admin' || user.disabled_at !== null) return;
  const { rowCount } = await tx.query(`select 1 from users where role = 'admin' and disabled_at is null and user_id <> $1 limit 1`, [
    user.user_id,
  ]);
  if (rowCount === 0)
    throw new UserError('LAST_ADMIN', `${user.name} is the last admin and cannot be ${what}: make somebody else one first`);
}

/** Their sessions are left to the caller. @returns false when they were already @throws UserError LAST_ADMIN */
export async function disableUser(tx: Queryable, audit: AuditLog, actor: string, user: UserRow, at: Date): Promise<boolean> {
  if (user.disabled_at !== null) return false;
  await refuseLastAdmin(tx, user, 'disabled');
  await audit.append(tx, { action: 'user.disable', actor, resource: `user:${user.name}` });
  await tx.query('update users set disabled_at = $2, updated_at = $2 where user_id = $1', [user.user_id, at]);
  // what was leased for a turn that they asked for, by whichever account
  const { rows } = await tx.query<{ account: string }>(
    `select platform || ':' || team || ':' || external_user as account from chat_links where user_id = $1`,
    [user.user_id],
  );
  const accounts = [user.name, ...rows.map(({ account }) => account)];
  await endLeasesOfAsker(tx, audit, actor, { accounts, user: user.name, which: 'either', reason: `${user.name} was disabled` });
  return true;
}

async function refuseTaken(tx: Queryable, { name, email }: { readonly name?: string; readonly email: string | null }): Promise<void> {
  const { rows } = await tx.query<{ name: string }>('select name from users where name = $1 or email = $2 limit 1', [name ?? null, email]);
  const [taken] = rows;
  if (taken === undefined) return;
  throw new UserError(
    'USER_EXISTS',
    taken.name === name ? `name: there is a user ${name}, or was one; a name is not given twice` : `email: it belongs to ${taken.name}`,
  );
}

export function checkEmail(email: string | null): string | null {
  if (email === null) return null;
  const lower = email.trim().toLowerCase();
  if (lower.length > 254 || !/^[^\s@<>"']{1,64}@[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/.test(lower))
    throw invalid('email', 'expected an address such as ann@example.com');
  return lower;
}

function checkDisplayName(name: string): string {
  const trimmed = name.trim();
  // what could turn a line of a log or of a screen around
  if (trimmed === '' || trimmed.length > 100 || /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(trimmed) || !trimmed.isWellFormed())
    throw invalid('display_name', 'expected 1 to 100 characters in one line');
  return trimmed;
}

function toView(row: ViewRow): UserView {
  return {
    user_id: row.user_id,
    name: row.name,
    display_name: row.display_name,
    role: row.role,
    roles: row.roles,
    email: row.email,
    has_password: row.password_hash !== null,
    temporary_until: time(row.temporary_until),
    providers: row.providers,
    created_at: time(row.created_at) as string,
    updated_at: time(row.updated_at) as string,
    last_sign_in_at: time(row.last_sign_in_at),
    disabled_at: time(row.disabled_at),
  };
}

const time = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString());

function invalid(field: string, message: string): UserError {
  return new UserError('INVALID_USER', `${field}: ${message}`);
}

function notFound(name: string, hint = ''): UserError {
  return new UserError('USER_NOT_FOUND', `there is no user ${JSON.stringify(name.slice(0, 100))}${hint}`);
}
