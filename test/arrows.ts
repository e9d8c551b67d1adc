/**
 * `npm run arrows`: imports point one way. Reads every import of every source file and refuses those against the arrows
 * of the house (docs: architecture), npm packages that their importer does not declare, and files nobody can hold in mind.
 */
import { existsSync, globSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Which rooms a room may import, besides itself. The longest name that begins a file's path is its room. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  sdk: [],
  kernel: ['sdk', 'kernel'],
  'kernel/store': ['sdk'],
  'kernel/config': ['sdk'],
  'kernel/telemetry': [],
  'kernel/audit': ['sdk', 'kernel/store'],
  'kernel/policy': ['sdk', 'kernel/store', 'kernel/audit'],
  'kernel/usage': ['sdk', 'kernel/store', 'kernel/audit', 'kernel/policy'],
  'kernel/vault': ['sdk', 'kernel/store', 'kernel/audit', 'kernel/policy', 'kernel/telemetry'],
  // it reads rows of the engine, and calls none of it
  'kernel/journal': ['kernel/store', 'kernel/audit'],
  // its own process with few dependencies: not even the SDK
  'kernel/firewall': ['kernel/store', 'kernel/audit', 'kernel/policy', 'kernel/usage', 'kernel/telemetry', 'kernel/vault'],
  'kernel/engine': ['sdk', 'kernel/store', 'kernel/telemetry'],
  'kernel/threads': [
    'sdk',
    'kernel/store',
    'kernel/engine',
    'kernel/audit',
    'kernel/policy',
    'kernel/usage',
    'kernel/telemetry',
    'kernel/vault',
  ],
  'kernel/webhooks': ['sdk', 'kernel/store', 'kernel/engine', 'kernel/vault'],
  'kernel/tools': ['sdk', 'kernel/store', 'kernel/audit', 'kernel/policy', 'kernel/usage', 'kernel/telemetry', 'kernel/vault'],
  'kernel/traces': ['kernel/store', 'kernel/telemetry'],
  'kernel/backup': ['kernel/store', 'kernel/audit', 'kernel/vault'],
  // each room deletes its own: this calls on all of them
  'kernel/care': [
    'kernel/store',
    'kernel/config',
    'kernel/audit',
    'kernel/vault',
    'kernel/engine',
    'kernel/tools',
    'kernel/users',
    'kernel/webhooks',
  ],
  // it asks providers by the firewall's way out, and under its rules
  'kernel/oauth': ['kernel/store', 'kernel/audit', 'kernel/vault', 'kernel/firewall'],
  // what makes a new value at a service, under the same rules
  'kernel/rotation': ['kernel/store', 'kernel/audit', 'kernel/vault', 'kernel/firewall'],
  'kernel/users': ['kernel/store', 'kernel/audit'],
  'kernel/chats': ['sdk', 'kernel/store', 'kernel/audit', 'kernel/policy', 'kernel/users'],
  'kernel/oidc': ['kernel/store', 'kernel/users', 'kernel/vault', 'kernel/firewall'],
  'kernel/api': [
    'sdk',
    'kernel/store',
    'kernel/config',
    'kernel/engine',
    'kernel/threads',
    'kernel/audit',
    'kernel/journal',
    'kernel/policy',
    'kernel/usage',
    'kernel/telemetry',
    'kernel/vault',
    'kernel/webhooks',
    'kernel/tools',
    'kernel/traces',
    'kernel/oauth',
    'kernel/users',
    'kernel/oidc',
    'kernel/chats',
    'kernel/care',
  ],
  runtime: ['sdk', 'kernel'],
  userspace: ['sdk'],
  ingress: ['sdk', 'kernel', 'runtime'],
  // clients of the public API: what they need of the kernel, they ask for as anyone does
  'ingress/chat': ['sdk'],
  'ingress/slack': ['sdk', 'ingress/chat'],
  'ingress/github': ['sdk', 'ingress/chat'],
  console: ['sdk', 'kernel', 'runtime'],
  cli: ['sdk', 'kernel', 'runtime', 'ingress'],
  examples: ['sdk', 'kernel', 'runtime', 'ingress', 'cli', 'console', 'userspace', 'test'],
  docs: ['sdk', 'kernel', 'runtime', 'cli'],
  bench: ['sdk', 'kernel', 'runtime', 'ingress', 'cli', 'console', 'userspace', 'test', 'examples'],
  test: ['sdk', 'kernel', 'runtime', 'ingress', 'cli', 'console', 'userspace', 'examples', 'bench', 'docs'],
};

const LONGEST_FILE = 700;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const problems = checkArrows(fileURLToPath(new URL('..', import.meta.url)));
  for (const problem of problems) console.error(problem);
  console.log(problems.length === 0 ? 'all imports point the right way' : `${problems.length} problems`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}

/** One line per problem, `file:line: what is wrong`. */
export function checkArrows(root: string): string[] {
  const packages = readPackages(root);
  return sourceFiles(root).flatMap((file) => {
    const text = readFileSync(join(root, file), 'utf8');
    const problems = findImports(text).flatMap(({ specifier, line }) => {
      const why = judge(file, specifier, packages);
      return why === undefined ? [] : [`${file}:${line}: ${why}`];
    });
    const lines = text.split('\n').length - 1;
    if (lines > LONGEST_FILE) problems.push(`${file}:${LONGEST_FILE}: ${lines} lines; a file that long is two`);
    return problems;
  });
}

function sourceFiles(root: string): string[] {
  return globSync('**/*.{ts,mts,js,mjs}', {
    cwd: root,
    exclude: (path) => /(^|\/)(node_modules|\.git)$|^bench\/(peers|results)$/.test(path),
  })
    .map((file) => file.replaceAll('\\', '/'))
    .sort();
}

function judge(file: string, specifier: string, packages: Packages): string | undefined {
  if (specifier.startsWith('.')) {
    const target = posix.join(posix.dirname(file), specifier);
    if (target.startsWith('..')) return `${specifier} is outside the project`;
    return judgeArrow(file, target) ?? judgeCrossing(file, target, packages);
  }
  if (specifier.startsWith('node:')) return undefined;
  if (isBuiltin(specifier)) return `write node:${specifier}`;
  if (/^[a-z]+:|^\//.test(specifier)) return `${specifier} is neither a file here nor a package`;
  return judgePackage(file, specifier, packages);
}

function judgeArrow(file: string, target: string): string | undefined {
  const from = roomOf(file);
  const to = roomOf(target);
  if (from === undefined) return `no arrow is drawn for ${file.split('/')[0]}: add it to test/arrows.ts`;
  if (to === undefined) return `${target} is in no room of the house`;
  if (isSharedByTests(target) && !isTest(file)) return `${target} is for tests only`;
  if (from === to || ARROWS[from]?.some((room) => isWithin(to, room))) return undefined;
  if (isTest(file) && isWithin(target, 'test/support')) return undefined;
  return `${from} must not import ${to} (${target})`;
}

/** A path into another package needs the declaration as much as its name does. */
function judgeCrossing(file: string, target: string, packages: Packages): string | undefined {
  const from = packages.owner(file);
  const to = packages.owner(target);
  if (from === undefined || to === undefined || from === to || isTest(file) || from.dependencies.has(to.name)) return undefined;
  return `${target} belongs to ${to.name}, which is not declared in ${from.folder}/package.json`;
}

function judgePackage(file: string, specifier: string, packages: Packages): string | undefined {
  const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
  const owner = packages.owner(file);
  // test/, bench/ and examples/ have no package of their own: whatever any of ours declares
  const declared = owner?.dependencies.has(name) ?? packages.all.some((each) => each.dependencies.has(name));
  const ours = packages.all.find((each) => each.name === name);
  if (ours === owner && ours !== undefined) return `${specifier} is this package itself: import the file`;
  if (!declared && !(isTest(file) && packages.root.dependencies.has(name))) {
    return `${name} is not declared in ${owner === undefined ? 'any package.json' : `${owner.folder}/package.json`}`;
  }
  if (ours === undefined) return undefined;
  const target = ours.exports[specifier === name ? '.' : `.${specifier.slice(name.length)}`];
  if (typeof target !== 'string') return `${specifier} is not exported by ${ours.folder}/package.json`;
  return judgeArrow(file, posix.join(ours.folder, target));
}

function roomOf(path: string): string | undefined {
  return Object.keys(ARROWS)
    .filter((room) => isWithin(path, room))
    .sort((a, b) => b.length - a.length)[0];
}

function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}

/** A test, or a room's `testing.ts`: what its tests share. */
function isTest(file: string): boolean {
  return /\.test\.m?[jt]s$/.test(file) || isSharedByTests(file);
}

function isSharedByTests(path: string): boolean {
  return path.endsWith('/testing.ts');
}

interface Package {
  readonly folder: string;
  readonly name: string;
  readonly dependencies: ReadonlySet<string>;
  readonly exports: Readonly<Record<string, string>>;
}

interface Packages {
  readonly root: Package;
  readonly all: readonly Package[];
  owner(file: string): Package | undefined;
}

function readPackages(root: string): Packages {
  const read = (folder: string): Package => {
    const json = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) as Record<string, Record<string, string>> & {
      name: string;
    };
    const dependencies = ['dependencies', 'devDependencies', 'optionalDependencies', 'peerDependencies'].flatMap((kind) =>
      Object.keys(json[kind] ?? {}),
    );
    return { folder, name: json.name, dependencies: new Set(dependencies), exports: json.exports ?? {} };
  };
  const top = read('.');
  const inner = Object.keys(ARROWS).filter((room) => existsSync(join(root, room, 'package.json')));
  const workspaces = inner.map(read);
  return { root: top, all: [top, ...workspaces], owner: (file) => workspaces.find((each) => isWithin(dirname(file), each.folder)) };
}

/** `import … from 'x'`, `export … from 'x'`, `import 'x'`, `import('x')` and `require('x')`, in code and in types. */
export function findImports(text: string): { specifier: string; line: number }[] {
  const code = blankExamples(text);
  const patterns = [
    /(?:^|[;}\n])\s*(?:import|export)\b[^'"`;=()]*?\bfrom\s*(['"])([^'"\n]+)\1/g,
    /(?:^|[;}\n])\s*import\s*(['"])([^'"\n]+)\1/g,
    /\b(?:import|require)\s*\(\s*(['"`])([^'"`\n$]+)\1/g,
  ];
  return patterns
    .flatMap((pattern) =>
      [...code.matchAll(pattern)].map((match) => {
        const at = match.index + match[0].length;
        return { specifier: match[2] as string, line: code.slice(0, at).split('\n').length };
      }),
    )
    .sort((a, b) => a.line - b.line);
}

/** Comments, and strings that hold code, become spaces: an example is no import. Other strings stay, and hide the slashes within. */
function blankExamples(text: string): string {
  const token = /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|\/\/[^\n]*|\/\*[\s\S]*?\*\//g;
  return text.replace(token, (part) => (/^\/|\b(import|export|require)\b[^]*['"`(]/.test(part) ? part.replace(/[^\n]/g, ' ') : part));
}
