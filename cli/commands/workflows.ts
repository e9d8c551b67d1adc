/** Workflows: those a server has loaded, and those in files here. */
import path from 'node:path';
import type { Command } from 'commander';
import type { CheckedSchedule, CheckedWebhook, CheckedWorkflow, Finding, Level } from '@centaur/runtime/hosts/check';
import { connect, type FileProblem } from '../api.ts';
import { examples, withJson } from '../arguments.ts';
import { EXIT, UsageError } from '../exit.ts';
import { clock, note, paint, print, printable, printJson, relative, table } from '../output.ts';

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
    .description(
      'Say what is wrong with workflow files, what could happen twice in them, and when their schedules tick, without a server. ' +
        'TypeScript is loaded as a worker loads it, which runs the top of the files; Python is only read.',
    )
    .argument('[path...]', 'files and folders; default: the folders of WORKFLOW_DIRS')
    .option('--strict', 'exit with 1 for warnings too')
    .option('--python <command>', 'the Python that will run the workflows; default: WORKFLOW_PYTHON, or as the server has it')
    .action(checkFiles);
  examples(
    withJson(check),
    'centaur workflows check',
    'centaur workflows check ./workflows --json',
    'centaur workflows check nightly.py --strict --python /opt/venv/bin/python',
  );
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

interface CheckOptions {
  readonly json?: true;
  readonly strict?: true;
  readonly python?: string;
}

async function checkFiles(given: readonly string[], { json, strict, python }: CheckOptions): Promise<void> {
  const [{ checkWorkflows }, { loadConfig }] = await Promise.all([
    import('@centaur/runtime/hosts/check'),
    import('@centaur/kernel/config'),
  ]);
  const { HOME, WORKFLOW_DIRS, WORKFLOW_PYTHON } = process.env;
  const config = loadConfig({ HOME, WORKFLOW_DIRS, WORKFLOW_PYTHON });
  const dirs = config.workflowDirs;
  const paths = given.length > 0 ? given : dirs;
  if (paths.length === 0) throw new UsageError('nothing to check: name a file or a folder, or set WORKFLOW_DIRS');
  const checked = await checkWorkflows(paths, { python: python ?? config.python, dirs });
  const count = (level: Level) => checked.findings.filter((each) => each.level === level).length;
  const failed = count('error') > 0 || (strict === true && count('warning') > 0);
  process.exitCode = failed ? EXIT.failed : EXIT.ok;
  if (json) return printJson(checked);

  for (const workflow of checked.workflows) print(workflowText(workflow, checked.findings));
  for (const finding of checked.findings) print(findingText(finding));
  if (checked.workflows.length === 0 && checked.findings.length === 0) return print(`no workflow files in ${paths.map(here).join(', ')}`);
  const counts = LEVELS.map((level) => counted(count(level), level)).join(', ');
  print(paint('dim', `${counted(checked.workflows.length, 'workflow')}: ${counts}`));
}

const LEVELS = ['error', 'warning', 'note'] as const;
const LABELS = { error: 'error', warning: 'warn', note: 'ok' } as const;
const COLOURS = { error: 'red', warning: 'yellow', note: 'green' } as const;

function workflowText({ name, file, schedules, webhooks }: CheckedWorkflow, findings: readonly Finding[]): string {
  const worst = LEVELS.find((level) => findings.some((each) => each.file === file && each.level === level)) ?? 'note';
  return [
    `${paint(COLOURS[worst], LABELS[worst].padEnd(6))}${printable(name)} ${paint('dim', here(file))}`,
    ...schedules.map(scheduleText),
    ...webhooks.map(webhookText),
  ].join('\n');
}

function scheduleText({ spec, words, next }: CheckedSchedule): string {
  const written = spec.type === 'cron' ? ` ${paint('dim', `"${spec.cron}"`)}` : '';
  const lines = [`        ${words}${written}`, ...next.map((at) => `          ${clock(at)} ${paint('dim', relative(at))}`)];
  if (next.length === 0) lines.push(`          ${spec.enabled === false ? 'off' : paint('yellow', 'never: no such day comes')}`);
  return lines.join('\n');
}

function webhookText({ slug, auth, trigger_key }: CheckedWebhook): string {
  return `        POST /api/webhooks/${printable(slug)} ${paint('dim', printable(`auth: ${auth}, one run for each ${trigger_key}`))}`;
}

/** `file:line:column: level: message`, which editors and terminals make a link of; below it what to do. */
function findingText({ level, remedy, ...problem }: Finding): string {
  const text = `${placeText(problem)}: ${paint(COLOURS[level], level)}: ${printable(problem.message)}`;
  return remedy === undefined ? text : `${text}\n    ${paint('dim', printable(remedy))}`;
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

export function problemText(problem: FileProblem): string {
  return `${paint('red', 'error', process.stderr)} ${placeText(problem)}: ${printable(problem.message)}`;
}

function placeText({ file, line, column }: FileProblem): string {
  return [printable(here(file)), line, column].filter((part) => part !== undefined).join(':');
}

/** From here when that is shorter. */
function here(file: string): string {
  const relativePath = path.relative('', file);
  return relativePath !== '' && relativePath.length < file.length ? relativePath : file;
}
