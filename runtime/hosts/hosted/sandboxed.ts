/**
 * Processes of workflows and tools in sandboxes of their own: what each may use (its principal's secrets, as placeholders, by the
 * firewall alone), and the ending of those whose worker is gone.
 */
import fs from 'node:fs';
import { hostname } from 'node:os';
import path from 'node:path';
import { type Installation, revokeLease } from '@centaur/kernel/vault';
import { readProcess } from '../../sandbox/local/processes.ts';
import type { SandboxBackend, SandboxLimits } from '../../sandbox/types.ts';
import {
  closeHostAccess,
  type HostAccess,
  isCurrent,
  isFirewallThere,
  namesOnly,
  openHostAccess,
  type Rights,
  rightsOfWorkflow,
} from './access.ts';
import { type HostProcess, type HostProgram, type LaunchOptions, launchSandboxed, prepareHost } from './launch.ts';
import { createSpares } from './spares.ts';

export interface SandboxesOptions {
  readonly backend: SandboxBackend;
  /** Undefined in a process that has no master key: its hosts have no secrets, and no network. */
  readonly installation: Installation | undefined;
  /** Host and port of the firewall, and of its listener for Postgres, as this machine reaches them. */
  readonly firewall: string;
  readonly postgres: string;
  readonly limits: SandboxLimits;
  readonly python: string;
  /** Short: sockets are in it. */
  readonly stateDir: string;
  /** What all of them get: nothing secret. */
  readonly env?: Readonly<Record<string, string>>;
  readonly log: LaunchOptions['log'];
}

export interface SandboxedLauncherOptions extends SandboxesOptions {
  /** What its process connects to as its own database; undefined when it has none. */
  database?(workflow: string, access: { readonly token: string; readonly address: string }): Promise<string | undefined>;
}

export interface SandboxedLauncher {
  launch(program: HostProgram, workflow: string, onClose: (reason: Error) => void, purpose: 'ask' | 'run'): Promise<HostProcess>;
  isCurrent(workflow: string): Promise<boolean>;
  close(): Promise<void>;
}

interface Shape {
  readonly programs: string;
  readonly nodeModules: string | undefined;
  /** Without a network. */
  readonly ask: boolean;
  /** Undefined: those of all. */
  readonly limits: SandboxLimits | undefined;
}

/** Whose process it is. Without rights it has no lease and no network: for code that is only asked what it is. */
export interface Occupant {
  readonly name: string;
  readonly rights: Rights | undefined;
  /** Default: those of all. */
  readonly limits?: SandboxLimits;
  /** Beside what its rights give. */
  env?(access: HostAccess | undefined): Promise<Readonly<Record<string, string>>>;
}

export interface Sandboxes {
  launch(program: HostProgram, occupant: Occupant, onClose: (reason: Error) => void): Promise<HostProcess>;
  /** Whether another process of it would get what its latest one got. */
  isCurrent(name: string, rights: Rights): Promise<boolean>;
  close(): Promise<void>;
}

/** Ports of the relays, inside. */
const FIREWALL_PORT = 3128;
export const POSTGRES_ADDRESS = '127.0.0.1:5432';
const POSTGRES_PORT = 5432;
const SWEEP_MS = 60_000;
const OWNER = 'worker';

/** For workflows. */
export function createSandboxedLauncher(options: SandboxedLauncherOptions): SandboxedLauncher {
  const { installation } = options;
  const sandboxes = createSandboxes('workflow', options);
  return {
    launch: (program, workflow, onClose, purpose) =>
      sandboxes.launch(
        program,
        purpose === 'ask'
          ? { name: workflow, rights: undefined, env: async () => (installation === undefined ? {} : namesOnly(installation, workflow)) }
          : {
              name: workflow,
              rights: rightsOfWorkflow(workflow),
              async env(access) {
                if (access === undefined) return {};
                const url = await options.database?.(workflow, { token: access.token, address: POSTGRES_ADDRESS });
                return url === undefined ? {} : { DATABASE_URL: url };
              },
            },
        onClose,
      ),
    isCurrent: (workflow) => sandboxes.isCurrent(workflow, rightsOfWorkflow(workflow)),
    close: sandboxes.close,
  };
}

/** @param kind of what runs in them; each kind needs a state folder of its own */
export function createSandboxes(kind: HostProgram['kind'], options: SandboxesOptions): Sandboxes {
  const { backend, installation, log } = options;
  const actor = `system:${kind}s`;
  const socketDir = path.join(options.stateDir, `s${process.pid}`);
  removeSockets(options.stateDir);
  fs.mkdirSync(socketDir, { recursive: true, mode: 0o711 });
  const owner = `${hostname()}:${process.pid}:${readProcess(process.pid)?.started ?? 0}`;
  /** By name: what its latest process was given. */
  const given = new Map<string, HostAccess>();
  const spares = createSpares({
    log,
    prepare: ({ programs, nodeModules, ask, limits = options.limits }: Shape) =>
      prepareHost({
        backend,
        socketDir,
        programs,
        nodeModules,
        python: options.python,
        limits,
        labels: { [kind]: 'host', [OWNER]: owner },
        relays: ask
          ? []
          : [
              { port: FIREWALL_PORT, to: options.firewall },
              { port: POSTGRES_PORT, to: options.postgres },
            ],
      }),
    keyOf: (shape) => JSON.stringify(shape),
    // asking is rare, and nobody waits for it; what needs more than others is rare, too, and dear
    isKept: ({ ask, limits }) => !ask && limits === undefined,
  });
  const timer = setInterval(() => void sweep(), SWEEP_MS);
  timer.unref();
  void sweep();

  const launch: Sandboxes['launch'] = async (program, { name, rights, env, limits }, onClose) => {
    let access: HostAccess | undefined;
    const giveBack = async (): Promise<void> => {
      if (access === undefined || installation === undefined) return;
      await closeHostAccess(installation, actor, access).catch((error: Error) =>
        log({ level: 'warn', message: 'a lease could not be ended; it ends by itself', [kind]: name, error: error.message }),
      );
    };
    try {
      const shape = { programs: program.programs, nodeModules: program.nodeModules, ask: rights === undefined, limits };
      const host = await launchSandboxed({
        program,
        label: name,
        python: options.python,
        memoryMb: (limits ?? options.limits).memoryMb,
        ...(options.env === undefined ? {} : { env: options.env }),
        log,
        onClose,
        host: await spares.take(shape),
        async access(source) {
          if (installation !== undefined && rights !== undefined) {
            access = await openHostAccess(installation, actor, rights, { source, relayPort: FIREWALL_PORT });
            if (access !== undefined) given.set(name, access);
          }
          return { env: { ...access?.env, ...(await env?.(access)) }, caPem: access?.caPem };
        },
      });
      return {
        ...host,
        async stop() {
          await host.stop();
          await giveBack();
        },
      };
    } catch (error) {
      await giveBack();
      throw error;
    }
  };

  /** A worker that was killed leaves its sandboxes behind. */
  async function sweep(): Promise<void> {
    try {
      for (const { id, labels, source } of await backend.list()) {
        const { [kind]: ours, [OWNER]: whose } = labels;
        if (ours === undefined || whose === undefined || whose === owner || isRunning(whose)) continue;
        await backend.stop(id);
        if (installation !== undefined && source !== null) await endLeases(installation, actor, kind, source);
        log({ level: 'info', message: `ended a sandbox for ${kind}s whose worker is gone`, sandbox: id });
      }
    } catch (error) {
      log({ level: 'warn', message: 'looking for sandboxes that nobody has failed; trying again', error: (error as Error).message });
    }
  }

  return {
    launch,
    async isCurrent(name, rights) {
      if (installation === undefined) return true;
      const access = given.get(name);
      // it began before there was a firewall
      if (access === undefined) return !(await isFirewallThere(installation));
      return isCurrent(installation, access, await rights.secrets(installation));
    },
    async close() {
      clearInterval(timer);
      await spares.close();
      fs.rmSync(socketDir, { recursive: true, force: true });
    },
  };
}

/** Of processes that were killed, and of an earlier one with this number. */
function removeSockets(stateDir: string): void {
  if (!fs.existsSync(stateDir)) return;
  for (const name of fs.readdirSync(stateDir)) {
    const pid = Number(/^s(\d+)$/.exec(name)?.[1]);
    if (pid === process.pid || (pid > 0 && readProcess(pid) === undefined))
      fs.rmSync(path.join(stateDir, name), { recursive: true, force: true });
  }
}

/** One of another machine is for that machine to end. */
function isRunning(owner: string): boolean {
  const [host, pid, started] = owner.split(':');
  return host !== hostname() || readProcess(Number(pid))?.started === Number(started);
}

/** An address is one sandbox's at a time. */
async function endLeases(installation: Installation, actor: string, kind: string, source: string): Promise<void> {
  const { rows } = await installation.store.query<{ lease_id: string }>(
    `select lease_id from leases where principal like $1 and source = $2::inet and revoked_at is null and expires_at > now()`,
    [`${kind}:%`, source],
  );
  for (const { lease_id: leaseId } of rows) await revokeLease(installation, actor, leaseId, 'its worker is gone');
}
