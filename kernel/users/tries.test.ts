import assert from 'node:assert/strict';
import { test } from 'node:test';
import { networkOf } from './tries.ts';

test('tries are counted by what one subscriber has', () => {
  for (const same of ['2001:db8:0:1::7', '2001:DB8:0000:1:ffff:1:2:3', '2001:db8:0:1::', '2001:db8::1:0:0:1.2.3.4', '2001:db8:0:1::7%eth0'])
    assert.equal(networkOf(same), '2001:db8:0:1::/64', same);
  assert.equal(networkOf('2001:db8:0:2::7'), '2001:db8:0:2::/64');
  assert.equal(networkOf('::1'), '0:0:0:0::/64');
  for (const [address, network] of [
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['::ffff:c000:207', '192.0.2.7'],
  ] as const)
    assert.equal(networkOf(address), network);
  assert.equal(networkOf(null), 'null');
});
