/** The sandboxes of a server: one backend for threads and workflows alike. */
import path from 'node:path';
import type { Config, SandboxSettings } from '@centaur/kernel/config';
import type { SandboxLimits } from '@centaur/runtime/sandbox';
import { createLocalBackend, type LocalBackend } from '@centaur/runtime/sandbox/local';
import { type ShapeOptions, sandboxShape } from '@centaur/runtime/turns';
import type { Log } from '../log.ts';

/** What a thread's sandbox is like. */
export function threadShape(
  config: Config,
  settings: SandboxSettings,
  { firewall, api }: { readonly firewall: string; readonly api: string | undefined },
): ShapeOptions {
  return {
    limits: limitsOf(settings),
    firewall,
    ...(api === undefined ? {} : { api }),
    ...(config.harnessDir === undefined ? {} : { harnessDir: config.harnessDir }),
  };
}

/** @param shape of those that are started ahead */
export function openSandboxes(config: Config, { isolation, most, warm }: SandboxSettings, shape: ShapeOptions, log: Log): LocalBackend {
  return createLocalBackend({
    stateDir: path.join(config.home, 'sandboxes'),
    log,
    ...(isolation === undefined ? {} : { minimum: isolation }),
    ...(isolation === 'none' ? { isolation } : {}),
    ...(most === undefined ? {} : { most }),
    ...(warm === undefined || warm === 0 ? {} : { warm: { count: warm, spec: sandboxShape(shape) } }),
  });
}

function limitsOf({ memory_mb, processes, disk_mb, tmp_mb, cpus }: SandboxSettings): SandboxLimits {
  return { memoryMb: memory_mb ?? 2048, processes: processes ?? 512, diskMb: disk_mb ?? 4096, tmpMb: tmp_mb ?? 512, cpus: cpus ?? 2 };
}
