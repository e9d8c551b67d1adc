/** What every process of an installation shares: its audit log with the seal on it, under keys that its master key opens. */
import { createPrivateKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import {
  type AuditLog,
  continueOrder,
  createAuditLog,
  createSealer,
  protectPartitions,
  type Sealer,
  type SealerOptions,
  type Signer,
} from '../audit/index.ts';
import { ensurePartitions } from '../store/partitions.ts';
import type { Store, StoreLogEntry } from '../store/index.ts';
import { createEntryCounts, type EntryCounts } from '../telemetry/index.ts';
import { adoptDescriptions, DESCRIPTIONS_SEALED } from './description.ts';
import type { MasterKey } from './envelope.ts';
import { installKey } from './install-keys.ts';

export interface Installation {
  readonly store: Store;
  readonly master: MasterKey;
  readonly audit: AuditLog;
  readonly sealer: Sealer;
  readonly signer: Signer;
  readonly macKey: Buffer;
  /** What this process has said to the audit log. */
  readonly counts: EntryCounts;
  close(): Promise<void>;
}

export interface InstallationOptions {
  readonly store: Store;
  readonly master: MasterKey;
  readonly log?: (entry: StoreLogEntry) => void;
  /** The last barrier against secrets in the log. */
  readonly scrub?: (text: string) => string;
  readonly seal?: Pick<SealerOptions, 'delayMs' | 'checkpointMs' | 'checkpointEntries' | 'anchor'>;
}

const WEEK_CHECK_MS = 6 * 3_600_000;

/** @throws VaultError MASTER_KEY_UNKNOWN when the database was sealed under another master key */
export async function openInstallation({ store, master, log, scrub, seal }: InstallationOptions): Promise<Installation> {
  const makePartitions = async () => {
    await ensurePartitions(store, ['audit_log'], store.now());
    await protectPartitions(store);
  };
  await makePartitions();
  await continueOrder(store);
  const mac = await installKey(store, master, 'audit.mac', async () => ({ public: DESCRIPTIONS_SEALED, secret: randomBytes(32) }));
  const sign = await installKey(store, master, 'audit.sign', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    const raw = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
    return {
      public: `centaur/${randomBytes(4).toString('hex')} ${raw.toString('base64')}`,
      secret: privateKey.export({ format: 'der', type: 'pkcs8' }),
    };
  });
  const [origin = '', rawPublicKey = ''] = sign.public.split(' ');
  const signer: Signer = {
    origin,
    rawPublicKey: Buffer.from(rawPublicKey, 'base64'),
    privateKey: createPrivateKey({ key: sign.secret, format: 'der', type: 'pkcs8' }),
  };
  const sealer = createSealer({ store, signer, ...seal, ...(log === undefined ? {} : { log }) });
  const counts = createEntryCounts();
  const audit = createAuditLog({
    store,
    onEntry: counts.count,
    macKey: mac.secret,
    onAppend: sealer.hint,
    ...(log === undefined ? {} : { log }),
    ...(scrub === undefined ? {} : { scrub }),
  });
  await adoptDescriptions({ store, audit, master, log }, mac);
  const partitions = setInterval(() => {
    makePartitions().catch((error: Error) =>
      log?.({ level: 'warn', message: 'making partitions failed; trying again', error: error.message }),
    );
  }, WEEK_CHECK_MS);
  partitions.unref();
  return {
    store,
    master,
    audit,
    sealer,
    signer,
    macKey: mac.secret,
    counts,
    async close() {
      clearInterval(partitions);
      await audit.close();
      await sealer.close();
    },
  };
}
