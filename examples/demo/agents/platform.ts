/**
 * An installation as an operator would set it up: a database, a vault with two secrets, a `centaur.yaml`, and the servers
 * as processes of their own. The model and the service that it talks to are outside of it.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { connectStore, migrate, type Store } from '@centaur/kernel/store';
import { startEmbeddedPostgres } from '@centaur/kernel/store/embedded';
import { addGrant, type Installation, openInstallation, putSecret, readMasterKey } from '@centaur/kernel/vault';
import { createLocalBackend } from '@centaur/runtime/sandbox/local';
import { type Client, createClient } from '@centaur/sdk';
import { createModelServer, type ModelServer } from '../../model-server/index.ts';
import { type KeyService, startKeyService } from '../key-service.ts';
import * as screen from '../screen.ts';
import { type ServerProcess, startFirewallProcess, startServerProcess } from '../servers.ts';
import { type Cli, findIsolation, type Lack } from './machine.ts';

export interface Platform {
  readonly thread: string;
  readonly client: Client;
  readonly api: ServerProcess;
  readonly apiKey: string;
  readonly model: ModelServer;
  readonly service: KeyService;
  /** What nobody but the vault, the model and the service knows. */
  readonly keys: { readonly model: string; readonly service: string };
  readonly store: Store;
  readonly installation: Installation;
  startWorker(): Promise<ServerProcess>;
  /** `kill -9` of a sandbox's first process, from outside. @returns its pid */
  killSandbox(): number;
}

const WORKFLOWS = fileURLToPath(new URL('workflows', import.meta.url));
/** Between two words of a slow answer: a worker is killed in the middle of it, on a slow machine too. */
const PACE_MS = 100;
const ACTOR = 'demo';
const MODEL_SECRET = 'MODEL_KEY';
const SERVICE_SECRET = 'DEMO_API_KEY';

/** @param thread whose sandbox may use the two secrets */
export async function startPlatform(
  thread: string,
  harness: string,
  cli: Cli | undefined,
  cleanup: AsyncDisposableStack,
): Promise<Platform | Lack> {
  const home = makeFolder(cleanup);
  const stateDir = path.join(home, 'sandboxes');
  cleanup.defer(() => createLocalBackend({ stateDir }).shutdown());
  const starting = startDatabase(home, cleanup);
  const [machine, database] = await Promise.all([findIsolation(stateDir), starting]);
  if ('problem' in machine) return machine;
  const { store, installation } = database;
  screen.fact('postgres', 'embedded; it holds the thread, the vault and the audit log');
  screen.fact('sandboxes', `of this machine: ${machine.isolation}`);

  const keys = { model: makeKey(), service: makeKey() };
  const model = await createModelServer({ key: keys.model, paceMs: PACE_MS });
  cleanup.defer(() => model.close());
  const modelPort = Number(new URL(model.url).port);
  const service = await startKeyService(keys.service, home, cleanup);
  screen.fact('model', `http://localhost:${modelPort}, a scripted one, takes only its own key`);
  screen.fact('service', `${service.url}, takes only the real key, and echoes it`);
  await putSecret(installation, ACTOR, MODEL_SECRET, {
    value: keys.model,
    hosts: [`http://localhost:${modelPort}`],
    match_headers: ['x-api-key', 'authorization'],
  });
  await putSecret(installation, ACTOR, SERVICE_SECRET, {
    value: keys.service,
    hosts: [`localhost:${service.port}`],
    match_headers: ['authorization'],
  });
  for (const secret of [MODEL_SECRET, SERVICE_SECRET]) await addGrant(installation, ACTOR, `thread:${thread}`, secret);

  const configFile = path.join(home, 'centaur.yaml');
  const setting = { secret: MODEL_SECRET, base_url: `http://localhost:${modelPort}`, ...(cli === undefined ? {} : { model: cli.model }) };
  // JSON is YAML
  const config = {
    egress: { allow_cidrs: ['127.0.0.1'], ports: [443, modelPort, service.port], ca_files: [service.caFile] },
    agents: { default_harness: harness, harnesses: { [harness]: setting } },
    sandbox: { memory_mb: cli === undefined ? 512 : 2048, processes: 256, disk_mb: 256, tmp_mb: 64 },
  };
  writeFileSync(configFile, JSON.stringify(config, undefined, 2));
  const apiKey = randomBytes(24).toString('base64url');
  const environment = {
    DATABASE_URL: database.url,
    CENTAUR_MASTER_KEY: database.masterKey,
    CENTAUR_HOME: home,
    CENTAUR_CONFIG: configFile,
    CENTAUR_API_KEY: apiKey,
    // as short as it may be: how long it takes until a dead worker's turn is taken over
    CENTAUR_LEASE_SECONDS: '2',
    WORKFLOW_DIRS: WORKFLOWS,
    ...(cli === undefined ? {} : { CENTAUR_HARNESS_DIR: cli.folder }),
  };
  const [firewall, api] = await Promise.all([startFirewallProcess(environment, cleanup), startServerProcess('api', environment, cleanup)]);
  screen.fact('firewall', `${firewall.url}, pid ${firewall.pid}`);
  screen.fact('api', `${api.url}, pid ${api.pid}`);
  return {
    thread,
    client: createClient({ url: api.url, apiKey }),
    api,
    apiKey,
    model,
    service,
    keys,
    store,
    installation,
    startWorker: () => startServerProcess('worker', { ...environment, FIREWALL_URL: firewall.url, CENTAUR_API_URL: api.url }, cleanup),
    killSandbox: () => killSandbox(stateDir),
  };
}

const makeKey = (): string => `sk-demo-${randomBytes(24).toString('base64url')}`;

function makeFolder(cleanup: AsyncDisposableStack): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'centaur-demo-'));
  // not rmSync, which stops without a word when somebody else, here the end of a sandbox, removes a file that it is about to
  cleanup.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }));
  const home = path.join(folder, 'home');
  mkdirSync(home);
  // sandboxes and the database have users of their own, who have to get through
  for (const each of [folder, home]) chmodSync(each, 0o711);
  return home;
}

async function startDatabase(
  home: string,
  cleanup: AsyncDisposableStack,
): Promise<{ readonly url: string; readonly store: Store; readonly masterKey: string; readonly installation: Installation }> {
  const { url, stop } = await startEmbeddedPostgres({ dataDir: path.join(home, 'postgres'), throwaway: true });
  cleanup.defer(() => stop());
  await migrate(url);
  const store = await connectStore({ url });
  cleanup.defer(() => store.close());
  const masterKey = randomBytes(32).toString('base64');
  const installation = await openInstallation({ store, master: readMasterKey(masterKey) });
  cleanup.defer(() => installation.close());
  return { url, store, masterKey, installation };
}

/** The child of the process that holds the sandboxes of this folder. There is one sandbox. */
function killSandbox(stateDir: string): number {
  const processes = readdirSync('/proc').flatMap((name) => readProcess(Number(name)) ?? []);
  const holder = processes.find(({ command }) => command.includes('sandboxd.ts') && command.includes(stateDir));
  // by age: /proc is listed as text, where 10000 comes before 9999, and one that is made ahead is younger than the thread's
  const [first] = processes
    .filter(({ parent }) => holder !== undefined && parent === holder.pid)
    .toSorted((a, b) => a.startedAt - b.startedAt || a.pid - b.pid);
  if (first === undefined) throw new Error('there is no sandbox to kill');
  process.kill(first.pid, 'SIGKILL');
  return first.pid;
}

function readProcess(
  pid: number,
): { readonly pid: number; readonly parent: number; readonly startedAt: number; readonly command: string } | undefined {
  try {
    // the name, in brackets, may hold anything; the parent is the second field behind it, and when it began the twentieth
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
    return { pid, parent: Number(fields[1]), startedAt: Number(fields[19]), command: readFileSync(`/proc/${pid}/cmdline`, 'utf8') };
  } catch {
    // no process, or one that has ended
    return undefined;
  }
}
