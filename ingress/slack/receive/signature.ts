/** Whether Slack sent a request: checked over the bytes as they came, before anything of them is parsed (docs.slack.dev: Verifying requests). */
import { createHmac, timingSafeEqual } from 'node:crypto';

/** How old a request may be, and how far ahead Slack's clock. */
const SKEW_SECONDS = 300;

export type Verdict = 'signed' | 'unsigned' | 'stale' | 'forged';

export interface SignedRequest {
  readonly body: Uint8Array;
  /** `X-Slack-Signature` */
  readonly signature: string | undefined;
  /** `X-Slack-Request-Timestamp`: in seconds */
  readonly timestamp: string | undefined;
}

/** What can be said before there is a body: undefined means that it is worth reading. */
export function refuseEarly({ signature, timestamp }: Omit<SignedRequest, 'body'>, nowMs: number): Verdict | undefined {
  if (signature === undefined || timestamp === undefined) return 'unsigned';
  if (!/^\d{1,12}$/.test(timestamp) || !/^v0=[0-9a-f]{64}$/.test(signature)) return 'forged';
  return Math.abs(nowMs / 1000 - Number(timestamp)) > SKEW_SECONDS ? 'stale' : undefined;
}

export function verify(secret: string, request: SignedRequest, nowMs: number): Verdict {
  const early = refuseEarly(request, nowMs);
  if (early !== undefined) return early;
  const hmac = createHmac('sha256', secret).update(`v0:${request.timestamp}:`).update(request.body).digest('hex');
  const right = Buffer.from(`v0=${hmac}`);
  const given = Buffer.from(request.signature ?? '');
  return given.length === right.length && timingSafeEqual(given, right) ? 'signed' : 'forged';
}

/** The headers of a request as Slack would send it: for whoever checks an installation, and for tests. */
export function sign(secret: string, body: string, nowMs: number): Readonly<Record<string, string>> {
  const timestamp = String(Math.floor(nowMs / 1000));
  const hmac = createHmac('sha256', secret).update(`v0:${timestamp}:${body}`).digest('hex');
  return { 'x-slack-request-timestamp': timestamp, 'x-slack-signature': `v0=${hmac}` };
}
