/**
 * What a sandboxed process may ask the kernel for. A list of refusals, so that ordinary tools run unchanged: namespaces and
 * dropped privileges are the first wall, this is the second, and it closes what namespaces do not cover (vsock, io_uring).
 */
import { ALLOW, assemble, errno, type Instruction, KILL } from './bpf.ts';
import { type Architecture, JUDGED, numberOf, REFUSED, UNREADABLE } from './syscalls.ts';

const EPERM = 1;
const ENOSYS = 38;
const EAFNOSUPPORT = 97;

const AUDIT_ARCH: Readonly<Record<Architecture, number>> = { x64: 0xc000_003e, arm64: 0xc000_00b7 };
/** x64 numbers with this bit are the x32 table, which has its own numbers for what is refused here. */
const X32_BIT = 0x4000_0000;

const NUMBER = 0;
const ARCHITECTURE = 4;
/** The lower half of an argument: the kernel looks at no more of those that are judged here. */
const argument = (index: number): number => 16 + 8 * index;

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. NEWTIME cannot be asked of clone. */
const NEW_NAMESPACES = 0x7e02_0000;
const SETUID_OR_SETGID = 0o6000;
/** Only then is there a mode. */
const O_CREAT_OR_TMPFILE = 0o20_000_100;
const AF = { unix: 1, inet: 2, inet6: 10, netlink: 16 } as const;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
/** Default, ICMP echo, TCP, UDP, ICMPv6 echo. */
const PROTOCOLS = [0, 1, 6, 17, 58];
/** Typing into the terminal, two ways, and changing its line discipline. */
const TERMINAL_TRICKS = { TIOCSTI: 0x5412, TIOCLINUX: 0x541c, TIOCSETD: 0x5423 } as const;

/** The filter for an architecture, as bubblewrap loads it. Throws on one that has no table here: without a filter there is no sandbox. */
export function seccompFilter(architecture: string): Buffer {
  if (architecture !== 'x64' && architecture !== 'arm64') throw new Error(`there is no system call filter for ${architecture}`);
  return assemble(filterProgram(architecture));
}

function filterProgram(architecture: Architecture): Instruction[] {
  const refusals = (table: Readonly<Record<string, readonly [number | null, number | null]>>, code: number): Instruction[] =>
    Object.entries(table).flatMap(([name, numbers]) => {
      const number = numberOf(numbers, architecture);
      return number === null ? [] : onCall(name, number, [{ op: 'return', value: errno(code) }]);
    });
  const judged = (name: keyof typeof JUDGED, body: readonly Instruction[]): Instruction[] => {
    const number = numberOf(JUDGED[name], architecture);
    return number === null ? [] : onCall(name, number, body);
  };
  return [
    { op: 'load', offset: ARCHITECTURE },
    { op: 'equal', value: AUDIT_ARCH[architecture], yes: 'ours' },
    { op: 'return', value: KILL },
    { op: 'label', name: 'ours' },
    { op: 'load', offset: NUMBER },
    ...(architecture === 'x64' ? refuseX32() : []),
    ...refusals(UNREADABLE, ENOSYS),
    ...refusals(REFUSED, EPERM),
    ...judged('clone', refuseBits('clone', 0, NEW_NAMESPACES)),
    ...judged('chmod', refuseBits('chmod', 1, SETUID_OR_SETGID)),
    ...judged('fchmod', refuseBits('fchmod', 1, SETUID_OR_SETGID)),
    ...judged('fchmodat', refuseBits('fchmodat', 2, SETUID_OR_SETGID)),
    ...judged('fchmodat2', refuseBits('fchmodat2', 2, SETUID_OR_SETGID)),
    ...judged('mknod', refuseBits('mknod', 1, SETUID_OR_SETGID)),
    ...judged('mknodat', refuseBits('mknodat', 2, SETUID_OR_SETGID)),
    ...judged('creat', refuseBits('creat', 1, SETUID_OR_SETGID)),
    ...judged('open', refuseCreation('open', 1, 2)),
    ...judged('openat', refuseCreation('openat', 2, 3)),
    ...judged('ioctl', refuseValues('ioctl', 1, Object.values(TERMINAL_TRICKS))),
    ...judged('socketpair', allowOnly('socketpair', 0, [AF.unix])),
    ...judged('socket', socketRules()),
    { op: 'return', value: ALLOW },
  ];
}

function refuseX32(): Instruction[] {
  return [
    { op: 'atLeast', value: X32_BIT, no: 'native' },
    { op: 'return', value: errno(ENOSYS) },
    { op: 'label', name: 'native' },
  ];
}

/** Every body ends in a return: whatever the accumulator holds afterwards, nobody looks at it again. */
function onCall(name: string, number: number, body: readonly Instruction[]): Instruction[] {
  return [{ op: 'equal', value: number, no: `not ${name}` }, ...body, { op: 'label', name: `not ${name}` }];
}

function refuseBits(name: string, index: number, bits: number): Instruction[] {
  return [
    { op: 'load', offset: argument(index) },
    { op: 'anyBit', value: bits, no: `${name} allowed` },
    { op: 'return', value: errno(EPERM) },
    { op: 'label', name: `${name} allowed` },
    { op: 'return', value: ALLOW },
  ];
}

function refuseCreation(name: string, flags: number, mode: number): Instruction[] {
  return [
    { op: 'load', offset: argument(flags) },
    { op: 'anyBit', value: O_CREAT_OR_TMPFILE, no: `${name} allowed` },
    ...refuseBits(name, mode, SETUID_OR_SETGID),
  ];
}

function refuseValues(name: string, index: number, values: readonly number[]): Instruction[] {
  return [
    { op: 'load', offset: argument(index) },
    ...values.map((value): Instruction => ({ op: 'equal', value, yes: `${name} refused` })),
    { op: 'return', value: ALLOW },
    { op: 'label', name: `${name} refused` },
    { op: 'return', value: errno(EPERM) },
  ];
}

function allowOnly(name: string, index: number, values: readonly number[]): Instruction[] {
  return [
    { op: 'load', offset: argument(index) },
    ...values.map((value): Instruction => ({ op: 'equal', value, yes: `${name} allowed` })),
    { op: 'return', value: errno(EAFNOSUPPORT) },
    { op: 'label', name: `${name} allowed` },
    { op: 'return', value: ALLOW },
  ];
}

/** Unix; IPv4 and IPv6 as streams and datagrams of the common protocols; of netlink only routing, which libc asks for addresses. */
function socketRules(): Instruction[] {
  return [
    { op: 'load', offset: argument(0) },
    { op: 'equal', value: AF.unix, yes: 'socket allowed' },
    { op: 'equal', value: AF.inet, yes: 'internet' },
    { op: 'equal', value: AF.inet6, yes: 'internet' },
    { op: 'equal', value: AF.netlink, no: 'socket refused' },
    { op: 'load', offset: argument(2) },
    { op: 'equal', value: 0, yes: 'socket allowed', no: 'socket refused' },
    { op: 'label', name: 'internet' },
    { op: 'load', offset: argument(1) },
    // the upper bits are SOCK_CLOEXEC and SOCK_NONBLOCK
    { op: 'and', value: 0xf },
    { op: 'equal', value: SOCK_STREAM, yes: 'type allowed' },
    { op: 'equal', value: SOCK_DGRAM, yes: 'type allowed', no: 'socket refused' },
    { op: 'label', name: 'type allowed' },
    { op: 'load', offset: argument(2) },
    ...PROTOCOLS.map((value): Instruction => ({ op: 'equal', value, yes: 'socket allowed' })),
    { op: 'label', name: 'socket refused' },
    { op: 'return', value: errno(EAFNOSUPPORT) },
    { op: 'label', name: 'socket allowed' },
    { op: 'return', value: ALLOW },
  ];
}
