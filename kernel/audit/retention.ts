/** Forgetting: whole partitions of old entries, and what is private of one subject. */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { Queryable, Store } from '../store/index.ts';
import { uuidAt } from '../store/partitions.ts';
import type { AuditLog } from './log.ts';

/** Tables with a reference to the entry of what created their rows. */
const REFERENCES = [
  ['secrets', 'audit_id'],
  ['principal_roles', 'audit_id'],
  ['grants', 'audit_id'],
  ['grants', 'revoked_audit_id'],
  ['grant_refusals', 'audit_id'],
  ['leases', 'audit_id'],
  ['policy_versions', 'audit_id'],
  ['approvals', 'audit_id'],
  ['approvals', 'decided_audit_id'],
  ['approvals', 'escalated_audit_id'],
  ['approval_votes', 'audit_id'],
  ['policy_drafts', 'audit_id'],
  ['tool_call_leases', 'audit_id'],
  ['approval_grants', 'audit_id'],
  ['approval_grants', 'revoked_audit_id'],
  ['firewall_configs', 'audit_id'],
  ['oauth_apps', 'audit_id'],
  ['oauth_connections', 'audit_id'],
  ['chat_links', 'audit_id'],
  ['data_holds', 'audit_id'],
  ['data_holds', 'released_audit_id'],
  ['data_erasures', 'audit_id'],
  ['audit_exports', 'audit_id'],
] as const;

interface Prunable {
  readonly partitions: readonly string[];
  /** The least id that would stay; undefined when nothing is old enough. */
  readonly upper: string | undefined;
  /** Why nothing may go; null when it may. */
  readonly because: string | null;
}

/** Whether what nobody has exported may go. */
type ExportRule = 'required' | 'none';

/** What is over its time, and what keeps it. Changes nothing. */
export async function pruneState(
  store: Store,
  olderThan: Date,
  rule: ExportRule,
): Promise<{ readonly entries: number; readonly because: string | null }> {
  const { upper, because } = await findPrunable(store, olderThan, rule);
  if (upper === undefined) return { entries: 0, because: null };
  const { rows } = await store.query<{ n: number }>('select count(*)::int as n from audit_log where audit_id < $1', [upper]);
  return { entries: rows[0]?.n ?? 0, because };
}

async function findPrunable(on: Queryable, olderThan: Date, rule: ExportRule): Promise<Prunable> {
  const bound = uuidAt(olderThan.getTime());
  const { rows } = await on.query<{ name: string; upper: string }>(
    `select c.relname as name, substring(pg_get_expr(c.relpartbound, c.oid) from 'TO \\(''([0-9a-f-]+)''\\)') as upper
     from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'audit_log'::regclass`,
  );
  const old = rows.filter(({ upper }) => upper !== null && upper <= bound).sort((a, b) => (a.upper < b.upper ? -1 : 1));
  const upper = old.at(-1)?.upper;
  const partitions = old.map(({ name }) => name);
  if (upper === undefined) return { partitions, upper, because: null };
  // up to the batch that is sealed, and the one that an export has read
  const { rows: state } = await on.query<{ unsealed: boolean; unexported: boolean; held: boolean }>(
    `with sealed as (select last_xid, last_id from audit_batches order by n desc limit 1),
       exported as (select b.last_xid, b.last_id from audit_batches b where b.n = (select max(last_batch) from audit_exports))
     select exists (select from audit_log a left join sealed b on true
         where a.audit_id < $1 and (b.last_xid is null or (a.xid, a.audit_id) > (b.last_xid, b.last_id))) as unsealed,
       exists (select from audit_log a left join exported b on true
         where a.audit_id < $1 and (b.last_xid is null or (a.xid, a.audit_id) > (b.last_xid, b.last_id))) as unexported,
       exists (select from data_holds where released_at is null) as held`,
    [upper],
  );
  const [found] = state;
  const because =
    found?.held === true
      ? 'a legal hold stands, and keeps the whole log'
      : found?.unsealed === true
        ? 'something of it is not sealed yet'
        : rule === 'required' && found?.unexported === true
          ? 'it was not exported: centaur audit export -o audit.jsonl'
          : null;
  return { partitions, upper, because };
}

/** That an export of the whole log was read to its end: what is in it may be dropped. */
export async function noteExport(store: Store, audit: AuditLog, actor: string, lastBatch: number): Promise<void> {
  await store.transaction(async (tx) => {
    const auditId = await audit.append(tx, { action: 'audit.export', actor, details: { last_batch: lastBatch } });
    await tx.query('insert into audit_exports (export_id, last_batch, audit_id) values (gen_random_uuid(), $1, $2)', [lastBatch, auditId]);
  });
}

/**
 * Drops the partitions whose entries are all older, and says so in the log. Their ids and leaves stay in the batches, so
 * the rest still verifies. Rows that live on refer to the new entry instead of the one of their creation.
 *
 * Only entries that are sealed go, and none while a legal hold stands: an export made before is the whole truth about them.
 *
 * @param rule `required`: nor such as no export has read to its end
 */
export async function pruneLog(store: Store, audit: AuditLog, olderThan: Date, rule: ExportRule = 'none'): Promise<readonly string[]> {
  try {
    return await store.transaction((tx) => dropOld(tx, audit, olderThan, rule));
  } catch (error) {
    // somebody reads the log, and whoever waits for them would be waited for by all who write: the next round does it
    if ((error as { code?: string }).code === LOCK_NOT_AVAILABLE) return [];
    throw error;
  }
}

const LOCK_NOT_AVAILABLE = '55P03';

async function dropOld(tx: Queryable, audit: AuditLog, olderThan: Date, rule: ExportRule): Promise<readonly string[]> {
  await tx.query(`set local lock_timeout = '200ms'`);
  await tx.query('select pg_advisory_xact_lock(7226011)');
  await tx.query('select lock_holds()');
  const { partitions, upper, because } = await findPrunable(tx, olderThan, rule);
  if (upper === undefined || because !== null) return [];
  const auditId = await audit.append(tx, {
    action: 'audit.prune',
    actor: 'system',
    details: { before: upper, partitions },
  });
  for (const [table, column] of REFERENCES) await tx.query(`update ${table} set ${column} = $1 where ${column} < $2`, [auditId, upper]);
  for (const name of partitions) {
    await tx.query(`alter table audit_log detach partition ${name}`);
    await tx.query(`drop table ${name}`);
  }
  return partitions;
}

/**
 * Refuses `truncate` of the partitions too: what keeps the log from being truncated does not pass to them by itself, unlike
 * what keeps its rows. To be called whenever partitions were made.
 */
export async function protectPartitions(store: Store): Promise<void> {
  const { rows } = await store.query<{ name: string }>(
    `select c.oid::regclass::text as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
     where i.inhparent = 'audit_log'::regclass and not exists (select from pg_trigger t where t.tgrelid = c.oid and t.tgname = 'audit_log_keep')`,
  );
  for (const { name } of rows)
    await store.query(
      `create or replace trigger audit_log_keep before truncate on ${name} for each statement execute function audit_refuse_change()`,
    );
}

/** Wraps and unwraps keys: the vault's master key. */
export interface KeyWrap {
  readonly id: string;
  wrap(key: Buffer): Promise<Buffer>;
  unwrap(wrapped: Buffer, kekId: string): Promise<Buffer>;
}

/** Seals what is private of a subject under the subject's own key, for `AuditEntry.private`. */
export async function sealPrivate(
  tx: Queryable,
  keys: KeyWrap,
  subject: string,
  data: unknown,
): Promise<{ readonly subject: string; readonly sealed: string }> {
  let key = await subjectKey(tx, keys, subject);
  if (key === 'none') {
    await tx.query('insert into audit_subjects (subject, wrapped_key, kek_id) values ($1, $2, $3) on conflict (subject) do nothing', [
      subject,
      await keys.wrap(randomBytes(32)),
      keys.id,
    ]);
    key = await subjectKey(tx, keys, subject);
  }
  if (typeof key === 'string') throw new Error(`audit: what is private of ${subject} was erased; nothing new is kept of it`);
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(Buffer.from(subject));
  const sealed = Buffer.concat([nonce, cipher.update(JSON.stringify(data), 'utf8'), cipher.final(), cipher.getAuthTag()]);
  return { subject, sealed: sealed.toString('base64') };
}

/** Undefined once it was erased. */
export async function openPrivate(
  on: Queryable,
  keys: KeyWrap,
  { subject, sealed }: { readonly subject: string; readonly sealed: string },
): Promise<unknown> {
  const key = await subjectKey(on, keys, subject);
  if (typeof key === 'string') return undefined;
  const bytes = Buffer.from(sealed, 'base64');
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12));
  decipher.setAAD(Buffer.from(subject));
  decipher.setAuthTag(bytes.subarray(-16));
  return JSON.parse(Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()]).toString('utf8')) as unknown;
}

/** Destroys the key: what was private of the subject can be read by nobody any more. The entries stay, and verify. */
export async function erasePrivate(tx: Queryable, audit: AuditLog, actor: string, subject: string): Promise<boolean> {
  const { rowCount } = await tx.query(
    'update audit_subjects set wrapped_key = null, erased_at = now() where subject = $1 and erased_at is null',
    [subject],
  );
  if (rowCount === 0) return false;
  await audit.append(tx, { action: 'audit.erase', actor, resource: `subject:${subject}` });
  return true;
}

async function subjectKey(on: Queryable, keys: KeyWrap, subject: string): Promise<Buffer | 'none' | 'erased'> {
  const { rows } = await on.query<{ wrapped_key: Buffer | null; kek_id: string }>(
    'select wrapped_key, kek_id from audit_subjects where subject = $1',
    [subject],
  );
  const [row] = rows;
  if (row === undefined) return 'none';
  return row.wrapped_key === null ? 'erased' : keys.unwrap(row.wrapped_key, row.kek_id);
}
