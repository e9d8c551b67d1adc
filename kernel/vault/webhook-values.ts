/**
 * The values with which the API verifies what providers send here. Of all secrets, those of type `webhook` alone are opened
 * outside the firewall: they are sent nowhere, so nothing could put one in the place of a placeholder.
 */
import type { Store } from '../store/index.ts';
import { descriptionKey, descriptionProblem, type DescriptionRow, readDescription } from './description.ts';
import { type MasterKey, open } from './envelope.ts';
import { VaultError } from './errors.ts';
import { aboutVersion, checkValue, GRACE_SECONDS } from './secrets.ts';
import { fetchValue } from './sources.ts';

export interface WebhookValue {
  readonly text: string;
  /** Milliseconds since 1970 on the database's clock: the end of its time of grace. The present value has none. */
  readonly until: number;
}

export interface WebhookSecret {
  /** The present one first, then those before it that still count. */
  readonly values: readonly WebhookValue[];
  /** How long a value counts after another has taken its place. */
  readonly graceSeconds: number;
  /** `sealed`: the database tells when it changes; `fetched`: nobody does. */
  readonly kept: 'sealed' | 'fetched';
}

interface Row extends DescriptionRow {
  readonly rotation: string | null;
  readonly version: number | null;
  readonly state: string | null;
  readonly grace_until: number | null;
  readonly ciphertext: Buffer | null;
  readonly wrapped_key: Buffer | null;
  readonly kek_id: string | null;
}

/**
 * Undefined when the vault has no secret of this name.
 *
 * @throws VaultError INVALID_SECRET for a secret of another type; SEAL_BROKEN, MASTER_KEY_UNKNOWN, SOURCE_FAILED
 */
export async function openWebhookSecret({ store, master, environment }: Parts, name: string): Promise<WebhookSecret | undefined> {
  const { rows } = await store.query<Row>(
    `select s.name, s.type, s.source, s.binding, s.options, s.mac, s.rotation,
       v.version, v.state, v.grace_until, v.ciphertext, v.wrapped_key, v.kek_id
     from secrets s left join secret_versions v on v.name = s.name and v.state in ('active', 'grace') and v.ciphertext is not null
     where s.name = $1 and s.removed_at is null order by v.version desc`,
    [name],
  );
  const [row] = rows;
  if (row === undefined) return undefined;
  const changed = descriptionProblem(await descriptionKey(store, master), row);
  if (changed !== undefined) throw changed;
  if (row.type !== 'webhook')
    throw new VaultError('INVALID_SECRET', `secret ${name} is of type ${row.type}: what verifies webhooks is of type webhook`);
  const { source } = readDescription(row);
  const graceSeconds = row.rotation === null ? GRACE_SECONDS : (JSON.parse(row.rotation) as { grace_seconds: number }).grace_seconds;
  if (source.type !== 'sealed') {
    const text = checkValue(await fetchValue(source, environment));
    return { values: [{ text, until: Number.POSITIVE_INFINITY }], graceSeconds, kept: 'fetched' };
  }
  const values = await Promise.all(rows.filter(({ ciphertext }) => ciphertext !== null).map((each) => openVersion(master, name, each)));
  if (values.length === 0) throw new VaultError('SOURCE_FAILED', `secret ${name} has no value`);
  return { values, graceSeconds, kept: 'sealed' };
}

interface Parts {
  readonly store: Store;
  readonly master: MasterKey;
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined;
}

async function openVersion(master: MasterKey, name: string, row: Row): Promise<WebhookValue> {
  const sealed = { ciphertext: row.ciphertext as Buffer, wrappedKey: row.wrapped_key as Buffer, kekId: row.kek_id as string };
  const text = (await open(master, sealed, aboutVersion(name, row.version as number))).toString('utf8');
  return { text, until: row.state === 'active' ? Number.POSITIVE_INFINITY : (row.grace_until ?? 0) };
}
