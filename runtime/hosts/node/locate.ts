/** Where in a workflow file loading failed, and why, for the person who has to mend it. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import { positionAt } from './position.ts';
import type { Snapshot, Snapshots } from './snapshot.ts';

export interface Problem {
  readonly file: string;
  /** From 1. */
  readonly line?: number;
  /** From 1. */
  readonly column?: number;
  readonly message: string;
}

type Place = Omit<Problem, 'message'>;

const IS_DENO = 'Deno' in globalThis;

/** What is behind an error that an import of `file` threw. Node tells the place in a different way for each kind. */
export async function locate(error: unknown, file: string, snapshot: Snapshot, snapshots: Snapshots): Promise<Problem> {
  if (!(error instanceof Error)) return { file, message: `threw ${inspect(error)} while loading` };
  const failedImport = snapshots.blame(error);
  if (failedImport) {
    const { specifier } = failedImport;
    const source = snapshot.source(failedImport.file) ?? '';
    const at = [`'${specifier}'`, `"${specifier}"`].map((text) => source.indexOf(text)).find((index) => index >= 0);
    const place = at === undefined ? {} : positionAt(source, at);
    return { file: failedImport.file, ...place, message: unresolved(failedImport.error, specifier) };
  }
  const place =
    fromHeader(error.stack ?? '') ??
    fromFrames(error.stack ?? '', snapshot.graph(file)) ??
    (error instanceof SyntaxError && !IS_DENO ? await fromSyntaxCheck(file, snapshot) : undefined);
  return { file, ...place, message: describe(error) };
}

function describe(error: Error): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX':
      return `${error.message}: Node strips types and compiles nothing; write it without enum, namespace or parameter properties`;
    case 'ERR_UNSUPPORTED_NODE_MODULES_TYPE_STRIPPING':
      return 'Node runs no TypeScript from node_modules; keep workflow files outside of it, or ship them there as JavaScript';
    default:
      return IS_DENO ? withoutPlace(error) : `${error.name}: ${error.message}`;
  }
}

/** Deno ends its messages with the source and the place, and wraps a syntax error in another one. */
function withoutPlace({ name, message }: Error): string {
  const [said = ''] = message.split('\n', 1);
  const text = said.replace(/ at file:\/\/\S+$/, '');
  return text.startsWith('SyntaxError:') ? text : `${name}: ${text}`;
}

function unresolved(error: Error, specifier: string): string {
  if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') return describe(error);
  return specifier.startsWith('.')
    ? `cannot find '${specifier}'; an import names the file with its extension, such as './util.ts'`
    : `cannot find the package '${specifier}'; install it in this directory or in one above`;
}

/** Syntax errors: `file:///a.ts?query:3`, the line itself, and carets under the place. */
function fromHeader(stack: string): Place | undefined {
  const header = /^(file:\/\/[^\n]+?)(?:\?[^\n:]*)?:(\d+)\n/.exec(stack);
  if (!header?.[1]) return undefined;
  return { file: fileURLToPath(header[1]), line: Number(header[2]), ...caretColumn(stack) };
}

/** Anything thrown while the file runs: the first frame of the stack that is ours. */
function fromFrames(stack: string, graph: readonly string[]): Place | undefined {
  for (const [, url = '', line, column] of stack.matchAll(/(file:\/\/[^\s?]+)(?:\?\S*?)?:(\d+):(\d+)\)?$/gm)) {
    const file = fileURLToPath(url);
    if (graph.includes(file)) return { file, line: Number(line), column: Number(column) };
  }
  return undefined;
}

/**
 * Errors that V8 finds in a module carry no place at all (`let a; let a;`, and any syntax error in JavaScript). Node
 * prints it when such an error ends a process, so a process of its own compiles the files of the graph, one by one;
 * a broken file is rare enough for that.
 */
async function fromSyntaxCheck(entry: string, snapshot: Snapshot): Promise<Place | undefined> {
  for (const file of snapshot.graph(entry)) {
    const source = snapshot.source(file);
    if (source === undefined || file.endsWith('.json')) continue;
    const output = await compileElsewhere(source);
    const line = /^\[stdin\]:(\d+)\n/.exec(output)?.[1];
    if (line) return { file, line: Number(line), ...caretColumn(output) };
  }
  return undefined;
}

/** Stripping replaces types by blanks, so places stay where they are; JavaScript passes through it unchanged. */
const COMPILE = `
import { stripTypeScriptTypes } from 'node:module';
import { text } from 'node:stream/consumers';
import { SourceTextModule } from 'node:vm';
const source = await text(process.stdin);
let code = source;
try { code = stripTypeScriptTypes(source); } catch {}
new SourceTextModule(code, { identifier: '[stdin]' });
`;

function compileElsewhere(source: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const flags = ['--no-warnings', '--experimental-vm-modules', '--input-type=module', '--eval', COMPILE];
    const child = spawn(process.execPath, flags, { stdio: ['pipe', 'ignore', 'pipe'] });
    let output = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (output += text));
    child.on('error', reject).on('close', () => resolve(output));
    child.stdin.on('error', () => undefined).end(source);
  });
}

function caretColumn(text: string): { column: number } | undefined {
  const carets = /^( *)\^+$/m.exec(text);
  return carets ? { column: (carets[1]?.length ?? 0) + 1 } : undefined;
}
