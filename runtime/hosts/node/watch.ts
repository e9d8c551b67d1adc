/** Noticing that something changed in a set of directories. */
import { type FSWatcher, watch } from 'node:fs';
import path from 'node:path';

export interface DirectoryWatch {
  /** Watches these, and no longer those before. */
  set(directories: readonly string[]): void;
  close(): void;
}

/** Editors write a file in several steps, and a checkout changes many: wait until it is quiet. */
const QUIET_MS = 60;
/** But not for ever, while something keeps writing. */
const LONGEST_WAIT_MS = 1000;

/**
 * One watcher per directory, not `recursive`: on Linux that mode watches each file, and stops noticing a file once it
 * was replaced by a rename, which is how most editors and ConfigMaps write (Node 24.21).
 *
 * @param changed called after changes, once it is quiet
 */
export function watchDirectories(changed: () => void, failed: (directory: string, error: Error) => void): DirectoryWatch {
  const watchers = new Map<string, FSWatcher>();
  let timer: NodeJS.Timeout | undefined;
  let firstAt = 0;

  function notice(): void {
    const now = performance.now();
    if (timer === undefined) firstAt = now;
    clearTimeout(timer);
    timer = setTimeout(fire, Math.max(0, Math.min(QUIET_MS, firstAt + LONGEST_WAIT_MS - now))).unref();
  }
  function fire(): void {
    timer = undefined;
    changed();
  }
  function stop(directory: string): void {
    watchers.get(directory)?.close();
    watchers.delete(directory);
  }

  return {
    set(directories) {
      for (const directory of watchers.keys()) if (!directories.includes(directory)) stop(directory);
      for (const directory of directories) {
        if (watchers.has(directory)) continue;
        try {
          const watcher = watch(directory, { persistent: false }, (_event, name) => {
            // It names itself when it is deleted or moved; the next scan watches what is at its place then
            if (name === path.basename(directory)) stop(directory);
            notice();
          });
          watcher.on('error', (error) => {
            stop(directory);
            failed(directory, error);
          });
          watchers.set(directory, watcher);
          // What was written between the scan that found it and now
          notice();
        } catch (error) {
          failed(directory, error as Error);
        }
      }
    },
    close() {
      clearTimeout(timer);
      for (const directory of watchers.keys()) stop(directory);
    },
  };
}
