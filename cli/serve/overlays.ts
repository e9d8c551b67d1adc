/** The overlays of an installation, as the environment and centaur.yaml name them. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Config, FileSettings } from '@centaur/kernel/config';
import { openOverlays, type Overlays } from '@centaur/runtime/overlays';
import type { Log } from '../log.ts';

/** Beside the program that is running. */
const BUILT_IN = fileURLToPath(new URL('../../userspace', import.meta.url));

export async function openLayers(
  config: Config,
  settings: Pick<FileSettings, 'overlays' | 'tools'> | undefined,
  { log, watch = true }: { readonly log: Log; readonly watch?: boolean },
): Promise<Overlays> {
  const builtIn = settings?.tools.built_in !== false && existsSync(BUILT_IN) ? { builtIn: BUILT_IN } : {};
  return openOverlays({
    entries: config.overlays ?? settings?.overlays.entries ?? [],
    ...builtIn,
    workflowDirs: config.workflowDirs,
    toolDirs: config.toolDirs,
    skillDirs: config.skillDirs,
    stateDir: path.join(config.home, 'overlays'),
    lockFile: config.overlayLock,
    frozen: settings?.overlays.frozen ?? false,
    watch,
    aside: !watch,
    log,
  });
}

/** As a host of code takes them: what a layer does not have is no problem, and a folder that somebody named is. */
export function rootsOf(
  overlays: Overlays,
  kind: 'tools' | 'workflows',
  named: readonly string[],
): { readonly dirs: readonly string[]; readonly mayLack: readonly string[] } {
  const dirs = overlays.roots(kind);
  return { dirs, mayLack: dirs.filter((dir) => !named.includes(dir)) };
}
