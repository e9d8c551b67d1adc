/** Leases: the right to use some secrets for some time, and all that a process needs for it. */
import { isUuid } from '../../store/index.ts';
import { createLease, type CreatedLease, type Installation, listLeases, publicPart, revokeLease, VaultError } from '../../vault/index.ts';
import { ApiError } from '../errors.ts';
import { idAfter } from '../neighbours.ts';
import { actorOf, ok, route } from '../route.ts';
import { page } from '../schemas.ts';
import { type Caller, isAdmin, requireScope } from '../scopes.ts';
import { installationOf, type Services, type Trust } from '../services.ts';
import {
  CreatedLeaseSchema,
  LeaseBody,
  LeasePath,
  LeaseQuery,
  LeaseSchema,
  RevokedLeaseSchema,
  RevokeQuery,
  traceUuid,
} from '../trust-schemas.ts';

const TTL_SECONDS = 900;

export const leaseRoutes = [
  route({
    id: 'createLease',
    method: 'POST',
    path: '/leases',
    group: 'Leases',
    summary: 'Make a lease on secrets that are granted to a principal',
    description:
      'The answer has placeholders, never values: the firewall puts the values in on the way. Give `env` to a process and its requests work; the token in it is shown this once.',
    access: { scope: 'leases.create' },
    body: LeaseBody,
    example: { secrets: ['STRIPE_API_KEY'], ttl_seconds: 600, max_uses: 20 },
    responses: { 201: { description: 'The lease', schema: CreatedLeaseSchema } },
    errors: ['SECRET_NOT_FOUND', 'NOT_GRANTED', 'INVALID_SECRET', 'FIREWALL_UNAVAILABLE', 'VAULT_UNAVAILABLE'],
    async handle({ body, caller, traceId }, services) {
      const installation = installationOf(services);
      const principal = body.principal ?? actorOf(caller);
      if (principal !== actorOf(caller)) requireScope(caller, 'admin');
      const { firewall, caPem } = await firewallOf(services);
      const lease = await createLease(installation, actorOf(caller), {
        principal,
        secrets: body.secrets,
        ttlSeconds: body.ttl_seconds ?? TTL_SECONDS,
        maxUses: body.max_uses,
        kind: body.kind,
        runId: body.run_id,
        step: body.step,
        threadKey: body.thread_key,
        source: body.source,
        traceId: traceId === undefined ? undefined : traceUuid(traceId),
      });
      return { status: 201, body: toAnswer(lease, firewall, caPem) };
    },
  }),
  route({
    id: 'listLeases',
    method: 'GET',
    path: '/leases',
    group: 'Leases',
    summary: 'List leases, newest first; a key that is not an admin’s sees those of its own principal',
    access: { scope: 'leases.create' },
    query: LeaseQuery,
    responses: { 200: { description: 'A page of leases', schema: page(LeaseSchema) } },
    errors: ['VAULT_UNAVAILABLE'],
    async handle({ query, caller }, services) {
      const { store } = installationOf(services);
      if (query.principal !== undefined && query.principal !== actorOf(caller)) requireScope(caller, 'admin');
      const principal = isAdmin(caller) ? query.principal : actorOf(caller);
      return ok(await listLeases(store, { ...query, principal, active: query.active === 'true' }));
    },
  }),
  route({
    id: 'revokeLease',
    method: 'DELETE',
    path: '/leases/{lease_id}',
    group: 'Leases',
    summary: 'End a lease',
    description: 'In effect everywhere within a second; open streams are cut. Revoking twice changes nothing.',
    access: { scope: 'leases.create' },
    params: LeasePath,
    query: RevokeQuery,
    responses: { 200: { description: 'It has ended', schema: RevokedLeaseSchema } },
    errors: ['LEASE_NOT_FOUND', 'VAULT_UNAVAILABLE'],
    async handle({ params: { lease_id }, query, caller }, services) {
      const installation = installationOf(services);
      const isTheirs = isUuid(lease_id) && (isAdmin(caller) || (await isOwn(installation, caller, lease_id)));
      // One of somebody else is not there for this key
      if (!isTheirs) throw new VaultError('LEASE_NOT_FOUND', `there is no lease ${JSON.stringify(lease_id)}`);
      await revokeLease(installation, actorOf(caller), lease_id, query.reason);
      return ok({ lease_id, revoked: true });
    },
  }),
];

async function isOwn({ store }: Installation, caller: Caller, leaseId: string): Promise<boolean> {
  const { items } = await listLeases(store, { principal: actorOf(caller), after: idAfter(leaseId), limit: 1 });
  return items[0]?.lease_id === leaseId;
}

type FirewallPlace = NonNullable<Trust['firewall']>;

/** Before there is a lease: one that nobody can use would only be a token that lies around. */
async function firewallOf({ trust, store }: Services): Promise<{ readonly firewall: FirewallPlace; readonly caPem: string }> {
  const caPem = await publicPart(store, 'firewall.ca');
  if (trust?.firewall === undefined || caPem === undefined)
    throw new ApiError('FIREWALL_UNAVAILABLE', 'no firewall has been started yet: "centaur up" or "centaur firewall" starts one');
  return { firewall: trust.firewall, caPem };
}

function toAnswer(lease: CreatedLease, firewall: FirewallPlace, caPem: string): object {
  const url = new URL(firewall.proxyUrl);
  url.username = 'lease';
  url.password = lease.token;
  const proxyUrl = url.href.replace(/\/$/, '');
  return {
    lease_id: lease.leaseId,
    proxy_url: proxyUrl,
    ca_file: firewall.caFile ?? null,
    ca_pem: caPem,
    placeholders: lease.placeholders,
    env: { ...lease.placeholders, ...databaseUrls(lease, firewall), ...clientSettings(proxyUrl, firewall.caFile) },
    expires_at: lease.expiresAt.toISOString(),
  };
}

/** A database is reached by the listener that speaks its protocol; the placeholder is the password. */
function databaseUrls(lease: CreatedLease, { postgres }: FirewallPlace): Record<string, string> {
  if (postgres === undefined) return {};
  return Object.fromEntries(
    lease.databases.map((name) => [name, `postgres://lease:${lease.placeholders[name]}@${postgres}/${name}?sslmode=disable`]),
  );
}

/** What the common clients read. After the placeholders: a secret of such a name must not lead past the firewall. */
function clientSettings(proxyUrl: string, caFile: string | undefined): Record<string, string> {
  const trusting = [
    'NODE_EXTRA_CA_CERTS',
    'SSL_CERT_FILE',
    'REQUESTS_CA_BUNDLE',
    'CURL_CA_BUNDLE',
    'GIT_SSL_CAINFO',
    'PIP_CERT',
    'HTTPLIB2_CA_CERTS',
    'NIX_SSL_CERT_FILE',
    'CARGO_HTTP_CAINFO',
    'NPM_CONFIG_CAFILE',
    'DENO_CERT',
    'AWS_CA_BUNDLE',
  ];
  return {
    HTTPS_PROXY: proxyUrl,
    https_proxy: proxyUrl,
    HTTP_PROXY: proxyUrl,
    http_proxy: proxyUrl,
    // Whatever the surroundings leave out of the proxy would be sent with placeholders
    NO_PROXY: '',
    no_proxy: '',
    ...(caFile === undefined ? {} : Object.fromEntries(trusting.map((name) => [name, caFile]))),
    NODE_USE_ENV_PROXY: '1',
  };
}
