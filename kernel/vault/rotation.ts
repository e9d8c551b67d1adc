/**
 * Rotation on a schedule. A secret that says what its values are made of (`options.generate`) gets a new one; of the others
 * the log says that their time has come, once for each time, so that somebody does it.
 */
import type { AuditLog } from '../audit/index.ts';
import type { Queryable, Store } from '../store/index.ts';
import type { MasterKey } from './envelope.ts';
import { makePlaceholder } from './placeholders.ts';
import { addVersion, parseGenerate, retireVersions, tellFirewalls } from './secrets.ts';

export interface RotationReport {
  /** Names of secrets that have a new value. */
  readonly rotated: readonly string[];
  /** Names of secrets that somebody has to rotate. */
  readonly reminded: readonly string[];
  /** Versions whose grace was over. */
  readonly retired: number;
  /** They are tried again the next time. */
  readonly failed: readonly { readonly name: string; readonly error: string }[];
}

interface Parts {
  readonly store: Store;
  readonly audit: AuditLog;
  readonly master: MasterKey;
}

/** Any process may call this as often as it likes: each secret is rotated, or its rotation called for, once. */
export async function rotateDue({ store, audit, master }: Parts, now: Date): Promise<RotationReport> {
  const done = { rotated: [] as string[], reminded: [] as string[] };
  const failed: { name: string; error: string }[] = [];
  const { rows: due } = await store.query<{ name: string }>(`${DUE} order by s.name`, [now, null]);
  for (const { name } of due) {
    try {
      const what = await store.transaction((tx) => rotateOne(tx, { audit, master }, name, now));
      if (what !== undefined) done[what].push(name);
    } catch (error) {
      // one that fails, because its key service is away, holds up none of the others
      failed.push({ name, error: (error as Error).message });
    }
  }
  const retired = await retireVersions(store, now);
  // what is over is forgotten in memory, too
  if (retired > 0) await tellFirewalls(store);
  return { ...done, retired, failed };
}

/** Due: `every_seconds` after the value was made, or after the last reminder. */
const DUE = `select s.name, s.options, s.rotation, s.source ->> 'type' = 'sealed' as sealed
  from secrets s left join secret_versions v on v.name = s.name and v.state = 'active'
  where s.rotation is not null and s.removed_at is null and ($2::text is null or s.name = $2)
    and greatest(coalesce(v.created_at, s.created_at), s.reminded_at) + make_interval(secs => (s.rotation ->> 'every_seconds')::float8)
      <= $1::timestamptz`;

async function rotateOne(
  tx: Queryable,
  { audit, master }: Pick<Parts, 'audit' | 'master'>,
  name: string,
  now: Date,
): Promise<'rotated' | 'reminded' | undefined> {
  // locked by a statement of its own: the next one then sees what another process did until it let go
  const { rowCount } = await tx.query('select 1 from secrets where name = $1 for no key update skip locked', [name]);
  if (rowCount === 0) return undefined;
  const { rows } = await tx.query<{ options: string; rotation: string; sealed: boolean }>(DUE, [now, name]);
  const [row] = rows;
  if (row === undefined) return undefined;
  const resource = `secret:${name}`;
  const rotation = JSON.parse(row.rotation) as { every_seconds: number; grace_seconds: number };
  const shape = row.sealed ? parseGenerate(JSON.parse(row.options) as Record<string, unknown>) : undefined;
  if (shape === undefined) {
    await audit.append(tx, {
      action: 'secret.rotation_due',
      actor: 'system',
      resource,
      details: { every_seconds: rotation.every_seconds },
    });
    await tx.query('update secrets set reminded_at = $2 where name = $1', [name, now]);
    return 'reminded';
  }
  await audit.append(tx, {
    action: 'secret.rotate',
    actor: 'system',
    resource,
    details: { grace_seconds: rotation.grace_seconds, scheduled: true },
  });
  // as random as a placeholder, and made the same way
  await addVersion(tx, master, name, makePlaceholder(shape), rotation.grace_seconds, now);
  await tx.query('update secrets set updated_at = now() where name = $1', [name]);
  await tellFirewalls(tx);
  return 'rotated';
}
