/** What a process of a workflow or a tool gets instead of keys: a lease of its own, and placeholders for its secrets. */
import { createLease, grantsOf, type Installation, publicPart, revokeLease } from '@centaur/kernel/vault';

export interface HostAccess {
  readonly leaseId: string;
  readonly env: Readonly<Record<string, string>>;
  readonly caPem: string;
  readonly token: string;
  /** Names of the secrets that it was given. */
  readonly secrets: readonly string[];
  readonly placeholders: Readonly<Record<string, string>>;
  /** Those of the secrets that are databases. */
  readonly databases: readonly string[];
}

/** What a process may use. */
export interface Rights {
  /** `tool`: its secrets while it has a call to serve, and not in between. */
  readonly kind: 'run' | 'tool';
  /** As grants name it. */
  readonly principal: string;
  /** A user, whose grants count besides. */
  readonly onBehalfOf?: string;
  /** Of which it gets placeholders, as things are now. */
  secrets(installation: Installation): Promise<readonly string[]>;
  /** Variables in which it gets placeholders, by the secret, where that is not the secret's own name. */
  readonly variables?: ReadonlyMap<string, string>;
  /** The hosts that its lease reaches, and no other. Undefined: what policy and bindings allow. */
  readonly egress?: readonly {
    readonly host: string;
    readonly methods: readonly string[];
    readonly paths: readonly string[];
  }[];
}

/** A process is replaced before. */
const LEASE_SECONDS = 86_400;

/** As grants name it. */
export function principalOfWorkflow(name: string): string {
  return `workflow:${name}`;
}

/** All that is granted to it. */
export function rightsOfWorkflow(name: string): Rights {
  const principal = principalOfWorkflow(name);
  return { kind: 'run', principal, secrets: ({ store }) => grantsOf(store, principal) };
}

/** Undefined when no firewall has been started yet: then the process has no network at all. */
export async function openHostAccess(
  installation: Installation,
  actor: string,
  { kind, principal, onBehalfOf, secrets: secretsNow, variables, egress }: Rights,
  { source, relayPort }: { readonly source: string | null; readonly relayPort: number },
): Promise<HostAccess | undefined> {
  const caPem = await publicPart(installation.store, 'firewall.ca');
  if (caPem === undefined) return undefined;
  const secrets = await secretsNow(installation);
  const lease = await createLease(installation, actor, {
    principal,
    ...(onBehalfOf === undefined ? {} : { onBehalfOf }),
    secrets,
    ttlSeconds: LEASE_SECONDS,
    kind,
    ...(egress === undefined ? {} : { egress }),
    ...(source === null ? {} : { source }),
  });
  const proxy = `http://lease:${lease.token}@127.0.0.1:${relayPort}`;
  const placeholders = Object.fromEntries(
    Object.entries(lease.placeholders).map(([name, placeholder]) => [variables?.get(name) ?? name, placeholder]),
  );
  const names = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy'];
  return {
    leaseId: lease.leaseId,
    token: lease.token,
    caPem,
    secrets,
    placeholders: lease.placeholders,
    databases: lease.databases,
    env: { ...placeholders, ...Object.fromEntries(names.map((name) => [name, proxy])), NODE_USE_ENV_PROXY: '1' },
  };
}

/** For a file that is only asked what it is: code that looks for a key when it is loaded finds something, which is good for nothing. */
export async function namesOnly(installation: Installation, workflow: string): Promise<Readonly<Record<string, string>>> {
  const secrets = await grantsOf(installation.store, principalOfWorkflow(workflow));
  return Object.fromEntries(secrets.map((name) => [name, 'not-while-it-is-asked']));
}

/** Before the first one was started, processes have no network. */
export async function isFirewallThere({ store }: Installation): Promise<boolean> {
  return (await publicPart(store, 'firewall.ca')) !== undefined;
}

/**
 * Whether another process would get the same, and what this one has still counts: a grant that went and came back ended its lease.
 *
 * @param now names of the secrets that another would get
 */
export async function isCurrent({ store }: Installation, access: HostAccess, now: readonly string[]): Promise<boolean> {
  if (JSON.stringify([...now].sort()) !== JSON.stringify([...access.secrets].sort())) return false;
  const { rowCount } = await store.query('select 1 from leases where lease_id = $1 and revoked_at is null and expires_at > now()', [
    access.leaseId,
  ]);
  return rowCount === 1;
}

export async function closeHostAccess(installation: Installation, actor: string, { leaseId }: HostAccess): Promise<void> {
  await revokeLease(installation, actor, leaseId, 'its process has ended');
}
