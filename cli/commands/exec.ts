/** Any program behind the firewall: it gets a proxy, a CA and placeholders, for as long as it runs. */
import { spawn } from 'node:child_process';
import os from 'node:os';
import type { Command } from 'commander';
import { type Api, connect } from '../api.ts';
import { collect, examples, wholeNumber } from '../arguments.ts';
import { HintedError } from '../exit.ts';
import { note } from '../output.ts';

/** What is for the operator's own use, and not for what runs behind the firewall. */
const WITHHELD = [
  'CENTAUR_API_KEY',
  'CENTAUR_MASTER_KEY',
  'CENTAUR_MASTER_KEY_FILE',
  'DATABASE_URL',
  'ALL_PROXY',
  'all_proxy',
  'NO_PROXY',
  'no_proxy',
];

interface Options {
  readonly secret: readonly string[];
  readonly principal?: string;
  readonly ttl: number;
  readonly quiet?: true;
}

export function addExec(program: Command): void {
  const exec = program
    .command('exec')
    .description('Run a program behind the firewall, with placeholders in its environment instead of secrets.')
    .argument('<command...>', 'the program and its arguments, after --')
    .requiredOption('--secret <name>', 'a secret that it may use; give it again for more', collect)
    .option('--principal <principal>', 'as whom (default user:<you>); it needs a grant for each secret')
    .option('--ttl <seconds>', 'how long it may last', wholeNumber(1, 7 * 86_400), 8 * 3600)
    .option('--quiet', 'say nothing but what the program says')
    .passThroughOptions()
    .action((command: readonly string[], options: Options) => run(command, options));
  examples(exec, 'centaur exec --secret STRIPE_API_KEY -- node bill.js', 'centaur exec --secret GITHUB_TOKEN -- gh pr list');
}

async function run([file = '', ...args]: readonly string[], options: Options): Promise<void> {
  const api = connect();
  const principal = options.principal ?? `user:${os.userInfo().username}`;
  const lease = await api.createLease({ principal, secrets: options.secret, ttl_seconds: options.ttl });
  if (options.quiet === undefined) note(`${principal} has ${options.secret.join(', ')} until ${lease.expires_at}, as placeholders`);
  const environment = { ...process.env };
  for (const name of WITHHELD) delete environment[name];
  const child = spawn(file, args, { stdio: 'inherit', env: { ...environment, ...lease.env } });
  const pass = (signal: NodeJS.Signals) => void child.kill(signal);
  // a terminal sends Ctrl-C to the program as well; this process waits for it and then ends the lease
  process.on('SIGINT', () => (process.stdin.isTTY ? undefined : pass('SIGINT')));
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, pass);
  const ended = await new Promise<number | Error>((resolve) => {
    child.once('error', resolve);
    child.once('exit', (code, signal) => resolve(code ?? 128 + (os.constants.signals[signal as NodeJS.Signals] ?? 0)));
  });
  await endLease(api, lease.lease_id);
  if (ended instanceof Error)
    throw new HintedError(`${file} cannot be run: ${ended.message}`, 'Is it installed, and in PATH?', { cause: ended });
  process.exitCode = ended;
}

/** The lease ends by itself too, later. */
async function endLease(api: Api, leaseId: string): Promise<void> {
  await api.revokeLease(leaseId).catch((error: Error) => note(`the lease ${leaseId} could not be ended now: ${error.message}`));
}
