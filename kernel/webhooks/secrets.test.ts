import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { createTestDatabase, type TestDatabase } from '../../test/support/database.ts';
import { eventually } from '../../test/support/wait.ts';
import { connectStore, type Store } from '../store/index.ts';
import { type Installation, localMasterKey, openInstallation, putSecret, removeSecret } from '../vault/index.ts';
import { createSecrets } from './secrets.ts';

const FIRST = 'the-first-value-0123';
const SECOND = 'the-second-value-456';
const HOUR_MS = 3_600_000;

let database: TestDatabase;
let store: Store;
let installation: Installation;

before(async () => {
  database = await createTestDatabase();
  store = await connectStore({ url: database.url });
  installation = await openInstallation({ store, master: localMasterKey(randomBytes(32)), seal: { delayMs: HOUR_MS } });
});

after(async () => {
  await installation.close();
  await store.close();
  await database.drop();
});

/** With a clock that is moved by hand. */
async function start(environment: Record<string, string>) {
  let passed = 0;
  const logs: { message: string }[] = [];
  const shifted: Store = { ...store, listener: store.listener, now: () => store.now() + passed };
  const secrets = await createSecrets({
    store: shifted,
    installation,
    environment,
    log: (entry) => logs.push(entry),
    clock: () => passed,
  });
  return { secrets, logs, pass: (ms: number) => (passed += ms) };
}

test('a value that its source replaced counts for the time of grace', async () => {
  await putSecret(installation, 'test', 'TURNING', {
    type: 'webhook',
    source: { type: 'env', variable: 'TURNING_NOW' },
    rotation: { every_seconds: 86_400, grace_seconds: 600 },
  });
  const environment = { TURNING_NOW: FIRST };
  const { secrets, pass } = await start(environment);
  assert.deepEqual(await secrets.get('TURNING'), [FIRST]);
  environment.TURNING_NOW = SECOND;
  assert.deepEqual(await secrets.get('TURNING'), [FIRST], 'it is not asked for each delivery');
  pass(61_000);
  assert.deepEqual(await secrets.get('TURNING'), [FIRST], 'nobody waits for the source');
  await eventually(async () => (await secrets.get('TURNING')).length === 2);
  assert.deepEqual(await secrets.get('TURNING'), [SECOND, FIRST]);
  pass(300_000);
  assert.deepEqual(await secrets.get('TURNING'), [SECOND, FIRST]);
  pass(300_000);
  assert.deepEqual(await secrets.get('TURNING'), [SECOND]);
  secrets.close();
});

test('what has not been asked for in five minutes is read before it verifies', async () => {
  await putSecret(installation, 'test', 'QUIET', { type: 'webhook', source: { type: 'env', variable: 'QUIET_NOW' } });
  const environment = { QUIET_NOW: FIRST };
  const { secrets, pass } = await start(environment);
  assert.deepEqual(await secrets.get('QUIET'), [FIRST]);
  environment.QUIET_NOW = SECOND;
  pass(300_000);
  assert.equal((await secrets.get('QUIET'))[0], SECOND);
  secrets.close();
});

test('a secret of the vault that was removed verifies nothing more, and deliveries at once ask for it once', async () => {
  await putSecret(installation, 'test', 'REMOVED', { type: 'webhook', value: FIRST });
  let asked = 0;
  const environment = {
    get REMOVED() {
      asked += 1;
      return undefined;
    },
  };
  const { secrets, pass } = await start(environment as unknown as Record<string, string>);
  assert.deepEqual(await secrets.get('REMOVED'), [FIRST]);
  await removeSecret(installation, 'test', 'REMOVED');
  pass(10_000);
  const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => secrets.get('REMOVED')));
  assert.ok(outcomes.every(({ status }) => status === 'rejected'));
  assert.equal(asked, 1);
  secrets.close();
});

test('a source that is away for an hour is a problem, and not before', async () => {
  await putSecret(installation, 'test', 'AWAY', { type: 'webhook', source: { type: 'env', variable: 'AWAY_NOW' } });
  const environment: Record<string, string> = { AWAY_NOW: FIRST };
  const { secrets, logs, pass } = await start(environment);
  assert.deepEqual(await secrets.get('AWAY'), [FIRST]);
  delete environment['AWAY_NOW'];
  pass(61_000);
  assert.deepEqual(await secrets.get('AWAY'), [FIRST]);
  await eventually(async () => logs.length > 0);
  assert.match(logs[0]?.message ?? '', /a source of a secret does not answer/);
  pass(HOUR_MS - 61_000);
  assert.deepEqual(await secrets.get('AWAY'), [FIRST]);
  pass(62_000);
  await assert.rejects(secrets.get('AWAY'), { name: 'SecretProblem', message: /AWAY has not answered for too long/ });
  environment['AWAY_NOW'] = SECOND;
  pass(61_000);
  assert.deepEqual(await secrets.get('AWAY'), [SECOND]);
  secrets.close();
});

test('a variable that anybody could guess is a problem, and one with a line break is read without', async () => {
  const { secrets } = await start({ BLANK: '\n', BARE: 'whsec_', LINE: `${FIRST}\n` });
  await assert.rejects(secrets.get('BLANK'), { name: 'SecretProblem', message: /variable BLANK .* is blank/ });
  await assert.rejects(secrets.get('BARE'), { name: 'SecretProblem', message: /variable BARE .* is shorter than 8/ });
  assert.deepEqual(await secrets.get('LINE'), [FIRST]);
  secrets.close();
});

test('the vault goes before the environment, and what is missing is looked for once in a while', async () => {
  const { secrets, logs, pass } = await start({ BOTH: SECOND });
  await putSecret(installation, 'test', 'BOTH', { type: 'webhook', value: FIRST });
  assert.deepEqual(await secrets.get('BOTH'), [FIRST]);
  await removeSecret(installation, 'test', 'BOTH');
  await eventually(async () => (await secrets.get('BOTH'))[0] === SECOND);
  for (let i = 0; i < 3; i++) await assert.rejects(secrets.get('NOWHERE'), { message: /no secret NOWHERE in the vault, and no variable/ });
  assert.equal(logs.length, 1);
  await putSecret(installation, 'test', 'NOWHERE', { type: 'webhook', value: FIRST });
  await assert.rejects(secrets.get('NOWHERE'), { name: 'SecretProblem' });
  pass(1001);
  assert.deepEqual(await secrets.get('NOWHERE'), [FIRST]);
  secrets.close();
});

test('what was missing and has just been put there is found at once, though it was asked for a moment before', async () => {
  const { secrets, pass } = await start({});
  await assert.rejects(secrets.get('LATE'), { message: /no secret LATE/ });
  await putSecret(installation, 'test', 'LATE', { type: 'webhook', value: FIRST });
  pass(60);
  // as soon as the notification is here: this clock stands still
  await eventually(() =>
    secrets.get('LATE').then(
      ([value]) => value === FIRST,
      () => false,
    ),
  );
  secrets.close();
});

test('a source that has never answered is asked once a second, whatever else changes', async () => {
  await putSecret(installation, 'test', 'SILENT', { type: 'webhook', source: { type: 'env', variable: 'SILENT_NOW' } });
  const environment: Record<string, string> = {};
  const { secrets, pass } = await start(environment);
  await assert.rejects(secrets.get('SILENT'), { name: 'SecretProblem' });
  // what is heard of the one is heard of the other
  await assert.rejects(secrets.get('UNSEEN'), { name: 'SecretProblem' });
  await putSecret(installation, 'test', 'UNSEEN', { type: 'webhook', value: FIRST });
  environment['SILENT_NOW'] = SECOND;
  pass(60);
  await eventually(() =>
    secrets.get('UNSEEN').then(
      () => true,
      () => false,
    ),
  );
  await assert.rejects(secrets.get('SILENT'), { name: 'SecretProblem' });
  pass(1001);
  assert.deepEqual(await secrets.get('SILENT'), [SECOND]);
  secrets.close();
});
