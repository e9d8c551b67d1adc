import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSources } from './source.ts';

const PROXIES = ['10.0.0.0/8', '2001:db8::/32'];

test('where a delivery came from is its peer, or what the last trusted proxy says', () => {
  const cases: readonly (readonly [peer: string | undefined, header: string | null, expected: string | null])[] = [
    [undefined, '203.0.113.1', null],
    ['203.0.113.5', null, '203.0.113.5'],
    // anybody can send the header
    ['203.0.113.5', '198.51.100.1', '203.0.113.5'],
    ['::ffff:203.0.113.5', '198.51.100.1', '203.0.113.5'],
    ['10.1.2.3', null, '10.1.2.3'],
    ['10.1.2.3', '', '10.1.2.3'],
    ['10.1.2.3', '203.0.113.5', '203.0.113.5'],
    ['::ffff:10.1.2.3', '203.0.113.5', '203.0.113.5'],
    // what stands further left was written by whoever sent it
    ['10.1.2.3', '198.51.100.1, 203.0.113.5', '203.0.113.5'],
    ['10.1.2.3', '198.51.100.1, 203.0.113.5, 10.9.9.9', '203.0.113.5'],
    ['10.1.2.3', '10.8.8.8, 10.9.9.9', '10.8.8.8'],
    ['2001:db8::1', '[2001:DB9::7]:5123', '2001:db9::7'],
    ['10.1.2.3', '203.0.113.5:61000', '203.0.113.5'],
    ['10.1.2.3', '203.0.113.5, unknown', '10.1.2.3'],
    ['10.1.2.3', '203.0.113.5, fe80::1%eth0', '10.1.2.3'],
    ['10.1.2.3', "203.0.113.5, '; drop table", '10.1.2.3'],
    ['10.1.2.3', ','.repeat(100_000), '10.1.2.3'],
  ];
  const sources = createSources(PROXIES);
  for (const [peer, header, expected] of cases) assert.equal(sources.addressOf(peer, header), expected, `${peer} ${header?.slice(0, 60)}`);
  assert.equal(createSources([]).addressOf('127.0.0.1', '203.0.113.5'), '127.0.0.1');
});
