import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ConfigFileError, parseConfig, readConfigFile } from './index.ts';

function problems(source: string): readonly string[] {
  try {
    parseConfig(source, 'centaur.yaml');
  } catch (error) {
    assert.ok(error instanceof ConfigFileError);
    return error.problems;
  }
  return assert.fail(`accepted ${source}`);
}

test('a file says what the firewall opens, how it scans, and how long it waits', () => {
  const { egress } = parseConfig(
    `
egress:
  allow:
    - pypi.org
    - {host: "*.githubusercontent.com", methods: [get], paths: [/raw/*]}
  allow_cidrs: [10.1.0.0/16]
  ports: [443]
  scan: {action: block}
  limits: {answer_timeout_ms: 1000, buffered_body_bytes: 2048}
`,
    'centaur.yaml',
  );
  assert.deepEqual(egress, {
    allow: [{ host: 'pypi.org' }, { host: '*.githubusercontent.com', methods: ['get'], paths: ['/raw/*'] }],
    allow_cidrs: ['10.1.0.0/16'],
    ports: [443],
    scan: { action: 'block' },
    limits: { answerMs: 1000, bufferedBody: 2048 },
  });
  assert.deepEqual(parseConfig('', 'centaur.yaml'), {
    egress: {},
    agents: {},
    sandbox: {},
    workflows: {},
    tools: {},
    api: {},
    signIn: {},
    approvals: {},
    chats: { slack: undefined, github: undefined },
    overlays: { entries: [], frozen: false },
    prices: [],
    retention: {},
  });
});

test('a file says which agents there are, where their models are, and what their sandboxes may use', () => {
  const { agents, sandbox } = parseConfig(
    `
agents:
  default_harness: codex
  concurrency: 8
  idle_minutes: 30
  harnesses:
    codex: {secret: GATEWAY_KEY, base_url: https://gateway.example.com, model: gpt-5-codex}
sandbox: {isolation: namespaces+seccomp, memory_mb: 1024, most: 20, warm: 2}
`,
    'centaur.yaml',
  );
  assert.deepEqual(agents, {
    default_harness: 'codex',
    concurrency: 8,
    idle_minutes: 30,
    harnesses: { codex: { secret: 'GATEWAY_KEY', base_url: 'https://gateway.example.com', model: 'gpt-5-codex' } },
  });
  assert.deepEqual(sandbox, { isolation: 'namespaces+seccomp', memory_mb: 1024, most: 20, warm: 2 });
  assert.match(problems('agents: {default_harness: abacus}')[0] ?? '', /^line 1: agents\.default_harness: /);
  assert.match(problems('agents:\n  harnesses:\n    claude: {key: sk-1}')[0] ?? '', /^line 3: agents\.harnesses\.claude\.key: unknown key/);
  assert.deepEqual(problems('agents:\n  harnesses:\n    pi:\n      approvals: ask'), [
    'line 4: agents.harnesses.pi.approvals: pi has no way to ask before it runs a tool',
  ]);
  assert.match(problems('sandbox: {memory_mb: 1}')[0] ?? '', /^line 1: sandbox\.memory_mb: /);
});

test('a file says what the processes of tools may use, and what they have in their environment', () => {
  const { tools } = parseConfig(
    'tools: {built_in: false, memory_mb: 256, processes: 64, memory_most_mb: 1024, processes_most: 512, disk_mb: 100, cpus: 0.5, idle_minutes: 5, warm: 8, env: {CRM_URL: "https://crm.example"}}',
    'centaur.yaml',
  );
  assert.deepEqual(tools, {
    built_in: false,
    memory_mb: 256,
    processes: 64,
    memory_most_mb: 1024,
    processes_most: 512,
    disk_mb: 100,
    cpus: 0.5,
    idle_minutes: 5,
    warm: 8,
    env: { CRM_URL: 'https://crm.example' },
  });
  for (const [wrong, said] of [
    ['dirs: [x]', /^line 2: tools\.dirs: unknown key/],
    ['memory_mb: 1', /^line 2: tools\.memory_mb: /],
    ['built_in: "no"', /^line 2: tools\.built_in: /],
    ['warm: 0', /^line 2: tools\.warm: /],
    ['env: {crm-url: x}', /^line 2: tools\.env\.crm-url: /],
    ['env: {CRM_URL: 7}', /^line 2: tools\.env\.CRM_URL: /],
  ] as const)
    assert.match(problems(`tools:\n  ${wrong}`)[0] ?? '', said, wrong);
});

test('a file says which proxies are believed', () => {
  const { api } = parseConfig('api:\n  trusted_proxies: [10.0.0.0/8, "2001:db8::/32", 192.0.2.7]', 'centaur.yaml');
  assert.deepEqual(api.trusted_proxies, ['10.0.0.0/8', '2001:db8::/32', '192.0.2.7']);
  for (const wrong of ['10.0.0.0/33', 'proxy.example.com', '10.0.0', '"fe80::1%eth0"', '10.0.0.0/'])
    assert.match(problems(`api:\n  trusted_proxies: [${wrong}]`)[0] ?? '', /^line 2: api\.trusted_proxies\.0: expected an address/, wrong);
});

test('what is unknown, misspelt or of the wrong kind is named with its line', () => {
  assert.deepEqual(problems('egress:\n  alow: []'), ['line 2: egress.alow: unknown key']);
  assert.deepEqual(problems('proxy: {}'), ['line 1: proxy: unknown key']);
  assert.match(problems('egress:\n  ports:\n    - 443\n    - 70000')[0] ?? '', /^line 4: egress\.ports\.1: /);
  assert.match(problems('egress: {scan: {action: warn}}')[0] ?? '', /^line 1: egress\.scan\.action: .*"redact"\|"block"/);
  assert.match(problems('egress: [')[0] ?? '', /^line 1: /);
  assert.match(problems('egress:\n  ca_files: [gone.pem]')[0] ?? '', /^line 2: egress\.ca_files\[0\]: gone\.pem: .*no such file/);
});

test('certificates are read from beside the file', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'centaur-config-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const pem = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
  writeFileSync(join(folder, 'own.pem'), pem);
  writeFileSync(join(folder, 'centaur.yaml'), 'egress: {ca_files: [own.pem]}');
  assert.deepEqual(readConfigFile(join(folder, 'centaur.yaml')).egress.ca_pems, [pem]);
  writeFileSync(join(folder, 'own.pem'), 'no certificate');
  assert.throws(() => readConfigFile(join(folder, 'centaur.yaml')), /it has no certificate in it/);
});

test('whom people sign in by is checked field by field', () => {
  const { signIn } = parseConfig(
    `sign_in:
  oidc:
    issuer: https://login.example.com
    client_id: centaur
    email_domains: [example.com]
    newcomers: viewer
    roles: {claim: groups, values: {ops: operator}}`,
    'centaur.yaml',
  );
  assert.deepEqual(signIn.oidc, {
    issuer: 'https://login.example.com',
    client_id: 'centaur',
    email_domains: ['example.com'],
    newcomers: 'viewer',
    roles: { claim: 'groups', values: { ops: 'operator' } },
  });
  const wrong = (line: string, more = '') => problems(`sign_in:\n  oidc:\n    client_id: x\n    ${line}\n${more}`).join();
  assert.match(wrong('issuer: http://login.example.com'), /sign_in\.oidc\.issuer: expected an address such as https/);
  assert.match(wrong('issuer: https://user:password@login.example.com'), /sign_in\.oidc\.issuer/);
  assert.match(wrong('issuer: https://login.example.com', '    newcomers: viewer'), /newcomers: say whose newcomers in email_domains/);
  assert.match(wrong('issuer: https://login.example.com', '    client_secret: x'), /client_secret: unknown key/);
});
