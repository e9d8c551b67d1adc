import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { APPROVAL_CALLBACK, readApprovalViewMetadata, type ShownApproval } from '@centaur/sdk';
import { checkView } from '../../../test/support/slack/blocks.ts';
import { hostileMarkdown } from '../render/testing.ts';
import { approveView, denyView, editView, noticeView, placeOfView, submissionErrors, type View } from './modal.ts';
import { approvalWith, DIGEST, ID } from './testing.ts';

const PLACE = { channel: 'C1', ts: '1700000000.000200', threadTs: '1700000000.000100' };

const inputsOf = ({ blocks }: View) => blocks.filter((block) => block.type === 'input');
const inputs = (view: View): unknown[] =>
  inputsOf(view).map(({ block_id: id, label, hint, optional, element }) => [
    id,
    label.text,
    element.initial_value ?? '',
    ...(hint === undefined ? [] : [hint.text]),
    optional ? 'optional' : 'needed',
  ]);
const textOf = (view: View): string => JSON.stringify(view.blocks.filter((block) => block.type === 'rich_text'));

/** As Slack hands it back. */
function submitted(view: View, typed: Readonly<Record<string, string | null>> = {}): unknown {
  const values = inputsOf(view).map(({ block_id: id, element }) => [
    id,
    { value: { type: 'plain_text_input', value: Object.hasOwn(typed, id) ? typed[id] : (element.initial_value ?? null) } },
  ]);
  return { ...view, state: { values: Object.fromEntries(values) as unknown } };
}

/** In the inbox, as it comes back: the payload, and the form that was signed. */
function keptSize(view: View): number {
  const payload = JSON.stringify(submitted(view)).replaceAll('/', String.raw`\/`);
  return payload.length + encodeURIComponent(payload).length;
}

describe('the window of', () => {
  const args = {
    amount: 200,
    to: 'Ann',
    note: 'two\nlines',
    empty: '',
    items: [{ price: 1 }, { price: 2 }],
    card: '[sensitive]',
    holder: { card: '[sensitive]' },
    long: 'x'.repeat(3_001),
  };
  const cases: readonly [name: string, view: View, fields: readonly unknown[]][] = [
    ['an approval', approveView(approvalWith(), PLACE), [['reason', 'Reason', '', 'optional']]],
    ['one that needs a reason', approveView(approvalWith({ risk: 'destructive' }), PLACE), [['reason', 'Reason', '', 'needed']]],
    ['a denial', denyView(approvalWith(), PLACE), [['reason', 'Reason', '', 'needed']]],
    [
      'an edit',
      editView(approvalWith({ args, editable: ['amount', 'to', 'note', 'empty', 'items.*.price', 'more', 'none.more'] }), PLACE),
      [
        ['edit:0', 'amount', '200', 'as JSON', 'needed'],
        ['edit:1', 'to', 'Ann', 'needed'],
        ['edit:2', 'note', 'two\nlines', 'needed'],
        ['edit:3', 'empty', '', 'optional'],
        ['edit:4', 'items.0.price', '1', 'as JSON', 'needed'],
        ['edit:5', 'items.1.price', '2', 'as JSON', 'needed'],
        ['edit:6', 'more', '', 'as JSON; left empty, it is not added', 'optional'],
        ['reason', 'Reason', '', 'optional'],
      ],
    ],
    [
      'an edit, of what it can show',
      editView(approvalWith({ args, editable: ['card', 'holder', 'long', 'amount'], risk: 'financial' }), PLACE),
      [
        ['edit:0', 'amount', '200', 'as JSON', 'needed'],
        ['reason', 'Reason', '', 'needed'],
      ],
    ],
    [
      'an edit of an edit',
      editView(approvalWith({ args, edited_args: { amount: 150 }, editable: ['amount'] }), PLACE),
      [
        ['edit:0', 'amount', '150', 'as JSON', 'needed'],
        ['reason', 'Reason', '', 'optional'],
      ],
    ],
    ['an edit of nothing that it can show', editView(approvalWith({ args, editable: ['card'] }), PLACE), []],
    ['what is too large', approveView(approvalWith({ args: { a: 'x'.repeat(200_000) } }), PLACE), []],
    ['what is over', noticeView('Already decided', 'This was approved by ann.'), []],
  ];
  for (const [name, view, fields] of cases)
    it(name, () => {
      assert.deepEqual(inputs(view), fields);
      assert.deepEqual(checkView(view), []);
      assert.equal(view.callback_id, fields.length === 0 ? undefined : APPROVAL_CALLBACK);
    });

  it('an approval shows all of it', () => {
    const text = Array.from({ length: 9_000 }, (_, index) => `w${index}`).join(' ');
    const view = approveView(approvalWith({ args: { text } }), PLACE);
    assert.deepEqual(checkView(view), []);
    const shown = view.blocks.flatMap((block) => (block.type === 'rich_text' ? block.elements : []));
    const all = shown.flatMap((element) => (element.type === 'rich_text_preformatted' ? element.elements : []));
    assert.deepEqual(JSON.parse(all.map((inline) => (inline.type === 'text' ? inline.text : '')).join('')), { text });
  });

  it('says what cannot be changed in it', () => {
    const view = editView(approvalWith({ args, editable: ['card', 'amount'] }), PLACE);
    assert.match(textOf(view), /Not to be changed here: card/);
  });

  it('carries what is voted on, and where people are told', () => {
    for (const [view, verdict, paths] of [
      [denyView(approvalWith(), PLACE), 'deny', []],
      [editView(approvalWith({ args, editable: ['to', 'amount'] }), PLACE), 'approve', ['to', 'amount']],
    ] as const) {
      assert.deepEqual(readApprovalViewMetadata(view.private_metadata as string), {
        approvalId: ID,
        digest: DIGEST,
        version: 1,
        verdict,
        paths,
        card: { channel: 'C1', ts: '1700000000.000200' },
      });
      assert.deepEqual(placeOfView(view.private_metadata), PLACE);
    }
    for (const odd of [undefined, '', '{', '[]', 'null', '{"c":1}']) assert.equal(placeOfView(odd), undefined);
  });

  it('has as many inputs as come back', () => {
    for (const [count, value] of [
      [20, 'x'],
      [10, '中'.repeat(900)],
      [10, '/'.repeat(2_900)],
    ] as const) {
      const names = Array.from({ length: count }, (_, index) => `${index}`.padStart(190, 'n'));
      const view = editView(approvalWith({ args: Object.fromEntries(names.map((each) => [each, value])), editable: names }), PLACE);
      assert.deepEqual(checkView(view), []);
      assert.ok(inputsOf(view).length > 1);
      assert.ok(keptSize(view) < 500_000);
    }
  });

  it('is none that Slack refuses, whatever is in it', () => {
    for (const text of [...Object.values(hostileMarkdown(3_500)), 'é'.repeat(60_000), '"'.repeat(60_000), '中/'.repeat(9_000)]) {
      const approval = approvalWith({
        summary: { tool: text, summary: text.slice(0, 2_000) },
        args: { [text]: text, list: Array.from({ length: 60 }, () => text.slice(0, 1_000)) },
        editable: [text.slice(0, 200), 'list.*'],
      });
      for (const view of [approveView(approval, PLACE), editView(approval, PLACE), denyView(approval, PLACE)]) {
        assert.deepEqual(checkView(view), [], text.slice(0, 40));
        assert.ok(JSON.stringify(view).length < 250_000);
        assert.ok(keptSize(view) < 500_000, text.slice(0, 40));
        assert.doesNotMatch(JSON.stringify(view), /"elements":\[\]|"text":""/);
      }
    }
  });
});

describe('what was typed', () => {
  const approval: ShownApproval = approvalWith({ args: { amount: 200, to: 'Ann' }, editable: ['amount', 'to', 'more'] });
  const edit = editView(approval, PLACE);
  const cases: readonly [name: string, view: View, typed: Record<string, string | null>, errors: readonly string[]][] = [
    ['is right', edit, { 'edit:0': '150' }, []],
    ['is right where something is added', edit, { 'edit:2': '{"a": 1}' }, []],
    ['is right where it is text', edit, { 'edit:1': '{' }, []],
    ['is no JSON', edit, { 'edit:0': '15O' }, ['edit:0']],
    ['is no JSON where something is added', edit, { 'edit:2': 'x' }, ['edit:2']],
    ['changes nothing', edit, {}, ['edit:0']],
    ['has no reason', denyView(approval, PLACE), { reason: '  \n' }, ['reason']],
    ['needs no reason', approveView(approval, PLACE), { reason: null }, []],
    ['needs one', approveView(approvalWith({ risk: 'financial' }), PLACE), { reason: ' ' }, ['reason']],
    ['has one', denyView(approval, PLACE), { reason: 'no' }, []],
  ];
  for (const [name, view, typed, errors] of cases)
    it(name, () => assert.deepEqual(Object.keys(submissionErrors(submitted(view, typed)) ?? {}), errors));

  it('is not looked at in a window that is none of ours', () => {
    for (const odd of [undefined, null, 1, {}, { private_metadata: '{}' }, { private_metadata: '{', blocks: 1 }])
      assert.equal(submissionErrors(odd), undefined);
  });
});
