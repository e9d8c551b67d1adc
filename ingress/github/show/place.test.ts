import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Undeliverable } from '../../chat/index.ts';
import { GITHUB_RULES } from '../settings.ts';
import { placeToShow } from './index.ts';

test('a turn is shown only where the operator lets the bot be', () => {
  const rules = GITHUB_RULES.parse({ repositories: ['acme/*'] });
  const at = (repo: string) => ({
    platform: 'github',
    repo,
    number: 1,
    root: null,
    installation: null,
    user: 'ada',
    kind: 'comment',
    id: 1,
  });
  assert.equal(placeToShow(at('acme/site'), rules).repo, 'acme/site');
  assert.throws(() => placeToShow(at('other/site'), rules), Undeliverable);
  assert.throws(() => placeToShow({}, rules), Undeliverable);
});
