/** Structured; never a token, and no text that people wrote. */
export type Log = (entry: {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly message: string;
  readonly [field: string]: unknown;
}) => void;
