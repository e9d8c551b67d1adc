/** Overlays: what is laid over what, what is wrong with it, and moving what is pinned. */
import type { Command } from 'commander';
import type { Overlays } from '@centaur/runtime/overlays';
import { examples, withJson } from '../arguments.ts';
import { EXIT, HintedError } from '../exit.ts';
import { note, paint, print, printable, printJson, table } from '../output.ts';

const ENVIRONMENT = `
Environment:
  CENTAUR_OVERLAYS  overlays, comma-separated, instead of those of centaur.yaml: a folder, or the address of a Git repository,
                    with #ref or #ref:folder/in/it
  CENTAUR_CONFIG    default ./centaur.yaml; centaur.lock is beside it, or in CENTAUR_HOME when there is none`;

export function addOverlays(program: Command): void {
  const overlays = program
    .command('overlays')
    .description(
      'See which layers of tools, workflows, skills, personas and prompts there are here, check them, or move what is pinned. Without a server.',
    )
    .addHelpText('after', ENVIRONMENT);
  examples(overlays, 'centaur overlays ls', 'centaur overlays lint', 'centaur overlays update sales');

  const ls = overlays.command('ls').description('List the layers, the lowest first, what each adds, and what hides what.').action(list);
  examples(withJson(ls), 'centaur overlays ls');

  const lint = overlays
    .command('lint')
    .description(
      'Say what is wrong with the layers: broken files, missing fields, unknown folders, and names that hide each other. Nothing of them is run.',
    )
    .option('--strict', 'exit with 1 for warnings too')
    .action(check);
  examples(withJson(lint), 'centaur overlays lint', 'CENTAUR_OVERLAYS=. centaur overlays lint --strict');

  const update = overlays
    .command('update')
    .description(
      'Fetch what the refs of repositories are now, and write their commits and checksums into the lock file. A server that reads it follows.',
    )
    .argument('[name...]', 'names of overlays; default: all repositories')
    .action(move);
  examples(withJson(update), 'centaur overlays update', 'centaur overlays update sales');
}

async function open(): Promise<Overlays> {
  const [{ loadConfig, readConfigFile }, { openLayers }] = await Promise.all([
    import('@centaur/kernel/config'),
    import('../serve/overlays.ts'),
  ]);
  const config = loadConfig(process.env);
  const settings = config.configFile === undefined ? undefined : readConfigFile(config.configFile);
  // what is wrong is in what the command says
  return openLayers(config, settings, { log: () => {}, watch: false });
}

async function list({ json }: { readonly json?: true }): Promise<void> {
  const overlays = await open();
  const contents = overlays.contents();
  const shadows = overlays.shadows();
  await overlays.close();
  const problems = contents.flatMap((each) => each.problems);
  if (json) {
    const layers = contents.map(({ layer, tools, workflows, skills, personas, prompt }) => ({
      name: layer.name,
      kind: layer.kind,
      folder: layer.folder ?? layer.name,
      ...(layer.git === undefined ? {} : { git: { ...layer.git, commit: layer.git.commit ?? null } }),
      tools: names(tools),
      workflows: names(workflows),
      skills: names(skills),
      personas: names(personas),
      system_prompt: prompt !== undefined,
    }));
    return printJson({ layers, shadows, problems });
  }
  const rows = contents.map(({ layer, tools, workflows, skills, personas, prompt }) => [
    printable(layer.name),
    layer.git === undefined
      ? printable(layer.kind === 'built_in' ? 'built in' : (layer.folder ?? 'one folder'))
      : printable(gitText(layer.git)),
    addsText({ tool: tools.length, workflow: workflows.length, skill: skills.length, persona: personas.length }, prompt !== undefined),
  ]);
  print(table(['LAYER', 'FROM', 'ADDS'], rows));
  if (shadows.length > 0) print();
  for (const { kind, name, layer, hidden } of shadows)
    print(printable(`${kind} ${name}: of ${layer}, hides that of ${hidden.map((each) => each.layer).join(', ')}`));
  for (const { layer, file, message } of problems)
    note(`${paint('red', 'error', process.stderr)} ${printable(`${layer}: ${file}: ${message}`)}`);
}

function names(items: readonly { readonly name: string }[]): readonly string[] {
  return items.map(({ name }) => name);
}

function gitText({
  url,
  ref,
  dir,
  commit,
}: {
  readonly url: string;
  readonly ref: string;
  readonly dir: string;
  readonly commit: string | undefined;
}): string {
  return `${url}#${ref}${dir === '' ? '' : `:${dir}`} ${commit === undefined ? 'not here' : commit.slice(0, 12)}`;
}

function addsText(counts: Readonly<Record<string, number>>, prompt: boolean): string {
  const parts = Object.entries(counts).flatMap(([what, count]) => (count === 0 ? [] : [`${count} ${what}${count === 1 ? '' : 's'}`]));
  return [...parts, ...(prompt ? ['a system prompt'] : [])].join(', ') || 'nothing';
}

const COLOURS = { error: 'red', warning: 'yellow', note: 'green' } as const;

async function check({ json, strict }: { readonly json?: true; readonly strict?: true }): Promise<void> {
  const overlays = await open();
  const { lintOverlays } = await import('@centaur/runtime/overlays');
  const findings = lintOverlays(overlays);
  await overlays.close();
  const failed = findings.some(({ level }) => level === 'error' || (strict === true && level === 'warning'));
  process.exitCode = failed ? EXIT.failed : EXIT.ok;
  if (json) return printJson({ findings });
  for (const { level, layer, file, line, message } of findings)
    print(
      `${printable(file)}${line === undefined ? '' : `:${line}`}: ${paint(COLOURS[level], level)}: ${printable(message)} ${paint('dim', printable(layer))}`,
    );
  if (findings.length === 0) print('nothing is wrong with the layers');
}

async function move(given: readonly string[], { json }: { readonly json?: true }): Promise<void> {
  const overlays = await open();
  try {
    const updated = await overlays.update(given.length === 0 ? undefined : given);
    if (json) return printJson({ overlays: updated.map((each) => ({ ...each, before: each.before ?? null })) });
    if (updated.length === 0) print('there is no repository among the overlays');
    for (const { name, before, commit } of updated)
      print(
        `${printable(name)}: ${before === undefined ? `locked at ${commit}` : before === commit ? `stays at ${commit}` : `${before} -> ${commit}`}`,
      );
  } catch (error) {
    if (error instanceof Error && error.name === 'OverlayError')
      throw new HintedError(error.message, 'Nothing was moved; "centaur overlays ls" shows what there is.', { cause: error });
    throw error;
  } finally {
    await overlays.close();
  }
}
