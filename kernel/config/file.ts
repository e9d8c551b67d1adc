/**
 * `centaur.yaml`: what an operator decides beside the environment. Read whole or not at all; an unknown key is an error,
 * since a setting that is silently ignored is one that somebody relies on.
 */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { dirname, resolve } from 'node:path';
import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { z } from 'zod';
import { OVERLAY, type OverlayEntry, readOverlays } from './overlays.ts';
import { RETENTION, type RetentionSettings } from './retention.ts';

const text = z.string().min(1).max(1000);
const ms = (most: number) => z.int().min(1).max(most);

const EGRESS = z.strictObject({
  allow: z
    .array(
      z.union([
        text.transform((host) => ({ host })),
        z.strictObject({ host: text, methods: z.array(text).optional(), paths: z.array(text).optional() }),
      ]),
    )
    .optional(),
  allow_cidrs: z.array(text).optional(),
  ca_files: z.array(text).optional(),
  trace_hosts: z.array(text).optional(),
  ports: z.array(z.int().min(1).max(65_535)).optional(),
  scan: z.strictObject({ action: z.enum(['redact', 'block']).optional() }).optional(),
  limits: z
    .strictObject({
      buffered_body_bytes: z
        .int()
        .min(1024)
        .max(64 * 1024 * 1024)
        .optional(),
      websocket_message_bytes: z
        .int()
        .min(1024)
        .max(64 * 1024 * 1024)
        .optional(),
      tunnels_per_lease: z.int().min(1).max(100_000).optional(),
      answer_timeout_ms: ms(3_600_000).optional(),
      idle_timeout_ms: ms(3_600_000).optional(),
      approval_wait_ms: ms(600_000).optional(),
    })
    .optional(),
});

const HARNESSES = ['claude', 'codex', 'pi', 'amp', 'demo'] as const;

/** They run their tools, and their protocol has no question. */
const CANNOT_ASK = ['pi', 'amp'] as const;

const HARNESS = z.strictObject({
  secret: text.optional(),
  base_url: z.url({ protocol: /^https?$/, error: 'expected an address such as https://gateway.example.com' }).optional(),
  model: text.optional(),
  api: z.enum(['anthropic-messages', 'openai-responses', 'openai-completions']).optional(),
  approvals: z.enum(['ask', 'none']).optional(),
});

const AGENTS = z.strictObject({
  default_harness: z.enum(HARNESSES).optional(),
  concurrency: z.int().min(1).max(10_000).optional(),
  silence_minutes: z.number().min(0.1).max(1440).optional(),
  turn_hours: z.number().min(0.01).max(24).optional(),
  idle_minutes: z.number().min(0.1).max(1440).optional(),
  harnesses: z
    .partialRecord(z.enum(HARNESSES), HARNESS)
    .superRefine((given, context) => {
      for (const kind of CANNOT_ASK)
        if (given[kind]?.approvals === 'ask')
          context.addIssue({ code: 'custom', path: [kind, 'approvals'], message: `${kind} has no way to ask before it runs a tool` });
    })
    .optional(),
});

const WORKFLOWS = z.strictObject({
  memory_mb: z.int().min(64).max(1_048_576).optional(),
  processes: z.int().min(16).max(32_768).optional(),
  disk_mb: z.int().min(16).max(1_048_576).optional(),
  cpus: z.number().min(0.1).max(256).optional(),
  idle_minutes: z.number().min(0.1).max(1440).optional(),
  warm: z.int().min(1).max(1000).optional(),
});

const TOOLS = z.strictObject({
  /** Whether the tools that come with the platform are there. */
  built_in: z.boolean().optional(),
  memory_mb: z.int().min(64).max(1_048_576).optional(),
  processes: z.int().min(16).max(32_768).optional(),
  /** As much as a tool gets that asks for more. */
  memory_most_mb: z.int().min(64).max(1_048_576).optional(),
  processes_most: z.int().min(16).max(32_768).optional(),
  disk_mb: z.int().min(16).max(1_048_576).optional(),
  cpus: z.number().min(0.1).max(256).optional(),
  idle_minutes: z.number().min(0.1).max(1440).optional(),
  warm: z.int().min(1).max(1000).optional(),
  /** What every tool's process has in its environment: addresses, and nothing that is secret. */
  env: z.record(z.string().regex(/^[A-Z][A-Z0-9_]{0,99}$/, 'expected a name in capitals'), z.string().max(4000)).optional(),
});

const SANDBOX = z.strictObject({
  isolation: z.enum(['namespaces+seccomp', 'namespaces', 'none']).optional(),
  memory_mb: z.int().min(128).max(1_048_576).optional(),
  processes: z.int().min(16).max(32_768).optional(),
  disk_mb: z.int().min(16).max(1_048_576).optional(),
  tmp_mb: z.int().min(1).max(65_536).optional(),
  cpus: z.number().min(0.1).max(256).optional(),
  most: z.int().min(1).max(10_000).optional(),
  warm: z.int().min(0).max(1000).optional(),
});

/** Money for a million tokens, with six decimals at most: kept as whole millionths. */
const perMillion = z
  .number()
  .min(0)
  .max(1_000_000)
  .refine((value) => Math.abs(value * 1e6 - Math.round(value * 1e6)) < 0.01, 'expected six decimals at most')
  .transform((value) => Math.round(value * 1e6));

/** By model, with stars; the first that fits counts. What a cache costs is what input costs, unless it is said. */
const PRICES = z.record(
  text,
  z.strictObject({ input: perMillion, output: perMillion, cache_read: perMillion.optional(), cache_write: perMillion.optional() }),
);

const API = z.strictObject({
  trusted_proxies: z.array(z.string().refine(isRange, 'expected an address, or a range such as 10.0.0.0/8')).max(100).optional(),
});

const ROLE = z.enum(['viewer', 'operator', 'approver', 'admin']);

const SIGN_IN = z.strictObject({
  oidc: z
    .strictObject({
      issuer: z.url().refine(isProvider, 'expected an address such as https://login.example.com, with https unless it is of this machine'),
      client_id: text,
      label: z.string().min(1).max(60).optional(),
      scopes: z
        .array(z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]{1,200}$/, 'expected a scope, one in each'))
        .max(20)
        .optional(),
      email_domains: z
        .array(z.string().regex(/^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/, 'expected a domain in small letters, such as example.com'))
        .min(1)
        .max(100)
        .optional(),
      newcomers: ROLE.optional(),
      roles: z.strictObject({ claim: text, values: z.record(z.string().min(1).max(300), ROLE) }).optional(),
    })
    .superRefine(({ newcomers, email_domains: domains }, context) => {
      // at a provider that everybody may have an account at, everybody is a newcomer
      if (newcomers !== undefined && domains === undefined)
        context.addIssue({ code: 'custom', path: ['newcomers'], message: 'say whose newcomers in email_domains' });
    })
    .optional(),
});

/** What comes by Socket Mode has no signature: a bot whose votes count on its word could vote for anybody. */
const APPROVALS = z.strictObject({ slack_socket_mode: z.literal('trusted', { error: 'expected trusted, or nothing' }).optional() });

/** A list, or one that is held still: `{frozen: true, sources: [...]}`. */
const OVERLAYS = z.preprocess(
  (given) => (Array.isArray(given) ? { sources: given as unknown[] } : given),
  z.strictObject({ frozen: z.boolean().optional(), sources: z.array(OVERLAY).max(100).optional() }),
);

const FILE = z.strictObject({
  egress: EGRESS.optional(),
  agents: AGENTS.optional(),
  sandbox: SANDBOX.optional(),
  workflows: WORKFLOWS.optional(),
  tools: TOOLS.optional(),
  api: API.optional(),
  sign_in: SIGN_IN.optional(),
  approvals: APPROVALS.optional(),
  overlays: OVERLAYS.optional(),
  retention: RETENTION.optional(),
  prices: PRICES.optional(),
  // chats are clients of the API, and check what is theirs
  slack: z.record(z.string(), z.unknown()).optional(),
  github: z.record(z.string(), z.unknown()).optional(),
});

/** As the firewall takes it: see `EgressConfig` there. */
export interface EgressSettings {
  readonly allow?: readonly { readonly host: string; readonly methods?: readonly string[]; readonly paths?: readonly string[] }[];
  readonly allow_cidrs?: readonly string[];
  readonly ca_pems?: readonly string[];
  readonly trace_hosts?: readonly string[];
  readonly ports?: readonly number[];
  readonly scan?: { readonly action?: 'redact' | 'block' };
  readonly limits?: Readonly<Record<string, number>>;
}

export type AgentSettings = z.output<typeof AGENTS>;
export type SandboxSettings = z.output<typeof SANDBOX>;
/** Of each workflow's process. */
export type WorkflowSettings = z.output<typeof WORKFLOWS>;
/** Of each tool's process. */
export type ToolSettings = z.output<typeof TOOLS>;
export type ApiSettings = z.output<typeof API>;
/** How people sign in, besides with a password. */
export type SignInSettings = z.output<typeof SIGN_IN>;

/** What a million tokens cost, in millionths. */
export interface PriceSetting {
  readonly model: string;
  readonly price: { readonly input: number; readonly output: number; readonly cacheRead: number; readonly cacheWrite: number };
}

export interface OverlaySettings {
  /** In order: what comes later shadows what comes earlier. */
  readonly entries: readonly OverlayEntry[];
  /** Whether a ref that the lock file does not know is refused, and not locked. */
  readonly frozen: boolean;
}

export interface FileSettings {
  readonly egress: EgressSettings;
  readonly agents: AgentSettings;
  readonly sandbox: SandboxSettings;
  readonly api: ApiSettings;
  readonly signIn: SignInSettings;
  readonly approvals: z.output<typeof APPROVALS>;
  readonly workflows: WorkflowSettings;
  readonly tools: ToolSettings;
  readonly overlays: OverlaySettings;
  readonly retention: RetentionSettings;
  readonly prices: readonly PriceSetting[];
  /** Sections of chats by their names, unchecked: `ingress/` reads them. */
  readonly chats: Readonly<Record<'slack' | 'github', unknown>>;
}

export class ConfigFileError extends Error {
  readonly code = 'INVALID_CONFIG';
  readonly problems: readonly string[];
  constructor(file: string, problems: readonly string[]) {
    super(`${file} is not usable:\n${problems.map((problem) => `  ${problem}`).join('\n')}`);
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

const LIMIT_NAMES: Readonly<Record<string, string>> = {
  buffered_body_bytes: 'bufferedBody',
  websocket_message_bytes: 'websocketMessage',
  tunnels_per_lease: 'tunnelsPerLease',
  answer_timeout_ms: 'answerMs',
  idle_timeout_ms: 'idleMs',
  approval_wait_ms: 'approvalMs',
};

/** @throws ConfigFileError with one line per problem, each with its line in the file */
export function readConfigFile(file: string): FileSettings {
  let source: string;
  try {
    source = readFileSync(file, 'utf8');
  } catch (error) {
    throw new ConfigFileError(file, [`it cannot be read: ${(error as Error).message}`]);
  }
  return parseConfig(source, file);
}

export function parseConfig(source: string, file: string): FileSettings {
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0)
    throw new ConfigFileError(
      file,
      document.errors.map((error) => `line ${lines.linePos(error.pos[0]).line}: ${error.message}`),
    );
  const lineOf = (path: readonly PropertyKey[]): string => {
    const offset = offsetOf(document.contents, asWritten(path));
    return offset === undefined ? '' : `line ${lines.linePos(offset).line}: `;
  };
  const given: unknown = document.toJS() ?? {};
  const listed = Array.isArray((given as { readonly overlays?: unknown }).overlays);
  // what was a list has no "sources" for whoever wrote it
  const asWritten = (path: readonly PropertyKey[]): readonly PropertyKey[] =>
    listed && path[0] === 'overlays' && path[1] === 'sources' ? ['overlays', ...path.slice(2)] : path;
  const parsed = FILE.safeParse(given);
  if (!parsed.success) {
    throw new ConfigFileError(
      file,
      parsed.error.issues.flatMap((issue) =>
        issue.code === 'unrecognized_keys'
          ? issue.keys.map((key) => `${lineOf([...issue.path, key])}${asWritten([...issue.path, key]).join('.')}: unknown key`)
          : [`${lineOf(issue.path)}${asWritten(issue.path).join('.')}: ${issue.message}`],
      ),
    );
  }
  const { entries, wrong } = readOverlays(parsed.data.overlays?.sources ?? [], dirname(resolve(file)));
  if (wrong.size > 0)
    throw new ConfigFileError(
      file,
      [...wrong].map(([i, why]) => {
        const at = asWritten(['overlays', 'sources', i]);
        return `${lineOf(['overlays', 'sources', i])}${at.join('.')}: ${why}`;
      }),
    );
  const { ca_files: files, limits, ...egress } = parsed.data.egress ?? {};
  const caPems = (files ?? []).map((name, i) => {
    try {
      const pem = readFileSync(resolve(dirname(file), name), 'utf8');
      if (!pem.includes('-----BEGIN CERTIFICATE-----')) throw new Error('it has no certificate in it');
      return pem;
    } catch (error) {
      throw new ConfigFileError(file, [`${lineOf(['egress', 'ca_files', i])}egress.ca_files[${i}]: ${name}: ${(error as Error).message}`]);
    }
  });
  return {
    egress: {
      ...egress,
      ...(files === undefined ? {} : { ca_pems: caPems }),
      ...(limits === undefined
        ? {}
        : { limits: Object.fromEntries(Object.entries(limits).map(([name, value]) => [LIMIT_NAMES[name] as string, value])) }),
    } as EgressSettings,
    agents: parsed.data.agents ?? {},
    sandbox: parsed.data.sandbox ?? {},
    workflows: parsed.data.workflows ?? {},
    tools: parsed.data.tools ?? {},
    api: parsed.data.api ?? {},
    signIn: parsed.data.sign_in ?? {},
    approvals: parsed.data.approvals ?? {},
    overlays: { entries, frozen: parsed.data.overlays?.frozen ?? false },
    retention: parsed.data.retention ?? {},
    chats: { slack: parsed.data.slack, github: parsed.data.github },
    prices: Object.entries(parsed.data.prices ?? {}).map(([model, { input, output, cache_read: read, cache_write: write }]) => ({
      model,
      price: { input, output, cacheRead: read ?? input, cacheWrite: write ?? input },
    })),
  };
}

function isProvider(text: string): boolean {
  const { protocol, hostname, username, password, search, hash } = new URL(text);
  if (username !== '' || password !== '' || search !== '' || hash !== '') return false;
  return protocol === 'https:' || (protocol === 'http:' && ['localhost', '127.0.0.1', '[::1]'].includes(hostname));
}

function isRange(text: string): boolean {
  const [, address = '', bits] = /^([^/%]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const version = isIP(address);
  return version !== 0 && Number(bits ?? 0) <= (version === 4 ? 32 : 128);
}

function offsetOf(node: Node | null, path: readonly PropertyKey[]): number | undefined {
  let at: unknown = node;
  let offset = node?.range?.[0];
  for (const key of path) {
    if (isMap(at)) {
      const pair = at.items.find((item) => isScalar(item.key) && item.key.value === key);
      if (pair === undefined) return offset;
      offset = (pair.key as Node).range?.[0] ?? offset;
      at = pair.value;
    } else if (isSeq(at)) {
      at = at.items[Number(key)];
      offset = (at as Node | undefined)?.range?.[0] ?? offset;
    } else return offset;
  }
  return offset;
}
