/**
 * An assembler for classic BPF, the language of seccomp filters. A wrong jump in a filter fails open, so jumps go to
 * labels by name, only forwards, and whatever does not fit or does not exist is an error here and not a hole there.
 */

/** What a filter answers a system call with. */
export const ALLOW = 0x7fff_0000;
export const KILL = 0x8000_0000;
export const errno = (code: number): number => 0x0005_0000 | code;

export type Instruction =
  /** Reads 32 bits of `struct seccomp_data`. */
  | { readonly op: 'load'; readonly offset: number }
  | { readonly op: 'and'; readonly value: number }
  /** Goes on with the next instruction on either side that names no label. */
  | { readonly op: 'equal' | 'atLeast' | 'anyBit'; readonly value: number; readonly yes?: string; readonly no?: string }
  | { readonly op: 'return'; readonly value: number }
  | { readonly op: 'label'; readonly name: string };

const LOAD = 0x20;
const AND = 0x54;
const RETURN = 0x06;
const JUMPS = { equal: 0x15, atLeast: 0x35, anyBit: 0x45 } as const;
/** The kernel takes no more. */
const MOST_INSTRUCTIONS = 4096;
const SIZE = 8;

/** The program as the kernel takes it: eight bytes each, little-endian. Throws when a jump leads nowhere, backwards or too far. */
export function assemble(program: readonly Instruction[]): Buffer {
  const labels = new Map<string, number>();
  const code: Exclude<Instruction, { op: 'label' }>[] = [];
  for (const each of program) {
    if (each.op !== 'label') code.push(each);
    else if (labels.has(each.name)) throw new Error(`bpf: the label ${each.name} stands twice`);
    else labels.set(each.name, code.length);
  }
  if (code.length === 0 || code.length > MOST_INSTRUCTIONS) throw new Error(`bpf: ${code.length} instructions`);
  if (code.at(-1)?.op !== 'return') throw new Error('bpf: the program runs off its end');
  const bytes = Buffer.alloc(code.length * SIZE);
  const jump = (from: number, label: string | undefined): number => {
    if (label === undefined) return 0;
    const to = labels.get(label);
    if (to === undefined) throw new Error(`bpf: there is no label ${label}`);
    const distance = to - from - 1;
    if (distance < 0 || distance > 255) throw new Error(`bpf: ${label} is ${distance} instructions away, a jump reaches 0 to 255`);
    if (to >= code.length) throw new Error(`bpf: nothing stands behind the label ${label}`);
    return distance;
  };
  const put = (index: number, opcode: number, value: number, yes = 0, no = 0): void => {
    if (!Number.isInteger(value) || value < 0 || value > 0xffff_ffff) throw new Error(`bpf: ${value} is not an unsigned 32-bit number`);
    bytes.writeUInt16LE(opcode, index * SIZE);
    bytes.writeUInt8(yes, index * SIZE + 2);
    bytes.writeUInt8(no, index * SIZE + 3);
    bytes.writeUInt32LE(value, index * SIZE + 4);
  };
  code.forEach((each, index) => {
    if (each.op === 'load') put(index, LOAD, each.offset);
    else if (each.op === 'and') put(index, AND, each.value);
    else if (each.op === 'return') put(index, RETURN, each.value);
    else put(index, JUMPS[each.op], each.value, jump(index, each.yes), jump(index, each.no));
  });
  return bytes;
}
