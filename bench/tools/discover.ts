/**
 * How long it takes to find many tools and ask them what they declare, by nothing known and after a restart, and until a changed file is in
 * service while the others stay. Processes are plain ones: sandboxes add their own start, once for each language.
 */
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createHosts, type Hosts } from '@centaur/runtime/hosts/hosted';
import { type HostProcess, type HostProgram, launchPlain } from '@centaur/runtime/hosts/launch';
import { createToolRunner, type Tools } from '@centaur/runtime/tools';

const PYTHON = existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3';

const KINDS = { node: () => 'node', python: () => 'python', both: (i: number) => (i % 2 === 0 ? 'node' : 'python') } as const;

const NODE = `import { defineTool, method, secret, ToolFailure } from '@centaur/sdk';

interface Item { readonly id: string; readonly title: string }

async function request<T>(path: string, init: RequestInit = {}): Promise<T> {
  const answer = await fetch('https://api-NUMBER.example.com' + path, { ...init, headers: { authorization: 'Bearer ' + secret('KEY_NUMBER') } });
  if (!answer.ok) throw new ToolFailure('HTTP_' + answer.status, await answer.text(), { retryable: answer.status >= 500 });
  return (await answer.json()) as T;
}

export default defineTool({
  description: 'Items of the service NUMBER.',
  secrets: [{ name: 'KEY_NUMBER', hosts: ['api-NUMBER.example.com'], match_headers: ['authorization'] }],
  methods: {
    get_item: method({
      description: 'One item by its id.',
      risk: 'read',
      input: { type: 'object', properties: { id: { type: 'string' } }, required: ['id'], additionalProperties: false },
      run: ({ id }: { id: string }) => request<Item>('/items/' + id),
    }),
    create_item: method({
      description: 'Makes an item.',
      risk: 'write',
      input: { type: 'object', properties: { title: { type: 'string' }, labels: { type: 'array', items: { type: 'string' } } }, required: ['title'] },
      run: (input: object) => request<Item>('/items', { method: 'POST', body: JSON.stringify(input) }),
    }),
  },
});
`;

const MANIFEST = `[project]
name = "tool-NUMBER"
description = "Items of the service NUMBER."
dependencies = []

[tool.centaur]
secrets = [{ type = "http", name = "KEY_NUMBER", hosts = ["api-NUMBER.example.com"], match_headers = ["authorization"] }]
`;

const CLIENT = `"""Items of a service."""

from typing import Any, Optional

from centaur_sdk import secret


class Client:
    def __init__(self):
        self.base = "https://api.example.com"

    def get_item(self, id: str) -> dict[str, Any]:
        """One item by its id."""
        return {"id": id, "key": secret("KEY")}

    def create_item(self, title: str, labels: Optional[list[str]] = None, priority: int = 3) -> dict[str, Any]:
        """Makes an item.

        Args:
            title: what it is called
        """
        return {"title": title, "labels": labels}


def _client():
    return Client()
`;

const WORKFLOW = `import type { WorkflowContext } from '@centaur/sdk';

export const WORKFLOW_NAME = 'workflow_NUMBER';
export const RETRY = { maxAttempts: 3, delay: '10s' };

export async function handler({ topic }: { topic: string }, ctx: WorkflowContext): Promise<{ found: number }> {
  const found = await ctx.step('find', async () => topic.length);
  await ctx.sleep('1h');
  return { found };
}
`;

export interface Discovery {
  /** What was found: tools of these languages, or tools of both and workflows. */
  readonly languages: keyof typeof KINDS | 'with workflows';
  /** Milliseconds of each round. */
  readonly cold: readonly number[];
  readonly restarted: readonly number[];
  readonly changed: readonly number[];
}

/** @param count of tools */
export async function measureDiscovery(count: number, workflows: number, repeat: number): Promise<readonly Discovery[]> {
  const found: Discovery[] = [];
  for (const languages of ['node', 'python', 'both', 'with workflows'] as const) {
    const languageOf = KINDS[languages === 'with workflows' ? 'both' : languages];
    const files = languages === 'with workflows' ? workflows : 0;
    const [cold, restarted, changed]: [number[], number[], number[]] = [[], [], []];
    for (let round = 0; round < repeat; round++) {
      const folder = mkdtempSync(path.join(os.tmpdir(), 'cb-tools-'));
      try {
        const root = path.join(folder, 'tools');
        for (let i = 0; i < count; i++) writeTool(root, i, languageOf(i));
        const flows = path.join(folder, 'workflows');
        mkdirSync(flows);
        for (let i = 0; i < files; i++) writeFileSync(path.join(flows, `workflow_${i}.ts`), WORKFLOW.replaceAll('NUMBER', String(i)));
        const state = path.join(folder, 'state');
        // the copy of the host programs is made once for an installation
        for (const opened of await openBoth([], [], state)) await opened.close();
        for (const times of [cold, restarted]) {
          const began = performance.now();
          const [tools, hosts] = await openBoth([root], [flows], state);
          times.push(performance.now() - began);
          check(tools, count);
          if (hosts.registry.list().length !== files) throw new Error(`${hosts.registry.list().length} of ${files} workflows are there`);
          if (times === restarted) changed.push(await change(tools, root, languageOf(0)));
          await tools.close();
          await hosts.close();
        }
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    }
    found.push({ languages, cold, restarted, changed });
  }
  return found;
}

function openBoth(dirs: readonly string[], flows: readonly string[], stateDir: string): Promise<[Tools, Hosts]> {
  const launch = (program: HostProgram, label: string, onClose: (reason: Error) => void): Promise<HostProcess> =>
    launchPlain({ program, label, python: PYTHON, memoryMb: 512, log: () => undefined, onClose });
  return Promise.all([
    createToolRunner({ dirs, stateDir, launch: (program, tool, onClose) => launch(program, tool?.name ?? '', onClose) }),
    createHosts({ dirs: flows, stateDir, launch }),
  ]);
}

function check(tools: Tools, count: number): void {
  if (tools.list().length !== count || tools.problems().length > 0)
    throw new Error(`${tools.list().length} of ${count} tools are there; ${JSON.stringify(tools.problems().slice(0, 3))}`);
}

/** From the write to the notification, the wait until the folder is quiet included. */
async function change(tools: Tools, root: string, language: string): Promise<number> {
  // the watchers have told of the folder as it was
  await new Promise((resolve) => setTimeout(resolve, 300));
  const before = tools.get('tool-0')?.version;
  const changed = new Promise<void>((resolve, reject) => {
    // watchers keep no process alive
    const late = setTimeout(() => reject(new Error('the change was not noticed')), 300_000);
    tools.onChange(() => {
      // of the folder as it was, told late
      if (tools.get('tool-0')?.version === before) return;
      clearTimeout(late);
      resolve();
    });
  });
  const began = performance.now();
  appendFileSync(
    path.join(root, 'category-0', 'tool-0', language === 'node' ? 'tool.ts' : 'client.py'),
    language === 'node' ? '// changed\n' : '# changed\n',
  );
  await changed;
  return performance.now() - began;
}

function writeTool(root: string, i: number, language: 'node' | 'python'): void {
  const folder = path.join(root, `category-${i % 10}`, `tool-${i}`);
  mkdirSync(folder, { recursive: true });
  if (language === 'node') {
    writeFileSync(path.join(folder, 'tool.ts'), NODE.replaceAll('NUMBER', String(i)));
    writeFileSync(path.join(folder, 'README.md'), '# A tool\n');
    return;
  }
  writeFileSync(path.join(folder, 'pyproject.toml'), MANIFEST.replaceAll('NUMBER', String(i)));
  writeFileSync(path.join(folder, 'client.py'), CLIENT);
}
