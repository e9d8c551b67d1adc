/** Real workflow files in a directory of their own, for the tests of this room. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { type HostLogEntry, type NodeHost, createNodeHost } from './index.ts';

export interface WorkflowDirectory {
  readonly dir: string;
  /** Writes files by their path in the directory. */
  write(files: Readonly<Record<string, string>>): void;
  at(file: string): string;
}

/** Removed when the test ends. */
export function directory(t: TestContext, files: Readonly<Record<string, string>> = {}): WorkflowDirectory {
  const dir = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'centaur-host-')));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const made: WorkflowDirectory = {
    dir,
    at: (file) => path.join(dir, file),
    write(more) {
      for (const [file, content] of Object.entries(more)) {
        mkdirSync(path.dirname(path.join(dir, file)), { recursive: true });
        writeFileSync(path.join(dir, file), content);
      }
    },
  };
  made.write(files);
  return made;
}

/** A host without a watcher, closed when the test ends. */
export async function host(t: TestContext, ...dirs: readonly WorkflowDirectory[]): Promise<NodeHost & { readonly logged: HostLogEntry[] }> {
  return startHost(t, dirs, { watch: false });
}

export async function watchingHost(
  t: TestContext,
  ...dirs: readonly WorkflowDirectory[]
): Promise<NodeHost & { readonly logged: HostLogEntry[] }> {
  return startHost(t, dirs, { watch: true });
}

async function startHost(t: TestContext, dirs: readonly WorkflowDirectory[], { watch }: { watch: boolean }) {
  const logged: HostLogEntry[] = [];
  const made = await createNodeHost({ dirs: dirs.map((each) => each.dir), watch, log: (entry) => logged.push(entry) });
  t.after(() => made.close());
  return { ...made, logged };
}

/** The smallest workflow: it returns a text. */
export const returning = (name: string, text: string): string =>
  `export const WORKFLOW_NAME = '${name}';\nexport const handler = async (): Promise<string> => '${text}';\n`;

/** Calls a workflow's handler with no engine behind it. */
export async function call(made: NodeHost, name: string, version?: string): Promise<unknown> {
  const workflow = made.registry.get(name, version);
  return workflow?.handler(undefined as never, {} as never);
}

export const names = (made: NodeHost): string[] => made.registry.list().map((each) => each.name);
