export type BackupErrorCode =
  /** The file is none of ours, is cut off, or was changed. */
  | 'BACKUP_BROKEN'
  /** Neither the master key nor the passphrase opens it, or the master key does not open the secrets in it. */
  | 'BACKUP_KEY_WRONG'
  /** It was made by another release, or of another database than this one can hold. */
  | 'BACKUP_UNSUITABLE'
  /** Something is there already that would be overwritten. */
  | 'NOT_EMPTY';

export class BackupError extends Error {
  readonly code: BackupErrorCode;
  constructor(code: BackupErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'BackupError';
    this.code = code;
  }
}
