/** Lines and columns of a source. */

export interface Position {
  readonly line: number;
  readonly column: number;
}

/** Line and column of an offset, both from 1. */
export function positionAt(source: string, offset: number): Position {
  const before = source.slice(0, offset).split('\n');
  return { line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}

/** Where a field is given, in either export style; at least where the workflow is. */
export function fieldPosition(source: string, field: string): Position | undefined {
  const patterns = [
    new RegExp(String.raw`^export\b[^\n]*?\b(?=${field}\b)`, 'm'),
    new RegExp(String.raw`\b(?=${field}\b\s*[:(,])`),
    /^(?=export default\b)/m,
    /^export\b[^\n]*?\b(?=WORKFLOW_NAME\b)/m,
  ];
  for (const pattern of patterns) {
    const match = pattern.exec(source);
    if (match) return positionAt(source, match.index + match[0].length);
  }
  return undefined;
}
