import type { WorkflowContext } from '@centaur/sdk';
import type { RegisteredWorkflow, WorkflowRegistry } from '../../kernel/engine/index.ts';

export interface MemoryRegistry extends WorkflowRegistry {
  define(name: string, handler: (input: never, ctx: WorkflowContext) => unknown, more?: Partial<RegisteredWorkflow>): void;
}

/** Workflows given as plain functions, in place of a host. */
export function createRegistry(): MemoryRegistry {
  const workflows = new Map<string, RegisteredWorkflow>();
  const listeners = new Set<() => void>();
  return {
    define(name, handler, more = {}) {
      workflows.set(name, { name, version: 'v1', handler, ...more });
      for (const listener of listeners) listener();
    },
    get: (name) => workflows.get(name),
    list: () => [...workflows.values()],
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
