/** What Slack signs: proof that the bytes of a request are Slack's, and from just now. */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { ChatError } from './errors.ts';

/** Seconds, before and after. */
const AGE_MOST = 300;

export interface SignedRequest {
  /** As it came. */
  readonly body: string;
  /** `v0=…`. */
  readonly signature: string;
  /** Unix seconds, as Slack wrote them. */
  readonly timestamp: string;
}

/**
 * By what it is known when it comes again.
 *
 * @param now Unix milliseconds
 * @throws ChatError SIGNATURE_INVALID
 */
export function checkSignature(secret: string, { body, signature, timestamp }: SignedRequest, now: number): Buffer {
  // the signature first: what is said of a time tells nothing to whoever cannot sign
  const given = /^v0=([\da-f]{64})$/.exec(signature)?.[1];
  const right = createHmac('sha256', secret).update(`v0:${timestamp}:${body}`).digest();
  if (given === undefined || !timingSafeEqual(Buffer.from(given, 'hex'), right))
    throw new ChatError('SIGNATURE_INVALID', 'signature: Slack has not signed this body with the signing secret of this server');
  if (!/^\d{1,12}$/.test(timestamp) || Math.abs(now / 1000 - Number(timestamp)) > AGE_MOST)
    throw new ChatError(
      'SIGNATURE_INVALID',
      `timestamp: it is more than ${AGE_MOST} seconds from now; is the clock of this machine right?`,
    );
  return createHash('sha256').update(right).digest();
}
