/** Where the key of a bot is kept: a file that only its owner reads. */
import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';

export function botKeyFile(home: string, name: string): string {
  return path.join(home, `${name}.key`);
}

export function readBotKey(home: string, name: string): string | undefined {
  try {
    const key = readFileSync(botKeyFile(home, name), 'utf8').trim();
    return key === '' ? undefined : key;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

export function writeBotKey(home: string, name: string, key: string): void {
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const file = botKeyFile(home, name);
  const draft = `${file}.new`;
  writeFileSync(draft, `${key}\n`, { mode: 0o600 });
  // the mode above counts only for a file that did not exist
  chmodSync(draft, 0o600);
  renameSync(draft, file);
}
