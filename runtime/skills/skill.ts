/** One skill: a folder with SKILL.md and whatever that refers to. The format is the open one of agentskills.io. */
import { createHash } from 'node:crypto';
import path from 'node:path';
import { stringify } from 'yaml';
import { decode, type Fields, listField, Malformed, readFrontMatter, textField } from './front-matter.ts';
import { readTree } from './read.ts';
import type { Skill, SkillFile } from './types.ts';

export const SKILL_FILE = 'SKILL.md';

const LIMITS = { files: 256, bytes: 4 * 1024 * 1024, depth: 8 };
const SKILL_FILE_MOST = 256 * 1024;
const NAME_MOST = 64;
const METADATA_MOST = 64;

/** Of skills and personas alike: also a folder in the sandbox, and an argument. */
export function isName(name: string): boolean {
  return name.length <= NAME_MOST && /^[a-z0-9]+(?:-[a-z0-9]+)*$/.test(name);
}

export const NAME_RULE = `lower case letters, digits, and single - between them, at most ${NAME_MOST}`;

/** @param folder whose last part is the skill's name. @throws Malformed about SKILL.md where it has a line, else about the folder */
export function readSkill(folder: string): Skill {
  const name = path.basename(folder);
  if (!isName(name)) throw new Malformed(`${JSON.stringify(name.slice(0, 100))} is no name for a skill: expected ${NAME_RULE}`);
  const files = readTree(folder, LIMITS);
  const main = files.find((file) => file.path === SKILL_FILE);
  if (main === undefined) {
    const like = files.find((file) => file.path.toLowerCase() === 'skill.md');
    throw new Malformed(`it has no ${SKILL_FILE}${like === undefined ? '' : `; rename ${like.path}`}`);
  }
  if (main.data.length > SKILL_FILE_MOST)
    throw new Malformed(`${SKILL_FILE} is larger than ${SKILL_FILE_MOST / 1024} KiB: move what is long into files beside it`);
  const { fields } = readFrontMatter(decode(main.data));
  if (fields === undefined)
    throw new Malformed('it has no front matter: expected --- in the first line, then name and description', { line: 1, column: 1 });
  const declared = requireText(fields, 'name', NAME_MOST);
  if (declared !== name)
    throw new Malformed(`name: ${JSON.stringify(declared)} is not the name of the folder, ${JSON.stringify(name)}`, fields.get('name'));
  return {
    name,
    description: requireText(fields, 'description', 1024, { lines: true }),
    license: textField(fields, 'license', 500),
    compatibility: textField(fields, 'compatibility', 500, { lines: true }),
    // one that is written like Bash(git add:*) has blanks of its own
    allowedTools: listField(fields, 'allowed-tools', /[\s,]+(?![^(]*\))/, 100) ?? [],
    metadata: metadataOf(fields),
    source: folder,
    files,
    bytes: files.reduce((sum, { data }) => sum + data.length, 0),
    version: versionOf(files),
  };
}

function requireText(fields: Fields, name: string, most: number, options: { readonly lines?: true } = {}): string {
  const text = textField(fields, name, most, options);
  if (text === undefined) throw new Malformed(`${name}: is required`, fields.get(name) ?? { line: 1, column: 1 });
  return text;
}

function metadataOf(fields: Fields): Record<string, string> {
  const field = fields.get('metadata');
  const given = field?.value ?? {};
  if (typeof given !== 'object' || Array.isArray(given)) throw new Malformed('metadata: expected names and texts', field);
  const entries = Object.entries(given);
  if (entries.length > METADATA_MOST) throw new Malformed(`metadata: ${METADATA_MOST} entries are the most`, field);
  // a version that looks like a number is meant as it is written
  const bad = entries.find(([, value]) => !['string', 'number', 'boolean'].includes(typeof value));
  if (bad !== undefined) throw new Malformed(`metadata.${bad[0].slice(0, 100)}: expected a text`, field);
  return Object.fromEntries(entries.map(([key, value]) => [key, String(value)]));
}

/** Of the same files, the same. */
export function versionOf(files: readonly SkillFile[]): string {
  const hash = createHash('sha256');
  for (const { path: at, data, executable } of files) hash.update(JSON.stringify([at, data.length, executable])).update(data);
  return hash.digest('hex').slice(0, 16);
}

/**
 * The skill with nothing in its front matter but what the format describes, and without what it would have pre-approved: some harnesses
 * take a skill's word for that, or run what it names, and then nobody is asked.
 */
export function withoutGrants(skill: Skill): Skill {
  const { name, description, license, compatibility, metadata } = skill;
  const files = skill.files.map((file) => {
    if (file.path !== SKILL_FILE) return file;
    const front = stringify({
      name,
      description,
      ...(license === undefined ? {} : { license }),
      ...(compatibility === undefined ? {} : { compatibility }),
      ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
    });
    return { ...file, data: Buffer.from(`---\n${front}---\n${readFrontMatter(decode(file.data)).body}`) };
  });
  return { ...skill, allowedTools: [], files, bytes: files.reduce((sum, { data }) => sum + data.length, 0), version: versionOf(files) };
}
