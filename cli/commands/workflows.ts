/** Workflows: those a server has loaded, and those in files here. */
import path from 'node:path';
import type { Command } from 'commander';
import type { Schedule } from '@centaur/sdk';
import { connect, type FileProblem } from '../api.ts';
import { examples, withJson } from '../arguments.ts';
import { EXIT, UsageError } from '../exit.ts';
import { clock, note, paint, print, printable, printJson, relative, table } from '../output.ts';

/** Fire times shown per schedule: enough to see a mistaken weekday or zone. */
const TICKS_SHOWN = 3;

export function addWorkflows(program: Command): void {
  const workflows = program.command('workflows').description('List the loaded workflows, or check files before they are deployed.');
  examples(workflows, 'centaur workflows ls', 'centaur workflows check ./workflows');

  const ls = workflows
    .command('ls')
    .description('List the workflows that the API has loaded, and what is wrong with their files.')
    .action(list);
  examples(withJson(ls), 'centaur workflows ls');

  const check = workflows
    .command('check')
    .description('Load workflow files without a server, and say what is wrong with them. Schedules are shown in words.')
    .argument('[dir...]', 'directories; default: those of WORKFLOW_DIRS')
    .action(checkFiles);
  examples(withJson(check), 'centaur workflows check', 'centaur workflows check ./workflows --json');
}

async function list(options: { readonly json?: true }): Promise<void> {
  const page = await connect().listLoaded();
  if (options.json) return printJson(page);
  if (page.items.length === 0) note('no workflows are loaded; WORKFLOW_DIRS of the server says where it looks');
  else {
    const rows = page.items.map((each) => [
      each.name,
      each.version,
      each.queue,
      each.schedules.length === 0 ? '-' : String(each.schedules.length),
      each.source ?? '-',
    ]);
    print(table(['WORKFLOW', 'VERSION', 'QUEUE', 'SCHEDULES', 'SOURCE'], rows));
  }
  for (const problem of page.problems) note(problemText(problem));
}

async function checkFiles(given: readonly string[], options: { readonly json?: true }): Promise<void> {
  const [{ createNodeHost }, { describeCron, nextTicks }, { loadConfig }] = await Promise.all([
    import('@centaur/runtime/hosts/node'),
    import('@centaur/kernel/engine'),
    import('@centaur/kernel/config'),
  ]);
  const { HOME, WORKFLOW_DIRS } = process.env;
  const dirs = given.length > 0 ? given : loadConfig({ HOME, WORKFLOW_DIRS }).workflowDirs;
  if (dirs.length === 0) throw new UsageError('nothing to check: name a directory, or set WORKFLOW_DIRS');
  const host = await createNodeHost({ dirs, watch: false });
  const now = new Date();
  const workflows = host.registry.list().map(({ name, version, source, schedules = [] }) => ({
    name,
    version,
    source: source ?? null,
    schedules: schedules.map((spec) => ({
      spec,
      words: describeCron(spec),
      next: spec.enabled === false ? [] : nextTicks(spec, now, TICKS_SHOWN).map((at) => at.toISOString()),
    })),
  }));
  const problems = host.problems();
  await host.close();
  process.exitCode = problems.length === 0 ? EXIT.ok : EXIT.failed;
  if (options.json) return printJson({ workflows, problems });

  for (const { name, source, schedules } of workflows) {
    print(`${paint('green', 'ok')}    ${name} ${paint('dim', here(source ?? ''))}`);
    for (const each of schedules) print(scheduleText(each));
  }
  for (const problem of problems) print(problemText(problem, process.stdout));
  if (workflows.length === 0 && problems.length === 0) print(`no workflow files in ${dirs.map(here).join(', ')}`);
}

function scheduleText({
  spec,
  words,
  next,
}: {
  readonly spec: Schedule;
  readonly words: string;
  readonly next: readonly string[];
}): string {
  const written = spec.type === 'cron' ? `"${spec.cron}"` : `every ${spec.seconds} s`;
  const lines = [`        ${words} ${paint('dim', written)}`, ...next.map((at) => `          ${clock(at)} ${paint('dim', relative(at))}`)];
  if (next.length === 0) lines.push(`          ${spec.enabled === false ? 'off' : paint('yellow', 'never: no such day comes')}`);
  return lines.join('\n');
}

/** `file:line:column: message`, which editors and terminals make a link of. */
function problemText({ file, line, column, message }: FileProblem, stream: NodeJS.WriteStream = process.stderr): string {
  const place = [here(file), line, column].filter((part) => part !== undefined).join(':');
  return `${paint('red', 'error', stream)} ${place}: ${printable(message)}`;
}

/** From here when that is shorter. */
function here(file: string): string {
  const relativePath = path.relative('', file);
  return relativePath !== '' && relativePath.length < file.length ? relativePath : file;
}
