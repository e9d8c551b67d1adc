/**
 * What a thread's sandbox gets instead of keys: a lease of its own, bound to the address that its relay dials from, and
 * placeholders for the secrets that are granted to the thread, and to those whose grants count in the turn besides.
 */
import {
  type Asker,
  createLease,
  grantsOf,
  type Installation,
  principalOfThread,
  publicPart,
  renewThreadLeases,
  revokeThreadLeases,
} from '@centaur/kernel/vault';

export interface Access {
  readonly proxyUrl: string;
  readonly caPem: string;
  readonly placeholders: Readonly<Record<string, string>>;
}

export interface AccessOptions {
  readonly installation: Installation;
  /** Inside of the sandbox, where the relay to the firewall listens. */
  readonly relayPort: number;
}

/** As long as a sandbox may live. */
const LEASE_SECONDS = 86_400;

/**
 * Ends what the thread had before: one sandbox, one lease.
 *
 * @param needed the secret of the model
 * @throws VaultError NOT_GRANTED, SECRET_NOT_FOUND naming it
 */
export async function openAccess(
  { installation, relayPort }: AccessOptions,
  thread: {
    readonly threadKey: string;
    readonly traceId: string;
    readonly runId: string;
    readonly source: string | null;
    readonly asker: Asker;
  },
  needed: string,
): Promise<Access> {
  const principal = principalOfThread(thread.threadKey);
  await closeAccess(installation, thread.threadKey, 'the thread goes on in another process');
  const granted = await grantsOf(installation.store, principal);
  const lease = await createLease(installation, ACTOR, {
    principal,
    asker: thread.asker,
    secrets: [...new Set([needed, ...granted])],
    ttlSeconds: LEASE_SECONDS,
    kind: 'run',
    runId: thread.runId,
    threadKey: thread.threadKey,
    traceId: thread.traceId,
    ...(thread.source === null ? {} : { source: thread.source }),
  });
  const caPem = await publicPart(installation.store, 'firewall.ca');
  if (caPem === undefined) throw new Error('no firewall has been started yet: "centaur up" or "centaur firewall" starts one');
  return { proxyUrl: `http://lease:${lease.token}@127.0.0.1:${relayPort}`, caPem, placeholders: lease.placeholders };
}

/** @param source of the sandbox that ends; another one of the thread keeps what it has */
export async function closeAccess(installation: Installation, threadKey: string, reason: string, source?: string | null): Promise<void> {
  await revokeThreadLeases(installation, ACTOR, {
    principal: principalOfThread(threadKey),
    threadKey,
    source: source ?? undefined,
    reason,
  });
}

/**
 * What it asks for belongs to this turn from now on. False when its lease has ended, or was for who asked before: then the process
 * needs another one.
 */
export function keepAccess(
  installation: Installation,
  threadKey: string,
  source: string | null,
  turn: { readonly runId: string; readonly traceId: string; readonly asker: Asker },
): Promise<boolean> {
  const lease = { principal: principalOfThread(threadKey), threadKey, source: source ?? undefined };
  return renewThreadLeases(installation, ACTOR, lease, LEASE_SECONDS, turn);
}

const ACTOR = 'system:turns';
