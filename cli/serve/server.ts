/**
 * The servers: `up` is everything on one machine, `api` only answers requests, `worker` only runs runs. The firewall is a
 * process of its own: see `firewall.ts`.
 *
 * Whatever was started is stopped in reverse order, however far the start came.
 */
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { adminKeyFile, createApi, createMetrics, type Api, ensureAdminKey, ensureBotKey } from '@centaur/kernel/api';
import { type Config, readConfigFile, retentionPeriods, type SignInSettings } from '@centaur/kernel/config';
import { createEngine, type Engine } from '@centaur/kernel/engine';
import type { Scrubber } from '@centaur/kernel/firewall/scrub';
import { createOAuth, type OAuth } from '@centaur/kernel/oauth';
import type { OidcSettings } from '@centaur/kernel/oidc';
import { createWebhooks, type Webhooks } from '@centaur/kernel/webhooks';
import { createWorkflowMetrics, createWorkflowTransactions } from '@centaur/runtime/hosts/hosted';
import { createRotations } from '@centaur/kernel/rotation';
import { createJournalSealer } from '@centaur/kernel/journal';
import { createApprovals, createOutside } from '@centaur/runtime/outside';
import { createReplays } from '@centaur/runtime/replay';
import { rotateWorkflow } from '@centaur/runtime/rotation';
import { withBuiltIn } from '@centaur/runtime/turns';
import { HintedError } from '../exit.ts';
import type { Log } from '../log.ts';
import { VERSION } from '../version.ts';
import { type Agents, prepareAgents } from './agents.ts';
import { startApprovals } from './approvals.ts';
import { priceLate } from '@centaur/kernel/usage';
import { openDatabase } from './database.ts';
import { DEMO_SECRET, startDemoModel } from './demo.ts';
import { caFileOf, type FirewallStarted, firewallUrl, followConfigFile, keepFirewall, postgresPlace } from './firewall.ts';
import { tellLastWords } from './last-words.ts';
import { openLayers, rootsOf } from './overlays.ts';
import { openSandboxes, threadShape } from './sandboxes.ts';
import { keepSlackBot, SLACK_KEY, SLACK_SCOPES, type SlackChild } from './slack-child.ts';
import { startRotations } from './rotations.ts';
import { untilStopped } from './signals.ts';
import { createExportCounts, exportMetrics, type MetricExport, resourceOf } from './telemetry.ts';
import { openTools, type ServedTools } from './tools.ts';
import { findMasterKey, startMaintenance, openTrust } from './trust.ts';
import { openWorkflows, type Workflows } from './workflows.ts';

export type Role = 'up' | 'api' | 'worker';

/** What a start has come to, for the banner. */
export interface Started {
  readonly role: Role;
  /** Undefined for a worker. */
  readonly url: string | undefined;
  /** Of `up` alone. */
  readonly firewall: string | undefined;
  readonly database: string;
  readonly host: Workflows;
  readonly dirs: readonly string[];
  /** Whether the scripted model is there. */
  readonly demo: boolean;
  /** A key that was made just now is shown once. */
  readonly adminKey: { readonly key?: string; readonly from: string } | undefined;
  readonly ms: number;
}

/** How long a step in progress may take to end when the server stops. */
const DRAIN_MS = 10_000;

/** Serves until it is told to stop. */
export async function serve(
  role: Role,
  config: Config,
  log: Log,
  scrubber: Scrubber,
  onStarted: (started: Started) => void,
): Promise<void> {
  const before = performance.now();
  if (role !== 'up' && config.databaseUrl === undefined) {
    throw new HintedError(
      `DATABASE_URL: "centaur ${role}" needs it, because several processes share the database`,
      'On one machine, "centaur up" runs everything and brings its own Postgres.',
    );
  }
  // Before a Postgres is started for nothing
  if (role !== 'worker') await refuseTakenPort(config);
  tellLastWords(log);

  await using stack = new AsyncDisposableStack();
  const database = stack.use(await openDatabase(config, log));
  const { store } = database;
  const found = findMasterKey(config, role === 'up' ? 'make' : 'find');
  if (found?.made !== undefined)
    log({ level: 'info', message: 'made the master key: back it up apart from the database', file: found.made });
  const trust = found === undefined ? undefined : await openTrust(config, store, found.master, log, scrubber.scrub);
  if (trust !== undefined) stack.defer(() => trust.close());
  if (trust !== undefined) stack.defer(await scrubber.follow(trust));
  if (trust !== undefined) {
    const journals = createJournalSealer({ store, audit: trust.audit, log });
    stack.defer(() => journals.close());
  }
  const demo = config.demo && role === 'up' && trust !== undefined ? await startDemoModel(trust, log) : undefined;
  if (demo !== undefined) stack.defer(() => demo.stop());
  const settings = config.configFile === undefined ? undefined : readConfigFile(config.configFile);
  const retention = retentionPeriods(config, settings?.retention ?? {});
  if (trust !== undefined && role !== 'worker') {
    stack.defer(await followConfigFile(config, trust, log, demo?.egress));
    stack.defer(startMaintenance(trust, retention, log));
  }
  let firewall: FirewallStarted | undefined;
  if (role === 'up') {
    // before the engine, so that it ends after it: a step that is under way keeps its way out
    const child = await keepFirewall(config, database.url, log);
    stack.defer(() => child.stop());
    firewall = child.started;
  }
  const firewallAt = new URL(firewall?.url ?? firewallUrl(config)).host;
  const shape = threadShape(config, settings?.sandbox ?? {}, {
    firewall: firewallAt,
    api: config.port === 0 ? undefined : new URL(config.apiUrl).host,
  });
  const sandboxes = openSandboxes(config, settings?.sandbox ?? {}, shape, log);
  stack.defer(() => sandboxes.close());
  const overlays = await openLayers(config, settings, { log });
  stack.defer(() => overlays.close());
  let followed = () => {};
  let isBehind = false;
  overlays.onChange(() => ((isBehind = true), followed()));
  const host = await openWorkflows(config, {
    settings: settings?.workflows ?? {},
    roots: rootsOf(overlays, 'workflows', config.workflowDirs),
    store,
    isolation: settings?.sandbox.isolation,
    installation: trust,
    backend: sandboxes,
    firewall: firewallAt,
    postgres: firewall?.postgres ?? postgresPlace(config),
    log,
  });
  stack.defer(() => host.close());
  const agents = prepareAgents(config, host.registry, log);
  const rotating = trust === undefined ? [] : [rotateWorkflow(createRotations({ ...trust, log }))];
  const registry = withBuiltIn(agents.registry, () => rotating);
  const opened: { tools?: ServedTools } = {};
  const outside =
    trust === undefined
      ? undefined
      : createOutside({
          installation: trust,
          firewallUrl: firewall?.url ?? firewallUrl(config),
          slackApiUrl: config.slackApiUrl,
          toolApiUrl: config.toolApiUrl,
          tools: () => opened.tools,
        });
  if (outside !== undefined) stack.defer(() => outside.close());
  const engine = await createEngine({
    store,
    registry,
    startAgent: agents.startAgent,
    ...(outside === undefined ? {} : { outside }),
    ...(trust === undefined ? {} : { approvals: createApprovals(trust) }),
    log,
    leaseMs: config.leaseMs,
    maxResidentRuns: config.maxResidentRuns,
    retentionDays: retention.runs,
    audit: trust?.audit,
    ...(config.queues === undefined ? {} : { queues: config.queues }),
  });
  const workflowMetrics = createWorkflowMetrics();
  const exported = createExportCounts();
  // a worker has no page of them
  const metrics =
    role === 'worker' && config.otlp?.metrics === undefined
      ? undefined
      : createMetrics(VERSION, { entries: trust?.counts, audit: trust?.audit, workflows: workflowMetrics.read, more: exported.families });
  stack.defer(() => metrics?.close());
  // before the engine, so that it ends after it: the last figures have what was done while it stopped
  const reporting: { metrics?: MetricExport | undefined; close?: () => void } = {};
  stack.defer(async () => {
    await reporting.metrics?.close();
    reporting.close?.();
  });
  const transactions = createWorkflowTransactions(store, log);
  stack.defer(() => transactions.close());
  host.serve({
    startRun: ({ from, ...request }) => engine.startFrom(from, request),
    metric: workflowMetrics.record,
    runTransaction: transactions.run,
    log,
  });
  const draining: { api?: Api; webhooks?: Webhooks; accounts?: OAuth } = {};
  const threads = await agents.open({
    store,
    engine,
    settings: settings?.agents ?? {},
    prices: settings?.prices ?? [],
    // one that lacks a secret would only refuse
    async tools(user) {
      if (shape.api === undefined || opened.tools === undefined) return [];
      return (await opened.tools.listFor(user)).filter(({ missingSecrets }) => missingSecrets.length === 0).map(({ tool }) => tool);
    },
    skills: overlays,
    overrides: demo === undefined ? {} : scripted(demo.url),
    worker:
      trust === undefined || role === 'api'
        ? undefined
        : {
            installation: trust,
            sandboxes,
            shape,
          },
  });
  // a price that somebody forgot reaches back; nothing waits for it
  const pricing = new AbortController();
  const late = priceLate(store, settings?.prices ?? [], { signal: pricing.signal }).then(
    (turns) => turns > 0 && log({ level: 'info', message: 'priced turns whose model had no price before', turns }),
    (error: Error) => log({ level: 'warn', message: 'pricing turns failed; the next start goes on with it', error: error.message }),
  );
  stack.defer(async () => {
    pricing.abort();
    await late;
  });
  // after the engine has stopped: what a turn stores last goes through them
  stack.defer(() => agents.close());
  if (trust !== undefined) {
    opened.tools = await openTools(config, {
      settings: settings?.tools ?? {},
      roots: rootsOf(overlays, 'tools', config.toolDirs),
      store,
      isolation: settings?.sandbox.isolation,
      installation: trust,
      backend: sandboxes,
      firewall: firewallAt,
      postgres: firewall?.postgres ?? postgresPlace(config),
      threads,
      retentionDays: retention.toolCalls,
      log,
    });
  }
  if (trust !== undefined) stack.defer(startApprovals(trust, engine, threads, log));
  const follow = (what: string, reload: () => Promise<void> | undefined): void =>
    void reload()?.catch((error: Error) =>
      log({ level: 'error', message: `the ${what} of the overlays cannot be looked at: ${error.message}` }),
    );
  followed = () => {
    follow('workflows', () => host.reload());
    follow('tools', () => opened.tools?.reload());
  };
  // they changed while this was starting
  if (isBehind) followed();
  // after the engine has stopped: a step may be waiting for one
  stack.defer(async () => opened.tools?.close());
  // after the API, whose last requests may be deliveries
  stack.defer(async () => draining.webhooks?.close());
  // after the API, too: it answers those who come back from a provider until then
  stack.defer(async () => draining.accounts?.close());
  stack.defer(() => stop(engine, draining.api, agents));
  if (trust !== undefined && role !== 'worker') stack.defer(startRotations(trust, engine, log));

  let url: string | undefined;
  let slackBot: SlackChild | undefined;
  const startsSlack = role === 'up' && config.slackBot.isWanted && config.slackBot.url === undefined;
  let adminKey: Started['adminKey'];
  if (role !== 'worker') {
    adminKey = await readyAdminKey();
    const proxyUrl = firewall?.url ?? firewallUrl(config);
    const webhooks = await createWebhooks({
      engine,
      store,
      workflows: host.registry,
      log,
      retentionDays: retention.webhookDeliveries,
      ...(trust === undefined ? {} : { installation: trust }),
      ...(settings?.api.trusted_proxies === undefined ? {} : { trustedProxies: settings.api.trusted_proxies }),
    });
    draining.webhooks = webhooks;
    const accounts = trust === undefined ? undefined : await createOAuth({ installation: trust, publicUrl: () => config.publicUrl, log });
    if (accounts !== undefined) draining.accounts = accounts;
    const replays = createReplays({ store, registry, dirs: () => overlays.roots('workflows') });
    const api = createApi({
      engine,
      replays,
      retentionDays: retention.runs,
      registry: host.registry,
      store,
      threads,
      webhooks,
      ...(opened.tools === undefined ? {} : { tools: opened.tools }),
      ...(accounts === undefined ? {} : { accounts }),
      version: VERSION,
      log,
      publicUrl: () => config.publicUrl,
      ...(startsSlack || config.slackBot.url !== undefined ? { bots: { slack: () => config.slackBot.url ?? slackBot?.url() } } : {}),
      slack: { signingSecret: config.slackSigningSecret, socketMode: settings?.approvals.slack_socket_mode },
      ...(settings?.signIn.oidc === undefined ? {} : { oidc: oidcSettings(settings.signIn.oidc, config) }),
      ...(settings?.api.trusted_proxies === undefined ? {} : { trustedProxies: settings.api.trusted_proxies }),
      problems: () => [...overlays.problems(), ...host.problems()],
      ...(metrics === undefined ? {} : { metrics }),
      ...(trust === undefined
        ? {}
        : {
            trust: {
              installation: trust,
              retention,
              firewall: { proxyUrl, caFile: firewall?.caFile ?? caFileOf(config), postgres: firewall?.postgres ?? postgresPlace(config) },
            },
          }),
    });
    draining.api = api;
    stack.defer(() => replays.close());
    ({ url } = await api
      .listen({ host: config.host, port: config.port })
      .catch((error: unknown) => Promise.reject(listenProblem(error, config))));
    if (startsSlack) {
      const made = { store, audit: trust?.audit, home: config.home, name: SLACK_KEY, scopes: SLACK_SCOPES };
      const apiKey = config.slackBot.apiKey ?? (await ensureBotKey(made));
      const child = keepSlackBot({ apiUrl: url ?? config.apiUrl, apiKey, home: config.home }, log);
      slackBot = child;
      stack.defer(() => child.stop());
    }
  }
  if (role !== 'api') await engine.work();
  if (config.otlp?.traces !== undefined) {
    // nothing of it is loaded where it is off
    const { startTraceExport } = await import('@centaur/kernel/traces/export');
    const { traces: receiver, ratio, delayMs } = config.otlp;
    const resource = resourceOf(config.otlp, role);
    const count = exported.of('traces');
    const exporting = startTraceExport({ resource, ratio, delayMs, store, receiver, version: VERSION, count, log });
    stack.defer(() => exporting.close());
  }
  if (config.otlp?.metrics !== undefined && metrics !== undefined) {
    const reader = metrics.reader(role === 'worker' ? 'process' : 'process and database');
    reporting.close = () => reader.close();
    reporting.metrics = await exportMetrics(config.otlp, role, exported, () => reader.read(engine, store), log);
  }
  onStarted({
    role,
    url,
    firewall: firewall?.url,
    database: database.place,
    host,
    dirs: overlays.roots('workflows').filter((dir) => existsSync(dir)),
    demo: demo !== undefined,
    adminKey,
    ms: performance.now() - before,
  });

  await untilStopped((signal) =>
    log({ level: 'info', message: 'stopping; steps in progress may end first', signal, grace_seconds: DRAIN_MS / 1000 }),
  );
  await stack.disposeAsync();
  log({ level: 'info', message: 'stopped' });

  async function readyAdminKey(): Promise<Started['adminKey']> {
    const made = await ensureAdminKey({ store, given: config.apiKey, home: config.home });
    switch (made.source) {
      case 'generated':
        return { key: made.key, from: made.file };
      case 'file':
        return { from: made.file };
      case 'environment':
        return { from: 'CENTAUR_API_KEY' };
      case 'existing':
        if (made.warning !== undefined) log({ level: 'warn', message: made.warning });
        return { from: config.apiKey === undefined ? adminKeyFile(config.home) : 'CENTAUR_API_KEY' };
    }
  }
}

function oidcSettings(given: NonNullable<SignInSettings['oidc']>, { oidcClientSecret }: Config): OidcSettings {
  return {
    issuer: given.issuer,
    clientId: given.client_id,
    clientSecret: oidcClientSecret,
    label: given.label ?? `Sign in with ${new URL(given.issuer).hostname}`,
    scopes: given.scopes ?? ['email', 'profile'],
    emailDomains: given.email_domains,
    newcomers: given.newcomers,
    roles: given.roles && { claim: given.roles.claim, byValue: given.roles.values },
  };
}

/** Every harness asks the scripted model, as long as centaur.yaml says nothing else. */
function scripted(url: string) {
  const setting = { secret: DEMO_SECRET, baseUrl: url };
  return { demo: setting, claude: setting, codex: setting, pi: setting };
}

/** Requests that read are answered until the runs are handed back; then the streams end and the port is closed. */
async function stop(engine: Engine, api: Api | undefined, agents: Agents): Promise<void> {
  api?.drain();
  agents.detach();
  await engine.drain(DRAIN_MS);
  await api?.close();
}

async function refuseTakenPort(config: Config): Promise<void> {
  if (config.port === 0) return;
  const probe = createServer();
  await new Promise<void>((resolve, reject) => {
    probe.once('error', (error) => reject(listenProblem(error, config)));
    probe.listen(config.port, config.host, () => probe.close(() => resolve()));
  });
}

function listenProblem(error: unknown, { host, port }: Config): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'EADDRINUSE')
    return new HintedError(
      `PORT: ${port} on ${host} is in use by another program`,
      'Is Centaur running already? "centaur doctor" tells. Else set PORT to another one.',
      { cause: error },
    );
  if (code === 'EACCES')
    return new HintedError(`PORT: this user may not listen on ${port}`, 'Set PORT to one above 1023.', { cause: error });
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
    return new HintedError(
      `HOST: ${host} is no address of this machine`,
      'Use 127.0.0.1 for this machine only, or 0.0.0.0 for all addresses.',
      { cause: error },
    );
  return error;
}
