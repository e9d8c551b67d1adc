/** One persona: a prompt, and before it, in front matter, what its threads run with. */
import { createHash } from 'node:crypto';
import { HARNESS_KINDS } from '../harness/index.ts';
import { choiceField, decode, listField, Malformed, readFrontMatter, textField } from './front-matter.ts';
import { readFile } from './read.ts';
import { isName, NAME_RULE } from './skill.ts';
import type { Persona } from './types.ts';

const PERSONA_MOST = 128 * 1024;
/** Characters, as of what a thread is given in its place. */
const PROMPT_MOST = 100_000;
const EFFORTS = ['low', 'medium', 'high', 'max'] as const;
/** A persona is ours: a field that means nothing is one that somebody relies on. */
const FIELDS = ['name', 'description', 'harness', 'model', 'effort', 'tools', 'skills'];

/** @throws Malformed */
export function readPersona(name: string, file: string): Persona {
  if (!isName(name)) throw new Malformed(`${JSON.stringify(name.slice(0, 100))} is no name for a persona: expected ${NAME_RULE}`);
  const { data } = readFile(file, PERSONA_MOST);
  const { fields = new Map(), body } = readFrontMatter(decode(data));
  for (const [key, field] of fields)
    if (!FIELDS.includes(key)) throw new Malformed(`${key.slice(0, 100)}: unknown field; there are ${FIELDS.join(', ')}`, field);
  const declared = textField(fields, 'name', 64);
  if (declared !== undefined && declared !== name)
    throw new Malformed(`name: ${JSON.stringify(declared)} is not the name of the file, ${JSON.stringify(name)}`, fields.get('name'));
  const prompt = body.trim();
  if (prompt === '') throw new Malformed('it has no prompt');
  if (prompt.length > PROMPT_MOST) throw new Malformed(`the prompt has more than ${PROMPT_MOST} characters`);
  return {
    name,
    description: textField(fields, 'description', 1024, { lines: true }),
    prompt,
    harness: choiceField(fields, 'harness', HARNESS_KINDS),
    model: textField(fields, 'model', 128),
    effort: choiceField(fields, 'effort', EFFORTS),
    tools: listField(fields, 'tools', /[\s,]+/, 200),
    skills: listField(fields, 'skills', /[\s,]+/, 200),
    source: file,
    sha256: createHash('sha256').update(data).digest('hex'),
  };
}
