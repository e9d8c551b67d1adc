/** Leases that are made for a turn while who asked for it loses what they have, and with more than a lease has room for. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startTestApi, type TestApi } from '../../test/support/api.ts';
import { addPerson } from '../../test/support/people.ts';
import { eventually } from '../../test/support/wait.ts';
import { addGrant, createLease, listLeases, putSecret } from './index.ts';

let api: TestApi;
before(async () => {
  api = await startTestApi({ idle: true, vault: 'alone' });
  for (const [name, account] of [
    ['ann', 'U1'],
    ['bob', 'U2'],
    ['eve', 'U3'],
    ['cyd', 'U4'],
  ] as const) {
    await addPerson(api, name, 'operator');
    await api.call('POST', '/chats/links/admin', { platform: 'slack', team: 'T1', external_user: account, user: name });
    await secret(`OF_${name.toUpperCase()}`, `user:${name}`);
  }
  await secret('NEEDED', 'thread:x');
});
after(() => api[Symbol.asyncDispose]());

async function secret(name: string, holder: string): Promise<void> {
  await putSecret(api.installation, 'test', name, { hosts: ['api.example.com'], value: `value-of-${name}-1234567890` });
  await addGrant(api.installation, 'test', holder, name);
}

const leaseFor = (account: string, channel: string | null = null) =>
  createLease(api.installation, 'test', {
    principal: 'thread:x',
    secrets: ['NEEDED'],
    ttlSeconds: 600,
    threadKey: 'x',
    asker: { account: account.startsWith('U') ? `slack:T1:${account}` : account, channel },
  });
const namesIn = ({ placeholders }: Awaited<ReturnType<typeof leaseFor>>) => Object.keys(placeholders).toSorted();

for (const [what, sql, account, own] of [
  ['unlinked', `delete from chat_links where external_user = 'U1'`, 'U1', 'OF_ANN'],
  ['disabled', `update users set disabled_at = now() where name = 'bob'`, 'U2', 'OF_BOB'],
  ['disabled, and asks by their name,', `update users set disabled_at = now() where name = 'cyd'`, 'cyd', 'OF_CYD'],
] as const)
  test(`a lease that is made while who asked is ${what} has nothing of theirs`, async () => {
    const { store } = api.installation;
    assert.deepEqual(namesIn(await leaseFor(account)), ['NEEDED', own].toSorted());
    let making: ReturnType<typeof leaseFor> | undefined;
    let isMade = false;
    await store.transaction(async (tx) => {
      await tx.query(sql);
      making = leaseFor(account).finally(() => (isMade = true));
      await eventually(async () => isMade || (await waiting()) > 0);
    });
    assert.deepEqual(namesIn(await (making as ReturnType<typeof leaseFor>)), ['NEEDED']);
  });

async function waiting(): Promise<number> {
  const { rows } = await api.installation.store.query<{ n: number }>(
    `select count(*)::int as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
  );
  return rows[0]?.n ?? 0;
}

test('a lease that has nothing but its channel’s ends with who asked for its turn', async () => {
  await addPerson(api, 'fay', 'operator');
  await api.call('POST', '/chats/links/admin', { platform: 'slack', team: 'T1', external_user: 'U5', user: 'fay' });
  await secret('OF_CHANNEL', 'channel:slack:C1');
  const lease = await leaseFor('U5', 'channel:slack:C1');
  assert.deepEqual(namesIn(lease), ['NEEDED', 'OF_CHANNEL']);
  assert.equal((await api.call('POST', '/users/fay/disable')).status, 200);
  const active = (await listLeases(api.installation.store, { active: true })).items.map(({ lease_id: id }) => id);
  assert.ok(!active.includes(lease.leaseId));
});

test('leases that end with a link or a person have an entry each', async () => {
  const byAccount = await leaseFor('U3');
  assert.equal((await api.call('DELETE', '/chats/links/slack/T1/U3')).status, 200);
  await api.call('POST', '/chats/links/admin', { platform: 'slack', team: 'T1', external_user: 'U3', user: 'eve' });
  const byPerson = await leaseFor('U3');
  assert.equal((await api.call('POST', '/users/eve/disable')).status, 200);
  const entries = (await api.call('GET', '/audit?action=lease.revoke&limit=50')).body.items as {
    resource: string;
    actor: string;
    details: { reason: string };
  }[];
  for (const [lease, reason] of [
    [byAccount, 'the account was unlinked'],
    [byPerson, 'eve was disabled'],
  ] as const) {
    const of = entries.filter(({ resource }) => resource === `lease:${lease.leaseId}`);
    assert.deepEqual(
      of.map(({ actor, details }) => [actor.split(':')[0], details.reason]),
      [['key', reason]],
    );
  }
  const active = (await listLeases(api.installation.store, { active: true })).items.map(({ lease_id: id }) => id);
  assert.ok(!active.includes(byAccount.leaseId) && !active.includes(byPerson.leaseId));
});

test('what is granted to somebody beyond the most of a lease is left out, and named in its entry', async () => {
  for (let n = 100; n < 201; n += 1) await secret(`MANY_${n}`, 'slack:T1:U9');
  const lease = await leaseFor('U9');
  const leased = namesIn(lease);
  assert.equal(leased.length, 100);
  assert.ok(leased.includes('NEEDED') && leased.includes('MANY_198') && !leased.includes('MANY_199'));
  const entries = (await api.call('GET', '/audit?action=lease.create&limit=10')).body.items as {
    resource: string;
    details: { left_out?: readonly string[] };
  }[];
  const entry = entries.find(({ resource }) => resource === `lease:${lease.leaseId}`);
  assert.deepEqual(entry?.details.left_out, ['MANY_199', 'MANY_200']);
});
