import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { APPROVAL_ACTIONS, readApprovalValue, type ShownApproval } from '@centaur/sdk';
import { checkMessageBlocks } from '../../../test/support/slack/blocks.ts';
import { createDice } from '../../chat/testing.ts';
import type { Block } from '../render/blocks.ts';
import { plainText } from '../render/blocks.ts';
import { hostileMarkdown, refusals } from '../render/testing.ts';
import { type Button, type Card, drawCard, drawOverride, OPENERS } from './card.ts';
import { approvalWith, DIGEST, ID, vote } from './testing.ts';

const blocksOf = ({ blocks }: Card): readonly Block[] => blocks.filter((block) => block.type !== 'actions');
const words = (card: Card): string => plainText(blocksOf(card));
const buttonsOf = ({ blocks }: Card): readonly Button[] => blocks.flatMap((block) => (block.type === 'actions' ? block.elements : []));
const clickable = (card: Card): string[] => buttonsOf(card).map(({ action_id: action }) => action);

describe('a card says', () => {
  const cases: readonly [name: string, more: Partial<ShownApproval>, said: readonly (string | RegExp)[], not?: readonly RegExp[]][] = [
    ['what would be done, and for whom', {}, ['Approval needed', 'bank.pay · write', /^Asked by ann/m, '"amount": 200,']],
    ['who has to agree, and who may not', {}, ['0 of 2 votes of role:finance · not by requester (ann) · gate money, rule much']],
    ['until when, in the zone of who reads', {}, ['over <!date^1767326645^{date_short_pretty} at {time}|2026-01-02T04:04:05.000Z>']],
    ['that more are asked then', { escalate_at: '2026-01-02T03:34:05Z' }, [/more are asked <!date\^1767324845\^/]],
    ['that a reason is needed', { risk: 'financial' }, ['of role:finance · not by requester (ann) · with a reason · gate money']],
    [
      'who has voted, and why',
      { votes: [vote('bob', { reason: 'as\nagreed' }), vote('eve', { counts: false }), vote('zoe', { verdict: 'abstain' })] },
      ['✓ bob approved by slack: as agreed', '· eve approved by slack, which no longer counts', '○ zoe abstained by slack'],
    ],
    [
      'what was edited, and by whom',
      { edited_args: { amount: 150, to: 'Ann' }, edited_by: 'bob', changed: ['amount'] },
      ['"amount": 150,', 'Edited by bob', '- amount: 200\n+ amount: 150'],
      [/"amount": 200/],
    ],
    [
      'that it was edited where all of that is blanked',
      { args: { card: '[sensitive]' }, edited_args: { card: '[sensitive]' }, edited_by: 'bob', changed: ['card'] },
      ['Edited by bob'],
    ],
    [
      'a request through the firewall',
      { kind: 'egress', args: null, summary: { method: 'POST', url: 'https://api.x.com:443/v1/refunds', secrets: ['KEY'], bytes: 12 } },
      ['POST to api.x.com', 'POST https://api.x.com:443/v1/refunds\nwith KEY\n12 bytes of body'],
    ],
    [
      'what a harness wants to do',
      { kind: 'permission', args: null, summary: { tool: 'claude.Bash', input: '{"command":"rm -r build"}' } },
      ['claude.Bash', '"command": "rm -r build"'],
    ],
    [
      'what of it is long, as it is told',
      { kind: 'permission', args: null, summary: { tool: 'claude.Bash', input: '{"a":"[… 9 characters are not shown …] x' } },
      ['{"a":"[… 9 characters are not shown …] x'],
    ],
    [
      'a question of a workflow',
      { summary: { summary: 'Refund it?', tool: 'stripe.refund', args: {}, workflow: 'refund', step: 's' }, args: { amount: 20 } },
      ['stripe.refund', 'Refund it?', '"amount": 20'],
    ],
    [
      'a question about nothing',
      { summary: { summary: 'Go on?', workflow: 'w' }, args: null },
      ['A question of w', 'Go on?'],
      [/Arguments/],
    ],
    [
      'what a policy changes',
      { args: null, summary: { policy: 'policy.publish', text: 'all', author: 'user:z', message: 'm' }, policy_diff: '-  a\n+  b' },
      ['policy.publish', 'author: user:z\nmessage: m\n\n-  a\n+  b'],
      [/\ball\b/],
    ],
    ['what is not known', { args: null, summary: { odd: [1] } }, ['"odd": [']],
    ['that it was approved', { state: 'approved', decided_by: 'user:bob', reason: 'ok' }, ['Approved', 'Approved by bob: ok']],
    ['that it was used', { state: 'consumed', decided_by: 'user:bob' }, ['Approved, and used, by bob']],
    ['that it was denied', { state: 'denied', decided_by: 'user:bob', reason: 'no' }, ['Denied', 'Denied by bob: no']],
    ['that it was passed by', { state: 'approved', decided_by: 'user:root', overridden: true }, ['Approved past its gate']],
    ['that it is over', { state: 'expired' }, ['Expired, nobody decided']],
    ['that nobody asks any more', { state: 'cancelled' }, ['No longer asked for']],
    [
      'that it was approved and not used',
      { state: 'expired', decided_by: 'user:bob', decided_at: '2026-01-02T03:05:00Z' },
      ['Approved, and not used in time'],
    ],
  ];
  for (const [name, more, said, not = []] of cases)
    it(name, () => {
      const card = drawCard(approvalWith({ decided_at: more.decided_by === undefined ? null : '2026-01-02T03:05:00Z', ...more }));
      for (const each of said)
        assert.ok(typeof each === 'string' ? words(card).includes(each) : each.test(words(card)), `${each}\n${words(card)}`);
      for (const each of not) assert.doesNotMatch(words(card), each);
      assert.deepEqual([refusalsOf(card), checkMessageBlocks(card.blocks)], [[], []]);
      assert.equal(clickable(card).length > 0, more.state === undefined, 'what is decided has no buttons');
    });

  it('who asked in Slack, and whom that is', () => {
    const asked = (requester: readonly string[], asker?: string): string => {
      const involved = { requester, run_owner: [], trigger_actor: [], policy_author: [] };
      return /^Asked by (.*?) · /m.exec(words(drawCard(approvalWith({ involved }), asker === undefined ? {} : { asker })))?.[1] ?? '';
    };
    assert.equal(asked(['slack:t1:u1', 'ann'], 'Ann <!here>'), 'Ann <!here> (ann)');
    assert.equal(asked(['slack:t1:u1'], 'Ann'), 'Ann');
    assert.equal(asked(['slack:t1:u1', 'ann']), 'ann');
    assert.equal(asked(['github:github.com:octocat']), 'github:github.com:octocat');
    assert.equal(asked([]), 'thread:slack:C1:1700000000.000100');
  });
});

describe('the buttons of a card', () => {
  const text = 'x'.repeat(5_000);
  const cases: readonly [name: string, more: Partial<ShownApproval>, actions: readonly string[]][] = [
    ['vote at once', {}, [APPROVAL_ACTIONS.approve, OPENERS.deny]],
    ['ask for a reason', { risk: 'destructive' }, [OPENERS.approve, OPENERS.deny]],
    ['show the rest first', { args: { text } }, [OPENERS.approve, OPENERS.deny]],
    ['show the rest of a question first', { summary: { summary: text }, args: null }, [OPENERS.approve, OPENERS.deny]],
    ['show many lines first', { args: { list: Array.from({ length: 60 }, () => 1) } }, [OPENERS.approve, OPENERS.deny]],
    ['approve nothing that cannot be shown', { args: { text: text.repeat(30) }, editable: ['text'] }, [OPENERS.deny]],
    ['edit', { editable: ['amount'] }, [APPROVAL_ACTIONS.approve, OPENERS.edit, OPENERS.deny]],
    ['edit nothing that has no arguments', { editable: ['amount'], args: null }, [APPROVAL_ACTIONS.approve, OPENERS.deny]],
  ];
  for (const [name, more, actions] of cases)
    it(name, () => {
      const buttons = buttonsOf(drawCard(approvalWith(more)));
      assert.deepEqual(
        buttons.map(({ action_id: action }) => action),
        actions,
      );
      for (const { value } of buttons) assert.deepEqual(readApprovalValue(value), { approvalId: ID, digest: DIGEST, version: 1 });
      const direct = buttons.find(({ action_id: action }) => action === APPROVAL_ACTIONS.approve);
      assert.equal(direct === undefined || direct.confirm !== undefined, true, 'what votes at once is asked about first');
    });
});

const PING = '<!channel> <@U1> @here <https://evil.example|bank> *Approved by root* \u202e';

/** Everything that somebody else may have a word in. */
const hostileIn = (text: string): Partial<ShownApproval> => ({
  summary: { tool: text, summary: text, workflow: text },
  args: { [text]: text, list: [text, { deep: text }] },
  edited_args: { [text]: `${text}!`, list: [text] },
  edited_by: text,
  principal: text,
  thread_key: text,
  run_id: text,
  risk: text,
  gate: text,
  rule: text,
  reason: text,
  approvers: [text, text],
  exclude: [text, 'requester'],
  editable: [text],
  involved: { requester: [text, text], run_owner: [text], trigger_actor: [], policy_author: [] },
  votes: Array.from({ length: 20 }, (_, index) => vote(`${text}${index}`, { reason: text, channel: text })),
});

describe('nothing that others wrote', () => {
  it('pings, links, or passes for the card', () => {
    for (const state of ['pending', 'approved', 'denied', 'expired'] as const) {
      const card = drawCard(approvalWith({ state, decided_by: PING, decided_at: '2026-01-02T03:05:00Z', ...hostileIn(PING) }), {
        asker: PING,
      });
      // what is read as markup: headers and rich text are not
      const markup = card.blocks.flatMap((block) => (block.type === 'context' ? block.elements.map((element) => element.text) : []));
      for (const text of [...markup, card.text]) {
        assert.doesNotMatch(text.replaceAll(/<!date\^\d+\^\{date_short_pretty\} at \{time\}\|[\d:.TZ-]+>/g, ''), /[<>]|@here/);
      }
      assert.doesNotMatch(JSON.stringify(card), /"type":"(?:user|link|broadcast|usergroup)"|\u202e/);
    }
    assert.doesNotMatch(drawOverride(approvalWith({ ...hostileIn(PING), decided_by: PING })).text, /[<>]|\u202e/);
  });

  it('is too much for Slack', () => {
    const dice = createDice(3);
    const texts = [...Object.values(hostileMarkdown(4_000)), '', ' ', 'a\n'.repeat(5_000), '"'.repeat(9_000)];
    for (const text of texts) {
      const all = Object.entries(hostileIn(text));
      // some of it, so that each part is large by itself, too
      const some = Object.fromEntries(all.filter(() => dice(3) > 0));
      const end = { state: 'denied', decided_by: 'user:bob', decided_at: '2026-01-02T03:05:00Z' } as const;
      for (const more of [
        Object.fromEntries(all),
        { ...some, ...end },
        { args: text },
        { args: null, summary: { tool: 'a.b', input: text } },
      ]) {
        const card = drawCard(approvalWith(more), { asker: text });
        assert.deepEqual([refusalsOf(card), checkMessageBlocks(card.blocks)], [[], []], text.slice(0, 40));
      }
      const override = drawOverride(approvalWith({ ...some, ...end }));
      assert.deepEqual([refusalsOf(override), checkMessageBlocks(override.blocks)], [[], []], text.slice(0, 40));
    }
  });
});

function refusalsOf(card: Card): string[] {
  const found = refusals({ blocks: blocksOf(card), text: card.text }).filter((each) => each !== 'half a character');
  // what was one is written out, and reads as one to whoever looks for them in JSON
  if (/\\ud[89a-f]/i.test(JSON.stringify(card).replaceAll('\\\\', ''))) found.push('half a character');
  for (const { value, confirm, text } of buttonsOf(card))
    if (value.length > 2_000 || text.text.length > 75 || (confirm?.text.text.length ?? 1) > 300 || confirm?.text.text === '')
      found.push('a button');
  return found;
}
