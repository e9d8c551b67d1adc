/** The demo harness as plain JavaScript, for whoever mounts it into sandboxes: without types to strip it starts three times as fast. */
import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';

export function readDemoProgram(): string {
  const source = readFileSync(new URL('program.ts', import.meta.url), 'utf8');
  // Node runs this file by the same means without a word, and warns about the function; an operator can do nothing about it
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    return stripTypeScriptTypes(source);
  } finally {
    process.emitWarning = emitWarning;
  }
}
