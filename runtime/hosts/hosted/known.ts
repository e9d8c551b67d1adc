/**
 * What files were found to be, kept on this machine: a start need not ask again what the same code, read by the same host program,
 * has already told. Only a cache: whatever is wrong with it means asking again.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import type { HostWorkflow } from '../protocol/messages.ts';
import { writeCache } from './cache-file.ts';
import type { View } from './view.ts';

export interface Known {
  get(view: View): HostWorkflow | undefined;
  set(view: View, told: HostWorkflow): void;
}

/** @param program what reads the files: it decides about the answer, too */
export function createKnown(folder: string, program: string): Known {
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  const placeOf = (view: View): string =>
    path.join(folder, `${createHash('sha256').update(`${program}\0${view.key}`).digest('hex').slice(0, 32)}.json`);
  return {
    get(view) {
      try {
        return JSON.parse(fs.readFileSync(placeOf(view), 'utf8')) as HostWorkflow;
      } catch {
        return undefined;
      }
    },
    set(view, told) {
      // without it, the next start asks again
      writeCache(placeOf(view), JSON.stringify(told));
    },
  };
}
