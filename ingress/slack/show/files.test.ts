import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Attachment } from '@centaur/sdk';
import { filesOfTurn } from './files.ts';

const TURN = { started_at: '2026-01-01T10:00:00.000Z', completed_at: '2026-01-01T10:05:00.000Z' };
const RULES = { most: 3, bytes: 1_000_000 };
const file = (more: Partial<Attachment>): Attachment => ({
  id: 'a1',
  thread_key: 't',
  name: 'chart.png',
  mime_type: 'image/png',
  size: 10,
  message_id: null,
  execution_id: null,
  created_at: '2026-01-01T10:01:00.000Z',
  download_url: '',
  ...more,
});

describe('what a turn puts into its thread', () => {
  for (const [what, attachment, isSent] of [
    ['a file that a tool handed over', {}, true],
    ['a small result by the name of its method', { name: 'shop.list.json', size: 100 }, true],
    ['a result that was too long for an answer', { name: 'shop.list.json', size: 60_000 }, false],
    ['what came with a message', { message_id: 'm' }, false],
    ['what a harness wrote at length', { execution_id: 'e' }, false],
    ['a file of the turn before', { created_at: '2026-01-01T09:59:59.999Z' }, false],
    ['a file of the next turn', { created_at: '2026-01-01T10:05:00.001Z' }, false],
    ['an empty file, which Slack does not take', { size: 0 }, false],
    ['a file that is too large', { size: 1_000_001 }, false],
  ] as const)
    it(`${what}: ${isSent ? 'yes' : 'no'}`, () => assert.equal(filesOfTurn([file(attachment)], TURN, RULES).length, isSent ? 1 : 0));

  it('is no more than the rules allow', () => {
    const all = Array.from({ length: 9 }, (_, index) => file({ id: `a${index}` }));
    assert.deepEqual(
      filesOfTurn(all, TURN, RULES).map(({ id }) => id),
      ['a0', 'a1', 'a2'],
    );
  });

  it('is nothing when it never began', () => {
    assert.deepEqual(filesOfTurn([file({})], { ...TURN, started_at: null }, RULES), []);
  });
});
