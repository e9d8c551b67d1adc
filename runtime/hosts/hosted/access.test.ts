import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { createTestDatabase } from '../../../test/support/database.ts';
import { connectStore, migrate } from '@centaur/kernel/store';
import { addGrant, createLease, localMasterKey, openInstallation, putSecret, removeGrant } from '@centaur/kernel/vault';
import { type HostAccess, isCurrent } from './access.ts';

test('a process whose lease ended is not the one that would be started now, though its grants are the same', async () => {
  await using database = await createTestDatabase();
  await migrate(database.url);
  const store = await connectStore({ url: database.url });
  const installation = await openInstallation({ store, master: localMasterKey(randomBytes(32)), log: () => {} });
  await putSecret(installation, 'test', 'A_KEY', { value: 'a-value-that-is-long', hosts: ['api.example.com'] });
  const grant = await addGrant(installation, 'test', 'workflow:one', 'A_KEY');
  const lease = await createLease(installation, 'test', { principal: 'workflow:one', secrets: ['A_KEY'], ttlSeconds: 60 });
  const access: HostAccess = {
    leaseId: lease.leaseId,
    token: lease.token,
    env: {},
    caPem: '',
    secrets: ['A_KEY'],
    placeholders: {},
    databases: [],
  };
  assert.equal(await isCurrent(installation, access, ['A_KEY']), true);
  await removeGrant(installation, 'test', grant.grant_id);
  assert.equal(await isCurrent(installation, access, []), false);
  await addGrant(installation, 'test', 'workflow:one', 'A_KEY');
  assert.equal(await isCurrent(installation, access, ['A_KEY']), false, 'the lease went with the grant, and did not come back');
  await installation.close();
  await store.close();
});
