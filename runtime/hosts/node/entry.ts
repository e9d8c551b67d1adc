/** One workflow file: loading it, and telling whether it has changed since. */
import { readFileSync } from 'node:fs';
import { DefinitionError } from '../program/definition.ts';
import { type LoadedWorkflow, readDefinition } from './definition.ts';
import { type Problem, locate } from './locate.ts';
import { fieldPosition } from './position.ts';
import type { Snapshot, Snapshots } from './snapshot.ts';

export interface Entry {
  readonly root: string;
  readonly file: string;
  /** Undefined for a helper module. Of a broken file: its last good version. */
  readonly workflow: LoadedWorkflow | undefined;
  readonly problem: Problem | undefined;
  /** What the file and its imports contained when they were loaded. */
  readonly sources: ReadonlyMap<string, string>;
}

export async function loadEntry(request: {
  readonly root: string;
  readonly file: string;
  readonly before: Entry | undefined;
  readonly snapshot: Snapshot;
  readonly snapshots: Snapshots;
}): Promise<Entry> {
  const { root, file, before, snapshot, snapshots } = request;
  let workflow: LoadedWorkflow | undefined;
  let problem: Problem | undefined;
  try {
    const module = await snapshot.import(file);
    const version = snapshot.version(file, root);
    workflow = readDefinition(module, file, version);
    // The same code again, after a detour over a broken state: nothing has changed for anyone
    if (workflow && workflow.name === before?.workflow?.name && workflow.version === before.workflow.version) workflow = before.workflow;
  } catch (error) {
    workflow = before?.workflow;
    problem =
      error instanceof DefinitionError
        ? { file, ...fieldPosition(snapshot.source(file) ?? '', error.field), message: error.message }
        : await locate(error, file, snapshot, snapshots);
  }
  const sources = new Map(snapshot.graph(file).map((each) => [each, snapshot.source(each) ?? '']));
  return { root, file, workflow, problem, sources };
}

/** A broken file is never unchanged: what it lacks may be a file that is there now. */
export function isUnchanged(entry: Entry): boolean {
  if (entry.problem) return false;
  for (const [file, source] of entry.sources) {
    try {
      if (readFileSync(file, 'utf8') !== source) return false;
    } catch {
      // Gone, or not readable: importing it anew says which
      return false;
    }
  }
  return true;
}
