/** Policies before they are in force: drafts, templates, and what was in shadow. */
import { existsSync, writeFileSync } from 'node:fs';
import { InvalidArgumentError, type Command } from 'commander';
import type { Problem, ShadowReport } from '@centaur/kernel/policy';
import { toMilliseconds } from '@centaur/sdk';
import { connect } from '../api.ts';
import { examples, readTextFile, wholeNumber, withJson } from '../arguments.ts';
import { UsageError } from '../exit.ts';
import { note, paint, print, printable, printJson, relative, table } from '../output.ts';

interface Json {
  readonly json?: true;
}

export function addDrafts(policy: Command): void {
  const draft = policy.command('draft').description('Work on texts that are not in force.');
  examples(draft, 'centaur policy draft save refunds policy.yaml', 'centaur policy publish --draft refunds');

  const save = draft
    .command('save')
    .description('Save a file as a draft, in place of the one with that name. What is wrong with it is told.')
    .argument('<name>', 'of the draft')
    .argument('<file>', 'the policy, or - for stdin')
    .option('--message <text>', 'what it is about')
    .action(async (name: string, file: string, options: Json & { readonly message?: string }) => {
      const saved = await connect().saveDraft(name, await readTextFile(file), options.message);
      if (options.json) return printJson(saved);
      for (const problem of saved.problems) note(problemText(file, problem, process.stderr));
      print(`draft ${saved.name} is saved`);
    });
  examples(withJson(save), 'centaur policy draft save refunds policy.yaml --message "for the review"');

  const ls = draft
    .command('ls')
    .description('List the drafts, the last saved first.')
    .action(async (options: Json) => {
      const { items } = await connect().listDrafts();
      if (options.json) return printJson({ items });
      if (items.length === 0) return note('there are no drafts');
      const rows = items.map((each) => [
        each.name,
        relative(each.updated_at),
        each.author,
        each.digest.slice(0, 12),
        printable(each.message ?? ''),
      ]);
      print(table(['DRAFT', 'SAVED', 'AUTHOR', 'DIGEST', ''], rows));
    });
  examples(withJson(ls), 'centaur policy draft ls');

  const show = draft
    .command('show')
    .description('Print the text of a draft.')
    .argument('<name>', 'of the draft')
    .action(async (name: string, options: Json) => {
      const found = await connect().getDraft(name);
      if (options.json) return printJson(found);
      process.stdout.write(found.text.endsWith('\n') ? found.text : `${found.text}\n`);
    });
  examples(withJson(show), 'centaur policy draft show refunds > policy.yaml');

  const rm = draft
    .command('rm')
    .description('Remove a draft.')
    .argument('<name>', 'of the draft')
    .action(async (name: string, options: Json) => {
      const removed = await connect().removeDraft(name);
      if (options.json) printJson(removed);
      else print(`draft ${name} is removed`);
    });
  examples(withJson(rm), 'centaur policy draft rm refunds');
}

export function addTemplates(policy: Command): void {
  const templates = policy.command('templates').description('Policies for common tools, to begin with.');
  examples(templates, 'centaur policy templates ls', 'centaur policy templates show stripe');

  const ls = templates
    .command('ls')
    .description('List the templates.')
    .action(async (options: Json) => {
      const { listTemplates } = await import('@centaur/kernel/policy');
      const items = listTemplates();
      if (options.json) printJson({ items });
      else
        print(
          table(
            ['TEMPLATE', ''],
            items.map(({ name, about }) => [name, about]),
          ),
        );
    });
  examples(withJson(ls), 'centaur policy templates ls');

  examples(
    templates
      .command('show')
      .description('Print a template.')
      .argument('<name>', 'of the template')
      .action(async (name: string) => {
        const { readTemplate } = await import('@centaur/kernel/policy');
        process.stdout.write(readTemplate(name));
      }),
    'centaur policy templates show stripe',
  );

  examples(
    policy
      .command('new')
      .description('Write a policy from templates, as one text with all of their rules, gates and tests.')
      .requiredOption('--template <names>', 'one or more, separated by commas', (text: string) =>
        text.split(',').map((name) => name.trim()),
      )
      .option('--out <file>', 'a file that is not there yet; else it is printed')
      .action(async ({ template, out }: { readonly template: readonly string[]; readonly out?: string }) => {
        const { composeTemplates } = await import('@centaur/kernel/policy');
        const text = composeTemplates(template);
        if (out === undefined) return void process.stdout.write(text);
        if (existsSync(out)) throw new UsageError(`${out} is there already`);
        writeFileSync(out, text, { flag: 'wx' });
        print(`wrote ${out}: look at it, and try it with centaur policy test ${out}`);
      }),
    'centaur policy new --template github,slack,stripe --out policy.yaml',
  );
}

export function addShadowReport(shadow: Command): void {
  const report = shadow
    .command('report')
    .description('Say what rules and versions in shadow would have decided otherwise, from the decisions in the audit log.')
    .option('--since <time>', 'how long ago, such as 7d (default), or a time such as 2026-01-31T09:00:00Z', since)
    .option('--limit <number>', 'the newest so many decisions (default 10,000)', wholeNumber(1, 100_000))
    .action(async (options: { readonly since?: string; readonly limit?: number }, command: Command) => {
      const found = await connect().shadowReport({ since: options.since, limit: options.limit });
      // its parent has the flag, too, and takes it
      if (command.optsWithGlobals<Json>().json) printJson(found);
      else print(reportText(found));
    });
  examples(withJson(report), 'centaur policy shadow report --since 7d');
}

function since(text: string): string {
  const at = Date.parse(text);
  if (/^\d{4}-/.test(text) && !Number.isNaN(at)) return new Date(at).toISOString();
  try {
    return new Date(Date.now() - toMilliseconds(text)).toISOString();
  } catch {
    throw new InvalidArgumentError('expected how long ago, such as 7d, or a time such as 2026-01-31T09:00:00Z.');
  }
}

function reportText({ decisions, shadowed, failed, changes, more }: ShadowReport): string {
  const rows = changes.map(({ version, rule, from, to, count, samples }) => [
    String(count),
    `${from} to ${to}`,
    version === null ? `rule ${rule}` : `${rule === null ? 'the default' : `rule ${rule}`} of version ${version}`,
    samples[0]?.audit_id ?? '',
    printable(samples[0]?.resource ?? ''),
  ]);
  return [
    `${shadowed} of ${decisions} decisions had something in shadow${failed > 0 ? `; it failed for ${failed}` : ''}`,
    ...(changes.length === 0 ? ['none would have been decided otherwise'] : ['', table(['TIMES', 'CHANGE', 'BY', 'NEWEST', ''], rows)]),
    ...(more ? ['older decisions were not looked at: give a larger --limit'] : []),
  ].join('\n');
}

/** `file:line: message`, which editors and terminals make a link of. */
export function problemText(file: string, { level, line, rule, message }: Problem, stream: NodeJS.WriteStream): string {
  const place = [file === '-' ? 'stdin' : file, line].filter((part) => part !== undefined).join(':');
  const mark = level === 'error' ? paint('red', 'error', stream) : paint('yellow', 'warn ', stream);
  return `${mark} ${place}: ${rule === undefined ? '' : `rule ${rule}: `}${printable(message)}`;
}
