/** Samples that work, to begin with. */
import path from 'node:path';
import type { Command } from 'commander';
import { examples } from '../arguments.ts';
import { type Files, below, shown, writeNew } from '../new/files.ts';
import { type Name, parseName } from '../new/names.ts';
import { overlay } from '../new/overlay.ts';
import { nodeSkill, pythonSkill } from '../new/skill.ts';
import { nodeTool, pythonTool } from '../new/tool.ts';
import { nodeWorkflow, pythonWorkflow } from '../new/workflow.ts';
import { note, print } from '../output.ts';

type Language = 'node' | 'python';

interface Options {
  readonly dir?: string;
  readonly python?: true;
}

interface Kind {
  readonly name: string;
  readonly what: string;
  /** Where it goes unless somebody says otherwise. */
  readonly dir: string;
  readonly form?: 'words' | 'hyphens';
  /** By path below that. `own` must not be there. */
  make(name: Name, language: Language): { readonly files: Files; readonly own: readonly string[] };
  /** What to do next, from the folder that the command was run in. */
  next(dir: string, name: Name, language: Language): readonly string[];
}

const KINDS: readonly Kind[] = [
  {
    name: 'workflow',
    what: 'a workflow with a step, a wait and a test',
    dir: 'workflows',
    make: (name, language) => ({
      // one name in two languages would be two workflows with one name
      own: [`${name.snake}.ts`, `${name.snake}.py`],
      files: language === 'python' ? pythonWorkflow(name) : nodeWorkflow(name),
    }),
    next: (dir, { snake }, language) => [
      language === 'python'
        ? `cd ${quoted(shown(dir))} && python3 -m unittest test_${snake}`
        : `node --test ${quoted(shown(path.join(dir, `${snake}.test.ts`)))}`,
      `centaur workflows check ${quoted(shown(path.join(dir, language === 'python' ? `${snake}.py` : `${snake}.ts`)))}`,
    ],
  },
  {
    name: 'tool',
    what: 'a tool with two methods, a secret and a test',
    dir: 'tools',
    make: (name, language) => ({ own: [name.given], files: below(name.given, language === 'python' ? pythonTool(name) : nodeTool(name)) }),
    next: (dir, { given }, language) => [
      testsIn(path.join(dir, given), language),
      `centaur tools check ${quoted(shown(path.join(dir, given)))}`,
    ],
  },
  {
    name: 'skill',
    what: 'a skill: instructions for agents, with a script and a test',
    dir: '.agents/skills',
    form: 'hyphens',
    make: (name, language) => ({
      own: [name.given],
      files: below(name.given, language === 'python' ? pythonSkill(name) : nodeSkill(name)),
    }),
    next: (dir, { given }, language) => [testsIn(path.join(dir, given, 'scripts'), language)],
  },
  {
    name: 'overlay',
    what: 'an overlay: a folder with a tool, a workflow, a skill, a persona and a system prompt, each with its test',
    dir: '.',
    make: (name, language) => ({ own: [name.given], files: below(name.given, overlay(name, language)) }),
    next: (dir, { given }) => {
      const root = path.join(dir, given);
      return [
        ...['tools', 'workflows'].map((each) => `centaur ${each} check ${quoted(shown(path.join(root, each)))}`),
        `CENTAUR_OVERLAYS=${quoted(shown(root))} centaur overlays lint --strict`,
      ];
    },
  },
];

export function addNew(program: Command): void {
  const all = program
    .command('new')
    .description('Write a sample that works, with its test: a workflow, a tool, a skill, or an overlay with one of each.');
  examples(all, 'centaur new tool crm', 'centaur new workflow nightly_report --python', 'centaur new overlay acme');
  for (const kind of KINDS) {
    const command = all
      .command(kind.name)
      .description(`Write ${kind.what}. Nothing that is there is overwritten.`)
      .argument('<name>', 'lower case letters and digits, with - between them')
      .option('--dir <folder>', `where it is put (default: ${kind.dir === '.' ? 'here' : kind.dir})`)
      .option('--python', 'in Python; default: TypeScript')
      .action((text: string, options: Options) => write(kind, text, options));
    examples(command, `centaur new ${kind.name} ${kind.name === 'workflow' ? 'watch_build' : 'release-notes'}`);
  }
}

function write(kind: Kind, text: string, { dir: given, python }: Options): void {
  const name = parseName(text, kind.form);
  const dir = path.resolve(given ?? kind.dir);
  const language = python === true ? 'python' : 'node';
  const { files, own } = kind.make(name, language);
  for (const place of writeNew(dir, own, files)) print(shown(place));
  note('\nNext:');
  for (const line of kind.next(dir, name, language)) note(`  ${line}`);
}

function testsIn(folder: string, language: Language): string {
  return `cd ${quoted(shown(folder))} && ${language === 'python' ? 'python3 -m unittest' : 'node --test'}`;
}

/** For a shell. */
function quoted(text: string): string {
  return /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
