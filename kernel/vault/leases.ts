/**
 * Leases: the right to use some secrets for some time, and the placeholders that stand for them meanwhile.
 *
 * A lease is created in the transaction of its audit entry and refers to it. Its token is shown once; only a hash is kept.
 */
import { createHash, randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { AuditLog } from '../audit/index.ts';
import { canonicalJson, type Store, uuidv7 } from '../store/index.ts';
import { type Asker, type Besides, besidesOf } from './askers.ts';
import { VaultError } from './errors.ts';
import { checkPrincipal, grantedSecrets } from './grants.ts';
import { canonicalOpenings, type OpeningRequest, type StoredOpening } from './openings.ts';
import { makePlaceholder, type Shape } from './placeholders.ts';
import { tellFirewalls } from './secrets.ts';

/** `tool`: of a process that serves calls of a tool. Its secrets are given out while such a call has a lease: see `call-leases.ts`. */
export type LeaseKind = 'run' | 'call' | 'step' | 'tool';

export interface LeaseRequest {
  readonly principal: string;
  /** A user whose grants count besides: of a tool's process that serves the calls of that user alone. */
  readonly onBehalfOf?: string | undefined;
  /** Of a turn: what counts besides is leased, too, as it is when the lease is made, and as much of it as there is room for. */
  readonly asker?: Asker | undefined;
  readonly secrets: readonly string[];
  readonly ttlSeconds: number;
  /** `run`: as long as it lasts; `call`: one request; `step`: the requests of one step; `tool`: see `LeaseKind`. */
  readonly kind?: LeaseKind | undefined;
  readonly maxUses?: number | undefined;
  readonly runId?: string | undefined;
  readonly step?: string | undefined;
  readonly threadKey?: string | undefined;
  readonly traceId?: string | undefined;
  /** An address or CIDR from which alone it works. */
  readonly source?: string | undefined;
  /** What alone it reaches, besides the databases among its secrets; empty: nothing. Undefined: what policy and bindings allow. */
  readonly egress?: readonly OpeningRequest[] | undefined;
}

export interface CreatedLease {
  readonly leaseId: string;
  /** For `Proxy-Authorization`; shown this once. */
  readonly token: string;
  readonly placeholders: Readonly<Record<string, string>>;
  /** Those of the secrets that are databases: clients reach them by another listener. */
  readonly databases: readonly string[];
  readonly expiresAt: Date;
}

export interface LeaseView {
  readonly lease_id: string;
  readonly kind: LeaseKind;
  readonly principal: string;
  readonly on_behalf_of: string | null;
  /** Whose grants count besides: of who asked for the turn, and of its channel. */
  readonly besides: readonly string[];
  readonly secrets: readonly string[];
  readonly run_id: string | null;
  readonly step: string | null;
  readonly thread_key: string | null;
  readonly source: string | null;
  readonly egress: readonly StoredOpening[] | null;
  readonly max_uses: number | null;
  readonly used: number;
  readonly status: 'active' | 'used' | 'expired' | 'revoked';
  readonly created_at: string;
  readonly expires_at: string;
  readonly revoked_at: string | null;
}

export const LEASE_SECONDS_MOST = 7 * 86_400;
const SECRETS_MOST = 100;

export function hashToken(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

/** @throws VaultError SECRET_NOT_FOUND, NOT_GRANTED naming the secrets, INVALID_SECRET naming the field */
export async function createLease(
  { store, audit }: { readonly store: Store; readonly audit: AuditLog },
  actor: string,
  request: LeaseRequest,
): Promise<CreatedLease> {
  checkPrincipal(request.principal);
  if (request.onBehalfOf !== undefined) checkPrincipal(request.onBehalfOf);
  const needed = [...new Set(request.secrets)].sort();
  if (!(request.ttlSeconds > 0 && request.ttlSeconds <= LEASE_SECONDS_MOST))
    throw new VaultError('INVALID_SECRET', `ttlSeconds: expected more than 0 and at most ${LEASE_SECONDS_MOST}`);
  if (needed.length > SECRETS_MOST) throw new VaultError('INVALID_SECRET', `secrets: ${SECRETS_MOST} are the most of one lease`);
  const egress = request.egress === undefined ? undefined : canonicalOpenings(request.egress);
  const kind = request.kind ?? 'run';
  const maxUses = request.maxUses ?? (kind === 'call' ? 1 : null);
  const token = randomBytes(32).toString('base64url');
  const leaseId = uuidv7(store.now());
  return store.transaction(async (tx) => {
    // before whose they are: so whoever takes secrets away and disables their holder never waits for what waits for them
    const seen = request.asker === undefined ? undefined : await besidesOf(tx, request.asker);
    const { rows: found } = await tx.query<{ name: string; type: string; shape: string }>(
      'select name, type, shape from secrets where name = any($1::text[]) and removed_at is null order by name for share',
      [[...new Set([...needed, ...(seen?.secrets ?? [])])]],
    );
    // whoever unlinks or disables waits for this lease, and ends it
    const asked = request.asker === undefined ? NOBODY : await besidesOf(tx, request.asker, 'held');
    const optional = asked.secrets.filter((name) => !needed.includes(name) && found.some((row) => row.name === name)).toSorted();
    const secrets = [...needed, ...optional.slice(0, SECRETS_MOST - needed.length)].sort();
    const rows = found.filter(({ name }) => secrets.includes(name));
    const unknown = needed.filter((name) => !rows.some((row) => row.name === name));
    if (unknown.length > 0)
      throw new VaultError('SECRET_NOT_FOUND', `there is no secret ${unknown.map((name) => JSON.stringify(name)).join(', ')}`, {
        details: { secrets: unknown },
      });
    const [unsent] = rows.filter(({ type }) => type === 'webhook');
    if (unsent !== undefined)
      throw new VaultError('INVALID_SECRET', `secrets: ${unsent.name} verifies webhooks: it is sent nowhere, and nobody leases it`);
    const { principals: besides, account, user, channel } = asked;
    const holders = [request.principal, ...(request.onBehalfOf === undefined ? [] : [request.onBehalfOf]), ...besides];
    const granted = new Set<string>();
    for (const holder of holders) for (const name of await grantedSecrets(tx, holder, secrets)) granted.add(name);
    const refused = secrets.filter((name) => !granted.has(name));
    if (refused.length > 0) {
      throw new VaultError(
        'NOT_GRANTED',
        `${request.principal} may not use ${refused.join(', ')}; grant it with: centaur grants add ${request.principal} ${refused[0]}`,
        {
          details: { principal: request.principal, secrets: refused },
        },
      );
    }
    const auditId = await audit.append(tx, {
      action: 'lease.create',
      actor,
      resource: `lease:${leaseId}`,
      leaseId,
      runId: request.runId,
      threadKey: request.threadKey,
      traceId: request.traceId,
      details: {
        principal: request.principal,
        on_behalf_of: request.onBehalfOf,
        ...(besides.length === 0 ? {} : { besides, account, user, channel }),
        kind,
        secrets,
        ...(optional.length > SECRETS_MOST - needed.length ? { left_out: optional.slice(SECRETS_MOST - needed.length) } : {}),
        ttl_seconds: request.ttlSeconds,
        max_uses: maxUses,
        step: request.step,
        source: request.source,
        egress,
      },
    });
    const { rows: made } = await tx.query<{ expires_at: number }>(
      `insert into leases (lease_id, token_hash, kind, principal, run_id, step, thread_key, trace_id, source, max_uses, expires_at, audit_id, egress,
         on_behalf_of, besides, account, user_name, channel)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9::inet, $10, now() + make_interval(secs => $11), $12, $13, $14, $15, $16, $17, $18) returning expires_at`,
      [
        leaseId,
        hashToken(token),
        kind,
        request.principal,
        request.runId ?? null,
        request.step ?? null,
        request.threadKey ?? null,
        request.traceId ?? null,
        request.source ?? null,
        maxUses,
        request.ttlSeconds,
        auditId,
        egress === undefined ? null : canonicalJson(egress),
        request.onBehalfOf ?? null,
        besides,
        account,
        user,
        channel,
      ],
    );
    const placeholders = Object.fromEntries(rows.map(({ name, shape }) => [name, makePlaceholder(JSON.parse(shape) as Shape)]));
    await tx.query('insert into lease_secrets (lease_id, secret, placeholder) select $1, * from unnest($2::text[], $3::text[])', [
      leaseId,
      Object.keys(placeholders),
      Object.values(placeholders),
    ]);
    const databases = rows.filter(({ type }) => type === 'pg_dsn').map(({ name }) => name);
    return { leaseId, token, placeholders, databases, expiresAt: new Date(made[0]?.expires_at as number) };
  });
}

const NOBODY: Besides = { account: null, channel: null, user: null, principals: [], secrets: [] };

/** In effect everywhere within a second; open streams are cut. Revoking twice changes nothing. */
export async function revokeLease(
  { store, audit }: { readonly store: Store; readonly audit: AuditLog },
  actor: string,
  leaseId: string,
  reason?: string,
): Promise<void> {
  await store.transaction(async (tx) => {
    const { rows } = await tx.query<{ revoked_at: number | null }>('select revoked_at from leases where lease_id = $1 for update', [
      leaseId,
    ]);
    if (rows[0] === undefined) throw new VaultError('LEASE_NOT_FOUND', `there is no lease ${JSON.stringify(leaseId)}`);
    if (rows[0].revoked_at !== null) return;
    await audit.append(tx, { action: 'lease.revoke', actor, resource: `lease:${leaseId}`, leaseId, details: { reason } });
    await tx.query('update leases set revoked_at = now() where lease_id = $1', [leaseId]);
    await tellFirewalls(tx);
  });
}

export interface ThreadLeases {
  readonly principal: string;
  readonly threadKey: string;
  /** Only those that are bound to this address. */
  readonly source?: string | undefined;
}

/**
 * Keeps what a principal holds for a thread from expiring, when it has less than half of `ttlSeconds` left.
 *
 * @returns false when it holds nothing any more, or something else than this turn may use
 */
export async function renewThreadLeases(
  parts: { readonly store: Store; readonly audit: AuditLog },
  actor: string,
  { principal, threadKey, source }: ThreadLeases,
  ttlSeconds: number,
  turn?: { readonly runId: string; readonly traceId: string; readonly asker: Asker },
): Promise<boolean> {
  const rows = await parts.store.transaction(async (tx) => {
    // until it is this turn's: whoever unlinks or disables after that finds it by the account
    const asked = turn === undefined ? undefined : await besidesOf(tx, turn.asker, 'held');
    const { rows: held } = await tx.query<HeldLease>(
      `select lease_id, extract(epoch from expires_at - now())::float8 as left, besides, user_name as user, channel from leases
       where principal = $1 and thread_key = $2 and ($3::inet is null or source = $3::inet) and revoked_at is null and expires_at > now()`,
      [principal, threadKey, source ?? null],
    );
    if (turn === undefined || asked === undefined || held.length === 0) return held;
    // who asks by whom firewalls decide is told to them once, with the lease: one for another is another
    if (
      held.some(({ besides, user, channel }) => !isDeepStrictEqual([besides, user, channel], [asked.principals, asked.user, asked.channel]))
    )
      return [];
    await tx.query(
      `with changed as (update leases set run_id = $2, trace_id = $3, account = $4 where lease_id = any($1::uuid[])
         and (run_id, trace_id, account) is distinct from ($2::uuid, $3::uuid, $4::text) returning 1)
       select pg_notify('centaur_leases', '') from changed limit 1`,
      [held.map((row) => row.lease_id), turn.runId, turn.traceId, asked.account],
    );
    return held;
  });
  for (const row of rows) if (row.left < ttlSeconds / 2) await renewLease(parts, actor, row.lease_id, ttlSeconds);
  return rows.length > 0;
}

interface HeldLease {
  readonly lease_id: string;
  readonly left: number;
  readonly besides: readonly string[];
  readonly user: string | null;
  readonly channel: string | null;
}

/** All that a principal holds for a thread. In effect as `revokeLease` is. */
export async function revokeThreadLeases(
  { store, audit }: { readonly store: Store; readonly audit: AuditLog },
  actor: string,
  { principal, threadKey, source, reason }: ThreadLeases & { readonly reason: string },
): Promise<number> {
  return store.transaction(async (tx) => {
    const { rows } = await tx.query<{ lease_id: string }>(
      `select lease_id from leases where principal = $1 and thread_key = $2 and ($3::inet is null or source = $3::inet)
         and revoked_at is null and expires_at > now() order by lease_id for update`,
      [principal, threadKey, source ?? null],
    );
    for (const { lease_id: leaseId } of rows) {
      await audit.append(tx, { action: 'lease.revoke', actor, resource: `lease:${leaseId}`, leaseId, threadKey, details: { reason } });
      await tx.query('update leases set revoked_at = now() where lease_id = $1', [leaseId]);
    }
    if (rows.length > 0) await tellFirewalls(tx);
    return rows.length;
  });
}

/** Keeps a lease from expiring: for what lasts longer than anybody knew. False when it is over; never shortens it. */
export async function renewLease(
  { store, audit }: { readonly store: Store; readonly audit: AuditLog },
  actor: string,
  leaseId: string,
  ttlSeconds: number,
): Promise<boolean> {
  return store.transaction(async (tx) => {
    const { rows } = await tx.query<{ expires_at: number }>(
      `update leases set expires_at = greatest(expires_at, now() + make_interval(secs => $2))
       where lease_id = $1 and revoked_at is null and expires_at > now() returning expires_at`,
      [leaseId, ttlSeconds],
    );
    const [row] = rows;
    if (row === undefined) return false;
    await audit.append(tx, {
      action: 'lease.renew',
      actor,
      resource: `lease:${leaseId}`,
      leaseId,
      details: { ttl_seconds: ttlSeconds, expires_at: new Date(row.expires_at).toISOString() },
    });
    return true;
  });
}

export async function listLeases(
  store: Store,
  filter: {
    readonly principal?: string | undefined;
    readonly active?: boolean | undefined;
    readonly after?: string | undefined;
    readonly limit?: number | undefined;
  } = {},
): Promise<{ readonly items: readonly LeaseView[]; readonly next: string | null }> {
  const limit = filter.limit ?? 50;
  const { rows } = await store.query<Row>(
    `select l.*, abbrev(l.source) as address, l.expires_at <= now() as expired,
       array(select s.secret from lease_secrets s where s.lease_id = l.lease_id order by 1) as secrets
     from leases l where ($1::text is null or l.principal = $1) and ($2::uuid is null or l.lease_id < $2)
       and (not $3 or (l.revoked_at is null and l.expires_at > now() and (l.max_uses is null or l.used < l.max_uses)))
     order by l.lease_id desc limit $4`,
    [filter.principal ?? null, filter.after ?? null, filter.active === true, limit + 1],
  );
  const items = rows.slice(0, limit).map(toView);
  return { items, next: rows.length > limit ? (items.at(-1)?.lease_id ?? null) : null };
}

/** Leases that ended long ago; their entries stay in the log. */
export async function pruneLeases(store: Store, audit: AuditLog, days: number): Promise<number> {
  for (let all = 0; ;) {
    const gone = await store.transaction(async (tx) => {
      await tx.query('select lock_holds()');
      const { rowCount } = await tx.query(
        `delete from leases where lease_id in (
           select l.lease_id from leases l where l.expires_at < now() - make_interval(days => $1)
             and not (${HELD_LEASE}) limit $2 for update skip locked)`,
        [days, PRUNED_AT_ONCE],
      );
      if (rowCount > 0)
        await audit.append(tx, { action: 'data.prune', actor: 'system', resource: 'leases', details: { days, leases: rowCount } });
      return rowCount;
    });
    all += gone;
    if (gone < PRUNED_AT_ONCE) return all;
  }
}

/** Of a lease `l`: whether a legal hold keeps it. Never null. */
export const HELD_LEASE = `coalesce(l.thread_key in (select thread_key from held_threads), false)
  or coalesce(l.run_id in (select run_id from held_runs), false)
  or l.principal in (select principal from held_principals)
  or coalesce(l.on_behalf_of in (select principal from held_principals), false)
  or exists (select from unnest(l.besides) b(holder) join held_principals h on h.principal = b.holder)`;

const PRUNED_AT_ONCE = 1000;

interface Row {
  readonly lease_id: string;
  readonly kind: LeaseKind;
  readonly principal: string;
  readonly on_behalf_of: string | null;
  readonly besides: readonly string[];
  readonly secrets: readonly string[];
  readonly run_id: string | null;
  readonly step: string | null;
  readonly thread_key: string | null;
  readonly address: string | null;
  /** JSON, as text. */
  readonly egress: string | null;
  readonly max_uses: number | null;
  readonly used: number;
  readonly created_at: number;
  readonly expires_at: number;
  readonly expired: boolean;
  readonly revoked_at: number | null;
}

function toView(row: Row): LeaseView {
  const time = (ms: number) => new Date(ms).toISOString();
  return {
    lease_id: row.lease_id,
    kind: row.kind,
    principal: row.principal,
    on_behalf_of: row.on_behalf_of,
    besides: row.besides,
    secrets: row.secrets,
    run_id: row.run_id,
    step: row.step,
    thread_key: row.thread_key,
    source: row.address,
    egress: row.egress === null ? null : (JSON.parse(row.egress) as readonly StoredOpening[]),
    max_uses: row.max_uses,
    used: row.used,
    status:
      row.revoked_at !== null ? 'revoked' : row.expired ? 'expired' : row.max_uses !== null && row.used >= row.max_uses ? 'used' : 'active',
    created_at: time(row.created_at),
    expires_at: time(row.expires_at),
    revoked_at: row.revoked_at === null ? null : time(row.revoked_at),
  };
}
