import assert from 'node:assert/strict';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { addGrant, listGrants, listLeases, ownSecretName, removeGrant } from '../../kernel/vault/index.ts';
import { createTestFirewall, type Service, startService, type TestFirewall } from '../../test/support/firewall.ts';
import { LIMITS, PYTHON } from '../../test/support/hosts.ts';
import { eventually } from '../../test/support/wait.ts';
import { createLocalBackend } from '../sandbox/local/index.ts';
import { createToolRunner, type Tools, type ToolsLogEntry } from './index.ts';
import { createSandboxedTools } from './sandboxed.ts';
import { callers, nodeTool } from './testing.ts';

const KEY = 'sk-the-real-key-0123456789';
const stack = new AsyncDisposableStack();
const logged: ToolsLogEntry[] = [];
let t: TestFirewall;
let service: Service;
let other: Service;
let tools: Tools;
let value: ReturnType<typeof callers>['value'];
let invoke: ReturnType<typeof callers>['invoke'];
let files: string;

const get = `
const get = async (url: string, key = '') => {
  try {
    const answer = await fetch(url, { headers: { authorization: 'Bearer ' + key } });
    return [answer.status, await answer.text()];
  } catch (error: any) { return [0, String(error.cause ?? error)]; }
};
`;

before(async () => {
  service = stack.use(await startService((_, response) => response.end('served')));
  other = stack.use(await startService((_, response) => response.end('other')));
  t = stack.use(await createTestFirewall({ config: { allow_cidrs: ['127.0.0.1'], ca_pems: [service.caPem] } }));
  const root = fs.mkdtempSync(path.join(tmpdir(), 'centaur-tools-'));
  stack.defer(() => fs.rmSync(root, { recursive: true, force: true }));
  // sandboxes run as users of their own
  fs.chmodSync(root, 0o755);
  const [own, state] = [path.join(root, 'tools'), path.join(root, 'state')];
  files = own;
  const written: Record<string, string> = {
    'caller/tool.ts': nodeTool(
      `call: method({ description: 'x', risk: 'read', run: ({ url }: any) => get(url, secret('SERVICE_KEY')) }),
       shown: method({ description: 'x', risk: 'read', run: () => ({ key: secret('SERVICE_KEY'), env: process.env, undeclared: process.env.OTHER_KEY ?? null }) }),
       read: method({ description: 'x', risk: 'read', run: async ({ file }: any) => (await import('node:fs')).readFileSync(file, 'utf8') }),
       write: method({ description: 'x', risk: 'read', run: async () => (await import('node:fs')).writeFileSync(process.env.TOOL_ROOT + '/caller/tool.ts', '') }),
       see: method({ description: 'x', risk: 'read', run: async () => (await import('node:fs')).readdirSync(process.env.TOOL_ROOT!).sort() }),
       grows: method({ description: 'x', risk: 'read', run: () => { const all: Buffer[] = []; for (;;) all.push(Buffer.alloc(1 << 24, 1)); } })`,
      `${get}\nconst answer = process.env.CENTAUR_ASKING ? await get('https://localhost:${service.port}/asked') : undefined;\nexport const asked = answer;\n`,
    ).replace(
      "description: 'For tests.',",
      `description: 'asked: ' + JSON.stringify(answer), secrets: [{ name: 'SERVICE_KEY', hosts: ['localhost:${service.port}'], paths: ['/allowed/*'] }],`,
    ),
    'open/tool.ts': nodeTool(
      `call: method({ description: 'x', risk: 'read', run: ({ url }: any) => get(url) }),
       late: method({ description: 'x', risk: 'read', run: () => process.env.LATE_KEY !== undefined })`,
      get,
    ).replace(
      "description: 'For tests.',",
      `description: 'x', hosts: ['localhost:${other.port}'], secrets: [{ name: 'LATE_KEY', hosts: ['localhost:${other.port}'], optional: true }],`,
    ),
    'large/tool.ts': nodeTool(
      `hold: method({ description: 'x', risk: 'read', run: ({ mb }: any) => Buffer.alloc(mb << 20, 1).length >> 20 })`,
      'memory_mb: 4000,',
    ),
    'py/pyproject.toml': `[project]\ndescription = "x"\n[tool.centaur]\nsecrets = [{ name = "SERVICE_KEY", hosts = ["localhost:${service.port}"] }]\n`,
    'py/client.py': `
import os
import ssl
import urllib.request
from centaur_sdk import secret
class Client:
    def read_it(self, path: str):
        request = urllib.request.Request(f"https://localhost:${service.port}{path}", headers={"Authorization": f"Bearer {secret('SERVICE_KEY')}"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read().decode()
    def find(self):
        return [secret("SERVICE_KEY"), os.getuid(), sorted(os.listdir("/host/tools"))]
def _client(): return Client()
`,
  };
  for (const [file, text] of Object.entries(written)) {
    fs.mkdirSync(path.dirname(path.join(own, file)), { recursive: true });
    fs.writeFileSync(path.join(own, file), text);
  }
  fs.mkdirSync(state, { mode: 0o755 });
  await t.secret('SERVICE_KEY', { value: KEY, hosts: [`localhost:${service.port}`, `localhost:${other.port}`] });
  await t.secret('OTHER_KEY', { value: 'another-key-0123456789', hosts: [`localhost:${other.port}`] });
  for (const principal of ['tool:caller', 'tool:py']) await grant(principal, 'SERVICE_KEY');
  await grant('tool:caller', 'OTHER_KEY');
  const log = (entry: ToolsLogEntry): void => void logged.push(entry);
  const backend = createLocalBackend({ stateDir: path.join(root, 'sandboxes'), memoryReserveMb: 64 });
  stack.defer(async () => {
    await eventually(async () => (await backend.list()).length === 0).catch(() => undefined);
    await backend.shutdown();
  });
  const sandboxes = createSandboxedTools({
    backend,
    installation: t.installation,
    firewall: `127.0.0.1:${t.firewall.port}`,
    postgres: `127.0.0.1:${t.firewall.postgresPort}`,
    limits: LIMITS,
    most: { memoryMb: 512, processes: 64 },
    python: PYTHON,
    stateDir: path.join(root, 'h'),
    log,
  });
  stack.defer(() => sandboxes.close());
  tools = await createToolRunner({ dirs: [own], stateDir: state, watch: false, log, ...sandboxes });
  stack.defer(() => tools.close());
  await tools.settled();
  ({ value, invoke } = callers(tools, t.installation));
});
after(() => stack.disposeAsync());

const grant = (principal: string, secret: string) => addGrant({ store: t.store, audit: t.installation.audit }, 'test', principal, secret);

test('a tool that is asked what it is has no network and no lease', async () => {
  assert.deepEqual(tools.problems(), []);
  assert.equal(tools.list().length, 4);
  assert.match(tools.get('caller')?.description ?? '', /^asked: \[0,/);
  assert.equal(service.seen.length, 0);
  assert.equal((await listLeases(t.store)).items.length, 0);
});

test('a tool has a placeholder for what it declares, and the key leaves through the firewall to the declared hosts alone', async () => {
  assert.deepEqual(await value('caller', 'call', { url: `https://localhost:${service.port}/allowed/1` }), [200, 'served']);
  assert.equal(service.seen.at(-1)?.headers['authorization'], `Bearer ${KEY}`);
  const count = service.seen.length;
  for (const url of [`https://localhost:${service.port}/elsewhere`, `https://localhost:${other.port}/allowed/1`]) {
    const [status] = (await value('caller', 'call', { url })) as [number, string];
    assert.ok(status === 403 || status === 0, `${url}: ${status}`);
  }
  assert.deepEqual([service.seen.length, other.seen.length], [count, 0]);
  const { key, env, undeclared } = (await value('caller', 'shown')) as { key: string; env: object; undeclared: unknown };
  assert.notEqual(key, KEY);
  assert.equal(JSON.stringify(env).includes(KEY), false);
  assert.equal(undeclared, null, 'what is granted and not declared is not there');
  assert.equal(await value('py', 'read_it', { path: '/from-python' }), 'served');
  assert.equal(service.seen.at(-1)?.headers['authorization'], `Bearer ${KEY}`);
});

test('a host without a secret is reached where it is declared', async () => {
  assert.deepEqual(await value('open', 'call', { url: `https://localhost:${other.port}/` }), [200, 'other']);
  const [status] = (await value('open', 'call', { url: `https://localhost:${service.port}/` })) as [number];
  assert.ok(status === 403 || status === 0);
});

test('it sees its own files, cannot change them, and not the server’s', async () => {
  assert.deepEqual(await value('caller', 'see'), ['.stripped', 'caller']);
  for (const [method, args] of [
    ['write', {}],
    ['read', { file: path.join(files, 'py/client.py') }],
  ] as const) {
    const result = await invoke('caller', method, args);
    assert.match(result.ok ? 'done' : result.message, /EROFS|EACCES|ENOENT|EPERM/);
  }
  const [placeholder, uid, seen] = (await value('py', 'find')) as [string, number, string[]];
  assert.deepEqual([placeholder === KEY, uid === 0 && process.getuid?.() !== 0, seen], [false, false, ['py']]);
});

test('one that uses more memory than it may ends, and says so', async () => {
  const result = await invoke('caller', 'grows');
  assert.deepEqual(result.ok ? 'ok' : [result.code, result.started], ['TOOL_CRASHED', true]);
  assert.deepEqual(await value('caller', 'see'), ['.stripped', 'caller']);
});

test('one that says that it needs more memory gets more, up to what the operator allows', async () => {
  assert.equal(await value('large', 'hold', { mb: 350 }), 350);
  const result = await invoke('large', 'hold', { mb: 600 });
  assert.deepEqual(result.ok ? 'ok' : result.code, 'TOOL_CRASHED');
  assert.equal(await value('large', 'hold', { mb: 1 }), 1);
  assert.ok(logged.some(({ level, message, tool }) => level === 'warn' && tool === 'large' && message.includes('memory_most_mb')));
});

test('a grant that came later means another process', async () => {
  assert.equal(await value('open', 'late'), false);
  await t.secret('LATE_KEY', { value: 'the-late-key-0123456789', hosts: [`localhost:${other.port}`] });
  await grant('tool:open', 'LATE_KEY');
  await eventually(() => value('open', 'late'));
});

test('a user’s own secret is used by a process that is theirs, and by no call of anybody else', async () => {
  const own = new Map<string, string>();
  for (const user of ['ana', 'bo']) {
    own.set(user, ownSecretName('SERVICE_KEY', user));
    await t.secret(own.get(user) as string, { value: `the-key-of-${user}-alone-0123`, hosts: [`localhost:${service.port}`] });
    await grant(`user:${user}`, own.get(user) as string);
  }
  const url = `https://localhost:${service.port}/allowed/own`;
  const as = (user: string) => ({ own: { user, secrets: new Map([['SERVICE_KEY', own.get(user) as string]]) } });
  const sent = async (more = {}) => {
    assert.deepEqual(await value('caller', 'call', { url }, more), [200, 'served']);
    return service.seen.at(-1)?.headers['authorization'];
  };
  // in turns: each finds its own process again
  for (let times = 0; times < 2; times++) {
    assert.equal(await sent(as('ana')), 'Bearer the-key-of-ana-alone-0123');
    assert.equal(await sent(as('bo')), 'Bearer the-key-of-bo-alone-0123');
    assert.equal(await sent(), `Bearer ${KEY}`);
  }
  const [lease] = (await listLeases(t.store)).items.filter(({ on_behalf_of: user, status }) => user === 'user:ana' && status === 'active');
  assert.deepEqual([lease?.principal, lease?.secrets], ['tool:caller', [own.get('ana')]]);
  const { env } = (await value('caller', 'shown', {}, as('ana'))) as { env: object };
  assert.ok(!JSON.stringify(env).includes('the-key-of') && !JSON.stringify(env).includes(own.get('bo') as string));
  // a process whose user has lost the right uses it no more
  for (const { grant_id: id } of await listGrants(t.store, { principal: 'user:ana' })) await removeGrant(t.installation, 'test', id);
  const isServed = async () => ((await value('caller', 'call', { url }, as('ana'))) as [number, string])[0] === 200;
  // the firewall hears of it a moment later
  await eventually(async () => !(await isServed()));
  const count = service.seen.length;
  assert.equal(await isServed(), false);
  assert.ok(service.seen.slice(count).every(({ headers }) => headers['authorization'] !== 'Bearer the-key-of-ana-alone-0123'));
});

test('leases end with their processes', async () => {
  const active = async (): Promise<number> =>
    (await listLeases(t.store)).items.filter(({ principal, status }) => principal.startsWith('tool:') && status === 'active').length;
  assert.ok((await active()) >= 4);
  await tools.close();
  assert.equal(await active(), 0);
});
