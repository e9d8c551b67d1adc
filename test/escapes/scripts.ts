/** Attempts by ordinary programs: each is the body of a function that answers whether the door is open. */

/** What the host has for the attempts to find. */
export interface Targets {
  readonly secret: string;
  readonly decoyPid: number;
  readonly port: number;
  readonly port6: number;
  readonly abstractSocket: string;
  readonly pathSocket: string;
  readonly udpPort: number;
  readonly stateDir: string;
  readonly hostname: string;
}

const HELPERS = `
const fs = require('node:fs'), net = require('node:net'), dgram = require('node:dgram'), dns = require('node:dns'), { spawnSync } = require('node:child_process');
const reads = (path) => { try { return fs.readFileSync(path, 'latin1').length > 0; } catch { return false; } };
const text = (path) => { try { return fs.readFileSync(path, 'latin1'); } catch { return ''; } };
const lists = (path) => { try { fs.readdirSync(path); return true; } catch { return false; } };
const opens = (path, flags) => { try { fs.closeSync(fs.openSync(path, flags)); return true; } catch { return false; } };
const connects = (options) => new Promise((done) => { const s = net.connect(options, () => done(true)); s.on('error', () => done(false)); s.setTimeout(5000, () => done(false)); });
const routed = (address) => new Promise((done) => { const s = dgram.createSocket(address.includes(':') ? 'udp6' : 'udp4'); s.on('error', () => done(false)); s.connect(53, address, (error) => done(!error)); });
const links = (folder) => { try { return fs.readdirSync(folder).flatMap((name) => { try { return [fs.readlinkSync(folder + '/' + name)]; } catch { return []; } }); } catch { return []; } };
const pids = () => fs.readdirSync('/proc').filter((name) => /^\\d+$/.test(name));
`;

export const SCRIPTS: Readonly<Record<string, string>> = {
  'a file that all of the host may read': `return reads(t.secret)`,
  'the same through /proc/1/root': `return reads('/proc/1/root' + t.secret)`,
  'the same through the folder of the holder': `return lists(t.stateDir)`,
  '/etc/shadow': `return reads('/etc/shadow')`,
  'accounts of the host': `return text('/etc/passwd').split('\\n').length > 6`,
  '/root': `return lists('/root')`,
  '/var': `return lists('/var/log')`,
  '/sys': `return lists('/sys/kernel')`,
  'a process of the host is visible': `return text('/proc/' + t.decoyPid + '/cmdline').includes('centaur-decoy')`,
  'the root of a process of the host': `return lists('/proc/' + t.decoyPid + '/root/')`,
  'a signal to a process of the host': `try { process.kill(t.decoyPid, 0); return text('/proc/' + t.decoyPid + '/cmdline').includes('decoy'); } catch { return false; }`,
  'many processes are visible': `return pids().length > 12`,
  'the host’s loopback': `return connects({ port: t.port, host: '127.0.0.1' })`,
  'the host’s loopback, IPv6': `return connects({ port: t.port6, host: '::1' })`,
  'an abstract socket of the host': `return connects({ path: '\\0' + t.abstractSocket })`,
  'a socket file of the host': `return connects({ path: t.pathSocket })`,
  'UDP to the host': `return new Promise((done) => { const s = dgram.createSocket('udp4'); s.on('message', () => done(true)); s.on('error', () => done(false)); s.send('x', t.udpPort, '127.0.0.1', () => undefined); setTimeout(() => done(false), 3000); })`,
  'a route to the internet': `return routed('1.1.1.1')`,
  'a route to the metadata service': `return routed('169.254.169.254')`,
  'a route to a private network': `return routed('10.0.0.1')`,
  'an interface besides the loopback': `return Object.keys(require('node:os').networkInterfaces()).some((name) => name !== 'lo') || text('/proc/net/dev').split('\\n').length > 4`,
  'core_pattern, for code on the host': `return opens('/proc/sys/kernel/core_pattern', 'r+')`,
  'any setting of the kernel': `const walk = (folder, depth) => { try { return fs.readdirSync(folder, { withFileTypes: true }).some((e) => e.isDirectory() ? depth > 0 && walk(folder + '/' + e.name, depth - 1) : opens(folder + '/' + e.name, 'r+')); } catch { return false; } }; return walk('/proc/sys', 2)`,
  sysrq: `return opens('/proc/sysrq-trigger', 'w')`,
  'release_agent of a control group': `return lists('/sys/fs/cgroup')`,
  uevent_helper: `return opens('/sys/kernel/uevent_helper', 'r+')`,
  'devices of the host': `return ['/dev/mem', '/dev/kmsg', '/dev/vda', '/dev/sda', '/dev/kvm', '/dev/fuse', '/dev/vsock'].some((path) => fs.existsSync(path))`,
  'the kernel’s memory and symbols': `return reads('/proc/kallsyms') || opens('/proc/kcore', 'r')`,
  'the kernel’s command line': `return reads('/proc/cmdline')`,
  'keys of other sessions': `return reads('/proc/keys')`,
  'timers of all processes': `return reads('/proc/timer_list')`,
  'the environment of process 1': `return text('/proc/1/environ').replaceAll('\\0', '').length > 0`,
  'the arguments of process 1 name the host': `return text('/proc/1/cmdline').includes(t.stateDir) || text('/proc/1/cmdline').includes('--setenv')`,
  'a descriptor that leads out': `return pids().some((pid) => links('/proc/' + pid + '/fd').some((link) => link.startsWith('/') && !/^\\/(dev\\/(null|pts|urandom)|opt\\/centaur|workspace|proc|tmp)/.test(link)))`,
  'the folder above a folder that process 1 has open': `return fs.readdirSync('/proc/1/fd').some((fd) => lists('/proc/1/fd/' + fd + '/..'))`,
  'the current folder of process 1': `return lists('/proc/1/cwd/../../../' + t.stateDir)`,
  'the environment of whoever started the platform': `return JSON.stringify(process.env).includes('centaur-escape') || pids().some((pid) => text('/proc/' + pid + '/environ').includes('centaur-escape'))`,
  capabilities: `return !/^CapEff:\\s+0+$/m.test(text('/proc/self/status')) || !/^CapBnd:\\s+0+$/m.test(text('/proc/self/status'))`,
  'new privileges by a setuid program': `return !/^NoNewPrivs:\\s+1$/m.test(text('/proc/self/status')) || spawnSync('/usr/bin/su', ['-c', 'id -u'], { input: '', timeout: 2000 }).stdout?.toString().trim() === '0'`,
  'groups of the host': `return process.getgroups().some((gid) => gid !== 65534 && gid !== process.getgid())`,
  'the host’s name': `return require('node:os').hostname() === t.hostname`,
  'writing to the system': `return ['/usr/bin/x', '/etc/x', '/x', '/opt/x', '/lib/x'].some((path) => opens(path, 'w'))`,
  'changing the agent': `return opens('/opt/centaur/agent/agent.cjs', 'r+') || opens('/opt/centaur/bin/node', 'r+')`,
  'putting a socket where the holder listens': `return opens('/opt/centaur/sockets/x', 'w') || (() => { try { fs.unlinkSync('/opt/centaur/sockets/control'); return true; } catch { return false; } })()`,
  'the control socket, a second time': `return connects({ path: '/opt/centaur/sockets/control' })`,
  'a setuid file left for the host': `try { fs.writeFileSync('/workspace/suid', '#!/bin/sh'); fs.chmodSync('/workspace/suid', 0o6755); return (fs.statSync('/workspace/suid').mode & 0o6000) !== 0; } catch { return false; }`,
  'device files in /dev': `return opens('/dev/x', 'w')`,
  'where the holder keeps its folders': `return text('/proc/self/mountinfo').includes(t.stateDir)`,
};

export function scriptOf(body: string, targets: Targets): string {
  return `${HELPERS}
const t = ${JSON.stringify(targets)};
(async () => { ${body} })().then((open) => { process.stdout.write(open ? 'open' : 'closed'); process.exit(); }, (error) => { process.stdout.write('broken ' + error.message); process.exit(); });`;
}
