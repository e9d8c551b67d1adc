/** Finding out why it does not work. */
import type { Command } from 'commander';
import { examples, withJson } from '../arguments.ts';
import { EXIT } from '../exit.ts';
import { paint, print, printable, printJson } from '../output.ts';
import type { Check } from '../doctor.ts';

const MARKS = { ok: paint('green', 'ok  '), warn: paint('yellow', 'warn'), fail: paint('red', 'fail') } as const;

export function addDoctor(program: Command): void {
  const command = program
    .command('doctor')
    .summary('Check this machine, and say how to mend it.')
    .description(
      'Check this machine: Node, configuration, Postgres, workflow files, port, API and key. The exit code is 1 when a check fails.',
    )
    .action(doctor);
  examples(withJson(command), 'centaur doctor', 'DATABASE_URL=postgres://centaur@db/centaur centaur doctor');
}

async function doctor(options: { readonly json?: true }): Promise<void> {
  const { runChecks } = await import('../doctor.ts');
  const checks: Check[] = [];
  for await (const check of runChecks(process.env)) {
    checks.push(check);
    if (!options.json) print(checkText(check));
  }
  if (options.json) printJson(checks);
  process.exitCode = checks.some((each) => each.status === 'fail') ? EXIT.failed : EXIT.ok;
}

function checkText({ status, name, message, fix }: Check): string {
  const lines = [`${MARKS[status]}  ${name.padEnd(10)} ${printable(message)}`];
  if (fix !== undefined) lines.push(`      ${' '.repeat(10)} ${paint('dim', '->')} ${fix}`);
  return lines.join('\n');
}
