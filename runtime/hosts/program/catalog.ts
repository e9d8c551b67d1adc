/** The workflows that the files of this host define, and what is wrong with the rest. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { discover } from '../node/discover.ts';
import type { Problem } from '../node/locate.ts';
import { fieldPosition } from '../node/position.ts';
import { select, withUsers } from '../node/select.ts';
import { createSnapshots, type Snapshot, type Snapshots } from '../node/snapshot.ts';
import { type Discovery, type HostProblem, type HostWorkflow, PROTOCOL } from '../protocol/messages.ts';
import { type Definition, DefinitionError, readExports } from './definition.ts';
import { toHostRetry } from './retry.ts';
import { strippedIn } from './stripped.ts';
import { toJson } from './values.ts';

export interface Catalog {
  get(name: string): Definition | undefined;
  readonly discovery: Discovery;
}

/** A definition, and how it is told. */
interface Workflow {
  readonly name: string;
  readonly definition: Definition;
  readonly told: HostWorkflow;
}

interface Entry {
  readonly root: string;
  readonly file: string;
  readonly workflow: Workflow | undefined;
  readonly problem: (Problem & { readonly field?: string }) | undefined;
  readonly sources: ReadonlyMap<string, string>;
}

/**
 * Loads the files of the folders; a workflow in a later folder shadows one of the same name in an earlier one.
 *
 * @param only load this file alone
 */
export async function loadCatalog(dirs: readonly string[], only: string | undefined): Promise<Catalog> {
  const file = only === undefined ? undefined : path.resolve(only);
  const given = [...new Set(dirs.map((dir) => path.resolve(dir)))];
  const roots = file === undefined ? given : [given.findLast((dir) => file.startsWith(dir + path.sep)) ?? path.dirname(file)];
  const snapshots = createSnapshots(
    roots,
    import.meta.resolve('../../../sdk/src/index.ts'),
    strippedIn(process.env['WORKFLOW_STRIPPED'], roots),
  );
  const snapshot = snapshots.open();
  const entries: Entry[] = [];
  const unreadable: Problem[] = [];
  for (const root of roots) {
    const found = file === undefined ? listFiles(root) : { files: [file], unreadable: [] };
    unreadable.push(...found.unreadable);
    // One after the other, so that shared helpers load once and an error belongs to the file being loaded
    for (const each of found.files) entries.push(await loadFile(root, each, snapshot, snapshots));
  }
  const { workflows, duplicates } = select(roots, entries);
  const byName = new Map(workflows.map((workflow) => [workflow.name, workflow.definition]));
  return {
    get: (name) => byName.get(name),
    discovery: {
      type: 'workflow.discovery',
      protocol: PROTOCOL,
      language: 'typescript',
      workflows: workflows.map(({ told }) => told),
      problems: [...unreadable, ...withUsers(entries), ...duplicates].map(toProblem),
    },
  };
}

function listFiles(root: string): { readonly files: readonly string[]; readonly unreadable: readonly Problem[] } {
  try {
    return discover(root);
  } catch (error) {
    return { files: [], unreadable: [{ file: root, message: existsSync(root) ? (error as Error).message : 'there is no such directory' }] };
  }
}

async function loadFile(root: string, file: string, snapshot: Snapshot, snapshots: Snapshots): Promise<Entry> {
  let workflow: Workflow | undefined;
  let problem: Entry['problem'];
  try {
    const definition = readExports(await snapshot.import(file));
    if (definition !== undefined) workflow = { name: definition.name, definition, told: tell(definition, file) };
  } catch (error) {
    problem = error instanceof DefinitionError ? atField(error, file, snapshot) : await explain(error, file, snapshot, snapshots);
  }
  const sources = new Map(snapshot.graph(file).map((each) => [each, snapshot.source(each) ?? '']));
  return { root, file, workflow, problem, sources };
}

function atField(error: DefinitionError, file: string, snapshot: Snapshot): Entry['problem'] {
  const place = fieldPosition(snapshot.source(file) ?? '', error.field);
  return { file, ...place, message: error.message, field: error.field };
}

/** What explains errors is loaded when there is one. */
async function explain(error: unknown, file: string, snapshot: Snapshot, snapshots: Snapshots): Promise<Problem> {
  const { locate } = await import('../node/locate.ts');
  return locate(error, file, snapshot, snapshots);
}

/** @throws DefinitionError for what is not JSON */
function tell(definition: Definition, file: string): HostWorkflow {
  const { name, fields, webhooks, schedule, principal, agentDefaults, queue, retry } = definition;
  checkField(fields.retry, () => toHostRetry(retry ?? {}, fields.retry));
  return {
    workflow_name: name,
    source_path: file,
    webhooks: webhooks.map((spec) => ({ workflow_name: name, source_path: file, spec: plain(spec, fields.webhooks) })),
    schedule: plain(schedule, fields.schedule),
    principal: plain(principal, fields.principal),
    agent_defaults: plain(agentDefaults, fields.agentDefaults) as HostWorkflow['agent_defaults'],
    queue: plain(queue, fields.queue),
    retry: plain(retry, fields.retry),
    has_input: definition.input !== undefined,
    has_concurrency_key: definition.concurrencyKey !== undefined,
  };
}

function plain(value: unknown, field: string): unknown {
  return JSON.parse(checkField(field, () => toJson(value, field)));
}

function checkField<T>(field: string, check: () => T): T {
  try {
    return check();
  } catch (error) {
    throw new DefinitionError(field, (error as Error).message);
  }
}

function toProblem({ file, message, line, column, field }: Problem & { readonly field?: string }): HostProblem {
  return {
    source_path: file,
    message,
    ...(line === undefined ? {} : { line }),
    ...(column === undefined ? {} : { column }),
    ...(field === undefined ? {} : { field }),
  };
}
