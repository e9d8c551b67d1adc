/** Tools: those a server has, calling them, and looking at files of tools before they are deployed. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Command } from 'commander';
import type { ServedTool, ToolProblem } from '@centaur/kernel/tools';
import { connect, type ToolDetail } from '../api.ts';
import { collect, examples, readJson, withJson } from '../arguments.ts';
import { EXIT, HintedError, UsageError } from '../exit.ts';
import { note, paint, print, printable, printJson, table } from '../output.ts';
import { problemText } from './workflows.ts';

export function addTools(program: Command): void {
  const tools = program.command('tools').description('See what tools there are, call them, or check files before they are deployed.');
  examples(tools, 'centaur tools ls', 'centaur tools show github', 'centaur tools check ./tools');

  const ls = tools.command('ls').description('List the tools that are served, and what is wrong with files of tools.').action(list);
  examples(withJson(ls), 'centaur tools ls');

  const show = tools
    .command('show')
    .description('Show what a tool does: its methods and their arguments, its secrets, and the hosts that it reaches.')
    .argument('<tool>', 'name of the tool')
    .action(async (name: string, { json }: { readonly json?: true }) => {
      const tool = await connect().getTool(name);
      if (json) printJson(tool);
      else print(detailText(tool));
    });
  examples(withJson(show), 'centaur tools show github');

  const call = tools
    .command('call')
    .description('Call a method of a tool. A call that a person has to approve is held for a while; then make it again.')
    .argument('<tool>', 'name of the tool')
    .argument('<method>', 'name of the method')
    .argument('[arguments]', 'a JSON object; @file or - for stdin (default: none)')
    .option('--key <key>', 'idempotency key: a call that comes again is answered, and not made')
    .action(
      async (name: string, method: string, text: string | undefined, { key, json }: { readonly key?: string; readonly json?: true }) => {
        const args = text === undefined ? {} : await readJson(text, 'arguments');
        if (typeof args !== 'object' || args === null || Array.isArray(args)) throw new UsageError('arguments: expected a JSON object');
        const answer = await connect().callTool(name, method, args, key);
        if (json) return printJson(answer);
        if (typeof answer.result === 'string') print(printable(answer.result));
        else printJson(answer.result);
      },
    );
  examples(
    withJson(call),
    `centaur tools call github get_issue '{"owner": "acme", "repo": "shop", "number": 7}'`,
    'centaur tools call stripe create_refund @refund.json --key refund-4711',
  );

  const check = tools
    .command('check')
    .description(
      'Say what is wrong with files of tools, and what each tool asks for: secrets, hosts, and what its methods may do. Without a server; ' +
        'the top of the files is run for that, as a plain process of yours.',
    )
    .argument('[path...]', 'folders of tools, or of one tool; default: the folders of TOOL_DIRS')
    .option('--python <command>', 'the Python that will run the tools; default: WORKFLOW_PYTHON, or as the server has it')
    .action(checkFiles);
  examples(withJson(check), 'centaur tools check', 'centaur tools check ./tools/crm --json');

  const types = tools
    .command('types')
    .summary('Write a TypeScript declaration that `ctx.callTool` of workflows is checked against.')
    .description(
      'Write a TypeScript declaration that `ctx.callTool` of workflows is checked against: names, arguments, and results where methods ' +
        'declare them. The same tools give the same text. Of the tools of the server; or, with --dir, of folders, without one.',
    )
    .option('--out <file>', 'write it here, a name that ends in .d.ts (default: stdout)')
    .option('--dir <folder>', 'take the tools of this folder; give it again for more. The top of their files is run for that', collect)
    .option('--python <command>', 'the Python that runs them; default: WORKFLOW_PYTHON, or as the server has it')
    .action(showTypes);
  examples(
    withJson(types),
    'centaur tools types --out workflows/tools.d.ts',
    'centaur tools types --dir ./tools --out workflows/tools.d.ts',
  );
}

async function list(options: { readonly json?: true }): Promise<void> {
  const page = await connect().listTools();
  if (options.json) return printJson(page);
  if (page.items.length === 0) note('no tools are loaded; TOOL_DIRS of the server says where it looks');
  else {
    const rows = page.items.map((each) => [
      each.name,
      String(each.methods.length),
      each.missing_secrets.length === 0 ? paint('green', 'ready') : paint('yellow', `needs ${each.missing_secrets.join(', ')}`),
      printable(each.description),
    ]);
    print(table(['TOOL', 'METHODS', 'STATE', 'WHAT IT IS FOR'], rows));
  }
  for (const problem of page.problems) note(problemText(problem));
}

const RISK_COLOURS = { read: 'green', write: 'yellow', destructive: 'red', financial: 'red', customer_facing: 'red' } as const;

function detailText(tool: Omit<ToolDetail, 'version'> & { readonly version?: string }): string {
  const lines = [`${paint('bold', tool.name)}  ${printable(tool.description)}`];
  if (tool.missing_secrets.length > 0)
    lines.push(...tool.missing_secrets.map((name) => `  ${paint('yellow', 'needs')} centaur secrets set ${name} --for ${tool.name}`));
  lines.push('', paint('bold', 'Methods'));
  for (const { name, risk, description, input } of tool.methods) {
    lines.push(`  ${name}(${argumentsText(input)})  ${paint(RISK_COLOURS[risk], risk)}`);
    if (description !== '') lines.push(`      ${paint('dim', printable(description).replaceAll('\n', ' '))}`);
  }
  lines.push('', paint('bold', 'Reaches'));
  const reached = [
    ...tool.secrets.flatMap((secret) =>
      (secret.hosts.length === 0 ? ['-'] : secret.hosts).map((host) => [
        host,
        `with ${secret.name}${secret.optional ? ', if it is there' : ''}`,
        limits(secret),
      ]),
    ),
    ...tool.hosts.map((opening) => [opening.host, 'without a secret', limits(opening)]),
  ];
  lines.push(reached.length === 0 ? '  nothing' : reached.map((row) => `  ${row.filter(Boolean).join('  ')}`).join('\n'));
  const asked = [
    ...(tool.memory_mb === null ? [] : [`${tool.memory_mb} MB of memory`]),
    ...(tool.processes === null ? [] : [`${tool.processes} processes`]),
  ];
  if (asked.length > 0) lines.push('', paint('bold', 'Asks for'), `  ${asked.join(', ')}`);
  return lines.join('\n');
}

function argumentsText(schema: Readonly<Record<string, unknown>>): string {
  const properties = Object.keys(schema['properties'] ?? {});
  const required = new Set(Array.isArray(schema['required']) ? (schema['required'] as unknown[]) : []);
  return properties.map((name) => `${printable(name)}${required.has(name) ? '' : '?'}`).join(', ');
}

function limits({ methods, paths }: { readonly methods: readonly string[]; readonly paths: readonly string[] }): string {
  return [...methods, ...paths].join(' ');
}

interface CheckOptions {
  readonly json?: true;
  readonly python?: string;
}

async function checkFiles(given: readonly string[], { json, python }: CheckOptions): Promise<void> {
  const { loadConfig } = await import('@centaur/kernel/config');
  const { HOME, TOOL_DIRS, WORKFLOW_PYTHON } = process.env;
  const config = loadConfig({ HOME, TOOL_DIRS, WORKFLOW_PYTHON });
  const dirs = given.length > 0 ? given.map((each) => path.resolve(each)) : config.toolDirs;
  if (dirs.length === 0) throw new UsageError('nothing to check: name a folder, or set TOOL_DIRS');
  const { tools, problems } = await ask(dirs, python ?? config.python);
  process.exitCode = problems.length > 0 ? EXIT.failed : EXIT.ok;
  if (json) return printJson({ tools: tools.map(toDetail), problems });
  for (const tool of tools) print(`${detailText(toDetail(tool))}\n`);
  for (const problem of problems) print(problemText(problem));
  print(paint('dim', `${counted(tools.length, 'tool')}, ${counted(problems.length, 'problem')}`));
}

interface TypesOptions extends CheckOptions {
  readonly out?: string;
  readonly dir?: readonly string[];
}

async function showTypes({ out, dir, python, json }: TypesOptions): Promise<void> {
  if (out !== undefined && !/\.d\.[mc]?ts$/.test(out))
    throw new UsageError('--out: expected a name that ends in .d.ts, which is not taken for a workflow');
  const tools = dir === undefined ? await servedTools() : await toolsIn(dir, python);
  const { toolTypes, writeTypes } = await import('../tool-types/index.ts');
  const text = toolTypes(tools);
  const isWritten = out !== undefined && writeTypes(out, text);
  if (json)
    return printJson({
      file: out ?? null,
      written: isWritten,
      tools: tools.map(({ name, methods }) => ({ name, methods: methods.map((method) => method.name) })),
      types: text,
    });
  if (out === undefined) process.stdout.write(text);
  else print(`${printable(out)}: ${counted(tools.length, 'tool')}${isWritten ? '' : ', as it was'}`);
}

async function servedTools(): Promise<readonly ToolDetail[]> {
  const api = connect();
  const { items, problems } = await api.listTools();
  for (const problem of problems) note(problemText(problem));
  return Promise.all(items.map(({ name }) => api.getTool(name)));
}

/** All of them, or none: what the file leaves out nothing would be checked against. */
async function toolsIn(given: readonly string[], python: string | undefined): Promise<readonly ServedTool[]> {
  const { loadConfig } = await import('@centaur/kernel/config');
  const { HOME, WORKFLOW_PYTHON } = process.env;
  const config = loadConfig({ HOME, WORKFLOW_PYTHON });
  const { tools, problems } = await ask(
    given.map((each) => path.resolve(each)),
    python ?? config.python,
  );
  for (const problem of problems) note(problemText(problem));
  if (problems.length > 0)
    throw new HintedError(
      `${counted(problems.length, 'problem')} with the files of tools: nothing was written`,
      'centaur tools check tells more.',
    );
  return tools;
}

async function ask(dirs: readonly string[], python: string): Promise<{ tools: readonly ServedTool[]; problems: readonly ToolProblem[] }> {
  const [{ createToolRunner }, { launchPlain }] = await Promise.all([
    import('@centaur/runtime/tools'),
    import('@centaur/runtime/hosts/launch'),
  ]);
  const alone = new Set(dirs.filter((dir) => isToolFolder(dir)));
  const stateDir = mkdtempSync(path.join(os.tmpdir(), 'centaur-tools-'));
  const runner = await createToolRunner({
    dirs: dirs.map((dir) => (alone.has(dir) ? path.dirname(dir) : dir)),
    stateDir,
    watch: false,
    launch: (program, tool, onClose) => launchPlain({ program, label: tool?.name ?? '-', python, memoryMb: 512, log: () => {}, onClose }),
  });
  try {
    await runner.settled();
    const isAsked = (file: string) => dirs.some((dir) => file === dir || file.startsWith(dir + path.sep));
    return {
      tools: runner.list().filter(({ source }) => isAsked(source)),
      problems: runner.problems().filter(({ file }) => isAsked(file)),
    };
  } finally {
    await runner.close();
    rmSync(stateDir, { recursive: true, force: true });
  }
}

function toDetail({ memoryMb, ...tool }: ServedTool): ToolDetail {
  const methods = tool.methods.map(({ timeoutMs, ...method }) => ({ ...method, timeout_ms: timeoutMs }));
  return { ...tool, memory_mb: memoryMb, missing_secrets: [], methods };
}

function isToolFolder(dir: string): boolean {
  return ['tool.ts', 'tool.mts', 'tool.js', 'tool.mjs', 'pyproject.toml'].some((name) => existsSync(path.join(dir, name)));
}

const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;
