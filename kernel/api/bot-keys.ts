/** The keys of bots that a server starts beside itself: each its own, in a file that only its owner reads. */
import type { AuditLog } from '../audit/index.ts';
import type { Store } from '../store/index.ts';
import { readBotKey, writeBotKey } from './bot-key-file.ts';
import { ApiError } from './errors.ts';
import { createKeys } from './keys.ts';

export interface BotKeyOptions {
  readonly store: Store;
  readonly audit: AuditLog | undefined;
  /** CENTAUR_HOME. */
  readonly home: string;
  /** Such as `slackbot`. */
  readonly name: string;
  readonly scopes: readonly string[];
}

/** The key in the file when it is one of this database and may do what the bot does; else a new one, whose name says what for. */
export async function ensureBotKey({ store, audit, home, name, scopes }: BotKeyOptions): Promise<string> {
  const keys = createKeys(store, { audit });
  const kept = readBotKey(home, name);
  if (kept !== undefined) {
    const known = await keys.authenticate(new Headers({ 'x-api-key': kept })).catch((error: unknown) => {
      if (error instanceof ApiError && error.code === 'UNAUTHENTICATED') return undefined;
      throw error;
    });
    if (known !== undefined && scopes.every((scope) => known.scopes.includes(scope))) return kept;
    // of a release before, which knew less
    if (known !== undefined && !known.scopes.includes('admin')) await keys.revoke('system', known.keyId);
  }
  const { key } = await keys.create('system', { name, scopes });
  writeBotKey(home, name, key);
  return key;
}
