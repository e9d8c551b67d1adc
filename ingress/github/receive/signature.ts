/** Whether GitHub has sent it: an HMAC over the bytes as they came. */
import { createHmac, timingSafeEqual } from 'node:crypto';

/** @param header `X-Hub-Signature-256` */
export function isSigned(secret: string, body: Uint8Array, header: string | undefined): boolean {
  const [, hex] = /^sha256=([0-9a-f]{64})$/.exec(header ?? '') ?? [];
  // an empty key would let everybody sign
  if (hex === undefined || secret === '') return false;
  return timingSafeEqual(createHmac('sha256', secret).update(body).digest(), Buffer.from(hex, 'hex'));
}
