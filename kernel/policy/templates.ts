/** Policies to begin with, by tool. Each is whole, with tests that pass; together they are one text. */
import { readFileSync } from 'node:fs';
import { PolicyError } from './errors.ts';

export interface TemplateView {
  readonly name: string;
  /** Its first line. */
  readonly about: string;
}

const NAMES = ['github', 'slack', 'stripe'] as const;

export function listTemplates(): readonly TemplateView[] {
  return NAMES.map((name) => ({ name, about: aboutOf(readTemplate(name)) }));
}

/** @throws PolicyError POLICY_NOT_FOUND */
export function readTemplate(name: string): string {
  if (name !== 'base' && !NAMES.some((known) => known === name))
    throw new PolicyError('POLICY_NOT_FOUND', `there is no template ${JSON.stringify(name)}; there are ${NAMES.join(', ')}`);
  return readFileSync(new URL(`./templates/${name}.yaml`, import.meta.url), 'utf8');
}

const SECTIONS = ['gates', 'rules', 'tests'] as const;

/** One text with what all of them say, on what every policy begins with. Their ids and gates begin with their names, so none meets another's. @throws PolicyError */
export function composeTemplates(names: readonly string[]): string {
  const texts = ['base', ...new Set(names)].map(readTemplate);
  const parts = texts.map(sectionsOf);
  const head = texts.map((text) => `# ${aboutOf(text)}`).join('\n');
  const body = SECTIONS.map((section) => {
    const lines = parts.map((part) => part.get(section) ?? '').join('');
    return lines === '' ? '' : `${section}:\n${lines}`;
  });
  return `${head}\nversion: 1\ndefault: deny\n${body.join('')}`;
}

function aboutOf(text: string): string {
  return /^# (.*)$/m.exec(text)?.[1] ?? '';
}

/** The lines below each key of the text, as they are written: comments stay. */
function sectionsOf(text: string): Map<string, string> {
  const sections = new Map<string, string>();
  let section = '';
  for (const line of text.split('\n').filter((each) => each !== '')) {
    const key = /^(\w+):/.exec(line)?.[1];
    if (key !== undefined) section = key;
    else if (section !== '') sections.set(section, `${sections.get(section) ?? ''}${line}\n`);
  }
  return sections;
}
