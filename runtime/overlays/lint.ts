/** What is wrong with overlays, or would surprise whoever reads them: without running anything of theirs. */
import fs from 'node:fs';
import path from 'node:path';
import { stripTypes } from '../hosts/hosted/strip.ts';
import { readTree } from '../hosts/hosted/view.ts';
import type { LayerContents, Overlays } from './index.ts';

export interface Finding {
  readonly level: 'error' | 'warning' | 'note';
  readonly layer: string;
  readonly file: string;
  readonly line?: number;
  readonly message: string;
}

/** What an overlay is made of, and what is usual beside it. */
const KNOWN = new Set(['tools', 'workflows', 'personas']);
const BESIDE = new Set(['docs', 'doc', 'test', 'tests', 'scripts', 'examples', 'assets', 'node_modules']);
const MEANT: Readonly<Record<string, string>> = {
  tool: 'tools',
  workflow: 'workflows',
  persona: 'personas',
  skill: '.agents/skills',
  skills: '.agents/skills',
  agents: '.agents/skills',
};
/** Whoever puts one here believes that it holds. */
const NOT_HEARD = /^(?:centaur\.ya?ml|policy(?:\.\w+)?|policies|harnesses|firewall(?:\.\w+)?)$/i;
const TYPED = /\.m?ts$/;

/** Errors first, in the order of the layers. */
export function lintOverlays(overlays: Overlays): readonly Finding[] {
  const contents = overlays.contents();
  const findings = [...contents.flatMap(findingsOf), ...shadowFindings(overlays, contents)];
  const levels = ['error', 'warning', 'note'];
  return findings.toSorted((a, b) => levels.indexOf(a.level) - levels.indexOf(b.level));
}

function findingsOf(contents: LayerContents): Finding[] {
  const { layer, problems, skills, prompt, personas } = contents;
  const finding = (level: Finding['level'], file: string, message: string, line?: number): Finding => ({
    level,
    layer: layer.name,
    file,
    ...(line === undefined ? {} : { line }),
    message,
  });
  const holds = contents.tools.length + contents.workflows.length + skills.length + personas.length + (prompt === undefined ? 0 : 1);
  return [
    ...problems.map(({ file, line, message }) => finding('error', file, message, line)),
    ...[layer.places.tools, layer.places.workflows].flatMap((root) => (root === undefined ? [] : brokenCode(root, layer.name))),
    ...(layer.folder === undefined || (layer.kind === 'git' && layer.git?.commit === undefined) ? [] : strangers(layer.folder, finding)),
    ...(holds === 0 && problems.length === 0 && layer.kind !== 'dir'
      ? [
          finding(
            'warning',
            layer.folder ?? layer.name,
            'there is nothing in it that an overlay adds: tools/, workflows/, personas/, .agents/skills/, SYSTEM_PROMPT.md',
          ),
        ]
      : []),
  ];
}

/** TypeScript that does not parse. What a file does when it is loaded is for `centaur tools check` and `centaur workflows check`. */
function brokenCode(root: string, layer: string): Finding[] {
  let files: ReadonlyMap<string, Buffer>;
  try {
    ({ files } = readTree(root));
  } catch {
    // it is not there, or is told of elsewhere
    return [];
  }
  return [...files].flatMap(([name, data]): Finding[] => {
    if (!TYPED.test(name)) return [];
    try {
      stripTypes(data.toString());
      return [];
    } catch (error) {
      return [
        {
          level: 'error',
          layer,
          file: path.join(root, name),
          message: `it does not parse: ${(error as Error).message.trim().split('\n')[0] ?? ''}`,
        },
      ];
    }
  });
}

function strangers(folder: string, finding: (level: Finding['level'], file: string, message: string) => Finding): Finding[] {
  const found: Finding[] = [];
  const look = (place: string, isKnown: (name: string) => boolean): void => {
    for (const entry of entriesIn(place)) {
      const { name } = entry;
      const full = path.join(place, name);
      if (NOT_HEARD.test(name)) found.push(finding('warning', full, 'it is not read: an overlay changes no configuration and no policy'));
      else if (entry.isDirectory() && !isKnown(name)) {
        const meant = MEANT[name.toLowerCase()] ?? (KNOWN.has(name.toLowerCase()) ? name.toLowerCase() : undefined);
        found.push(
          finding('warning', full, meant === undefined ? 'unknown folder: nothing of it is used' : `unknown folder: is ${meant}/ meant?`),
        );
      }
    }
  };
  look(folder, (name) => KNOWN.has(name) || BESIDE.has(name) || name.startsWith('.'));
  look(path.join(folder, '.agents'), (name) => name === 'skills');
  return found;
}

function entriesIn(folder: string): readonly fs.Dirent[] {
  try {
    return fs.readdirSync(folder, { withFileTypes: true });
  } catch {
    return [];
  }
}

function shadowFindings(overlays: Overlays, contents: readonly LayerContents[]): Finding[] {
  const twice = contents.flatMap(({ layer, tools, workflows }) =>
    [...repeated(tools, 'tool'), ...repeated(workflows, 'workflow')].map(({ file, message }): Finding => ({
      level: 'error',
      layer: layer.name,
      file,
      message,
    })),
  );
  const hiding = overlays.shadows().flatMap(({ kind, name, layer, file, hidden }): Finding[] => {
    const below = [...new Set(hidden.map((each) => each.layer))].filter((each) => each !== layer);
    return below.length === 0 ? [] : [{ level: 'note', layer, file, message: `the ${kind} "${name}" hides that of ${below.join(', ')}` }];
  });
  return [...twice, ...hiding];
}

function repeated(items: LayerContents['tools'], kind: string): readonly { readonly file: string; readonly message: string }[] {
  return items.flatMap(({ name, file }, i) => {
    const first = items.findIndex((each) => each.name === name);
    return first === i ? [] : [{ file, message: `the ${kind} "${name}" is also in ${items[first]?.file ?? ''}: rename one of them` }];
  });
}
