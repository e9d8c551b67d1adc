/** Secrets: what they are for, and their sealed versions. Values go in here and come out only in `values.ts`. */
import { type AuditLog } from '../audit/index.ts';
import type { Queryable, Store } from '../store/index.ts';
import { type Binding, type BindingRequest, formatHostPattern, parseBinding } from './binding.ts';
import { type Description, descriptionKey, descriptionProblem, type DescriptionRow, macOfDescription } from './description.ts';
import { type MasterKey, seal } from './envelope.ts';
import { VaultError } from './errors.ts';
import { PLAIN_SHAPE, shapeOf } from './placeholders.ts';
import {
  driverOf,
  newUse,
  parseGenerate,
  parseRotation,
  type Rotation,
  type RotationDriver,
  type RotationRequest,
} from './rotation/declared.ts';
import { LAST_ROTATION, type RotationView, type RotationViewRow, toRotationView } from './rotation/view.ts';
import { parseSource, type Source } from './sources.ts';

/**
 * `http`: the value itself is sent. The others are made from it on the way: see the firewall's minters and signers. Only
 * `webhook` is never sent: the API verifies with it what providers send here.
 */
export const SECRET_TYPES = ['http', 'oauth_token', 'gcp_auth', 'brokered_token', 'pg_dsn', 'aws_sigv4', 'hmac', 'webhook'] as const;
export type SecretType = (typeof SECRET_TYPES)[number];

export interface SecretRequest extends Omit<BindingRequest, 'hosts'> {
  /** Of every type but `webhook`, which goes nowhere. */
  readonly hosts?: readonly string[] | undefined;
  readonly value?: string | undefined;
  readonly source?: unknown;
  readonly type?: SecretType | undefined;
  /** What the type needs besides: the token endpoint, the region. */
  readonly options?: Readonly<Record<string, unknown>> | undefined;
  readonly rotation?: RotationRequest | undefined;
}

export interface SecretView {
  readonly name: string;
  readonly type: SecretType;
  readonly source: Source;
  readonly hosts: readonly string[];
  readonly methods: readonly string[];
  readonly paths: readonly string[];
  readonly places: Binding['places'];
  readonly inject: Binding['inject'] | null;
  readonly options: Readonly<Record<string, unknown>>;
  readonly rotation: (Rotation & { readonly driver: RotationDriver }) | null;
  readonly version: number | null;
  readonly rotation_due_at: string | null;
  readonly last_rotation: RotationView | null;
  readonly created_at: string;
  readonly updated_at: string;
}

export const GRACE_SECONDS = 3600;
export const VALUE_MOST = 32 * 1024;
/** Shorter values cannot be told from other text in an answer. */
const VALUE_LEAST = 12;

export function aboutVersion(name: string, version: number): string {
  return `secret ${name} version ${version}`;
}

/** Makes a secret, or describes it anew; a value given becomes its next version. */
export async function putSecret(parts: SecretParts, actor: string, name: string, request: SecretRequest): Promise<SecretView> {
  const write = await prepareSecret(parts, name, request);
  await parts.store.transaction((tx) => write(tx, actor));
  return getSecret(parts.store, name);
}

interface SecretParts {
  readonly store: Store;
  readonly audit: AuditLog;
  readonly master: MasterKey;
}

/** Checks all of it that can be checked without a lock. What it answers writes it, in a transaction of the caller's. */
export async function prepareSecret(
  { store, audit, master }: SecretParts,
  name: string,
  request: SecretRequest,
): Promise<(tx: Queryable, actor: string) => Promise<void>> {
  checkName(name);
  const type = request.type ?? 'http';
  const binding = type === 'webhook' ? bindingOfWebhook(request) : parseBinding({ ...request, hosts: request.hosts ?? [] });
  const source = request.source === undefined ? ({ type: 'sealed' } as const) : parseSource(request.source);
  if (request.value !== undefined && source.type !== 'sealed')
    throw new VaultError('INVALID_SECRET', 'value: a secret has a value or a source, not both');
  const value = request.value === undefined ? undefined : checkValue(request.value);
  const options = request.options ?? {};
  parseGenerate(options);
  parseRotates(options);
  const described = { type, isSealed: source.type === 'sealed', options };
  const rotation = request.rotation === undefined ? null : parseRotation(request.rotation, GRACE_SECONDS, described);
  const key = await descriptionKey(store, master);
  if (key === undefined) throw new VaultError('SEAL_BROKEN', 'the installation has no keys: open it first');
  const mac = macOfDescription(key, { name, type, source, binding, options, ...(rotation?.driver === undefined ? {} : { rotation }) });
  return async (tx, actor) => {
    const { rows } = await tx.query<DescriptionRow & { removed: boolean; versions: number; sealed: boolean }>(
      `select s.name, s.removed_at is not null as removed, s.source ->> 'type' = 'sealed' as sealed, s.type, s.source, s.binding, s.options, s.rotation, s.mac,
         (select count(*)::int from secret_versions v where v.name = s.name) as versions
       from secrets s where s.name = $1 for update of s`,
      [name],
    );
    const [known] = rows;
    const keeps = known !== undefined && !known.removed && known.sealed && known.versions > 0;
    if (source.type === 'sealed' && value === undefined && !keeps)
      throw new VaultError('INVALID_SECRET', 'value: a secret needs a value, or a source to fetch it from');
    if (keeps && value === undefined && source.type === 'sealed') {
      // else a place that was written into the row would count as one that the value was given for
      const changed = descriptionProblem(key, known);
      if (changed !== undefined) throw changed;
      refuseNewPlaces(known, { type, binding, options, rotation });
    }
    const shape = value === undefined ? PLAIN_SHAPE : shapeOf(value);
    const auditId = await audit.append(tx, {
      action: known === undefined || known.removed ? 'secret.create' : 'secret.update',
      actor,
      resource: `secret:${name}`,
      details: { type, source, hosts: request.hosts ?? [], methods: binding.methods, paths: binding.paths, new_value: value !== undefined },
    });
    await tx.query(
      `insert into secrets as s (name, type, source, binding, shape, options, rotation, audit_id, mac) values ($1, $2, $3, $4, $5, $6, $7, $8, $10)
       on conflict (name) do update set type = excluded.type, source = excluded.source, binding = excluded.binding,
         shape = case when $9 then excluded.shape else s.shape end, options = excluded.options, rotation = excluded.rotation, updated_at = now(),
         removed_at = null, audit_id = excluded.audit_id, mac = excluded.mac`,
      [
        name,
        type,
        JSON.stringify(source),
        JSON.stringify(binding),
        JSON.stringify(shape),
        JSON.stringify(options),
        rotation === null ? null : JSON.stringify(rotation),
        auditId,
        value !== undefined || source.type !== 'sealed',
        mac,
      ],
    );
    if (value !== undefined) await addVersion(tx, master, name, value, rotation?.grace_seconds ?? GRACE_SECONDS);
    // what was sealed here before it came from a source is used by nobody any more
    if (source.type !== 'sealed') await destroyVersions(tx, name);
    await tellFirewalls(tx);
  };
}

const PLACE_FIELDS = ['hosts', 'methods', 'paths', 'match_headers', 'match_query', 'match_path', 'match_body', 'inject'] as const;

/** What verifies webhooks is for no host and no place: so the firewall finds nowhere to put it, whoever asks. */
function bindingOfWebhook(request: SecretRequest): Binding {
  const given = PLACE_FIELDS.find((field) => request[field] !== undefined && (field !== 'hosts' || request.hosts?.length !== 0));
  if (given !== undefined) throw new VaultError('INVALID_SECRET', `${given}: a secret of type webhook is sent nowhere, so it has none`);
  return { hosts: [], methods: [], paths: [], places: { headers: [], query: [], path: false, body: false } };
}

/**
 * Whoever may describe a secret need not know it. So its value goes to no place that it was not given for: a new host asks
 * for the value again.
 */
function refuseNewPlaces(
  known: Pick<DescriptionRow, 'type' | 'binding' | 'options' | 'rotation'>,
  next: Pick<Description, 'type' | 'binding' | 'options'> & { readonly rotation: Rotation | null },
): void {
  const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);
  const before = (JSON.parse(known.binding) as Binding).hosts;
  const added = next.binding.hosts.find((host) => !before.some((each) => same(each, host)));
  if (added !== undefined)
    throw new VaultError('INVALID_SECRET', `value: ${added.host} is a new place for this secret; give its value again`);
  const options = JSON.parse(known.options) as Record<string, unknown>;
  const moved = ['token_url', 'revoke_url', 'connection', 'rotates'].find((option) => !same(options[option], next.options[option]));
  if (known.type !== next.type || moved !== undefined)
    throw new VaultError(
      'INVALID_SECRET',
      `value: its ${moved === undefined ? 'type' : `option ${moved}`} is another one; give its value again`,
    );
  const use = newUse(known.rotation, next.rotation);
  if (use !== undefined) throw new VaultError('INVALID_SECRET', `value: ${use} is another one; give its value again`);
}

/** Of a secret whose rights give others their values: names of those. Default: none. */
function parseRotates({ rotates }: Readonly<Record<string, unknown>>): void {
  if (rotates === undefined) return;
  if (!Array.isArray(rotates) || rotates.length > 100 || rotates.some((name) => typeof name !== 'string'))
    throw new VaultError('INVALID_SECRET', 'options.rotates: expected a list of up to 100 names of secrets');
}

/** A new value; the one before is still recognised, and still blanked in answers, for the time of grace. */
export async function rotateSecret(
  { store, audit, master }: { readonly store: Store; readonly audit: AuditLog; readonly master: MasterKey },
  actor: string,
  name: string,
  value: string,
  graceSeconds?: number,
): Promise<SecretView> {
  await store.transaction((tx) => rotateSecretIn(tx, { audit, master }, actor, name, value, { graceSeconds }));
  return getSecret(store, name);
}

/** A value that was exchanged for another one: as `HeldSecret` tells it from others, and whose account it is of. */
export interface Exchanged {
  readonly version: string;
  readonly connection: string | undefined;
}

/**
 * @param exchanged only this value is replaced: what somebody has set, removed or connected anew since is not overwritten
 * @returns the version that it has now; undefined when `exchanged` is not the present one any more, and nothing was stored
 */
export async function rotateSecretIn(
  tx: Queryable,
  { audit, master }: Pick<SecretParts, 'audit' | 'master'>,
  actor: string,
  name: string,
  value: string,
  { graceSeconds, exchanged }: { readonly graceSeconds?: number | undefined; readonly exchanged?: Exchanged } = {},
): Promise<string | undefined> {
  checkValue(value);
  const { rows } = await tx.query<{ source: string; rotation: string | null; connection: string | null }>(
    `select source, rotation, options ->> 'connection' as connection from secrets where name = $1 and removed_at is null for update`,
    [name],
  );
  const [row] = rows;
  if (row === undefined && exchanged !== undefined) return undefined;
  if (row === undefined) throw notFound(name);
  if ((JSON.parse(row.source) as Source).type !== 'sealed')
    throw new VaultError('INVALID_SECRET', `${name} comes from a source: change it there, and it is fetched anew`);
  if (exchanged !== undefined) {
    // by a statement of its own, under the lock of the row: numbers are used once, also by a secret that was removed and set again
    const { rows: active } = await tx.query<{ version: string }>(
      `select 'v' || version as version from secret_versions where name = $1 and state = 'active'`,
      [name],
    );
    if (active[0]?.version !== exchanged.version || row.connection !== (exchanged.connection ?? null)) return undefined;
  }
  const rotation = row.rotation === null ? null : (JSON.parse(row.rotation) as { grace_seconds: number });
  const grace = graceSeconds ?? rotation?.grace_seconds ?? GRACE_SECONDS;
  await audit.append(tx, { action: 'secret.rotate', actor, resource: `secret:${name}`, details: { grace_seconds: grace } });
  const version = await addVersion(tx, master, name, value, grace);
  await tx.query('update secrets set updated_at = now() where name = $1', [name]);
  await tellFirewalls(tx);
  return version;
}

/**
 * @param at when it begins; the database's time when nothing is said
 * @returns the version, as `HeldSecret` tells it from others
 */
export async function addVersion(
  tx: Queryable,
  master: MasterKey,
  name: string,
  value: string,
  graceSeconds: number,
  at: Date | null = null,
): Promise<string> {
  const { rows } = await tx.query<{ version: number }>(
    'select coalesce(max(version), 0)::int + 1 as version from secret_versions where name = $1',
    [name],
  );
  const version = rows[0]?.version as number;
  const sealed = await seal(master, Buffer.from(value, 'utf8'), aboutVersion(name, version));
  await tx.query(
    `update secret_versions set state = 'grace', grace_until = coalesce($3::timestamptz, now()) + make_interval(secs => $2)
     where name = $1 and state = 'active'`,
    [name, graceSeconds, at],
  );
  await tx.query(
    `insert into secret_versions (name, version, state, ciphertext, wrapped_key, kek_id, created_at)
     values ($1, $2, 'active', $3, $4, $5, coalesce($6::timestamptz, now()))`,
    [name, version, sealed.ciphertext, sealed.wrappedKey, sealed.kekId, at],
  );
  return `v${version}`;
}

async function destroyVersions(tx: Queryable, name: string): Promise<void> {
  await tx.query(`update secret_versions set state = 'retired', ciphertext = null, wrapped_key = null where name = $1`, [name]);
}

/** Destroys the sealed values, and ends every lease that holds the secret. */
export async function removeSecret(
  { store, audit }: { readonly store: Store; readonly audit: AuditLog },
  actor: string,
  name: string,
): Promise<void> {
  await store.transaction((tx) => removeSecretIn(tx, audit, actor, name));
}

export async function removeSecretIn(tx: Queryable, audit: AuditLog, actor: string, name: string): Promise<void> {
  const { rowCount } = await tx.query('update secrets set removed_at = now() where name = $1 and removed_at is null', [name]);
  if (rowCount === 0) throw notFound(name);
  const auditId = await audit.append(tx, { action: 'secret.remove', actor, resource: `secret:${name}` });
  await tx.query('update secrets set audit_id = $2 where name = $1', [name, auditId]);
  await destroyVersions(tx, name);
  await tx.query('update grants set revoked_at = now(), revoked_audit_id = $2 where secret = $1 and revoked_at is null', [name, auditId]);
  await tx.query(
    `update leases l set revoked_at = now() from lease_secrets s where s.secret = $1 and l.lease_id = s.lease_id and l.revoked_at is null`,
    [name],
  );
  await tellFirewalls(tx);
}

/** Destroys versions whose grace is over, but for those that a rotation has to revoke with them yet. Answers how many. */
export async function retireVersions(store: Store, now: Date | null = null): Promise<number> {
  const { rowCount } = await store.query(
    `update secret_versions v set state = 'retired', ciphertext = null, wrapped_key = null
     where state = 'grace' and grace_until <= coalesce($1::timestamptz, now())
       and not exists (select 1 from secret_rotations r where r.name = v.name and r.from_version = v.version and r.state = 'active')`,
    [now],
  );
  return rowCount;
}

const VIEW = `select s.name, s.type, s.source, s.binding, s.options, s.rotation, v.version, s.created_at, s.updated_at, v.created_at as version_at,
    row_to_json(r) as last_rotation
  from secrets s left join secret_versions v on v.name = s.name and v.state = 'active' left join lateral (${LAST_ROTATION}) r on true`;

interface ViewRow {
  readonly name: string;
  readonly type: SecretType;
  readonly source: string;
  readonly binding: string;
  readonly options: string;
  readonly rotation: string | null;
  readonly version: number | null;
  readonly version_at: number | null;
  readonly created_at: number;
  readonly updated_at: number;
  readonly last_rotation: string | null;
}

export async function getSecret(store: Store, name: string): Promise<SecretView> {
  const { rows } = await store.query<ViewRow>(`${VIEW} where s.name = $1 and s.removed_at is null`, [name]);
  if (rows[0] === undefined) throw notFound(name);
  return toView(rows[0]);
}

export async function listSecrets(store: Store): Promise<readonly SecretView[]> {
  const { rows } = await store.query<ViewRow>(`${VIEW} where s.removed_at is null order by s.name`);
  return rows.map(toView);
}

function toView(row: ViewRow): SecretView {
  const binding = JSON.parse(row.binding) as Binding;
  const source = JSON.parse(row.source) as Source;
  const options = JSON.parse(row.options) as Record<string, unknown>;
  const rotation = row.rotation === null ? null : (JSON.parse(row.rotation) as Rotation);
  const isSealed = source.type === 'sealed';
  return {
    name: row.name,
    type: row.type,
    source,
    hosts: binding.hosts.map(formatHostPattern),
    methods: binding.methods,
    paths: binding.paths,
    places: binding.places,
    inject: binding.inject ?? null,
    options,
    rotation: rotation && { ...rotation, driver: driverOf(rotation, { isSealed, options }) },
    version: row.version,
    rotation_due_at:
      rotation === null || row.version_at === null ? null : new Date(row.version_at + rotation.every_seconds * 1000).toISOString(),
    last_rotation: row.last_rotation === null ? null : toRotationView(JSON.parse(row.last_rotation) as RotationViewRow),
    created_at: new Date(row.created_at).toISOString(),
    updated_at: new Date(row.updated_at).toISOString(),
  };
}

/** @throws VaultError INVALID_SECRET for what could break out of a header, or could not be found in an answer */
export function checkValue(value: string): string {
  if (value.length > VALUE_MOST) throw new VaultError('INVALID_SECRET', `value: ${VALUE_MOST} characters are the most`);
  if (Buffer.byteLength(value) < VALUE_LEAST)
    throw new VaultError(
      'INVALID_SECRET',
      `value: ${VALUE_LEAST} characters are the least; a shorter one could not be told from other text when answers are scanned for it`,
    );
  if (value.trim() !== value)
    throw new VaultError('INVALID_SECRET', 'value: it begins or ends with white space; pasted with a line break?');
  // a service account or a private key is JSON or PEM, which has line breaks: the firewall refuses to make a header of it
  const isDocument = /^(?:\{[\s\S]*\}|-----BEGIN [\s\S]*-----)$/.test(value);
  if (value.includes('\0') || (!isDocument && /[\r\n]/.test(value)))
    throw new VaultError('INVALID_SECRET', 'value: it has a line break or a zero byte in it, which no header may carry');
  return value;
}

export function checkName(name: string): void {
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(name))
    throw new VaultError(
      'INVALID_SECRET',
      'name: expected letters, digits and "_", such as STRIPE_API_KEY: it becomes a variable of the environment',
    );
}

function notFound(name: string): VaultError {
  return new VaultError('SECRET_NOT_FOUND', `there is no secret ${JSON.stringify(name)}`);
}

/** Firewalls read again what they hold in memory. */
export async function tellFirewalls(tx: Queryable): Promise<void> {
  await tx.query(`select pg_notify('centaur_firewall', '')`);
}
