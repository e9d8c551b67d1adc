/**
 * Tools as types: the file with which the compiler checks `ctx.callTool` of workflows. It adds to the SDK's `KnownTools`, and it is the same for
 * the same tools, in whatever order they come: a difference is a difference of the tools.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import type { MethodDeclaration, ServedTool } from '@centaur/kernel/tools';
import { UsageError } from '../exit.ts';
import { typeText } from './schema-type.ts';
import { docText, nameText } from './text.ts';

export interface TypedTool extends Pick<ServedTool, 'name' | 'description'> {
  readonly methods: readonly Pick<MethodDeclaration, 'name' | 'description' | 'input' | 'output'>[];
}

const HEAD = `/**
 * The tools of an installation, for \`ctx.callTool\`. Written by \`centaur tools types\`: change the tools, not this file.
 */
export {};
`;

export function toolTypes(tools: readonly TypedTool[]): string {
  const members = byName(tools).map(
    ({ name, description, methods }) =>
      `${docText(description, '    ')}    readonly ${nameText(name)}: {\n${byName(methods).map(methodText).join('')}    };\n`,
  );
  return `${HEAD}
declare module '@centaur/sdk' {
  interface KnownTools {
${members.join('')}  }
}
`;
}

function methodText({ name, description, input, output }: TypedTool['methods'][number]): string {
  const indent = ' '.repeat(8);
  return [
    `${docText(description, '      ')}      readonly ${nameText(name)}: {\n`,
    `${indent}readonly args: ${typeText(input, 'arguments', indent)};\n`,
    `${indent}readonly result: ${output === null ? 'unknown' : typeText(output, 'result', indent)};\n`,
    '      };\n',
  ].join('');
}

/**
 * Leaves a file alone that has this text already: whoever watches it has nothing to do then.
 *
 * @returns whether it was written
 * @throws UsageError for a file of somebody else's, and one that cannot be written
 */
export function writeTypes(file: string, text: string): boolean {
  const before = readIfThere(file);
  if (before === text) return false;
  if (before !== undefined && !before.startsWith(HEAD))
    throw new UsageError(`--out: ${file} is there already, and this command has not written it: choose another name`);
  try {
    writeFileSync(file, text);
  } catch (error) {
    throw new UsageError(`--out: cannot write ${file}: ${(error as Error).message}`, { cause: error });
  }
  return true;
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new UsageError(`--out: cannot read ${file}: ${(error as Error).message}`, { cause: error });
  }
}

function byName<T extends { readonly name: string }>(items: readonly T[]): readonly T[] {
  return items.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}
