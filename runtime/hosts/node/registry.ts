/**
 * Which workflow, in which version, answers to a name.
 *
 * Versions that were replaced stay, so that the runs which began with them end with them.
 */
import type { WorkflowRegistry } from '@centaur/kernel/engine';
import type { LoadedWorkflow } from './definition.ts';

/** Enough for a day of edits with sleeping runs; beyond it the oldest is forgotten and its runs go on with the newest. */
const VERSIONS_KEPT = 20;

export interface HostRegistry extends WorkflowRegistry {
  get(name: string, version?: string): LoadedWorkflow | undefined;
  list(): readonly LoadedWorkflow[];
  /** Puts these in service, instead of those before; tells listeners when that changed anything. */
  serve(workflows: readonly LoadedWorkflow[]): void;
}

export function createRegistry(): HostRegistry {
  let current = new Map<string, LoadedWorkflow>();
  const versions = new Map<string, Map<string, LoadedWorkflow>>();
  const listeners = new Set<() => void>();

  return {
    get(name, version) {
      const kept = version === undefined ? undefined : versions.get(name)?.get(version);
      return kept ?? current.get(name);
    },
    list: () => [...current.values()],
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    serve(workflows) {
      const next = new Map(workflows.toSorted((a, b) => (a.name < b.name ? -1 : 1)).map((each) => [each.name, each]));
      const changed = next.size !== current.size || [...next].some(([name, each]) => each !== current.get(name));
      if (!changed) return;
      current = next;
      for (const each of next.values()) remember(each);
      for (const listener of listeners) listener();
    },
  };

  function remember(workflow: LoadedWorkflow): void {
    const kept = versions.get(workflow.name) ?? new Map<string, LoadedWorkflow>();
    versions.set(workflow.name, kept);
    // Deleted first: a version that comes back is the newest again
    kept.delete(workflow.version);
    kept.set(workflow.version, workflow);
    for (const oldest of kept.keys()) {
      if (kept.size <= VERSIONS_KEPT) break;
      kept.delete(oldest);
    }
  }
}
