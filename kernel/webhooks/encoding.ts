/** Bytes, texts and MACs, with nothing but what every JavaScript runtime has; Node's own hashes where they are there. */

import type { KeyObject } from 'node:crypto';

export type Bytes = Uint8Array;

export type HashName = 'sha1' | 'sha256' | 'sha512';

const WEB_NAMES = { sha1: 'SHA-1', sha256: 'SHA-256', sha512: 'SHA-512' } as const;

const encoder = new TextEncoder();

export function utf8(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(text);
}

export function concat(...parts: readonly Bytes[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export function toHex(bytes: Bytes): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}

/** Either case. Undefined for what is not hexadecimal. */
export function fromHex(text: string): Bytes | undefined {
  if (text === '' || text.length % 2 !== 0 || !/^[0-9a-fA-F]+$/.test(text)) return undefined;
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

export function toBase64(bytes: Bytes): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/** The usual alphabet or that of URLs, padded or not: providers differ. Undefined for what is neither. */
export function fromBase64(text: string): Bytes | undefined {
  const usual = text
    .replaceAll('-', '+')
    .replaceAll('_', '/')
    .replace(/={1,2}$/, '');
  if (usual === '' || usual.length % 4 === 1 || !/^[A-Za-z0-9+/]+$/.test(usual)) return undefined;
  const decoded = atob(usual);
  return Uint8Array.from(decoded, (char) => char.charCodeAt(0));
}

/**
 * WebCrypto takes ten times as long for a body of usual size: it has a thread do it. For a large one that is right, so that
 * others need not wait for it.
 */
const native = globalThis.process?.getBuiltinModule?.('node:crypto');
const LARGE_BYTES = 64 * 1024;

/** @param key at least one byte: an empty key is refused, since anybody has it */
export async function hmac(hash: HashName, key: Bytes, message: Bytes): Promise<Bytes> {
  if (key.length === 0) throw new RangeError('an empty key signs nothing');
  if (native !== undefined && message.length < LARGE_BYTES) return native.createHmac(hash, keyObject(native, key)).update(message).digest();
  const algorithm = { name: 'HMAC', hash: WEB_NAMES[hash] };
  const imported = await crypto.subtle.importKey('raw', key, algorithm, false, ['sign']);
  return new Uint8Array(await crypto.subtle.sign('HMAC', imported, message));
}

/** To make Node's own form of a key takes five times as long as the MAC itself, and there are few keys. */
const keys = new Map<string, KeyObject>();
const KEYS_MOST = 256;

function keyObject({ createSecretKey }: NonNullable<typeof native>, key: Bytes): KeyObject {
  const name = Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1');
  let object = keys.get(name);
  if (object === undefined) {
    // those of secrets that were rotated go, too
    if (keys.size >= KEYS_MOST) keys.clear();
    keys.set(name, (object = createSecretKey(key)));
  }
  return object;
}

export async function sha256(bytes: Bytes): Promise<Bytes> {
  if (native !== undefined && bytes.length < LARGE_BYTES) return native.createHash('sha256').update(bytes).digest();
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
}

export async function sha256Hex(bytes: Bytes): Promise<string> {
  if (native !== undefined && bytes.length < LARGE_BYTES) return native.createHash('sha256').update(bytes).digest('hex');
  return toHex(await sha256(bytes));
}

/** Takes as long for any two values of one length, so that the time does not tell how much of a forgery is right. */
export function equalBytes(a: Bytes, b: Bytes): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= (a[i] as number) ^ (b[i] as number);
  return difference === 0;
}
