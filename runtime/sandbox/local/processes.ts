/** Processes of the host as /proc shows them. Nothing in there is written by a sandbox but a process's name, which is not read. */
import fs from 'node:fs';

export interface HostProcess {
  readonly pid: number;
  readonly parent: number;
  /** Ticks since the machine started: with the pid, names one process for ever. */
  readonly started: number;
  /** Kilobytes that only this process uses. */
  readonly privateKb: number;
}

const PAGE_KB = 4;

export function readProcess(pid: number): HostProcess | undefined {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    // the name may hold spaces and brackets: fields are counted from its end
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
    const [, resident, shared] = fs.readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ').map(Number) as [number, number, number];
    return { pid, parent: Number(fields[1]), started: Number(fields[19]), privateKb: (resident - shared) * PAGE_KB };
  } catch {
    return undefined;
  }
}

export function listProcesses(): HostProcess[] {
  return fs.readdirSync('/proc').flatMap((name) => {
    const found = /^\d+$/.test(name) ? readProcess(Number(name)) : undefined;
    return found === undefined ? [] : [found];
  });
}

/** All that descend from a process. Inside a pid namespace nobody leaves the tree: orphans go to its first process. */
export function descendants(root: number, all: readonly HostProcess[]): HostProcess[] {
  const children = Map.groupBy(all, (each) => each.parent);
  const found: HostProcess[] = [];
  const visit = (pid: number): void => {
    for (const child of children.get(pid) ?? []) {
      found.push(child);
      visit(child.pid);
    }
  };
  visit(root);
  return found;
}

/** Ends a process, unless the pid is another's by now. */
export function killProcess(pid: number, started?: number): void {
  if (started !== undefined && readProcess(pid)?.started !== started) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it has ended already
  }
}
