/** A table as text of one width, for where Slack shows no table. A row is a line. */

/** Beyond this a line is wrapped on every screen, and padding would only make it longer. */
const WIDEST = 160;

export function alignTable(rows: readonly (readonly string[])[], align: readonly ('left' | 'center' | 'right')[]): string {
  const cells = rows.map((row) => row.map((cell) => cell.replaceAll(/\s+/g, ' ').trim()));
  const widths = align.map((_, column) => cells.reduce((widest, row) => Math.max(widest, widthOf(row[column] ?? '')), 0));
  const isWide = widths.reduce((sum, width) => sum + width + 3, 0) > WIDEST;
  const line = (row: readonly string[]): string =>
    isWide
      ? row.join(' | ')
      : row
          .map((cell, column) => pad(cell, widths[column] ?? 0, align[column] ?? 'left'))
          .join(' | ')
          .trimEnd();
  const [head = [], ...body] = cells;
  const rule = isWide ? '---' : widths.map((width) => '-'.repeat(Math.max(1, width))).join('-+-');
  return [line(head), rule, ...body.map(line)].join('\n');
}

function pad(cell: string, width: number, align: 'left' | 'center' | 'right'): string {
  const room = width - widthOf(cell);
  const before = align === 'left' ? 0 : align === 'right' ? room : Math.floor(room / 2);
  return ' '.repeat(before) + cell + ' '.repeat(room - before);
}

/** In columns of a fixed font: marks take none, Chinese, Japanese and Korean characters and emoji two. */
function widthOf(text: string): number {
  let width = 0;
  for (const character of text) {
    if (/[\p{M}\p{Cf}]/u.test(character)) continue;
    width += /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Emoji_Presentation}\uff01-\uff60]/u.test(character)
      ? 2
      : 1;
  }
  return width;
}
