/** What the processes of an installation trust: its master key, and the keys that it opens. */
import { appendFile } from 'node:fs/promises';
import { existsSync, readFileSync } from 'node:fs';
import type { Config, RetentionPeriods } from '@centaur/kernel/config';
import type { Store } from '@centaur/kernel/store';
import { pruneDue, runErasures } from '@centaur/kernel/care';
import { pruneLimits } from '@centaur/kernel/policy';
import { pruneUsage } from '@centaur/kernel/usage';
import { ensureMasterKeyFile, type Installation, type MasterKey, openInstallation, readMasterKey, VaultError } from '@centaur/kernel/vault';
import { HintedError } from '../exit.ts';
import type { Log } from '../log.ts';

const HINT = 'Give all processes of one installation the same CENTAUR_MASTER_KEY, or the same file in CENTAUR_MASTER_KEY_FILE.';

/**
 * The master key; undefined when none was given and none may be made.
 *
 * @param make the first start on one machine makes one, where nobody gave one
 */
export function findMasterKey(config: Config, make: 'make' | 'find'): { readonly master: MasterKey; readonly made?: string } | undefined {
  const { masterKey } = config;
  try {
    if ('text' in masterKey) return { master: readMasterKey(masterKey.text) };
    if (masterKey.given === 'default' && make === 'make') {
      const { text, made } = ensureMasterKeyFile(masterKey.file);
      return { master: readMasterKey(text), ...(made ? { made: masterKey.file } : {}) };
    }
    if (!existsSync(masterKey.file)) {
      if (masterKey.given === 'given')
        throw new VaultError('MASTER_KEY_UNKNOWN', `CENTAUR_MASTER_KEY_FILE: there is no file ${masterKey.file}`);
      return undefined;
    }
    return { master: readMasterKey(readFileSync(masterKey.file, 'utf8')) };
  } catch (error) {
    if (error instanceof VaultError) throw new HintedError(error.message, HINT, { cause: error });
    throw error;
  }
}

export async function openTrust(
  config: Config,
  store: Store,
  master: MasterKey,
  log: Log,
  scrub: (text: string) => string,
): Promise<Installation> {
  const { auditAnchor } = config;
  try {
    return await openInstallation({
      store,
      master,
      log,
      scrub,
      seal: auditAnchor === undefined ? {} : { anchor: (note) => appendFile(auditAnchor, `${note}\n`) },
    });
  } catch (error) {
    if (error instanceof VaultError)
      throw new HintedError(`the database was sealed under another master key: ${error.message}`, HINT, { cause: error });
    throw error;
  }
}

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;

/** Forgetting what is over. Any number of processes may do it. */
export function startMaintenance(trust: Installation, periods: RetentionPeriods, log: Log): () => void {
  const { store, audit } = trust;
  const quietly = (what: string, work: () => Promise<unknown>) =>
    void work().catch((error: Error) => log({ level: 'warn', message: `${what} failed; trying again later`, error: error.message }));
  const forget = async () => {
    await pruneLimits(store);
    await pruneUsage(store, store.now());
    const pruned = await pruneDue({ store, audit }, periods);
    if (Object.keys(pruned).length > 0) log({ level: 'info', message: 'deleted what was over its time', ...pruned });
  };
  const timers = [
    setInterval(() => quietly('forgetting', forget), HOUR_MS),
    setInterval(() => quietly('erasing', () => runErasures({ store, audit, log })), MINUTE_MS),
  ];
  quietly('forgetting', forget);
  // of a process that died meanwhile
  quietly('erasing', () => runErasures({ store, audit, log }));
  return () => timers.forEach((timer) => clearInterval(timer));
}
