/** Backup and restore of a whole installation. They go to the database themselves: no server is asked. */
import { readFileSync } from 'node:fs';
import type { BackupKeys } from '@centaur/kernel/backup';
import { type Config, loadConfig } from '@centaur/kernel/config';
import { connectStore } from '@centaur/kernel/store';
import { publicPart } from '@centaur/kernel/vault';
import { HintedError, UsageError } from './exit.ts';
import { createLog } from './log.ts';
import { fields, note, paint, print, printJson } from './output.ts';
import { borrowDatabase } from './serve/database.ts';
import { findMasterKey, openTrust } from './serve/trust.ts';

export interface BackupOptions {
  readonly passphraseFile?: string;
  readonly json?: true;
}

export interface MakeOptions extends BackupOptions {
  readonly out?: string;
}

const quiet = () => createLog({ level: 'warn' });

function keysOf(config: Config, { passphraseFile }: BackupOptions): BackupKeys {
  const master = findMasterKey(config, 'find')?.master;
  if (passphraseFile === undefined) return { master };
  try {
    return { master, passphrase: readFileSync(passphraseFile, 'utf8').replace(/\r?\n$/, '') };
  } catch (error) {
    throw new UsageError(`--passphrase-file: cannot read ${passphraseFile}: ${(error as Error).message}`, { cause: error });
  }
}

const progress = (options: BackupOptions) => (table: string, rows: number) => {
  if (!options.json && rows > 0) note(`${table}  ${rows}`);
};

export async function makeBackup(options: MakeOptions): Promise<void> {
  const { out } = options;
  if (out === undefined) throw new UsageError('--out: name the file that the backup is written to');
  const kernel = await import('@centaur/kernel/backup');
  const config = loadConfig(process.env);
  const keys = keysOf(config, options);
  await using stack = new AsyncDisposableStack();
  const { url, place } = stack.use(await borrowDatabase(config, 'refuse'));
  const store = await connectStore({ url, poolSize: 4 });
  stack.defer(() => store.close());
  const report = await hinted(async () => {
    await kernel.refuseOtherRelease(store);
    const isSealed = (await publicPart(store, 'audit.mac')) !== undefined;
    if (isSealed && keys.master === undefined)
      throw new HintedError(
        'the master key of the installation is not here, so the backup could not be written into its audit log',
        'Set CENTAUR_MASTER_KEY or CENTAUR_MASTER_KEY_FILE to that of the server.',
      );
    // what it writes into the log is about itself: what its environment holds is all that could come there
    const { createScrubber, secretsOfEnvironment } = await import('@centaur/kernel/firewall/scrub');
    const { scrub } = createScrubber(secretsOfEnvironment(process.env));
    const trust = isSealed && keys.master !== undefined ? await openTrust(config, store, keys.master, quiet(), scrub) : undefined;
    if (trust !== undefined) stack.defer(() => trust.close());
    return kernel.makeBackup({ store, audit: trust?.audit, actor: 'system:cli', file: out, onProgress: progress(options), ...keys });
  });
  if (options.json) return printJson({ file: out, ...report });
  print(
    fields(paint('bold', out), {
      of: place,
      rows: `${report.rows} in ${report.tables} tables`,
      size: `${(report.bytes / 1e6).toFixed(1)} MB`,
      'sealed under': keys.passphrase === undefined ? `the master key ${keys.master?.id}` : 'the passphrase',
      'not in it': ['the master key', ...report.left_out].join(', '),
    }),
  );
  note(`verify it with: centaur backup verify ${out}`);
}

export async function verifyBackup(file: string, options: BackupOptions): Promise<void> {
  const kernel = await import('@centaur/kernel/backup');
  const report = await hinted(() => kernel.verifyBackup(file, keysOf(loadConfig(process.env), options)));
  if (options.json) return printJson({ ok: true, file, ...report });
  const opens =
    report.opens_secrets === true
      ? 'the master key here opens them'
      : report.master_keys.length === 0
        ? 'there are none'
        : `they need the master key ${report.master_keys.join(', ')}, which is not here`;
  print(
    fields(`${paint('bold', file)} ${paint('green', 'whole')}`, {
      made: report.created_at,
      rows: `${report.rows} in ${report.tables.length} tables`,
      release: report.migration,
      postgres: report.postgres,
      secrets: opens,
      'not in it': ['the master key', ...report.left_out].join(', '),
    }),
  );
}

export async function restoreBackup(file: string, options: BackupOptions): Promise<void> {
  const kernel = await import('@centaur/kernel/backup');
  const config = loadConfig(process.env);
  const keys = keysOf(config, options);
  // before a database is made for nothing
  await hinted(() => kernel.readHead(file));
  await using database = await borrowDatabase(config, 'make');
  const report = await hinted(() =>
    kernel.restoreBackup({ url: database.url, actor: 'system:cli', file, onProgress: progress(options), ...keys }),
  );
  if (options.json) return printJson({ file, ...report });
  const ended = Object.entries(report.ended).filter(([, n]) => n > 0);
  print(
    fields(`${paint('bold', file)} ${paint('green', 'restored')}`, {
      into: database.place,
      made: report.created_at,
      rows: `${report.rows} in ${report.tables} tables`,
      ended: ended.map(([what, n]) => `${n} ${what}`).join(', '),
      'not in it': report.left_out.join(', '),
    }),
  );
}

const HINTS: Readonly<Record<string, string>> = {
  BACKUP_KEY_WRONG: 'Set CENTAUR_MASTER_KEY or CENTAUR_MASTER_KEY_FILE to the master key of the installation that was backed up.',
  BACKUP_BROKEN: 'Take another backup; nothing was written.',
  BACKUP_UNSUITABLE: 'Nothing was written.',
  NOT_EMPTY: 'Nothing was overwritten.',
};

async function hinted<T>(work: () => Promise<T>): Promise<T> {
  const { BackupError } = await import('@centaur/kernel/backup');
  return work().catch((error: unknown) =>
    Promise.reject(
      error instanceof BackupError ? new HintedError(error.message, HINTS[error.code] ?? '', { cause: error }) : (error as Error),
    ),
  );
}
