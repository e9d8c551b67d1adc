/** The tools of a server: those that come with the platform and those of the operator, each in a process and a sandbox of its own. */
import path from 'node:path';
import type { Config, ToolSettings } from '@centaur/kernel/config';
import type { Store } from '@centaur/kernel/store';
import type { Threads } from '@centaur/kernel/threads';
import { createTools, type Tools } from '@centaur/kernel/tools';
import type { Installation } from '@centaur/kernel/vault';
import { launchPlain } from '@centaur/runtime/hosts/launch';
import type { SandboxBackend } from '@centaur/runtime/sandbox';
import { createSandboxedTools, createToolRunner } from '@centaur/runtime/tools';
import type { Log } from '../log.ts';

export interface ToolsAround {
  readonly settings: ToolSettings;
  /** Where tools are, the lowest layer first. */
  readonly roots: { readonly dirs: readonly string[]; readonly mayLack: readonly string[] };
  readonly store: Store;
  /** Of `sandbox` in centaur.yaml. */
  readonly isolation: string | undefined;
  readonly installation: Installation;
  readonly backend: SandboxBackend;
  /** Host and port, as this machine reaches them. */
  readonly firewall: string;
  readonly postgres: string;
  readonly threads: Threads;
  /** Of calls under a key. */
  readonly retentionDays: number;
  readonly log: Log;
}

const MINUTE_MS = 60_000;
const MEMORY_MB = 512;
/** No tool gets more than an agent's own sandbox has, unless the operator says so. */
const MEMORY_MOST_MB = 2048;
const PROCESSES_MOST = 512;

export interface ServedTools extends Tools {
  /** Looks at the folders now. */
  reload(): Promise<void>;
}

export async function openTools(config: Config, around: ToolsAround): Promise<ServedTools> {
  const { settings, installation, threads, log } = around;
  const stateDir = path.join(config.home, 'tools');
  const python = config.python;
  const memoryMb = settings.memory_mb ?? MEMORY_MB;
  const plain = config.workflowHosts !== 'sandbox' || around.isolation === 'none';
  const sandboxes = plain
    ? undefined
    : createSandboxedTools({
        backend: around.backend,
        installation,
        firewall: around.firewall,
        postgres: around.postgres,
        limits: {
          memoryMb,
          processes: settings.processes ?? 128,
          diskMb: settings.disk_mb ?? 1024,
          tmpMb: 256,
          cpus: settings.cpus ?? 2,
        },
        most: { memoryMb: settings.memory_most_mb ?? MEMORY_MOST_MB, processes: settings.processes_most ?? PROCESSES_MOST },
        python,
        stateDir,
        ...(settings.env === undefined ? {} : { env: settings.env }),
        log,
      });
  const runner = await createToolRunner({
    ...around.roots,
    stateDir,
    // what a tool declares may be said in its environment
    place: `${plain ? 'process' : 'sandbox'} ${python} ${JSON.stringify(settings.env ?? {})}`,
    log,
    launch:
      sandboxes?.launch ??
      ((program, tool, onClose) =>
        launchPlain({ program, label: tool?.name ?? '-', python, memoryMb, log, onClose, ...(settings.env && { env: settings.env }) })),
    ...(sandboxes === undefined ? {} : { isCurrent: sandboxes.isCurrent }),
    ...(settings.idle_minutes === undefined ? {} : { idleMs: settings.idle_minutes * MINUTE_MS }),
    ...(settings.warm === undefined ? {} : { warmMost: settings.warm }),
  });
  const tools = await createTools({
    store: around.store,
    installation,
    runner,
    async attach(threadKey, file) {
      const { id } = await threads.attach(threadKey, file);
      return { attachment_id: id, name: file.name, mime_type: file.mimeType, size: file.data.length };
    },
    retentionDays: around.retentionDays,
    log,
  });
  return {
    ...tools,
    reload: () => runner.reload(),
    async close() {
      await tools.close();
      await runner.close();
      await sandboxes?.close();
    },
  };
}
