/** What each sandbox has alone: a user id of the host, and an address of the loopback from which its relays dial. */
import fs from 'node:fs';
import net from 'node:net';
import { SandboxError } from '../errors.ts';

export interface UidLease {
  readonly uid: number;
  release(): void;
}

const TRIES = 200;

/**
 * A user id that nobody on this machine uses. An abstract socket of its name is the lock: the kernel lets go of it when this
 * process ends, however it ends, and other installations on the machine see it.
 */
export async function leaseUid(range: readonly [number, number]): Promise<UidLease> {
  const [first, last] = range;
  const running = runningUids();
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const uid = first + Math.floor(Math.random() * (last - first + 1));
    if (running.has(uid)) continue;
    const lock = await tryLock(uid);
    if (lock !== undefined) return { uid, release: () => void lock.close() };
  }
  throw new SandboxError(
    'SANDBOX_CAPACITY',
    `no user id between ${first} and ${last} is free: stop sandboxes, or configure a larger range`,
  );
}

/** Takes hold of one uid, so that its leftovers can be ended. Undefined while another installation uses it. */
export async function claimUid(uid: number): Promise<UidLease | undefined> {
  const lock = await tryLock(uid);
  return lock === undefined ? undefined : { uid, release: () => void lock.close() };
}

function tryLock(uid: number): Promise<net.Server | undefined> {
  const server = net.createServer((socket) => socket.destroy());
  return new Promise((done) => {
    server.once('error', () => done(undefined));
    server.listen({ path: `\0centaur-sandbox-uid-${uid}` }, () => {
      server.unref();
      done(server);
    });
  });
}

function runningUids(): Set<number> {
  const uids = new Set<number>();
  for (const name of fs.readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      uids.add(fs.statSync(`/proc/${name}`).uid);
    } catch {
      // it ended while we looked
    }
  }
  return uids;
}

/** Addresses in turn, so that one is used again only after all others were: a late connection meets no new owner. */
export function createSources(random: () => number = Math.random): { take(): string; release(address: string): void } {
  const SIZE = 255 * 254;
  const used = new Set<string>();
  let next = Math.floor(random() * SIZE);
  return {
    take: () => {
      for (let tries = 0; tries < SIZE; tries++) {
        next = (next + 1) % SIZE;
        const address = `127.1.${Math.floor(next / 254)}.${(next % 254) + 1}`;
        if (used.has(address)) continue;
        used.add(address);
        return address;
      }
      throw new SandboxError('SANDBOX_CAPACITY', 'every loopback address for relays is in use');
    },
    release: (address) => void used.delete(address),
  };
}
