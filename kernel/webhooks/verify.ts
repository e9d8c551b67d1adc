/**
 * Whether a delivery comes from who holds the webhook's secret. Whatever the request holds, the answer is a verdict and
 * never an exception; each secret is tried to the end, so that the time tells neither which one held nor how much.
 */
import { type Bytes, concat, equalBytes, fromBase64, fromHex, type HashName, hmac, sha256, utf8 } from './encoding.ts';
import { DEFAULT_TOLERANCE_SECONDS, type HmacAuth, type WebhookAuth } from './types.ts';

/** `missing`: no signature. `ambiguous`: sent twice. `malformed`: not readable. `invalid`: not by our secret. `stale`: by it, but too old or too new. */
export type Reason = 'missing' | 'ambiguous' | 'malformed' | 'invalid' | 'stale';

export type Verdict = { readonly ok: true } | { readonly ok: false; readonly reason: Reason };

export interface Delivery {
  readonly headers: Headers;
  readonly rawBody: Bytes;
  readonly nowSeconds: number;
}

/** @param secrets all that are live, newest first: two while a secret is rotated. With none, only `none` passes. */
export async function verifyWebhook(auth: WebhookAuth, delivery: Delivery, secrets: readonly string[]): Promise<Verdict> {
  if (auth.type === 'none') return { ok: true };
  // an empty secret is one that everybody has
  const live = secrets.filter((secret) => secret !== '');
  if (auth.type === 'bearer') return verifyBearer(auth, delivery.headers, live);
  const claim = readClaim(auth, delivery);
  return typeof claim === 'string' ? refused(claim) : verifyClaim(claim, delivery.nowSeconds, live);
}

/** What a delivery says of itself: that one of `signatures` is the MAC of `message`, made at `signedAt`. */
interface Claim {
  readonly hash: HashName;
  readonly signatures: readonly Bytes[];
  readonly message: Bytes;
  readonly keyOf: (secret: string) => Bytes;
  /** Unix seconds; null when the provider signs no time. */
  readonly signedAt: number | null;
  readonly toleranceSeconds: number;
}

async function verifyClaim(claim: Claim, nowSeconds: number, secrets: readonly string[]): Promise<Verdict> {
  let valid = false;
  for (const secret of secrets) {
    const expected = await hmac(claim.hash, claim.keyOf(secret), claim.message);
    for (const signature of claim.signatures) valid = equalBytes(expected, signature) || valid;
  }
  if (!valid) return refused('invalid');
  const age = claim.signedAt === null ? 0 : Math.abs(nowSeconds - claim.signedAt);
  return age > claim.toleranceSeconds ? refused('stale') : { ok: true };
}

/** Digests are compared, so that the time does not tell the secret's length either. */
async function verifyBearer(
  { header, scheme }: { readonly header: string; readonly scheme: string },
  headers: Headers,
  secrets: readonly string[],
): Promise<Verdict> {
  const value = headers.get(header);
  if (value === null || value === '') return refused('missing');
  const named = scheme !== '' && value.toLowerCase().startsWith(`${scheme.toLowerCase()} `);
  const presented = await sha256(utf8(named ? value.slice(scheme.length).trim() : value));
  let valid = false;
  for (const secret of secrets) valid = equalBytes(await sha256(utf8(secret)), presented) || valid;
  if (valid) return { ok: true };
  return refused(value.includes(',') ? 'ambiguous' : 'invalid');
}

type Signed = Exclude<WebhookAuth, { readonly type: 'none' | 'bearer' }>;

function readClaim(auth: Signed, delivery: Delivery): Claim | Reason {
  switch (auth.type) {
    case 'github':
      return readHmac({ ...auth, ...GITHUB }, delivery);
    case 'hmac':
      return readHmac(auth, delivery);
    case 'slack':
      return readSlack(auth.toleranceSeconds, delivery);
    case 'stripe':
      return readStripe(auth.toleranceSeconds, delivery);
    case 'standard_webhooks':
      return readStandard(auth.toleranceSeconds, delivery);
  }
}

const GITHUB = { type: 'hmac', header: 'x-hub-signature-256', prefix: 'sha256=', encoding: 'hex', algorithm: 'sha256' } as const;

function readHmac(auth: HmacAuth, { headers, rawBody }: Delivery): Claim | Reason {
  const text = single(headers, auth.header);
  if ('reason' in text) return text.reason;
  const signature = text.value.startsWith(auth.prefix) ? decode(auth.encoding, text.value.slice(auth.prefix.length)) : undefined;
  if (signature === undefined) return 'malformed';
  const claim = { hash: auth.algorithm, signatures: [signature], keyOf: utf8 };
  if (auth.timestampHeader === undefined) return { ...claim, message: rawBody, signedAt: null, toleranceSeconds: 0 };
  const time = single(headers, auth.timestampHeader);
  if ('reason' in time) return time.reason;
  const signedAt = seconds(time.value);
  if (signedAt === undefined) return 'malformed';
  const message = concat(utf8(`${time.value}.`), rawBody);
  return { ...claim, message, signedAt, toleranceSeconds: auth.toleranceSeconds ?? DEFAULT_TOLERANCE_SECONDS };
}

/** https://docs.slack.dev/authentication/verifying-requests-from-slack */
function readSlack(toleranceSeconds: number, { headers, rawBody }: Delivery): Claim | Reason {
  const text = single(headers, 'x-slack-signature');
  if ('reason' in text) return text.reason;
  const time = single(headers, 'x-slack-request-timestamp');
  if ('reason' in time) return time.reason;
  const signature = text.value.startsWith('v0=') ? fromHex(text.value.slice(3)) : undefined;
  const signedAt = seconds(time.value);
  if (signature === undefined || signedAt === undefined) return 'malformed';
  const message = concat(utf8(`v0:${time.value}:`), rawBody);
  return { hash: 'sha256', signatures: [signature], message, keyOf: utf8, signedAt, toleranceSeconds };
}

/** `t=…,v1=…,v1=…,v0=…`; several v1 while Stripe rolls a secret. https://docs.stripe.com/webhooks#verify-manually */
function readStripe(toleranceSeconds: number, { headers, rawBody }: Delivery): Claim | Reason {
  const text = headers.get('stripe-signature');
  if (text === null || text === '') return 'missing';
  const items = text.split(',').map((item) => item.trim());
  const times = items.filter((item) => item.startsWith('t='));
  if (times.length > 1) return 'ambiguous';
  const time = times[0]?.slice(2) ?? '';
  const signedAt = seconds(time);
  const signatures = items.filter((item) => item.startsWith('v1=')).map((item) => fromHex(item.slice(3)));
  if (signedAt === undefined || !areSome(signatures)) return 'malformed';
  const message = concat(utf8(`${time}.`), rawBody);
  return { hash: 'sha256', signatures, message, keyOf: utf8, signedAt, toleranceSeconds };
}

/** `v1,<base64> v1,<base64>`, over `{id}.{timestamp}.{body}`; `v1a` is for public keys and not ours to check. */
function readStandard(toleranceSeconds: number, { headers, rawBody }: Delivery): Claim | Reason {
  const text = headers.get('webhook-signature');
  if (text === null || text === '') return 'missing';
  const items = text.split(' ');
  // two headers are joined by a comma and a space
  if (items.some((item) => item.endsWith(','))) return 'ambiguous';
  const id = single(headers, 'webhook-id');
  if ('reason' in id) return id.reason;
  const time = single(headers, 'webhook-timestamp');
  if ('reason' in time) return time.reason;
  const signedAt = seconds(time.value);
  const signatures = items.filter((item) => item.startsWith('v1,')).map((item) => fromBase64(item.slice(3)));
  if (signedAt === undefined || !areSome(signatures)) return 'malformed';
  const message = concat(utf8(`${id.value}.${time.value}.`), rawBody);
  return { hash: 'sha256', signatures, message, keyOf: standardKey, signedAt, toleranceSeconds };
}

/** `whsec_` and base64, as the standard has it; any other text is the key itself. */
export function standardKey(secret: string): Bytes {
  return (secret.startsWith('whsec_') ? fromBase64(secret.slice('whsec_'.length)) : undefined) ?? utf8(secret);
}

/** So many that no provider sends more, and so few that nobody makes us compare all day. */
const SIGNATURES_MOST = 16;

function areSome(signatures: readonly (Bytes | undefined)[]): signatures is readonly Bytes[] {
  return signatures.length > 0 && signatures.length <= SIGNATURES_MOST && !signatures.includes(undefined);
}

/** A header that is there once. Headers sent twice arrive joined by a comma, which none of these may hold. */
function single(headers: Headers, name: string): { readonly value: string } | { readonly reason: Reason } {
  const value = headers.get(name);
  if (value === null || value === '') return { reason: 'missing' };
  return value.includes(',') ? { reason: 'ambiguous' } : { value };
}

function seconds(text: string): number | undefined {
  return /^\d{1,12}$/.test(text) ? Number(text) : undefined;
}

function decode(encoding: HmacAuth['encoding'], text: string): Bytes | undefined {
  return encoding === 'hex' ? fromHex(text) : fromBase64(text);
}

function refused(reason: Reason): Verdict {
  return { ok: false, reason };
}
