/** What backs up and restores is loaded when it is asked for: it is half of the platform, and would slow every other command. */
import type { Command } from 'commander';
import { examples, withJson } from '../arguments.ts';
import type { BackupOptions, MakeOptions } from '../backup.ts';

export function addBackup(program: Command): void {
  const backup = program
    .command('backup')
    .summary('Back up the whole database into one sealed file.')
    .description(
      'Back up the whole database, as of one moment and while everything goes on, into one sealed file. It is sealed under the master key, or under a passphrase. The master key is not in it: keep that apart, since without it no secret of the backup opens.',
    )
    .option('--out <file>', 'the file, which must not be there')
    .option('--passphrase-file <file>', 'seal it under the passphrase in this file')
    .action(async (options: MakeOptions) => (await import('../backup.ts')).makeBackup(options));
  examples(withJson(backup), 'centaur backup --out centaur.backup', 'centaur backup verify centaur.backup');

  const verify = backup
    .command('verify')
    .description('Read a backup to its end, and hold each piece of it against what was written. No database is needed.')
    .argument('<file>')
    .option('--passphrase-file <file>', 'the passphrase that it was sealed under')
    .action(async (file: string, options: BackupOptions) => (await import('../backup.ts')).verifyBackup(file, options));
  examples(withJson(verify), 'centaur backup verify centaur.backup');

  const restore = program
    .command('restore')
    .summary('Restore a backup into an empty database.')
    .description(
      'Restore a backup into an empty database, as a whole or not at all: an empty CENTAUR_HOME, or a new database in DATABASE_URL. It needs the master key of the installation. Runs that were live go on when a worker comes; leases, workers and sandboxes of then are ended.',
    )
    .argument('<file>')
    .option('--passphrase-file <file>', 'the passphrase that it was sealed under')
    .action(async (file: string, options: BackupOptions) => (await import('../backup.ts')).restoreBackup(file, options));
  examples(
    withJson(restore),
    'CENTAUR_HOME=/srv/centaur centaur restore centaur.backup',
    'DATABASE_URL=postgres://… centaur restore centaur.backup',
  );
}
