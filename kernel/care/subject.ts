/** Whom data is about: a thread, or a person. */
import { CareError } from './errors.ts';

export type Subject =
  | { readonly kind: 'thread'; readonly key: string; readonly text: string }
  /** `name` is what messages and turns have as their `user_id`. */
  | { readonly kind: 'user'; readonly name: string; readonly text: string };

const LONGEST = 512;

/** @throws CareError INVALID_SUBJECT */
export function parseSubject(text: string): Subject {
  const [, kind, name = ''] = /^(thread|user):([^]+)$/.exec(text) ?? [];
  if (kind === undefined || Buffer.byteLength(name) > LONGEST || name.includes('\0') || !name.isWellFormed())
    throw new CareError('INVALID_SUBJECT', `subject: expected thread:<key> or user:<name>, of at most ${LONGEST} bytes`);
  return kind === 'thread' ? { kind, key: name, text } : { kind: 'user', name, text };
}
