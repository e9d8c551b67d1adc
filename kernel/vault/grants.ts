/** Principals, their roles, and which secrets they may use. */
import type { AuditLog } from '../audit/index.ts';
import { type Queryable, type Store, uuidv7 } from '../store/index.ts';
import { VaultError } from './errors.ts';
import { tellFirewalls } from './secrets.ts';

export const PRINCIPAL_KINDS = ['workflow', 'thread', 'channel', 'user', 'role', 'tool', 'key'] as const;

export interface GrantView {
  readonly grant_id: string;
  readonly principal: string;
  readonly secret: string;
  readonly created_at: string;
}

interface Parts {
  readonly store: Store;
  readonly audit: AuditLog;
}

/** @throws VaultError INVALID_SECRET unless it is `kind:name` */
export function checkPrincipal(principal: string): string {
  if (!new RegExp(`^(?:${PRINCIPAL_KINDS.join('|')}):[\\x21-\\x7e]{1,200}$`).test(principal))
    throw new VaultError(
      'INVALID_SECRET',
      `principal: expected ${PRINCIPAL_KINDS.map((kind) => `${kind}:…`).join(', ')}, such as workflow:nightly_report`,
    );
  return principal;
}

/** Granting twice changes nothing. */
export async function addGrant({ store, audit }: Parts, actor: string, principal: string, secret: string): Promise<GrantView> {
  checkPrincipal(principal);
  return store.transaction(async (tx) => {
    const { rowCount } = await tx.query('select 1 from secrets where name = $1 and removed_at is null for share', [secret]);
    if (rowCount === 0) throw new VaultError('SECRET_NOT_FOUND', `there is no secret ${JSON.stringify(secret)}`);
    const { rows: known } = await tx.query<Row>('select * from grants where principal = $1 and secret = $2 and revoked_at is null', [
      principal,
      secret,
    ]);
    if (known[0] !== undefined) return toView(known[0]);
    const auditId = await audit.append(tx, { action: 'grant.add', actor, resource: `secret:${secret}`, details: { principal } });
    const { rows } = await tx.query<Row>(
      `insert into grants (grant_id, principal, secret, audit_id) values ($1, $2, $3, $4)
       on conflict (principal, secret) where revoked_at is null do update set principal = excluded.principal returning *`,
      [uuidv7(store.now()), principal, secret, auditId],
    );
    return toView(rows[0] as Row);
  });
}

/** In effect at once: leases that hold the secret by this grant alone end with it. */
export async function removeGrant({ store, audit }: Parts, actor: string, grantId: string): Promise<void> {
  await store.transaction(async (tx) => {
    // a lease that is being created holds a share lock on its secrets: so it is waited for, and ended below; one that
    // begins now waits for this, and finds no grant
    await tx.query('select 1 from secrets s where s.name = (select g.secret from grants g where g.grant_id = $1) for no key update', [
      grantId,
    ]);
    const { rows } = await tx.query<Row>('select * from grants where grant_id = $1 and revoked_at is null for update', [grantId]);
    const [grant] = rows;
    if (grant === undefined) throw new VaultError('GRANT_NOT_FOUND', `there is no grant ${JSON.stringify(grantId)}`);
    const auditId = await audit.append(tx, {
      action: 'grant.remove',
      actor,
      resource: `secret:${grant.secret}`,
      details: { principal: grant.principal },
    });
    await tx.query('update grants set revoked_at = now(), revoked_audit_id = $2 where grant_id = $1', [grantId, auditId]);
    await endUngranted(tx);
  });
}

export async function listGrants(
  store: Store,
  filter: { readonly principal?: string | undefined; readonly secret?: string | undefined } = {},
): Promise<readonly GrantView[]> {
  const { rows } = await store.query<Row>(
    'select * from grants where revoked_at is null and ($1::text is null or principal = $1) and ($2::text is null or secret = $2) order by secret, principal',
    [filter.principal ?? null, filter.secret ?? null],
  );
  return rows.map(toView);
}

export async function setRoles({ store, audit }: Parts, actor: string, principal: string, roles: readonly string[]): Promise<void> {
  checkPrincipal(principal);
  for (const role of roles) checkPrincipal(`role:${role}`);
  await store.transaction(async (tx) => {
    // as when a grant is removed: what a role that goes away gave to leases that are being created
    await tx.query(
      `select 1 from secrets s where s.name in (select g.secret from grants g join principal_roles r on g.principal = 'role:' || r.role
         where r.principal = $1 and not r.role = any($2::text[]) and g.revoked_at is null) order by s.name for no key update of s`,
      [principal, roles],
    );
    const auditId = await audit.append(tx, { action: 'principal.roles', actor, resource: principal, details: { roles } });
    await tx.query('delete from principal_roles where principal = $1', [principal]);
    for (const role of new Set(roles))
      await tx.query('insert into principal_roles (principal, role, audit_id) values ($1, $2, $3)', [principal, role, auditId]);
    await endUngranted(tx);
  });
}

/** Which of the secrets the principal may use: by itself, by a role, or as one of its kind (`workflow:*`). */
export async function grantedSecrets(on: Queryable, principal: string, secrets: readonly string[]): Promise<Set<string>> {
  const { rows } = await on.query<{ secret: string }>(
    `select g.secret from grants g where g.revoked_at is null and g.secret = any($2::text[]) and ${HOLDS.replaceAll('$principal', '$1')}`,
    [principal, secrets],
  );
  return new Set(rows.map((row) => row.secret));
}

/** Names of all secrets that the principal may use, but databases, which are reached in another way. */
export async function grantsOf(on: Queryable, principal: string): Promise<readonly string[]> {
  const { rows } = await on.query<{ name: string }>(
    `select s.name from secrets s where s.removed_at is null and s.type <> 'pg_dsn'
       and exists (select from grants g where g.secret = s.name and g.revoked_at is null and ${HOLDS.replaceAll('$principal', '$1')})
     order by s.name`,
    [checkPrincipal(principal)],
  );
  return rows.map((row) => row.name);
}

/** Whether grant `g` is the principal's. */
const HOLDS = `(g.principal = $principal or g.principal = split_part($principal, ':', 1) || ':*'
  or g.principal in (select 'role:' || r.role from principal_roles r where r.principal = $principal))`;

async function endUngranted(tx: Queryable): Promise<void> {
  await tx.query(
    `update leases l set revoked_at = now() from lease_secrets s
     where s.lease_id = l.lease_id and l.revoked_at is null and l.expires_at > now()
       and not exists (select from grants g where g.revoked_at is null and g.secret = s.secret and ${HOLDS.replaceAll('$principal', 'l.principal')})`,
  );
  await tellFirewalls(tx);
}

interface Row {
  readonly grant_id: string;
  readonly principal: string;
  readonly secret: string;
  readonly created_at: number;
}

function toView(row: Row): GrantView {
  return { grant_id: row.grant_id, principal: row.principal, secret: row.secret, created_at: new Date(row.created_at).toISOString() };
}
