/**
 * Configuration: the one place that reads the environment.
 *
 * It promises that a process starts with values that were checked, or stops with every bad one named. It never prints a
 * value that may be secret.
 */
import { existsSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { type OtlpSettings, readOtlp } from './otlp.ts';
import { type OverlayEntry, parseOverlayList } from './overlays.ts';

/** Digits only: Number() alone would take a blank for 0 and "0x50" for 80. */
function whole(least: number, most: number) {
  const expected = `expected a whole number from ${least} to ${most}`;
  return z
    .string()
    .regex(/^\d{1,9}$/, expected)
    .transform(Number)
    .refine((value) => value >= least && value <= most, expected);
}

/** Names of queues, or of anything else that is listed with commas. */
const list = z
  .string()
  .transform((text) =>
    text
      .split(',')
      .map((part) => part.trim())
      .filter(Boolean),
  )
  .refine((names) => names.length > 0, 'expected one or more names, separated by commas');

const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;

/** Where the code of workflows runs. */
const WORKFLOW_HOSTS = ['sandbox', 'process', 'in_process'] as const;

const ENVIRONMENT = z.object({
  DATABASE_URL: z
    .string()
    .refine(
      (text) => /^postgres(ql)?:\/\/\S+$/.test(text) && URL.canParse(text),
      'expected postgres://user:password@host:port/database, with special characters in the password percent-encoded',
    )
    .optional(),
  CENTAUR_HOME: z.string().min(1).optional(),
  PORT: whole(0, 65_535).prefault('8080'),
  HOST: z.string().min(1).default('127.0.0.1'),
  CENTAUR_API_URL: z.url({ protocol: /^https?$/, error: 'expected an address such as http://127.0.0.1:8080' }).optional(),
  CENTAUR_PUBLIC_URL: z.url({ protocol: /^https?$/, error: 'expected an address such as https://centaur.example.com' }).optional(),
  CENTAUR_API_KEY: z
    .string()
    .regex(/^[\x21-\x7e]{16,512}$/, 'expected at least 16 characters without spaces')
    .optional(),
  WORKFLOW_DIRS: z.string().optional(),
  TOOL_DIRS: z.string().optional(),
  CENTAUR_OVERLAYS: z.string().optional(),
  CENTAUR_SKILL_DIRS: z.string().optional(),
  WORKFLOW_HOSTS: z.enum(WORKFLOW_HOSTS, `expected one of ${WORKFLOW_HOSTS.join(', ')}`).default('sandbox'),
  WORKFLOW_PYTHON: z.string().min(1).optional(),
  WORKFLOW_TOOL_API_URL: z.url({ protocol: /^https?$/, error: 'expected an address such as https://tools.example.com' }).optional(),
  SLACK_API_URL: z.url({ protocol: /^https?$/, error: 'expected an address such as https://slack.com/api' }).optional(),
  SLACK_BOT_TOKEN: z.string().min(1).optional(),
  SLACK_APP_TOKEN: z.string().min(1).optional(),
  SLACKBOT_API_KEY: z.string().min(1).optional(),
  CENTAUR_SLACK_URL: z.url({ protocol: /^https?$/, error: 'expected an address such as http://127.0.0.1:8083' }).optional(),
  SLACK_SIGNING_SECRET: z.string().min(16, 'expected at least 16 characters').max(500).optional(),
  CENTAUR_OIDC_CLIENT_SECRET: z.string().min(1).max(2000).optional(),
  CENTAUR_MASTER_KEY: z.string().min(1).optional(),
  CENTAUR_MASTER_KEY_FILE: z.string().min(1).optional(),
  CENTAUR_CONFIG: z.string().min(1).optional(),
  FIREWALL_HOST: z.string().min(1).default('127.0.0.1'),
  FIREWALL_PORT: whole(0, 65_535).prefault('8081'),
  FIREWALL_POSTGRES_PORT: whole(0, 65_535).optional(),
  FIREWALL_METRICS_PORT: whole(0, 65_535).optional(),
  FIREWALL_URL: z.url({ protocol: /^http$/, error: 'expected an address such as http://127.0.0.1:8081' }).optional(),
  CENTAUR_AUDIT_ANCHOR: z.string().min(1).optional(),
  CENTAUR_AUDIT_RETENTION_DAYS: whole(7, 36_500).optional(),
  CENTAUR_RETENTION_DAYS: whole(1, 3650).prefault('30'),
  CENTAUR_LEASE_SECONDS: whole(2, 600).prefault('10'),
  CENTAUR_QUEUES: list.optional(),
  CENTAUR_MAX_RESIDENT_RUNS: whole(1, 100_000).prefault('2000'),
  SANDBOX_BACKEND: z.enum(['local'], 'expected local: sandboxes of this machine').default('local'),
  CENTAUR_HARNESS_DIR: z.string().min(1).optional(),
  CENTAUR_DEMO: z.enum(['0', '1'], 'expected 1 or 0').optional(),
  CENTAUR_LOG: z.enum(['json', 'text'], 'expected json or text').optional(),
  CENTAUR_LOG_LEVEL: z.enum(LOG_LEVELS, `expected one of ${LOG_LEVELS.join(', ')}`).default('info'),
});

export interface Config {
  /** Undefined: the embedded Postgres in `home`. Holds a password: not for logs, see `describeUrl` in the store. */
  readonly databaseUrl: string | undefined;
  readonly home: string;
  readonly port: number;
  readonly host: string;
  readonly apiUrl: string;
  /** Where people's browsers reach the API: providers send them back there. */
  readonly publicUrl: string;
  readonly apiKey: string | undefined;
  readonly workflowDirs: readonly string[];
  /** Of tools; those that come with the platform are not among them. */
  readonly toolDirs: readonly string[];
  /** Undefined: those of centaur.yaml. */
  readonly overlays: readonly OverlayEntry[] | undefined;
  /** Which commit of each overlay is served; it need not be there. */
  readonly overlayLock: string;
  /** Folders of skills, which agents are given. */
  readonly skillDirs: readonly string[];
  /** `sandbox`: each workflow in a process and a sandbox of its own. `process`: without the sandbox. `in_process`: in the worker itself, Python in processes. */
  readonly workflowHosts: (typeof WORKFLOW_HOSTS)[number];
  readonly python: string;
  /** Where `ctx.callTool` sends its calls; undefined: to the tools of this process. */
  readonly toolApiUrl: string | undefined;
  readonly slackApiUrl: string;
  /** With which Slack signs what it sends: for votes. Not for logs. */
  readonly slackSigningSecret: string | undefined;
  readonly slackBot: {
    /** The tokens are there: `up` starts it, unless it is somewhere. */
    readonly isWanted: boolean;
    /** Of this API, for the bot. Undefined: `up` makes one. Not for logs. */
    readonly apiKey: string | undefined;
    /** Where it listens, when it is somewhere else: what Slack sends here goes there. */
    readonly url: string | undefined;
  };
  /** As this installation is known at the provider by which people sign in. Not for logs. */
  readonly oidcClientSecret: string | undefined;
  /** The master key itself, or where it is: see `readMasterKey` in the vault. Not for logs. */
  readonly masterKey: { readonly text: string } | { readonly file: string; readonly given: 'given' | 'default' };
  /** Undefined when there is no centaur.yaml. */
  readonly configFile: string | undefined;
  readonly firewall: {
    readonly host: string;
    readonly port: number;
    /** Where it speaks the protocol of Postgres. */
    readonly postgresPort: number;
    readonly metricsPort: number | undefined;
    /** Where clients find it. */
    readonly url: string | undefined;
  };
  /** Checkpoints of the audit log are appended to this file: keep it where the database's owner cannot write. */
  readonly auditAnchor: string | undefined;
  /** Undefined: entries of the audit log are kept for ever. */
  readonly auditRetentionDays: number | undefined;
  readonly retentionDays: number;
  readonly leaseMs: number;
  /** Undefined: all of them. */
  readonly queues: readonly string[] | undefined;
  readonly maxResidentRuns: number;
  readonly sandboxBackend: 'local';
  /** Where the CLIs of the harnesses are, as npm installs them; undefined: on the system's PATH. */
  readonly harnessDir: string | undefined;
  /** Whether the scripted model server runs beside the platform. */
  readonly demo: boolean;
  /** Undefined: text for a terminal, else JSON. */
  readonly logFormat: 'json' | 'text' | undefined;
  readonly logLevel: (typeof LOG_LEVELS)[number];
  /** Undefined: nothing is exported. */
  readonly otlp: OtlpSettings | undefined;
}

export class ConfigError extends Error {
  readonly code = 'INVALID_CONFIG';
  constructor(problems: readonly string[]) {
    super(`the environment is not usable:\n${problems.map((problem) => `  ${problem}`).join('\n')}`);
    this.name = 'ConfigError';
  }
}

/** @throws ConfigError with one line per bad variable */
export function loadConfig(environment: Readonly<Record<string, string | undefined>>, cwd: string = process.cwd()): Config {
  // an empty variable is an unset one: shells and compose files write it so
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== undefined && value !== ''));
  const parsed = ENVIRONMENT.safeParse(given);
  const problems = parsed.success ? [] : parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
  const dirs = codeDirs('WORKFLOW_DIRS', given.WORKFLOW_DIRS, 'workflows', cwd, problems);
  const toolDirs = codeDirs('TOOL_DIRS', given.TOOL_DIRS, 'tools', cwd, problems);
  const overlays = given.CENTAUR_OVERLAYS === undefined ? undefined : parseOverlayList(given.CENTAUR_OVERLAYS, cwd);
  problems.push(...(overlays?.problems ?? []).map((problem) => `CENTAUR_OVERLAYS: ${problem}`));
  const skillDirs = codeDirs('CENTAUR_SKILL_DIRS', given.CENTAUR_SKILL_DIRS, undefined, cwd, problems);
  const harnessDir = given.CENTAUR_HARNESS_DIR === undefined ? undefined : resolve(cwd, given.CENTAUR_HARNESS_DIR);
  if (harnessDir !== undefined && !isFolder(harnessDir))
    problems.push(`CENTAUR_HARNESS_DIR: "${given.CENTAUR_HARNESS_DIR}" is not a folder`);
  if (given.CENTAUR_MASTER_KEY !== undefined && given.CENTAUR_MASTER_KEY_FILE !== undefined)
    problems.push('CENTAUR_MASTER_KEY: give the key or CENTAUR_MASTER_KEY_FILE, not both');
  const configFile = resolve(cwd, given.CENTAUR_CONFIG ?? 'centaur.yaml');
  const hasConfig = existsSync(configFile);
  if (given.CENTAUR_CONFIG !== undefined && !hasConfig) problems.push(`CENTAUR_CONFIG: there is no file ${configFile}`);
  const otlp = readOtlp(given, problems);
  if (!parsed.success || problems.length > 0) throw new ConfigError(problems);
  const values = parsed.data;
  const home = resolve(cwd, values.CENTAUR_HOME ?? join(given.HOME ?? homedir(), '.centaur'));
  const apiUrl = (values.CENTAUR_API_URL ?? `http://127.0.0.1:${values.PORT}`).replace(/\/$/, '');
  return {
    databaseUrl: values.DATABASE_URL,
    home,
    masterKey:
      values.CENTAUR_MASTER_KEY !== undefined
        ? { text: values.CENTAUR_MASTER_KEY }
        : values.CENTAUR_MASTER_KEY_FILE !== undefined
          ? { file: resolve(cwd, values.CENTAUR_MASTER_KEY_FILE), given: 'given' }
          : { file: join(home, 'master.key'), given: 'default' },
    configFile: hasConfig ? configFile : undefined,
    firewall: {
      host: values.FIREWALL_HOST,
      port: values.FIREWALL_PORT,
      postgresPort: values.FIREWALL_POSTGRES_PORT ?? (values.FIREWALL_PORT === 0 ? 0 : values.FIREWALL_PORT + 1),
      metricsPort: values.FIREWALL_METRICS_PORT,
      url: values.FIREWALL_URL?.replace(/\/$/, ''),
    },
    auditAnchor: values.CENTAUR_AUDIT_ANCHOR === undefined ? undefined : resolve(cwd, values.CENTAUR_AUDIT_ANCHOR),
    auditRetentionDays: values.CENTAUR_AUDIT_RETENTION_DAYS,
    port: values.PORT,
    host: values.HOST,
    apiUrl,
    publicUrl: (values.CENTAUR_PUBLIC_URL ?? apiUrl).replace(/\/$/, ''),
    apiKey: values.CENTAUR_API_KEY,
    workflowDirs: dirs,
    toolDirs,
    overlays: overlays?.entries,
    overlayLock: join(hasConfig ? dirname(configFile) : home, 'centaur.lock'),
    skillDirs,
    workflowHosts: values.WORKFLOW_HOSTS,
    python: values.WORKFLOW_PYTHON ?? (existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3'),
    toolApiUrl: values.WORKFLOW_TOOL_API_URL?.replace(/\/$/, ''),
    slackApiUrl: (values.SLACK_API_URL ?? 'https://slack.com/api').replace(/\/$/, ''),
    slackSigningSecret: values.SLACK_SIGNING_SECRET,
    slackBot: {
      isWanted: values.SLACK_BOT_TOKEN !== undefined && (values.SLACK_SIGNING_SECRET ?? values.SLACK_APP_TOKEN) !== undefined,
      apiKey: values.SLACKBOT_API_KEY,
      url: values.CENTAUR_SLACK_URL?.replace(/\/$/, ''),
    },
    oidcClientSecret: values.CENTAUR_OIDC_CLIENT_SECRET,
    retentionDays: values.CENTAUR_RETENTION_DAYS,
    leaseMs: values.CENTAUR_LEASE_SECONDS * 1000,
    queues: values.CENTAUR_QUEUES,
    maxResidentRuns: values.CENTAUR_MAX_RESIDENT_RUNS,
    sandboxBackend: values.SANDBOX_BACKEND,
    harnessDir,
    demo: values.CENTAUR_DEMO === '1',
    logFormat: values.CENTAUR_LOG,
    logLevel: values.CENTAUR_LOG_LEVEL,
    otlp,
  };
}

function isFolder(dir: string): boolean {
  return existsSync(dir) && statSync(dir).isDirectory();
}

/** Separated by colons; when nothing is said, the folder of that name, if one is named and it is here. */
function codeDirs(variable: string, dirs: string | undefined, folder: string | undefined, cwd: string, problems: string[]): string[] {
  if (dirs === undefined) return folder !== undefined && isFolder(join(cwd, folder)) ? [join(cwd, folder)] : [];
  return dirs
    .split(':')
    .filter(Boolean)
    .map((entry) => {
      const dir = resolve(cwd, entry);
      if (!isFolder(dir)) problems.push(`${variable}: "${entry}" is not a folder`);
      return dir;
    });
}

export {
  type AgentSettings,
  type ApiSettings,
  ConfigFileError,
  type EgressSettings,
  type FileSettings,
  type OverlaySettings,
  type PriceSetting,
  type SandboxSettings,
  type SignInSettings,
  type ToolSettings,
  type WorkflowSettings,
  parseConfig,
  readConfigFile,
} from './file.ts';
export { type RetentionPeriods, retentionPeriods, type RetentionSettings } from './retention.ts';
export type { OtlpSettings, OtlpTarget } from './otlp.ts';
export { type FolderOverlay, type GitOverlay, type OverlayEntry, parseOverlayList } from './overlays.ts';
export { type Imported, importIronProxy, renderImport } from './iron-proxy.ts';
