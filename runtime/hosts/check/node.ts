/** TypeScript and JavaScript: the files are loaded as the worker loads them, which runs what is at their top. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { LoadedWorkflow } from '../node/definition.ts';
import { createNodeHost } from '../node/index.ts';
import { loadEntry } from '../node/entry.ts';
import type { Problem } from '../node/locate.ts';
import { positionAt } from '../node/position.ts';
import { createSnapshots } from '../node/snapshot.ts';
import { inWords, readWebhooks } from './declared.ts';
import type { Checked, CheckedWorkflow, Finding } from './finding.ts';

export async function checkNodeFolders(dirs: readonly string[], now: Date): Promise<Checked> {
  const host = await createNodeHost({ dirs, watch: false });
  const loaded = host.registry.list() as readonly LoadedWorkflow[];
  const problems = host.problems();
  await host.close();
  return toChecked(loaded, problems, now);
}

export async function checkNodeFile(file: string, now: Date): Promise<Checked> {
  const root = path.dirname(file);
  const snapshots = createSnapshots([root]);
  const { workflow, problem } = await loadEntry({ root, file, before: undefined, snapshot: snapshots.open(), snapshots });
  const missing = { file, message: 'is no workflow: it exports neither WORKFLOW_NAME nor a definition by default' };
  return toChecked(workflow ? [workflow] : [], problem ? [problem] : workflow ? [] : [missing], now);
}

function toChecked(loaded: readonly LoadedWorkflow[], problems: readonly Problem[], now: Date): Checked {
  const each = loaded.map((workflow) => checkLoaded(workflow, now));
  return {
    workflows: each.map(({ workflow }) => workflow),
    findings: [...problems.map((problem): Finding => ({ ...problem, level: 'error' })), ...each.flatMap(({ findings }) => findings)],
  };
}

function checkLoaded(workflow: LoadedWorkflow, now: Date): { readonly workflow: CheckedWorkflow; readonly findings: readonly Finding[] } {
  const { name, source: file, version, schedules = [] } = workflow;
  const webhooks = readWebhooks({ field: 'WEBHOOKS', value: workflow.webhooks, placeOf: () => webhooksIn(file) });
  return {
    workflow: {
      name,
      language: 'node',
      file,
      version,
      schedules: schedules.map((spec) => inWords(spec, now)),
      webhooks: webhooks.items,
    },
    findings: webhooks.findings,
  };
}

/** Where either style of export declares them. */
function webhooksIn(file: string): { file: string; line?: number; column?: number } {
  const source = readFileSync(file, 'utf8');
  const at = /\b(?:WEBHOOKS|webhooks)\b/.exec(source);
  return at === null ? { file } : { file, ...positionAt(source, at.index) };
}
