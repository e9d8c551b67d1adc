/** Limits by control groups where this machine lets us make them: version 2 if it is delegated, else version 1, else none. */
import fs from 'node:fs';
import { join } from 'node:path';
import type { SandboxLimits } from '../types.ts';
import { killProcess } from './processes.ts';

export interface Cgroup {
  /** For whoever cleans up after a crash. */
  readonly folders: readonly string[];
  add(pid: number): void;
  memoryMb(): number;
  processes(): number;
  /** How often the kernel ended a process here for want of memory. */
  memoryKills(): number;
  /** Resolves when the group is gone. */
  remove(): Promise<void>;
}

export interface Cgroups {
  readonly level: 'cgroup2' | 'cgroup1';
  create(name: string, limits: SandboxLimits): Cgroup;
  /** When no group is left in it. */
  close(): void;
}

/** Where /proc and the mounts are: tests use their own. */
export interface CgroupPlace {
  readonly membership: string;
  readonly mounts: string;
}

/** Threads of the agent and of what starts it count too. */
const OWN_PROCESSES = 24;
const CPU_PERIOD_US = 100_000;

export function findCgroups(name: string, place: CgroupPlace = readPlace()): { cgroups?: Cgroups; reason?: string } {
  const problems: string[] = [];
  for (const find of [findVersion2, findVersion1]) {
    try {
      return { cgroups: find(name, place) };
    } catch (error) {
      problems.push((error as Error).message);
    }
  }
  return {
    reason: `limits are polled instead of enforced by the kernel (${problems.join('; ')}): run as a systemd unit with Delegate=yes`,
  };
}

function readPlace(): CgroupPlace {
  return { membership: fs.readFileSync('/proc/self/cgroup', 'utf8'), mounts: fs.readFileSync('/proc/self/mountinfo', 'utf8') };
}

function findVersion2(name: string, { membership, mounts }: CgroupPlace): Cgroups {
  const mount = mountOf(mounts, (type) => type === 'cgroup2');
  const path = /^0::(.*)$/m.exec(membership)?.[1];
  if (mount === undefined || path === undefined) throw new Error('there is no cgroup version 2');
  const own = join(mount, path);
  const available = read(join(own, 'cgroup.controllers')).split(/\s+/);
  if (!available.includes('memory') || !available.includes('pids'))
    throw new Error('cgroup version 2 has no memory and pids controllers here');
  // a group with processes of its own cannot limit groups below it: we move into one beside those of the sandboxes
  const holder = join(own, `${name}-holder`);
  fs.mkdirSync(holder, { recursive: true });
  write(join(holder, 'cgroup.procs'), String(process.pid));
  const wanted = ['memory', 'pids', 'cpu'].filter((each) => available.includes(each));
  write(join(own, 'cgroup.subtree_control'), wanted.map((each) => `+${each}`).join(' '));
  const parent = join(own, name);
  fs.mkdirSync(parent, { recursive: true });
  write(join(parent, 'cgroup.subtree_control'), wanted.map((each) => `+${each}`).join(' '));
  return {
    level: 'cgroup2',
    close: () => removeFolders([parent]),
    create: (id, limits) => {
      const folder = join(parent, id);
      fs.mkdirSync(folder);
      write(join(folder, 'memory.max'), String(limits.memoryMb * 2 ** 20));
      optional(join(folder, 'memory.swap.max'), '0');
      write(join(folder, 'pids.max'), String(limits.processes + OWN_PROCESSES));
      optional(join(folder, 'cpu.max'), `${Math.round(limits.cpus * CPU_PERIOD_US)} ${CPU_PERIOD_US}`);
      return {
        folders: [folder],
        add: (pid) => write(join(folder, 'cgroup.procs'), String(pid)),
        memoryMb: () => Number(read(join(folder, 'memory.current'))) / 2 ** 20,
        processes: () => countProcesses([folder]),
        memoryKills: () => Number(/^oom_kill (\d+)$/m.exec(read(join(folder, 'memory.events')))?.[1] ?? 0),
        remove: () => removeGroups([folder]),
      };
    },
  };
}

function findVersion1(name: string, { membership, mounts }: CgroupPlace): Cgroups {
  const parentOf = (controller: string): string => {
    const mount = mountOf(mounts, (type, options) => type === 'cgroup' && options.includes(controller));
    const path = new RegExp(String.raw`^\d+:(?:[^:]+,)?${controller}(?:,[^:]+)?:(.*)$`, 'm').exec(membership)?.[1];
    if (mount === undefined || path === undefined) throw new Error(`cgroup version 1 has no ${controller} controller here`);
    const parent = join(mount, path, name);
    fs.mkdirSync(parent, { recursive: true });
    return parent;
  };
  const memory = parentOf('memory');
  const pids = parentOf('pids');
  let cpu: string | undefined;
  try {
    cpu = parentOf('cpu');
  } catch {
    // the shares of the processor are the one limit that harms nobody when it is missing
  }
  return {
    level: 'cgroup1',
    close: () => removeFolders([memory, pids, ...(cpu === undefined ? [] : [cpu])]),
    create: (id, limits) => {
      const folders = [memory, pids, cpu].flatMap((parent) => (parent === undefined ? [] : [join(parent, id)]));
      for (const folder of folders) fs.mkdirSync(folder);
      const [ofMemory, ofPids] = [join(memory, id), join(pids, id)];
      const bytes = String(limits.memoryMb * 2 ** 20);
      write(join(ofMemory, 'memory.limit_in_bytes'), bytes);
      optional(join(ofMemory, 'memory.memsw.limit_in_bytes'), bytes);
      write(join(ofPids, 'pids.max'), String(limits.processes + OWN_PROCESSES));
      if (cpu !== undefined) {
        optional(join(cpu, id, 'cpu.cfs_period_us'), String(CPU_PERIOD_US));
        optional(join(cpu, id, 'cpu.cfs_quota_us'), String(Math.round(limits.cpus * CPU_PERIOD_US)));
      }
      return {
        folders,
        add: (pid) => {
          for (const folder of folders) write(join(folder, 'cgroup.procs'), String(pid));
        },
        memoryMb: () => Number(read(join(ofMemory, 'memory.usage_in_bytes'))) / 2 ** 20,
        processes: () => countProcesses([ofPids]),
        memoryKills: () => Number(/^oom_kill (\d+)$/m.exec(read(join(ofMemory, 'memory.oom_control')))?.[1] ?? 0),
        remove: () => removeGroups(folders),
      };
    },
  };
}

/** Lines of mountinfo: number, parent, device, root, place, options, tags, -, type, source, options of the file system. */
function mountOf(mounts: string, wanted: (type: string, options: readonly string[]) => boolean): string | undefined {
  for (const line of mounts.split('\n')) {
    const [mount, system] = line.split(' - ').map((part) => part.split(' '));
    if (wanted(system?.[0] ?? '', system?.[2]?.split(',') ?? [])) return mount?.[4];
  }
  return undefined;
}

const read = (path: string): string => fs.readFileSync(path, 'utf8').trim();
/** Never creates: a file that the kernel does not offer is a limit that does not hold. */
const write = (path: string, value: string): void => fs.writeFileSync(path, value, { flag: 'r+' });

function optional(path: string, value: string): void {
  try {
    write(path, value);
  } catch {
    // without swap accounting, or without a share of the processor: the other limits hold
  }
}

function removeFolders(folders: readonly string[]): void {
  for (const folder of folders) {
    try {
      fs.rmdirSync(folder);
    } catch {
      // still in use: the next holder of this state folder has it again
    }
  }
}

function processesIn(folder: string): number[] {
  try {
    return read(join(folder, 'cgroup.procs')).split('\n').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

function countProcesses(folders: readonly string[]): number {
  return new Set(folders.flatMap(processesIn)).size;
}

/** Ends what is left in the groups, and removes them. A group stays busy for a moment after its last process. */
export async function removeGroups(folders: readonly string[]): Promise<void> {
  for (const folder of folders) {
    for (let attempt = 0; attempt < 100; attempt++) {
      for (const pid of processesIn(folder)) killProcess(pid);
      try {
        fs.rmdirSync(folder);
        break;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') break;
        await new Promise((later) => setTimeout(later, 10));
      }
    }
  }
}
