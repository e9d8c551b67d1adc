import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ALLOW, assemble, errno, type Instruction, KILL } from './bpf.ts';
import { seccompFilter } from './filter.ts';
import { type Architecture, JUDGED, numberOf, REFUSED, UNREADABLE } from './syscalls.ts';

const ARCH = { x64: 0xc000_003e, arm64: 0xc000_00b7, i386: 0x4000_0003, arm: 0x4000_0028 } as const;
const EPERM = errno(1);
const ENOSYS = errno(38);
const EAFNOSUPPORT = errno(97);
const ARCHITECTURES: readonly Architecture[] = ['x64', 'arm64'];

/** What the kernel's interpreter would answer; strict about everything the kernel's checker is strict about. */
function run(filter: Buffer, call: { arch: number; nr: number; args?: readonly number[] }): number {
  const data = Buffer.alloc(64);
  data.writeUInt32LE(call.nr >>> 0, 0);
  data.writeUInt32LE(call.arch, 4);
  (call.args ?? []).forEach((value, index) => {
    data.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)), 16 + 8 * index);
  });
  let accumulator = 0;
  for (let at = 0; ; at++) {
    assert.ok(at * 8 < filter.length, 'ran off the end');
    const [code, yes, no, k] = [
      filter.readUInt16LE(at * 8),
      filter.readUInt8(at * 8 + 2),
      filter.readUInt8(at * 8 + 3),
      filter.readUInt32LE(at * 8 + 4),
    ];
    if (code === 0x20) accumulator = data.readUInt32LE(k);
    else if (code === 0x54) accumulator = (accumulator & k) >>> 0;
    else if (code === 0x15) at += accumulator === k ? yes : no;
    else if (code === 0x35) at += accumulator >= k ? yes : no;
    else if (code === 0x45) at += (accumulator & k) === 0 ? no : yes;
    else if (code === 0x06) return k;
    else assert.fail(`unknown instruction ${code}`);
  }
}

/** On each architecture that has the call. */
function judge(name: keyof typeof JUDGED, args: readonly number[], expected: number): void {
  for (const architecture of ARCHITECTURES) {
    const nr = numberOf(JUDGED[name], architecture);
    if (nr === null) continue;
    const got = run(seccompFilter(architecture), { arch: ARCH[architecture], nr, args });
    assert.equal(got.toString(16), expected.toString(16), `${architecture} ${name}(${args.join(', ')})`);
  }
}

test('every system call number of both architectures: refused when it is on the list, else allowed', () => {
  for (const architecture of ARCHITECTURES) {
    const filter = seccompFilter(architecture);
    const refused = new Set(Object.values(REFUSED).map((each) => numberOf(each, architecture)));
    const unreadable = new Set(Object.values(UNREADABLE).map((each) => numberOf(each, architecture)));
    const judged = new Set(Object.values(JUDGED).map((each) => numberOf(each, architecture)));
    for (let nr = 0; nr < 600; nr++) {
      if (judged.has(nr)) continue;
      const expected = refused.has(nr) ? EPERM : unreadable.has(nr) ? ENOSYS : ALLOW;
      // arguments of an unjudged call change nothing
      for (const args of [[], [0, 0, 0, 0, 0, 0], [-1, -1, -1, -1, -1, -1], [40, 3, 0xffff, 0o6777]]) {
        assert.equal(run(filter, { arch: ARCH[architecture], nr, args }), expected, `${architecture} ${nr}`);
      }
    }
  }
});

test('no number stands for two calls', () => {
  for (const architecture of ARCHITECTURES) {
    const numbers = [REFUSED, UNREADABLE, JUDGED].flatMap((table) =>
      Object.values(table as Record<string, readonly [number | null, number | null]>)
        .map((each) => numberOf(each, architecture))
        .filter((each) => each !== null),
    );
    assert.equal(new Set(numbers).size, numbers.length);
  }
});

test('another architecture’s calls kill; x32 does not exist', () => {
  for (const architecture of ARCHITECTURES) {
    for (const [name, arch] of Object.entries(ARCH)) {
      if (name !== architecture) assert.equal(run(seccompFilter(architecture), { arch, nr: 1 }), KILL, `${name} under ${architecture}`);
    }
  }
  for (const nr of [0x4000_0000, 0x4000_0001, 0x4000_0208, 0x7fff_ffff, -1]) {
    assert.equal(run(seccompFilter('x64'), { arch: ARCH.x64, nr }), ENOSYS, String(nr));
  }
  assert.throws(() => seccompFilter('riscv64'), /no system call filter for riscv64/);
});

test('clone makes threads and processes, but no namespaces', () => {
  judge('clone', [0x003d_0f00], ALLOW);
  judge('clone', [0x0120_0011], ALLOW);
  for (const flag of [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000]) {
    judge('clone', [flag | 17], EPERM);
  }
});

test('sockets: unix, internet streams and datagrams, routing netlink; nothing else', () => {
  for (let family = 0; family < 64; family++) {
    const known = [1, 2, 10].includes(family) || family === 16;
    judge('socket', [family, 2, 0], known ? ALLOW : EAFNOSUPPORT);
  }
  judge('socket', [2, 1 | 0o2000000 | 0o4000, 6], ALLOW);
  judge('socket', [10, 2, 17], ALLOW);
  // raw, packet, SCTP, multipath, L2TP
  for (const args of [
    [2, 3, 1],
    [2, 10, 0],
    [2, 1, 132],
    [2, 1, 262],
    [10, 2, 115],
    [16, 3, 12],
    [16, 3, 9],
    [40, 1, 0],
    [2 ** 32 + 40, 1, 0],
  ])
    judge('socket', args, EAFNOSUPPORT);
  judge('socketpair', [1, 1, 0], ALLOW);
  judge('socketpair', [30, 1, 0], EAFNOSUPPORT);
});

test('nothing types into a terminal', () => {
  judge('ioctl', [0, 0x5401], ALLOW);
  for (const command of [0x5412, 0x541c, 0x5423]) judge('ioctl', [0, command], EPERM);
  judge('ioctl', [0, 2 ** 32 + 0x5412], EPERM);
});

test('no file becomes setuid or setgid, by whichever call', () => {
  for (const bits of [0o4755, 0o2755, 0o6777]) {
    judge('chmod', [0, bits], EPERM);
    judge('fchmod', [0, bits], EPERM);
    judge('fchmodat', [0, 0, bits], EPERM);
    judge('fchmodat2', [0, 0, bits], EPERM);
    judge('mknod', [0, bits | 0o100000], EPERM);
    judge('mknodat', [0, 0, bits | 0o100000], EPERM);
    judge('creat', [0, bits], EPERM);
    judge('open', [0, 0o101, bits], EPERM);
    judge('openat', [0, 0, 0o101, bits], EPERM);
    judge('openat', [0, 0, 0o20200002, bits], EPERM);
    // no mode without O_CREAT: what stands in that register means nothing
    judge('openat', [0, 0, 0, bits], ALLOW);
  }
  judge('chmod', [0, 0o1777], ALLOW);
  judge('openat', [0, 0, 0o101, 0o755], ALLOW);
});

test('the assembler refuses what would be a hole', () => {
  const end: Instruction = { op: 'return', value: ALLOW };
  assert.throws(() => assemble([{ op: 'equal', value: 1, yes: 'nowhere' }, end]), /no label nowhere/);
  assert.throws(() => assemble([{ op: 'label', name: 'up' }, { op: 'equal', value: 1, yes: 'up' }, end]), /up is -1 instructions away/);
  const far = Array.from({ length: 256 }, (): Instruction => ({ op: 'and', value: 1 }));
  assert.throws(
    () => assemble([{ op: 'equal', value: 1, yes: 'far' }, ...far, { op: 'label', name: 'far' }, end]),
    /256 instructions away/,
  );
  assert.equal(assemble([{ op: 'equal', value: 1, yes: 'far' }, ...far.slice(1), { op: 'label', name: 'far' }, end])[2], 255);
  assert.throws(() => assemble([{ op: 'label', name: 'a' }, { op: 'label', name: 'a' }, end]), /stands twice/);
  assert.throws(() => assemble([{ op: 'equal', value: 1, yes: 'a' }, end, { op: 'label', name: 'a' }]), /nothing stands behind/);
  assert.throws(() => assemble([{ op: 'load', offset: 0 }]), /runs off its end/);
  assert.throws(() => assemble([{ op: 'return', value: -1 }]), /unsigned 32-bit/);
  assert.throws(() => assemble([]), /0 instructions/);
});
