/** Drafts: texts that somebody works on. They may have errors in them; nothing obeys them. */
import type { Queryable } from '../store/index.ts';
import { compilePolicy, digestOf } from './compile.ts';
import type { Problem } from './document.ts';
import { PolicyError } from './errors.ts';
import type { Parts } from './parts.ts';

export interface DraftView {
  readonly name: string;
  /** SHA-256 of the text, in hex. */
  readonly digest: string;
  /** Who saved it last. */
  readonly author: string;
  readonly message: string | null;
  readonly created_at: string;
  readonly updated_at: string;
}

const MOST_DRAFTS = 200;
const LONGEST_TEXT = 256 * 1024;

/** In place of the one with that name. What is wrong with it is told, and no reason to refuse it. @throws PolicyError INVALID_POLICY */
export async function saveDraft(
  { store, audit }: Parts,
  actor: string,
  { name, text, message }: { readonly name: string; readonly text: string; readonly message?: string | undefined },
): Promise<DraftView & { readonly problems: readonly Problem[] }> {
  if (text.length > LONGEST_TEXT) throw new PolicyError('INVALID_POLICY', `text: ${LONGEST_TEXT} characters are the most`);
  const digest = digestOf(text);
  const { problems } = compilePolicy(text);
  return store.transaction(async (tx) => {
    // one after the other, so that there are no more than so many
    await tx.query('lock table policy_drafts in share row exclusive mode');
    const { rows: counted } = await tx.query<{ others: number }>('select count(*) as others from policy_drafts where name <> $1', [name]);
    if ((counted[0]?.others ?? 0) >= MOST_DRAFTS) throw new PolicyError('INVALID_POLICY', `${MOST_DRAFTS} drafts are the most: remove one`);
    const auditId = await audit.append(tx, {
      action: 'policy.draft_save',
      actor,
      resource: `policy_draft:${name}`,
      details: { digest: digest.toString('hex') },
    });
    const { rows } = await tx.query<Row>(
      `insert into policy_drafts (name, source, digest, author, message, audit_id) values ($1, $2, $3, $4, $5, $6)
       on conflict (name) do update set source = excluded.source, digest = excluded.digest, author = excluded.author,
         message = excluded.message, audit_id = excluded.audit_id, updated_at = now()
       returning ${COLUMNS}`,
      [name, text, digest, actor, message ?? null, auditId],
    );
    return { ...toView(rows[0] as Row), problems };
  });
}

/** The last saved first. */
export async function listDrafts(store: Queryable): Promise<readonly DraftView[]> {
  const { rows } = await store.query<Row>(`select ${COLUMNS} from policy_drafts order by updated_at desc, name`);
  return rows.map(toView);
}

/** @throws PolicyError POLICY_NOT_FOUND */
export async function getDraft(store: Queryable, name: string): Promise<DraftView & { readonly text: string }> {
  const { rows } = await store.query<Row & { source: string }>(`select ${COLUMNS}, source from policy_drafts where name = $1`, [name]);
  if (rows[0] === undefined) throw notFound(name);
  return { ...toView(rows[0]), text: rows[0].source };
}

/** @throws PolicyError POLICY_NOT_FOUND */
export async function removeDraft({ store, audit }: Parts, actor: string, name: string): Promise<void> {
  await store.transaction(async (tx) => {
    const { rows } = await tx.query<{ digest: Buffer }>('delete from policy_drafts where name = $1 returning digest', [name]);
    if (rows[0] === undefined) throw notFound(name);
    const details = { digest: rows[0].digest.toString('hex') };
    await audit.append(tx, { action: 'policy.draft_remove', actor, resource: `policy_draft:${name}`, details });
  });
}

function notFound(name: string): PolicyError {
  return new PolicyError('POLICY_NOT_FOUND', `there is no draft ${JSON.stringify(name)} of the policy`);
}

const COLUMNS = 'name, digest, author, message, created_at, updated_at';

interface Row {
  readonly name: string;
  readonly digest: Buffer;
  readonly author: string;
  readonly message: string | null;
  readonly created_at: number;
  readonly updated_at: number;
}

function toView({ digest, created_at, updated_at, name, author, message }: Row): DraftView {
  const time = (ms: number) => new Date(ms).toISOString();
  return { name, digest: digest.toString('hex'), author, message, created_at: time(created_at), updated_at: time(updated_at) };
}
