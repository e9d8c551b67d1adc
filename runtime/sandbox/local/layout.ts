/** Where things are: for the holder on the host, and for whoever is inside. */
import fs from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** As a sandbox sees them. */
export const INSIDE = {
  home: '/home/agent',
  workspace: '/workspace',
  node: '/opt/centaur/bin/node',
  agent: '/opt/centaur/agent',
  sockets: '/opt/centaur/sockets',
  uid: 1000,
  path: '/opt/centaur/bin:/usr/local/bin:/usr/bin:/bin',
} as const;

/** Of the holder: nobody but its user may enter `root`, and it opens nothing below a box's home or workspace. */
export interface Folders {
  readonly root: string;
  readonly journals: string;
  /** What sandboxes must reach: the three below. */
  readonly inner: string;
  readonly boxes: string;
  readonly trash: string;
  readonly shared: string;
  readonly socket: string;
  readonly lock: string;
  readonly log: string;
}

export function foldersOf(stateDir: string): Folders {
  const root = join(stateDir, 'sandboxd');
  return {
    root,
    journals: join(root, 'journals'),
    ...insideOf(join(root, 'i')),
    socket: join(root, 'socket'),
    lock: join(root, 'lock'),
    log: join(root, 'log'),
  };
}

export function insideOf(inner: string): Pick<Folders, 'inner' | 'boxes' | 'trash' | 'shared'> {
  return { inner, boxes: join(inner, 'boxes'), trash: join(inner, 'trash'), shared: join(inner, 'shared') };
}

/** What every sandbox mounts: the agent as plain JavaScript, so that no start pays for the types, and an /etc that tells nothing. */
export function writeShared(shared: string): { readonly agent: string; readonly etc: string } {
  const agent = join(shared, 'agent');
  const etc = join(shared, 'etc');
  fs.rmSync(shared, { recursive: true, force: true });
  // read by sandboxes under their own user ids, through a descriptor that was opened for them
  for (const folder of [shared, agent, etc, join(etc, 'ssl'), join(etc, 'alternatives')]) {
    fs.mkdirSync(folder, { recursive: true, mode: 0o755 });
    fs.chmodSync(folder, 0o755);
  }
  put(join(agent, 'agent.cjs'), bundleAgent());
  const files: Readonly<Record<string, string>> = {
    passwd: `root:x:0:0:root:/:/usr/sbin/nologin\nagent:x:${INSIDE.uid}:${INSIDE.uid}:agent:${INSIDE.home}:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n`,
    group: `root:x:0:\nagent:x:${INSIDE.uid}:\nnogroup:x:65534:\n`,
    // the relays have a name too, by which programs can be told to leave one of them out of their proxy
    hosts: '127.0.0.1 localhost sandbox relay.internal\n::1 localhost\n',
    'nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
    // nobody answers there: names are resolved by the firewall
    'resolv.conf': 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n',
    hostname: 'sandbox\n',
    'ld.so.cache': '',
  };
  for (const [name, text] of Object.entries(files)) put(join(etc, name), text);
  return { agent, etc };
}

/**
 * The agent's modules as one script: loading several, or their types, would cost every start more than all of its work.
 * They use plain imports by name, and export functions, classes and constants where they are declared; else this throws.
 */
function bundleAgent(): string {
  const source = fileURLToPath(new URL('../agent/', import.meta.url));
  const modules = ['frames', 'files', 'tar', 'archive', 'agent'].map((name) => {
    const code = stripTypeScriptTypes(fs.readFileSync(join(source, `${name}.ts`), 'utf8'))
      .replaceAll(/^import (\{[^}]*\}|\w+) from '(node:[\w/]+)';/gm, "const $1 = require('$2');")
      .replaceAll(/^import (\{[^}]*\}) from '\.\/(\w+)\.ts';/gm, 'const $1 = load.$2();')
      .replaceAll(/import\('\.\/(\w+)\.ts'\)/g, 'Promise.resolve(load.$1())');
    const names = [...code.matchAll(/^export (?:async )?(?:function\*?|class|const) (\w+)/gm)].map((match) => match[1]);
    const body = code.replaceAll(/^export /gm, '');
    if (/^import /m.test(body) || names.includes(undefined)) throw new Error(`agent/${name}.ts has an import that cannot be bundled`);
    return `load.${name} = once(() => {\n${body}\nreturn { ${names.join(', ')} };\n});`;
  });
  const once = 'const load = {}; const once = (make) => { let made; return () => (made ??= make()); };';
  return `'use strict';\n${once}\n${modules.join('\n')}\nload.agent();\n`;
}

function put(path: string, text: string): void {
  fs.writeFileSync(path, text);
  fs.chmodSync(path, 0o644);
}
