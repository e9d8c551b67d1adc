/** As a GitHub App: its own signature, tokens of its installation; and what `centaur github setup` and `key` say and make. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { type BotPlace, LONG, startBotPlace, until } from '../support/github/bot.ts';
import { startGitHub, type TestGitHub } from '../support/github/index.ts';
import { eventually } from '../support/wait.ts';

let github: TestGitHub;
let installed: BotPlace;
let url: string;

const { privateKey } = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  publicKeyEncoding: { type: 'spki', format: 'pem' },
});

before(async () => {
  github = await startGitHub({ app: { id: 4711, slug: 'centaur-app', privateKey } });
  installed = await startBotPlace(github, { GITHUB_APP_ID: '4711' });
  const file = path.join(installed.place.folder, 'app.pem');
  writeFileSync(file, privateKey, { mode: 0o600 });
  installed.place.env['GITHUB_APP_PRIVATE_KEY_FILE'] = file;
  ({ url } = await installed.startBot());
});

after(async () => {
  await installed[Symbol.asyncDispose]();
  await github[Symbol.asyncDispose]();
});

test('an app answers as itself, with one token for all that it does', async () => {
  const ada = github.person('ada');
  const number = await ada.issue('For the app', 'x');
  const comment = await ada.comment(number, '@centaur-app hello');
  // one that is refused is got anew
  github.fault(/PATCH|POST .*\/comments$/, { status: 401, message: 'Bad credentials' });
  await eventually(() => github.reactions(`issues/comments/${comment}`).includes('rocket'), LONG);
  const comments = await github.comments(number);
  assert.deepEqual(
    comments.map(({ login }) => login),
    ['ada', 'centaur-app[bot]'],
  );
  assert.match(comments[1]?.body ?? '', /done$/);
  const tokens = github.calls.filter(({ path: asked }) => asked === '/app/installations/99/access_tokens');
  assert.equal(tokens.length, 2);
  await ada.comment(number, '@centaur-app[bot] again');
  await until(async () => (await github.comments(number)).filter(({ body }) => body.endsWith('done')).length === 2, 'the second answer');
  assert.equal(github.calls.filter(({ path: asked }) => asked.endsWith('/access_tokens')).length, 2);
  assert.deepEqual(github.violations, []);
});

test('setup says what is right, and what is wrong and how to mend it', async () => {
  const { port } = new URL(url);
  const run = (env: Readonly<Record<string, string>>, ...args: string[]) =>
    installed.place.run(['github', 'setup', '--json', ...args], { env: { GITHUB_BOT_PORT: port, ...env } });
  const good = await run({}, '--url', new URL(url).origin);
  assert.equal(good.code, 0, good.stdout + good.stderr);
  const { checks, manifest } = JSON.parse(good.stdout) as {
    checks: { what: string; ok: boolean }[];
    manifest: { hook_attributes: { url: string } };
  };
  assert.deepEqual(
    checks.map(({ what, ok }) => [what, ok]),
    ['app', 'permissions', 'events', 'installations', 'key', 'bot', 'address'].map((what) => [what, true]),
  );
  assert.equal(manifest.hook_attributes.url, url);

  const weak = await installed.place.run(['keys', 'create', 'weak', '--scope', 'threads.read'], {
    env: { CENTAUR_API_KEY: installed.adminKey },
  });
  const bad = await run({
    GITHUB_WEBHOOK_SECRET: 'another-secret-than-the-bot-has',
    GITHUBBOT_API_KEY: weak.stdout.trim(),
    GITHUB_APP_ID: '4712',
  });
  assert.equal(bad.code, 1);
  const wrong = (JSON.parse(bad.stdout) as { checks: { what: string; ok: boolean; message: string }[] }).checks.filter(({ ok }) => !ok);
  const said = wrong.map(({ what, message }) => `${what}: ${message}`).join('\n');
  for (const expected of [
    /^app: .*GITHUB_APP_ID/m,
    /^key: .*lacks threads\.write, deliveries\.claim, inbox\.use/m,
    /^bot: .*another GITHUB_WEBHOOK_SECRET/m,
  ])
    assert.match(said, expected);

  const none = await installed.place.run(['github', 'setup'], { env: { GITHUB_APP_ID: '', GITHUB_WEBHOOK_SECRET: '' } });
  assert.equal(none.code, 1);
  assert.match(none.stdout, /issue_comment, issues[^]*"default_permissions"[^]*wrong settings: GITHUB_BOT_TOKEN: is missing/);
});

test('a key of the bot may do what the bot does, and no more', async () => {
  const env = { CENTAUR_API_KEY: installed.adminKey };
  const made = JSON.parse((await installed.place.run(['github', 'key', '--json'], { env })).stdout) as { scopes: string[] };
  assert.deepEqual(
    made.scopes.filter((scope) => scope !== 'chats.use'),
    ['threads.read', 'threads.write', 'deliveries.claim', 'inbox.use'],
  );
});

test('credentials that GitHub refuses end the bot, and it says so', async () => {
  const { code, stderr } = await installed.place.run(['github'], { env: { GITHUB_APP_ID: '4712' } });
  assert.equal(code, 1);
  assert.match(stderr, /GitHub refuses the credentials[^]*centaur github setup says what is wrong/);
});
