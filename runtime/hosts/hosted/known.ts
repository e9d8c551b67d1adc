/**
 * What files were found to be, kept on this machine: a start need not ask again what the same code, read by the same host program,
 * has already told. Only a cache: whatever is wrong with it means asking again.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { HostWorkflow } from '../protocol/messages.ts';
import type { View } from './view.ts';

export interface Known {
  get(view: View): HostWorkflow | undefined;
  set(view: View, told: HostWorkflow): void;
}

/** @param more what else decides about the answer, such as the Python that reads the file */
export function createKnown(folder: string, more: string): Known {
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  const program = `${fingerprint()}:${more}`;
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
      const place = placeOf(view);
      const draft = `${place}.${process.pid}`;
      fs.writeFileSync(draft, JSON.stringify(told), { mode: 0o600 });
      fs.renameSync(draft, place);
    },
  };
}

/** Of the host programs and of the SDK that they hand out. */
function fingerprint(): string {
  const hash = createHash('sha256').update(process.version);
  for (const folder of ['../program', '../python', '../../../sdk/src'])
    for (const file of filesBelow(fileURLToPath(new URL(folder, import.meta.url)))) hash.update(file).update(fs.readFileSync(file));
  return hash.digest('hex').slice(0, 16);
}

function filesBelow(folder: string): string[] {
  if (!fs.existsSync(folder)) return [];
  return fs
    .readdirSync(folder, { withFileTypes: true })
    .flatMap((entry) => {
      const full = path.join(folder, entry.name);
      if (entry.name.startsWith('.') || entry.name === '__pycache__' || entry.name === 'samples') return [];
      return entry.isDirectory() ? filesBelow(full) : /\.test\.ts$/.test(entry.name) ? [] : [full];
    })
    .sort();
}
