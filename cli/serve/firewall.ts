/** The firewall as a process of its own: `centaur firewall`, or started and kept up by `centaur up`. */
import { type ChildProcess, fork } from 'node:child_process';
import { chmodSync, mkdirSync, renameSync, watch, writeFileSync } from 'node:fs';
import { appendFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Config, type EgressSettings, readConfigFile } from '@centaur/kernel/config';
import { storeEgressConfig } from '@centaur/kernel/firewall/config';
import { describeFamily } from '@centaur/kernel/telemetry';
import type { Installation } from '@centaur/kernel/vault';
import { HintedError } from '../exit.ts';
import type { Log } from '../log.ts';
import { openDatabase } from './database.ts';
import { tellLastWords } from './last-words.ts';
import { untilStopped } from './signals.ts';
import { createExportCounts, exportMetrics } from './telemetry.ts';
import { findMasterKey } from './trust.ts';

const COMMAND = fileURLToPath(new URL('../bin/centaur.js', import.meta.url));
const RESTART_MS = [100, 500, 1000, 2000, 5000];
/** For a machine that is busy: where a firewall cannot start, it says so and ends. */
const READY_MS = 120_000;
const RELOAD_MS = 100;
/** Longer than a firewall waits for a token that it has asked for: see `kernel/firewall/refresh.ts`. */
const STOP_MS = 35_000;

export interface FirewallStarted {
  readonly url: string;
  /** Host and port at which it speaks the protocol of Postgres. */
  readonly postgres: string;
  readonly metricsPort: number | undefined;
  readonly caFile: string;
  readonly ms: number;
}

/** Serves until it is told to stop, or until the process that started it is gone. */
export async function serveFirewall(config: Config, log: Log, onStarted: (started: FirewallStarted) => void): Promise<void> {
  const before = performance.now();
  if (config.databaseUrl === undefined) {
    throw new HintedError(
      'DATABASE_URL: "centaur firewall" needs it, because several processes share the database',
      'On one machine, "centaur up" runs everything and brings its own Postgres.',
    );
  }
  const found = findMasterKey(config, 'find');
  if (found === undefined)
    throw new HintedError(
      'CENTAUR_MASTER_KEY: the firewall needs the key that opens the secrets',
      'Give it the same one as "centaur api" has, or the file in CENTAUR_MASTER_KEY_FILE.',
    );
  tellLastWords(log);
  // only here: whoever starts a firewall beside itself need not load one
  const { startFirewall } = await import('@centaur/kernel/firewall');
  await using database = await openDatabase(config, log);
  const exported = createExportCounts();
  const firewall = await startFirewall({
    store: database.store,
    master: found.master,
    host: config.firewall.host,
    port: config.firewall.port,
    postgresPort: config.firewall.postgresPort,
    ...(config.auditAnchor === undefined ? {} : { anchor: (note: string) => appendFile(config.auditAnchor as string, `${note}\n`) }),
    environment: { ...process.env, CENTAUR_HOME: config.home },
    ...(config.firewall.metricsPort === undefined ? {} : { metricsPort: config.firewall.metricsPort }),
    moreFigures: exported.families,
    log,
  }).catch((error: unknown) => Promise.reject(startProblem(error, config)));
  const figures = async () => firewall.families().map(describeFamily);
  const metrics = await exportMetrics(config.otlp, 'firewall', exported, figures, log);
  const caFile = writeCa(config, firewall.caPem);
  const started: FirewallStarted = {
    url: firewallUrl(config, firewall.port),
    postgres: postgresPlace(config, firewall.postgresPort),
    metricsPort: firewall.metricsPort,
    caFile,
    ms: performance.now() - before,
  };
  process.send?.({ ready: started });
  onStarted(started);
  const orphaned = new Promise<void>((resolve) => process.once('disconnect', resolve));
  await Promise.race([untilStopped((signal) => log({ level: 'info', message: 'stopping', signal })), orphaned]);
  await firewall.close();
  // what was answered while it closed is in its last figures
  await metrics?.close();
}

function startProblem(error: unknown, { firewall: { host, port } }: Config): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'EADDRINUSE')
    return new HintedError(
      `FIREWALL_PORT: ${port} on ${host} is in use by another program, or the next one is`,
      'Set FIREWALL_PORT, or FIREWALL_POSTGRES_PORT, to another one.',
      {
        cause: error,
      },
    );
  if (code === 'MASTER_KEY_UNKNOWN')
    return new HintedError(
      `the database was sealed under another master key: ${(error as Error).message}`,
      'Give all processes of one installation the same CENTAUR_MASTER_KEY.',
      { cause: error },
    );
  return error;
}

/** For programs that are told of a file: whole or not at all, and readable by all, since it is no secret. */
function writeCa(config: Config, pem: string): string {
  mkdirSync(config.home, { recursive: true, mode: 0o700 });
  const file = path.join(config.home, 'ca.pem');
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, pem, { mode: 0o644 });
  chmodSync(draft, 0o644);
  renameSync(draft, file);
  return file;
}

export function caFileOf(config: Config): string {
  return path.join(config.home, 'ca.pem');
}

export function firewallUrl(config: Config, port: number = config.firewall.port): string {
  const host = config.firewall.host === '0.0.0.0' || config.firewall.host === '::' ? '127.0.0.1' : config.firewall.host;
  return config.firewall.url ?? `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

export function postgresPlace(config: Config, port: number = config.firewall.postgresPort): string {
  return `${new URL(firewallUrl(config)).hostname}:${port}`;
}

export interface FirewallChild {
  readonly started: FirewallStarted;
  stop(): Promise<void>;
}

/** Starts a firewall beside this process, and again whenever it ends. */
export async function keepFirewall(config: Config, databaseUrl: string, log: Log): Promise<FirewallChild> {
  let stopping = false;
  let child: ChildProcess;
  let restarts = 0;
  let { port, postgresPort } = config.firewall;

  function start(): Promise<FirewallStarted> {
    const environment = {
      ...process.env,
      DATABASE_URL: databaseUrl,
      CENTAUR_HOME: config.home,
      FIREWALL_PORT: String(port),
      FIREWALL_POSTGRES_PORT: String(postgresPort),
    };
    child = fork(COMMAND, ['firewall'], { env: environment, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    let problem: { readonly message: string; readonly hint?: string } | undefined;
    const began = performance.now();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => child.kill('SIGKILL'), READY_MS);
      let ready = false;
      child.on('message', (message: { ready?: FirewallStarted; failed?: { readonly message: string; readonly hint?: string } }) => {
        problem = message.failed;
        if (message.ready === undefined) return;
        clearTimeout(timer);
        ready = true;
        // the next one must be found where this one was
        port = Number(new URL(message.ready.url).port || port);
        postgresPort = Number(message.ready.postgres.split(':').at(-1));
        resolve(message.ready);
      });
      child.once('exit', (code, signal) => {
        clearTimeout(timer);
        if (!ready)
          return reject(
            new HintedError(
              problem?.message ?? `the firewall did not start: it ended with ${code ?? signal}`,
              problem?.hint ?? 'Its log is above.',
            ),
          );
        if (stopping) return;
        if (performance.now() - began > 60_000) restarts = 0;
        const delay = RESTART_MS[Math.min(restarts++, RESTART_MS.length - 1)] as number;
        log({ level: 'error', message: 'the firewall ended; it is started again', exit_code: code, signal, in_ms: delay });
        setTimeout(() => void restart(), delay);
      });
    });
  }

  async function restart(): Promise<void> {
    if (stopping) return;
    await start().catch((error: Error) => {
      log({ level: 'error', message: 'the firewall does not start; trying again', error: error.message });
      setTimeout(() => void restart(), 5000);
    });
  }

  const started = await start();
  return {
    started,
    async stop() {
      stopping = true;
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = new Promise((resolve) => child.once('exit', resolve));
      // a supervisor may have sent SIGTERM to all of us: a second one would end it in the middle of what it has to finish
      if (child.connected) child.disconnect();
      else child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      await ended;
      clearTimeout(timer);
    },
  };
}

/** Stores the egress part of `centaur.yaml`, now and whenever the file changes. A file that is not usable changes nothing. */
/** @param more what this start allows besides the file */
export async function followConfigFile(config: Config, installation: Installation, log: Log, more?: EgressSettings): Promise<() => void> {
  const { configFile } = config;
  if (configFile === undefined && more !== undefined) {
    await storeEgressConfig(installation, 'start', more);
    return () => {};
  }
  if (configFile === undefined) {
    const { rows } = await installation.store.query<{ version: number }>(
      'select max(version) as version from firewall_configs having max(version) is not null',
    );
    if (rows[0] !== undefined)
      log({
        level: 'info',
        message: 'there is no centaur.yaml here: the egress configuration that was stored last holds',
        version: rows[0].version,
      });
    return () => {};
  }
  const store = async () => {
    const { egress } = readConfigFile(configFile);
    const { version, created } = await storeEgressConfig(installation, 'file', joined(egress, more));
    if (created) log({ level: 'info', message: 'stored the egress configuration', version, file: configFile });
  };
  await store();
  let timer: NodeJS.Timeout | undefined;
  // the folder: editors replace files
  const watcher = watch(path.dirname(configFile), (_, name) => {
    if (name !== path.basename(configFile)) return;
    clearTimeout(timer);
    timer = setTimeout(
      () =>
        void store().catch((error: Error) =>
          log({ level: 'error', message: 'centaur.yaml is not usable; what held before holds', error: error.message }),
        ),
      RELOAD_MS,
    );
  });
  watcher.on('error', (error) => log({ level: 'warn', message: 'changes of centaur.yaml are not seen any more', error: error.message }));
  return () => {
    clearTimeout(timer);
    watcher.close();
  };
}

function joined(egress: EgressSettings, more: EgressSettings | undefined): EgressSettings {
  if (more === undefined) return egress;
  return {
    ...egress,
    allow_cidrs: [...(egress.allow_cidrs ?? []), ...(more.allow_cidrs ?? [])],
    // without a list all are open, and stay so
    ...(egress.ports === undefined ? {} : { ports: [...new Set([...egress.ports, ...(more.ports ?? [])])] }),
  };
}
