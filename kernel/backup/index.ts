/**
 * Backups: the whole database as of one moment in one sealed file, and back.
 *
 * It promises that a backup is made while everything goes on and holds one state of it; that a file which is cut off, changed
 * or opened with the wrong key is refused before anything is written; and that a restore happens as a whole or not at all, in
 * a database where nothing is. It never has the master key in it: without that, what was sealed stays sealed.
 */
export { BackupError, type BackupErrorCode } from './errors.ts';
export { restoreBackup, type RestoreReport, verifyBackup, type VerifyReport } from './restore.ts';
export { type BackupKeys, readHead } from './sealed-file.ts';
export { type BackupReport, makeBackup, refuseOtherRelease } from './snapshot.ts';
