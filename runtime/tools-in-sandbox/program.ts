/**
 * centaur-tools: the platform's tools as commands, which plain Node runs inside a sandbox, where it is one file.
 *
 *   centaur-tools list [--json]                    what there is
 *   centaur-tools help TOOL [METHOD]               how it is called; also: centaur-tools TOOL [METHOD] --help
 *   centaur-tools call TOOL METHOD [JSON | - | --key value …]
 *   centaur-tools TOOL METHOD …                    the same, for whatever is not named as one of these commands
 *   centaur-tools refresh [TOOL …]                 makes a command of each tool; with names, of these, without asking anybody
 *
 * The commands are small scripts in `bin` beside this file, which is the last folder of PATH: a tool never takes the name of a
 * program that is there. CENTAUR_API_URL and CENTAUR_API_KEY say where the platform is and who asks. It is asked directly, whatever
 * the surroundings say about proxies. Exit codes: 0 done; 1 the tool failed; 2 called wrongly; 3 denied, waiting for an approval, or
 * not reachable.
 */
import { accessSync, constants, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { parseFlags, parseObject, resolve, shapeOf } from './flags.ts';
import { type JsonObject, list, object, words } from './json.ts';
import { ask, methodOf, type MethodSummary, readTool, readTools, toRefusal, type ToolSummary } from './platform.ts';
import { FAILED, Refusal, USAGE } from './refusal.ts';

/** Second line of a script that this program has made. */
const MARK = '# made by centaur-tools; it is removed when the tool is';
const OWN_NAME = 'centaur-tools';
const COMMANDS = new Set(['list', 'help', 'call', 'refresh']);
/** A shell takes these for itself, whatever is on PATH. */
const SHELL_WORDS = new Set(
  (
    'alias bg bind break builtin caller case cd command compgen complete continue coproc declare dirs disown do done elif else enable ' +
    'esac eval exec exit export fc fg fi for function getopts hash help history if in jobs let local logout mapfile popd pushd read ' +
    'readarray readonly return select set shift shopt source suspend then time times trap type typeset ulimit umask unalias unset until ' +
    'wait while'
  ).split(' '),
);

async function main(given: readonly string[]): Promise<void> {
  const [command = '--help', ...rest] = given;
  switch (command) {
    case 'list':
      return listTools(rest);
    case 'refresh':
      return refreshCommands(rest);
    case 'call':
      return runTool(rest);
    case 'help':
    case '--help':
    case '-h':
      return rest.length === 0 ? print(USAGE_TEXT) : runTool([...rest.slice(0, 2), '--help']);
    default:
      if (command.startsWith('-')) throw new Refusal(USAGE, `There is no ${command} here.\n${USAGE_TEXT}`);
      return runTool(given);
  }
}

const USAGE_TEXT = `Calls the tools of the platform.

  centaur-tools list [--json]
  centaur-tools help TOOL [METHOD]
  centaur-tools call TOOL METHOD [JSON | - | --key value ...]
  centaur-tools refresh
  TOOL METHOD [JSON | - | --key value ...]

Exit codes: 0 done; 1 the tool failed; 2 called wrongly; 3 denied, waiting for an approval, or not reachable.`;

async function listTools(given: readonly string[]): Promise<void> {
  const [option] = given;
  if (option !== undefined && option !== '--json') throw new Refusal(USAGE, `list knows --json alone, not ${option}`);
  const tools = await readTools();
  const written = writeCommands(tools.map(({ name }) => name));
  if (option === '--json') {
    return print(
      JSON.stringify(
        tools.map(({ methods, ...tool }) => ({ ...tool, command: written.has(tool.name), methods: methods.map(({ name }) => name) })),
      ),
    );
  }
  if (tools.length === 0) return print('There are no tools.');
  const width = Math.max(...tools.map(({ name }) => name.length));
  for (const { name, description, missing_secrets } of tools) {
    const notes = [
      ...(written.has(name) ? [] : [`as: ${OWN_NAME} ${COMMANDS.has(name) ? 'call ' : ''}${name}`]),
      ...(missing_secrets.length === 0 ? [] : [`not ready: ${missing_secrets.join(', ')} is missing`]),
    ];
    print(`${name.padEnd(width)}  ${firstLine(description)}${notes.length === 0 ? '' : ` (${notes.join('; ')})`}`);
  }
  print(`\nMore about one: ${OWN_NAME} help TOOL [METHOD]`);
}

async function refreshCommands(names: readonly string[]): Promise<void> {
  const all = names.length > 0 ? names : (await readTools()).map(({ name }) => name);
  const written = writeCommands(all);
  if (names.length === 0) print(`${written.size} of ${all.length} tools are commands.`);
}

async function runTool([tool, method, ...given]: readonly string[]): Promise<void> {
  if (tool === undefined) throw new Refusal(USAGE, `Which tool? ${OWN_NAME} list shows them.`);
  if (method === undefined || isHelp(method)) return print(describeTool(await readTool(tool)));
  if (given.some(isHelp)) return print(describeMethod(tool, methodOf(await readTool(tool), method)));
  const args = await readArguments(tool, method, given);
  const { status, body } = await ask('POST', `/api/tools/${encodeURIComponent(tool)}/${encodeURIComponent(method)}`, args);
  if (status !== 200) throw toRefusal(status, body, `${tool} ${method}`);
  const { result, edited } = object(body);
  // not among what a pipe reads, and yet said: the result is not that of what was asked for
  if (edited !== undefined) {
    const { by, changed } = object(edited);
    process.stderr.write(`${String(by)} approved this call with other arguments: ${JSON.stringify(changed)}\n`);
  }
  print(typeof result === 'string' ? result : JSON.stringify(result ?? null));
}

function isHelp(word: string): boolean {
  return word === '--help' || word === '-h';
}

async function readArguments(tool: string, method: string, given: readonly string[]): Promise<JsonObject> {
  const [first, ...more] = given;
  if (first === '-' || first?.startsWith('{') === true) {
    if (more.length > 0) throw new Refusal(USAGE, `nothing can follow the JSON: ${more[0]}`);
    return parseObject(first === '-' ? await readAll(process.stdin) : first, first === '-' ? 'the standard input' : 'the argument');
  }
  return parseFlags(methodOf(await readTool(tool), method).input, given);
}

// Help

function describeTool({ name, description, methods, missing_secrets }: ToolSummary): string {
  const width = Math.max(0, ...methods.map((method) => method.name.length));
  return [
    `${name}: ${description}`,
    '',
    ...methods.map((method) => `  ${method.name.padEnd(width)}  ${firstLine(method.description)} [${method.risk}]`),
    '',
    ...(missing_secrets.length === 0 ? [] : [`It is not ready: ${missing_secrets.join(', ')} is missing.`, '']),
    `Arguments of a method: ${OWN_NAME} help ${name} METHOD`,
  ].join('\n');
}

function describeMethod(tool: string, { name, description, risk, input }: MethodSummary): string {
  const required = new Set(list(input.required).map((each) => words(each)));
  const properties = Object.entries(object(input.properties));
  const usage = properties.filter(([flag]) => required.has(flag)).map(([flag, property]) => ` --${flag} ${shapeOf(input, property)}`);
  const width = Math.max(0, ...properties.map(([flag, property]) => `${flag} ${shapeOf(input, property)}`.length));
  return [
    `${tool} ${name}: ${description} [${risk}]`,
    '',
    `  ${OWN_NAME} call ${tool} ${name}${usage.join('')}${properties.length > usage.length ? ' [--key value ...]' : ''}`,
    '',
    ...properties.map(([flag, property]) => {
      const { description: about, default: otherwise } = resolve(input, property);
      const notes = [
        ...(typeof about === 'string' ? [firstLine(about)] : []),
        ...(required.has(flag) ? ['required'] : []),
        ...(otherwise === undefined ? [] : [`default ${JSON.stringify(otherwise)}`]),
      ];
      return `  --${`${flag} ${shapeOf(input, property)}`.padEnd(width)}  ${notes.join('; ')}`.trimEnd();
    }),
    ...(properties.length === 0
      ? ['  It takes no arguments.']
      : ['', `All at once: --json '{...}', or JSON on the standard input with: -`]),
  ].join('\n');
}

function firstLine(words: string): string {
  return words.trim().split('\n', 1)[0] ?? '';
}

// Commands

/** A script for each tool whose name is free; those of tools that are gone are removed. Answers which there are. */
export function writeCommands(names: readonly string[], file = fileURLToPath(import.meta.url), path = process.env.PATH ?? ''): Set<string> {
  const folder = join(dirname(file), 'bin');
  mkdirSync(folder, { recursive: true });
  const elsewhere = [...path.split(delimiter), '/usr/local/bin', '/usr/bin', '/bin'].filter((each) => each !== '' && each !== folder);
  const wanted = names.filter((name) => isFree(name, folder, elsewhere));
  put(join(folder, OWN_NAME), script(file, []));
  for (const name of wanted) put(join(folder, name), script(file, ['call', name]));
  const kept = new Set([OWN_NAME, ...wanted]);
  for (const name of readdirSync(folder)) if (!kept.has(name) && isOurs(join(folder, name))) rmSync(join(folder, name));
  return new Set(wanted);
}

/** A name from outside becomes a file here: it has no `/`, and begins with no `.`. */
function isFree(name: string, folder: string, elsewhere: readonly string[]): boolean {
  if (!/^[a-z0-9][a-z0-9_-]{0,63}$/.test(name) || name === OWN_NAME || SHELL_WORDS.has(name)) return false;
  if (elsewhere.some((place) => exists(join(place, name), constants.X_OK))) return false;
  return !exists(join(folder, name), constants.F_OK) || isOurs(join(folder, name));
}

function exists(file: string, mode: number): boolean {
  try {
    accessSync(file, mode);
    return true;
  } catch {
    return false;
  }
}

function isOurs(file: string): boolean {
  try {
    return readFileSync(file, 'utf8').split('\n')[1] === MARK;
  } catch {
    return false;
  }
}

/** Whoever runs it just now finds the old one, or the new one, and never half of it. */
function put(file: string, content: string): void {
  const temporary = join(dirname(file), `.new-${process.pid}`);
  writeFileSync(temporary, content, { mode: 0o755 });
  renameSync(temporary, file);
}

function script(file: string, before: readonly string[]): string {
  const words = [process.execPath, file, ...before].map((word) => `'${word.replaceAll("'", String.raw`'\''`)}'`);
  return `#!/bin/sh\n${MARK}\nexec ${words.join(' ')} "$@"\n`;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

// when all of the above is there
if (import.meta.main) {
  try {
    await main(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = error instanceof Refusal ? error.exitCode : FAILED;
  }
}
