/** Whose grants a turn has: on real sandboxes, with a real firewall, asked by several people in one thread. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createChats } from '@centaur/kernel/chats';
import { addGrant, listGrants, listLeases, putSecret, removeGrant } from '@centaur/kernel/vault';
import { createUsers } from '@centaur/kernel/users';
import { createTestAgents } from '../../test/support/agents.ts';
import { eventually } from '../../test/support/wait.ts';

const THREAD = 'slack:T1:C1:1700000000.000100';
const slack = (user: string) => ({ platform: 'slack', team: 'T1', externalUser: user }) as const;
const by = (user: string, more: object = {}) => ({ user_id: `slack:T1:${user}`, vouched: true, ...more });

test('a thread of several people: each turn has the grants of who asked for it, and of nobody else', async () => {
  await using t = await createTestAgents();
  const { installation } = t.trust;
  const { store, audit, macKey } = installation;
  const users = createUsers({ store, audit });
  const chats = createChats({ store, audit, macKey, users });
  for (const name of ['ann', 'bob']) {
    await users.add('test', { name, role: 'operator' }, 'none');
    await chats.linkAsAdmin('test', slack(name === 'ann' ? 'U1' : 'U2'), { user: name });
  }
  for (const [secret, holder] of [
    ['OF_ANN', 'user:ann'],
    ['OF_BOB', 'user:bob'],
    ['OF_ACCOUNT', 'slack:T1:U9'],
    ['OF_CHANNEL', 'channel:slack:C1'],
    ['OF_CHANNELS', 'channel:slack:*'],
  ] as const) {
    await putSecret(installation, 'test', secret, { hosts: ['api.example.com'], value: `value-of-${secret}-1234567890` });
    await addGrant(installation, 'test', holder, secret);
  }
  const seen = async (more: object): Promise<readonly string[]> => {
    const before = (await t.events(THREAD)).length;
    const execution = await t.ended(await t.say(THREAD, 'run: env | grep ^OF_ | sort', more as Record<string, unknown>));
    assert.equal(execution.status, 'completed', execution.error_text ?? '');
    const told = JSON.stringify((await t.events(THREAD)).slice(before).filter(({ kind }) => kind === 'tool_result'));
    return [...new Set([...told.matchAll(/OF_[A-Z]+(?==)/g)].map(([name]) => name))].toSorted();
  };
  const leases = async () => (await listLeases(store, { active: true })).items.map(({ lease_id: id, besides }) => [id, besides] as const);

  assert.deepEqual(await seen(by('U1')), ['OF_ANN']);
  const first = (await leases())[0]?.[0] ?? '';
  assert.deepEqual(await leases(), [[first, ['user:ann']]]);
  // the same person again: the same process, with what it has
  assert.deepEqual(await seen(by('U1')), ['OF_ANN']);
  assert.deepEqual(await leases(), [[first, ['user:ann']]]);
  // another: what the one before had is dead
  assert.deepEqual(await seen(by('U2')), ['OF_BOB']);
  const { rows } = await store.query<{ revoked: boolean }>('select revoked_at is not null as revoked from leases where lease_id = $1', [
    first,
  ]);
  assert.deepEqual(rows, [{ revoked: true }]);
  assert.equal((await leases()).length, 1);
  // one whom nobody vouches for, by whichever name, and nobody
  assert.deepEqual(await seen({ user_id: 'slack:T1:U1' }), []);
  assert.deepEqual(await seen({ user_id: 'ann' }), []);
  assert.deepEqual(await seen({}), []);
  // by the account alone, and in the channel
  assert.deepEqual(await seen(by('U9', { channel: 'channel:slack:C1' })), ['OF_ACCOUNT', 'OF_CHANNEL', 'OF_CHANNELS']);
  assert.deepEqual(await seen(by('U1', { channel: 'channel:slack:C2' })), ['OF_ANN', 'OF_CHANNELS']);
  // of who may do nothing any more, by whichever door
  await users.disable('test', 'bob');
  assert.deepEqual(await seen(by('U2')), []);
  // it ends with the link, and with the grant
  assert.deepEqual(await seen(by('U1')), ['OF_ANN']);
  await chats.unlink('test', slack('U1'), undefined);
  assert.deepEqual(await leases(), []);
  await chats.linkAsAdmin('test', slack('U1'), { user: 'ann' });
  assert.deepEqual(await seen(by('U1')), ['OF_ANN']);
  for (const { grant_id: id } of await listGrants(store, { principal: 'user:ann' })) await removeGrant(installation, 'test', id);
  assert.deepEqual(await leases(), []);
  assert.deepEqual(await seen(by('U1')), []);
});

test('who asks for turns by turns finds the same sandbox and a lease of their own, and what is said to a turn widens nothing', async () => {
  await using t = await createTestAgents();
  const { installation } = t.trust;
  const { store, audit } = installation;
  const users = createUsers({ store, audit });
  await users.add('test', { name: 'ann', role: 'operator' }, 'none');
  await putSecret(installation, 'test', 'OF_ANN', { hosts: ['api.example.com'], value: 'value-of-ann-1234567890' });
  await t.ended(await t.say(THREAD, 'say: one', by('U1')));
  const sandboxOf = async () =>
    (await store.query<{ sandbox_id: string }>('select sandbox_id from sandbox_sessions where thread_key = $1', [THREAD])).rows[0]
      ?.sandbox_id;
  const before = await sandboxOf();
  await t.ended(await t.say(THREAD, 'say: two', by('U2', { channel: 'channel:slack:C1' })));
  assert.equal((await sandboxOf())?.split('/')[0], before?.split('/')[0]);
  const { rows } = await store.query('select account, user_name, channel from leases where revoked_at is null');
  assert.deepEqual(rows, [{ account: 'slack:T1:U2', user_name: 'slack:T1:U2', channel: 'channel:slack:C1' }]);
  await addGrant(installation, 'test', 'user:ann', 'OF_ANN');
  const running = await t.say(THREAD, 'run: until test -e /workspace/go; do sleep 0.05; done', by('U2'));
  await eventually(async () => (await t.events(THREAD)).some(({ kind }) => kind === 'tool_use'));
  await t.threads.steer(running, { content_blocks: [{ type: 'text', text: 'more' }], user_id: 'ann', vouched: true });
  const { sandboxes } = t.worker;
  await (await sandboxes.open((await sandboxes.list())[0]?.id as string))?.writeFile('/workspace/go', '');
  await t.ended(running);
  assert.deepEqual(
    (await listLeases(store, { active: true })).items.map(({ secrets }) => secrets),
    [['MODEL_KEY']],
  );
});
