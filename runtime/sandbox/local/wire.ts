/** What clients and the holder send each other over HTTP: a JSON value, and bytes behind it. */
import type { IncomingMessage } from 'node:http';
import { SandboxError } from '../errors.ts';

/** Both sides must speak the same: raised whenever an operation changes. */
export const PROTOCOL = 1;
export const HEARTBEAT_MS = 5_000;
const LARGEST_MESSAGE = 1024 * 1024 * 1024;

export interface Message {
  readonly json: unknown;
  readonly data: Buffer;
}

export function encodeMessage(json: unknown, data: Buffer = Buffer.alloc(0)): Buffer {
  const text = Buffer.from(JSON.stringify(json ?? null));
  const head = Buffer.alloc(4);
  head.writeUInt32LE(text.length);
  return Buffer.concat([head, text, data]);
}

export async function readMessage(stream: IncomingMessage): Promise<Message> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of stream as AsyncIterable<Buffer>) {
    parts.push(part);
    size += part.length;
    if (size > LARGEST_MESSAGE) throw new SandboxError('SANDBOX_LIMIT', `a message is larger than ${LARGEST_MESSAGE} bytes`);
  }
  const body = Buffer.concat(parts, size);
  const length = body.length < 4 ? Number.POSITIVE_INFINITY : body.readUInt32LE(0);
  if (4 + length > body.length) throw new SandboxError('SANDBOX_UNREACHABLE', 'a message was cut off');
  return { json: JSON.parse(body.subarray(4, 4 + length).toString()), data: body.subarray(4 + length) };
}
