import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { ConfigError, loadConfig } from './index.ts';

function folder(t: TestContext): string {
  const made = mkdtempSync(join(tmpdir(), 'centaur-config-'));
  t.after(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

function problem(environment: Record<string, string>): string {
  try {
    loadConfig(environment, '/nowhere');
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.message;
  }
  return assert.fail(`accepted ${JSON.stringify(environment)}`);
}

test('an empty environment gives the defaults', () => {
  assert.deepEqual(loadConfig({ HOME: '/home/ann' }, '/nowhere'), {
    databaseUrl: undefined,
    home: '/home/ann/.centaur',
    port: 8080,
    host: '127.0.0.1',
    apiUrl: 'http://127.0.0.1:8080',
    publicUrl: 'http://127.0.0.1:8080',
    apiKey: undefined,
    workflowDirs: [],
    toolDirs: [],
    overlays: undefined,
    overlayLock: '/home/ann/.centaur/centaur.lock',
    skillDirs: [],
    workflowHosts: 'sandbox',
    python: existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3',
    toolApiUrl: undefined,
    slackApiUrl: 'https://slack.com/api',
    slackSigningSecret: undefined,
    slackBot: { isWanted: false, apiKey: undefined, url: undefined },
    oidcClientSecret: undefined,
    masterKey: { file: '/home/ann/.centaur/master.key', given: 'default' },
    configFile: undefined,
    firewall: { host: '127.0.0.1', port: 8081, postgresPort: 8082, metricsPort: undefined, url: undefined },
    auditAnchor: undefined,
    auditRetentionDays: undefined,
    retentionDays: 30,
    leaseMs: 10_000,
    queues: undefined,
    maxResidentRuns: 2000,
    sandboxBackend: 'local',
    harnessDir: undefined,
    demo: false,
    logFormat: undefined,
    logLevel: 'info',
    otlp: undefined,
  });
});

test('every variable reaches its field', (t) => {
  const cwd = folder(t);
  for (const name of ['flows', 'more', 'kits']) mkdirSync(join(cwd, name));
  writeFileSync(join(cwd, 'own.yaml'), '');
  const config = loadConfig(
    {
      DATABASE_URL: 'postgresql://ann:p%40ss@db.internal:5433/centaur?sslmode=require',
      CENTAUR_HOME: 'data',
      PORT: '9000',
      HOST: '0.0.0.0',
      CENTAUR_API_URL: 'https://centaur.example/',
      CENTAUR_API_KEY: 'a-key-of-16-char',
      WORKFLOW_DIRS: `flows:${join(cwd, 'more')}`,
      TOOL_DIRS: `kits:${join(cwd, 'flows')}`,
      CENTAUR_SKILL_DIRS: 'more:kits',
      WORKFLOW_HOSTS: 'process',
      WORKFLOW_PYTHON: '/opt/py/bin/python',
      WORKFLOW_TOOL_API_URL: 'https://tools.example.com/',
      SLACK_API_URL: 'http://127.0.0.1:4001/api',
      SLACK_SIGNING_SECRET: '8f742231b10e8888abcd99yyyzzz85a5',
      SLACK_BOT_TOKEN: 'xoxb-1',
      CENTAUR_SLACK_URL: 'http://bot:8083/',
      CENTAUR_OIDC_CLIENT_SECRET: 'the-secret-of-the-client',
      CENTAUR_MASTER_KEY_FILE: 'master',
      CENTAUR_CONFIG: 'own.yaml',
      FIREWALL_HOST: '0.0.0.0',
      FIREWALL_PORT: '9001',
      FIREWALL_METRICS_PORT: '9002',
      FIREWALL_POSTGRES_PORT: '9003',
      FIREWALL_URL: 'http://firewall:9001/',
      CENTAUR_AUDIT_ANCHOR: 'anchor',
      CENTAUR_AUDIT_RETENTION_DAYS: '365',
      CENTAUR_RETENTION_DAYS: '7',
      CENTAUR_LEASE_SECONDS: '30',
      CENTAUR_QUEUES: 'default, slow',
      CENTAUR_MAX_RESIDENT_RUNS: '50',
      SANDBOX_BACKEND: 'local',
      CENTAUR_HARNESS_DIR: 'more',
      CENTAUR_DEMO: '1',
      CENTAUR_LOG: 'text',
      CENTAUR_LOG_LEVEL: 'debug',
      CENTAUR_PUBLIC_URL: 'https://people.example/',
    },
    cwd,
  );
  assert.deepEqual(config, {
    databaseUrl: 'postgresql://ann:p%40ss@db.internal:5433/centaur?sslmode=require',
    home: join(cwd, 'data'),
    port: 9000,
    host: '0.0.0.0',
    apiUrl: 'https://centaur.example',
    publicUrl: 'https://people.example',
    apiKey: 'a-key-of-16-char',
    workflowDirs: [join(cwd, 'flows'), join(cwd, 'more')],
    toolDirs: [join(cwd, 'kits'), join(cwd, 'flows')],
    overlays: undefined,
    overlayLock: join(cwd, 'centaur.lock'),
    skillDirs: [join(cwd, 'more'), join(cwd, 'kits')],
    workflowHosts: 'process',
    python: '/opt/py/bin/python',
    toolApiUrl: 'https://tools.example.com',
    slackApiUrl: 'http://127.0.0.1:4001/api',
    slackSigningSecret: '8f742231b10e8888abcd99yyyzzz85a5',
    slackBot: { isWanted: true, apiKey: undefined, url: 'http://bot:8083' },
    oidcClientSecret: 'the-secret-of-the-client',
    masterKey: { file: join(cwd, 'master'), given: 'given' },
    configFile: join(cwd, 'own.yaml'),
    firewall: { host: '0.0.0.0', port: 9001, postgresPort: 9003, metricsPort: 9002, url: 'http://firewall:9001' },
    auditAnchor: join(cwd, 'anchor'),
    auditRetentionDays: 365,
    retentionDays: 7,
    leaseMs: 30_000,
    queues: ['default', 'slow'],
    maxResidentRuns: 50,
    sandboxBackend: 'local',
    harnessDir: join(cwd, 'more'),
    demo: true,
    logFormat: 'text',
    logLevel: 'debug',
    otlp: undefined,
  });
});

test('workflows/ in the working directory is found, and an empty variable is an unset one', (t) => {
  const cwd = folder(t);
  mkdirSync(join(cwd, 'workflows'));
  assert.deepEqual(loadConfig({ WORKFLOW_DIRS: '', PORT: '' }, cwd).workflowDirs, [join(cwd, 'workflows')]);
});

test('tools/ in the working directory is found like workflows/, and each of them alone', (t) => {
  const cwd = folder(t);
  mkdirSync(join(cwd, 'tools'));
  const { toolDirs, workflowDirs } = loadConfig({ TOOL_DIRS: '' }, cwd);
  assert.deepEqual([toolDirs, workflowDirs], [[join(cwd, 'tools')], []]);
  mkdirSync(join(cwd, 'own'));
  assert.deepEqual(loadConfig({ TOOL_DIRS: 'own' }, cwd).toolDirs, [join(cwd, 'own')]);
});

test('a workflow folder that is not there, or is no folder, is named', (t) => {
  const cwd = folder(t);
  writeFileSync(join(cwd, 'file.ts'), '');
  assert.throws(() => loadConfig({ WORKFLOW_DIRS: `gone:${cwd}` }, cwd), /WORKFLOW_DIRS: "gone" is not a folder/);
  assert.throws(() => loadConfig({ WORKFLOW_DIRS: 'file.ts' }, cwd), /WORKFLOW_DIRS: "file\.ts" is not a folder/);
  assert.throws(() => loadConfig({ TOOL_DIRS: `gone:${cwd}` }, cwd), /TOOL_DIRS: "gone" is not a folder/);
  assert.throws(() => loadConfig({ TOOL_DIRS: 'file.ts' }, cwd), /TOOL_DIRS: "file\.ts" is not a folder/);
  assert.throws(() => loadConfig({ CENTAUR_SKILL_DIRS: 'gone' }, cwd), /CENTAUR_SKILL_DIRS: "gone" is not a folder/);
  assert.throws(() => loadConfig({ CENTAUR_HARNESS_DIR: 'gone' }, cwd), /CENTAUR_HARNESS_DIR: "gone" is not a folder/);
});

const REFUSED: readonly [name: string, value: string, allowed: RegExp][] = [
  ['DATABASE_URL', 'mysql://me:hunter2@host/db', /expected postgres:\/\//],
  ['DATABASE_URL', 'postgres://me:hunter2#@ho st/db', /percent-encoded/],
  ['PORT', '99999', /from 0 to 65535/],
  ['PORT', ' ', /from 0 to 65535/],
  ['PORT', '0x50', /from 0 to 65535/],
  ['CENTAUR_API_URL', 'ftp://host', /such as http:/],
  ['CENTAUR_API_KEY', 'short-secret', /at least 16/],
  ['CENTAUR_RETENTION_DAYS', '0', /from 1 to 3650/],
  ['CENTAUR_LEASE_SECONDS', '1.5', /from 2 to 600/],
  ['CENTAUR_QUEUES', ' , ', /one or more names/],
  ['CENTAUR_MAX_RESIDENT_RUNS', '-1', /from 1 to 100000/],
  ['SANDBOX_BACKEND', 'docker', /sandboxes of this machine/],
  ['CENTAUR_DEMO', 'yes', /1 or 0/],
  ['CENTAUR_LOG_LEVEL', 'loud', /one of debug, info, warn, error/],
];

for (const [name, value, allowed] of REFUSED) {
  test(`${name}=${JSON.stringify(value)} is refused with what is allowed`, () => {
    const message = problem({ [name]: value });
    assert.ok(message.includes(`${name}: expected `), message);
    assert.match(message, allowed);
  });
}

test('every bad variable is named at once, and no secret is shown', () => {
  const bad = {
    DATABASE_URL: 'mysql://me:hunter2@host/db',
    PORT: '99999',
    CENTAUR_API_KEY: 'short-secret',
    WORKFLOW_DIRS: '/does/not/exist',
  };
  const message = problem(bad);
  for (const name of Object.keys(bad)) assert.equal(message.split(`${name}: `).length, 2, message);
  assert.doesNotMatch(message, /hunter2|short-secret/);
});
