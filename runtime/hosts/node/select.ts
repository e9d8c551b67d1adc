/** Which of the loaded files are in service, and what to say about those that are not. */
import path from 'node:path';
import type { Problem } from './locate.ts';
import { positionAt } from './position.ts';

/** One workflow file, as far as it matters here. */
interface Entry<Workflow> {
  readonly root: string;
  readonly file: string;
  readonly workflow: Workflow | undefined;
  readonly problem: Problem | undefined;
  readonly sources: ReadonlyMap<string, string>;
}

/** A later root shadows an earlier one. Within one root a name belongs to the first file by path. */
export function select<Workflow extends { readonly name: string }>(
  roots: readonly string[],
  entries: readonly Entry<Workflow>[],
): { readonly workflows: readonly Workflow[]; readonly duplicates: readonly Problem[] } {
  const served = new Map<string, Workflow>();
  const duplicates: Problem[] = [];
  for (const root of roots) {
    const inRoot = new Map<string, Entry<Workflow>>();
    const own = entries.filter((entry) => entry.root === root && entry.workflow);
    // Good files first: the last good version of a broken one must not claim a name that has moved to another file
    for (const entry of [...own.filter((each) => !each.problem), ...own.filter((each) => each.problem)]) {
      const { name } = entry.workflow!;
      const first = inRoot.get(name);
      if (first === undefined) inRoot.set(name, entry);
      else if (!entry.problem) duplicates.push(duplicate(name, entry, first));
    }
    for (const [name, entry] of inRoot) served.set(name, entry.workflow!);
  }
  return { workflows: [...served.values()], duplicates };
}

function duplicate(name: string, entry: Entry<unknown>, first: Entry<unknown>): Problem {
  const source = entry.sources.get(entry.file) ?? '';
  const at = source.indexOf(name);
  return {
    file: entry.file,
    ...(at < 0 ? {} : positionAt(source, at)),
    message: `the workflow "${name}" is also in ${first.file}, which is the one in service; rename one of them`,
  };
}

/** The problems of the files. A broken helper is one problem that says which files need it, not one for each of them. */
export function withUsers(entries: readonly Entry<unknown>[]): Problem[] {
  const groups = new Map<string, { problem: Problem; users: string[] }>();
  for (const { root, file, problem } of entries) {
    if (problem === undefined) continue;
    const key = JSON.stringify(problem);
    const group = groups.get(key) ?? { problem, users: [] };
    groups.set(key, group);
    if (file !== problem.file) group.users.push(path.relative(root, file));
  }
  return [...groups.values()].map(({ problem, users }) =>
    users.length === 0 ? problem : { ...problem, message: `${problem.message} (needed by ${users.join(', ')})` },
  );
}
