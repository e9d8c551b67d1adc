import { stripTypeScriptTypes } from 'node:module';

/**
 * TypeScript without its types; lines and columns stay. Node warns that this may change, which is ours to know and not the operator's.
 *
 * @throws SyntaxError for what cannot be stripped
 */
export function stripTypes(source: string): string {
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    return stripTypeScriptTypes(source);
  } finally {
    process.emitWarning = emitWarning;
  }
}
