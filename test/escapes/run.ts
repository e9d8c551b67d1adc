/**
 * `node test/escapes/run.ts`: tries to get out of a sandbox, from inside and through its files, with everything that it could
 * reach alive on the host. Prints a table, and fails when a door is open that is not on the list below. The same attempts in
 * a plain process show that they find open doors: a suite that finds none there proves nothing.
 */
import { spawn, type SpawnOptions, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLocalBackend, type Sandbox } from '../../runtime/sandbox/index.ts';
import { ensureBubblewrap } from '../support/bubblewrap.ts';
import { eventually } from '../support/wait.ts';
import { callAttempts } from './calls.ts';
import { programOf, resultsOf } from './elf.ts';
import { type Host, openHost } from './host.ts';
import { SCRIPTS, scriptOf } from './scripts.ts';

type Outcome = 'open' | 'closed' | `broken ${string}`;

/** Open, and why that is accepted. */
const EXPECTED: Readonly<Record<string, string>> = {
  'where the holder keeps its folders': 'mountinfo names the source of each mount; the path is no secret and cannot be entered',
};
/** Open for an ordinary process of the host; fewer would mean that the attempts are broken. */
const LEAST_OPEN_OUTSIDE = 35;
const IS_ROOT = process.getuid?.() === 0;
const UNPRIVILEGED = 65_534;
/** Of one attempt, on a machine that is busy. */
const PATIENCE_MS = 60_000;

process.env['CENTAUR_ESCAPE'] = 'centaur-escape-environment';
const { path, problem } = ensureBubblewrap();
if (path === undefined) throw new Error(problem);
const stateDir = mkdtempSync(join(tmpdir(), 'centaur-escapes-'));
const backend = createLocalBackend({ stateDir });
try {
  process.exitCode = await main();
} finally {
  await backend.shutdown();
  rmSync(stateDir, { recursive: true, force: true });
}

async function main(): Promise<number> {
  await using host = await openHost(stateDir);
  const { isolation, limits } = await backend.capabilities();
  const sandbox = await backend.ensure({
    id: 'escapes',
    labels: {},
    limits: { memoryMb: 512, processes: 64, diskMb: 64, tmpMb: 16, cpus: 2 },
    mounts: [],
    relays: [],
  });
  const inside = new Map<string, Outcome>();
  const outside = await tryOutside(host);
  for (const { name, calls, isOpen } of process.arch === 'x64' ? callAttempts(host.sharedMemoryKey) : []) {
    await sandbox.writeFile('/workspace/program', programOf(calls), { mode: 0o755 });
    const { stdout } = await sandbox.exec({ argv: ['/workspace/program'], timeoutMs: PATIENCE_MS, maxOutputBytes: 4096 });
    inside.set(name, judge(resultsOf(stdout, calls.length), isOpen));
  }
  for (const [name, body] of Object.entries(SCRIPTS)) {
    const { stdout, stderr } = await sandbox.exec({
      argv: ['node', '-e', scriptOf(body, host.targets)],
      timeoutMs: PATIENCE_MS,
      maxOutputBytes: 4096,
    });
    inside.set(name, outcomeOf(stdout, stderr));
  }
  for (const [name, outcome] of await throughFiles(sandbox, host)) inside.set(name, outcome);
  return report({ inside, outside, isolation, limits });
}

function judge(results: bigint[] | undefined, isOpen: (results: readonly bigint[]) => boolean): Outcome {
  // a program that was killed for its call wrote nothing
  return results !== undefined && isOpen(results) ? 'open' : 'closed';
}

function outcomeOf(stdout: Buffer, stderr: Buffer): Outcome {
  const said = stdout.toString();
  if (said === 'open' || said === 'closed') return said;
  return `broken ${said} ${stderr.toString().slice(0, 200)}`;
}

/** The same attempts by an unprivileged process of the host. */
async function tryOutside(host: Host): Promise<Map<string, Outcome>> {
  const outcomes = new Map<string, Outcome>();
  const folder = mkdtempSync(join(tmpdir(), 'centaur-control-'));
  chmodSync(folder, 0o755);
  const user = IS_ROOT ? { uid: UNPRIVILEGED, gid: UNPRIVILEGED } : {};
  const options = { ...user, cwd: '/', env: { PATH: '/usr/bin:/bin', FROM: 'centaur-escape' }, timeout: PATIENCE_MS };
  // Node itself may lie where that user cannot go
  const node = join(folder, 'node');
  spawnSync('/bin/cp', [process.execPath, node]);
  try {
    for (const { name, calls, isOpen } of process.arch === 'x64' ? callAttempts(host.sharedMemoryKey) : []) {
      const program = join(folder, 'program');
      rmSync(program, { force: true });
      writeFileSync(program, programOf(calls), { mode: 0o755 });
      outcomes.set(
        name,
        judge(resultsOf(spawnSync(program, [], { ...options, stdio: ['ignore', 'pipe', 'ignore'] }).stdout, calls.length), isOpen),
      );
    }
    for (const [name, body] of Object.entries(SCRIPTS))
      outcomes.set(name, await outsideScript(node, scriptOf(body, host.targets), options));
  } finally {
    rmSync(folder, { recursive: true, force: true });
    for (const name of readdirSync('/tmp')) if (/^centaur-(s[1-4]|b)$/.test(name)) rmSync(join('/tmp', name), { force: true });
  }
  return outcomes;
}

/** Not at once, as the listeners are in this process. */
async function outsideScript(node: string, script: string, options: SpawnOptions): Promise<Outcome> {
  const child = spawn(node, ['-e', script], { ...options, stdio: ['ignore', 'pipe', 'ignore'] });
  const parts: Buffer[] = [];
  child.stdout?.on('data', (part: Buffer) => parts.push(part));
  await new Promise((closed) => child.once('close', closed));
  return outcomeOf(Buffer.concat(parts), Buffer.alloc(0));
}

/** What an agent leaves in its workspace for whoever looks at it from the host. */
async function throughFiles(sandbox: Sandbox, host: Host): Promise<Map<string, Outcome>> {
  const outcomes = new Map<string, Outcome>();
  const victim = mkdtempSync(join(tmpdir(), 'centaur-victim-'));
  mkdirSync(join(victim, 'inner'));
  writeFileSync(join(victim, 'inner/kept'), 'kept');
  chmodSync(victim, 0o777);
  const made = await sandbox.exec({
    argv: [
      '/bin/sh',
      '-c',
      `cd /workspace; ln -s ${host.targets.secret} out.txt; ln -s / dir; ln -s ${victim} victim; mkfifo pipe; printf '#!/bin/sh' > run; chmod 755 run; mkdir -p "$(printf 'n\\nl')"; ${IS_ROOT ? 'mkdir closed; touch closed/x; chmod 0 closed;' : ''} i=0; while [ $i -lt 300 ]; do mkdir d; cd d; i=$((i+1)); done`,
    ],
    timeoutMs: PATIENCE_MS,
    maxOutputBytes: 1000,
  });
  if (made.code !== 0) outcomes.set('preparing files', `broken ${made.stderr.toString()}`);
  const reading = async (file: string): Promise<Outcome> =>
    sandbox.readFile(file, { maxBytes: 1000 }).then(
      () => 'open' as const,
      () => 'closed' as const,
    );
  outcomes.set('a link to a file of the host, read by the platform', await reading('/workspace/out.txt'));
  outcomes.set('a link to a folder of the host, read through', await reading(`/workspace/dir${host.targets.secret}`));
  outcomes.set('a FIFO that hangs its reader', await reading('/workspace/pipe'));
  const written = await sandbox.writeFile(`/workspace/victim/new`, 'x').then(
    () => true,
    () => false,
  );
  outcomes.set('a link to a folder of the host, written through', written || existsSync(join(victim, 'new')) ? 'open' : 'closed');
  const boxes = join(stateDir, 'sandboxd/i/boxes');
  const [box] = readdirSync(boxes);
  outcomes.set('a setuid bit on the host', (statSync(join(boxes, box as string, 'workspace/run')).mode & 0o6000) === 0 ? 'closed' : 'open');
  if (IS_ROOT) {
    const peek = spawnSync('/bin/ls', [join(boxes, box as string)], { uid: UNPRIVILEGED, gid: UNPRIVILEGED });
    outcomes.set('its files, for another user of the host', peek.status === 0 ? 'open' : 'closed');
    outcomes.set('its files belong to root', statSync(join(boxes, box as string, 'workspace')).uid === 0 ? 'open' : 'closed');
  }
  const killed = await sandbox
    .exec({ argv: ['/bin/sh', '-c', 'sleep 0.1; kill -9 2'], timeoutMs: PATIENCE_MS, maxOutputBytes: 100 })
    .catch(() => undefined);
  const other = await backend.ensure({
    id: 'after',
    labels: {},
    limits: { memoryMb: 128, processes: 16, diskMb: 16, tmpMb: 16, cpus: 1 },
    mounts: [],
    relays: [],
  });
  const alive = await other.exec({ argv: ['echo', 'alive'], timeoutMs: PATIENCE_MS, maxOutputBytes: 100 });
  outcomes.set('killing its agent takes others down', killed?.reason !== 'exit' && alive.code === 0 ? 'closed' : 'open');
  await Promise.all([backend.stop('escapes'), backend.stop('after')]);
  const isEmpty = () => readdirSync(boxes).length + readdirSync(join(stateDir, 'sandboxd/i/trash')).length === 0;
  const isRemoved = await eventually(isEmpty).catch(() => false);
  outcomes.set('files that cannot be removed', isRemoved ? 'closed' : 'open');
  outcomes.set('a link that the removal follows', existsSync(join(victim, 'inner/kept')) ? 'closed' : 'open');
  rmSync(victim, { recursive: true, force: true });
  return outcomes;
}

function report(found: { inside: Map<string, Outcome>; outside: Map<string, Outcome>; isolation: string; limits: string }): number {
  const { inside, outside } = found;
  const bad: string[] = [];
  console.log(`isolation: ${found.isolation}, limits: ${found.limits}, as ${IS_ROOT ? 'root' : 'an ordinary user'}\n`);
  console.log(`${'attempt'.padEnd(58)} ${'plain'.padEnd(7)} sandbox`);
  for (const [name, outcome] of inside) {
    const accepted = EXPECTED[name];
    console.log(
      `${name.padEnd(58)} ${(outside.get(name) ?? '').slice(0, 6).padEnd(7)} ${outcome}${outcome === 'open' && accepted ? ` (accepted: ${accepted})` : ''}`,
    );
    if (outcome.startsWith('broken') || (outcome === 'open' && accepted === undefined)) bad.push(name);
  }
  const openOutside = [...outside.values()].filter((outcome) => outcome === 'open').length;
  console.log(
    `\n${inside.size} attempts: ${[...inside.values()].filter((outcome) => outcome === 'open').length} open in the sandbox, ${openOutside} in a plain process`,
  );
  for (const name of bad) console.error(`NOT CLOSED: ${name}: ${inside.get(name)}`);
  // x64 has the system calls besides the scripts
  if (process.arch === 'x64' && openOutside < LEAST_OPEN_OUTSIDE) bad.push('the attempts find too few open doors outside');
  console.log(bad.length === 0 ? 'nothing got out' : `FAILED: ${bad.join(', ')}`);
  return bad.length === 0 ? 0 : 1;
}
