import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Undeliverable } from '../../chat/index.ts';
import { SLACK_RULES } from '../settings.ts';
import { readDelivery } from './place.ts';

const delivery = (channel: string) => ({ platform: 'slack', channel, thread_ts: '1.1', team: 'T0001', user: 'U0001', message_ts: '1.1' });

it('a turn is shown only where the operator has people answered', () => {
  const rules = SLACK_RULES.parse({ channels: { C0001: null }, direct_messages: false });
  assert.equal(readDelivery(delivery('C0001'), rules).channel, 'C0001');
  for (const channel of ['C0002', 'D0001']) assert.throws(() => readDelivery(delivery(channel), rules), Undeliverable, channel);
});
