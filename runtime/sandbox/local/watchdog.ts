/**
 * Limits that the kernel does not keep for us: disk always, memory and the number of processes where there are no control
 * groups. Polled, so a sandbox may be over for a moment; then what runs in it is ended, not the sandbox.
 */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import type { Commands } from './commands.ts';
import type { Log } from './log.ts';
import type { LiveSandbox } from './sandbox.ts';

const MEMORY_EVERY_MS = 250;
const DISK_EVERY_MS = 1000;
/** Of a sandbox in which no process of ours runs: only what it left in the background can write. */
const IDLE_EVERY = 15;
const DU_MS = 20_000;

interface Watched {
  readonly live: LiveSandbox;
  readonly commands: Commands;
}

export interface Watchdog {
  diskMb(live: LiveSandbox): Promise<number>;
  close(): void;
}

export function watch(options: { readonly list: () => readonly Watched[]; readonly enforcesMemory: boolean; readonly log: Log }): Watchdog {
  const timer = options.enforcesMemory ? undefined : setInterval(checkMemory, MEMORY_EVERY_MS);
  let round = 0;
  let closed = false;
  let disk = setTimeout(() => void checkDisk(), DISK_EVERY_MS);

  function checkMemory(): void {
    for (const { live, commands } of options.list()) {
      const { memoryMb, processes } = live.usage();
      const reason = memoryMb > live.limits.memoryMb ? 'memory' : processes > live.limits.processes ? 'limit' : undefined;
      if (reason === undefined) continue;
      options.log('warn', 'a sandbox is over its limits', { box: live.box.name, memoryMb: Math.round(memoryMb), processes });
      commands.kill(reason);
    }
  }

  async function checkDisk(): Promise<void> {
    const began = performance.now();
    round++;
    for (const { live, commands } of options.list()) {
      if (closed) return;
      if (round % IDLE_EVERY !== 0 && commands.running().length === 0 && !commands.busy()) continue;
      const used = await diskMb(live).catch(() => Number.POSITIVE_INFINITY);
      if (used <= live.limits.diskMb || closed) continue;
      options.log('warn', 'a sandbox is over its disk limit', { box: live.box.name, usedMb: used });
      commands.kill('limit');
    }
    // a sandbox with a million files slows the rounds down, not the machine
    disk = setTimeout(() => void checkDisk(), Math.max(DISK_EVERY_MS, 4 * (performance.now() - began)));
    disk.unref();
  }

  return {
    diskMb,
    close: () => {
      closed = true;
      clearInterval(timer);
      clearTimeout(disk);
    },
  };
}

/**
 * What home and workspace take. du opens no file and follows no link; as root it also sees into folders that were made
 * unreadable, and where it cannot, nobody can tell how much is in there: over the limit.
 */
function diskMb(live: LiveSandbox): Promise<number> {
  return new Promise((done, failed) => {
    const child = spawn('/usr/bin/du', ['-skx', '--', live.box.home, live.box.workspace], {
      env: { LC_ALL: 'C' },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: DU_MS,
      killSignal: 'SIGKILL',
    });
    let out = '';
    let refused = false;
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      refused ||= chunk.includes('Permission denied');
    });
    child.once('error', failed);
    child.once('close', () => {
      const sizes = [...out.matchAll(/^(\d+)\t/gm)].map((match) => Number(match[1]));
      if (refused || sizes.length < 2) failed(new Error('the disk use of a sandbox cannot be told'));
      else done(sizes.reduce((total, size) => total + size, 0) / 1024);
    });
  });
}

export function availableMemoryMb(): number {
  return Number(/^MemAvailable:\s+(\d+)/m.exec(fs.readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? 0) / 1024;
}
