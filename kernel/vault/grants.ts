/** Principals, their roles, and which secrets they may use. */
import { createHash } from 'node:crypto';
import { CHAT_PLATFORMS } from '@centaur/sdk/chat-names';
import type { AuditLog } from '../audit/index.ts';
import { type Queryable, type Store, uuidv7 } from '../store/index.ts';
import { VaultError } from './errors.ts';
import { tellFirewalls } from './secrets.ts';

export const PRINCIPAL_KINDS = ['workflow', 'thread', 'channel', 'user', 'role', 'tool', 'key', ...CHAT_PLATFORMS] as const;

export interface GrantView {
  readonly grant_id: string;
  readonly principal: string;
  readonly secret: string;
  /** It came with what a tool declares, and goes with it. */
  readonly declared: boolean;
  readonly created_at: string;
}

interface Parts {
  readonly store: Store;
  readonly audit: AuditLog;
}

const PRINCIPAL = new RegExp(`^(?:${PRINCIPAL_KINDS.join('|')}):[\\x21-\\x7e]{1,200}$`);

export function isPrincipal(text: string): boolean {
  return PRINCIPAL.test(text);
}

/** @throws VaultError INVALID_SECRET unless it is `kind:name` */
export function checkPrincipal(principal: string): string {
  if (!isPrincipal(principal))
    throw new VaultError(
      'INVALID_SECRET',
      `principal: expected ${PRINCIPAL_KINDS.map((kind) => `${kind}:…`).join(', ')}, such as workflow:nightly_report`,
    );
  return principal;
}

/** One of them, and not all of the kind. Others have nothing but what they are granted, and nothing that would have to be refused. */
export function isTool(principal: string): boolean {
  return principal.startsWith('tool:') && principal !== 'tool:*';
}

/** Keys of threads are any text; names of principals are not. */
export function principalOfThread(threadKey: string): string {
  const plain = `thread:${threadKey}`;
  return /^[\x21-\x7e]{1,200}$/.test(threadKey) && threadKey !== '*' && !threadKey.startsWith('sha256-')
    ? plain
    : `thread:sha256-${createHash('sha256').update(threadKey).digest('hex')}`;
}

/** Granting twice changes nothing, but that a grant which a tool's declaration had brought outlives the declaration. */
export async function addGrant({ store, audit }: Parts, actor: string, principal: string, secret: string): Promise<GrantView> {
  return store.transaction((tx) => addGrantIn(tx, { store, audit }, actor, principal, secret));
}

export async function addGrantIn(
  tx: Queryable,
  { store, audit }: Parts,
  actor: string,
  principal: string,
  secret: string,
): Promise<GrantView> {
  checkPrincipal(principal);
  const { rowCount } = await tx.query('select 1 from secrets where name = $1 and removed_at is null for share', [secret]);
  if (rowCount === 0) throw new VaultError('SECRET_NOT_FOUND', `there is no secret ${JSON.stringify(secret)}`);
  await tx.query('delete from grant_refusals where principal = $1 and secret = $2', [principal, secret]);
  const { rows: known } = await tx.query<Row>('select * from grants where principal = $1 and secret = $2 and revoked_at is null', [
    principal,
    secret,
  ]);
  if (known[0]?.declared === false) return toView(known[0]);
  const auditId = await audit.append(tx, { action: 'grant.add', actor, resource: `secret:${secret}`, details: { principal } });
  const { rows } = await tx.query<Row>(
    `insert into grants (grant_id, principal, secret, audit_id) values ($1, $2, $3, $4)
     on conflict (principal, secret) where revoked_at is null
       do update set declared = false, audit_id = case when grants.declared then excluded.audit_id else grants.audit_id end returning *`,
    [uuidv7(store.now()), principal, secret, auditId],
  );
  return toView(rows[0] as Row);
}

/** In effect at once: leases that hold the secret by this grant alone end with it. What a tool declares does not bring it back. */
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
    if (isTool(grant.principal))
      await tx.query('insert into grant_refusals (principal, secret, audit_id) values ($1, $2, $3) on conflict do nothing', [
        grant.principal,
        grant.secret,
        auditId,
      ]);
    await endOwn(tx, grant.secret);
    await endUngranted(tx);
  });
}

/** Leases that have a user's own in the place of a secret which their principal may not use any more. */
export async function endOwn(tx: Queryable, secret: string): Promise<void> {
  const { rows } = await tx.query<{ lease_id: string; principal: string; on_behalf_of: string; secrets: readonly string[] }>(
    `select l.lease_id::text, l.principal, l.on_behalf_of, array(select s.secret from lease_secrets s where s.lease_id = l.lease_id) as secrets
     from leases l where l.on_behalf_of is not null and l.revoked_at is null and l.expires_at > now()`,
  );
  const over: string[] = [];
  for (const { lease_id: id, principal, on_behalf_of: holder, secrets } of rows) {
    const user = holder.slice('user:'.length);
    if (secrets.includes(ownSecretName(secret, user)) && !(await ownSecrets(tx, user, principal, [secret])).has(secret)) over.push(id);
  }
  await tx.query('update leases set revoked_at = now() where lease_id = any($1::uuid[])', [over]);
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
    const { rows: touched } = await tx.query<{ secret: string }>(
      `select distinct secret from grants where revoked_at is null and principal like 'role:%'`,
    );
    for (const role of new Set(roles))
      await tx.query('insert into principal_roles (principal, role, audit_id) values ($1, $2, $3)', [principal, role, auditId]);
    for (const { secret } of touched) await endOwn(tx, secret);
    await endUngranted(tx);
  });
}

export interface DeclaredGrant {
  readonly principal: string;
  readonly secret: string;
}

/**
 * Grants that follow from what tools declare, in one transaction with their entries: those that are wanted and whose secret exists are
 * there afterwards. One that a person has taken away or refused stays away, until a person gives it.
 *
 * @param takeBack those that are not wanted any more; grants that a person gave are never touched
 */
export async function declareGrants(
  { store, audit }: Parts,
  actor: string,
  wanted: readonly DeclaredGrant[],
  { takeBack }: { readonly takeBack: readonly DeclaredGrant[] },
): Promise<{ readonly added: number; readonly removed: number }> {
  const pairs = pairsOf(wanted);
  const over = pairsOf(takeBack);
  // most of the time there is nothing to do, and nobody waits for a lock
  if (!(await needsChange(store, pairs, over))) return { added: 0, removed: 0 };
  return store.transaction(async (tx) => {
    await lockDeclared(tx);
    const { rows: missing } = await tx.query<DeclaredGrant>(`${MISSING} order by 2, 1`, pairs);
    const { rows: idle } = await tx.query<Row>(OVER, over);
    // as when a grant is added or removed by hand: leases that are being created are waited for, and ended below
    await tx.query('select 1 from secrets where name = any($1::text[]) order by name for no key update', [
      [...missing, ...idle].map(({ secret }) => secret),
    ]);
    for (const { principal, secret } of missing) {
      const details = { principal, declared: true };
      const auditId = await audit.append(tx, { action: 'grant.add', actor, resource: `secret:${secret}`, details });
      await tx.query(
        `insert into grants (grant_id, principal, secret, audit_id, declared) values ($1, $2, $3, $4, true)
         on conflict (principal, secret) where revoked_at is null do nothing`,
        [uuidv7(store.now()), principal, secret, auditId],
      );
    }
    for (const { grant_id, principal, secret } of idle) {
      const details = { principal, declared: true };
      const auditId = await audit.append(tx, { action: 'grant.remove', actor, resource: `secret:${secret}`, details });
      await tx.query('update grants set revoked_at = now(), revoked_audit_id = $2 where grant_id = $1', [grant_id, auditId]);
    }
    if (idle.length > 0) await endUngranted(tx);
    return { added: missing.length, removed: idle.length };
  });
}

/** One at a time brings the grants to what is declared. Until the transaction ends. */
export async function lockDeclared(tx: Queryable): Promise<void> {
  await tx.query('select pg_advisory_xact_lock(7226020)');
}

function pairsOf(grants: readonly DeclaredGrant[]): string[][] {
  return [grants.map(({ principal }) => checkPrincipal(principal)), grants.map(({ secret }) => secret)];
}

async function needsChange(store: Store, pairs: readonly string[][], over: readonly string[][]): Promise<boolean> {
  const { rowCount } = await store.query(`${MISSING} limit 1`, [...pairs]);
  return rowCount > 0 || (await store.query(`${OVER} limit 1`, [...over])).rowCount > 0;
}

const WANTED = 'unnest($1::text[], $2::text[]) as w(principal, secret)';

/** What is refused is not there to be added. */
const MISSING = `select distinct w.principal, w.secret from ${WANTED} join secrets s on s.name = w.secret and s.removed_at is null and s.type <> 'webhook'
  where not exists (select from grants g where g.principal = w.principal and g.secret = w.secret and g.revoked_at is null)
    and not exists (select from grant_refusals r where r.principal = w.principal and r.secret = w.secret)`;

const OVER = `select g.* from grants g where g.declared and g.revoked_at is null
  and exists (select from ${WANTED} where w.principal = g.principal and w.secret = g.secret)`;

export interface UsableGrant extends DeclaredGrant {
  /** The secret is there. */
  readonly known: boolean;
  /** The principal holds a grant, whoever gave it. */
  readonly granted: boolean;
  /** Somebody took it away from the principal, or refused it. */
  readonly refused: boolean;
}

/** Which of these are there to be used: those that are known and granted. */
export async function usableGrants(on: Queryable, asked: readonly DeclaredGrant[]): Promise<readonly UsableGrant[]> {
  const { rows } = await on.query<UsableGrant>(
    `select w.principal, w.secret, exists (select from secrets s where s.name = w.secret and s.removed_at is null) as known,
       exists (select from grants g where g.secret = w.secret and g.revoked_at is null and ${HOLDS.replaceAll('$principal', 'w.principal')}) as granted,
       exists (select from grant_refusals r where r.principal = w.principal and r.secret = w.secret) as refused
     from ${WANTED}`,
    [asked.map(({ principal }) => principal), asked.map(({ secret }) => secret)],
  );
  return rows;
}

const RUN_USER = 'workflow:';

/** Whom a run of a workflow names as its user: the run, and nobody. Its code is not trusted to say whose words it brings. */
export function userOfRun(runId: string): string {
  return `${RUN_USER}${runId}`;
}

/** No account is connected for such a user, and no turn is theirs. */
export function isUserOfRun(user: string): boolean {
  return user.startsWith(RUN_USER);
}

/** The name of a user's own secret, which takes the place of another in what is done for them: readable, and no two users' are the same. */
export function ownSecretName(secret: string, user: string): string {
  const readable = user.replaceAll(/[^A-Za-z0-9]/g, '_').slice(0, 40);
  return `${secret.slice(0, 60)}_OF_${readable}_${createHash('sha256').update(user).digest('hex').slice(0, 12)}`;
}

/** Whether it is one of those. */
export function isOwnSecretOf(secret: string, user: string): boolean {
  return secret.endsWith(ownSecretName('', user));
}

/**
 * By name, those of the secrets for which the user has one of their own that is granted to them. It takes the place of one that the
 * principal may use, or of one that is not there; whoever takes a secret away from the principal, or refuses it, takes away the users' own with
 * it, also when the secret itself is gone.
 */
export async function ownSecrets(
  on: Queryable,
  user: string,
  principal: string,
  secrets: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const holder = `user:${user}`;
  const found = await usableGrants(on, [
    ...secrets.map((secret) => ({ principal: holder, secret: ownSecretName(secret, user) })),
    ...secrets.map((secret) => ({ principal, secret })),
  ]);
  const standing = new Map(found.map((each) => [JSON.stringify([each.principal, each.secret]), each]));
  return new Map(
    secrets.flatMap((secret) => {
      const own = ownSecretName(secret, user);
      const theirs = standing.get(JSON.stringify([holder, own]));
      const shared = standing.get(JSON.stringify([principal, secret]));
      const isRefused = shared !== undefined && !shared.granted && (shared.known || shared.refused);
      return theirs?.known === true && theirs.granted && !isRefused ? [[secret, own] as const] : [];
    }),
  );
}

/** Which of the secrets the principal may use: by itself, by a role, or as one of its kind (`workflow:*`). */
export async function grantedSecrets(on: Queryable, principal: string, secrets: readonly string[]): Promise<Set<string>> {
  const { rows } = await on.query<{ secret: string }>(
    `select g.secret from grants g where g.revoked_at is null and g.secret = any($2::text[]) and ${HOLDS.replaceAll('$principal', '$1')}`,
    [principal, secrets],
  );
  return new Set(rows.map((row) => row.secret));
}

/** Names of all secrets that the principal may use, but databases, which are reached in another way, and what verifies webhooks, which is sent nowhere. */
export async function grantsOf(on: Queryable, principal: string): Promise<readonly string[]> {
  const { rows } = await on.query<{ name: string }>(
    `select s.name from secrets s where s.removed_at is null and s.type not in ('pg_dsn', 'webhook')
       and exists (select from grants g where g.secret = s.name and g.revoked_at is null and ${HOLDS.replaceAll('$principal', '$1')})
     order by s.name`,
    [checkPrincipal(principal)],
  );
  return rows.map((row) => row.name);
}

/** Of these, all of a part may be granted something, too: `channel:slack:*`, `slack:T1:*`. */
const IN_PARTS = ['channel', ...CHAT_PLATFORMS].map((kind) => `'${kind}'`).join(', ');

/** Whether grant `g` is the principal's. */
const HOLDS = `(g.principal = $principal or g.principal = split_part($principal, ':', 1) || ':*'
  or (split_part($principal, ':', 1) in (${IN_PARTS}) and split_part($principal, ':', 3) <> ''
    and g.principal = split_part($principal, ':', 1) || ':' || split_part($principal, ':', 2) || ':*')
  or g.principal in (select 'role:' || r.role from principal_roles r where r.principal = $principal))`;

export async function endUngranted(tx: Queryable): Promise<void> {
  await tx.query(
    `update leases l set revoked_at = now() from lease_secrets s
     where s.lease_id = l.lease_id and l.revoked_at is null and l.expires_at > now()
       and not exists (select from grants g where g.revoked_at is null and g.secret = s.secret and (${HOLDS.replaceAll('$principal', 'l.principal')} or ${HOLDS.replaceAll('$principal', 'l.on_behalf_of')}
         or exists (select from unnest(l.besides) b(holder) where ${HOLDS.replaceAll('$principal', 'b.holder')})))`,
  );
  await tellFirewalls(tx);
}

interface Row {
  readonly grant_id: string;
  readonly principal: string;
  readonly secret: string;
  readonly created_at: number;
  readonly declared: boolean;
}

function toView(row: Row): GrantView {
  const { grant_id, principal, secret, declared } = row;
  return { grant_id, principal, secret, declared, created_at: new Date(row.created_at).toISOString() };
}
