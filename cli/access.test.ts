import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigError, loadConfig } from '@centaur/kernel/config';
import { readAccess } from './access.ts';

/** No key file is there. */
const NOWHERE = { CENTAUR_HOME: '/nowhere' };

test('a client reads its variables as a server does', () => {
  const environments: NodeJS.ProcessEnv[] = [
    {},
    { PORT: '' },
    { PORT: '9090' },
    { PORT: '08080' },
    { PORT: '65535' },
    { CENTAUR_API_URL: 'http://127.0.0.1:8080/' },
    { CENTAUR_API_URL: 'https://centaur.example.com/team/api/' },
    { CENTAUR_API_URL: 'https://Centaur.example.com' },
    { CENTAUR_API_URL: 'http://[::1]:8080' },
    { CENTAUR_API_URL: 'http://user:secret@example.com/?a=b#c' },
    { CENTAUR_API_URL: ' http://example.com ' },
    { CENTAUR_API_KEY: 'an-admin-key-of-16' },
    { CENTAUR_API_KEY: '' },
  ];
  for (const environment of environments) {
    const { apiUrl, apiKey } = loadConfig({ ...NOWHERE, ...environment });
    assert.deepEqual(readAccess({ ...NOWHERE, ...environment }), { url: apiUrl, apiKey }, JSON.stringify(environment));
  }
});

test('what a server refuses is refused to a client in the same words', () => {
  const environments: NodeJS.ProcessEnv[] = [
    { PORT: 'high' },
    { PORT: '65536' },
    { PORT: '-1' },
    { PORT: ' 8080' },
    { PORT: 'high', CENTAUR_API_URL: 'http://127.0.0.1:8080' },
    { CENTAUR_API_URL: 'ftp://example.com' },
    { CENTAUR_API_URL: 'example.com' },
    { CENTAUR_API_URL: 'http://' },
    { CENTAUR_API_URL: 'http://example.com:99999' },
    { CENTAUR_API_KEY: 'short' },
    { CENTAUR_API_KEY: 'with spaces in it, and long' },
  ];
  for (const environment of environments) {
    const said = (read: () => unknown) => {
      try {
        read();
      } catch (error) {
        assert.ok(error instanceof ConfigError);
        return error.message;
      }
      return assert.fail(`not refused: ${JSON.stringify(environment)}`);
    };
    assert.equal(
      said(() => readAccess({ ...NOWHERE, ...environment })),
      said(() => loadConfig({ ...NOWHERE, ...environment })),
    );
  }
});
