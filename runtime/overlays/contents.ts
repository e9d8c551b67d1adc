/** What a layer holds, read without running any of it. */
import fs from 'node:fs';
import path from 'node:path';
import { readTree, viewsOf } from '../hosts/hosted/view.ts';
import { readLayer, readSkills } from '../skills/index.ts';
import { foldersOf } from '../tools/folders.ts';
import type { FoundPersona, FoundSkill, Layer, OverlayProblem, PromptPart } from './index.ts';

/** What agents get of a layer: small, and looked at whenever something changes. */
export interface Words {
  readonly skills: readonly FoundSkill[];
  readonly personas: readonly FoundPersona[];
  readonly prompt: PromptPart | undefined;
  readonly problems: readonly OverlayProblem[];
  /** Folders in which something may change. */
  readonly directories: readonly string[];
}

export interface Code {
  readonly name: string;
  readonly file: string;
}

export const NO_WORDS: Words = { skills: [], personas: [], prompt: undefined, problems: [], directories: [] };

export function readWords({ name: layer, folder, places }: Layer): Words {
  const { skills, problems, folders, ...rest } =
    folder !== undefined ? readLayer(folder) : places.skills !== undefined ? readSkills(places.skills) : NOTHING;
  const { personas, systemPrompt } = { ...NOTHING, ...rest };
  return {
    skills: skills.map((skill) => ({ ...skill, layer, file: path.join(skill.source, 'SKILL.md') })),
    personas: personas.map((persona) => ({ ...persona, layer, file: persona.source })),
    prompt: systemPrompt === undefined ? undefined : { layer, file: places.systemPrompt ?? '', text: systemPrompt },
    problems: problems.map((problem) => ({ layer, ...problem })),
    directories: folders.filter((each) => fs.existsSync(each)),
  };
}

const NOTHING: ReturnType<typeof readLayer> = { skills: [], personas: [], systemPrompt: undefined, problems: [], folders: [] };

/** The tools of a layer by the names that their files say. What they say when they are loaded is checked by whoever loads them. */
export function toolsOf(layer: Layer): { readonly items: readonly Code[]; readonly problems: readonly OverlayProblem[] } {
  return codeOf(layer, layer.places.tools, (root) => {
    const tree = readTree(root);
    const { folders, problems } = foldersOf(tree);
    const items = folders.map(({ folder, file, files, language }) => {
      const text = files.get(file)?.toString() ?? '';
      const said =
        language === 'python'
          ? PYTHON_NAME.exec(text)?.[1]
          : /\bdefineTool\s*\(\s*\{\s*(?:\/\/[^\n]*\n\s*)*name\s*:\s*['"`]([^'"`\n]+)/.exec(text)?.[1];
      return { name: said ?? path.basename(folder), file: path.join(root, folder) };
    });
    return { items, problems: [...tree.problems, ...problems] };
  });
}

/** Of the manifest's section, and of no other. */
const PYTHON_NAME = /^\[tool\.centaur\][^[]*?^name[ \t]*=[ \t]*["']([^"'\n]+)["']/m;

export function workflowsOf(layer: Layer): { readonly items: readonly Code[]; readonly problems: readonly OverlayProblem[] } {
  return codeOf(layer, layer.places.workflows, (root) => {
    const tree = readTree(root);
    const { views, problems } = viewsOf(tree);
    return { items: views.map(({ name, file }) => ({ name, file: path.join(root, file) })), problems: [...tree.problems, ...problems] };
  });
}

function codeOf(
  layer: Layer,
  root: string | undefined,
  read: (root: string) => {
    readonly items: readonly Code[];
    readonly problems: readonly { readonly file: string; readonly message: string }[];
  },
): { readonly items: readonly Code[]; readonly problems: readonly OverlayProblem[] } {
  if (root === undefined) return { items: [], problems: [] };
  try {
    const { items, problems } = read(root);
    return { items, problems: problems.map((problem) => ({ layer: layer.name, ...problem })) };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return { items: [], problems: code === 'ENOENT' ? [] : [{ layer: layer.name, file: root, message }] };
  }
}
