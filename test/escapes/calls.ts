/** Attempts by system calls, made directly, so that no library refuses before the kernel does. */
import type { SystemCall } from './elf.ts';

export interface CallAttempt {
  readonly name: string;
  readonly calls: readonly SystemCall[];
  readonly isOpen: (results: readonly bigint[]) => boolean;
}

const EPERM = -1n;
const ENOSYS = -38n;
const EAFNOSUPPORT = -97n;
const AT_FDCWD = -100;
const text = (value: string): Buffer => Buffer.from(`${value}\0`);

/** The last call succeeded. */
const succeeds = (results: readonly bigint[]): boolean => (results.at(-1) as bigint) >= 0n;
/** The last call got past the filter, whatever the kernel then thought of its arguments: that is surface enough. */
const reaches = (results: readonly bigint[]): boolean => ![EPERM, ENOSYS, EAFNOSUPPORT].includes(results.at(-1) as bigint);

const one = (name: string, nr: number, args: SystemCall['args'], isOpen = succeeds): CallAttempt => ({
  name,
  calls: [{ nr, args }],
  isOpen,
});
const socket = (name: string, ...args: number[]): CallAttempt => one(`socket: ${name}`, 41, args);

const CLONE_ARGS = Buffer.alloc(88);
CLONE_ARGS.writeBigUInt64LE(0x1000_0000n, 0);
CLONE_ARGS.writeBigUInt64LE(17n, 32);

/** @param key of a segment of shared memory that the host has */
export function callAttempts(key: number): CallAttempt[] {
  return [
    one('ptrace: be traced', 101, [0, 0, 0, 0]),
    {
      name: 'read another process’s memory',
      calls: [
        { nr: 39, args: [] },
        { nr: 310, args: [{ result: 0 }, 0, 0, 0, 0, 0] },
      ],
      isOpen: succeeds,
    },
    {
      name: 'take a descriptor out of another process',
      calls: [
        { nr: 39, args: [] },
        { nr: 434, args: [{ result: 0 }, 0] },
        { nr: 438, args: [{ result: 1 }, 1, 0] },
      ],
      isOpen: succeeds,
    },
    {
      name: 'compare kernel objects',
      calls: [
        { nr: 39, args: [] },
        { nr: 312, args: [{ result: 0 }, { result: 0 }, 0, 1, 1] },
      ],
      isOpen: succeeds,
    },
    one('new user namespace: unshare', 272, [0x1000_0000]),
    one('new user and mount namespace: unshare', 272, [0x1002_0000]),
    one('new network namespace: unshare', 272, [0x4000_0000]),
    one('new user namespace: clone', 56, [0x1000_0011, 0, 0, 0, 0]),
    one('new user namespace: clone3', 435, [CLONE_ARGS, 88]),
    {
      name: 'enter a namespace',
      calls: [
        { nr: 2, args: [text('/proc/1/ns/net'), 0, 0] },
        { nr: 308, args: [{ result: 0 }, 0] },
      ],
      isOpen: succeeds,
    },
    one('mount a file system', 165, [text('none'), text('/tmp'), text('tmpfs'), 0, 0]),
    one('unmount what hides /proc/cmdline', 166, [text('/proc/cmdline'), 2]),
    one('remount / writable', 165, [text('none'), text('/'), 0, 0x1020, 0]),
    one('pivot_root', 155, [text('/tmp'), text('/tmp')]),
    one('chroot', 161, [text('/tmp')]),
    one('open_tree', 428, [AT_FDCWD, text('/'), 0]),
    one('fsopen', 430, [text('tmpfs'), 0]),
    one('mount_setattr', 442, [AT_FDCWD, text('/'), 0, Buffer.alloc(32), 32]),
    one('bpf', 321, [0, Buffer.alloc(72), 72], reaches),
    one('perf_event_open', 298, [Buffer.alloc(128), 0, -1, -1, 0], reaches),
    one('io_uring', 425, [1, Buffer.alloc(120)]),
    one('userfaultfd', 323, [1], reaches),
    one('keyctl', 250, [0, -3, 0, 0, 0], reaches),
    one('add_key', 248, [text('user'), text('centaur'), text('x'), 1, -3]),
    one('request_key', 249, [text('user'), text('none'), 0, -3], reaches),
    one('kexec_load', 246, [0, 0, 0, 0], reaches),
    one('load a module', 175, [0, 0, text('')], reaches),
    one('open a file by handle', 304, [AT_FDCWD, Buffer.alloc(136), 0], reaches),
    one('make a file handle', 303, [AT_FDCWD, text('/'), Buffer.alloc(136), Buffer.alloc(8), 0], reaches),
    one('set the clock', 227, [0, Buffer.alloc(16)]),
    one('set the time of day', 164, [Buffer.alloc(16), 0]),
    one('read the clock’s discipline', 159, [Buffer.alloc(208)]),
    one('set the hostname', 170, [text('x'), 1]),
    one('set the domain', 171, [text('x'), 1]),
    one('swapon', 167, [text('/tmp'), 0], reaches),
    one('reboot, with the wrong magic', 169, [0, 0, 0, 0], reaches),
    one('personality', 135, [0x0004_0000]),
    one('read the kernel’s log', 103, [3, Buffer.alloc(64), 64]),
    one('iopl', 172, [3]),
    one('modify_ldt', 154, [0, Buffer.alloc(64), 64]),
    one('set_mempolicy', 238, [0, 0, 0]),
    one('accounting', 163, [0]),
    one('fanotify', 300, [0x200, 0]),
    one('memfd_secret', 447, [0], reaches),
    one('openat2, which no filter can read', 437, [AT_FDCWD, text('/'), Buffer.alloc(24), 24]),
    socket('vsock, past every network namespace', 40, 1, 0),
    socket('packet', 17, 3, 0),
    socket('raw ICMP', 2, 3, 1),
    socket('kernel crypto', 38, 5, 0),
    socket('netlink to netfilter', 16, 3, 12),
    socket('netlink of kernel events', 16, 3, 15),
    socket('bluetooth', 31, 3, 1),
    socket('SCTP', 2, 1, 132),
    socket('multipath TCP', 2, 1, 262),
    socket('UDP-Lite', 2, 2, 136),
    one('a TIPC pair', 53, [30, 1, 0, Buffer.alloc(8)]),
    one('x32 calls', 0x4000_0000 + 39, []),
    { name: '32-bit calls', calls: [{ nr: 20, args: [], gate: 'int80' }], isOpen: (results) => (results[0] as bigint) > 0n },
    one('type into the terminal (TIOCSTI)', 16, [1, 0x5412, text('x')], reaches),
    one('paste into the terminal (TIOCLINUX)', 16, [1, 0x541c, text('\x03')], reaches),
    one('change the line discipline', 16, [1, 0x5423, Buffer.alloc(8)], reaches),
    {
      name: 'setuid by chmod',
      calls: [
        { nr: 85, args: [text('/tmp/centaur-s1'), 0o755] },
        { nr: 90, args: [text('/tmp/centaur-s1'), 0o4755] },
      ],
      isOpen: succeeds,
    },
    {
      name: 'setuid by fchmodat',
      calls: [
        { nr: 85, args: [text('/tmp/centaur-s2'), 0o755] },
        { nr: 268, args: [AT_FDCWD, text('/tmp/centaur-s2'), 0o6755] },
      ],
      isOpen: succeeds,
    },
    one('setuid by creating', 257, [AT_FDCWD, text('/tmp/centaur-s3'), 0o102, 0o4755]),
    one('setuid by mknod', 259, [AT_FDCWD, text('/tmp/centaur-s4'), 0o104755, 0]),
    one('make a block device', 259, [AT_FDCWD, text('/tmp/centaur-b'), 0o60666, 0xfe00]),
    one('become user 0', 105, [0]),
    one('shared memory of the host', 29, [key, 4096, 0]),
  ];
}
