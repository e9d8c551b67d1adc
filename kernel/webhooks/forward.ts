/**
 * How the edge vouches for where a delivery came from: a header signed with a key of the edge's own, over the source
 * address, the time and the whole request. It says nothing of the provider's signature, which the API checks again.
 */
import { equalBytes, fromHex, hmac, toHex, utf8 } from './encoding.ts';

export const FORWARD_HEADER = 'x-centaur-edge';

/** Both clocks are ours, and the edge gives up after seconds. */
const TOLERANCE_SECONDS = 60;

/** What the signature covers besides the time and the address. */
export interface ForwardedRequest {
  readonly method: string;
  /** With its query, as in the request line. */
  readonly path: string;
  /** Of the raw body, in hex. */
  readonly sha256: string;
}

export type Forwarded =
  | { readonly ok: true; readonly sourceIp: string | null }
  | { readonly ok: false; readonly reason: 'missing' | 'malformed' | 'invalid' | 'stale' };

/** @returns the value of the header: `t=<unix seconds>,ip=<source address, or nothing>,v1=<hex>` */
export async function signForward(
  key: string,
  request: ForwardedRequest & { readonly sourceIp: string | null; readonly nowSeconds: number },
): Promise<string> {
  const time = String(Math.floor(request.nowSeconds));
  const address = (request.sourceIp ?? '').toLowerCase();
  const ip = ADDRESS.test(address) ? address : '';
  return `t=${time},ip=${ip},v1=${toHex(await mac(key, time, ip, request))}`;
}

/** @param keys all that are live: more than one while they are rotated */
export async function verifyForward(
  keys: readonly string[],
  header: string | null,
  request: ForwardedRequest & { readonly nowSeconds: number },
): Promise<Forwarded> {
  if (header === null || header === '') return { ok: false, reason: 'missing' };
  const match = /^t=(\d{1,12}),ip=([^,]*),v1=([0-9a-f]{64})$/.exec(header);
  if (match === null || !ADDRESS.test(match[2] as string)) return { ok: false, reason: 'malformed' };
  const [, time, ip, hex] = match as unknown as [string, string, string, string];
  let valid = false;
  for (const key of keys) {
    if (key !== '') valid = equalBytes(await mac(key, time, ip, request), fromHex(hex) as Uint8Array) || valid;
  }
  if (!valid) return { ok: false, reason: 'invalid' };
  if (Math.abs(request.nowSeconds - Number(time)) > TOLERANCE_SECONDS) return { ok: false, reason: 'stale' };
  return { ok: true, sourceIp: ip === '' ? null : ip };
}

/** IPv4 or IPv6. No address has a capital letter or a slash, so the parts of the signed text cannot run into each other. */
const ADDRESS = /^[0-9a-f.:]{0,45}$/;

function mac(key: string, time: string, ip: string, { method, path, sha256 }: ForwardedRequest): Promise<Uint8Array> {
  return hmac('sha256', utf8(key), utf8(`${time}.${ip}.${method}.${path}.${sha256}`));
}
