/** Where the processes of an installation are connected to, and where they listen, by the kernel's own tables. Linux alone has them. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { isIPv4 } from 'node:net';

export interface Watch {
  /** Stops, and says what was seen beyond this machine: `program -> address`, or `program <- address` of one that listens there. */
  stop(): { readonly beyond: readonly string[]; readonly programs: ReadonlySet<string>; readonly sockets: number };
}

const LOOK_MS = 100;
/** Between two looks as many times as long as one took: whoever looks has other things to do, and a look is long where much else runs. */
const SHARE = 9;
const LISTENING = '0A';

/** @param folders processes that have one of them in their command line or environment are watched, with all that they started */
export function watchConnections(folders: readonly string[]): Watch {
  const beyond = new Set<string>();
  const programs = new Set<string>();
  const sockets = new Set<string>();
  const look = () => {
    // the tables are those of a network, which most processes share
    const networks = new Map<string, ReadonlyMap<string, Socket>>();
    for (const { pid, program } of processesOf(folders)) {
      programs.add(program);
      const network = link(`/proc/${pid}/ns/net`);
      const known = networks.get(network) ?? socketsOf(pid);
      // one that has just ended has empty tables, whatever its network has
      if (known.size > 0) networks.set(network, known);
      for (const inode of inodesOf(pid)) {
        const socket = known.get(inode);
        if (socket === undefined) continue;
        sockets.add(inode);
        const { arrow, address } = socket;
        if (!isOfThisMachine(address, arrow === '->')) beyond.add(`${program} ${arrow} ${address}`);
      }
    }
  };
  let timer: NodeJS.Timeout;
  const lookOn = () => {
    const began = performance.now();
    look();
    timer = setTimeout(lookOn, Math.max(LOOK_MS, SHARE * (performance.now() - began))).unref();
  };
  lookOn();
  return {
    stop() {
      clearTimeout(timer);
      look();
      return { beyond: [...beyond], programs, sockets: sockets.size };
    },
  };
}

function processesOf(folders: readonly string[]): { readonly pid: string; readonly program: string }[] {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .map((pid) => {
      // its name is in parentheses and may have anything in it
      const [, parent = ''] = /\) \S (\d+)/.exec(read(`/proc/${pid}/stat`)) ?? [];
      const command = read(`/proc/${pid}/cmdline`);
      const isNamed = folders.some((folder) => `${command}${read(`/proc/${pid}/environ`)}`.includes(folder));
      return { pid, parent, program: nameOf(command), isNamed };
    });
  const mine = new Set(all.filter(({ isNamed }) => isNamed).map(({ pid }) => pid));
  for (let grew = true; grew;) {
    const found = all.filter(({ pid, parent }) => mine.has(parent) && !mine.has(pid));
    for (const { pid } of found) mine.add(pid);
    grew = found.length > 0;
  }
  return all.filter(({ pid }) => mine.has(pid));
}

/** `centaur.js up`, `postgres`, `sandboxd.ts`. */
function nameOf(command: string): string {
  const words = command.split('\0').map((word) => word.split('/').at(-1) ?? '');
  const script = words.find((word) => /\.(js|ts|mjs|py)$/.test(word));
  return script === undefined
    ? ((words[0] ?? '').split(/[ :]/)[0] ?? '')
    : script === 'centaur.js'
      ? `centaur ${words[words.indexOf(script) + 1]}`
      : script;
}

function inodesOf(pid: string): ReadonlySet<string> {
  try {
    const files = readdirSync(`/proc/${pid}/fd`).map((file) => link(`/proc/${pid}/fd/${file}`));
    return new Set(files.flatMap((each) => /^socket:\[(\d+)\]$/.exec(each)?.[1] ?? []));
  } catch {
    // it has ended meanwhile
    return new Set();
  }
}

interface Socket {
  readonly arrow: '<-' | '->';
  readonly address: string;
}

/** Of the network of a process, by inode. */
function socketsOf(pid: string): ReadonlyMap<string, Socket> {
  const found = new Map<string, Socket>();
  for (const table of ['tcp', 'tcp6', 'udp', 'udp6'])
    for (const socket of read(`/proc/${pid}/net/${table}`).split('\n').slice(1)) {
      const [, local = '', remote = '', state, , , , , , inode = ''] = socket.trim().split(/\s+/);
      const isListening = table.startsWith('tcp') && state === LISTENING;
      found.set(inode, isListening ? { arrow: '<-', address: addressOf(local) } : { arrow: '->', address: addressOf(remote) });
    }
  return found;
}

/** Words of four bytes, each with its lowest byte first. */
function addressOf(end: string): string {
  const bytes = (end.split(':')[0] ?? '').match(/.{8}/g)?.flatMap((word) => (word.match(/../g) ?? []).toReversed()) ?? [];
  const numbers = bytes.map((byte) => Number.parseInt(byte, 16));
  const isMapped = bytes.length === 16 && bytes.slice(0, 12).join('') === '00000000000000000000ffff'.toUpperCase();
  return bytes.length === 4 || isMapped ? numbers.slice(-4).join('.') : bytes.join('').replaceAll(/(.{4})(?=.)/g, '$1:');
}

/** @param mayBeNone a socket that is not connected has no address yet; one that listens everywhere has the same */
function isOfThisMachine(address: string, mayBeNone: boolean): boolean {
  if (/^[0.:]+$/.test(address)) return mayBeNone;
  return isIPv4(address) ? address.startsWith('127.') : /^[0:]+1$/.test(address);
}

function read(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}

function link(file: string): string {
  try {
    return readlinkSync(file);
  } catch {
    return '';
  }
}
