/** `centaur login`, `users` and what they keep, against an API in this process. */
import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { storeEgressConfig } from '@centaur/kernel/firewall/config';
import { ADMIN, startTestApi, type TestApi } from '../test/support/api.ts';
import { createPlace, type Place } from '../test/support/cli.ts';
import { type OidcProvider, startOidcProvider } from '../test/support/oidc-provider.ts';
import { eventually } from '../test/support/wait.ts';
import { readAccess, readPerson } from './access.ts';
import { connect } from './api.ts';

const KEYED = { CENTAUR_API_KEY: ADMIN };
const OWN = 'a password of her own';

let api: TestApi;
let place: Place;
let provider: OidcProvider;

before(async () => {
  provider = await startOidcProvider('centaur');
  const oidc = {
    issuer: provider.url,
    clientId: 'centaur',
    clientSecret: provider.clientSecret,
    label: 'Example',
    scopes: ['email'],
    emailDomains: ['example.com'],
    newcomers: 'operator',
    roles: undefined,
  } as const;
  api = await startTestApi({ idle: true, vault: 'alone', oidc });
  await storeEgressConfig(api.installation, 'test', { allow_cidrs: ['127.0.0.1/32'] });
  place = createPlace({ CENTAUR_API_URL: api.url });
});
after(async () => {
  await place?.[Symbol.asyncDispose]();
  await api?.[Symbol.asyncDispose]();
  await provider?.[Symbol.asyncDispose]();
});

const file = () => path.join(place.env['CENTAUR_HOME'] ?? '', 'session.json');

async function ok(args: readonly string[], options: Parameters<Place['run']>[1] = {}): Promise<string> {
  const { code, stdout, stderr } = await place.run(args, options);
  assert.equal(code, 0, stderr);
  return stdout.trim();
}

test('the admin key makes the first user, who signs in, and is who does things from then on', async () => {
  const nobody = await place.run(['whoami']);
  assert.match(nobody.stderr, /nobody is signed in to .*\nSign in with "centaur login"/);
  const temporary = await ok(['users', 'add', 'ann', '--role', 'admin'], { env: KEYED });
  assert.match(temporary, /^\w{5}-\w{5}-\w{5}-\w{5}$/);
  const login = ['login', '--name', 'ann', '--password-stdin'];
  const refused = await place.run(login, { stdin: `${temporary}\n` });
  assert.deepEqual([refused.code, /second line/.test(refused.stderr)], [2, true]);
  assert.match(await ok(login, { stdin: `${temporary}\n${OWN}\n` }), /^signed in as ann \(admin\)/);
  assert.equal(statSync(file()).mode & 0o777, 0o600);
  assert.ok(!readFileSync(file(), 'utf8').includes(OWN));
  assert.match(await ok(['whoami']), /name\s+ann/);
  await ok(['users', 'add', 'bob', '--role', 'viewer', '--email', 'bob@example.com', '--no-password']);
  await ok(['users', 'role', 'bob', 'approver']);
  await ok(['users', 'roles', 'bob', 'finance', 'oncall']);
  await ok(['users', 'change', 'bob', '--display-name', 'Bob B.']);
  const shown = JSON.parse(await ok(['users', 'show', 'bob', '--json']));
  assert.deepEqual([shown.role, shown.roles, shown.display_name, shown.has_password], ['approver', ['finance', 'oncall'], 'Bob B.', false]);
  assert.match(await ok(['users', 'ls']), /bob +approver +finance, oncall +bob@example\.com/);
  assert.match(await ok(['users', 'sessions', 'ann']), /cli +password +127\.0\.0\.1/);
  await ok(['users', 'disable', 'bob']);
  const entries = (await api.call('GET', '/audit?actor=user:ann&limit=100')).body.items as { action: string }[];
  assert.ok(entries.some(({ action }) => action === 'user.disable'));
  const last = await place.run(['users', 'disable', 'ann']);
  assert.match(last.stderr, /ann is the last admin/);
});

test('a key that is given goes before the session, the session before the admin key, and a person is only ever a session', () => {
  const environment = { ...place.env };
  const token = JSON.parse(readFileSync(file(), 'utf8'))[api.url].token as string;
  assert.equal(readAccess({ ...environment, ...KEYED }).apiKey, ADMIN);
  assert.equal(readAccess(environment).apiKey, token);
  assert.equal(readPerson({ ...environment, ...KEYED }, 'x').apiKey, token);
  writeFileSync(path.join(place.env['CENTAUR_HOME'] ?? '', 'admin.key'), 'the-admin-key-of-this-machine\n');
  assert.equal(readAccess(environment).apiKey, token);
  // another API is not shown this one's session
  const elsewhere = { ...environment, CENTAUR_API_URL: 'http://127.0.0.1:9' };
  assert.equal(readAccess(elsewhere).apiKey, 'the-admin-key-of-this-machine');
  assert.throws(
    () => readPerson({ ...elsewhere, ...KEYED }, 'approvals are decided by people'),
    /approvals are decided by people, and nobody is signed in/,
  );
});

test('a session that was ended elsewhere says so, and signing out forgets it', async () => {
  await api.call('DELETE', '/users/ann/sessions');
  const ended = await place.run(['users', 'ls']);
  assert.deepEqual([ended.code, /Sign in with "centaur login"/.test(ended.stderr)], [4, true]);
  assert.equal(await ok(['logout']), 'signed out');
  assert.ok(!readFileSync(file(), 'utf8').includes('cs_'));
});

test('a wrong password, or one as an argument, is refused, and nothing is kept', async () => {
  const wrong = await place.run(['login', '--name', 'ann', '--password-stdin'], { stdin: 'not her password\n' });
  assert.deepEqual([wrong.code, /name or password is wrong/.test(wrong.stderr)], [4, true]);
  assert.equal((await place.run(['login', '--name', 'ann', '--password', OWN])).code, 2);
  assert.equal((await place.run(['login', '--name', 'ann'], { stdin: '' })).code, 2);
  assert.ok(!readFileSync(file(), 'utf8').includes('cs_'));
});

test('by a code that is typed at the provider', async () => {
  provider.device = 'waits';
  const { output, finished, child } = place.start(['login', '--sso']);
  child.stdin?.end();
  await eventually(() => output.stderr.includes('WDJB-MJHT'), { what: 'the code' });
  provider.device = 'agrees';
  const { code, stdout, stderr } = await finished;
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^signed in as ann\.lee \(operator\)/);
  assert.match(await ok(['whoami']), /the sign-in provider/);
});

test('another password ends the other sessions', async () => {
  await ok(['login', '--name', 'ann', '--password-stdin'], { stdin: OWN });
  const before = readFileSync(file(), 'utf8');
  await ok(['login', '--name', 'ann', '--password-stdin', '--change-password'], { stdin: `${OWN}\nanother of her own\n` });
  const now = readFileSync(file(), 'utf8');
  writeFileSync(file(), before);
  assert.equal((await place.run(['users', 'ls'])).code, 4);
  writeFileSync(file(), now);
  await ok(['users', 'ls']);
});

test('an account in a chat is linked with a code, or by an admin, listed, and unlinked', async () => {
  const client = connect({ CENTAUR_API_URL: api.url, CENTAUR_API_KEY: await api.keyWith('chats.use') });
  const said = await place.run(['users', 'link', 'slack'], { env: KEYED });
  assert.deepEqual([said.code === 0, /sandboxes are nobody|session/.test(said.stderr)], [false, true]);
  const me = JSON.parse(await ok(['whoami', '--json'])).user.name as string;
  const line = await ok(['users', 'link', 'slack']);
  const code = /^link (\w{4}-\w{4})$/.exec(line)?.[1] ?? assert.fail(line);
  const linked = await client.chats.link({ platform: 'slack', team: 'T1', externalUser: 'U1', code });
  assert.deepEqual(linked, { user: null, pending: true });
  assert.equal((await place.run(['users', 'link', 'slack', '--confirm', 'U2', '--team', 'T1'])).code, 5);
  assert.equal((await place.run(['users', 'link', 'slack', '--confirm', 'U1'])).code, 2);
  assert.match(await ok(['users', 'link', 'slack', '--confirm', 'U1', '--team', 'T1']), new RegExp(`U1 at slack is ${me}`));
  assert.match(await ok(['users', 'link', 'github', 'OctoCat', '--user', me], { env: KEYED }), new RegExp(`OctoCat at github is ${me}`));
  const listed = await ok(['users', 'links']);
  assert.match(listed, /slack +T1 +U1/);
  assert.match(listed, /github +github.com +octocat/);
  assert.equal((await place.run(['users', 'unlink', 'slack', 'U1'])).code, 2);
  assert.match(await ok(['users', 'unlink', 'slack', 'U1', '--team', 'T1']), new RegExp(`is not ${me} any more`));
  assert.match(await ok(['users', 'unlink', 'github', 'octocat'], { env: KEYED }), /octocat/);
  assert.equal((await place.run(['users', 'link', 'github', 'octocat'])).code, 2);
  assert.equal((await place.run(['users', 'link', 'irc'])).code, 2);
});
