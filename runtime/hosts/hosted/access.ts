/** What a workflow's process gets instead of keys: a lease of its own, and placeholders for the secrets that are granted to it. */
import { createLease, grantsOf, type Installation, publicPart, revokeLease } from '@centaur/kernel/vault';

export interface HostAccess {
  readonly leaseId: string;
  readonly env: Readonly<Record<string, string>>;
  readonly caPem: string;
  readonly token: string;
  /** Names of the secrets that it was given. */
  readonly secrets: readonly string[];
}

/** A process is replaced before. */
const LEASE_SECONDS = 86_400;
const ACTOR = 'system:workflows';

/** As grants name it. */
export function principalOfWorkflow(name: string): string {
  return `workflow:${name}`;
}

/** Undefined when no firewall has been started yet: then the process has no network at all. */
export async function openHostAccess(
  installation: Installation,
  workflow: string,
  { source, relayPort }: { readonly source: string | null; readonly relayPort: number },
): Promise<HostAccess | undefined> {
  const caPem = await publicPart(installation.store, 'firewall.ca');
  if (caPem === undefined) return undefined;
  const principal = principalOfWorkflow(workflow);
  const secrets = await grantsOf(installation.store, principal);
  const lease = await createLease(installation, ACTOR, {
    principal,
    secrets,
    ttlSeconds: LEASE_SECONDS,
    kind: 'run',
    ...(source === null ? {} : { source }),
  });
  const proxy = `http://lease:${lease.token}@127.0.0.1:${relayPort}`;
  const names = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy'];
  return {
    leaseId: lease.leaseId,
    token: lease.token,
    caPem,
    secrets,
    env: { ...lease.placeholders, ...Object.fromEntries(names.map((name) => [name, proxy])), NODE_USE_ENV_PROXY: '1' },
  };
}

/** For a file that is only asked what it is: code that looks for a key when it is loaded finds something, which is good for nothing. */
export async function namesOnly(installation: Installation, workflow: string): Promise<Readonly<Record<string, string>>> {
  const secrets = await grantsOf(installation.store, principalOfWorkflow(workflow));
  return Object.fromEntries(secrets.map((name) => [name, 'not-while-it-is-asked']));
}

/** Whether another process of it would get the same, and what this one has still counts: a grant that went and came back ended its lease. */
export async function isCurrent(installation: Installation, workflow: string, access: HostAccess): Promise<boolean> {
  const now = await grantsOf(installation.store, principalOfWorkflow(workflow));
  if (JSON.stringify([...now].sort()) !== JSON.stringify([...access.secrets].sort())) return false;
  const { rowCount } = await installation.store.query(
    'select 1 from leases where lease_id = $1 and revoked_at is null and expires_at > now()',
    [access.leaseId],
  );
  return rowCount === 1;
}

export async function closeHostAccess(installation: Installation, { leaseId }: HostAccess): Promise<void> {
  await revokeLease(installation, ACTOR, leaseId, 'its process has ended');
}
