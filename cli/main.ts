/**
 * The `centaur` command.
 *
 * It promises that results go to stdout and everything else to stderr, that every read has `--json`, and that the exit
 * code says what happened. It holds no state and knows no rules: it starts servers, or asks the API.
 *
 * Read `program.ts` for the commands, `serve/` for what `up`, `api` and `worker` start.
 */
import { CommanderError } from 'commander';
import { EXIT, explain } from './exit.ts';
import { createProgram } from './program.ts';

// `centaur runs ls | head`: whoever reads has seen enough
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(EXIT.ok);
  throw error;
});

try {
  await createProgram().parseAsync();
} catch (error) {
  // commander has already said what is wrong, or has shown the help that was asked for
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  else {
    const { code, message } = explain(error, process.argv.includes('--json'));
    process.stderr.write(`${message}\n`);
    process.exitCode = code;
  }
}
