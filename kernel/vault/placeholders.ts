/** Placeholders: what stands for a secret where it must not be. Random for each lease and secret, in the shape of the real key. */
import { randomInt } from 'node:crypto';

export interface Shape {
  /** What all keys of the kind begin with; tells the service's own software that this is a key. */
  readonly prefix: string;
  /** Of the random part. */
  readonly length: number;
}

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
/** 24 of 62 characters: 142 bits. */
const RANDOM_LEAST = 24;
const RANDOM_MOST = 200;

/** Beginnings that programs look for before they send a key. */
const VENDORS =
  /sk-ant-[a-z]{3}\d{2}-|sk-proj-|sk-svcacct-|sk-or-v1-|sk_live_|sk_test_|rk_live_|rk_test_|sk-|pk_live_|github_pat_|gh[pousr]_|glpat-|xox[abeprs]-|xapp-|AIza|ya29\.|npm_|hf_|lin_api_|ntn_|secret_|dop_v1_|shpat_|SG\.|key-|AKIA|ASIA|r8_|gsk_|pplx-|xai-|whsec_/;
const VENDOR = new RegExp(`^(?:${VENDORS.source})`);

/** Where in a text a placeholder may begin. */
export const PLACEHOLDER_PREFIX = new RegExp(`ctr_|${VENDORS.source}`, 'g');

export function shapeOf(value: string): Shape {
  const prefix = VENDOR.exec(value)?.[0] ?? 'ctr_';
  return { prefix, length: Math.min(RANDOM_MOST, Math.max(RANDOM_LEAST, value.length - prefix.length)) };
}

/** For a value that is not known when the secret is described. */
export const PLAIN_SHAPE: Shape = { prefix: 'ctr_', length: 32 };

export function makePlaceholder({ prefix, length }: Shape): string {
  let text = prefix;
  for (let i = 0; i < length; i++) text += LETTERS[randomInt(LETTERS.length)];
  return text;
}
