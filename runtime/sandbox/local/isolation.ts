/** Finds out, by starting a real sandbox and trying to get out of it, how well this machine isolates. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { seccompFilter } from '../filter.ts';
import type { SandboxCapabilities } from '../types.ts';
import { INSIDE } from './layout.ts';
import { missingForNamespaces } from './namespaces.ts';
import { type Shape, startSandbox, type Surroundings } from './sandbox.ts';

export type Isolation = SandboxCapabilities['isolation'];

export interface Found {
  readonly isolation: Isolation;
  readonly reasons: readonly string[];
  /** Why no sandbox may be started; null when they may. */
  readonly problem: string | null;
}

const INSTALL = 'install bubblewrap: apt-get install bubblewrap';
const APPARMOR = `this system lets only programs with an AppArmor profile make user namespaces (Ubuntu 23.10 and later). Give bubblewrap one:
  printf 'abi <abi/4.0>,\\ninclude <tunables/global>\\nprofile bwrap /usr/bin/bwrap flags=(unconfined) {\\n  userns,\\n}\\n' > /etc/apparmor.d/bwrap && apparmor_parser -r /etc/apparmor.d/bwrap`;
const PROBE_SHAPE: Shape = { limits: { memoryMb: 256, processes: 64, diskMb: 16, tmpMb: 8, cpus: 1 }, mounts: [], relays: [] };
const PROBE_MS = 20_000;

/** The strongest that works. `forced`: no other is tried, and `none` not even checked. */
export async function findIsolation(around: Omit<Surroundings, 'isolation' | 'filter'>, forced: Isolation | null): Promise<Found> {
  if (forced === 'none') return { isolation: 'none', reasons: ['isolation is switched off: sandboxes are plain processes'], problem: null };
  const reasons: string[] = [];
  for (const isolation of ['namespaces+seccomp', 'namespaces'] as const) {
    if (forced !== null && isolation !== forced) continue;
    const problem = missing(isolation) ?? (await tryOut({ ...around, isolation, filter: filterFor(isolation) }));
    if (problem === null) return { isolation, reasons, problem: null };
    reasons.push(`${isolation}: ${problem}`);
  }
  return { isolation: 'none', reasons, problem: reasons.join('\n') };
}

export function filterFor(isolation: Isolation): Buffer | null {
  return isolation === 'namespaces+seccomp' ? seccompFilter(process.arch) : null;
}

function missing(isolation: 'namespaces+seccomp' | 'namespaces'): string | null {
  if (process.platform !== 'linux') return `sandboxes need Linux, this is ${process.platform}`;
  if (isolation === 'namespaces') {
    const lacking = missingForNamespaces();
    return lacking.length === 0 ? null : `not installed: ${lacking.join(', ')}`;
  }
  if (!fs.existsSync('/usr/bin/bwrap')) return `there is no bubblewrap: ${INSTALL}`;
  if (process.arch !== 'x64' && process.arch !== 'arm64') return `there is no system call filter for ${process.arch}`;
  const help = spawnSync('/usr/bin/bwrap', ['--help'], { encoding: 'utf8', env: {} });
  const lacking = ['--disable-userns', '--block-fd', '--size'].filter((option) => !`${help.stdout}${help.stderr}`.includes(option));
  return lacking.length === 0 ? null : `bubblewrap is too old, it lacks ${lacking.join(', ')}: ${INSTALL} from a supported release`;
}

async function tryOut(around: Surroundings): Promise<string | null> {
  const secret = join(around.folders.root, 'probe-secret');
  fs.writeFileSync(secret, 'secret', { mode: 0o644 });
  const listener = net.createServer((socket) => socket.end('open'));
  await new Promise<void>((listening) => {
    listener.listen(0, '127.0.0.1', listening);
  });
  try {
    const sandbox = await startSandbox(PROBE_SHAPE, around);
    try {
      const { port } = listener.address() as net.AddressInfo;
      const open = await runChecks(sandbox, { secret, port, pid: process.pid, filtered: around.filter !== null });
      return open.length === 0 ? null : `a sandbox was started, but it does not hold: ${open.join(', ')}`;
    } finally {
      await sandbox.stop('stopped');
    }
  } catch (error) {
    return explain((error as Error).message);
  } finally {
    listener.close();
    fs.rmSync(secret, { force: true });
  }
}

function explain(said: string): string {
  if (
    /uid map: Permission denied|RTM_NEWADDR|Operation not permitted.*uid_map|uid_map.*Operation not permitted/.test(said) &&
    fs.existsSync('/proc/sys/kernel/apparmor_restrict_unprivileged_userns')
  ) {
    return `${said}; ${APPARMOR}`;
  }
  if (/No permissions to creat|creating new namespace|unshare failed|clone.*not permitted/i.test(said)) {
    return `${said}; the kernel refuses user namespaces: set kernel.unprivileged_userns_clone=1 and user.max_user_namespaces above 0, or, in a container, allow them in its profile`;
  }
  if (/Can't find source path.*Permission denied/.test(said)) {
    return `${said}; sandboxes of other users must be able to enter every folder above the state folder: move it, or chmod o+x them`;
  }
  return said;
}

async function runChecks(
  sandbox: Awaited<ReturnType<typeof startSandbox>>,
  facts: { secret: string; port: number; pid: number; filtered: boolean },
): Promise<string[]> {
  const parts: Buffer[] = [];
  const { promise: exited, resolve: exit } = Promise.withResolvers<unknown>();
  const call = await sandbox.link.spawn(
    { op: 'spawn', argv: [INSIDE.node, '-e', CHECKS, JSON.stringify(facts)], cwd: '/', env: { PATH: INSIDE.path } },
    { output: (kind, data) => void (kind === 'out' && parts.length < 100 && parts.push(Buffer.from(data))), exit },
  );
  const timer = setTimeout(() => call.signal('SIGKILL'), PROBE_MS);
  call.end();
  await exited;
  clearTimeout(timer);
  const said = Buffer.concat(parts).toString();
  const report = /^report (\[.*\])$/m.exec(said)?.[1];
  if (report === undefined) return ['the checks did not run to their end'];
  const open: unknown = JSON.parse(report);
  return Array.isArray(open) ? open.map(String) : ['the checks reported nothing'];
}

/** Runs inside. Each is something that must not be possible, or must be so. */
const CHECKS = `
const fs = require('node:fs'), net = require('node:net');
const facts = JSON.parse(process.argv[1]);
const reads = (path) => { try { return fs.readFileSync(path, 'latin1'); } catch { return null; } };
const writes = (path, flag) => { try { fs.closeSync(fs.openSync(path, flag)); return true; } catch { return false; } };
const status = (name) => new RegExp('^' + name + ':\\\\s*(\\\\S+)', 'm').exec(reads('/proc/self/status') ?? '')?.[1];
const links = (folder) => { try { return fs.readdirSync(folder).map((fd) => { try { return fs.readlinkSync(folder + '/' + fd); } catch { return ''; } }); } catch { return []; } };
const checks = {
  'a file of the host can be read': reads(facts.secret) !== null || reads('/etc/shadow') !== null,
  'the environment of process 1 names the host': (reads('/proc/1/environ') ?? '').includes(facts.secret.replace('probe-secret', '')),
  'the arguments of process 1 name the host': (reads('/proc/1/cmdline') ?? '').includes(facts.secret.replace('probe-secret', '')),
  'process 1 holds files of the host': links('/proc/1/fd').some((link) => link.startsWith('/') && !link.startsWith('/dev/')),
  'core_pattern can be written': writes('/proc/sys/kernel/core_pattern', 'r+'),
  'the system can be written': writes('/usr/bin/centaur-probe', 'w') || writes('/etc/centaur-probe', 'w') || writes('/centaur-probe', 'w'),
  'processes of the host are visible': fs.readdirSync('/proc').filter((name) => /^\\d+$/.test(name)).length > 8,
  'it has capabilities': Number('0x' + status('CapEff')) !== 0 || Number('0x' + status('CapBnd')) !== 0 || Number('0x' + status('CapPrm')) !== 0,
  'it may gain privileges': status('NoNewPrivs') !== '1',
  'it runs as root of the host': /^\\s*\\d+\\s+0\\s/m.test(reads('/proc/self/uid_map') ?? '') && process.getuid() === 0 && facts.filtered,
  'there is no system call filter': facts.filtered && status('Seccomp') !== '2',
};
const socket = net.connect(facts.port, '127.0.0.1');
const report = () => console.log('report ' + JSON.stringify(Object.keys(checks).filter((name) => checks[name])));
socket.on('connect', () => { checks['the network of the host can be reached'] = true; report(); process.exit(); });
socket.on('error', report);
`;
