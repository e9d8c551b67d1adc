/**
 * Values in memory: for the firewall; other processes know those that are sealed here, so that their logs have none in them. Every live secret is opened or fetched when the process starts and kept fresh
 * since: the leak scanner must know all of them, and a source that is away for a while must not stop the work.
 */
import type { Store, StoreLogEntry } from '../store/index.ts';
import { type Binding } from './binding.ts';
import { descriptionKey, descriptionProblem, type DescriptionRow, readDescription } from './description.ts';
import { type MasterKey, open } from './envelope.ts';
import { VaultError, whatFailed } from './errors.ts';
import { aboutVersion, checkValue, type SecretType } from './secrets.ts';
import { fetchValue, type Source } from './sources.ts';

export interface HeldSecret {
  readonly name: string;
  readonly type: SecretType;
  readonly binding: Binding;
  readonly options: Readonly<Record<string, unknown>>;
  /** Tells values apart without telling them: changes with each of them. */
  readonly version: string;
  readonly value: string;
  /** It is kept here, and not fetched from a source. */
  readonly isSealed: boolean;
}

type Described = Omit<HeldSecret, 'value' | 'version' | 'isSealed'>;

export interface Values {
  /** What is known of a secret without its value. @throws VaultError SECRET_NOT_FOUND, SEAL_BROKEN */
  describe(name: string): Described;
  /** @throws VaultError SECRET_NOT_FOUND, SOURCE_FAILED, SEAL_BROKEN when the row is not as the vault wrote it */
  get(name: string): HeldSecret;
  /** Every value that an answer might echo: present ones, those in their time of grace, and those that a rotation is about to put in place. */
  known(): readonly { readonly name: string; readonly value: string }[];
  /** Grows whenever `known` changes. */
  readonly revision: number;
  /** Reads what changed in the database. */
  refresh(): Promise<void>;
  close(): void;
}

/** How long a fetched value is believed. */
const SOURCE_MS = 60_000;
/** How long it is used on while its source does not answer. */
const STALE_MS = 3_600_000;

interface Row extends DescriptionRow {
  readonly version: number | null;
  readonly state: string | null;
  readonly grace_until: number | null;
  readonly ciphertext: Buffer | null;
  readonly wrapped_key: Buffer | null;
  readonly kek_id: string | null;
}

interface Entry {
  held: Described;
  readonly source: Source;
  value: { readonly text: string; readonly version: string; readonly at: number } | undefined;
  problem: VaultError | undefined;
  /** What it is for was changed by somebody else: nothing is told of it and nothing fetched, but its values are still looked for. */
  refused: VaultError | undefined;
  /** Earlier values, while they may still be echoed, and one that is to be the next; `until` as `performance.now` counts. */
  earlier: Earlier[];
  fetching: Promise<void> | undefined;
}

interface Earlier {
  readonly text: string;
  readonly until: number;
}

export interface ValuesOptions {
  readonly store: Store;
  readonly master: MasterKey;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  readonly log: (entry: StoreLogEntry) => void;
  /** `sealed`: nothing is fetched from elsewhere. Default `all`. */
  readonly sources?: 'all' | 'sealed';
  /** How long a fetched value is believed, ms. Default a minute. */
  readonly sourceMs?: number;
  /** How long it is used on while its source does not answer, ms. Default an hour. */
  readonly staleMs?: number;
}

export async function createValues(options: ValuesOptions): Promise<Values> {
  const { store, master, log } = options;
  const environment = options.environment ?? process.env;
  const sourceMs = options.sourceMs ?? SOURCE_MS;
  const entries = new Map<string, Entry>();
  const staleMs = options.staleMs ?? STALE_MS;
  const opened = new Map<string, string>();
  let key: Buffer | undefined;
  /** What a removed secret was may still be echoed by a service that learnt it before. */
  let removed: (Earlier & { readonly name: string })[] = [];
  let revision = 0;
  let reading: Promise<void> | undefined;
  const timer = setInterval(() => void refetch(), Math.max(100, sourceMs / 4));
  timer.unref();

  async function refresh(): Promise<void> {
    while (reading !== undefined) await reading.catch(() => undefined);
    reading = read().finally(() => (reading = undefined));
    await reading;
    // not inside: a source that hangs must not keep what changed in the database from being read
    await refetch();
  }

  async function read(): Promise<void> {
    key ??= await descriptionKey(store, master);
    const { rows } = await store.query<Row>(
      `select s.name, s.type, s.source, s.binding, s.options, s.rotation, s.mac, v.version, v.state, v.grace_until, v.ciphertext, v.wrapped_key, v.kek_id
       from secrets s left join secret_versions v on v.name = s.name and v.state in ('pending', 'active', 'grace') and v.ciphertext is not null
       where s.removed_at is null order by s.name, v.version desc`,
    );
    const names = new Set(rows.map((row) => row.name));
    for (const name of entries.keys()) if (!names.has(name)) forget(name);
    for (const name of names)
      await take(
        name,
        rows.filter((row) => row.name === name),
      );
    const present = new Set(rows.map(openedId));
    for (const id of opened.keys()) if (!present.has(id)) opened.delete(id);
    revision += 1;
  }

  function forget(name: string): void {
    const now = performance.now();
    const { value, earlier = [] } = entries.get(name) ?? {};
    entries.delete(name);
    removed = [...removed, ...earlier.map((each) => ({ name, ...each }))].filter(({ until }) => until > now);
    if (value !== undefined) removed.push({ name, text: value.text, until: now + STALE_MS });
  }

  async function take(name: string, rows: readonly Row[]): Promise<void> {
    const [row] = rows as [Row];
    const { source, ...held } = readDescription(row);
    const refused = descriptionProblem(key, row);
    const before = entries.get(name);
    const same = before !== undefined && JSON.stringify(before.source) === row.source;
    // of the same source the entry stays the same: a fetch under way belongs to it
    const entry: Entry = same ? before : { held, source, value: undefined, problem: undefined, refused, earlier: [], fetching: undefined };
    if (refused !== undefined && before?.refused === undefined)
      log({ level: 'error', message: 'a secret is refused', secret: name, error: refused.message });
    entry.held = held;
    entry.refused = refused;
    if (before !== undefined && !same) {
      entry.earlier = before.earlier;
      if (before.value !== undefined) entry.earlier.push({ text: before.value.text, until: performance.now() + STALE_MS });
    }
    entries.set(name, entry);
    if (source.type !== 'sealed') return;
    entry.problem = undefined;
    if (same) entry.earlier = [];
    for (const version of rows) {
      if (version.version === null || version.ciphertext === null) continue;
      const text = await openVersion(name, version).catch((error: VaultError) => {
        entry.problem = error;
        log({ level: 'error', message: 'a secret cannot be opened', secret: name, error: error.message });
        return undefined;
      });
      if (text === undefined) continue;
      // looked for in answers from now on, however long the others take
      revision += 1;
      if (version.state === 'active') entry.value = { text, version: `v${version.version}`, at: Number.POSITIVE_INFINITY };
      else {
        // of a rotation that has put it nowhere yet: it is looked for, and given to nobody
        const isPending = version.state === 'pending';
        entry.earlier.push({
          text,
          until: isPending ? Number.POSITIVE_INFINITY : performance.now() + (version.grace_until ?? 0) - store.now(),
        });
      }
    }
  }

  async function openVersion(name: string, row: Row): Promise<string> {
    const id = openedId(row);
    const known = opened.get(id);
    if (known !== undefined) return known;
    const sealed = { ciphertext: row.ciphertext as Buffer, wrappedKey: row.wrapped_key as Buffer, kekId: row.kek_id as string };
    const text = (await open(master, sealed, aboutVersion(name, row.version as number))).toString('utf8');
    opened.set(id, text);
    return text;
  }

  /** Fetches what is due; sources answer side by side, and one that hangs holds up none of the others. */
  async function refetch(): Promise<void> {
    if (options.sources === 'sealed') return;
    const now = performance.now();
    await Promise.all(
      [...entries.values()]
        .filter(
          ({ source, value, refused }) =>
            source.type !== 'sealed' && refused === undefined && (value === undefined || now - value.at >= sourceMs),
        )
        .map((entry) => (entry.fetching ??= fetchOne(entry).finally(() => (entry.fetching = undefined)))),
    );
  }

  async function fetchOne(entry: Entry): Promise<void> {
    const { name } = entry.held;
    try {
      const text = checkValue(await fetchValue(entry.source as Exclude<Source, { type: 'sealed' }>, environment));
      const before = entry.value;
      if (before?.text !== text) {
        if (before !== undefined) entry.earlier.push({ text: before.text, until: performance.now() + STALE_MS });
        revision += 1;
      }
      entry.value = { text, version: before?.text === text ? before.version : `f${Date.now()}`, at: performance.now() };
      entry.problem = undefined;
    } catch (error) {
      const why = error instanceof VaultError ? error.message : whatFailed(error);
      const failure = new VaultError('SOURCE_FAILED', `secret ${name} has no value from its source ${entry.source.type}: ${why}`);
      if (entry.problem === undefined)
        log({ level: 'warn', message: 'a source of a secret does not answer', secret: name, error: failure.message });
      entry.problem = failure;
      if (entry.value !== undefined && performance.now() - entry.value.at > staleMs) {
        entry.earlier.push({ text: entry.value.text, until: performance.now() + STALE_MS });
        entry.value = undefined;
      }
    }
  }

  await refresh();
  return {
    describe(name) {
      const entry = entries.get(name);
      if (entry === undefined) throw new VaultError('SECRET_NOT_FOUND', `there is no secret ${JSON.stringify(name)}`);
      if (entry.refused !== undefined) throw entry.refused;
      return entry.held;
    },
    get(name) {
      const entry = entries.get(name);
      if (entry === undefined) throw new VaultError('SECRET_NOT_FOUND', `there is no secret ${JSON.stringify(name)}`);
      if (entry.refused !== undefined) throw entry.refused;
      if (entry.value === undefined) throw entry.problem ?? new VaultError('SOURCE_FAILED', `secret ${name} has no value`);
      return { ...entry.held, value: entry.value.text, version: entry.value.version, isSealed: entry.source.type === 'sealed' };
    },
    known() {
      const now = performance.now();
      const gone = removed.filter(({ until }) => until > now).map(({ name, text }) => ({ name, value: text }));
      const present = [...entries.values()].flatMap(({ held: { name }, value, earlier }) => [
        ...(value === undefined ? [] : [{ name, value: value.text }]),
        ...earlier.filter(({ until }) => until > now).map(({ text }) => ({ name, value: text })),
      ]);
      return [...present, ...gone];
    },
    get revision() {
      return revision;
    },
    refresh,
    close() {
      clearInterval(timer);
      entries.clear();
      opened.clear();
      removed = [];
    },
  };
}

/** Told apart by the nonce, and not by the master key's id: a value that is open stays open while its key is wrapped anew. */
function openedId(row: Row): string {
  return `${row.name} ${row.version} ${row.ciphertext?.toString('hex', 0, 12) ?? ''}`;
}
