/** Taking a secret's value from where nobody else sees it: stdin, a file, or a terminal that does not echo. */
import { readFileSync } from 'node:fs';
import { text as readStream } from 'node:stream/consumers';
import { type Command, Option } from 'commander';
import { EXIT, UsageError } from './exit.ts';

export interface ValueOptions {
  readonly valueStdin?: true;
  readonly valueFile?: string;
  /** Only there to be refused. */
  readonly value?: string | true;
}

export function withValue(command: Command): Command {
  return command
    .option('--value-stdin', 'read the value from stdin')
    .option('--value-file <file>', 'read the value from a file')
    .addOption(new Option('--value [value]').hideHelp())
    .allowExcessArguments();
}

/** @throws UsageError for a value among the arguments: without the value in it */
export function refuseValueArgument(name: string, options: ValueOptions, command: Command): void {
  if (options.value === undefined && command.args.length <= 1 && !name.includes('=')) return;
  throw new UsageError(
    'a value is not taken from an argument: the shell keeps it in its history, and everyone on this machine sees it in the list of processes. ' +
      'Use --value-stdin or --value-file, or give none and type it when asked',
  );
}

/** Undefined when none is given and there is no terminal to ask on. @throws UsageError */
export async function readValue(name: string, options: ValueOptions): Promise<string | undefined> {
  if (options.valueStdin && options.valueFile !== undefined) throw new UsageError('give either --value-stdin or --value-file');
  if (options.valueStdin) return withoutBreak(await readStream(process.stdin));
  if (options.valueFile !== undefined) {
    try {
      return withoutBreak(readFileSync(options.valueFile, 'utf8'));
    } catch (error) {
      throw new UsageError(`--value-file: cannot read ${options.valueFile}: ${(error as Error).message}`, { cause: error });
    }
  }
  if (!process.stdin.isTTY) return undefined;
  const typed = await readHidden(`Value of ${name} (it is not shown): `, process.stdin, process.stderr);
  if (typed === undefined) process.exit(EXIT.interrupted);
  return typed;
}

/** Editors and `echo` end a text with a line break. */
function withoutBreak(text: string): string {
  return text.replace(/\r?\n$/, '');
}

type Terminal = Pick<NodeJS.ReadStream, 'on' | 'off' | 'setRawMode' | 'setEncoding' | 'resume' | 'pause'>;

/** One line from a terminal, without echo. Undefined when Ctrl-C or Ctrl-D was typed. */
export function readHidden(prompt: string, input: Terminal, output: Pick<NodeJS.WriteStream, 'write'>): Promise<string | undefined> {
  return new Promise((resolve) => {
    let typed = '';
    const end = (result: string | undefined) => {
      input.off('data', take);
      input.setRawMode(false);
      input.pause();
      output.write('\n');
      resolve(result);
    };
    const take = (chunk: string) => {
      for (const key of chunk) {
        if (key === '\r' || key === '\n') return end(typed);
        if (key === '\u0003' || key === '\u0004') return end(undefined);
        if (key === '\u007f' || key === '\b') typed = Array.from(typed).slice(0, -1).join('');
        else typed += key;
      }
    };
    output.write(prompt);
    input.setEncoding('utf8');
    input.setRawMode(true);
    input.on('data', take);
    input.resume();
  });
}
