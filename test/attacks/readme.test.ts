import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

const FOLDER = new URL('.', import.meta.url);
const read = (name: string) => readFileSync(new URL(name, FOLDER), 'utf8');
/** Of the list of attacks; those that are missing were joined with others. Two are kept elsewhere, which the text says. */
const ROWS = [
  1, 2, 3, 6, 7, 8, 10, 13, 14, 15, 16, 18, 20, 21, 22, 25, 26, 27, 30, 31, 33, 34, 35, 36, 39, 40, 41, 44, 46, 47, 48, 49, 50, 51, 53, 54,
  56, 57, 59, 60, 61, 63, 67, 68,
];

test('the table names tests that are there, for every row, and every file', () => {
  const lines = read('README.md')
    .split('\n')
    .filter((line) => /^\| \d/.test(line));
  const rows = lines.map((line) => line.split(' | ').map((cell) => cell.replaceAll(/^\|? *`?|`? *\|?$/g, '')));
  for (const [row, , file = '', title = ''] of rows) assert.ok(read(file).includes(title), `row ${row}: ${file} has no test "${title}"`);
  assert.deepEqual(
    ROWS.filter((row) => !rows.some(([given = '']) => given.split(', ').includes(String(row)))),
    [],
    'rows without a test',
  );
  const named = new Set(rows.map(([, , file]) => file));
  const files = globSync('*.test.ts', { cwd: FOLDER.pathname }).filter((file) => !/^(?:readme|fuzz|http2)\.test/.test(file));
  assert.deepEqual(
    files.filter((file) => !named.has(file)),
    [],
    'files that the table does not name',
  );
});
