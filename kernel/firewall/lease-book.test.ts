/** Leases that come, and are looked at, at the same time. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createTestFirewall, type TestFirewall } from '../../test/support/firewall.ts';
import { eventually } from '../../test/support/wait.ts';
import type { Store } from '../store/index.ts';
import { revokeLease } from '../vault/index.ts';
import { createLeaseBook } from './lease-book.ts';

let t: TestFirewall;
before(async () => {
  t = await createTestFirewall();
  await t.secret('USED', { value: 'the-value-of-it', hosts: ['api.example.com'] });
});
after(async () => {
  await t?.[Symbol.asyncDispose]();
});

/** A promise, and what fulfils it. */
function gate() {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { open, opened };
}

/** Postgres, whose answer to the first look at all leases comes when the test says so. */
function holdFirstLook() {
  const [looking, looked] = [gate(), gate()];
  let looks = 0;
  const store = {
    ...t.store,
    async query(text: string, values?: unknown[]) {
      const answer = await t.store.query(text, values);
      if (text.includes('= any($1::uuid[])') && (looks += 1) === 1) {
        looking.open();
        await looked.opened;
      }
      return answer;
    },
  } as Store;
  return { store, looking, looked, looks: () => looks };
}

test('a lease that is learned about while the others are looked at is not taken for one that is gone', async (c) => {
  const [earlier, late] = [await t.lease(['USED']), await t.lease(['USED'])];
  const [learned, looking, looked] = [gate(), gate(), gate()];
  let held = false;
  const store: Store = {
    ...t.store,
    async query(text: string, values?: unknown[]) {
      const answer = await t.store.query(text, values);
      if (held && text.includes('= any($1::uuid[])')) {
        held = false;
        looking.open();
        await looked.opened;
      }
      return answer;
    },
  } as Store;
  let learns = 0;
  const book = createLeaseBook({ store, log: () => undefined, learn: async () => void ((learns += 1) === 2 && (await learned.opened)) });
  c.after(() => book.close());
  await book.byToken(earlier.token, '127.0.0.1');

  // its row is read, and then the others are asked about, and only then it is one of them
  const coming = book.byToken(late.token, '127.0.0.1');
  while (learns < 2) await new Promise(setImmediate);
  held = true;
  const look = book.refresh();
  await looking.opened;
  learned.open();
  const lease = await coming;
  let cut = 0;
  lease.open.add(() => (cut += 1));
  looked.open();
  await look;

  assert.equal(cut, 0);
  await book.check(lease);
});

test('a lease is believed for a second, and not for longer on what was asked before that', async (c) => {
  const { now } = performance;
  let late = 0;
  c.mock.method(performance, 'now', () => now.call(performance) + late);
  const { token, leaseId } = await t.lease(['USED']);
  const { store, looking, looked, looks } = holdFirstLook();
  // only this test looks
  c.mock.timers.enable({ apis: ['setInterval'] });
  const book = createLeaseBook({ store, log: () => undefined });
  c.after(() => book.close());
  const lease = await book.byToken(token, '127.0.0.1');
  const look = book.refresh();
  await looking.opened;
  await revokeLease(t.installation, 'test', leaseId);
  late += 1001;
  const checked = book.check(lease);
  looked.open();
  await assert.rejects(checked, { code: 'LEASE_REVOKED' });
  await look;
  await assert.rejects(book.check(lease), { code: 'LEASE_REVOKED' });
  assert.equal(looks(), 2);
});

test('without a word from anybody, what is open is cut by the look that comes twice a second', async (c) => {
  c.mock.timers.enable({ apis: ['setInterval'] });
  const book = createLeaseBook({ store: t.store, log: () => undefined });
  c.after(() => book.close());
  const { token, leaseId } = await t.lease(['USED']);
  const lease = await book.byToken(token, '127.0.0.1');
  let cut = 0;
  lease.open.add(() => (cut += 1));
  await revokeLease(t.installation, 'test', leaseId);
  assert.equal(cut, 0);
  c.mock.timers.tick(500);
  await eventually(() => cut === 1);
  await assert.rejects(book.check(lease), { code: 'LEASE_REVOKED' });
});

test('an answer that comes when nobody waits for it any more still ends what is open', async (c) => {
  c.mock.timers.enable({ apis: ['setInterval'] });
  const { store, looked } = holdFirstLook();
  const book = createLeaseBook({ store, log: () => undefined });
  c.after(() => book.close());
  const { token, leaseId } = await t.lease(['USED']);
  const lease = await book.byToken(token, '127.0.0.1');
  let cut = 0;
  lease.open.add(() => (cut += 1));
  await revokeLease(t.installation, 'test', leaseId);
  await assert.rejects(book.refresh(), { code: 'STORE_UNAVAILABLE' });
  assert.equal(cut, 0);
  looked.open();
  await eventually(() => cut === 1);
});

test('a lease whose request waits for a person for minutes is not forgotten', async (c) => {
  const { now } = performance;
  let late = 0;
  c.mock.method(performance, 'now', () => now.call(performance) + late);
  c.mock.timers.enable({ apis: ['setInterval'] });
  const book = createLeaseBook({ store: t.store, log: () => undefined });
  c.after(() => book.close());
  const { token, leaseId } = await t.lease(['USED']);
  const lease = await book.byToken(token, '127.0.0.1');
  lease.busy += 1;
  late += 300_000;
  await book.refresh();
  let cut = 0;
  lease.open.add(() => (cut += 1));
  await revokeLease(t.installation, 'test', leaseId);
  await book.refresh();
  assert.equal(cut, 1);
});

test('what changes while all are looked at is looked for again', async (c) => {
  const lease = await t.lease(['USED']);
  const { store, looking, looked } = holdFirstLook();
  const book = createLeaseBook({ store, log: () => undefined });
  c.after(() => book.close());
  const live = await book.byToken(lease.token, '127.0.0.1');
  const first = book.refresh().catch(() => undefined);
  await looking.opened;
  await t.store.query('update leases set revoked_at = now() where lease_id = $1', [lease.leaseId]);
  // as its notification asks for it
  const second = book.refresh();
  looked.open();
  await first;
  assert.equal(live.revoked, false, 'it was asked before');
  await second;
  assert.equal(live.revoked, true);
});
