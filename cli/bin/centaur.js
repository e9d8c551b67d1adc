#!/usr/bin/env node
/**
 * The command, on whatever Node it is called with. The sources are TypeScript that Node runs by itself from 22.18 on;
 * an older one hands over to the Node that came with `npm ci`. Plain JavaScript, so that Node 20 can read it.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import module from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

keepCompiled();

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);

if (major > 22 || (major === 22 && minor >= 18)) await import('../main.ts');
else handOver();

/**
 * Keeps compiled sources in Centaur's own folder, once there is one: a command then starts in half the time. Never in
 * Node's default place, a folder below /tmp in which another user could leave code for us.
 */
function keepCompiled() {
  const home = process.env['CENTAUR_HOME'] || path.join(os.homedir(), '.centaur');
  if (existsSync(home)) module.enableCompileCache?.(path.join(home, 'cache'));
}

function handOver() {
  const here = path.dirname(fileURLToPath(import.meta.url));
  const node = findNode(here);
  if (node === undefined) {
    console.error(
      `centaur needs Node 22.18 or newer; this is ${process.versions.node}. Run "npm ci" in ${path.resolve(here, '../..')}, which brings one, or install a newer Node.`,
    );
    process.exit(1);
  }
  const child = spawn(node, [path.join(here, '../main.ts'), ...process.argv.slice(2)], { stdio: 'inherit' });
  // A terminal sends Ctrl-C to the child as well; passing it on would make it the second one, which means "at once"
  process.on('SIGINT', () => (process.stdin.isTTY ? undefined : child.kill('SIGINT')));
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    console.error(`centaur could not start ${node}: ${error.message}`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 1)));
}

/** The one of the npm package `node`, from here upwards. */
function findNode(from) {
  for (let folder = from; ; folder = path.dirname(folder)) {
    const node = path.join(folder, 'node_modules', 'node', 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
    if (existsSync(node)) return node;
    if (folder === path.dirname(folder)) return undefined;
  }
}
