/** `centaur accounts` against a provider that takes nothing on trust. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { storeEgressConfig } from '@centaur/kernel/firewall/config';
import { type CommandPlace, startCommandPlace } from '../test/support/cli-api.ts';
import { type OAuthProvider, startOAuthProvider } from '../test/support/oauth-provider.ts';
import { eventually } from '../test/support/wait.ts';

const BINARY = fileURLToPath(new URL('./bin/centaur.js', import.meta.url));
const SECRET = 'CANARY-of-a-client-secret';

let t: CommandPlace;
let provider: OAuthProvider;

before(async () => {
  t = await startCommandPlace();
  provider = await startOAuthProvider();
  provider.clients = [{ id: 'centaur', secret: SECRET, redirectUris: [`${t.api.url}/oauth/callback/crm`] }];
  await storeEgressConfig(t.api.installation, 'test', { allow_cidrs: ['127.0.0.1/32'] });
});
after(async () => {
  await provider?.[Symbol.asyncDispose]();
  await t?.[Symbol.asyncDispose]();
});

const add = (...more: string[]) => [
  'accounts',
  'apps',
  'add',
  'crm',
  '--client-id',
  'centaur',
  '--host',
  provider.url,
  '--secret',
  'CRM_OAUTH',
  '--scope',
  'contacts.read',
  '--param',
  'prompt=consent',
  ...['authorize', 'token', 'device', 'revoke'].flatMap((each) => [`--${each}-url`, `${provider.url}/${each}`]),
  ...more,
];

/** Begins to connect, and does what the command says as a person does. */
async function connect(args: readonly string[], act: (said: string) => Promise<void>) {
  const { output, finished, child } = t.place.start(['accounts', 'connect', 'crm', ...args]);
  child.stdin?.end();
  await eventually(() => /\n\n {2}\S+\n/.test(output.stderr), { what: 'what to do' });
  await act(/\n\n {2}(\S+)\n/.exec(output.stderr)?.[1] ?? '');
  return finished;
}

async function inBrowser(url: string): Promise<void> {
  const back = (await provider.signIn(url)) ?? assert.fail('the provider shows an error');
  assert.match(await (await fetch(back)).text(), /connected/i);
}

test('an app is made, listed and forgotten; its secret is asked for and shown by nothing', async () => {
  const refused = await t.centaur(add());
  assert.deepEqual([refused.code, refused.stdout], [2, '']);
  assert.match(refused.stderr, /--value-stdin/);
  assert.equal((await t.centaur(add('--value', SECRET))).code, 2);
  const added = await t.centaur(add('--value-stdin'), { stdin: `${SECRET}\n` });
  assert.deepEqual([added.code, added.stderr], [0, '']);
  assert.match(
    added.stdout,
    new RegExp(`^crm makes CRM_OAUTH, which may go to http://127.*\\n.*redirect URI.*${t.api.url}/oauth/callback/crm\\n$`),
  );
  const listed = await t.centaur(['accounts', 'apps', 'ls']);
  assert.match(listed.stdout, /^crm +custom +centaur +CRM_OAUTH +http/m);
  assert.ok(!JSON.stringify([added, listed, await t.read('accounts', 'apps', 'ls')]).includes(SECRET));
  assert.equal((await t.read(...add('--keep-value'))).has_client_secret, true);
  const github = ['accounts', 'apps', 'add', 'github', '--client-id', 'Iv1', '--public'];
  assert.match((await t.centaur(github)).stdout, /^github makes GITHUB_TOKEN, which may go to api\.github\.com\n/);
  assert.equal((await t.centaur(['accounts', 'apps', 'rm', 'github'])).stdout, 'removed github\n');
  assert.equal((await t.centaur(['accounts', 'apps', 'rm', 'github'])).code, 5);
});

test('an account is connected in the browser, listed and revoked', async () => {
  assert.match((await t.centaur(['accounts', 'ls'])).stderr, /no accounts/);
  const { code, stdout } = await connect(['--user', 'ana@example.com'], inBrowser);
  assert.deepEqual(
    [code, stdout.replace(/_[0-9a-f]{12}/, '_…')],
    [0, 'connected: CRM_OAUTH_OF_ana_example_com_…, for ana@example.com alone\n'],
  );
  assert.match((await t.centaur(['accounts', 'ls'])).stdout, /^crm +ana@example\.com +connected +CRM_OAUTH_OF_/m);
  assert.equal((await t.centaur(['accounts', 'apps', 'rm', 'crm'])).code, 1);
  assert.equal((await t.centaur(['accounts', 'revoke', 'crm'])).code, 5, 'everybody’s is not ana’s');
  const revoked = await t.centaur(['accounts', 'revoke', 'crm', '--user', 'ana@example.com']);
  assert.deepEqual([revoked.code, revoked.stderr], [0, '']);
  assert.ok(!provider.isConnected('ana'));
});

test('an account is connected by a code that is typed elsewhere', async () => {
  const { code, stdout, stderr } = await connect(['--device'], async (userCode) => provider.decideDevice(userCode, 'agree'));
  assert.deepEqual([code, stdout], [0, 'connected: CRM_OAUTH\n']);
  assert.match(stderr, new RegExp(`^Open ${provider.url}/activate and type this code:`));
  await t.centaur(['accounts', 'revoke', 'crm']);
});

test('an attempt is ended by its id, and what is connected stays', async () => {
  await connect([], inBrowser);
  const { output, finished, child } = t.place.start(['accounts', 'connect', 'crm']);
  child.stdin?.end();
  await eventually(() => /\n\n {2}\S+\n/.test(output.stderr), { what: 'what to do' });
  const listed = (await t.centaur(['accounts', 'ls'])).stdout;
  const id = /^crm +everybody +pending .* ([0-9a-f-]{36})/m.exec(listed)?.[1] ?? assert.fail(listed);
  const ended = await t.centaur(['accounts', 'revoke', id]);
  assert.deepEqual([ended.stdout, ended.stderr], ['ended an attempt to connect crm\n', '']);
  assert.equal((await finished).code, 1);
  assert.match((await t.centaur(['accounts', 'ls'])).stdout, /^crm +everybody +connected +CRM_OAUTH/m);
  await t.centaur(['accounts', 'revoke', 'crm']);
});

test('one that is denied says so', async () => {
  provider.consent = 'deny';
  const { code, stderr } = await connect([], async (url) => void (await fetch((await provider.signIn(url)) as string)));
  provider.consent = 'agree';
  assert.equal(code, 1);
  assert.match(stderr, /not connected: access was denied\n.*centaur accounts connect crm/);
  assert.equal((await t.centaur(['accounts', 'connect', 'nobody'])).code, 5);
});

test('the commands that the guide shows work, one after the other', async () => {
  const guide = readFileSync(new URL('../docs/guides/accounts.md', import.meta.url), 'utf8');
  const commands = [...guide.matchAll(/^(?:\$ )?((?:printf .* \| )?npx centaur accounts (?:\\\n|.)*)/gm)].map(
    ([, command = '']) => command,
  );
  const named = commands.map((command) => / accounts ((?:apps )?\w+)/.exec(command)?.[1]);
  assert.deepEqual(new Set(named), new Set(['apps add', 'apps ls', 'apps rm', 'connect', 'ls', 'revoke']));
  provider.clients = provider.clients.map((client) => ({ ...client, secret: 'a-client-secret' }));
  for (const command of commands) {
    const here = command
      .replaceAll(/https:\/\/login\.example\.com/g, provider.url)
      .replace('--host api.example.com', `--host ${provider.url}`);
    const child = spawn('bash', ['-ec', `npx() { shift; "${process.execPath}" "${BINARY}" "$@"; }\n${here}`], { env: t.place.env });
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (said += data.toString()));
    const ended = once(child, 'close');
    if (command.includes(' connect ')) {
      const [, given = ''] = await eventually(() => /\n\n {2}(\S+)\n/.exec(said), { what: command });
      await (command.includes('--device') ? provider.decideDevice(given, 'agree') : inBrowser(given));
    }
    const [code] = (await ended) as [number];
    assert.equal(code, 0, `${command}\n${said}`);
  }
  assert.deepEqual((await t.read('accounts', 'ls')).items, []);
});
