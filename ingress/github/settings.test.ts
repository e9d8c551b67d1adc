import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { describe, it } from 'node:test';
import { SettingsError } from '../chat/index.ts';
import { readGitHubSettings } from './settings.ts';

const { privateKey } = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
  publicKeyEncoding: { type: 'spki', format: 'pem' },
});
const GOOD = { GITHUB_BOT_TOKEN: 'github_pat_1', GITHUB_WEBHOOK_SECRET: 'sixteen letters!', GITHUBBOT_API_KEY: 'ck_1' };
const problemsOf = (environment: Readonly<Record<string, string>>, section?: unknown): readonly string[] => {
  try {
    readGitHubSettings(environment, section);
    return [];
  } catch (error) {
    assert.ok(error instanceof SettingsError);
    return error.problems;
  }
};

describe('settings of GitHub', () => {
  it('are those of github.com, and of members, unless they say otherwise', () => {
    const settings = readGitHubSettings(GOOD, undefined);
    assert.deepEqual(
      [settings.githubApiUrl, settings.host, settings.apiUrl, settings.listen],
      ['https://api.github.com', 'github.com', 'http://127.0.0.1:8080', { host: '127.0.0.1', port: 8084 }],
    );
    assert.deepEqual(settings.rules.associations, ['OWNER', 'MEMBER', 'COLLABORATOR']);
    const enterprise = readGitHubSettings({ ...GOOD, GITHUB_API_URL: 'https://ghe.example.com/api/v3/' }, {});
    assert.deepEqual([enterprise.githubApiUrl, enterprise.host], ['https://ghe.example.com/api/v3', 'ghe.example.com']);
  });

  it('are those of an app, whose key may stand in one line', () => {
    const { GITHUB_BOT_TOKEN: _, ...rest } = GOOD;
    for (const pem of [privateKey, privateKey.replaceAll('\n', '\\n')])
      assert.equal(readGitHubSettings({ ...rest, GITHUB_APP_ID: '4711', GITHUB_APP_PRIVATE_KEY: pem }, {}).auth.kind, 'app');
  });

  const WRONG: readonly [name: string, environment: Readonly<Record<string, string>>, section: unknown, expected: readonly RegExp[]][] = [
    ['nothing is set', {}, {}, [/^GITHUB_BOT_TOKEN: is missing/, /^GITHUB_WEBHOOK_SECRET: is missing/, /^GITHUBBOT_API_KEY: is missing/]],
    ['both kinds of credentials', { ...GOOD, GITHUB_APP_ID: '1' }, {}, [/^GITHUB_BOT_TOKEN: is set beside GITHUB_APP_ID/]],
    ['a short secret', { ...GOOD, GITHUB_WEBHOOK_SECRET: 'short' }, {}, [/^GITHUB_WEBHOOK_SECRET: expected at least 16/]],
    ['a port that is none', { ...GOOD, GITHUB_BOT_PORT: '99999' }, {}, [/^GITHUB_BOT_PORT:/]],
    ['an address with a password', { ...GOOD, GITHUB_API_URL: 'https://a:b@example.com' }, {}, [/^GITHUB_API_URL:/]],
    ['a rule that is unknown', GOOD, { repos: [] }, [/^centaur\.yaml: github: /]],
    ['a repository that is none', GOOD, { repositories: ['site'] }, [/^centaur\.yaml: github\.repositories\.0: expected a repository/]],
    ['an association that is none', GOOD, { associations: ['FRIEND'] }, [/^centaur\.yaml: github\.associations\.0: /]],
  ];
  for (const [name, environment, section, expected] of WRONG)
    it(`are refused: ${name}`, () => {
      const problems = problemsOf(environment, section);
      assert.equal(problems.length, expected.length, problems.join('\n'));
      for (const [i, problem] of expected.entries()) assert.match(problems[i] ?? '', problem);
    });

  it('say no value of a credential', () => {
    const { GITHUB_BOT_TOKEN: _, ...rest } = GOOD;
    const problems = problemsOf({ ...rest, GITHUB_APP_ID: '1', GITHUB_APP_PRIVATE_KEY: 'tell nobody', GITHUB_WEBHOOK_SECRET: 'hush' });
    assert.match(problems.join(), /GITHUB_APP_PRIVATE_KEY: expected an RSA key/);
    assert.doesNotMatch(problems.join(), /tell nobody|hush/);
  });
});
