import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPlace } from '../../test/support/cli.ts';
import { createTestDatabase } from '../../test/support/database.ts';

test('an error that nobody catches ends the process, and what it says has no secret in it', async () => {
  await using database = await createTestDatabase();
  const secret = 'canary-91c4e07b-key';
  await using place = createPlace({ DATABASE_URL: database.url, SOME_API_KEY: secret });
  place.write(
    'throws.ts',
    `export const WORKFLOW_NAME = 'throws';\nexport async function handler() { setTimeout(() => { throw new Error('it had ' + process.env.SOME_API_KEY); }, 10); return 1; }`,
  );
  const up = await place.serve('up');
  await place.run(['run', 'throws']);
  const { code, stderr } = await up.finished;
  assert.equal(code, 1);
  assert.match(stderr, /"message":"an error was caught by nobody; the process ends".*it had \*{19}/);
  assert.doesNotMatch(stderr, /canary/);
});
