/**
 * What one folder of an organisation brings for agents: `.agents/skills/<name>/SKILL.md`, `personas/<name>.md` or
 * `personas/<name>/PROMPT.md`, and SYSTEM_PROMPT.md. None of it has to be there.
 */
import fs from 'node:fs';
import path from 'node:path';
import { decode, Malformed } from './front-matter.ts';
import { readPersona } from './persona.ts';
import { list, readFile, sizeText } from './read.ts';
import { readSkill, SKILL_FILE } from './skill.ts';
import type { Persona, Skill, SkillProblem } from './types.ts';

export interface Layer {
  readonly skills: readonly Skill[];
  readonly personas: readonly Persona[];
  readonly systemPrompt: string | undefined;
  readonly problems: readonly SkillProblem[];
  /** Folders in which a change means reading again; those above that are missing are not among them. */
  readonly folders: readonly string[];
}

const AGENTS = '.agents';
const SKILLS = path.join(AGENTS, 'skills');
const PERSONAS = 'personas';
const PERSONA_FILE = 'PROMPT.md';
const SYSTEM_PROMPT = 'SYSTEM_PROMPT.md';
const SYSTEM_PROMPT_MOST = 100_000;
/** In one folder. */
const SKILLS_MOST = 500;
const SKILLS_BYTES_MOST = 64 * 1024 * 1024;
const PERSONAS_MOST = 500;

/** Never throws for what is in the folder. */
export function readLayer(folder: string): Layer {
  const links = [AGENTS, SKILLS, PERSONAS].map((part) => path.join(folder, part)).filter(isLink);
  const skills = links.some((link) => !link.endsWith(PERSONAS)) ? NOTHING : readSkills(path.join(folder, SKILLS));
  const personas = links.some((link) => link.endsWith(PERSONAS)) ? { ...NOTHING, personas: [] } : readPersonas(path.join(folder, PERSONAS));
  const problems = [
    ...links.map((file) => ({ file, message: 'it is a link, and links are not followed' })),
    ...skills.problems,
    ...personas.problems,
  ];
  const systemPrompt = attempt(problems, path.join(folder, SYSTEM_PROMPT), () => readSystemPrompt(folder));
  return {
    skills: skills.skills,
    personas: personas.personas,
    systemPrompt,
    problems,
    folders: [folder, path.join(folder, AGENTS), ...skills.folders, ...personas.folders],
  };
}

const NOTHING: Pick<Layer, 'skills' | 'problems' | 'folders'> = { skills: [], problems: [], folders: [] };

function isLink(file: string): boolean {
  try {
    return fs.lstatSync(file).isSymbolicLink();
  } catch {
    // it is not there, or below what is no folder
    return false;
  }
}

/** The skills in a folder of skills, each in a folder of its own. */
export function readSkills(root: string): Pick<Layer, 'skills' | 'problems' | 'folders'> {
  const problems: SkillProblem[] = [];
  const folders = new Set([root]);
  const found = attempt(problems, root, () => list(root)) ?? [];
  const names = found.filter((entry) => !/^[._]/.test(entry.name) && !entry.isFile());
  if (names.length > SKILLS_MOST)
    problems.push({ file: root, message: `it holds more than ${SKILLS_MOST} skills: the others are left out` });
  let bytes = 0;
  const skills = names.slice(0, SKILLS_MOST).flatMap((entry) => {
    const folder = path.join(root, entry.name);
    folders.add(folder);
    const skill = attempt(problems, folder, () => {
      if (!entry.isDirectory())
        throw new Malformed(entry.isSymbolicLink() ? 'it is a link, and links are not followed' : 'it is no folder');
      return readSkill(folder);
    });
    for (const file of skill?.files ?? []) folders.add(path.dirname(path.join(folder, file.path)));
    if (skill === undefined) return [];
    bytes += skill.bytes;
    if (bytes <= SKILLS_BYTES_MOST) return [skill];
    problems.push({
      file: folder,
      message: `with it the skills of ${root} are larger than ${sizeText(SKILLS_BYTES_MOST)}: it is left out`,
    });
    return [];
  });
  return { skills, problems, folders: [...folders] };
}

function readPersonas(root: string): Pick<Layer, 'personas' | 'problems' | 'folders'> {
  const problems: SkillProblem[] = [];
  const folders = [root];
  const files = new Map<string, string>();
  for (const entry of attempt(problems, root, () => list(root)) ?? []) {
    if (/^[._]/.test(entry.name) || entry.name.toLowerCase() === 'readme.md') continue;
    const at = path.join(root, entry.name);
    const isMarkdown = entry.name.endsWith('.md');
    if (entry.isDirectory()) folders.push(at);
    else if (!isMarkdown) continue;
    const name = entry.isDirectory() ? entry.name : entry.name.slice(0, -'.md'.length);
    const file = entry.isDirectory() ? path.join(at, PERSONA_FILE) : at;
    const other = files.get(name);
    if (other === undefined) files.set(name, file);
    else problems.push({ file, message: `the persona ${name} is in ${path.relative(root, other)} already; keep one of them` });
  }
  if (files.size > PERSONAS_MOST)
    problems.push({ file: root, message: `it holds more than ${PERSONAS_MOST} personas: the others are left out` });
  const personas = [...files]
    .slice(0, PERSONAS_MOST)
    .flatMap(([name, file]) => attempt(problems, file, () => readPersona(name, file)) ?? []);
  return { personas, problems, folders };
}

function readSystemPrompt(folder: string): string | undefined {
  if (!list(folder).some(({ name }) => name === SYSTEM_PROMPT)) return undefined;
  const text = decode(readFile(path.join(folder, SYSTEM_PROMPT), SYSTEM_PROMPT_MOST * 4).data).trim();
  if (text.length > SYSTEM_PROMPT_MOST) throw new Malformed(`it has more than ${SYSTEM_PROMPT_MOST} characters`);
  return text === '' ? undefined : text;
}

/** What is wrong with one is a problem of that one; with a line, it is about the text in it. */
function attempt<T>(problems: SkillProblem[], file: string, read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    const malformed = error instanceof Malformed ? error : new Malformed(`it cannot be read: ${(error as Error).message}`);
    const isSkill = path.extname(file) === '' && malformed.line !== undefined;
    problems.push(malformed.in(isSkill ? path.join(file, SKILL_FILE) : file));
    return undefined;
  }
}

/** By name, sorted: of those in later lists. */
export function shadowed<T extends { readonly name: string }>(lists: readonly (readonly T[])[]): T[] {
  const byName = new Map(lists.flat().map((each) => [each.name, each]));
  return [...byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}
