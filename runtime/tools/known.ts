/**
 * What tools were found to declare, by their root and the hash of their content: a start asks nobody what the same code has already told the same
 * host program. One file, since a root may hold hundreds of tools. Only a cache: whatever is wrong with it means asking again.
 */
import fs from 'node:fs';
import { writeCache } from '../hosts/hosted/cache-file.ts';
import type { HostTool } from '../hosts/protocol/messages.ts';

export interface KnownTools {
  get(key: string): HostTool | undefined;
  set(key: string, told: HostTool): void;
  /** The same is told under another key now. */
  copy(from: string, to: string): void;
  /** Writes what is new, and forgets what is not among these. */
  keep(keys: ReadonlySet<string>): void;
}

/** @param reader what reads the files: it decides about the answer, too */
export function createKnownTools(file: string, reader: string, onFault: (error: Error) => void): KnownTools {
  const told = new Map(Object.entries(read(file, reader)));
  let changed = false;
  return {
    get: (key) => told.get(key),
    set(key, tool) {
      told.set(key, tool);
      changed = true;
    },
    copy(from, to) {
      const tool = told.get(from);
      if (from === to || tool === undefined) return;
      told.set(to, tool);
      changed = true;
    },
    keep(keys) {
      for (const key of told.keys())
        if (!keys.has(key)) {
          told.delete(key);
          changed = true;
        }
      if (!changed) return;
      const fault = writeCache(file, JSON.stringify({ reader, tools: Object.fromEntries(told) }));
      if (fault === undefined) changed = false;
      else onFault(fault);
    },
  };
}

function read(file: string, reader: string): Readonly<Record<string, HostTool>> {
  try {
    const kept = JSON.parse(fs.readFileSync(file, 'utf8')) as { readonly reader?: unknown; readonly tools?: Record<string, HostTool> };
    return kept.reader === reader ? (kept.tools ?? {}) : {};
  } catch {
    return {};
  }
}
