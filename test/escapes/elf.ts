/**
 * Programs that make system calls and nothing else, written out byte by byte: so that a probe needs no compiler and no
 * libc that would refuse first. x86-64 only.
 */

/** A number, bytes in the program's memory, or what an earlier call returned. */
export type Argument = number | bigint | Buffer | { readonly result: number };

export interface SystemCall {
  readonly nr: number;
  readonly args: readonly Argument[];
  /** By the 32-bit gate instead of the 64-bit one; pointers do not fit through it. */
  readonly gate?: 'int80';
}

const BASE = 0x400000;
const HEADERS = 64 + 56;
/** REX and opcode of `mov r64, imm64`: rdi, rsi, rdx, r10, r8, r9. */
const MOVES = [
  [0x48, 0xbf],
  [0x48, 0xbe],
  [0x48, 0xba],
  [0x49, 0xba],
  [0x49, 0xb8],
  [0x49, 0xb9],
] as const;
/** `mov r64, [rbx + disp32]` of the same. */
const LOADS = [
  [0x48, 0x8b, 0xbb],
  [0x48, 0x8b, 0xb3],
  [0x48, 0x8b, 0x93],
  [0x4c, 0x8b, 0x93],
  [0x4c, 0x8b, 0x83],
  [0x4c, 0x8b, 0x8b],
] as const;

/** A program that makes the calls in turn and writes what each returned, eight bytes each, to its output. */
export function programOf(calls: readonly SystemCall[]): Buffer {
  const data: Buffer[] = [];
  let dataSize = 8 * calls.length;
  const place = (bytes: Buffer): number => {
    const at = dataSize;
    // room behind it, for calls that write into what they are given
    const padded = Buffer.concat([bytes, Buffer.alloc(16 - (bytes.length % 8))]);
    data.push(padded);
    dataSize += padded.length;
    return at;
  };
  const placed = calls.map(({ args }) => args.map((arg) => (Buffer.isBuffer(arg) ? { at: place(arg) } : arg)));
  const codeFor = (dataAddress: number): Buffer => {
    const code: number[] = [];
    const word = (value: bigint): void => {
      for (let index = 0n; index < 8n; index++) code.push(Number((BigInt.asUintN(64, value) >> (8n * index)) & 0xffn));
    };
    const int = (value: number): void => void code.push(value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >> 24) & 0xff);
    code.push(0x48, 0xbb);
    word(BigInt(dataAddress));
    calls.forEach(({ nr, gate }, index) => {
      for (const [position, arg] of (placed[index] ?? []).entries()) {
        if (typeof arg === 'object' && 'result' in arg) {
          code.push(...(LOADS[position] as readonly number[]));
          int(8 * arg.result);
        } else {
          code.push(...(MOVES[position] as readonly number[]));
          word(typeof arg === 'object' ? BigInt(dataAddress + arg.at) : BigInt(arg));
        }
      }
      // mov rax, nr; the gate; mov [rbx + 8 * index], rax
      code.push(0x48, 0xb8);
      word(BigInt(nr));
      code.push(...(gate === 'int80' ? [0x53, 0xcd, 0x80, 0x5b] : [0x0f, 0x05]));
      code.push(0x48, 0x89, 0x83);
      int(8 * index);
    });
    // write(1, results, size); exit_group(0)
    code.push(0x48, 0xbf);
    word(1n);
    code.push(0x48, 0x89, 0xde, 0x48, 0xba);
    word(BigInt(8 * calls.length));
    code.push(0x48, 0xb8);
    word(1n);
    code.push(0x0f, 0x05, 0x48, 0x31, 0xff, 0x48, 0xb8);
    word(231n);
    code.push(0x0f, 0x05);
    return Buffer.from(code);
  };
  const codeSize = codeFor(0).length;
  const code = codeFor(BASE + HEADERS + codeSize);
  return Buffer.concat([headers(HEADERS + codeSize + dataSize), code, Buffer.alloc(8 * calls.length), ...data]);
}

function headers(size: number): Buffer {
  const head = Buffer.alloc(HEADERS);
  Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]).copy(head);
  head.writeUInt16LE(2, 16);
  head.writeUInt16LE(0x3e, 18);
  head.writeUInt32LE(1, 20);
  head.writeBigUInt64LE(BigInt(BASE + HEADERS), 24);
  head.writeBigUInt64LE(64n, 32);
  head.writeUInt16LE(64, 52);
  head.writeUInt16LE(56, 54);
  head.writeUInt16LE(1, 56);
  // one segment that may be read, written and run
  head.writeUInt32LE(1, 64);
  head.writeUInt32LE(7, 68);
  head.writeBigUInt64LE(BigInt(BASE), 80);
  head.writeBigUInt64LE(BigInt(BASE), 88);
  head.writeBigUInt64LE(BigInt(size), 96);
  head.writeBigUInt64LE(BigInt(size), 104);
  head.writeBigUInt64LE(4096n, 112);
  return head;
}

/** What the program wrote, or undefined when it did not reach its end. */
export function resultsOf(output: Buffer, count: number): bigint[] | undefined {
  return output.length < 8 * count ? undefined : Array.from({ length: count }, (_, index) => output.readBigInt64LE(8 * index));
}
