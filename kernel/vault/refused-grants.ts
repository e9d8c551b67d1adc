/**
 * What somebody took away from a tool, or refused to it while it was not there: stays refused until somebody grants or allows it, whatever
 * becomes of the secret, and whatever the tool declares.
 */
import type { AuditLog } from '../audit/index.ts';
import type { Queryable, Store } from '../store/index.ts';
import { VaultError } from './errors.ts';
import { checkPrincipal, endOwn, endUngranted, isTool, lockDeclared } from './grants.ts';
import { checkName, tellFirewalls } from './secrets.ts';

export interface RefusalView {
  readonly principal: string;
  readonly secret: string;
  readonly created_at: string;
}

interface Parts {
  readonly store: Store;
  readonly audit: AuditLog;
}

interface Row {
  readonly principal: string;
  readonly secret: string;
  readonly created_at: number;
}

/**
 * The secret need not be there. A grant that the tool holds by itself is taken away with it; what it has by a role or as one of its kind
 * stays. Refusing twice changes nothing.
 *
 * @throws VaultError INVALID_SECRET naming the field
 */
export async function refuseGrant({ store, audit }: Parts, actor: string, principal: string, secret: string): Promise<RefusalView> {
  checkPrincipal(principal);
  if (!isTool(principal))
    throw new VaultError('INVALID_SECRET', 'principal: expected a tool, such as tool:crm; others have nothing but what they are granted');
  checkName(secret);
  return store.transaction(async (tx) => {
    // what is being declared is waited for, and taken away below
    await lockDeclared(tx);
    await tx.query('select 1 from secrets where name = $1 for no key update', [secret]);
    const { rows: known } = await tx.query<Row>('select * from grant_refusals where principal = $1 and secret = $2', [principal, secret]);
    if (known[0] !== undefined) return toView(known[0]);
    const auditId = await audit.append(tx, { action: 'grant.refuse', actor, resource: `secret:${secret}`, details: { principal } });
    await tx.query(
      'update grants set revoked_at = now(), revoked_audit_id = $3 where principal = $1 and secret = $2 and revoked_at is null',
      [principal, secret, auditId],
    );
    const { rows } = await tx.query<Row>(
      'insert into grant_refusals (principal, secret, audit_id) values ($1, $2, $3) on conflict (principal, secret) do update set secret = excluded.secret returning *',
      [principal, secret, auditId],
    );
    await endOwn(tx, secret);
    await endUngranted(tx);
    return toView(rows[0] as Row);
  });
}

/** Takes a refusal back, and grants nothing by that. @throws VaultError GRANT_NOT_FOUND */
export async function allowGrant({ store, audit }: Parts, actor: string, principal: string, secret: string): Promise<void> {
  await store.transaction(async (tx) => {
    const { rowCount } = await tx.query('delete from grant_refusals where principal = $1 and secret = $2', [principal, secret]);
    if (rowCount === 0) throw new VaultError('GRANT_NOT_FOUND', `${JSON.stringify(secret)} is not refused to ${JSON.stringify(principal)}`);
    await audit.append(tx, { action: 'grant.allow', actor, resource: `secret:${secret}`, details: { principal } });
    // what is declared is granted again
    await tellFirewalls(tx);
  });
}

export async function listRefusals(
  on: Queryable,
  filter: { readonly principal?: string | undefined; readonly secret?: string | undefined } = {},
): Promise<readonly RefusalView[]> {
  const { rows } = await on.query<Row>(
    'select * from grant_refusals where ($1::text is null or principal = $1) and ($2::text is null or secret = $2) order by secret, principal',
    [filter.principal ?? null, filter.secret ?? null],
  );
  return rows.map(toView);
}

function toView({ principal, secret, created_at }: Row): RefusalView {
  return { principal, secret, created_at: new Date(created_at).toISOString() };
}
