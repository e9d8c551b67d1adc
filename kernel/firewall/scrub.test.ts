import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { createTestDatabase } from '../../test/support/database.ts';
import { eventually } from '../../test/support/wait.ts';
import { connectStore } from '../store/index.ts';
import { localMasterKey, openInstallation, putSecret } from '../vault/index.ts';
import { createScrubber, secretsOfEnvironment } from './scrub.ts';

const KEY = 'canary-7f3a9c51e0b2';

test('what is secret in the environment leaves in no form', () => {
  const { scrub } = createScrubber(
    secretsOfEnvironment({
      CENTAUR_API_KEY: KEY,
      DATABASE_URL: 'postgres://me:p%40ssword-with-at@db/centaur',
      PATH: '/usr/bin:/usr/local/bin',
      VAULT_TOKEN: undefined,
      SHORT_TOKEN: 'short',
    }),
  );
  for (const form of [
    KEY,
    Buffer.from(KEY).toString('base64'),
    Buffer.from(KEY).toString('hex'),
    encodeURIComponent('p@ssword-with-at'),
    'p@ssword-with-at',
  ])
    assert.doesNotMatch(
      scrub(JSON.stringify({ message: `it says ${form}!` })),
      new RegExp(form.replaceAll(/[+/=]/g, '\\$&').slice(0, 12)),
      form,
    );
  const headers = createScrubber(
    secretsOfEnvironment({
      OTEL_EXPORTER_OTLP_HEADERS: 'x-org=7, authorization=Bearer%20otlp-token-4711',
      OTEL_EXPORTER_OTLP_METRICS_HEADERS: 'api-key=metrics-key-4711',
    }),
  );
  assert.equal(headers.scrub('a otlp-token-4711 b metrics-key-4711 c'), `a ${'*'.repeat(15)} b ${'*'.repeat(16)} c`);
  assert.equal(scrub('/usr/local/bin is short'), '/usr/local/bin is short');
});

test('a secret that is stored while a process runs is blanked from then on, by the parts of its value too', async () => {
  await using stack = new AsyncDisposableStack();
  const database = await createTestDatabase();
  stack.defer(() => database.drop());
  const store = await connectStore({ url: database.url });
  stack.defer(() => store.close());
  const installation = await openInstallation({ store, master: localMasterKey(randomBytes(32)) });
  stack.defer(() => installation.close());
  const scrubber = createScrubber([]);
  stack.defer(await scrubber.follow(installation));
  assert.equal(scrubber.scrub(KEY), KEY);
  await putSecret(installation, 'test', 'API', { value: KEY, hosts: ['api.example.com'] });
  await eventually(async () => scrubber.scrub(`x ${KEY} y`) === `x ${'*'.repeat(KEY.length)} y`);
});
