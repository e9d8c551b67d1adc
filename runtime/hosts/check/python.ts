/**
 * Python: the files are read by Python's own parser, in a process of its own that imports none of them. That Python
 * should be the one that will run the workflows: it is where packages are looked for.
 */
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { type Declaration, readSchedules, readWebhooks } from './declared.ts';
import type { Checked, CheckedWorkflow, Finding } from './finding.ts';

const SCRIPT = fileURLToPath(new URL('check.py', import.meta.url));

export interface PythonFile {
  readonly path: string;
  /** The workflow folder that it is in. */
  readonly root: string;
  /** It was given by its own name, so that it should be a workflow. */
  readonly named: boolean;
}

interface Position {
  readonly line?: number;
  readonly column?: number;
}

interface Declared extends Position {
  readonly key: string;
  /** Missing where only running the file would tell it. */
  readonly value?: unknown;
  readonly items?: readonly Position[];
}

interface Output {
  readonly files: readonly {
    readonly path: string;
    readonly workflow: { readonly name: string; readonly webhooks: Declared | null; readonly schedule: Declared | null } | null;
    readonly findings: readonly (Position & Pick<Finding, 'level' | 'message'> & { readonly remedy: string | null })[];
  }[];
}

export async function checkPython(
  files: readonly PythonFile[],
  { python, paths, now }: { readonly python: string; readonly paths: readonly string[]; readonly now: Date },
): Promise<Checked> {
  const output = await run(python, { files, paths });
  const workflows: CheckedWorkflow[] = [];
  const findings: Finding[] = [];
  for (const { path: file, workflow, findings: found } of output.files) {
    findings.push(...found.map(({ remedy, ...rest }) => ({ file, ...rest, ...(remedy === null ? {} : { remedy }) })));
    if (workflow === null) continue;
    const schedules = declarations(file, workflow.schedule).map((each) => readSchedules(each, now));
    const webhooks = declarations(file, workflow.webhooks).map(readWebhooks);
    findings.push(...[...schedules, ...webhooks].flatMap((read) => read.findings));
    workflows.push({
      name: workflow.name,
      language: 'python',
      file,
      version: null,
      schedules: schedules.flatMap((read) => read.items),
      webhooks: webhooks.flatMap((read) => read.items),
    });
  }
  return { workflows, findings };
}

function declarations(file: string, declared: Declared | null): Declaration[] {
  if (declared === null || !('value' in declared)) return [];
  const { key, value, items = [], ...place } = declared;
  return [{ field: key, value, placeOf: (item) => ({ file, ...at(items[item] ?? place) }) }];
}

const at = ({ line = 1, column = 1 }: Position): Position => ({ line, column });

async function run(python: string, request: object): Promise<Output> {
  // isolated: neither its environment nor the folder it is started in decides what it loads
  const child = spawn(python, ['-I', SCRIPT], { stdio: ['pipe', 'pipe', 'pipe'] });
  const ended = new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
  child.stdin.on('error', () => undefined).end(JSON.stringify(request));
  const all = Promise.all([ended, text(child.stdout), text(child.stderr)]);
  const [code, output, errors] = await all.catch((error: NodeJS.ErrnoException) => {
    throw new Error(`${python} cannot be started (${error.code}): Python files are checked by Python 3.10 or newer`, { cause: error });
  });
  if (code !== 0) throw new Error(`${python} could not check the files; it must be Python 3.10 or newer:\n${errors.trim()}`);
  return JSON.parse(output) as Output;
}
