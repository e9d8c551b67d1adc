import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadConfig } from './index.ts';

test('an empty environment gives the defaults', () => {
  const config = loadConfig({ HOME: '/home/ann' }, '/nowhere');
  assert.deepEqual([config.home, config.port, config.host, config.databaseUrl, config.workflowDirs], ['/home/ann/.centaur', 8080, '127.0.0.1', undefined, []]);
});

test('every bad variable is named, and no secret is shown', () => {
  const bad = { DATABASE_URL: 'mysql://me:hunter2@host/db', PORT: '99999', CENTAUR_API_KEY: 'short-secret', WORKFLOW_DIRS: '/does/not/exist', CENTAUR_LOG_LEVEL: 'loud' };
  assert.throws(() => loadConfig(bad), (error: Error) => {
    for (const name of Object.keys(bad)) assert.match(error.message, new RegExp(`${name}:`));
    assert.doesNotMatch(error.message, /hunter2|short-secret/);
    return true;
  });
});
