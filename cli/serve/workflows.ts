/** The workflows of a server: where their code runs, as the operator chose. */
import path from 'node:path';
import type { Config, WorkflowSettings } from '@centaur/kernel/config';
import type { RegisteredWorkflow, WorkflowRegistry } from '@centaur/kernel/engine';
import { ensureWorkflowSchema, type Store } from '@centaur/kernel/store';
import type { Installation } from '@centaur/kernel/vault';
import { createHosts, type Hosts } from '@centaur/runtime/hosts/hosted';
import { launchPlain } from '@centaur/runtime/hosts/launch';
import { createNodeHost, type Problem } from '@centaur/runtime/hosts/node';
import { createSandboxedLauncher } from '@centaur/runtime/hosts/sandboxed';
import type { SandboxBackend } from '@centaur/runtime/sandbox';
import type { Log } from '../log.ts';

export interface Workflows {
  readonly registry: WorkflowRegistry;
  problems(): readonly Problem[];
  /** Looks at the folders now. */
  reload(): Promise<void>;
  serve: Hosts['serve'];
  close(): Promise<void>;
}

export interface Around {
  readonly settings: WorkflowSettings;
  /** Where the files are, the lowest layer first. */
  readonly roots: { readonly dirs: readonly string[]; readonly mayLack: readonly string[] };
  readonly store: Store;
  /** Of `sandbox` in centaur.yaml. */
  readonly isolation: string | undefined;
  readonly installation: Installation | undefined;
  readonly backend: SandboxBackend;
  /** Host and port, as this machine reaches them. */
  readonly firewall: string;
  readonly postgres: string;
  readonly log: Log;
}

const MINUTE_MS = 60_000;
const MEMORY_MB = 512;

export async function openWorkflows(config: Config, around: Around): Promise<Workflows> {
  const { settings, log } = around;
  const stateDir = path.join(config.home, 'hosts');
  const common = {
    ...around.roots,
    stateDir,
    place: `${config.workflowHosts} ${config.python}`,
    log,
    ...(settings.idle_minutes === undefined ? {} : { idleMs: settings.idle_minutes * MINUTE_MS }),
    ...(settings.warm === undefined ? {} : { warmMost: settings.warm }),
  };
  const plain: Parameters<typeof createHosts>[0]['launch'] = (program, label, onClose) =>
    launchPlain({ program, label, python: config.python, memoryMb: settings.memory_mb ?? MEMORY_MB, log, onClose });

  if (config.workflowHosts === 'in_process') {
    const node = await createNodeHost({ ...around.roots, log });
    const python = await createHosts({ ...common, languages: ['python'], launch: plain });
    return {
      registry: both(node.registry, python.registry),
      problems: () => [...node.problems(), ...python.problems()],
      async reload() {
        await Promise.all([node.reload(), python.reload()]);
      },
      serve: python.serve,
      async close() {
        await Promise.all([node.close(), python.close()]);
      },
    };
  }
  // where sandboxes are plain processes, nothing can be mounted into them
  if (config.workflowHosts === 'process' || around.isolation === 'none') return createHosts({ ...common, launch: plain });
  const launcher = createSandboxedLauncher({
    backend: around.backend,
    installation: around.installation,
    firewall: around.firewall,
    postgres: around.postgres,
    limits: {
      memoryMb: settings.memory_mb ?? MEMORY_MB,
      processes: settings.processes ?? 128,
      diskMb: settings.disk_mb ?? 1024,
      tmpMb: 256,
      cpus: settings.cpus ?? 2,
    },
    python: config.python,
    stateDir,
    log,
    async database(workflow, { token, address }) {
      const { schema, reason } = await ensureWorkflowSchema(around.store, workflow);
      if (schema !== undefined) return `postgres://workflow:${token}@${address}/centaur?sslmode=disable`;
      log({ level: 'warn', message: 'the workflow has no place of its own in the database', workflow, reason });
      return undefined;
    },
  });
  const hosts = await createHosts({ ...common, launch: launcher.launch, isCurrent: launcher.isCurrent });
  return {
    ...hosts,
    async close() {
      await hosts.close();
      await launcher.close();
    },
  };
}

/** The first has the word where both know a name. */
function both(first: WorkflowRegistry, second: WorkflowRegistry): WorkflowRegistry {
  return {
    get(name, version) {
      const known = first.get(name, version);
      const other = second.get(name, version);
      if (known === undefined || other === undefined) return known ?? other;
      return other.version === version ? other : known;
    },
    list() {
      const names = new Set(first.list().map(({ name }) => name));
      return [...first.list(), ...second.list().filter(({ name }: RegisteredWorkflow) => !names.has(name))];
    },
    onChange(listener) {
      const off = [first.onChange(listener), second.onChange(listener)];
      return () => off.forEach((each) => each());
    },
  };
}
