/** The tool `linear` against Linear's published schema and, where its own fits, against the emulator. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { ToolDefinition } from '@centaur/sdk';
import { type Emulator, startEmulator } from '../hosts-e2e/emulate.ts';
import { callMethod, failureOf } from './call.ts';
import { type Front, startFront } from './front.ts';
import { KEY, linearStandIn, TEAM } from './linear-stand-in.ts';

const standIn = linearStandIn();
let emulator: Emulator;
let front: Front;
let linear: ToolDefinition;
let emulated = false;

before(async () => {
  emulator = await startEmulator('linear', {
    linear: {
      users: [{ email: 'ana@example.com', name: 'Ana Lima', display_name: 'ana' }],
      teams: [{ key: 'OPS', name: 'Operations', states: [{ name: 'Todo' }, { name: 'Done' }] }],
      tokens: [{ token: KEY, user: 'ana@example.com', scopes: ['read', 'write'] }],
    },
  });
  front = await startFront({
    'POST /graphql': async (seen, match) => {
      if (!emulated) return standIn.handler(seen, match);
      const response = await fetch(`${emulator.url}/graphql`, {
        method: 'POST',
        headers: { authorization: seen.headers.authorization ?? '', 'content-type': 'application/json' },
        body: new Uint8Array(seen.body),
      });
      return { status: response.status, body: await response.json() };
    },
  });
  process.env['LINEAR_API_URL'] = front.url;
  process.env['LINEAR_API_KEY'] = KEY;
  linear = (await import('../../userspace/tools/linear/tool.ts')).default;
});

after(async () => {
  front.close();
  await emulator.close();
});

test('with the emulator: whose key it is, teams and people', async () => {
  emulated = true;
  try {
    const me = await callMethod(linear, 'get_me');
    assert.deepEqual([me.email, me.display_name], ['ana@example.com', 'ana']);
    const { items } = await callMethod(linear, 'list_teams');
    const ops = items.find(({ key }: { key: string }) => key === 'OPS');
    assert.deepEqual(
      ops.states.map(({ name }: { name: string }) => name),
      ['Todo', 'Done'],
    );
    assert.ok((await callMethod(linear, 'list_users')).items.some(({ email }: { email: string }) => email === 'ana@example.com'));
    const first = await callMethod(linear, 'list_teams', { limit: 1 });
    if (first.next_cursor !== undefined)
      assert.notEqual((await callMethod(linear, 'list_teams', { limit: 1, cursor: first.next_cursor })).items[0].id, first.items[0].id);
  } finally {
    emulated = false;
  }
});

test('an issue: names become ids, and the answer is short', async () => {
  const made = await callMethod(linear, 'create_issue', {
    team: 'ENG',
    title: 'The door sticks',
    state: 'in progress',
    assignee: 'me',
    labels: ['bug', 'Door'],
    priority: 'high',
    due_date: '2026-12-01',
  });
  assert.deepEqual(standIn.variables(), {
    input: {
      title: 'The door sticks',
      teamId: TEAM,
      stateId: 's2',
      assigneeId: '22222222-2222-4222-8222-222222222222',
      labelIds: ['l1', 'l2'],
      priority: 2,
      dueDate: '2026-12-01',
    },
  });
  assert.deepEqual(
    [made.issue, made.state, made.assignee, made.labels, made.priority],
    ['ENG-1', 'In Progress', 'ana@example.com', ['Bug', 'door'], 'High'],
  );
  const read = await callMethod(linear, 'get_issue', { issue: 'ENG-1' });
  assert.deepEqual([read.branch, read.creator, read.due_date], ['ana/eng-1', 'ana', '2026-12-01']);

  const changed = await callMethod(linear, 'update_issue', { issue: 'ENG-1', state: 'Todo', assignee: null });
  assert.deepEqual(standIn.variables(), { id: 'ENG-1', input: { stateId: 's1', assigneeId: null } });
  assert.deepEqual([changed.state, changed.assignee, changed.title], ['Todo', undefined, 'The door sticks']);
  await callMethod(linear, 'update_issue', { issue: 'ENG-1', title: 'The door squeaks', assignee: 'ana@example.com' });
  assert.deepEqual(standIn.variables(), {
    id: 'ENG-1',
    input: { title: 'The door squeaks', assigneeId: '22222222-2222-4222-8222-222222222222' },
  });
  assert.deepEqual(await callMethod(linear, 'archive_issue', { issue: 'ENG-1' }), { issue: 'ENG-1', archived: true });
});

test('comments', async () => {
  const first = await callMethod(linear, 'create_comment', { issue: 'ENG-1', body: 'I see it.' });
  await callMethod(linear, 'create_comment', { issue: 'ENG-1', body: 'Me, too.', parent: first.id });
  const { items } = await callMethod(linear, 'list_comments', { issue: 'ENG-1' });
  assert.deepEqual(
    items.map(({ author, body, parent }: Record<string, string>) => [author, body, parent]),
    [
      ['ana', 'I see it.', undefined],
      ['ana', 'Me, too.', first.id],
    ],
  );
  assert.equal((await callMethod(linear, 'update_comment', { comment: first.id, body: 'Gone.' })).body, 'Gone.');
});

test('lists are filtered by Linear, and their pages end', async () => {
  for (const title of ['two', 'three']) await callMethod(linear, 'create_issue', { team: 'ENG', title });
  const first = await callMethod(linear, 'list_issues', {
    team: 'ENG',
    state_types: ['started'],
    assignee: 'me',
    label: 'bug',
    project: 'p1',
    priority: 'none',
    updated_since: '2026-01-01T00:00:00Z',
    limit: 2,
  });
  assert.deepEqual(standIn.variables()['filter'], {
    team: { key: { eq: 'ENG' } },
    state: { type: { in: ['started'] } },
    assignee: { isMe: { eq: true } },
    labels: { some: { name: { eqIgnoreCase: 'bug' } } },
    project: { id: { eq: 'p1' } },
    priority: { eq: 0 },
    updatedAt: { gte: '2026-01-01T00:00:00Z' },
  });
  assert.deepEqual([first.items.length, first.next_cursor], [2, '2']);
  const second = await callMethod(linear, 'list_issues', { cursor: first.next_cursor, limit: 2 });
  assert.deepEqual([second.items.length, second.next_cursor, standIn.variables()['filter']], [1, undefined, undefined]);
  await callMethod(linear, 'list_issues', { assignee: 'none' });
  assert.deepEqual(standIn.variables()['filter'], { assignee: { null: true } });
  const found = await callMethod(linear, 'search_issues', { term: 'thr', comments: true });
  assert.deepEqual([found.total, found.items[0].title], [1, 'three']);
});

test('projects', async () => {
  const { items } = await callMethod(linear, 'list_projects', { team: 'ENG', name: 'door', status_types: ['started'] });
  assert.deepEqual([items[0].health, items[0].progress, items[0].teams, items[0].lead], ['atRisk', 0.33, ['ENG'], 'ana@example.com']);
  assert.equal((await callMethod(linear, 'get_project', { project: 'p1' })).content, '# Doors');
  assert.equal((await callMethod(linear, 'post_project_update', { project: 'p1', body: 'Fine.', health: 'onTrack' })).id, 'u1');
});

test('what goes wrong says what to do', async () => {
  assert.deepEqual((await failureOf(callMethod(linear, 'get_issue', { issue: 'ENG-99' }))).code, 'NOT_FOUND');
  assert.match((await failureOf(callMethod(linear, 'create_issue', { team: 'NOPE', title: 'x' }))).message, /no team NOPE/);
  assert.match(
    (await failureOf(callMethod(linear, 'create_issue', { team: 'ENG', title: 'x', state: 'Donne' }))).message,
    /only Todo, In Progress/,
  );
  assert.match(
    (await failureOf(callMethod(linear, 'create_issue', { team: 'ENG', title: 'x', labels: ['none such'] }))).message,
    /no label for ENG named none such/,
  );
  assert.match(
    (await failureOf(callMethod(linear, 'create_issue', { team: 'ENG', title: 'x', assignee: 'bo@example.com' }))).message,
    /no user bo@example.com/,
  );
  assert.equal((await failureOf(callMethod(linear, 'create_issue', { team: 'ENG' }))).code, 'INVALID_ARGUMENTS');
  assert.equal((await failureOf(callMethod(linear, 'list_issues', { priority: 'highest' }))).code, 'INVALID_ARGUMENTS');

  process.env['LINEAR_API_KEY'] = 'lin_api_wrong';
  const stranger = await failureOf(callMethod(linear, 'get_me'));
  process.env['LINEAR_API_KEY'] = KEY;
  assert.deepEqual([stranger.code, stranger.retryable], ['UNAUTHORIZED', false]);

  // Linear answers 400 for this
  const body = { errors: [{ message: 'Rate limit exceeded', extensions: { code: 'RATELIMITED', type: 'ratelimited' } }] };
  front.next({ status: 400, headers: { 'retry-after': '45' }, body });
  const limited = await failureOf(callMethod(linear, 'create_comment', { issue: 'ENG-1', body: 'x' }));
  assert.deepEqual([limited.code, limited.retryable], ['RATE_LIMITED', true]);
  assert.match(limited.message, /after 45 s/);

  front.next({ status: 502, body: '<html>Bad gateway</html>' });
  const lost = await failureOf(callMethod(linear, 'create_comment', { issue: 'ENG-1', body: 'x' }));
  assert.equal(lost.retryable, false);
  assert.match(lost.message, /may have been done/);
  front.next({ status: 502, body: '<html>Bad gateway</html>' });
  assert.equal((await failureOf(callMethod(linear, 'get_me'))).retryable, true);
});
