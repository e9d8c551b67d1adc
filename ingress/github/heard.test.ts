import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readEvent, readHeard } from './heard.ts';

const user = { login: 'ada', type: 'User' };
const common = { repository: { full_name: 'Acme/Site' }, sender: user };
const comment = { id: 11, body: 'hello', user, author_association: 'MEMBER', html_url: 'https://github.com/x' };
const issue = { number: 7, title: 'T', body: 'body', user, author_association: 'OWNER', html_url: 'https://github.com/y' };

const EVENTS: readonly [name: string, event: string, payload: unknown, expected: Readonly<Record<string, unknown>> | undefined][] = [
  [
    'a comment',
    'issue_comment',
    { ...common, action: 'created', comment, issue },
    { kind: 'comment', action: 'said', id: 11, root: null, isPull: false },
  ],
  [
    'a comment on a pull request',
    'issue_comment',
    { ...common, action: 'created', comment, issue: { ...issue, pull_request: {} } },
    { isPull: true, number: 7, repo: 'acme/site' },
  ],
  [
    'an edit, with what it was',
    'issue_comment',
    { ...common, action: 'edited', comment, issue, changes: { body: { from: 'hallo' } } },
    { action: 'edited', before: 'hallo' },
  ],
  ['a deletion', 'issue_comment', { ...common, action: 'deleted', comment, issue }, { action: 'deleted' }],
  ['an issue', 'issues', { ...common, action: 'opened', issue }, { kind: 'body', id: 7, text: 'body' }],
  ['an issue that is closed', 'issues', { ...common, action: 'closed', issue }, undefined],
  ['a pull request', 'pull_request', { ...common, action: 'opened', pull_request: issue }, { kind: 'body', isPull: true }],
  ['a push to one', 'pull_request', { ...common, action: 'synchronize', pull_request: issue }, undefined],
  ['a review', 'pull_request_review', { ...common, action: 'submitted', review: comment, pull_request: issue }, { kind: 'review', id: 11 }],
  [
    'a review without words',
    'pull_request_review',
    { ...common, action: 'submitted', review: { ...comment, body: null }, pull_request: issue },
    { text: '' },
  ],
  [
    'a review comment, which begins a thread',
    'pull_request_review_comment',
    { ...common, action: 'created', comment: { ...comment, path: 'a.ts', line: 3, diff_hunk: '@@' }, pull_request: issue },
    { kind: 'review-comment', root: 11, code: { path: 'a.ts', line: 3, hunk: '@@' } },
  ],
  [
    'a reply to one',
    'pull_request_review_comment',
    { ...common, action: 'created', comment: { ...comment, in_reply_to_id: 5 }, pull_request: issue },
    { root: 5, id: 11 },
  ],
  [
    'a bot’s',
    'issue_comment',
    { ...common, action: 'created', comment: { ...comment, user: { login: 'x', type: 'Bot' } }, issue },
    { author: { login: 'x', isBot: true, association: 'MEMBER' } },
  ],
  ['of an app', 'issue_comment', { ...common, action: 'created', comment, issue, installation: { id: 99 } }, { installation: 99 }],
  ['another event', 'push', { ...common }, undefined],
  ['an event that is a property of all objects', 'constructor', { ...common }, undefined],
  ['no object', 'issue_comment', 'x', undefined],
  [
    'a repository that is a path',
    'issue_comment',
    { ...common, action: 'created', comment, issue, repository: { full_name: 'acme/..' } },
    undefined,
  ],
  ['a number that is none', 'issue_comment', { ...common, action: 'created', comment, issue: { ...issue, number: '7/../8' } }, undefined],
  ['nobody’s', 'issue_comment', { ...common, action: 'created', comment: { ...comment, user: null }, issue }, undefined],
];

describe('what GitHub says', () => {
  for (const [name, event, payload, expected] of EVENTS)
    it(name, () => {
      const heard = readEvent(event, payload);
      if (expected === undefined) return assert.equal(heard, undefined);
      assert.ok(heard);
      assert.partialDeepStrictEqual(heard, expected);
      assert.deepEqual(readHeard(JSON.parse(JSON.stringify(heard))), heard, 'the inbox keeps it');
    });

  it('is read no other way out of the inbox', () => {
    const heard = readEvent('issue_comment', { ...common, action: 'created', comment, issue });
    for (const wrong of [{ repo: '../x' }, { number: 0 }, { kind: 'x' }, { root: '1' }])
      assert.equal(readHeard({ ...heard, ...wrong }), undefined);
  });
});
