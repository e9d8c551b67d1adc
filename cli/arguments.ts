/** What is typed on a command line, made into values. */
import { readFileSync } from 'node:fs';
import { text as readStream } from 'node:stream/consumers';
import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { toMilliseconds } from '@centaur/sdk';
import { UsageError } from './exit.ts';

export function examples(command: Command, ...lines: readonly string[]): Command {
  return command.addHelpText('after', `\nExample${lines.length > 1 ? 's' : ''}:\n${lines.map((line) => `  $ ${line}`).join('\n')}`);
}

/** For every command that reads. */
export function withJson(command: Command): Command {
  return command.option('--json', 'print JSON');
}

/**
 * A JSON value from the command line: the text itself, `@file`, or `-` for stdin.
 *
 * @throws UsageError when it cannot be read or is not JSON
 */
export async function readJson(argument: string | undefined, what: string): Promise<unknown> {
  if (argument === undefined) return undefined;
  const [text, place] = await readText(argument, what);
  try {
    return JSON.parse(text);
  } catch (error) {
    const hint = place === undefined ? `; in a shell, quote it: '{"name": "value"}'` : ` in ${place}`;
    throw new UsageError(`${what}: not JSON: ${(error as Error).message}${hint}`, { cause: error });
  }
}

async function readText(argument: string, what: string): Promise<readonly [text: string, place: string | undefined]> {
  if (argument === '-') return [await readStream(process.stdin), 'stdin'];
  if (!argument.startsWith('@')) return [argument, undefined];
  const file = argument.slice(1);
  try {
    return [readFileSync(file, 'utf8'), file];
  } catch (error) {
    throw new UsageError(`${what}: cannot read ${file}: ${(error as Error).message}`, { cause: error });
  }
}

export function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^-?\d+$/.test(text) || value < least || value > most)
      throw new InvalidArgumentError(`expected a whole number from ${least} to ${most}.`);
    return value;
  };
}

/** A duration such as `15m`, in whole seconds. */
export function seconds(text: string): number {
  try {
    const value = toMilliseconds(text) / 1000;
    if (Number.isInteger(value)) return value;
  } catch {
    // said below
  }
  throw new InvalidArgumentError('expected a duration in whole seconds, such as 30s, 15m, 4h or 30d.');
}

/** The text of a file, or of stdin for `-`. @throws UsageError when it cannot be read */
export async function readTextFile(file: string): Promise<string> {
  try {
    return file === '-' ? await readStream(process.stdin) : readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(`cannot read ${file}: ${(error as Error).message}`, { cause: error });
  }
}

/** What lifts a limit. Commander would take a null for a missing value. */
export const NONE = 'none';

/** A limit: a number, or `none` to lift it. */
export function limit(most: number): (text: string) => number | typeof NONE {
  const parse = wholeNumber(1, most);
  return (text) => (text === NONE ? NONE : parse(text));
}

export function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}
