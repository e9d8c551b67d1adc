/**
 * The credential firewall: the only way out of a sandbox.
 *
 * It promises that a request leaves only under a lease, to a host, method and path that are open to it, after policy and
 * after its audit entry is durable; that a secret is put in only then, and only in its place; that what comes back is
 * searched for every secret before a byte of it is passed on; and that whatever is broken or unreachable refuses. It never
 * runs user code, never writes a secret anywhere, and keeps no state: any number of them serve one database.
 *
 * Read `exchange.ts` first: it is the order of things. `server.ts` has the ways in, `substitute.ts` the placeholders,
 * `scanner/` the search, `upstream.ts` and `addresses.ts` the way out.
 */
import http from 'node:http';
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { activePolicy, type ActivePolicy, takeLimit } from '../policy/index.ts';
import { type Family, renderFamilies } from '../telemetry/index.ts';
import { readSpend } from '../usage/index.ts';
import type { Store, StoreLogEntry } from '../store/index.ts';
import { createValues, matchesHost, type MasterKey, openInstallation, type Target } from '../vault/index.ts';
import { createApprovals } from './approvals.ts';
import { openAuthority } from './ca.ts';
import { createCredentials } from './credentials.ts';
import type { Parts } from './exchange.ts';
import { createGate } from './gate.ts';
import { createLeaseBook, type LiveLease } from './lease-book.ts';
import { createFirewallMetrics } from './metrics.ts';
import { createPostgresListener } from './postgres.ts';
import { createRefreshes, type Refreshes } from './refresh.ts';
import { type EgressConfig, type EgressRules, readRules } from './rules.ts';
import { createScanner, type Scanner } from './scanner/index.ts';
import { scannable } from './scrub.ts';
import { createFirewallServer } from './server.ts';
import { RefusedError } from './target.ts';
import { ASK_MS } from './token-endpoint.ts';
import { createTraceBook } from './trace.ts';
import { createUpstreams, type Upstreams } from './upstream.ts';

export { parseCidr } from './addresses.ts';
export { type EgressConfig, type Limits, readRules, type ScanAction } from './rules.ts';
export { createScanner, type Hit, type Scanner } from './scanner/index.ts';

export interface FirewallOptions {
  readonly store: Store;
  readonly master: MasterKey;
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** Where it speaks the protocol of Postgres, for secrets of type pg_dsn and for workflows' own schemas. Undefined: nowhere. */
  readonly postgresPort?: number | undefined;
  /** For Prometheus, on 127.0.0.1 alone. Undefined: none. */
  readonly metricsPort?: number | undefined;
  /** What this process tells besides. */
  readonly moreFigures?: (() => readonly Family[]) | undefined;
  readonly log: (entry: StoreLogEntry) => void;
  /** Where checkpoints of the audit log go besides the database. */
  readonly anchor?: ((note: string) => Promise<void>) | undefined;
  /** Where sources of secrets find their own settings. Default: this process's environment. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** For tests of name resolution. */
  readonly resolver?: (host: string) => Promise<readonly string[]>;
}

export interface Firewall {
  readonly port: number;
  readonly metricsPort: number | undefined;
  readonly postgresPort: number | undefined;
  readonly caPem: string;
  /** Its figures as they are now; also after it was closed. */
  families(): readonly Family[];
  close(): Promise<void>;
}

const SEEN_MS = 5000;

/** Serves until it is closed. @throws VaultError MASTER_KEY_UNKNOWN when the database was sealed under another key */
export async function startFirewall(options: FirewallOptions): Promise<Firewall> {
  const { store, master } = options;
  /** Until the values are known, nobody has been told one. */
  let scrubEntry = (entry: StoreLogEntry): StoreLogEntry => entry;
  const log = (entry: StoreLogEntry) => options.log(scrubEntry(entry));
  const processId = randomUUID();
  const metrics = createFirewallMetrics();
  const values = await createValues({
    store,
    master,
    log,
    ...(options.environment === undefined ? {} : { environment: options.environment }),
  });
  /** What is new is told by a notification, which a request may be ahead of. */
  const learn = async (secrets: Iterable<string>) => {
    const isKnown = (name: string) => {
      try {
        return values.describe(name) !== undefined;
      } catch {
        return false;
      }
    };
    if ([...secrets].some((name) => !isKnown(name))) await values.refresh().catch(() => undefined);
  };
  const leases = createLeaseBook({ store, log, learn });

  let scanner: { readonly of: string; readonly scanner: Scanner } | undefined;
  const currentScanner = (): Scanner => {
    const of = `${values.revision} ${credentials.revision}`;
    if (scanner?.of !== of) scanner = { of, scanner: createScanner(scannable([...values.known(), ...credentials.minted()])) };
    return scanner.scanner;
  };
  const scrub = (text: string): string => {
    const { data, hits } = currentScanner().scan(Buffer.from(text, 'utf8'));
    return hits.length === 0 ? text : data.toString('utf8');
  };
  let rules: EgressRules = readRules({});
  let upstreams: Upstreams | undefined;
  let configVersion: number | null = null;
  let configProblem: string | undefined;
  let policy: ActivePolicy | undefined;
  let policyProblem: string | undefined;

  const currentUpstreams = (): Upstreams =>
    (upstreams ??= createUpstreams({
      addresses: rules.addresses,
      caPems: rules.caPems,
      headersTimeoutMs: rules.limits.answerMs,
      idleTimeoutMs: rules.limits.idleMs,
      ...(options.resolver === undefined ? {} : { resolver: options.resolver }),
    }));
  const credentials = createCredentials({
    values,
    upstreams: currentUpstreams,
    now: () => store.now(),
    refresh: (...asked) => refreshes.refresh(...asked),
    record: async (secret, url, lease) => {
      await audit.write({
        action: 'egress.token',
        actor: lease.principal,
        resource: url.slice(0, 500),
        leaseId: lease.leaseId,
        details: { secret },
      });
    },
  });
  scrubEntry = (entry) => JSON.parse(scrub(JSON.stringify(entry))) as StoreLogEntry;
  const installation = await openInstallation({
    store,
    master,
    log,
    scrub,
    ...(options.anchor === undefined ? {} : { seal: { anchor: options.anchor } }),
  });
  const { audit } = installation;
  const refreshes: Refreshes = createRefreshes({ store, audit, master, values, log });
  const authority = await openAuthority(store, master);
  const parts: Parts = {
    audit,
    leases,
    traces: createTraceBook(store),
    credentials,
    metrics,
    log,
    gate: createGate({
      rules: () => rules,
      policy: currentPolicy,
      approvals: createApprovals(store, audit),
      injected: (channel, outgoing) => credentials.injected(outgoing, channel.lease),
      readSpend: (of) => readSpend(store, of, store.now()),
      takeLimit: (rule, key, max, perMs) => takeLimit(store, rule, key, max, perMs),
      now: () => store.now(),
    }),
    rules: () => rules,
    scanner: currentScanner,
    upstreams: currentUpstreams,
  };
  const server = createFirewallServer({
    parts,
    authority,
    reaches,
    status: () => ({ ready: (configProblem ?? policyProblem) === undefined, problem: configProblem ?? policyProblem }),
  });

  /** Whether anything on the target is open to the lease: by a secret's binding, its token endpoint, or the configuration. */
  function reaches(lease: LiveLease, target: Target): boolean {
    // what is inside a tunnel may be TLS or not
    const either = (check: (target: Target) => boolean) => check(target) || check({ ...target, scheme: 'http' });
    for (const name of lease.placeholders.values()) {
      try {
        const { binding, options: given } = values.describe(name);
        if (either((each) => binding.hosts.some((host) => matchesHost(host, each)))) return true;
        const url = typeof given['token_url'] === 'string' ? new URL(given['token_url']) : undefined;
        if (
          url !== undefined &&
          url.hostname === target.host &&
          Number(url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : url.port) === target.port
        )
          return true;
      } catch {
        // a secret that was removed opens nothing
      }
    }
    return either((each) => rules.mentions(each));
  }

  async function loadConfig(): Promise<void> {
    const { rows } = await store.query<{ version: number; config: string }>(
      'select version, config from firewall_configs order by version desc limit 1',
    );
    const [row] = rows;
    if (row === undefined || row.version === configVersion) return;
    try {
      const next = readRules(JSON.parse(row.config) as EgressConfig);
      rules = next;
      configVersion = row.version;
      configProblem = undefined;
      const before = upstreams;
      upstreams = undefined;
      // what is under way ends as it began; a token that was asked for is lost when its answer is cut off
      if (before !== undefined) setTimeout(() => void before.close(), Math.max(next.limits.idleMs, ASK_MS)).unref();
    } catch (error) {
      configProblem = `configuration ${row.version}: ${(error as Error).message}`;
      log({
        level: 'error',
        message: 'a configuration is not usable; the one before stays',
        version: row.version,
        error: (error as Error).message,
      });
    }
  }

  /** A version that does not compile decides nothing: then everything is denied. */
  async function loadPolicy(): Promise<void> {
    try {
      policy = await activePolicy(store);
      policyProblem = undefined;
    } catch (error) {
      if ((error as { code?: string }).code !== 'POLICY_BROKEN') throw error;
      policy = undefined;
      policyProblem = (error as Error).message;
      log({ level: 'error', message: 'the policy is not usable; every request is refused', error: policyProblem });
    }
  }

  function currentPolicy(): ActivePolicy {
    if (policy === undefined) throw new RefusedError(503, 'POLICY_FAILED', 'the policy is not usable, so every request is refused');
    return policy;
  }

  /** What the database says now. */
  async function reload(): Promise<void> {
    await loadConfig();
    await loadPolicy();
    await values.refresh();
    await leases.refresh();
    await tell();
  }

  async function tell(): Promise<void> {
    await store.query(
      `insert into firewall_processes (process_id, host, pid, address, config_version, policy_version, problem) values ($1, $2, $3, $4, $5, $6, $7)
       on conflict (process_id) do update set config_version = excluded.config_version, policy_version = excluded.policy_version,
         problem = excluded.problem, seen_at = now()`,
      [
        processId,
        hostname(),
        process.pid,
        `${options.host}:${port}`,
        configVersion,
        policy?.version ?? null,
        configProblem ?? policyProblem ?? null,
      ],
    );
  }

  let reloading: Promise<void> | undefined;
  let again = false;
  function reloadSoon(): void {
    if (reloading !== undefined) {
      again = true;
      return;
    }
    reloading = reload()
      .catch((error: Error) => log({ level: 'warn', message: 'reading the configuration failed; trying again', error: error.message }))
      .finally(() => {
        reloading = undefined;
        if (again) {
          again = false;
          reloadSoon();
        }
      });
  }

  let port = 0;
  await loadConfig();
  await loadPolicy();
  const unlisten = await store.listener.on('centaur_firewall', reloadSoon);
  const unlistenLeases = await store.listener.on('centaur_leases', () => void leases.refresh().catch(() => undefined));
  const timer = setInterval(reloadSoon, SEEN_MS);
  ({ port } = await server.listen({ host: options.host, port: options.port }));
  await tell();
  // what this process changed itself when it opened the installation, before it listened
  reloadSoon();
  const listener = options.postgresPort === undefined ? undefined : createPostgresListener(parts, values, store);
  const postgres = await listener?.listen({ host: options.host, port: options.postgresPort ?? 0 });
  const families = () =>
    metrics.families(
      {
        centaur_egress_tunnels_open: server.tunnels,
        centaur_egress_leases_in_use: leases.size,
        centaur_audit_queued: audit.queued,
        centaur_scanner_patterns: currentScanner().patterns,
      },
      [...installation.counts.families(), ...(options.moreFigures?.() ?? [])],
    );
  const page = options.metricsPort === undefined ? undefined : await servePage(options.metricsPort, () => renderFamilies(families()));

  return {
    port,
    metricsPort: page?.port,
    postgresPort: postgres?.port,
    caPem: authority.caPem,
    families,
    async close() {
      // what providers were asked for comes to its end, whoever it was for
      const refreshed = refreshes.close();
      clearInterval(timer);
      unlisten();
      unlistenLeases();
      await reloading;
      leases.close();
      await server.close();
      await listener?.close();
      await page?.close();
      await refreshed;
      await upstreams?.close();
      values.close();
      await store.query('delete from firewall_processes where process_id = $1', [processId]).catch(() => undefined);
      await installation.close();
    },
  };
}

async function servePage(port: number, text: () => string): Promise<{ readonly port: number; close(): Promise<void> }> {
  const server = http.createServer((request, response) => {
    const known = request.url === '/metrics';
    response.writeHead(known ? 200 : 404, { 'content-type': 'text/plain; version=0.0.4' });
    response.end(known ? text() : '');
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
