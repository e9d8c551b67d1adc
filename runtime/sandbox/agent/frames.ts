/**
 * What the holder and the agent inside a sandbox say to each other: a length, a kind, the number of the call it belongs to,
 * and a body. The agent may have been taken over: whoever reads its frames believes only their form.
 */

export const FRAME = {
  /** Holder to agent: begins a call, whose body is JSON. */
  call: 1,
  /** Both ways: bytes of a call: input of a process, content of a file. */
  data: 2,
  /** Holder to agent: no more bytes come, or are wanted. */
  end: 3,
  signal: 4,
  /** Agent to holder, of a process. */
  out: 5,
  err: 6,
  /** Four bytes: how much of the input the process has taken. */
  taken: 7,
  exit: 8,
  /** The last of a call, JSON. */
  done: 9,
  failed: 10,
} as const;

export interface Frame {
  readonly kind: number;
  readonly call: number;
  readonly body: Buffer;
}

/** More than any honest frame: content is sent in pieces of `PIECE` bytes. */
export const LARGEST_FRAME = 1024 * 1024;
export const PIECE = 64 * 1024;

const HEAD = 9;

export function encodeFrame(kind: number, call: number, body: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(HEAD + body.length);
  frame.writeUInt32LE(body.length, 0);
  frame.writeUInt8(kind, 4);
  frame.writeUInt32LE(call, 5);
  body.copy(frame, HEAD);
  return frame;
}

export function encodeJson(kind: number, call: number, value: unknown): Buffer {
  return encodeFrame(kind, call, Buffer.from(JSON.stringify(value)));
}

/** Puts frames together from what arrives. Throws on a frame over `LARGEST_FRAME`: nothing after it can be trusted. */
export function createFrameReader(onFrame: (frame: Frame) => void): (chunk: Buffer) => void {
  let parts: Buffer[] = [];
  let size = 0;
  return (chunk) => {
    parts.push(chunk);
    size += chunk.length;
    if (size < HEAD) return;
    // joined only when a frame is complete: a large one in small pieces is copied once
    if (size < HEAD + lengthOf(parts)) return;
    let buffer = parts.length === 1 ? chunk : Buffer.concat(parts, size);
    while (buffer.length >= HEAD) {
      const end = HEAD + lengthOf([buffer]);
      if (buffer.length < end) break;
      onFrame({ kind: buffer.readUInt8(4), call: buffer.readUInt32LE(5), body: buffer.subarray(HEAD, end) });
      buffer = buffer.subarray(end);
    }
    parts = buffer.length === 0 ? [] : [buffer];
    size = buffer.length;
  };
}

function lengthOf(parts: Buffer[]): number {
  const first = parts[0] as Buffer;
  if (first.length < 4) {
    parts.splice(0, parts.length, Buffer.concat(parts));
    return lengthOf(parts);
  }
  const length = first.readUInt32LE(0);
  if (length > LARGEST_FRAME) throw new Error(`a frame of ${length} bytes`);
  return length;
}
