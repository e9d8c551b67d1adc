/**
 * The `git` program, as it is used for repositories that nobody here has read: it fetches one commit into a repository made for that, and
 * tells what is in it. It never writes files of a tree, so no hook, filter, attribute or submodule of a repository has a say; it knows no
 * configuration but what stands here, asks nobody, and speaks the one protocol of the address.
 */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

export interface GitLimits {
  /** For one command. */
  readonly timeMs: number;
  /** What may be fetched. */
  readonly fetchedBytes: number;
  /** Files of an overlay. */
  readonly files: number;
  /** Their sizes, together. */
  readonly bytes: number;
}

export const LIMITS: GitLimits = { timeMs: 60_000, fetchedBytes: 512 * 1024 * 1024, files: 10_000, bytes: 128 * 1024 * 1024 };

export class OverlayError extends Error {
  /** `unreachable`: the same may be well later. */
  readonly code: 'unreachable' | 'refused';
  constructor(code: OverlayError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'OverlayError';
    this.code = code;
  }
}

export interface TreeEntry {
  /** Relative to the folder that was asked for. */
  readonly path: string;
  readonly mode: '100644' | '100755' | '120000';
  readonly object: string;
  readonly size: number;
}

const COMMIT = /^[0-9a-f]{40}(?:[0-9a-f]{24})?$/;
/** The longest path that a file system takes, with what stands before it. */
const PATH_MOST = 1024;
const SIZE_LOOK_MS = 250;

/** Fetches a ref, or a commit of it, without its history. @returns the commit */
export async function fetchCommit(
  repository: string,
  { url, ref, commit }: { readonly url: string; readonly ref: string; readonly commit?: string | undefined },
  limits: GitLimits,
): Promise<string> {
  await run(['init', '--quiet', '--bare', '--template=', repository], limits);
  const fetch = (what: string, ...depth: readonly string[]) =>
    run(
      [
        '-C',
        repository,
        'fetch',
        '--quiet',
        ...depth,
        '--no-tags',
        '--no-recurse-submodules',
        '--no-auto-maintenance',
        '--end-of-options',
        url,
        `+${what}:refs/centaur/fetched`,
      ],
      limits,
      { url, watched: path.join(repository, 'objects') },
    );
  const wanted = commit ?? ref;
  try {
    await fetch(wanted, '--depth=1');
  } catch (error) {
    // a server that gives no single commits has to give all that leads to the ref
    if (!(commit !== undefined && COMMIT.test(commit)) || (error as OverlayError).code === 'refused') throw error;
    await fetch(ref);
  }
  const name = commit ?? 'refs/centaur/fetched';
  const found = await run(['-C', repository, 'rev-parse', '--quiet', '--verify', `${name}^{commit}`], limits).catch(() => '');
  const id = found.toString().trim();
  if (!COMMIT.test(id))
    throw new OverlayError(
      'refused',
      commit === undefined ? `${ref} is no commit there` : `${commit} is not there, or not a part of ${ref}`,
    );
  return id;
}

/** @throws OverlayError when there is something in it that could mean harm, or too much */
export async function listTree(repository: string, commit: string, dir: string, limits: GitLimits): Promise<readonly TreeEntry[]> {
  const tree = dir === '' ? `${commit}^{tree}` : `${commit}:${dir}`;
  const type = await run(['-C', repository, 'cat-file', '-t', tree], limits).catch(() => '');
  if (type.toString().trim() !== 'tree') throw new OverlayError('refused', `there is no folder ${dir} in it`);
  // a tree may name itself many times over: what it comes to is known when it has been counted
  const most = Math.max(64 * 1024, limits.files * 200);
  const listed = await run(['-C', repository, 'ls-tree', '-r', '-z', '-l', '--full-tree', tree], limits, { most });
  const text = listed.toString();
  const entries: TreeEntry[] = [];
  let bytes = 0;
  for (const line of text.split('\0').filter(Boolean)) {
    const [, mode = '', kind = '', object = '', size = '', name = ''] =
      /^(\d{6}) (\w+) ([0-9a-f]{40,64}) +(\d+|-)\t([^]*)$/.exec(line) ?? [];
    // a submodule: what it names is not fetched
    if (kind === 'commit') continue;
    const wrong = pathProblem(name);
    if (wrong !== undefined) throw new OverlayError('refused', `${JSON.stringify(name.slice(0, 200))}: ${wrong}`);
    if (kind !== 'blob' || (mode !== '100644' && mode !== '100755' && mode !== '120000'))
      throw new OverlayError('refused', `${JSON.stringify(name)}: it is neither a file nor a link`);
    bytes += Number(size);
    entries.push({ path: name, mode, object, size: Number(size) });
    if (entries.length > limits.files || bytes > limits.bytes) throw tooMuch(limits);
  }
  return entries.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** The contents of these objects, by their ids. */
export async function readObjects(
  repository: string,
  entries: readonly TreeEntry[],
  limits: GitLimits,
): Promise<ReadonlyMap<string, Buffer>> {
  const wanted = [...new Map(entries.map((each) => [each.object, each.size])).entries()];
  const most = wanted.reduce((sum, [, size]) => sum + size + 100, 0);
  const output = await run(['-C', repository, 'cat-file', '--batch'], limits, { most, stdin: wanted.map(([id]) => `${id}\n`).join('') });
  const objects = new Map<string, Buffer>();
  let at = 0;
  for (const [id, size] of wanted) {
    const end = output.indexOf(10, at);
    const header = output.subarray(at, end).toString();
    if (end < 0 || header !== `${id} blob ${size}`)
      throw new OverlayError('refused', `an object of it cannot be read: ${header.slice(0, 100)}`);
    objects.set(id, output.subarray(end + 1, end + 1 + size));
    at = end + 1 + size + 1;
  }
  return objects;
}

function pathProblem(name: string): string | undefined {
  if (name === '' || name.length > PATH_MOST) return `its path is longer than ${PATH_MOST}`;
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  if (/[\u0000-\u001f\u007f\\\ufffd]/.test(name))
    return 'its name has a control character, a backslash or something that is no UTF-8 in it';
  for (const part of name.split('/')) {
    if (part === '' || part === '.' || part === '..') return 'its path leads elsewhere';
    if (part.startsWith('-')) return 'its name begins with "-", which programs take for an option';
    // also as some file systems read it
    if (/^\.git$/i.test(part.replace(/[\u200c-\u200f\u202a-\u202e\u2060-\u206f\ufeff]/g, '')) || /^git~\d/i.test(part))
      return 'it would be a repository inside of it';
  }
  return undefined;
}

function tooMuch({ files, bytes }: GitLimits): OverlayError {
  return new OverlayError(
    'refused',
    `it has more than ${files} files or ${Math.floor(bytes / 2 ** 20)} MiB: keep in it what overlays are made of`,
  );
}

interface RunOptions {
  readonly url?: string;
  readonly stdin?: string;
  /** Bytes of output. */
  readonly most?: number;
  /** A folder that may not become larger than what may be fetched. */
  readonly watched?: string;
}

const SETTINGS = [
  'core.hooksPath=/dev/null',
  'core.attributesFile=/dev/null',
  'core.fsmonitor=false',
  'core.askPass=',
  'credential.helper=',
  'submodule.recurse=false',
  'fetch.recurseSubmodules=false',
  'fetch.fsckObjects=true',
  // in one file, whose size can be seen
  'fetch.unpackLimit=1',
  'fetch.writeCommitGraph=false',
  'gc.auto=0',
  'maintenance.auto=false',
  'http.followRedirects=initial',
  'http.lowSpeedLimit=1000',
  'http.lowSpeedTime=30',
].flatMap((setting) => ['-c', setting]);

/** Proxies and authorities are of the machine, and no configuration of a user's Git. */
const PASSED = [
  'PATH',
  'SSH_AUTH_SOCK',
  'HTTPS_PROXY',
  'https_proxy',
  'NO_PROXY',
  'no_proxy',
  'ALL_PROXY',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'GIT_SSL_CAINFO',
];

function environmentFor(url: string | undefined): Record<string, string> {
  const passed = PASSED.flatMap((name): [string, string][] => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value]];
  });
  const protocol = url === undefined ? 'none' : (/^(https|file):/.exec(url)?.[1] ?? 'ssh');
  return {
    ...Object.fromEntries(passed),
    LC_ALL: 'C',
    HOME: '/nonexistent',
    XDG_CONFIG_HOME: '/nonexistent',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_SYSTEM: '/dev/null',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_ATTR_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ASKPASS: '',
    SSH_ASKPASS: '',
    GIT_OPTIONAL_LOCKS: '0',
    GIT_NO_REPLACE_OBJECTS: '1',
    GIT_NO_LAZY_FETCH: '1',
    // an object says itself how large it is
    GIT_ALLOC_LIMIT: '1g',
    GIT_ALLOW_PROTOCOL: protocol,
    GIT_PROTOCOL_FROM_USER: '0',
    GIT_SSH_VARIANT: 'ssh',
    GIT_SSH_COMMAND:
      'ssh -oBatchMode=yes -oStrictHostKeyChecking=yes -oConnectTimeout=15 -oClearAllForwardings=yes -oPermitLocalCommand=no -oForwardAgent=no',
  };
}

/** @returns what it wrote to stdout */
function run(args: readonly string[], limits: GitLimits, { url, stdin, most = 1024 * 1024, watched }: RunOptions = {}): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    // a group of its own: what it has started ends with it
    const child = spawn('git', [...SETTINGS, ...args], {
      env: environmentFor(url),
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
      cwd: '/',
    });
    const output: Buffer[] = [];
    let written = 0;
    let complaint = '';
    let stopped: OverlayError | undefined;
    const stop = (why: OverlayError): void => {
      stopped ??= why;
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // it has ended
      }
    };
    // what takes long with all of it here will take long again
    const late = url === undefined ? 'refused' : 'unreachable';
    const timer = setTimeout(
      () => stop(new OverlayError(late, `git ${verbOf(args)} took longer than ${Math.round(limits.timeMs / 1000)} s`)),
      limits.timeMs,
    );
    const look =
      watched === undefined
        ? undefined
        : setInterval(() => {
            if (sizeOf(watched) > limits.fetchedBytes)
              stop(new OverlayError('refused', `more than ${Math.floor(limits.fetchedBytes / 2 ** 20)} MiB would have to be fetched`));
          }, SIZE_LOOK_MS);
    child.stdout.on('data', (data: Buffer) => {
      written += data.length;
      if (written > most) stop(tooMuch(limits));
      else output.push(data);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint = (complaint + text).slice(-4000)));
    // one that ends early reads no further; its exit code tells
    child.stdin.on('error', () => {});
    child.stdin.end(stdin ?? '');
    const ended = (): void => {
      clearTimeout(timer);
      clearInterval(look);
    };
    child.on('error', (error: NodeJS.ErrnoException) => {
      ended();
      const why = error.code === 'ENOENT' ? 'the program git is not installed here' : error.message;
      reject(new OverlayError('unreachable', why, { cause: error }));
    });
    child.on('close', (code) => {
      ended();
      if (stopped === undefined && watched !== undefined && sizeOf(watched) > limits.fetchedBytes)
        stopped = new OverlayError('refused', `more than ${Math.floor(limits.fetchedBytes / 2 ** 20)} MiB had to be fetched`);
      if (stopped !== undefined) reject(stopped);
      else if (code !== 0)
        reject(new OverlayError('unreachable', `git ${verbOf(args)}: ${lastWords(complaint) || `it ended with ${code}`}`));
      else resolve(Buffer.concat(output));
    });
  });
}

const verbOf = (args: readonly string[]): string => (args[0] === '-C' ? args[2] : args[0]) ?? '';

function lastWords(complaint: string): string {
  const lines = complaint
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean);
  return (
    lines
      .filter((line) => /^(?:fatal|error|ERROR|remote):/.test(line))
      .slice(-2)
      .join('; ') ||
    (lines.at(-1) ?? '')
  );
}

function sizeOf(folder: string): number {
  let bytes = 0;
  const pack = path.join(folder, 'pack');
  for (const place of [folder, pack])
    for (const name of namesIn(place)) bytes += fs.lstatSync(path.join(place, name), { throwIfNoEntry: false })?.size ?? 0;
  return bytes;
}

function namesIn(folder: string): readonly string[] {
  try {
    return fs.readdirSync(folder);
  } catch {
    return [];
  }
}
