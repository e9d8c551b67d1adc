/**
 * The check of workflow files before they are deployed, or moved here from the original: what will not work, what could
 * happen twice, and what their schedules and webhooks mean.
 *
 * TypeScript is loaded as a worker loads it, which runs the top of the files. Python is only read: no file is imported.
 * Read `centaur_check/file.py` for what is looked for in Python, `declared.ts` for schedules and webhooks.
 */
import { globSync, statSync } from 'node:fs';
import path from 'node:path';
import type { Checked, CheckedWorkflow, Finding } from './finding.ts';
import { checkNodeFile, checkNodeFolders } from './node.ts';
import { checkPython, type PythonFile } from './python.ts';

export type { Checked, CheckedSchedule, CheckedWebhook, CheckedWorkflow, Finding, Level } from './finding.ts';

export interface CheckOptions {
  /** The Python that will run the workflows. Default `python3`. */
  readonly python?: string;
  /** Folders that own modules are looked for in besides those given. */
  readonly dirs?: readonly string[];
  readonly now?: Date;
}

/** @param paths files and folders. Findings come sorted by file and line. @throws Error when Python is needed and cannot be started */
export async function checkWorkflows(
  paths: readonly string[],
  { python = 'python3', dirs = [], now = new Date() }: CheckOptions = {},
): Promise<Checked> {
  const all = [...new Set(paths.map((each) => path.resolve(each)))];
  const folders = all.filter((each) => !isFile(each) && !/\.(?:py|m?[jt]s)$/.test(each));
  const files = all.filter((each) => !folders.includes(each));
  const pythonFiles = [
    ...folders.flatMap(pythonIn),
    ...files.filter((each) => each.endsWith('.py')).map((each) => ({ path: each, root: rootOf(each, dirs), named: true })),
  ];
  const parts = [
    await checkNodeFolders(folders, now),
    // one after the other: an error while loading belongs to the file that is being loaded
    ...(await inTurn(
      files.filter((each) => !each.endsWith('.py')),
      (each) => (isFile(each) ? checkNodeFile(each, now) : missing(each)),
    )),
    ...(pythonFiles.length === 0 ? [] : [await checkPython(pythonFiles, { python, paths: searched([...folders, ...dirs]), now })]),
  ];
  const workflows = parts.flatMap((part) => part.workflows).sort((a, b) => compare(a.file, b.file));
  const findings = [...parts.flatMap((part) => part.findings), ...sameName(workflows, folders), ...clashes(workflows)];
  return { workflows, findings: findings.sort(byPlace) };
}

/** As the host finds them: helpers and drafts begin with `_` or `.`. */
function pythonIn(root: string): PythonFile[] {
  const skipped = (name: string) => /^[_.]/.test(path.basename(name)) || path.basename(name) === 'node_modules';
  return globSync('**/*.py', { cwd: root, exclude: skipped })
    .filter((name) => !skipped(name))
    .sort()
    .map((name) => ({ path: path.join(root, name), root, named: false }));
}

/** The workflow folder that a file is in; one that is in none may stand alone. */
function rootOf(file: string, dirs: readonly string[]): string {
  return dirs.map((each) => path.resolve(each)).find((each) => file.startsWith(each + path.sep)) ?? path.dirname(file);
}

/** Each folder and the one above it, as on the host's own search path. */
function searched(folders: readonly string[]): string[] {
  return [...new Set(folders.map((each) => path.resolve(each)).flatMap((each) => [each, path.dirname(each)]))];
}

function missing(file: string): Checked {
  return { workflows: [], findings: [{ file, level: 'error', message: 'there is no such file' }] };
}

/** In one folder the first by path is served. Within a language of it the Node host has told already. */
function sameName(workflows: readonly CheckedWorkflow[], folders: readonly string[]): Finding[] {
  const first = new Map<string, CheckedWorkflow>();
  const findings: Finding[] = [];
  for (const workflow of workflows) {
    const folder = folders.find((each) => workflow.file.startsWith(each + path.sep)) ?? '';
    const key = `${folder}\0${workflow.name}`;
    const other = first.get(key);
    if (other === undefined) first.set(key, workflow);
    else if (other.language === 'python' || workflow.language === 'python') {
      findings.push({
        file: workflow.file,
        level: 'error',
        message: `the workflow "${workflow.name}" is also in ${other.file}, which is the one in service`,
        remedy: 'rename one of them',
      });
    }
  }
  return findings;
}

/** Addresses and chosen ids are one in the whole deployment. */
function clashes(workflows: readonly CheckedWorkflow[]): Finding[] {
  const owner = new Map<string, CheckedWorkflow>();
  const findings: Finding[] = [];
  for (const workflow of workflows) {
    const slugs = workflow.webhooks.map(({ slug }) => `the webhook "${slug}"`);
    const ids = workflow.schedules.flatMap(({ spec }) => (spec.schedule_id === undefined ? [] : [`the schedule_id "${spec.schedule_id}"`]));
    for (const what of [...slugs, ...ids]) {
      const other = owner.get(what) ?? workflow;
      owner.set(what, other);
      // of one name only one is served, and that has been said
      if (other.name === workflow.name) continue;
      findings.push({ file: workflow.file, level: 'error', message: `${what} is also that of ${other.name} in ${other.file}` });
    }
  }
  return findings;
}

async function inTurn<T, R>(items: readonly T[], work: (item: T) => R | Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (const item of items) results.push(await work(item));
  return results;
}

function isFile(file: string): boolean {
  return statSync(file, { throwIfNoEntry: false })?.isFile() === true;
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

function byPlace(a: Finding, b: Finding): number {
  return compare(a.file, b.file) || (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0);
}
