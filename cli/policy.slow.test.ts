import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { type CommandPlace, startCommandPlace } from '../test/support/cli-api.ts';
import { addPerson, type Person } from '../test/support/people.ts';
import { diffLines } from './line-diff.ts';
import { keepSession } from './session-file.ts';

const POLICY = `version: 1
default: deny
rules:
  - {id: stripe, host: api.stripe.com, effect: allow, methods: [GET]}
  - {id: refunds, host: api.stripe.com, effect: approve, methods: [POST], when: request.bytes < 1000}
tests:
  - {name: reading, request: {host: api.stripe.com}, expect: allow}
  - {name: refunding, request: {host: api.stripe.com, method: POST}, expect: approve, rule: refunds}
`;
const NOWHERE = { env: { CENTAUR_API_URL: 'http://127.0.0.1:9' } };

let t: CommandPlace;
let file: string;
before(async () => {
  t = await startCommandPlace();
  file = t.place.write('policy.yaml', POLICY);
});
after(() => t[Symbol.asyncDispose]());

test('a file is checked and tested without a server, with a line for each mistake', async () => {
  assert.deepEqual(await t.centaur(['policy', 'check', file], NOWHERE), { code: 0, stdout: 'ok    2 rules, 2 tests passed\n', stderr: '' });
  assert.match((await t.centaur(['policy', 'test', file], NOWHERE)).stdout, /^ok +reading\nok +refunding\n2 of 2 tests passed\n$/);
  assert.equal((await t.centaur(['policy', 'check', '-'], { ...NOWHERE, stdin: POLICY })).code, 0);

  const broken = t.place.write('broken.yaml', POLICY.replace('effect: allow', 'effect: perhaps'));
  const checked = await t.centaur(['policy', 'check', broken], NOWHERE);
  assert.equal(checked.code, 1);
  assert.match(checked.stdout, /^error \S+broken\.yaml:4: rule stripe: effect: expected allow/m);
  assert.equal((await t.centaur(['policy', 'test', broken], NOWHERE)).code, 1);

  const failing = t.place.write('failing.yaml', POLICY.replace('expect: allow', 'expect: deny'));
  const tested = await t.centaur(['policy', 'test', failing], NOWHERE);
  assert.equal(tested.code, 1);
  assert.match(
    tested.stdout,
    /^error \S+failing\.yaml:7: test reading: expected deny, got allow by rule stripe\nok +refunding\n1 of 2 tests passed\n$/,
  );
  const json = JSON.parse((await t.centaur(['policy', 'test', failing, '--json'], NOWHERE)).stdout);
  assert.deepEqual([json.ok, json.tests.map((each: { passed: boolean }) => each.passed), json.problems], [false, [false, true], []]);
  assert.equal(JSON.parse((await t.centaur(['policy', 'check', failing, '--json'], NOWHERE)).stdout).ok, false);
  assert.equal((await t.centaur(['policy', 'check', 'none.yaml'], NOWHERE)).code, 2);
});

test('a policy is published, shown, compared and rolled back', async () => {
  const published = await t.centaur(['policy', 'publish', file, '--message', 'refunds need a person']);
  const version = /^version (\d+) is in force\n$/.exec(published.stdout)?.[1] ?? '';
  assert.notEqual(version, '', published.stderr);
  assert.equal((await t.centaur(['policy', 'show'])).stdout, POLICY);
  assert.match((await t.centaur(['policy', 'show', '0'])).stdout, /bound-hosts/);
  assert.equal((await t.centaur(['policy', 'show', '999'])).code, 5);
  const same = await t.centaur(['policy', 'diff', file, '--exit-code']);
  assert.deepEqual([same.code, same.stdout, /is version \d+, line by line/.test(same.stderr)], [0, '', true]);

  const stricter = t.place.write(
    'stricter.yaml',
    POLICY.replace('effect: allow', 'effect: approve').replace('expect: allow', 'expect: approve'),
  );
  const diff = await t.centaur(['policy', 'diff', stricter]);
  assert.equal(diff.code, 0);
  assert.match(diff.stdout, new RegExp(`^--- version ${version}, in force\n\\+\\+\\+ \\S+stricter\\.yaml\n@@ line 2\n {2}default: deny\n`));
  assert.match(diff.stdout, /^- {3}- \{id: stripe, .*effect: allow.*\n\+ {3}- \{id: stripe, .*effect: approve/m);
  assert.equal((await t.centaur(['policy', 'diff', stricter, '--exit-code'])).code, 1);

  assert.match((await t.centaur(['policy', 'publish', stricter])).stdout, /is in force/);
  assert.match((await t.centaur(['policy', 'rollback', version])).stdout, new RegExp(`is in force, with the text of ${version}\n$`));
  const listed = (await t.centaur(['policy', 'versions'])).stdout;
  assert.match(listed, new RegExp(`^${version} +retired +.*ago +key:own_\\w+ +[\\da-f]{12} +refunds need a person$`, 'm'));
  assert.equal((await t.centaur(['policy', 'show'])).stdout, POLICY);
  assert.equal((await t.read('policy', 'versions', '--limit', '1')).items[0].state, 'active');
});

test('a file with an error in it is not published, and its lines are told', async () => {
  const before = await t.read('policy', 'show');
  const broken = t.place.write('broken.yaml', 'version: 1\ndefault: deny\nrules:\n  - {id: a, host: x.com, effect: perhaps}\n');
  for (const command of ['publish', 'shadow', 'backtest']) {
    const { code, stdout, stderr } = await t.centaur(['policy', command, broken]);
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(stderr, /broken\.yaml:4: rule a: effect: expected/);
  }
  const json = await t.centaur(['policy', 'publish', broken, '--json']);
  assert.equal(JSON.parse(json.stderr).code, 'INVALID_POLICY');
  assert.deepEqual(await t.read('policy', 'show'), before);
});

test('a shadow begins and ends', async () => {
  assert.match((await t.centaur(['policy', 'shadow', file])).stdout, /^version \d+ is in shadow: recorded, without effect\n$/);
  assert.notEqual((await t.read('policy', 'show')).shadow, null);
  assert.equal((await t.centaur(['policy', 'shadow', '--end'])).stdout, 'the shadow has ended\n');
  assert.equal((await t.centaur(['policy', 'shadow', '--end'])).stdout, 'there was no shadow\n');
  assert.equal((await t.centaur(['policy', 'shadow'])).code, 2);
  assert.equal((await t.centaur(['policy', 'shadow', file, '--end'])).code, 2);
});

test('a decision is explained, and a file held against what was recorded', async () => {
  await t.centaur(['policy', 'publish', file]);
  const explained = await t.centaur(['policy', 'explain', '{"host": "api.stripe.com", "method": "POST", "path": "/v1/refunds"}']);
  assert.match(
    explained.stdout,
    /^approve POST https:\/\/api\.stripe\.com\/v1\/refunds\n {2}by rule refunds of version \d+, at gate default\n/,
  );
  assert.match(explained.stdout, /^✖ stripe allow\n {4}host: api\.stripe\.com {2}yes\n {4}methods: GET {2}no$/m);
  assert.match(explained.stdout, /^✔ refunds approve\n(?:.*\n){2} {4}request\.bytes < 1000 {2}yes$/m);
  const now = { iso: '2026-01-05T12:00:00.000Z', hour: 12, weekday: 1, weekend: false };
  const request = {
    kind: 'egress',
    principal: 'user:ann',
    now,
    lease: { id: 'l', kind: 'run' },
    scheme: 'https',
    host: 'api.stripe.com',
    port: 443,
    method: 'GET',
    path: '/v1/charges',
    bytes: 0,
    secrets: [],
    credentialed: true,
    listed: false,
  };
  const entry = await t.api.installation.audit.write({ action: 'egress.intent', actor: 'user:ann', details: { request } });
  assert.match(
    (await t.centaur(['policy', 'explain', entry])).stdout,
    /^allow GET https:\/\/api\.stripe\.com\/v1\/charges\n {2}by rule stripe/,
  );
  assert.match((await t.centaur(['policy', 'backtest', file])).stdout, /^1 request held against version \d+: the same decision on each\n$/);
  const stricter = t.place.write('stricter.yaml', 'version: 1\ndefault: deny\nrules: []\n');
  const tested = (await t.centaur(['policy', 'backtest', stricter, '--days', '30'])).stdout;
  assert.match(tested, /^1 request held against version \d+: 1 decided otherwise\n {2}1 from allow to deny\n\nENTRY/);
  assert.match(
    tested,
    new RegExp(`^${entry} +GET https://api\\.stripe\\.com/v1/charges +user:ann +allow by stripe +deny by the default$`, 'm'),
  );
});

test('lines that differ are shown with those around them', () => {
  const marks = (before: string, after: string) => diffLines(before, after).map(({ mark, line, text }) => `${mark}${line}${text}`);
  const numbers = (...of: (number | string)[]) => of.join('\n');
  assert.deepEqual(marks('a\nb\n', 'a\nb'), []);
  assert.deepEqual(marks(numbers(1, 2, 3, 4, 5, 6, 7), numbers(1, 2, 3, 'x', 5, 6, 7)), [' 22', ' 33', '-44', '+4x', ' 55', ' 66']);
  assert.deepEqual(marks(numbers(1, 2), numbers(0, 1, 2)), ['+10', ' 21', ' 32']);
  assert.deepEqual(marks(numbers(1, 2, 3), numbers(1, 3)), [' 11', '-22', ' 23']);
  assert.deepEqual(marks(numbers('a', 'b', 'c', 'd'), numbers('b', 'x', 'd', 'e')), ['-1a', ' 1b', '-3c', '+2x', ' 3d', '+4e']);
});

test('a policy is made from templates, kept as a draft, and published from there', async () => {
  assert.match((await t.centaur(['policy', 'templates', 'ls'], NOWHERE)).stdout, /^stripe +Stripe: refunds/m);
  assert.match((await t.centaur(['policy', 'templates', 'show', 'slack'], NOWHERE)).stdout, /id: slack-messages/);
  assert.equal((await t.centaur(['policy', 'new', '--template', 'none'], NOWHERE)).code, 1);
  const made = t.place.write('made.yaml', (await t.centaur(['policy', 'new', '--template', 'github,slack,stripe'], NOWHERE)).stdout);
  assert.match((await t.centaur(['policy', 'test', made], NOWHERE)).stdout, /(\d+) of \1 tests passed\n$/);
  assert.match((await t.centaur(['policy', 'new', '--template', 'slack', '--out', made], NOWHERE)).stderr, /is there already/);

  assert.match(
    (await t.centaur(['policy', 'draft', 'save', 'team', made, '--message', 'from templates'])).stdout,
    /^draft team is saved\n$/,
  );
  assert.match((await t.centaur(['policy', 'draft', 'ls'])).stdout, /^team +.*ago +key:own_\w+ +[\da-f]{12} +from templates$/m);
  assert.equal((await t.centaur(['policy', 'publish', made, '--draft', 'team'])).code, 2);
  assert.match((await t.centaur(['policy', 'publish', '--draft', 'team'])).stdout, /is in force/);
  assert.equal((await t.centaur(['policy', 'show'])).stdout, (await t.centaur(['policy', 'draft', 'show', 'team'])).stdout);
  assert.equal((await t.centaur(['policy', 'draft', 'rm', 'team'])).code, 0);
  assert.equal((await t.centaur(['policy', 'draft', 'show', 'team'])).code, 5);
  const report = await t.read('policy', 'shadow', 'report', '--since', '1d');
  assert.deepEqual(report.changes, []);
});

test('usage is told by what it was for', async () => {
  assert.match((await t.centaur(['usage'])).stderr, /no turn has ended since/);
  await t.api.t.store.query(
    `insert into usage_days select d, k, current_date, 2, 100, 20, 1000, 10, 0, 1563000, u
     from (values ('all', '', 7), ('model', 'opus', 0), ('model', 'mini', 7), ('thread', 'slack:a', 7)) as rows (d, k, u)`,
  );
  const { stdout, stderr } = await t.centaur(['usage', '--by', 'model', '--since', '7d']);
  assert.match(stdout, /^MODEL +TURNS +INPUT +CACHED +OUTPUT +COST\n(?:mini|opus)/);
  assert.match(stdout, /^opus +2 +100 +1010 +20 +1\.5630$/m);
  assert.match(stdout, /^total +2 +100 +1010 +20 +1\.5630 and more$/m);
  assert.match(stderr, /7 tokens are of models without a price/);
  assert.equal((await t.read('usage', '--by', 'thread')).items[0].key, 'slack:a');
  assert.equal((await t.centaur(['usage', '--by', 'colour'])).code, 2);
  assert.equal((await t.centaur(['usage', '--since', 'yesterday'])).code, 2);
});

test('where the policy asks, publishing waits for somebody else', async () => {
  const gated = t.place.write('gated.yaml', 'version: 1\ndefault: deny\ngates: {owners: {}}\npublish: {gate: owners}\nrules: []\n');
  assert.match((await t.centaur(['policy', 'publish', gated])).stdout, /is in force/);
  for (const args of [
    ['policy', 'publish', file],
    ['policy', 'rollback', '1'],
  ]) {
    const refused = await t.centaur(args);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /a person has to approve this text at gate owners: approval [\da-f-]{36}/);
  }
  assert.match((await t.centaur(['policy', 'show'])).stdout, /publish: \{gate: owners\}/);

  const [asked] = (await t.read('approvals', 'ls')).items;
  const { api } = t;
  // who would publish, and somebody else, each with their own session
  const [ann, bob] = [await addPerson(api, 'ann', 'admin'), await addPerson(api, 'bob', 'approver')];
  const as = async ({ token, name }: Person, ...args: string[]) => {
    keepSession(path.join(t.place.folder, 'home'), api.url, { token, name, expires_at: new Date(Date.now() + 3_600_000).toISOString() });
    return t.centaur(args, { env: { CENTAUR_API_KEY: '' } });
  };
  const next = t.place.write(
    'next.yaml',
    POLICY.replace('api.stripe.com, effect: allow', 'api.stripe.com, effect: deny').replace('expect: allow', 'expect: deny'),
  );
  assert.match((await t.centaur(['approvals', 'approve', asked.approval_id])).stderr, /person|session|login/, 'a key does not vote');
  const wanted = await as(ann, 'policy', 'publish', next);
  const id = /approval ([\da-f-]{36})/.exec(wanted.stderr)?.[1] ?? assert.fail(wanted.stderr);
  const own = await as(ann, 'approvals', 'approve', id);
  assert.notEqual(own.code, 0);
  assert.match(own.stderr, /who wrote or publishes a policy does not approve it/);
  assert.match((await as(bob, 'approvals', 'show', id)).stdout, /not by +requester \(ann\)/);
  const voted = await as(bob, 'approvals', 'approve', id);
  assert.equal(voted.code, 0, voted.stderr);
  assert.match((await as(ann, 'policy', 'publish', next)).stdout, /is in force/);
  keepSession(path.join(t.place.folder, 'home'), api.url, undefined);
  assert.match((await t.centaur(['policy', 'show'])).stdout, /effect: deny/);
});
