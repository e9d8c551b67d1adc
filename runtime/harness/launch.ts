/**
 * How each CLI is started in a sandbox, as data: arguments, environment and files, for whoever starts the process. Of keys
 * it knows placeholders only, and puts them into the environment and nowhere else; the firewall exchanges them.
 */
import type { TurnInput } from './codec.ts';

export interface LaunchOptions {
  /** The user's home and the agent's working folder inside the sandbox, absolute. */
  readonly home: string;
  readonly cwd: string;
  readonly model?: string;
  readonly effort?: TurnInput['effort'];
  /** Text for the system prompt. No CLI takes another one once it runs. */
  readonly persona?: string;
  /** The native id of a session whose files have been restored. */
  readonly resume?: string;
  /** Whether the CLI asks before it runs a tool, as far as it can. The sandbox and the firewall are the boundary either way. */
  readonly approvals: 'ask' | 'none';
  readonly upstream: Upstream;
  readonly proxy?: { readonly url: string; readonly caFile: string; readonly noProxy?: string };
  /** Claude Code refuses to work without asking under root, unless it is told that it is in a container. */
  readonly user?: 'unprivileged' | 'root';
  /** Where the demo harness is inside the sandbox, absolute: program.ts, or what `readDemoProgram` makes of it. */
  readonly program?: string;
  readonly tools?: ToolAccess;
}

/** How the platform's tools are reached from inside: by MCP, under the name `centaur`. The platform decides about each call. */
export interface ToolAccess {
  /** Streamable HTTP. */
  readonly url: string;
  /** The variable of the environment that holds the token, which is sent as a bearer's. */
  readonly tokenVariable: string;
  /** For those that speak no MCP, absolute: the program for the demo harness, the extension for pi. See `tools-in-sandbox`. */
  readonly program: string;
  readonly extension: string;
}

/** Where the model is. */
export interface Upstream {
  /** What stands for the key. */
  readonly placeholder: string;
  /** A gateway's address without the version, `http://gateway:8080`; the vendor's own by default. */
  readonly baseUrl?: string;
  /** For pi, which speaks several. */
  readonly api?: 'anthropic-messages' | 'openai-responses' | 'openai-completions';
}

export interface LaunchFile {
  /** Relative to the home. */
  readonly path: string;
  readonly content: string;
  readonly mode: 0o600;
}

export interface LaunchSpec {
  readonly argv: readonly [string, ...string[]];
  /** Besides what the sandbox has: PATH, and the lease's environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly files: readonly LaunchFile[];
}

export interface Launcher {
  spec(options: LaunchOptions): LaunchSpec;
  /** Says whether the CLI is there, and which: it prints its version and exits with 0. */
  readonly probe: readonly [string, ...string[]];
  /** The version that the codec was recorded with. */
  readonly tested: string;
  /**
   * What to keep of a session so that another sandbox can go on with it: globs relative to the home. The files are restored
   * at the same relative paths, before a start with `resume`.
   */
  sessionFiles(nativeId: string): readonly string[];
  readonly skills: SkillPlace;
}

/** How a CLI comes to its skills: folders in the open SKILL.md format. */
export interface SkillPlace {
  /** Where it looks besides `.agents/skills` of its working folder, which it is given in any case: relative to the home. */
  readonly folder?: string;
  /** Whether it looks, and tells its model of them: else somebody else must. */
  readonly announced: boolean;
}

const CLAUDE_STREAMS = [
  '--input-format',
  'stream-json',
  '--output-format',
  'stream-json',
  '--verbose',
  '--include-partial-messages',
  '--replay-user-messages',
  '--forward-subagent-text',
];

export const claudeLauncher: Launcher = {
  probe: ['claude', '--version'],
  tested: '2.1.329',
  spec(options) {
    const { model, effort, persona, resume, approvals, upstream, user, tools } = options;
    const argv: [string, ...string[]] = [
      'claude',
      '-p',
      ...CLAUDE_STREAMS,
      ...(approvals === 'ask' ? ['--permission-prompt-tool', 'stdio'] : ['--permission-mode', 'bypassPermissions']),
      ...(model === undefined ? [] : ['--model', model]),
      ...(effort === undefined ? [] : ['--effort', effort]),
      // by default a resumed session goes on with the system prompt that it began with, whatever persona it is given
      ...(persona === undefined ? [] : ['--append-system-prompt-file', `${options.home}/${PERSONA}`, '--system-prompt-snapshot', 'off']),
      // and no server that a repository brings; about a tool of ours the platform is asked, so that nobody is asked twice
      ...(tools === undefined
        ? []
        : ['--mcp-config', `${options.home}/${MCP_CONFIG}`, '--strict-mcp-config', '--allowedTools', `mcp__${MCP_NAME}`]),
      ...(resume === undefined ? [] : ['--resume', checkId(resume)]),
    ];
    const env = {
      ...common(options),
      ANTHROPIC_API_KEY: upstream.placeholder,
      ...(upstream.baseUrl === undefined ? {} : { ANTHROPIC_BASE_URL: upstream.baseUrl }),
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
      DISABLE_AUTOUPDATER: '1',
      // a task in the background ends after the turn, and its end begins a round of the model that nobody asked for; with
      // this, sub-agents answer within the turn too
      CLAUDE_CODE_DISABLE_BACKGROUND_TASKS: '1',
      // the engine retries, which knows what the turn has done already
      CLAUDE_CODE_MAX_RETRIES: '1',
      ...(user === 'root' ? { IS_SANDBOX: '1' } : {}),
    };
    const files = [
      ...(persona === undefined ? [] : [file(PERSONA, persona)]),
      ...(tools === undefined ? [] : [file(MCP_CONFIG, json({ mcpServers: { [MCP_NAME]: claudeServer(tools) } }))]),
    ];
    return { argv, env, files };
  },
  sessionFiles: (nativeId) => [`.claude/projects/*/${checkId(nativeId)}.jsonl`],
  // it does not look into .agents
  skills: { folder: '.claude/skills', announced: true },
};

export const codexLauncher: Launcher = {
  probe: ['codex', '--version'],
  tested: '0.169.0',
  spec(options) {
    const env = { ...common(options), CODEX_HOME: `${options.home}/.codex`, OPENAI_API_KEY: options.upstream.placeholder };
    return { argv: ['codex', 'app-server'], env, files: [file('.codex/config.toml', codexConfig(options))] };
  },
  // sub-agents have files of their own, and a thread's file names only the thread
  sessionFiles: () => ['.codex/sessions/**/rollout-*.jsonl'],
  skills: { announced: true },
};

/** The thread itself is opened by the codec: `thread/start`, or `thread/resume`. */
function codexConfig({ model, effort, persona, upstream, tools }: LaunchOptions): string {
  const address = `${upstream.baseUrl ?? 'https://api.openai.com'}/v1`;
  return [
    ...(model === undefined ? [] : [`model = ${toml(model)}`]),
    ...(effort === undefined ? [] : [`model_reasoning_effort = ${toml(effort === 'max' ? 'xhigh' : effort)}`]),
    ...(persona === undefined ? [] : [`developer_instructions = ${toml(persona)}`]),
    'model_provider = "gateway"',
    // "untrusted", which asks, is set by the codec: the file does not take it any more
    'approval_policy = "never"',
    // our sandbox is the boundary
    'sandbox_mode = "danger-full-access"',
    // a login shell has a PATH of its own
    'allow_login_shell = false',
    'check_for_update_on_startup = false',
    'web_search = "disabled"',
    '[analytics]',
    'enabled = false',
    // plugins and apps call chatgpt.com and GitHub at every start; a snapshot of the shell writes the environment to the
    // disk; unbounded retries wait for a network that the firewall refuses; goals go on with turns that nobody gave
    '[features]',
    ...['plugins', 'apps', 'shell_snapshot', 'unbounded_connection_retries', 'goals'].map((feature) => `${feature} = false`),
    // a provider of our own: the built-in one upgrades to a WebSocket and polls chatgpt.com
    '[model_providers.gateway]',
    'name = "gateway"',
    `base_url = ${toml(address)}`,
    'env_key = "OPENAI_API_KEY"',
    'wire_api = "responses"',
    'request_max_retries = 1',
    'stream_max_retries = 1',
    ...(tools === undefined
      ? []
      : [
          `[mcp_servers.${MCP_NAME}]`,
          `url = ${toml(tools.url)}`,
          `bearer_token_env_var = ${toml(tools.tokenVariable)}`,
          // the platform is asked about each call: nobody is asked twice
          'default_tools_approval_mode = "approve"',
          // the platform's own limits are shorter
          `tool_timeout_sec = ${LONGEST_CALL_S}`,
        ]),
    '',
  ].join('\n');
}

export const piLauncher: Launcher = {
  probe: ['pi', '--version'],
  tested: '0.73.1',
  spec(options) {
    const { model, effort, persona, resume, upstream, tools } = options;
    const { api = 'anthropic-messages' } = upstream;
    const vendor = api === 'anthropic-messages' ? 'https://api.anthropic.com' : 'https://api.openai.com';
    const provider = {
      baseUrl: `${upstream.baseUrl ?? vendor}${api === 'anthropic-messages' ? '' : '/v1'}`,
      api,
      // the name of a variable: if it is unset, pi sends the name itself
      apiKey: 'PI_GATEWAY_KEY',
      models: model === undefined ? [] : [{ id: model, input: ['text', 'image'], reasoning: effort !== undefined }],
    };
    const argv: [string, ...string[]] = [
      'pi',
      '--mode',
      'rpc',
      '--provider',
      'gateway',
      ...(model === undefined ? [] : ['--model', model]),
      ...(effort === undefined ? [] : ['--thinking', effort === 'max' ? 'xhigh' : effort]),
      ...(persona === undefined ? [] : ['--append-system-prompt', `${options.home}/${PERSONA}`]),
      ...(tools === undefined ? [] : ['--extension', tools.extension]),
      ...(resume === undefined ? [] : ['--session', checkId(resume)]),
    ];
    const models = file('.pi/agent/models.json', json({ providers: { gateway: provider } }));
    return {
      argv,
      env: { ...common(options), PI_GATEWAY_KEY: upstream.placeholder, PI_OFFLINE: '1', PI_TELEMETRY: '0' },
      files: [models, ...(persona === undefined ? [] : [file(PERSONA, persona)])],
    };
  },
  sessionFiles: (nativeId) => [`.pi/agent/sessions/*/*_${checkId(nativeId)}.jsonl`],
  skills: { announced: true },
};

const AMP_QUIET = ['--no-ide', '--no-notifications', '--no-color', '--dangerously-allow-all'];
const AMP_STREAMS = ['--execute', '--stream-json', '--stream-json-input', '--stream-json-thinking'];

/** Its threads are kept by its vendor: there is nothing to restore. */
export const ampLauncher: Launcher = {
  probe: ['amp', '--version'],
  tested: '0.0.1790142911',
  spec(options) {
    const { model, persona, resume, upstream, tools } = options;
    const argv: [string, ...string[]] = [
      'amp',
      ...(resume === undefined ? [] : ['threads', 'continue', checkId(resume)]),
      ...AMP_QUIET,
      ...AMP_STREAMS,
      // what Amp calls a mode decides about model and effort
      ...(model === undefined ? [] : ['-m', model]),
    ];
    const env = {
      ...common(options),
      AMP_API_KEY: upstream.placeholder,
      ...(upstream.baseUrl === undefined ? {} : { AMP_URL: upstream.baseUrl }),
    };
    const files = [
      ...(persona === undefined ? [] : [file('.config/amp/AGENTS.md', persona)]),
      ...(tools === undefined ? [] : [file('.config/amp/settings.json', json({ 'amp.mcpServers': { [MCP_NAME]: mcpServer(tools) } }))]),
    ];
    return { argv, env, files };
  },
  sessionFiles: () => [],
  skills: { announced: true },
};

const DEMO_PROGRAM = '/opt/centaur/demo.mjs';

/** A program of our own, which plain Node runs. */
export const demoLauncher: Launcher = {
  probe: ['node', DEMO_PROGRAM, '--version'],
  tested: 'demo 1',
  spec(options) {
    const { model, effort, persona, resume, approvals, upstream, proxy, program = DEMO_PROGRAM, tools } = options;
    const argv: [string, ...string[]] = [
      'node',
      program,
      ...(model === undefined ? [] : ['--model', model]),
      ...(effort === undefined ? [] : ['--effort', effort]),
      ...(persona === undefined ? [] : ['--persona', `${options.home}/${PERSONA}`]),
      ...(approvals === 'ask' ? ['--approvals', 'ask'] : []),
      ...(tools === undefined ? [] : ['--tools', tools.program]),
      ...(resume === undefined ? [] : ['--resume', checkId(resume)]),
    ];
    const env = {
      ...common(options),
      ANTHROPIC_API_KEY: upstream.placeholder,
      ...(upstream.baseUrl === undefined ? {} : { ANTHROPIC_BASE_URL: upstream.baseUrl }),
      // Node reads the proxy's variables only when it is told to
      ...(proxy === undefined ? {} : { NODE_USE_ENV_PROXY: '1' }),
    };
    return { argv, env, files: persona === undefined ? [] : [file(PERSONA, persona)] };
  },
  sessionFiles: (nativeId) => [`.centaur/demo/sessions/${checkId(nativeId)}.json`],
  skills: { announced: false },
};

const PERSONA = '.centaur/persona.md';
const MCP_CONFIG = '.centaur/mcp.json';
const MCP_NAME = 'centaur';
const LONGEST_CALL_S = 3700;

/** The platform lists a hundred at most: none of them is worth a search of its own. */
function claudeServer(tools: ToolAccess): object {
  return { type: 'http', ...mcpServer(tools), alwaysLoad: true };
}

/** The CLI puts the variable's value in: the token is in no file. */
function mcpServer({ url, tokenVariable }: ToolAccess): object {
  return { url, headers: { Authorization: `Bearer \${${tokenVariable}}` } };
}

/** Every name that one of the CLIs, or a tool that they start, reads the proxy and its certificate from. */
function common({ home, proxy }: LaunchOptions): Record<string, string> {
  if (proxy === undefined) return { HOME: home };
  const { url, caFile, noProxy = '' } = proxy;
  const names = {
    ...each(['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy'], url),
    // what the surroundings leave out of the proxy would be sent with placeholders
    ...each(['NO_PROXY', 'no_proxy'], noProxy),
    ...each(
      ['NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE', 'CODEX_CA_CERTIFICATE', 'REQUESTS_CA_BUNDLE', 'CURL_CA_BUNDLE', 'GIT_SSL_CAINFO'],
      caFile,
    ),
  };
  return { HOME: home, ...names };
}

function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

function each(names: readonly string[], value: string): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, value]));
}

function file(path: string, content: string): LaunchFile {
  return { path, content, mode: 0o600 };
}

/** A native id comes out of a sandbox and goes into globs and arguments. */
function checkId(id: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/.test(id)) return id;
  throw new Error(`Not the id of a session: ${JSON.stringify(id.slice(0, 40))}. Letters, digits, - and _ are allowed.`);
}

/** A basic string of TOML, which is JSON's but for half surrogates and the delete character. */
function toml(value: string): string {
  return JSON.stringify(value.toWellFormed()).replaceAll('\u007F', String.raw`\u007F`);
}
