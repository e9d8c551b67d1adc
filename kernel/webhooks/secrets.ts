/**
 * The secrets that webhooks are verified with: from the vault, else from the environment of this process. Kept in memory, read
 * anew when the database says that something changed; after a rotation the value before counts for its time of grace.
 */
import type { Store, StoreLogEntry } from '../store/index.ts';
import { readSecretText } from './secret-text.ts';
import { type Installation, openWebhookSecret, VaultError, type WebhookValue } from '../vault/index.ts';

export interface WebhookSecrets {
  /** What verifies now, the present value first. @throws SecretProblem, or that Postgres is away */
  get(ref: string): Promise<readonly string[]>;
  close(): void;
}

/** Why there is nothing to verify with; the message names the secret, and is for operators. */
export class SecretProblem extends Error {
  readonly ref: string;
  /** Whether it is the source's, and not that there is none. */
  readonly isOfSource: boolean;
  constructor(ref: string, message: string, isOfSource = false) {
    super(message);
    this.name = 'SecretProblem';
    this.ref = ref;
    this.isOfSource = isOfSource;
  }
}

export interface SecretsOptions {
  readonly store: Store;
  /** Without it, the environment alone. */
  readonly installation?: Pick<Installation, 'master'> | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly log: (entry: StoreLogEntry) => void;
  /** Milliseconds that never go back. Default: the process's clock. */
  readonly clock?: () => number;
}

/** Notifications may be lost: so long a value is believed without one. */
const SEALED_MS = 10_000;
const FETCHED_MS = 60_000;
/** For so long after that, what is in memory verifies while its source is asked: it may take its time. */
const FETCHED_STALE_MS = 300_000;
/** Leases make notifications, too; a source elsewhere is not asked for each of them. */
const FETCHED_LEAST_MS = 5000;
/** How long a fetched value is used on while its source does not answer. */
const SOURCE_AWAY_MS = 3_600_000;
/** Whoever has no secret yet asks the database no more often, however much is sent here. */
const PROBLEM_MS = 1000;
/** Somebody who has just put it there need not wait: nor do those who flood us make notifications. */
const PROBLEM_LEAST_MS = 50;

interface Entry {
  readonly values: readonly WebhookValue[];
  readonly problem: SecretProblem | undefined;
  readonly kept: 'sealed' | 'fetched';
  readonly at: number;
  readonly generation: number;
}

export async function createSecrets({
  store,
  installation,
  environment,
  log,
  clock = () => performance.now(),
}: SecretsOptions): Promise<WebhookSecrets> {
  const entries = new Map<string, Entry>();
  const reading = new Map<string, Promise<Entry>>();
  let generation = 0;
  const stop = await store.listener.on('centaur_firewall', () => (generation += 1));

  function isFresh({ problem, kept, at, generation: seen }: Entry): boolean {
    const age = clock() - at;
    if (problem !== undefined) return age < (seen === generation || problem.isOfSource ? PROBLEM_MS : PROBLEM_LEAST_MS);
    if (seen !== generation) return kept === 'fetched' && age < FETCHED_LEAST_MS;
    return age < (kept === 'fetched' ? FETCHED_MS : SEALED_MS);
  }

  function readOnce(ref: string): Promise<Entry> {
    let entry = reading.get(ref);
    if (entry === undefined) {
      entry = read(ref).finally(() => reading.delete(ref));
      reading.set(ref, entry);
    }
    return entry;
  }

  /** Whether deliveries need not wait for a source that is being asked. */
  function isUsable({ kept, at, values }: Entry): boolean {
    const now = store.now();
    return kept === 'fetched' && clock() - at < FETCHED_STALE_MS && values.some(({ until }) => until > now);
  }

  /** A source that does not answer is in the log already; so is a database that is away. */
  function refresh(ref: string): void {
    readOnce(ref).catch((error: unknown) =>
      log({ level: 'warn', message: 'a secret could not be read anew', secret: ref, error: (error as Error).message }),
    );
  }

  async function read(ref: string): Promise<Entry> {
    const before = entries.get(ref);
    const seen = generation;
    const values = await valuesOf(ref, before).catch((error: unknown) => {
      if (!(error instanceof VaultError)) throw error;
      return new SecretProblem(ref, error.message, error.code === 'SOURCE_FAILED');
    });
    const made: Omit<Entry, 'values' | 'kept' | 'problem'> = { at: clock(), generation: seen };
    const entry: Entry =
      values instanceof SecretProblem
        ? { ...made, values: [], kept: 'sealed', problem: values }
        : { ...made, ...values, problem: undefined };
    if (entry.problem !== undefined && before?.problem?.message !== entry.problem.message)
      log({ level: 'error', message: 'a webhook has no secret to verify with', secret: ref, error: entry.problem.message });
    entries.set(ref, entry);
    return entry;
  }

  async function valuesOf(ref: string, before: Entry | undefined): Promise<Pick<Entry, 'values' | 'kept'> | SecretProblem> {
    const kept = installation && (await openKept(installation, ref, before));
    if (kept !== undefined) return kept;
    const text = environment[ref];
    if (text !== undefined && text !== '') {
      const read = readSecretText(text);
      if (!read.ok) return new SecretProblem(ref, `the variable ${ref} of the API's environment ${read.message}`);
      return { values: [{ text: read.text, until: Number.POSITIVE_INFINITY }], kept: 'sealed' };
    }
    return new SecretProblem(ref, `there is no secret ${ref} in the vault, and no variable ${ref} in the environment of the API`);
  }

  async function openKept({ master }: Pick<Installation, 'master'>, ref: string, before: Entry | undefined) {
    const now = store.now();
    try {
      const secret = await openWebhookSecret({ store, master, environment }, ref);
      if (secret?.kept !== 'fetched') return secret;
      // nobody keeps what a source said before: a value that it replaced counts here for its time of grace
      const [present] = secret.values;
      const replaced = (before?.values ?? [])
        .filter(({ text, until }) => text !== present?.text && until > now)
        .map(({ text, until }) => ({ text, until: Math.min(until, now + secret.graceSeconds * 1000) }));
      return { ...secret, values: [...secret.values, ...replaced] };
    } catch (error) {
      const isAway = error instanceof VaultError && error.code === 'SOURCE_FAILED';
      if (!isAway || before === undefined || before.values.length === 0) throw error;
      log({ level: 'warn', message: 'a source of a secret does not answer', secret: ref, error: error.message });
      const until = now + SOURCE_AWAY_MS;
      return { values: before.values.map((each) => ({ ...each, until: Math.min(each.until, until) })), kept: 'fetched' as const };
    }
  }

  return {
    async get(ref) {
      let entry = entries.get(ref);
      if (entry !== undefined && !isFresh(entry) && isUsable(entry)) refresh(ref);
      else if (entry === undefined || !isFresh(entry)) entry = await readOnce(ref);
      if (entry.problem !== undefined) throw entry.problem;
      const now = store.now();
      const live = entry.values.filter(({ until }) => until > now);
      if (live.length === 0) throw new SecretProblem(ref, `the source of secret ${ref} has not answered for too long`);
      return live.map(({ text }) => text);
    },
    close() {
      stop();
      entries.clear();
    },
  };
}
