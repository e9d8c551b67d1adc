/** Sessions of whoever signed in on this machine, one for each API, readable by its owner alone. */
import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';

export interface KeptSession {
  readonly token: string;
  readonly name: string;
  readonly expires_at: string;
}

/** Undefined when nobody is signed in there, or not any more. A token that is no token is sent nowhere. */
export function readSession(home: string, url: string): KeptSession | undefined {
  const kept = readAll(home)[url] as Partial<KeptSession> | undefined;
  if (typeof kept?.token !== 'string' || !/^cs_[A-Za-z0-9_-]{43}$/.test(kept.token)) return undefined;
  return Date.parse(kept.expires_at ?? '') > Date.now() ? (kept as KeptSession) : undefined;
}

/** @param session undefined: nobody is signed in there any more */
export function keepSession(home: string, url: string, session: KeptSession | undefined): void {
  const { [url]: _, ...others } = readAll(home);
  const all = session === undefined ? others : { ...others, [url]: session };
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const draft = `${fileOf(home)}.new`;
  writeFileSync(draft, `${JSON.stringify(all, null, 2)}\n`, { mode: 0o600 });
  // the mode above counts only for a file that did not exist
  chmodSync(draft, 0o600);
  renameSync(draft, fileOf(home));
}

const fileOf = (home: string): string => path.join(home, 'session.json');

function readAll(home: string): Readonly<Record<string, unknown>> {
  try {
    const all: unknown = JSON.parse(readFileSync(fileOf(home), 'utf8'));
    return typeof all === 'object' && all !== null && !Array.isArray(all) ? (all as Record<string, unknown>) : {};
  } catch {
    // there is none, or it is somebody else's: the API then says that somebody has to sign in
    return {};
  }
}
