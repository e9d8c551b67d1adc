/** Versions: every text that was ever in force stays, with who published it and the audit entry that says so. */
import type { Queryable } from '../store/index.ts';
import { compilePolicy, digestOf, type PolicySchemas } from './compile.ts';
import type { Problem } from './document.ts';
import { PolicyError } from './errors.ts';
import type { Parts } from './parts.ts';
import { askToPublish, NeedsApproval, usePublishApproval } from './publish-gate.ts';

export interface PolicyVersion {
  readonly version: number;
  /** SHA-256 of the text, in hex. */
  readonly digest: string;
  readonly author: string;
  readonly message: string | null;
  readonly state: 'active' | 'shadow' | 'retired';
  readonly created_at: string;
  readonly activated_at: string | null;
}

export interface Publication {
  readonly text: string;
  readonly message?: string | undefined;
  /** Who wrote it, where that is not who publishes it. */
  readonly author?: string | undefined;
  readonly schemas?: PolicySchemas | undefined;
}

/**
 * In force at once, in place of the version before, unless that one asks a person first. Warnings are for the author; an error
 * refuses it.
 *
 * @throws PolicyError INVALID_POLICY with the problems; APPROVAL_REQUIRED, APPROVAL_DENIED, APPROVAL_BY_AUTHOR
 */
export async function publishPolicy(
  parts: Parts,
  actor: string,
  publication: Publication,
): Promise<PolicyVersion & { readonly problems: readonly Problem[] }> {
  const problems = refuseErrors(publication);
  return { ...(await insertVersion(parts, actor, 'active', 'policy.publish', publication)), problems };
}

/** To be evaluated and recorded beside the active version, in place of the one that was. @throws PolicyError INVALID_POLICY */
export async function shadowPolicy(
  parts: Parts,
  actor: string,
  publication: Publication,
): Promise<PolicyVersion & { readonly problems: readonly Problem[] }> {
  const problems = refuseErrors(publication);
  return { ...(await insertVersion(parts, actor, 'shadow', 'policy.shadow', publication)), problems };
}

/** Ends the shadow. False when there was none. */
export async function endShadow({ store, audit }: Parts, actor: string): Promise<boolean> {
  return store.transaction(async (tx) => {
    await lockVersions(tx);
    const { rows } = await tx.query<{ version: number }>(
      `update policy_versions set state = 'retired' where state = 'shadow' returning version`,
    );
    const [ended] = rows;
    if (ended === undefined) return false;
    await audit.append(tx, { action: 'policy.shadow_end', actor, resource: 'policy', details: { version: ended.version } });
    await tx.query(`select pg_notify('centaur_firewall', '')`);
    return true;
  });
}

/**
 * Publishes the text of an earlier version again, as a new one, so that the order of versions is the order in which they
 * held.
 *
 * @throws PolicyError POLICY_NOT_FOUND, INVALID_POLICY when it does not compile any more, and as `publishPolicy`
 */
export async function rollbackPolicy(parts: Parts, actor: string, version: number, schemas?: PolicySchemas): Promise<PolicyVersion> {
  const { text } = await getVersion(parts.store, version);
  const publication = { text, message: `version ${version} again`, schemas };
  refuseErrors(publication);
  return insertVersion(parts, actor, 'active', 'policy.rollback', publication);
}

/** Newest first. */
export async function listVersions(store: Queryable, limit = 50): Promise<readonly PolicyVersion[]> {
  const { rows } = await store.query<Row>(`select ${COLUMNS} from policy_versions order by version desc limit $1`, [limit]);
  return rows.map(toView);
}

/** @throws PolicyError POLICY_NOT_FOUND */
export async function getVersion(store: Queryable, version: number): Promise<PolicyVersion & { readonly text: string }> {
  const { rows } = await store.query<Row & { source: string }>(`select ${COLUMNS}, source from policy_versions where version = $1`, [
    version,
  ]);
  const [row] = rows;
  if (row === undefined) throw new PolicyError('POLICY_NOT_FOUND', `there is no version ${version} of the policy`);
  return { ...toView(row), text: row.source };
}

function refuseErrors({ text, schemas }: Publication): readonly Problem[] {
  const { policy, problems } = compilePolicy(text, schemas);
  if (policy !== undefined) return problems;
  const errors = problems.filter(({ level }) => level === 'error');
  const [first] = errors;
  const where = first?.line === undefined ? '' : `line ${first.line}: `;
  const more = errors.length === 1 ? '' : `, and ${errors.length - 1} more`;
  throw new PolicyError('INVALID_POLICY', `${where}${first?.message}${more}`, problems);
}

type Action = 'policy.publish' | 'policy.rollback' | 'policy.shadow';

async function insertVersion(
  parts: Parts,
  actor: string,
  state: 'active' | 'shadow',
  action: Action,
  publication: Publication,
): Promise<PolicyVersion> {
  try {
    return await insertApproved(parts, actor, state, action, publication);
  } catch (error) {
    if (!(error instanceof NeedsApproval) || action === 'policy.shadow') throw error;
    const { text, message, author } = publication;
    return askToPublish(parts, actor, { text, action, message, author }, error.wanted);
  }
}

async function insertApproved(
  { store, audit }: Parts,
  actor: string,
  state: 'active' | 'shadow',
  action: Action,
  { text, message, author }: Publication,
): Promise<PolicyVersion> {
  const digest = digestOf(text);
  return store.transaction(async (tx) => {
    await lockVersions(tx);
    // what is in shadow has no effect, so nobody is asked
    const approvalId = action === 'policy.shadow' ? undefined : await usePublishApproval(tx, actor, { text, action, message, author });
    const { rows: next } = await tx.query<{ version: number }>(
      `select nextval(pg_get_serial_sequence('policy_versions', 'version')) as version`,
    );
    const version = next[0]?.version as number;
    const auditId = await audit.append(tx, {
      action,
      actor,
      resource: 'policy',
      details: {
        version,
        digest: digest.toString('hex'),
        ...(message === undefined ? {} : { message }),
        ...(author === undefined ? {} : { author }),
        ...(approvalId === undefined ? {} : { approval_id: approvalId }),
      },
    });
    await tx.query(`update policy_versions set state = 'retired' where state = $1`, [state]);
    const { rows } = await tx.query<Row>(
      `insert into policy_versions (version, digest, source, author, message, state, activated_at, audit_id) overriding system value
       values ($1, $2, $3, $4, $5, $6, case when $6 = 'active' then now() end, $7) returning ${COLUMNS}`,
      [version, digest, text, actor, message ?? null, state, auditId],
    );
    await tx.query(`select pg_notify('centaur_firewall', '')`);
    return toView(rows[0] as Row);
  });
}

/** One publisher at a time; readers go on. */
async function lockVersions(tx: Queryable): Promise<void> {
  await tx.query('lock table policy_versions in share row exclusive mode');
}

const COLUMNS = 'version, digest, author, message, state, created_at, activated_at';

interface Row {
  readonly version: number;
  readonly digest: Buffer;
  readonly author: string;
  readonly message: string | null;
  readonly state: PolicyVersion['state'];
  readonly created_at: number;
  readonly activated_at: number | null;
}

function toView(row: Row): PolicyVersion {
  return {
    version: row.version,
    digest: row.digest.toString('hex'),
    author: row.author,
    message: row.message,
    state: row.state,
    created_at: new Date(row.created_at).toISOString(),
    activated_at: row.activated_at === null ? null : new Date(row.activated_at).toISOString(),
  };
}
