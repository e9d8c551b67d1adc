import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestApi } from '../../test/support/api.ts';
import { addPerson } from '../../test/support/people.ts';
import { beginErasure, exportSubject, getErasure, runErasures } from '../care/index.ts';
import { addGrant, createLease, putSecret } from '../vault/index.ts';

const account = { platform: 'slack', team: 'T1', external_user: 'UGONE' };

test('whose account it is goes with the person, and is in what they are given of themselves', async () => {
  await using api = await startTestApi({ idle: true, vault: 'alone' });
  const { store, audit } = api.installation;
  const gone = await addPerson(api, 'gone', 'viewer');
  await api.call('POST', '/chats/links/codes', { platform: 'slack' }, gone.as);
  await api.call('POST', '/chats/links/admin', { ...account, user: 'gone', display_name: 'Gone' });
  const secret = { hosts: ['api.example.com'], value: 'value-of-gone-1234567890' };
  await putSecret(api.installation, 'test', 'OF_GONE', secret);
  await addGrant(api.installation, 'test', 'user:gone', 'OF_GONE');
  const asker = { account: 'slack:T1:UGONE', channel: null };
  await createLease(api.installation, 'test', { principal: 'thread:x', secrets: [], ttlSeconds: 60, asker, threadKey: 'x' });
  const exported = new Map<string, string>();
  for await (const text of exportSubject(api.installation, 'user:gone')) {
    const { file = '', row = '' } = JSON.parse(text) as { file?: string; row?: string };
    exported.set(file, `${exported.get(file) ?? ''}${row}`);
  }
  assert.match(exported.get('chat_links.jsonl') ?? '', /UGONE/);
  assert.match(exported.get('leases.jsonl') ?? '', /slack:T1:UGONE/);
  const { erasure_id: id } = await beginErasure({ store, audit }, 'user:admin', 'user:gone');
  await runErasures({ store, audit });
  assert.equal((await getErasure(store, id)).state, 'done');
  for (const table of ['chat_links', 'chat_link_codes', 'leases', 'grants where revoked_at is null'])
    assert.ok(!JSON.stringify((await store.query(`select * from ${table.replace(' where', ' t where')}`)).rows).includes('gone'), table);
  assert.equal((await api.call('POST', '/chats/identities', account)).body.user, null);
});
