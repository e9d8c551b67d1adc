/**
 * Tokens of sandboxes: each reads its own thread, and nothing else. Nobody stores them: a token names its thread and its
 * sandbox under a MAC, and is good until it expires, or until the thread has another sandbox or none.
 */
import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';
import type { Store } from '../store/index.ts';
import type { Caller } from './scopes.ts';

interface Claims {
  readonly thread_key: string;
  readonly sandbox_id: string;
  /** Milliseconds of the wall clock. */
  readonly expires_at: number;
}

const TOKEN = /^ct_([A-Za-z0-9_-]{1,4000})_([A-Za-z0-9_-]{43})$/;

/** @param macKey of the installation */
export function makeThreadToken(
  macKey: Buffer,
  { threadKey, sandboxId, expiresAt }: { readonly threadKey: string; readonly sandboxId: string; readonly expiresAt: number },
): string {
  const claims: Claims = { thread_key: threadKey, sandbox_id: sandboxId, expires_at: expiresAt };
  const text = Buffer.from(JSON.stringify(claims)).toString('base64url');
  return `ct_${text}_${macOf(macKey, text).toString('base64url')}`;
}

/** The caller that a token stands for; undefined when it is none, not ours, or over. */
export async function readThreadToken(store: Store, macKey: Buffer, token: string): Promise<Caller | undefined> {
  const [, text, mac] = TOKEN.exec(token) ?? [];
  if (text === undefined || mac === undefined || !timingSafeEqual(macOf(macKey, text), Buffer.from(mac, 'base64url'))) return undefined;
  const claims = JSON.parse(Buffer.from(text, 'base64url').toString()) as Claims;
  if (claims.expires_at <= Date.now()) return undefined;
  const { rowCount } = await store.query(`select 1 from sandbox_sessions where thread_key = $1 and split_part(sandbox_id, '/', 1) = $2`, [
    claims.thread_key,
    claims.sandbox_id,
  ]);
  return rowCount === 0 ? undefined : { keyId: `sandbox:${claims.sandbox_id}`, scopes: [], thread: claims.thread_key };
}

function macOf(macKey: Buffer, text: string): Buffer {
  const key = Buffer.from(hkdfSync('sha256', macKey, '', 'centaur thread tokens', 32));
  return createHmac('sha256', key).update(text).digest();
}
