/** Folders of skills, for tests. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { readLayer, readSkills, shadowed, type SkillSource } from '../../runtime/skills/index.ts';

export interface WrittenSkill {
  readonly name: string;
  readonly description: string;
  /** Behind the front matter. */
  readonly body?: string;
  /** More of the front matter, in lines. */
  readonly fields?: string;
}

interface Test {
  after(end: () => void): void;
}

export function makeFolder(t: Test): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'centaur-skills-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Files by path; those that end in .sh can be run. */
export function write(folder: string, files: Readonly<Record<string, string | Buffer>>): void {
  for (const [name, data] of Object.entries(files)) {
    const file = path.join(folder, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, data);
    if (name.endsWith('.sh')) chmodSync(file, 0o755);
  }
}

export function skillText({ name, description, body = 'Do it.\n', fields = '' }: WrittenSkill): string {
  return `---\nname: ${name}\ndescription: ${JSON.stringify(description)}\n${fields}---\n${body}`;
}

export interface SkillsAt {
  /** Laid out as overlays are. */
  readonly layers?: readonly string[];
  readonly skillDirs?: readonly string[];
}

/** What is there now: `reload` looks again. */
export function skillsAt({ layers = [], skillDirs = [] }: SkillsAt): SkillSource & { reload(): void } {
  const look = () => ({ layers: layers.map(readLayer), dirs: skillDirs.map(readSkills) });
  let found = look();
  return {
    skills: () => shadowed([...found.layers, ...found.dirs].map((each) => each.skills)),
    personas: () => shadowed(found.layers.map((each) => each.personas)),
    systemPrompt: () =>
      found.layers.flatMap(({ systemPrompt }, i) => (systemPrompt === undefined ? [] : [{ layer: layers[i] ?? '', text: systemPrompt }])),
    reload() {
      found = look();
    },
  };
}

export function withSkills(t: Test, skills: readonly WrittenSkill[]): ReturnType<typeof skillsAt> & { readonly folder: string } {
  const folder = makeFolder(t);
  for (const skill of skills) write(folder, { [`${skill.name}/SKILL.md`]: skillText(skill) });
  return { folder, ...skillsAt({ skillDirs: [folder] }) };
}
