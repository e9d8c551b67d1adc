import { randomUUID } from 'node:crypto';
import fs from 'node:fs';

/** Writes what can be found out again, whole or not at all. @returns why it could not be written */
export function writeCache(file: string, text: string): Error | undefined {
  const draft = `${file}.${randomUUID()}`;
  try {
    fs.writeFileSync(draft, text, { mode: 0o600 });
    fs.renameSync(draft, file);
    return undefined;
  } catch (error) {
    try {
      fs.rmSync(draft, { force: true });
    } catch {
      // where nothing can be written, nothing was
    }
    return error as Error;
  }
}
