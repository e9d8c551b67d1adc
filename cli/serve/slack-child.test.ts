import assert from 'node:assert/strict';
import { test } from 'node:test';
import { environmentForBots } from './slack-child.ts';

test('a bot has what it needs of the environment of the server, and none of its other secrets', () => {
  const needed = {
    PATH: 'p',
    HOME: 'h',
    SLACK_BOT_TOKEN: 't',
    SLACK_SIGNING_SECRET: 's',
    CENTAUR_CONFIG: 'c',
    CENTAUR_LOG_LEVEL: 'debug',
    https_proxy: 'x',
  };
  const others = [
    'DATABASE_URL',
    'CENTAUR_MASTER_KEY',
    'CENTAUR_API_KEY',
    'ANTHROPIC_API_KEY',
    'AWS_SECRET_ACCESS_KEY',
    'PGPASSWORD',
    'GITHUB_TOKEN',
  ];
  assert.deepEqual(environmentForBots({ ...needed, ...Object.fromEntries(others.map((name) => [name, 'x'])) }), needed);
});
