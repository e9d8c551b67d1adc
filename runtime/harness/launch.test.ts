import assert from 'node:assert/strict';
import { matchesGlob } from 'node:path';
import { test } from 'node:test';
import { harnesses, type HarnessKind, type LaunchOptions } from './index.ts';

const PLACEHOLDER = 'sk-ant-api03-PLACEHOLDERplaceholder';
const OPTIONS: LaunchOptions = {
  home: '/home/agent',
  cwd: '/workspace',
  model: 'some-model',
  effort: 'max',
  persona: 'You are "brief".\nAlways \u007F.',
  approvals: 'none',
  upstream: { placeholder: PLACEHOLDER, baseUrl: 'http://gateway:8080' },
  proxy: { url: 'http://lease:token@127.0.0.1:8081', caFile: '/etc/centaur/ca.pem' },
};
const TOOLS = {
  url: 'http://relay.internal:3129/mcp',
  tokenVariable: 'CENTAUR_API_KEY',
  program: '/home/agent/.centaur/tools.mjs',
  extension: '/home/agent/.centaur/pi-tools.mjs',
};
const KINDS = Object.keys(harnesses) as HarnessKind[];
const spec = (kind: HarnessKind, options: Partial<LaunchOptions> = {}) => harnesses[kind].launch.spec({ ...OPTIONS, ...options });

for (const kind of KINDS) {
  test(`${kind}: the placeholder is in the environment, and nowhere else`, () => {
    const { argv, env, files } = spec(kind, { resume: 'T-1234' });
    assert.ok(Object.values(env).includes(PLACEHOLDER));
    assert.ok(!JSON.stringify([argv, files]).includes(PLACEHOLDER));
  });

  test(`${kind}: files are the owner’s alone, and inside the home`, () => {
    for (const { path, mode } of spec(kind).files) {
      assert.equal(mode, 0o600);
      assert.ok(!path.startsWith('/') && !path.includes('..'), path);
    }
  });

  test(`${kind}: the proxy and its certificate are given under every name that a CLI or its tools read`, () => {
    const { env } = spec(kind);
    for (const name of ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy']) assert.equal(env[name], OPTIONS.proxy?.url);
    for (const name of ['NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE', 'CODEX_CA_CERTIFICATE']) assert.equal(env[name], OPTIONS.proxy?.caFile);
    assert.equal(env.NO_PROXY, '');
  });

  test(`${kind}: the persona is in a file, not in arguments that every process of the sandbox can read`, () => {
    const { argv, files } = spec(kind);
    assert.ok(!JSON.stringify(argv).includes('brief'));
    assert.ok(files.some(({ content }) => content.includes('brief')));
  });

  test(`${kind}: an id that is none gets neither into arguments nor into globs`, () => {
    for (const id of ['', '../../etc/passwd', '--dangerously', 'a*', 'a b', `x${'y'.repeat(200)}`]) {
      if (kind !== 'codex') assert.throws(() => spec(kind, { resume: id }), /Not the id of a session/);
      if (kind !== 'codex' && kind !== 'amp') assert.throws(() => harnesses[kind].launch.sessionFiles(id), /Not the id of a session/);
    }
  });

  test(`${kind}: without options nothing is said about model, effort, persona and proxy`, () => {
    const { argv, env, files } = harnesses[kind].launch.spec({ home: '/h', cwd: '/w', approvals: 'none', upstream: { placeholder: 'p' } });
    assert.ok(!JSON.stringify([argv, env, files]).includes('undefined'));
    assert.equal(env.HTTPS_PROXY, undefined);
  });
}

test('claude: the command', () => {
  const { argv, env } = spec('claude', { resume: '68d2fcd4-5cd8-4073-9253-e18743e61939' });
  assert.equal(
    argv.join(' '),
    'claude -p --input-format stream-json --output-format stream-json --verbose --include-partial-messages --replay-user-messages ' +
      '--forward-subagent-text ' +
      '--permission-mode bypassPermissions --model some-model --effort max ' +
      '--append-system-prompt-file /home/agent/.centaur/persona.md --system-prompt-snapshot off ' +
      '--resume 68d2fcd4-5cd8-4073-9253-e18743e61939',
  );
  assert.equal(env.ANTHROPIC_BASE_URL, 'http://gateway:8080');
  assert.equal(env.CLAUDE_CODE_MAX_RETRIES, '1');
  assert.equal(env.IS_SANDBOX, undefined);
  assert.equal(spec('claude', { user: 'root' }).env.IS_SANDBOX, '1');
  assert.ok(spec('claude', { approvals: 'ask' }).argv.join(' ').includes('--permission-prompt-tool stdio'));
});

test('demo: plain Node runs the program, from where it is, and is told to use the proxy', () => {
  const { argv, env } = spec('demo', { resume: 'session-1', approvals: 'ask', program: '/opt/agent/demo.mjs' });
  assert.equal(
    argv.join(' '),
    'node /opt/agent/demo.mjs --model some-model --effort max --persona /home/agent/.centaur/persona.md --approvals ask --resume session-1',
  );
  assert.equal(env.ANTHROPIC_BASE_URL, 'http://gateway:8080');
  assert.equal(env.NODE_USE_ENV_PROXY, '1');
});

test('codex: the configuration keeps it from calling home and from writing the environment down', () => {
  const { argv, env, files } = spec('codex');
  assert.deepEqual(argv, ['codex', 'app-server']);
  assert.equal(env.CODEX_HOME, '/home/agent/.codex');
  assert.deepEqual(
    files.map(({ path }) => path),
    ['.codex/config.toml'],
  );
  assert.equal(
    files[0]?.content,
    [
      'model = "some-model"',
      'model_reasoning_effort = "xhigh"',
      String.raw`developer_instructions = "You are \"brief\".\nAlways \u007F."`,
      'model_provider = "gateway"',
      'approval_policy = "never"',
      'sandbox_mode = "danger-full-access"',
      'allow_login_shell = false',
      'check_for_update_on_startup = false',
      'web_search = "disabled"',
      '[analytics]',
      'enabled = false',
      '[features]',
      'plugins = false',
      'apps = false',
      'shell_snapshot = false',
      'unbounded_connection_retries = false',
      'goals = false',
      '[model_providers.gateway]',
      'name = "gateway"',
      'base_url = "http://gateway:8080/v1"',
      'env_key = "OPENAI_API_KEY"',
      'wire_api = "responses"',
      'request_max_retries = 1',
      'stream_max_retries = 1',
      '',
    ].join('\n'),
  );
});

test('claude: the platform’s tools alone, without being asked about them, and the token is only named', () => {
  const { argv, files } = spec('claude', { tools: TOOLS, resume: 'abc' });
  assert.ok(
    argv.join(' ').endsWith('--mcp-config /home/agent/.centaur/mcp.json --strict-mcp-config --allowedTools mcp__centaur --resume abc'),
  );
  const server = { type: 'http', url: TOOLS.url, headers: { Authorization: 'Bearer ${CENTAUR_API_KEY}' }, alwaysLoad: true };
  assert.deepEqual(JSON.parse(files.find(({ path }) => path === '.centaur/mcp.json')?.content ?? ''), { mcpServers: { centaur: server } });
});

test('codex: the platform’s tools, without being asked about them, and the token is only named', () => {
  const config = spec('codex', { tools: TOOLS }).files[0]?.content ?? '';
  assert.ok(
    config.endsWith(
      [
        '[mcp_servers.centaur]',
        'url = "http://relay.internal:3129/mcp"',
        'bearer_token_env_var = "CENTAUR_API_KEY"',
        'default_tools_approval_mode = "approve"',
        'tool_timeout_sec = 3700',
        '',
      ].join('\n'),
    ),
  );
});

test('pi, demo and amp: the platform’s tools, each in its own way', () => {
  assert.match(spec('pi', { tools: TOOLS }).argv.join(' '), /--extension \/home\/agent\/\.centaur\/pi-tools\.mjs/);
  assert.match(spec('demo', { tools: TOOLS }).argv.join(' '), /--tools \/home\/agent\/\.centaur\/tools\.mjs/);
  const settings = spec('amp', { tools: TOOLS }).files.find(({ path }) => path === '.config/amp/settings.json');
  assert.deepEqual(JSON.parse(settings?.content ?? ''), {
    'amp.mcpServers': { centaur: { url: TOOLS.url, headers: { Authorization: 'Bearer ${CENTAUR_API_KEY}' } } },
  });
});

test('pi: the models file names the variable that holds the placeholder', () => {
  const { argv, env, files } = spec('pi', { resume: '01a1fa7f-5f16-70d4-ab23-8e12dd923fd3' });
  assert.equal(
    argv.join(' '),
    'pi --mode rpc --provider gateway --model some-model --thinking xhigh --append-system-prompt /home/agent/.centaur/persona.md ' +
      '--session 01a1fa7f-5f16-70d4-ab23-8e12dd923fd3',
  );
  assert.equal(env.PI_GATEWAY_KEY, PLACEHOLDER);
  assert.deepEqual(JSON.parse(files[0]?.content ?? ''), {
    providers: {
      gateway: {
        baseUrl: 'http://gateway:8080',
        api: 'anthropic-messages',
        apiKey: 'PI_GATEWAY_KEY',
        models: [{ id: 'some-model', input: ['text', 'image'], reasoning: true }],
      },
    },
  });
  const openai = spec('pi', { upstream: { placeholder: PLACEHOLDER, api: 'openai-responses' } }).files[0]?.content ?? '';
  assert.equal(JSON.parse(openai).providers.gateway.baseUrl, 'https://api.openai.com/v1');
});

test('a session’s files are found where each CLI keeps them', () => {
  const found = (kind: HarnessKind, id: string, path: string) =>
    harnesses[kind].launch.sessionFiles(id).some((glob) => matchesGlob(path, glob));
  assert.ok(found('claude', 'cf952ffd-59ee', '.claude/projects/-workspace/cf952ffd-59ee.jsonl'));
  assert.ok(!found('claude', 'cf952ffd-59ee', '.claude/projects/-workspace/other.jsonl'));
  assert.ok(found('codex', '01a1', '.codex/sessions/2026/11/21/rollout-2026-11-21T15-50-42-01a1.jsonl'));
  assert.ok(found('pi', '01a1', '.pi/agent/sessions/--workspace--/2026-11-20T19-46-53-846Z_01a1.jsonl'));
});

test('every harness has a codec that starts idle', () => {
  for (const kind of KINDS) {
    const codec = harnesses[kind].createCodec();
    assert.deepEqual([codec.ready, codec.busy], [false, false]);
    codec.open({ cwd: '/workspace' });
    assert.equal(codec.busy, false);
  }
});
