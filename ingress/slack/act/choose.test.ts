import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Flags } from '../../chat/index.ts';
import type { ChannelRules } from '../settings.ts';
import { type Assigned, choose } from './choose.ts';

const NEW: Assigned = { harness: null, persona: null, chosen: false };
const DEMO: Assigned = { harness: 'demo', persona: null, chosen: false };
const REVIEWER: Assigned = { harness: 'claude', persona: 'reviewer', chosen: true };

const ROWS: readonly (readonly [what: string, flags: Flags, defaults: ChannelRules, assigned: Assigned, expected: unknown])[] = [
  ['nothing is said', {}, {}, NEW, {}],
  [
    'the channel says all',
    {},
    { harness: 'codex', persona: 'p', model: 'm', effort: 'low' },
    NEW,
    { harness: 'codex', personaId: 'p', model: 'm', effort: 'low' },
  ],
  [
    'a flag goes before the channel, whose model is for another',
    { harness: 'pi' },
    { harness: 'codex', model: 'm' },
    NEW,
    { harness: 'pi' },
  ],
  ['a persona brings its harness', { persona: 'reviewer' }, { harness: 'codex', model: 'm' }, NEW, { personaId: 'reviewer' }],
  ['a persona on a harness', { persona: 'reviewer', harness: 'pi' }, {}, NEW, { personaId: 'reviewer', harness: 'pi' }],
  ['model and effort of this turn', { model: 'big', effort: 'max' }, { model: 'm', effort: 'low' }, DEMO, { model: 'big', effort: 'max' }],
  ['a thread that is assigned keeps what it has', {}, { harness: 'codex', persona: 'p', model: 'm' }, DEMO, { model: 'm' }],
  ['the same harness once more', { harness: 'demo' }, {}, DEMO, {}],
  ['the same with a persona', { harness: 'claude', persona: 'reviewer' }, {}, REVIEWER, {}],
  ['the channel’s model is not for what somebody chose', {}, { model: 'm' }, REVIEWER, {}],
  ['another harness', { harness: 'codex' }, {}, DEMO, { taken: 'harness', by: 'demo' }],
  ['another persona', { persona: 'other' }, {}, REVIEWER, { taken: 'persona', by: 'reviewer' }],
  ['a persona where there is none', { persona: 'reviewer' }, {}, DEMO, { taken: 'persona', by: 'demo' }],
];

for (const [what, flags, defaults, assigned, expected] of ROWS)
  test(what, () => {
    const chosen = choose(flags, defaults, assigned);
    assert.deepEqual('choice' in chosen ? chosen.choice : chosen, expected);
  });

test('what was chosen once stays chosen, until the thread is released', () => {
  const isChosen = (flags: Flags, assigned: Assigned) => {
    const chosen = choose(flags, {}, assigned);
    return 'choice' in chosen && chosen.chosen;
  };
  assert.deepEqual(
    [isChosen({ harness: 'pi' }, NEW), isChosen({}, REVIEWER), isChosen({}, DEMO), isChosen({}, { ...NEW, chosen: true })],
    [true, true, false, false],
  );
});
