/** A malicious workflow and another one, each in a process and a sandbox of its own: what the one may not reach of the other, and of the server. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createHostWorld, type HostWorld, nodeWorkflow, pythonWorkflow } from '../support/hosts.ts';
import { assertNothingLeaked, settledEntries } from './support.ts';

const KEY = 'sk-victim-Real0Key1With2Enough3Letters';
const OPERATOR = 'operator-mark-6f1d2c';
/** A path or a text of the victim, or of the server, and what the victim has of it itself. */
interface Targets {
  readonly url: string;
  readonly authority: string;
  readonly placeholder: string;
  readonly token: string;
  readonly pid: number;
  readonly needles: readonly string[];
  readonly file: string;
  readonly views: string;
  readonly state: string;
  readonly sockets: string;
  readonly ports: readonly number[];
}

const NODE = `
const fs = require('node:fs'), net = require('node:net'), path = require('node:path'), dns = require('node:dns'), child = require('node:child_process');
const t = input.targets;
const attempt = (work) => { try { return work() ?? true; } catch (error) { return false; } };
const connects = (options) => new Promise((done) => { const s = net.connect(options, () => { s.destroy(); done(true); }); s.on('error', () => done(false)); s.setTimeout(1000, () => { s.destroy(); done(false); }); });
const tunnel = (authority, token) => new Promise((done) => { const s = net.connect(3128, '127.0.0.1'); s.on('error', () => done(0)); s.on('close', () => done(0)); s.once('data', (data) => { done(Number(String(data).split(' ')[1])); s.destroy(); }); s.write('CONNECT ' + authority + ' HTTP/1.1\\r\\nHost: ' + authority + '\\r\\nProxy-Authorization: Basic ' + Buffer.from('lease:' + token).toString('base64') + '\\r\\n\\r\\n'); });
const ask = (key) => fetch(t.url, { headers: { 'x-api-key': key } }).then((answer) => answer.status, () => 0);
const pids = () => fs.readdirSync('/proc').filter((name) => /^\\d+$/.test(name));
const text = (file) => { try { return fs.readFileSync(file, 'latin1'); } catch { return ''; } };
const below = (folder, depth) => { try { return fs.readdirSync(folder, { withFileTypes: true }).flatMap((e) => e.isDirectory() ? depth > 0 ? below(path.join(folder, e.name), depth - 1) : [] : [path.join(folder, e.name)]); } catch { return []; } };
`;

const PYTHON = `
import base64, ctypes, os, socket, ssl, urllib.request
t = inp["targets"]
def attempt(work):
    try:
        return work() is not False
    except BaseException:
        return False
def connects(family, address):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.settimeout(1)
    return attempt(lambda: s.connect(address))
def text(file):
    try:
        return open(file, encoding="latin1").read()
    except OSError:
        return ""
def ask(key):
    try:
        return urllib.request.urlopen(urllib.request.Request(t["url"], headers={"x-api-key": key}), timeout=25).status
    except Exception as error:
        return getattr(error, "code", 0)
def tunnel(authority, token):
    s = socket.create_connection(("127.0.0.1", 3128), 25)
    basic = base64.b64encode(("lease:" + token).encode()).decode()
    s.sendall(("CONNECT %s HTTP/1.1\\r\\nHost: %s\\r\\nProxy-Authorization: Basic %s\\r\\n\\r\\n" % (authority, authority, basic)).encode())
    return int((s.recv(64).split(b" ") + [b"0", b"0"])[1])
pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
libc = ctypes.CDLL(None, use_errno=True)
`;

/** Each answers whether the door is open: to the victim, or to the host, it is where `own` says so. */
const OURS: Readonly<Record<string, string>> = {
  'its secret, by its own placeholder': `return (await ask(t.placeholder)) === 200`,
  'its lease, from its own address': `return (await tunnel(t.authority, t.token)) === 200`,
  'its source': `return text('/host/workflows/' + t.file).includes('WORKFLOW_NAME')`,
  'its marks in its home and in /tmp': `return text('/tmp/mark') + text(process.env.HOME + '/mark') === 'markmark'`,
  'its environment': `return pids().some((pid) => text('/proc/' + pid + '/environ').includes(t.token))`,
};

const IN_NODE: Readonly<Record<string, string>> = {
  ...OURS,
  'its placeholder in the environment, arguments or files of anything that is visible': `
    const seen = [...pids().flatMap((pid) => ['environ', 'cmdline'].map((name) => text('/proc/' + pid + '/' + name))),
      ...['/host', '/home', '/tmp', '/run', '/var', '/root', '/workspace', '/dev/shm'].flatMap((folder) => below(folder, 4)).map(text)];
    return t.needles.some((needle) => seen.some((each) => each.includes(needle)))`,
  'the environment of the server': `return Object.entries(process.env).some(([name, value]) => /DATABASE|MASTER|POSTGRES|ANTHROPIC|^CENTAUR_(?!HOST_SOCKET$)/.test(name) || t.needles.includes(value))`,
  'its process by number': `return attempt(() => process.kill(t.pid, 0)) && text('/proc/' + t.pid + '/environ').includes(t.token)`,
  'its memory': `return attempt(() => fs.closeSync(fs.openSync('/proc/' + t.pid + '/mem', 'r'))) && text('/proc/' + t.pid + '/environ').includes(t.token)`,
  'its root folder': `return attempt(() => fs.readdirSync('/proc/' + t.pid + '/root/host/workflows').includes(t.file) || (() => { throw 0; })())`,
  'views of any workflow, where the server keeps them': `return attempt(() => fs.readdirSync(t.views))`,
  'files that the server keeps': `return attempt(() => fs.readdirSync(t.state)) || attempt(() => fs.readdirSync('/proc/1/root' + t.state))`,
  'the folder of its socket': `return attempt(() => fs.readdirSync(t.sockets)) || below('/host', 1).some((file) => file !== '/host/socket' && !file.startsWith('/host/workflows'))`,
  'a second connection to its own socket': `return connects({ path: process.env.CENTAUR_HOST_SOCKET })`,
  'a socket in place of its own': `return attempt(() => fs.unlinkSync('/host/socket')) || attempt(() => fs.writeFileSync('/host/x', ''))`,
  'its own file': `return attempt(() => fs.appendFileSync(process.env.WORKFLOW_FILE, ' ')) || attempt(() => fs.chmodSync(process.env.WORKFLOW_FILE, 0o777)) || attempt(() => fs.writeFileSync('/host/workflows/more.mjs', ''))`,
  'the host program': `return ['/opt/host/runtime/hosts/program/main.js', '/opt/host/sdk/src/index.js', '/opt/centaur/bin/node'].some((file) => attempt(() => fs.closeSync(fs.openSync(file, 'r+'))))`,
  'packages that others share': `return fs.existsSync('/node_modules') && ['/node_modules/x', '/node_modules/.bin/x'].some((file) => attempt(() => fs.writeFileSync(file, '')))`,
  'a link in its view that leads out': `fs.symlinkSync(t.state, '/tmp/link-' + ctx.runId); return attempt(() => fs.readdirSync('/tmp/link-' + ctx.runId))`,
  'namespaces of its own, to mount over what is there': `return child.spawnSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'x', '/host/workflows'], { timeout: 3000 }).status === 0`,
  'a port of this machine': `for (const port of t.ports) if (await connects({ port, host: '127.0.0.1' })) return true; return false`,
  'this machine by way of another relay': `
    const listening = text('/proc/net/tcp').split('\\n').filter((row) => row.trim().split(/\\s+/)[3] === '0A').map((row) => Number.parseInt(row.trim().split(/\\s+/)[1].split(':')[1], 16));
    return listening.some((port) => port !== 3128 && port !== 5432)`,
  'the internet': `return (await Promise.all([connects({ port: 443, host: '1.1.1.1' }), connects({ port: 80, host: '169.254.169.254' }), connects({ port: 443, host: '2606:4700::1111' })])).includes(true)`,
  'names of the internet': `return new Promise((done) => dns.lookup('example.com', (error) => done(!error)))`,
  'the database, through the firewall': `for (const port of t.ports) if ((await tunnel('127.0.0.1:' + port, process.env.HTTPS_PROXY.split(':')[2].split('@')[0])) === 200) return true; return false`,
};

const IN_PYTHON: Readonly<Record<string, string>> = {
  'its secret, by its own placeholder': `return ask(t["placeholder"]) == 200`,
  'its lease, from its own address': `return tunnel(t["authority"], t["token"]) == 200`,
  'its source': `return "WORKFLOW_NAME" in text("/host/workflows/" + t["file"])`,
  'its marks in its home and in /tmp': `return text("/tmp/mark") + text(os.environ["HOME"] + "/mark") == "markmark"`,
  'its environment': `return any(t["token"] in text("/proc/%d/environ" % pid) for pid in pids)`,
  'its memory, by process_vm_readv': `
buffer = ctypes.create_string_buffer(8)
class Piece(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
ours, theirs = Piece(ctypes.addressof(buffer), 8), Piece(0x400000, 8)
return libc.process_vm_readv(t["pid"], ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0) >= 0`,
  'its process, by ptrace': `return libc.ptrace(16, t["pid"], 0, 0) == 0`,
  'process 1, by ptrace': `return libc.ptrace(16, 1, 0, 0) == 0`,
  'its process by number': `return any(t["token"] in text("/proc/%d/%s" % (t["pid"], name)) for name in ("environ", "cmdline"))`,
  'the environment of the server': `return any(needle in value for needle in t["needles"] for value in os.environ.values()) or "DATABASE_URL" in os.environ`,
  'the folder of its socket': `return attempt(lambda: os.listdir(t["sockets"]))`,
  'a second connection to its own socket': `return connects(socket.AF_UNIX, os.environ["CENTAUR_HOST_SOCKET"])`,
  'files that the server keeps': `return attempt(lambda: os.listdir(t["state"])) or attempt(lambda: os.listdir(t["views"]))`,
  'its own file': `return attempt(lambda: open(os.environ["WORKFLOW_FILE"], "a")) or attempt(lambda: open("/host/workflows/more.py", "w"))`,
  'the host program': `return attempt(lambda: open("/opt/host/runtime/hosts/python/workflow-host", "a"))`,
  'a port of this machine': `return any(connects(socket.AF_INET, ("127.0.0.1", port)) for port in t["ports"])`,
  'the internet': `return connects(socket.AF_INET, ("1.1.1.1", 443)) or connects(socket.AF_INET, ("169.254.169.254", 80))`,
  'names of the internet': `return attempt(lambda: socket.getaddrinfo("example.com", 443))`,
  'packets below the protocols': `return attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)) or attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))`,
};

describe('a malicious workflow', { timeout: 600_000 }, () => {
  let world: HostWorld;
  let stops: (() => void) | undefined;
  const of = new Map<string, Targets>();
  before(async () => {
    process.env['CENTAUR_ATTACKED_OPERATOR'] = OPERATOR;
    world = await createHostWorld(
      {
        'victim.mjs': nodeWorkflow('victim'),
        'mallory.mjs': nodeWorkflow('mallory'),
        'victim_py.py': pythonWorkflow('victim_py'),
        'mallory_py.py': pythonWorkflow('mallory_py'),
      },
      { VICTIM_KEY: { value: KEY, principals: ['workflow:victim', 'workflow:victim_py'] } },
    );
    assert.deepEqual(world.hosts.problems(), []);
    const server = net.createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
    await new Promise((listening) => server.once('listening', listening));
    stops = () => void server.close();
    const database = Number(new URL(world.t.database.url).port || 5432);
    for (const name of ['victim', 'victim_py']) {
      const python = name.endsWith('_py');
      const run = await world.run(name, {
        code: python
          ? `import os\nfor file in ("/tmp/mark", os.environ["HOME"] + "/mark"):\n    open(file, "w").write("mark")\nreturn dict(os.environ)`
          : `const fs = require('node:fs'); for (const file of ['/tmp/mark', process.env.HOME + '/mark']) fs.writeFileSync(file, 'mark'); return process.env`,
      });
      const env = run.result as Record<string, string>;
      const token = /lease:([^@]+)@/.exec(env['HTTPS_PROXY'] ?? '')?.[1] ?? '';
      const pid = processesWith(token)[0] ?? 0;
      assert.notEqual(pid, 0, 'the process of the victim, as this machine sees it');
      of.set(name, {
        url: `https://localhost:${world.service.port}/`,
        authority: `localhost:${world.service.port}`,
        placeholder: env['VICTIM_KEY'] ?? '',
        token,
        pid,
        needles: [token, env['VICTIM_KEY'] ?? '', KEY, OPERATOR, world.t.database.url],
        file: `${name}.${python ? 'py' : 'mjs'}`,
        views: path.join(world.state, 'views'),
        state: path.dirname(world.state),
        sockets: path.join(path.dirname(world.state), 'h', `s${process.pid}`),
        ports: [
          database,
          world.t.firewall.port,
          world.t.firewall.metricsPort ?? 0,
          world.service.port,
          (server.address() as net.AddressInfo).port,
        ],
      });
    }
  });
  after(async () => {
    stops?.();
    delete process.env['CENTAUR_ATTACKED_OPERATOR'];
    await world[Symbol.asyncDispose]();
  });

  /** Whether the door is open to it. */
  async function open(workflow: string, body: string, targets: Targets): Promise<unknown> {
    const run = await world.run(workflow, { code: `${workflow.endsWith('_py') ? PYTHON : NODE}${body}`, targets });
    assert.equal(run.status, 'completed', JSON.stringify(run.error));
    return run.result;
  }

  test('is tried where the same is there: on this machine, all of it can be read and reached', async () => {
    for (const targets of of.values()) {
      assert.ok(fs.readFileSync(`/proc/${targets.pid}/environ`, 'latin1').includes(targets.token));
      fs.closeSync(fs.openSync(`/proc/${targets.pid}/mem`, 'r'));
      assert.ok(fs.readdirSync(targets.views).length >= 4);
      assert.ok(fs.readdirSync(targets.sockets).length >= 2);
      for (const port of targets.ports) assert.ok(await reaches(port), `port ${port}`);
    }
  });

  for (const [victim, mallory, doors] of [
    ['victim', 'mallory', IN_NODE],
    ['victim_py', 'mallory_py', IN_PYTHON],
  ] as const)
    describe(`in ${victim === 'victim' ? 'Node' : 'Python'} reaches nothing of another, and nothing of the server`, () => {
      for (const [what, body] of Object.entries(doors))
        test(what, async () => {
          const targets = of.get(victim) as Targets;
          if (what in OURS) assert.equal(await open(victim, body, targets), true, 'the victim itself');
          const before = world.service.seen.length;
          assert.equal(await open(mallory, body, targets), false);
          assert.equal(world.service.seen.length, before, 'the service was sent something');
        });
    });

  test('reaches nothing of a victim in another language', async () => {
    for (const [mallory, doors, victim] of [
      ['mallory', IN_NODE, 'victim_py'],
      ['mallory_py', IN_PYTHON, 'victim'],
    ] as const)
      for (const what of ['its secret, by its own placeholder', 'its lease, from its own address', 'its source', 'its environment'])
        assert.equal(await open(mallory, doors[what] as string, of.get(victim) as Targets), false, `${mallory}: ${what}`);
  });

  test('leaves no trace of a secret anywhere, and its attempts in the log', async () => {
    const tokens = [...of.values()].map(({ token }) => token);
    await assertNothingLeaked(world.t, world.logged, tokens, [KEY]);
    const entries = await settledEntries(world.t);
    assert.ok(entries.filter(({ action }) => action === 'egress.deny').length >= 4);
  });
});

function processesWith(token: string): number[] {
  return fs
    .readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return fs.readFileSync(`/proc/${pid}/environ`, 'latin1').includes(token);
      } catch {
        return false;
      }
    })
    .map(Number);
}

function reaches(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}
