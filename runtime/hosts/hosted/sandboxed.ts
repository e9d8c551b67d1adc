/**
 * Processes of workflows in sandboxes of their own: what each may use (its principal's secrets, as placeholders, by the firewall
 * alone), and the ending of those whose worker is gone.
 */
import fs from 'node:fs';
import { hostname } from 'node:os';
import path from 'node:path';
import { type Installation, revokeLease } from '@centaur/kernel/vault';
import { readProcess } from '../../sandbox/local/processes.ts';
import type { SandboxBackend, SandboxLimits } from '../../sandbox/types.ts';
import { closeHostAccess, type HostAccess, isCurrent, namesOnly, openHostAccess, principalOfWorkflow } from './access.ts';
import { type HostProcess, type HostProgram, type LaunchOptions, launchSandboxed, prepareHost } from './launch.ts';
import { createSpares } from './spares.ts';

export interface SandboxedLauncherOptions {
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
  readonly log: LaunchOptions['log'];
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
}

/** Ports of the relays, inside. */
const FIREWALL_PORT = 3128;
const POSTGRES_PORT = 5432;
const SWEEP_MS = 60_000;
const ACTOR = 'system:workflows';
const LABEL = 'workflow';
const OWNER = 'worker';

export function createSandboxedLauncher(options: SandboxedLauncherOptions): SandboxedLauncher {
  const { backend, installation, log } = options;
  const socketDir = path.join(options.stateDir, `s${process.pid}`);
  removeSockets(options.stateDir);
  fs.mkdirSync(socketDir, { recursive: true, mode: 0o711 });
  const owner = `${hostname()}:${process.pid}:${readProcess(process.pid)?.started ?? 0}`;
  /** By workflow: what its latest process was given. */
  const given = new Map<string, HostAccess>();
  const spares = createSpares({
    log,
    prepare: ({ programs, nodeModules, ask }: Shape) =>
      prepareHost({
        backend,
        socketDir,
        programs,
        nodeModules,
        python: options.python,
        limits: options.limits,
        labels: { [LABEL]: 'host', [OWNER]: owner },
        relays: ask
          ? []
          : [
              { port: FIREWALL_PORT, to: options.firewall },
              { port: POSTGRES_PORT, to: options.postgres },
            ],
      }),
    keyOf: (shape) => JSON.stringify(shape),
    // asking is rare, and nobody waits for it
    isKept: ({ ask }) => !ask,
  });
  const timer = setInterval(() => void sweep(), SWEEP_MS);
  timer.unref();
  void sweep();

  const launch: SandboxedLauncher['launch'] = async (program, workflow, onClose, purpose) => {
    let access: HostAccess | undefined;
    const giveBack = async (): Promise<void> => {
      if (access === undefined || installation === undefined) return;
      await closeHostAccess(installation, access).catch((error: Error) =>
        log({ level: 'warn', message: 'a lease could not be ended; it ends by itself', workflow, error: error.message }),
      );
    };
    try {
      const shape = { programs: program.programs, nodeModules: program.nodeModules, ask: purpose === 'ask' };
      const host = await launchSandboxed({
        program,
        label: workflow,
        python: options.python,
        memoryMb: options.limits.memoryMb,
        log,
        onClose,
        host: await spares.take(shape),
        async access(source) {
          if (installation === undefined) return { env: {}, caPem: undefined };
          if (purpose === 'ask') return { env: await namesOnly(installation, workflow), caPem: undefined };
          access = await openHostAccess(installation, workflow, { source, relayPort: FIREWALL_PORT });
          if (access === undefined) return { env: {}, caPem: undefined };
          given.set(workflow, access);
          const { token, caPem } = access;
          const url = await options.database?.(workflow, { token, address: `127.0.0.1:${POSTGRES_PORT}` });
          return { env: { ...access.env, ...(url === undefined ? {} : { DATABASE_URL: url }) }, caPem };
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
        const { [LABEL]: ours, [OWNER]: whose } = labels;
        if (ours === undefined || whose === undefined || whose === owner || isRunning(whose)) continue;
        await backend.stop(id);
        if (installation !== undefined && source !== null) await endLeases(installation, source);
        log({ level: 'info', message: 'ended a sandbox for workflows whose worker is gone', sandbox: id });
      }
    } catch (error) {
      log({ level: 'warn', message: 'looking for sandboxes that nobody has failed; trying again', error: (error as Error).message });
    }
  }

  return {
    launch,
    async isCurrent(workflow) {
      const access = given.get(workflow);
      return installation === undefined || access === undefined || isCurrent(installation, workflow, access);
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
async function endLeases(installation: Installation, source: string): Promise<void> {
  const { rows } = await installation.store.query<{ lease_id: string }>(
    `select lease_id from leases where principal like $1 and source = $2::inet and revoked_at is null and expires_at > now()`,
    [principalOfWorkflow('%'), source],
  );
  for (const { lease_id: leaseId } of rows) await revokeLease(installation, ACTOR, leaseId, 'its worker is gone');
}
