import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ADMIN } from '../test/support/api.ts';
import { createPlace, type Place } from '../test/support/cli.ts';
import { GITHUB, SECRET, startTestWebhooks, type TestWebhooks } from '../test/support/webhooks.ts';

let t: TestWebhooks;
let place: Place;

before(async () => {
  t = await startTestWebhooks();
  t.declare('triage', GITHUB, { slug: 'half', auth: { type: 'unheard_of' } });
  t.declare('billing', { slug: 'billing', auth: { type: 'stripe', secret_ref: 'STRIPE_WEBHOOK_SECRET' } });
  place = createPlace({ CENTAUR_API_URL: t.api.url, CENTAUR_API_KEY: ADMIN });
});

after(async () => {
  await place[Symbol.asyncDispose]();
  await t[Symbol.asyncDispose]();
});

test('a sample is signed with a secret that is in no argument, and its delivery can be sent again', async () => {
  const sent = await place.run(['webhooks', 'send', 'issues', '--event', 'issues'], { env: { GITHUB_WEBHOOK_SECRET: SECRET } });
  assert.deepEqual([sent.code, sent.stderr], [0, '202 a new run\n']);
  const run = sent.stdout.trim();
  const { items } = JSON.parse((await place.run(['webhooks', 'deliveries', '--slug', 'issues', '--json'])).stdout);
  assert.deepEqual([items[0].run_id, items[0].event, items[0].created], [run, 'issues', true]);
  const again = JSON.parse((await place.run(['webhooks', 'redeliver', items[0].delivery_id, '--json'])).stdout);
  assert.notEqual(again.run_id, run);
  const [first, second] = await Promise.all([run, again.run_id].map((id) => t.api.call('GET', `/workflows/runs/${id}`)));
  assert.deepEqual(second?.body.input, first?.body.input);
  const { stdout } = await place.run(['webhooks', 'deliveries']);
  assert.match(stdout, new RegExp(`^DELIVERY .*\\n\\S+ .* sent again\\n${items[0].delivery_id} .* new\\n$`));
});

test('a secret that is wrong or missing is said, with an exit code', async () => {
  const file = place.write('secret.txt', 'another-secret\n');
  const wrong = await place.run(['webhooks', 'send', 'issues', '--secret-file', file]);
  assert.equal(wrong.code, 1);
  assert.match(wrong.stderr, /^401 BAD_SIGNATURE: the signature is wrong\n$/);
  const none = await place.run(['webhooks', 'send', 'issues'], { stdin: '' });
  assert.equal(none.code, 2);
  assert.match(none.stderr, /no secret to sign with: set GITHUB_WEBHOOK_SECRET/);
});

test('what is served is listed, with what is wrong', async () => {
  const { stdout, stderr } = await place.run(['webhooks', 'ls']);
  assert.match(stdout, /^WEBHOOK .*\nbilling +billing +- +stripe +POST +no secret\nissues +triage +github +github +POST +served\n$/);
  assert.match(stderr, /error billing: there is no secret STRIPE_WEBHOOK_SECRET in the vault/);
  assert.match(stderr, /error \/workflows\/triage\.ts: WEBHOOKS\[1\]/);
});

test('a sample has its proof where the webhook wants it', async () => {
  const auth = {
    type: 'hmac',
    secret_ref: 'GITHUB_WEBHOOK_SECRET',
    header: 'X-Proof',
    prefix: 'v=',
    encoding: 'base64',
    algorithm: 'sha512',
  };
  const bearer = { type: 'bearer', secret_ref: 'GITHUB_WEBHOOK_SECRET', header: 'X-Bearer-Token', scheme: '' };
  t.declare('own', { slug: 'own', auth }, { slug: 'own-bearer', auth: bearer });
  for (const slug of ['own', 'own-bearer']) {
    const sent = await place.run(['webhooks', 'send', slug], { env: { GITHUB_WEBHOOK_SECRET: SECRET } });
    assert.deepEqual([sent.code, sent.stderr], [0, '202 a new run\n'], slug);
  }
});
