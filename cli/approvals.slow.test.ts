import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { publishPolicy } from '../kernel/policy/index.ts';
import { createApprovals } from '../runtime/outside/index.ts';
import { eventually } from '../test/support/wait.ts';
import { createTools, type Tools } from '../kernel/tools/index.ts';
import { startTestApi, type TestApi } from '../test/support/api.ts';
import { createPlace, type Finished, type Place } from '../test/support/cli.ts';
import { person, sessionOf } from '../test/support/people.ts';
import { createScriptedRunner } from '../test/support/tools.ts';
import { keepSession } from './session-file.ts';

const NO_ID = '0198c0de-0000-7000-8000-000000000000';
const BANK = {
  name: 'bank',
  description: 'A bank.',
  methods: {
    pay: {
      description: 'Pays.',
      risk: 'destructive',
      input: {
        type: 'object',
        properties: { amount: { type: 'integer' }, to: { type: 'string' }, card: { type: 'string', 'x-sensitive': true } },
        required: ['amount'],
      },
    },
  },
};
const POLICY = `version: 1
default: deny
gates: {money: {quorum: 2, exclude: [requester], editable: [amount]}, one: {}}
rules:
  - {id: much, tool: bank.pay, effect: approve, gate: money, when: args.amount > 100}
  - {id: some, tool: bank.pay, effect: approve, gate: one}
`;

let api: TestApi;
let tools: Tools;
let place: Place;
before(async () => {
  const runner = createScriptedRunner();
  runner.serve(BANK);
  api = await startTestApi({
    idle: true,
    vault: 'alone',
    toolsOn: async (installation, log) => (tools = await createTools({ store: installation.store, installation, runner, log })),
  });
  await publishPolicy(api.installation, 'user:zoe', { text: POLICY });
  place = createPlace({ CENTAUR_API_URL: api.url });
});
after(async () => {
  await place[Symbol.asyncDispose]();
  await api[Symbol.asyncDispose]();
});

const [ann, bob, root] = [person('ann'), person('bob'), person('root', 'admin')];

/** Each at a machine of their own, where they have just signed in. */
async function as(voter: typeof ann, ...args: string[]): Promise<Finished> {
  const home = path.join(place.folder, voter.name);
  const token = await sessionOf(api, { ...voter, provenAt: Date.now() });
  keepSession(home, api.url, { token, name: voter.name, expires_at: new Date(Date.now() + 60_000).toISOString() });
  return place.run(['approvals', ...args], { env: { CENTAUR_HOME: home } });
}

/** As an agent asks. Answers the approval. */
async function ask(args: object): Promise<string> {
  const caller = { principal: 'thread:a', threadKey: 'a' };
  const refused = await tools.call(caller, { tool: 'bank', method: 'pay', args, waitMs: 0 }).catch((error: unknown) => error);
  return String((refused as { details: Record<string, unknown> }).details['approval_id']);
}

test('what waits is listed and shown on 80 columns, with what is sensitive blanked', async () => {
  const id = await ask({ amount: 200, to: 'x'.repeat(200), card: 'CANARY-4111' });
  const listed = await as(ann, 'ls');
  assert.match(listed.stdout, new RegExp(`^${id}  pending  0/2 votes  over in .*\n  bank\\.pay \\{"amount":200`));
  for (const line of listed.stdout.split('\n')) assert.ok(line.length <= 80, line);
  const shown = await as(ann, 'show', id);
  assert.match(shown.stdout, /^bank\.pay pending\n/);
  assert.match(shown.stdout, /\n {2}asks for +2 of role:approver, role:admin\n/);
  assert.match(shown.stdout, /\n {2}you +may vote\n/);
  assert.match(shown.stdout, /\n {2}editable +amount\n/);
  assert.match(shown.stdout, /"card": "\[sensitive\]"/);
  assert.ok(!`${listed.stdout}${shown.stdout}`.includes('CANARY'));
  assert.match((await as(person('v', 'viewer'), 'show', id)).stdout, /you +may not vote: v is not among those/);
  assert.equal((await as(ann, 'show', NO_ID)).code, 5);
  await as(ann, 'deny', id, '--reason', 'tidying up');
});

test('two people approve, the second what the first has edited, once they have looked at it', async () => {
  const id = await ask({ amount: 200 });
  const edited = await as(ann, 'edit', id, '--set', 'amount=150', '--reason', 'as agreed');
  assert.equal(edited.stdout, `pending (1 of 2 votes) ${id}: bank.pay {"amount":200}\n`, edited.stderr);
  const unseen = await as(bob, 'approve', id, '--reason', 'ok');
  assert.deepEqual(
    [unseen.code, /ann has edited approval/.test(unseen.stderr), /--digest [\da-f]{8}/.test(unseen.stderr)],
    [1, true, true],
  );
  const shown = await as(bob, 'show', id);
  assert.match(shown.stdout, /arguments, edited by ann: amount\n {2}\{\n {4}"amount": 150\n/);
  assert.match(shown.stdout, /votes: 1 of 2\n {2}ann {2}approve {2}20\S+Z by cli: as agreed\n/);
  const digest = /\n {2}digest +([\da-f]{8})/.exec(shown.stdout)?.[1] as string;
  assert.match((await as(bob, 'approve', id, '--reason', 'ok', '--digest', digest)).stdout, /^approved /);
  assert.match((await as(bob, 'show', id)).stdout, /\n {2}decided +20\S+Z by user:bob\n {2}reason +ok\n/);
  const again = await as(bob, 'deny', id, '--reason', 'no');
  assert.deepEqual([again.code, /was approved by user:bob at .*; it is decided once/.test(again.stderr)], [1, true]);
  const refused = await as(ann, 'edit', await ask({ amount: 201 }), '--set', 'to=me', '--reason', 'x');
  assert.match(refused.stderr, /"to" may not be changed; these may be: amount \(EDIT_REFUSED\)/);
});

test('several are decided at once, each by itself; a key decides none', async () => {
  const ids = [await ask({ amount: 1 }), await ask({ amount: 2 })];
  const key = await api.keyWith('approvals.decide');
  for (const args of [
    ['approve', ...ids],
    ['deny', ...ids],
    ['edit', ids[0] as string, '--set', 'amount=1'],
    ['override', ids[0] as string],
  ]) {
    const byKey = await place.run(['approvals', ...args, '--reason', 'x'], { env: { CENTAUR_API_KEY: key } });
    assert.deepEqual([byKey.code, /approvals are decided by people.*\n.*centaur login/.test(byKey.stderr)], [1, true], byKey.stderr);
  }
  const seen = await place.run(['approvals', 'ls'], { env: { CENTAUR_API_KEY: key } });
  assert.ok(ids.every((id) => seen.stdout.includes(`${id}  pending`)));
  const both = await as(ann, 'approve', ...ids, '--reason', 'ticket 1');
  assert.deepEqual([both.code, both.stdout.split('\n').filter((line) => line.startsWith('approved ')).length], [0, 2]);
  const mixed = await as(ann, 'approve', ids[0] as string, await ask({ amount: 3 }), '--reason', 'ticket 2');
  assert.deepEqual([mixed.code, mixed.stdout.startsWith('approved '), /APPROVAL_DECIDED/.test(mixed.stderr)], [1, true, true]);
  assert.equal((await as(ann, 'deny', ids[0] as string)).code, 2, 'a denial needs a reason');
});

test('what is approved for a while is listed and revoked', async () => {
  const approved = await as(ann, 'approve', await ask({ amount: 4, to: 'x' }), '--reason', 'all week', '--for', '4h', '--field', 'to');
  assert.match(approved.stdout, /^approved /, approved.stderr);
  const listed = await as(ann, 'grants', 'ls');
  assert.match(
    listed.stdout,
    /^([\da-f-]{36}) {2}active {2}over in [34] h.*used 0 times\n {2}bank\.pay by thread:a: the same to, any of its calls\n/,
  );
  const id = listed.stdout.slice(0, 36);
  assert.match((await as(ann, 'grants', 'revoke', id)).stdout, /^revoked .*bank\.pay is asked about again/);
  assert.match((await as(ann, 'grants', 'ls')).stderr, /nothing is let through/);
  assert.match((await as(ann, 'grants', 'ls', '--all')).stdout, / {2}revoked {2}/);
});

test('an administrator overrides a gate, and it shows', async () => {
  const id = await ask({ amount: 300 });
  assert.equal((await as(ann, 'override', id, '--reason', 'the site is down')).code, 4);
  assert.match((await as(root, 'override', id, '--reason', 'the site is down')).stdout, /^approved .*past the gate money/);
  assert.match((await as(ann, 'show', id)).stdout, /^bank\.pay approved overridden\n/);
});

test('of a policy’s text what it changes is shown, once, and a list has none of it', async () => {
  const rules = Array.from({ length: 60 }, (_, i) => `  - {id: rule-${i}, tool: shop.m${i}, effect: allow}`);
  const gated = `${POLICY}${rules.join('\n')}\npublish: {gate: one}\n`;
  await publishPolicy(api.installation, 'user:zoe', { text: gated });
  const text = gated.replace('shop.m30, effect: allow', 'shop.m30, effect: deny');
  await assert.rejects(publishPolicy(api.installation, 'user:zoe', { text, message: 'no more of it' }), { code: 'APPROVAL_REQUIRED' });
  const listed = await as(ann, 'ls', '--json');
  const [{ approval_id: id }] = JSON.parse(listed.stdout).items;
  assert.ok(!listed.stdout.includes('shop.m'), listed.stdout);
  assert.match((await as(ann, 'ls')).stdout, /\n {2}policy\.publish of a text by user:zoe\n/);
  const { stdout } = await as(ann, 'show', id);
  assert.match(stdout, /^policy\.publish pending\n/);
  assert.match(stdout, /\nmessage no more of it\nauthor user:zoe\n/);
  assert.match(stdout, /\nchanges \(with --json, the whole text\)\n {2}@@ line \d+\n/);
  assert.match(
    stdout,
    /\n {2}-  - \{id: rule-30, tool: shop\.m30, effect: allow\}\n {2}\+  - \{id: rule-30, tool: shop\.m30, effect: deny\}\n/,
  );
  assert.deepEqual([stdout.split('shop.m').length - 1, stdout.includes('shop.m3,')], [8, false], stdout);
  const whole = JSON.parse((await as(ann, 'show', id, '--json')).stdout);
  assert.equal(whole.summary.text, text);
  assert.match((await as(ann, 'deny', id, '--reason', 'keep it')).stdout, /^denied \S+: policy\.publish of a text by user:zoe\n$/);
});

test('a workflow’s question is shown in its words, and approved with an edit', async () => {
  api.t.registry.define('refund', async (_input, ctx) =>
    ctx.approval('sign off', {
      summary: 'Refund it?',
      tool: 'stripe.refund',
      args: { amount: 20, to: 'x' },
      editable: ['amount'],
      gate: 'one',
    }),
  );
  const engine = await api.t.another({ approvals: createApprovals(api.installation) });
  await engine.work();
  const { run_id: run } = await engine.start({ workflow_name: 'refund' });
  const id = await eventually(
    async () =>
      JSON.parse((await as(ann, 'ls', '--json')).stdout).items.find((each: { run_id: string }) => each.run_id === run)?.approval_id,
  );
  assert.match((await as(ann, 'ls')).stdout, /\n {2}Refund it\? stripe\.refund \{"amount":20,"to":"x"\}\n/);
  const { stdout } = await as(ann, 'show', id);
  assert.match(stdout, /^Refund it\? pending\n/);
  assert.match(stdout, /\n {2}asked by +step sign off of refund\n {2}to do +stripe\.refund\n/);
  assert.match(stdout, /\n {2}editable +amount\n/);
  assert.match(stdout, /\narguments\n {2}\{\n {4}"amount": 20,/);
  const refused = await as(ann, 'approve', id, '--edit', 'to=y');
  assert.match(refused.stderr, /"to" may not be changed; these may be: amount \(EDIT_REFUSED\)/);
  assert.match((await as(ann, 'approve', id, NO_ID, '--edit', 'amount=10')).stderr, /--edit: of one approval/);
  assert.match((await as(ann, 'approve', id, '--edit', 'amount=10', '--reason', 'as agreed')).stdout, /^approved /);
  const { result } = await api.t.ended(run);
  assert.deepEqual((result as { readonly args: unknown }).args, { amount: 10, to: 'x' });
});
