import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { connectStore, type Store } from '../store/index.ts';
import {
  addGrant,
  createLease,
  type Installation,
  localMasterKey,
  openInstallation,
  openWebhookSecret,
  putSecret,
  removeSecret,
  rotateSecret,
  type SecretRequest,
} from './index.ts';

const VALUE = 'whsec_0123456789abcdef';

let database: TestDatabase;
let store: Store;
let installation: Installation;

before(async () => {
  database = await createTestDatabase();
  store = await connectStore({ url: database.url });
  installation = await openInstallation({ store, master: localMasterKey(randomBytes(32)), seal: { delayMs: 3_600_000 } });
});

after(async () => {
  await installation.close();
  await store.close();
  await database.drop();
});

const put = (name: string, request: SecretRequest = { type: 'webhook', value: VALUE }) => putSecret(installation, 'test', name, request);
const textsOf = async (name: string) => (await openWebhookSecret(installation, name))?.values.map(({ text }) => text);

test('what verifies webhooks has no place, can be leased by nobody, and is opened with its earlier values', async () => {
  const made = await put('HOOK');
  assert.deepEqual([made.hosts, made.inject, made.places], [[], null, { headers: [], query: [], path: false, body: false }]);
  assert.deepEqual(await textsOf('HOOK'), [VALUE]);
  await rotateSecret(installation, 'test', 'HOOK', `${VALUE}2`, 60);
  const rotated = await openWebhookSecret(installation, 'HOOK');
  assert.deepEqual(
    rotated?.values.map(({ text, until }) => [text, Math.round((until - store.now()) / 10_000)]),
    [
      [`${VALUE}2`, Number.POSITIVE_INFINITY],
      [VALUE, 6],
    ],
  );
  await addGrant(installation, 'test', 'user:test', 'HOOK');
  await assert.rejects(createLease(installation, 'test', { principal: 'user:test', secrets: ['HOOK'], ttlSeconds: 60 }), {
    code: 'INVALID_SECRET',
    message: /HOOK verifies webhooks: it is sent nowhere/,
  });
  await removeSecret(installation, 'test', 'HOOK');
  assert.equal(await openWebhookSecret(installation, 'HOOK'), undefined);
});

test('a webhook’s secret with a host or a header to be put into is refused', async () => {
  for (const [field, more] of Object.entries({
    hosts: { hosts: ['api.example.com'] },
    inject: { inject: { header: 'authorization' } },
    match_headers: { match_headers: ['authorization'] },
    match_body: { match_body: true },
    paths: { paths: ['/v1/*'] },
  }))
    await assert.rejects(put('PLACED', { type: 'webhook', value: VALUE, ...more }), {
      code: 'INVALID_SECRET',
      message: new RegExp(`^${field}: `),
    });
  await assert.rejects(put('NOWHERE', { value: VALUE }), { code: 'INVALID_SECRET', message: /^hosts: expected at least one host/ });
});

test('a secret of another type is never opened for webhooks, nor one that was changed in the database', async () => {
  await put('STRIPE', { value: VALUE, hosts: ['api.stripe.com'] });
  await assert.rejects(openWebhookSecret(installation, 'STRIPE'), { code: 'INVALID_SECRET', message: /of type http/ });
  // the row says so, but not the vault
  await store.query(`update secrets set type = 'webhook' where name = 'STRIPE'`);
  await assert.rejects(openWebhookSecret(installation, 'STRIPE'), { code: 'SEAL_BROKEN' });
  await put('KNOWN', { value: VALUE, hosts: ['api.stripe.com'] });
  await assert.rejects(put('KNOWN', { type: 'webhook' }), { code: 'INVALID_SECRET', message: /give its value again/ });
});

test('a webhook’s secret may come from a source, which the process that verifies asks', async () => {
  await put('FETCHED', { type: 'webhook', source: { type: 'env', variable: 'HOOK_OF_ENV' } });
  const environment = { HOOK_OF_ENV: VALUE };
  assert.deepEqual(
    (await openWebhookSecret({ ...installation, environment }, 'FETCHED'))?.values.map(({ text }) => text),
    [VALUE],
  );
  await assert.rejects(openWebhookSecret({ ...installation, environment: {} }, 'FETCHED'), { code: 'SOURCE_FAILED' });
});
