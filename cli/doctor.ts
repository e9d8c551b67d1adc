/** The checks of `centaur doctor`: each says what it found and, when that is not good, what to do. */
import { spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { existsSync, mkdtempSync, chmodSync, readFileSync, realpathSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { migrationState } from '@centaur/kernel/api';
import { type Config, type FileSettings, loadConfig, readConfigFile } from '@centaur/kernel/config';
import { openIntents } from '@centaur/kernel/audit';
import { listFirewalls, readRules } from '@centaur/kernel/firewall/config';
import { connectStore, describeUrl, type Store } from '@centaur/kernel/store';
import { startEmbeddedPostgres } from '@centaur/kernel/store/embedded';
import { changedSecrets, type MasterKey, openInstallKey, publicPart, wrappedElsewhere } from '@centaur/kernel/vault';
import { type HarnessKind, harnesses } from '@centaur/runtime/harness';
import { createNodeHost } from '@centaur/runtime/hosts/node';
import { CentaurApiError } from '@centaur/sdk';
import { connect } from './api.ts';
import { caFileOf } from './serve/firewall.ts';
import { openLayers, rootsOf } from './serve/overlays.ts';
import { findMasterKey } from './serve/trust.ts';

export interface Check {
  readonly status: 'ok' | 'warn' | 'fail';
  readonly name: string;
  readonly message: string;
  readonly fix?: string;
}

const ok = (name: string, message: string): Check => ({ status: 'ok', name, message });
const warn = (name: string, message: string, fix: string): Check => ({ status: 'warn', name, message, fix });
const fail = (name: string, message: string, fix: string): Check => ({ status: 'fail', name, message, fix });

/** Clocks that are further apart make leases end too soon or too late. */
const CLOCK_MS = 2000;
/** Notifications arrive within milliseconds, or never when a pooler sits in between. */
const NOTIFY_MS = 10_000;
/** A server that is busy answers, if late. */
const ANSWER_MS = 10_000;

/** One after the other, so that they can be shown while they run. */
export async function* runChecks(environment: NodeJS.ProcessEnv): AsyncGenerator<Check> {
  yield checkNode();
  let config: Config;
  try {
    config = loadConfig(environment);
  } catch (error) {
    // The other checks would only check what nobody asked for
    yield fail('Settings', (error as Error).message.replace(/\n +/g, ' '), 'correct the variables that are named');
    return;
  }
  yield ok('Settings', `home ${config.home}`);
  yield* checkConfigFile(config);
  const api = await askApi(config);
  yield* checkDatabase(config);
  yield* checkWorkflows(config);
  yield* checkHarnesses(config);
  yield checkIsolation(config);
  yield await checkPort(config, api);
  yield* checkApi(config, api, environment);
}

function checkNode(): Check {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const found = `${process.versions.node} at ${process.execPath}`;
  return major > 22 || (major === 22 && minor >= 18)
    ? ok('Node', found)
    : fail('Node', found, 'install Node 22.18 or newer, or run npm ci, which brings one');
}

async function* checkDatabase(config: Config): AsyncGenerator<Check> {
  await using stack = new AsyncDisposableStack();
  let url = config.databaseUrl;
  let place = url === undefined ? '' : describeUrl(url);
  try {
    if (url === undefined) ({ url, place } = await openEmbedded(config, stack));
    const store = await connectStore({ url, poolSize: 2 });
    stack.defer(() => store.close());
    const { rows } = await store.query<{ version: string; encoding: string }>(
      `select current_setting('server_version') as version, current_setting('server_encoding') as encoding`,
    );
    yield ok('Postgres', `${rows[0]?.version}, ${rows[0]?.encoding}, ${place}`);
    yield await checkNotifications(store);
    yield await checkClock(store);
    const tables = await checkMigrations(store);
    yield tables;
    if (await hasVault(store)) yield* checkVault(config, store, tables.status === 'ok');
  } catch (error) {
    yield fail(
      'Postgres',
      (error as Error).message,
      config.databaseUrl === undefined
        ? 'or set DATABASE_URL to a Postgres of your own, 15 or newer'
        : 'correct DATABASE_URL, or unset it to use the embedded Postgres',
    );
  }
}

/** The one in the home when there is one, running or not; else a throwaway, to see whether this machine can run it. */
async function openEmbedded(config: Config, stack: AsyncDisposableStack): Promise<{ url: string; place: string }> {
  const home = path.join(config.home, 'postgres');
  const isMade = existsSync(home);
  let dataDir = home;
  if (!isMade) {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'centaur-doctor-'));
    stack.defer(() => rmSync(folder, { recursive: true, force: true }));
    // So that under root, Postgres' own user can reach it
    chmodSync(folder, 0o711);
    dataDir = path.join(folder, 'postgres');
  }
  const server = await startEmbeddedPostgres({ dataDir, throwaway: !isMade });
  // One that was running belongs to a "centaur up"
  if (!server.adopted) stack.defer(() => server.stop());
  const state = server.adopted ? 'running' : isMade ? 'not running, but it starts' : 'not made yet; a trial one runs';
  return { url: server.url, place: `embedded (${state})` };
}

async function checkNotifications(store: Store): Promise<Check> {
  let heard = () => {};
  const arrival = new Promise<boolean>((resolve) => (heard = () => resolve(true)));
  await store.listener.on('centaur_doctor', () => heard());
  await store.query(`select pg_notify('centaur_doctor', 'x')`);
  const late = new AbortController();
  const arrived = await Promise.race([arrival, pause(NOTIFY_MS, false, { signal: late.signal })]);
  late.abort();
  if (arrived) return ok('LISTEN', 'notifications arrive');
  return fail(
    'LISTEN',
    'notifications do not arrive',
    'a pooler in transaction mode is in between: connect to Postgres itself, or pool by session',
  );
}

async function checkMigrations(store: Store): Promise<Check> {
  const { applied, pending } = await migrationState(store);
  if (pending.length === 0) return ok('Tables', `up to date (${applied.length} ${applied.length === 1 ? 'migration' : 'migrations'})`);
  if (applied.length === 0) return ok('Tables', 'none yet; the first start makes them');
  return warn('Tables', `lacks ${pending.join(', ')}`, 'the next start of "centaur up", "api" or "worker" applies it');
}

function* checkConfigFile({ configFile }: Config): Generator<Check> {
  if (configFile === undefined) return;
  try {
    const { egress } = readConfigFile(configFile);
    readRules(egress);
    yield ok('Egress', `${configFile}: ${egress.allow?.length ?? 0} hosts open to every lease, ${egress.allow_cidrs?.length ?? 0} ranges`);
  } catch (error) {
    yield fail('Egress', (error as Error).message.replaceAll(/\n +/g, ' '), 'correct the file; firewalls keep to what held before');
  }
}

/** Leases, certificates and signatures go by the clock. */
async function checkClock(store: Store): Promise<Check> {
  const before = Date.now();
  const { rows } = await store.query<{ ms: number }>('select extract(epoch from clock_timestamp())::float8 * 1000 as ms');
  const off = Math.round((rows[0]?.ms ?? 0) - (before + Date.now()) / 2);
  const text = `${Math.abs(off)} ms ${off < 0 ? 'ahead of' : 'behind'} Postgres`;
  return Math.abs(off) < CLOCK_MS
    ? ok('Clock', text)
    : warn('Clock', text, 'let a time service set both clocks: leases and signatures go by them');
}

async function hasVault(store: Store): Promise<boolean> {
  const { rows } = await store.query<{ there: boolean }>(`select to_regclass('install_keys') is not null as there`);
  return rows[0]?.there === true;
}

async function* checkVault(config: Config, store: Store, upToDate: boolean): AsyncGenerator<Check> {
  const ca = await publicPart(store, 'firewall.ca');
  try {
    const found = findMasterKey(config, 'find');
    if (found === undefined) {
      yield ca === undefined
        ? ok('Master', 'none yet; the first "centaur up" makes it')
        : fail(
            'Master',
            'none was given, and the database has secrets sealed under one',
            'set CENTAUR_MASTER_KEY or CENTAUR_MASTER_KEY_FILE, or bring back master.key',
          );
    } else if ((await publicPart(store, 'audit.mac')) === undefined)
      yield ok('Master', `${found.master.id}; nothing is sealed under it yet`);
    else {
      await openInstallKey(store, found.master, 'audit.mac');
      yield ok('Master', `${found.master.id} opens what is sealed`);
      if (upToDate) yield* checkSealed(found.master, store);
    }
  } catch (error) {
    yield fail(
      'Master',
      (error as Error).message,
      'give the key under which the database was sealed; earlier keys may follow it, separated by commas',
    );
  }
  if (ca !== undefined) {
    const ends = new Date(new X509Certificate(ca).validTo);
    const days = Math.floor((ends.getTime() - Date.now()) / 86_400_000);
    const text = `valid until ${ends.toISOString().slice(0, 10)}, in ${caFileOf(config)}`;
    yield days > 30
      ? ok('CA', text)
      : warn('CA', text, 'delete the row firewall.ca of install_keys and start the firewalls anew; clients need the new ca.pem');
  }
  const open = await openIntents(store);
  if (open.count > 0)
    yield warn(
      'Calls',
      `${open.count} of the last two hours have no outcome: their firewall died, or lost its database`,
      `ask the services what came of them; the latest is ${open.latest} in "centaur audit tail --action egress.intent"`,
    );
  const alive = await listFirewalls(store);
  if (alive.length === 0)
    yield ca === undefined
      ? ok('Firewall', 'none yet')
      : warn('Firewall', 'none is running', 'start it with "centaur up" or "centaur firewall"');
  for (const { address, config_version: version, problem } of alive) {
    const answers = await fetch(`http://${address}/readyz`, { signal: AbortSignal.timeout(ANSWER_MS) }).then(
      (response) => response.status,
      (error: Error) => (error.cause as NodeJS.ErrnoException | undefined)?.code ?? error.message,
    );
    if (problem !== null) yield fail('Firewall', `${address}: ${problem}`, 'correct centaur.yaml or the policy; what held before holds');
    else if (answers === 200) yield ok('Firewall', `${address} answers, configuration ${version ?? 'as built in'}`);
    else yield warn('Firewall', `${address} does not answer here (${answers})`, 'it may listen on another machine; else look at its log');
  }
}

async function* checkSealed(master: MasterKey, store: Store): AsyncGenerator<Check> {
  for (const { key, count } of await wrappedElsewhere(store, master))
    yield warn('Master', `${count} of the sealed keys need ${key}`, 'centaur secrets rewrap');
  const changed = await changedSecrets(store, master);
  if (changed.length > 0)
    yield fail(
      'Secrets',
      `what they are for was changed in the database, and not by the vault: ${changed.join(', ')}`,
      'find out who did; then "centaur secrets set" each, with its value',
    );
}

async function* checkWorkflows(config: Config): AsyncGenerator<Check> {
  const overlays = await openLayers(config, settingsOf(config), { log: () => {}, watch: false });
  const layers = overlays.layers().filter(({ kind }) => kind === 'folder' || kind === 'git');
  const wrong = overlays.problems();
  await overlays.close();
  for (const { layer, file, message } of wrong) yield fail('Overlays', `${layer}: ${file}: ${message}`, 'centaur overlays lint');
  if (layers.length > 0 && wrong.length === 0) yield ok('Overlays', layers.map(({ name }) => name).join(', '));
  const { dirs, mayLack } = rootsOf(overlays, 'workflows', config.workflowDirs);
  const there = dirs.filter((dir) => existsSync(dir));
  if (there.length === 0) {
    yield warn('Workflows', 'no directory', 'make a folder "workflows" here, or set WORKFLOW_DIRS');
    return;
  }
  const host = await createNodeHost({ dirs, mayLack, watch: false });
  const names = host.registry.list().map((each) => each.name);
  const problems = host.problems();
  await host.close();
  const where = there.join(', ');
  if (names.length > 0 || problems.length === 0)
    yield ok('Workflows', names.length === 0 ? `none in ${where}` : `${names.join(', ')} from ${where}`);
  for (const { file, line, message } of problems)
    yield fail('Workflows', `${file}${line === undefined ? '' : `:${line}`}: ${message}`, 'mend the file; the others work without it');
}

/** Where npm has what is not ours. */
const PACKAGES: Readonly<Record<Exclude<HarnessKind, 'demo'>, string>> = {
  claude: '@anthropic-ai/claude-code',
  codex: '@openai/codex',
  pi: '@mariozechner/pi-coding-agent',
  amp: '@sourcegraph/amp',
};
const SYSTEM_FOLDERS = ['/usr/local/bin', '/usr/bin', '/bin'];
const PROBE_MS = 20_000;

/** Each that is where sandboxes look for it, and then those that are not. */
function* checkHarnesses(config: Config): Generator<Check> {
  const byDefault = settingsOf(config)?.agents.default_harness ?? (config.demo ? 'demo' : 'claude');
  const missing: (keyof typeof PACKAGES)[] = [];
  yield ok('Harness', `demo is built in${byDefault === 'demo' ? ', and answers by default' : ''}`);
  for (const kind of Object.keys(PACKAGES) as (keyof typeof PACKAGES)[]) {
    const file = findHarness(kind, config.harnessDir);
    if (file === undefined) missing.push(kind);
    else yield checkHarness(kind, file, config.harnessDir);
  }
  const install = (kinds: readonly (keyof typeof PACKAGES)[]): string => {
    const names = kinds.map((kind) => `${PACKAGES[kind]}@${harnesses[kind].launch.tested}`).join(' ');
    const { harnessDir = '/srv/harnesses' } = config;
    return `npm install --prefix ${harnessDir} ${names}${config.harnessDir === undefined ? `, and set CENTAUR_HARNESS_DIR=${harnessDir}` : ''}`;
  };
  const others = missing.filter((kind) => kind !== byDefault);
  if (others.length < missing.length)
    yield warn(
      'Harness',
      `${byDefault} answers by default, and is not there`,
      `${install(missing.filter((kind) => kind === byDefault))}. Or set agents.default_harness in centaur.yaml`,
    );
  if (others.length > 0) yield { ...ok('Harness', `without ${others.join(', ')}`), fix: `to have them: ${install(others)}` };
}

/** As sandboxes find it: see SEARCH_PATH of the turns. */
function findHarness(kind: HarnessKind, harnessDir: string | undefined): string | undefined {
  const [command] = harnesses[kind].launch.probe;
  const own = harnessDir === undefined ? [] : [path.join(harnessDir, 'node_modules/.bin'), path.join(harnessDir, 'bin')];
  return [...own, ...SYSTEM_FOLDERS].map((folder) => path.join(folder, command)).find((file) => existsSync(file));
}

function checkHarness(kind: keyof typeof PACKAGES, file: string, harnessDir: string | undefined): Check {
  const real = realpathSync(file);
  const seen = ['/usr', '/bin', ...(harnessDir === undefined ? [] : [realpathSync(harnessDir)])];
  if (!seen.some((folder) => real.startsWith(`${folder}/`)))
    return warn('Harness', `${kind} at ${file} is a link to ${real}, which sandboxes do not see`, 'install it where the link is');
  // sandboxes run as users of their own
  if ((statSync(real).mode & 0o005) !== 0o005)
    return warn('Harness', `${kind} at ${file} may not be read and run by everybody`, `chmod o+rx ${real}, and the folders above it`);
  // a home of nobody, so that it finds no login and leaves nothing behind
  const home = mkdtempSync(path.join(os.tmpdir(), 'centaur-doctor-'));
  try {
    const [, ...args] = harnesses[kind].launch.probe;
    const env = { PATH: [path.dirname(process.execPath), ...SYSTEM_FOLDERS].join(':'), HOME: home, LANG: 'C.UTF-8' };
    const { status, stdout, stderr, error } = spawnSync(file, args, { encoding: 'utf8', env, cwd: home, timeout: PROBE_MS });
    const { tested } = harnesses[kind].launch;
    if (status !== 0) {
      const said = error?.message ?? stderr.trim().split('\n').at(-1) ?? '';
      return warn('Harness', `${kind} at ${file} does not start: ${said}`, `install ${PACKAGES[kind]}@${tested} anew`);
    }
    const version = /\d+\.\d+\.\S+/.exec(`${stdout} ${stderr}`)?.[0] ?? stdout.trim().slice(0, 40);
    return ok('Harness', `${kind} ${version} at ${file}${version === tested ? '' : `; what was tested is ${tested}`}`);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

const BWRAP = '/usr/bin/bwrap';
const UNSHARE = '/usr/bin/unshare';
const INSTALL_BWRAP = 'apt-get install bubblewrap';
const APPARMOR_LIMIT = '/proc/sys/kernel/apparmor_restrict_unprivileged_userns';

/** What is cheap to know: the platform itself tries to get out of a sandbox before it uses one. */
function checkIsolation(config: Config): Check {
  const asked = settingsOf(config)?.sandbox.isolation;
  if (asked === 'none') return warn('Sandboxes', 'isolation is switched off: agents run as plain processes', 'remove sandbox.isolation');
  if (process.platform !== 'linux')
    return warn('Sandboxes', `they need Linux, this is ${process.platform}`, 'run workers with agents on Linux, or in a Linux VM');
  const bwrap = tryNamespaces([BWRAP, '--unshare-user', '--unshare-pid', '--unshare-net', '--ro-bind', '/', '/', '/bin/true']);
  if (bwrap === undefined) return ok('Sandboxes', 'bubblewrap: namespaces and a system call filter');
  const isRoot = process.getuid?.() === 0;
  const unshare = tryNamespaces(
    [UNSHARE, ...(isRoot ? [] : ['--user', '--map-root-user']), '--mount', '--pid', '--net', '--fork', '/bin/true'],
    {
      asRoot: isRoot,
    },
  );
  const mend = existsSync(BWRAP) ? userNamespaceHint() : INSTALL_BWRAP;
  if (unshare === undefined && asked !== 'namespaces+seccomp')
    return warn('Sandboxes', `namespaces without a system call filter, by unshare (${bwrap})`, mend);
  return warn('Sandboxes', `none can be made (${[bwrap, unshare].filter(Boolean).join('; ')}): agents cannot run here`, mend);
}

/** Undefined when it works. Under root as an ordinary user, as sandboxes are started. */
function tryNamespaces([command, ...args]: readonly [string, ...string[]], { asRoot = false } = {}): string | undefined {
  if (!existsSync(command)) return `there is no ${command}`;
  const nobody = process.getuid?.() === 0 && !asRoot ? { uid: 65_534, gid: 65_534 } : {};
  const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8', env: {}, cwd: '/', timeout: PROBE_MS, ...nobody });
  return status === 0 ? undefined : (error?.message ?? stderr.trim().split('\n').at(-1) ?? `status ${status}`);
}

function userNamespaceHint(): string {
  const isLimited = existsSync(APPARMOR_LIMIT) && readFileSync(APPARMOR_LIMIT, 'utf8').trim() === '1';
  return isLimited
    ? 'AppArmor lets only programs with a profile make user namespaces: give /usr/bin/bwrap one with the line "userns,"; the log of the first turn has the command'
    : 'allow user namespaces: kernel.unprivileged_userns_clone=1 and user.max_user_namespaces above 0, or, in a container, in its profile';
}

/** Undefined when the file cannot be read, which another check says. */
function settingsOf({ configFile }: Config): FileSettings | undefined {
  try {
    return configFile === undefined ? undefined : readConfigFile(configFile);
  } catch {
    return undefined;
  }
}

type ApiState = { readonly answers: true; readonly version: string } | { readonly answers: false; readonly reason: string };

async function askApi({ apiUrl }: Config): Promise<ApiState> {
  try {
    const response = await fetch(`${apiUrl}/healthz`, { signal: AbortSignal.timeout(ANSWER_MS) });
    const { status, version } = (await response.json()) as { status?: unknown; version?: unknown };
    return status === 'ok' && typeof version === 'string'
      ? { answers: true, version }
      : { answers: false, reason: 'something else answers there' };
  } catch (error) {
    const cause = (error as Error).cause as NodeJS.ErrnoException | undefined;
    return { answers: false, reason: cause?.code ?? (error as Error).message };
  }
}

async function checkPort({ host, port, apiUrl }: Config, api: ApiState): Promise<Check> {
  const taken = await new Promise<string | undefined>((resolve) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    probe.listen(port, host, () => probe.close(() => resolve(undefined)));
  });
  if (taken === undefined) return ok('Port', `${port} on ${host} is free`);
  if (taken === 'EADDRINUSE' && api.answers && Number(new URL(apiUrl).port || 80) === port) return ok('Port', `${port} is Centaur's own`);
  return fail('Port', `${port} on ${host}: ${taken === 'EADDRINUSE' ? 'in use by another program' : taken}`, 'set PORT to another one');
}

async function* checkApi({ apiUrl }: Config, api: ApiState, environment: NodeJS.ProcessEnv): AsyncGenerator<Check> {
  if (!api.answers) {
    yield warn('API', `no answer from ${apiUrl} (${api.reason})`, 'start it with "centaur up", or set CENTAUR_API_URL');
    return;
  }
  yield ok('API', `${api.version} at ${apiUrl}`);
  try {
    await connect(environment).listWorkflows();
    yield ok('Key', 'the API takes it');
  } catch (error) {
    // A key that may not list workflows is a key all the same
    if (error instanceof CentaurApiError && error.status === 403) yield ok('Key', 'the API takes it; it may not list workflows');
    else yield fail('Key', (error as Error).message, 'set CENTAUR_API_KEY to a key of this database');
  }
}
