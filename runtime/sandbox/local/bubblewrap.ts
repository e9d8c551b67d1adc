/** Arguments for bubblewrap, handed over by a descriptor: what stands in a command line can be read inside. */
import fs from 'node:fs';
import { INSIDE } from './layout.ts';
import type { SandboxLimits } from '../types.ts';

export interface BubblewrapOptions {
  readonly limits: SandboxLimits;
  readonly binds: readonly { readonly source: string; readonly target: string; readonly writable: boolean }[];
  readonly filter: number;
  readonly info: number;
  readonly block: number;
}

/** Tells of the host, or of all its processes. Reads give "permission denied" afterwards. */
const HIDDEN = [
  'cmdline',
  'config.gz',
  'consoles',
  'diskstats',
  'kallsyms',
  'kcore',
  'key-users',
  'keys',
  'kmsg',
  'kpagecgroup',
  'kpagecount',
  'kpageflags',
  'latency_stats',
  'modules',
  'partitions',
  'sched_debug',
  'slabinfo',
  'swaps',
  'sysrq-trigger',
  'timer_list',
  'timer_stats',
  'vmallocinfo',
];
const SHM_MB = 64;

export function bubblewrapArgs({ limits, binds, filter, info, block }: BubblewrapOptions): string[] {
  const megabytes = (count: number): string => String(count * 2 ** 20);
  return [
    ['--unshare-user', '--unshare-pid', '--unshare-net', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try'],
    ['--uid', String(INSIDE.uid), '--gid', String(INSIDE.uid), '--hostname', 'sandbox'],
    ['--die-with-parent', '--new-session', '--disable-userns', '--cap-drop', 'ALL'],
    ['--seccomp', String(filter), '--info-fd', String(info), '--block-fd', String(block)],
    ['--clearenv', '--setenv', 'PATH', INSIDE.path, '--setenv', 'HOME', INSIDE.home, '--setenv', 'UV_THREADPOOL_SIZE', '1'],
    ['--ro-bind', '/usr', '/usr'],
    ['bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32'].flatMap(rootFolder),
    // some settings belong to its own namespaces, and its user could change them
    ['--proc', '/proc', '--ro-bind', '/proc/sys', '/proc/sys'],
    HIDDEN.flatMap((name) => (fs.existsSync(`/proc/${name}`) ? ['--ro-bind', '/dev/null', `/proc/${name}`] : [])),
    // its own mount of /dev would have no size
    [
      '--dev',
      '/dev',
      '--perms',
      '1777',
      '--size',
      megabytes(Math.min(SHM_MB, limits.tmpMb)),
      '--tmpfs',
      '/dev/shm',
      '--remount-ro',
      '/dev',
    ],
    ['--perms', '1777', '--size', megabytes(limits.tmpMb), '--tmpfs', '/tmp'],
    binds.flatMap(({ source, target, writable }) => [writable ? '--bind' : '--ro-bind', source, target]),
    ['ssl', 'alternatives', 'ld.so.cache'].flatMap((name) =>
      fs.existsSync(`/etc/${name}`) ? ['--ro-bind', `/etc/${name}`, `/etc/${name}`] : [],
    ),
    // last: everything above needs a root that can be written
    ['--remount-ro', '/', '--chdir', INSIDE.workspace],
  ].flat();
}

/** On most systems a link into /usr, on some a folder of its own. */
function rootFolder(name: string): string[] {
  const stat = fs.lstatSync(`/${name}`, { throwIfNoEntry: false });
  if (stat === undefined) return [];
  return stat.isSymbolicLink() ? ['--symlink', fs.readlinkSync(`/${name}`), `/${name}`] : ['--ro-bind', `/${name}`, `/${name}`];
}
