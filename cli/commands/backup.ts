/** Backup and restore of a whole installation. They go to the database themselves: no server is asked. */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { BackupKeys } from '@centaur/kernel/backup';
import { type Config, loadConfig } from '@centaur/kernel/config';
import { connectStore } from '@centaur/kernel/store';
import { publicPart } from '@centaur/kernel/vault';
import { examples, withJson } from '../arguments.ts';
import { HintedError, UsageError } from '../exit.ts';
import { createLog } from '../log.ts';
import { fields, note, paint, print, printJson } from '../output.ts';
import { borrowDatabase } from '../serve/database.ts';
import { findMasterKey, openTrust } from '../serve/trust.ts';

interface Options {
  readonly passphraseFile?: string;
  readonly json?: true;
}

export function addBackup(program: Command): void {
  const backup = program
    .command('backup')
    .summary('Back up the whole database into one sealed file.')
    .description(
      'Back up the whole database, as of one moment and while everything goes on, into one sealed file. It is sealed under the master key, or under a passphrase. The master key is not in it: keep that apart, since without it no secret of the backup opens.',
    )
    .option('--out <file>', 'the file, which must not be there')
    .option('--passphrase-file <file>', 'seal it under the passphrase in this file')
    .action(makeBackup);
  examples(withJson(backup), 'centaur backup --out centaur.backup', 'centaur backup verify centaur.backup');

  const verify = backup
    .command('verify')
    .description('Read a backup to its end, and hold each piece of it against what was written. No database is needed.')
    .argument('<file>')
    .option('--passphrase-file <file>', 'the passphrase that it was sealed under')
    .action(verifyBackup);
  examples(withJson(verify), 'centaur backup verify centaur.backup');

  const restore = program
    .command('restore')
    .summary('Restore a backup into an empty database.')
    .description(
      'Restore a backup into an empty database, as a whole or not at all: an empty CENTAUR_HOME, or a new database in DATABASE_URL. It needs the master key of the installation. Runs that were live go on when a worker comes; leases, workers and sandboxes of then are ended.',
    )
    .argument('<file>')
    .option('--passphrase-file <file>', 'the passphrase that it was sealed under')
    .action(restoreBackup);
  examples(
    withJson(restore),
    'CENTAUR_HOME=/srv/centaur centaur restore centaur.backup',
    'DATABASE_URL=postgres://… centaur restore centaur.backup',
  );
}

const quiet = () => createLog({ level: 'warn' });

function keysOf(config: Config, { passphraseFile }: Options): BackupKeys {
  const master = findMasterKey(config, 'find')?.master;
  if (passphraseFile === undefined) return { master };
  try {
    return { master, passphrase: readFileSync(passphraseFile, 'utf8').replace(/\r?\n$/, '') };
  } catch (error) {
    throw new UsageError(`--passphrase-file: cannot read ${passphraseFile}: ${(error as Error).message}`, { cause: error });
  }
}

const progress = (options: Options) => (table: string, rows: number) => {
  if (!options.json && rows > 0) note(`${table}  ${rows}`);
};

async function makeBackup(options: Options & { readonly out?: string }): Promise<void> {
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

async function verifyBackup(file: string, options: Options): Promise<void> {
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

async function restoreBackup(file: string, options: Options): Promise<void> {
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
