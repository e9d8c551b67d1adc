/** The tool `github` against the emulator; what the emulator has not (runs of Actions, search in code) is answered as GitHub documents it. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { ToolDefinition, ToolFile } from '@centaur/sdk';
import { type Emulator, startEmulator } from '../hosts-e2e/emulate.ts';
import { callMethod, failureOf } from './call.ts';
import { type Front, type Said, startFront } from './front.ts';

const TOKEN = 'ghp_0123456789abcdefghij';
const here = { owner: 'acme', repo: 'site' };

let emulator: Emulator;
let front: Front;
let github: ToolDefinition;

const RUN = {
  id: 77,
  name: 'CI',
  display_title: 'Fix the door',
  run_number: 12,
  run_attempt: 2,
  event: 'push',
  status: 'completed',
  conclusion: 'failure',
  head_branch: 'main',
  head_sha: 'a'.repeat(40),
  path: '.github/workflows/ci.yml',
  actor: { login: 'dev', id: 1, avatar_url: 'https://example.com/a.png' },
  created_at: '2026-11-01T10:00:00Z',
  updated_at: '2026-11-01T10:05:00Z',
  html_url: 'https://github.com/acme/site/actions/runs/77',
};
const JOB = {
  id: 88,
  run_id: 77,
  name: 'test',
  status: 'completed',
  conclusion: 'failure',
  started_at: '2026-11-01T10:00:10Z',
  completed_at: '2026-11-01T10:04:00Z',
  html_url: 'https://github.com/acme/site/actions/runs/77/job/88',
  steps: [
    { name: 'Set up job', number: 1, conclusion: 'success' },
    { name: 'npm test', number: 2, conclusion: 'failure' },
  ],
};

const ACTIONS = '/repos/acme/site/actions';
const runs = (): Said => ({ body: { total_count: 1, workflow_runs: [RUN] } });
const accepted = (status: number) => (): Said => ({ status, ...(status === 201 || status === 202 ? { body: {} } : {}) });

before(async () => {
  emulator = await startEmulator('github', {
    tokens: { [TOKEN]: { login: 'dev', scopes: ['repo', 'user', 'workflow'] } },
    github: {
      users: [{ login: 'dev' }, { login: 'ana' }],
      orgs: [{ login: 'acme', members: [{ login: 'dev', role: 'admin' }, { login: 'ana' }] }],
      repos: [
        { owner: 'acme', name: 'site', description: 'Our site' },
        { owner: 'dev', name: 'notes', private: true },
      ],
    },
  });
  front = await startFront({
    'GET /(orgs|users)/acme/repos': ({ query }) => ({
      body:
        query.get('sort') === 'pushed' ? [{ id: 1, full_name: 'acme/site', private: false, default_branch: 'main', html_url: 'x' }] : [],
    }),
    // the emulator finds no files in commits of one file
    'GET /repos/acme/site/pulls/\\d+/files': () => ({
      body: [{ filename: 'src/door.ts', status: 'added', additions: 1500, deletions: 0, changes: 1500, patch: '+knock\n'.repeat(1500) }],
    }),
    [`GET ${ACTIONS}/runs`]: runs,
    [`GET ${ACTIONS}/workflows/ci\\.yml/runs`]: runs,
    [`GET ${ACTIONS}/runs/77`]: () => ({ body: RUN }),
    [`GET ${ACTIONS}/runs/77/jobs`]: () => ({ body: { total_count: 1, jobs: [JOB] } }),
    [`POST ${ACTIONS}/runs/77/(rerun|rerun-failed-jobs)`]: accepted(201),
    [`POST ${ACTIONS}/runs/77/cancel`]: accepted(202),
    [`GET ${ACTIONS}/jobs/88/logs`]: () => ({ status: 302, headers: { location: 'https://logs.example.com/88?sig=1' } }),
    [`GET ${ACTIONS}/runs/77/logs`]: () => ({ status: 302, headers: { location: 'https://logs.example.com/77.zip?sig=1' } }),
    'GET /search/code': ({ query, headers }) =>
      headers.accept?.includes('text-match') === true && query.get('q') === 'repo:acme/site door'
        ? {
            body: {
              total_count: 1,
              incomplete_results: false,
              items: [
                {
                  path: 'src/door.ts',
                  sha: 'b'.repeat(40),
                  html_url: 'https://github.com/acme/site/blob/main/src/door.ts',
                  repository: { full_name: 'acme/site' },
                  text_matches: [{ fragment: 'open the door', object_url: 'x', matches: [] }],
                },
              ],
            },
          }
        : { status: 422, body: { message: 'Validation Failed', errors: [{ resource: 'Search', field: 'q', code: 'missing' }] } },
  });
  front.target = emulator.url;
  process.env['GITHUB_API_URL'] = front.url;
  process.env['GITHUB_TOKEN'] = TOKEN;
  github = (await import('../../userspace/tools/github/tool.ts')).default;
});

after(async () => {
  front.close();
  await emulator.close();
});

test('the key goes to the declared host, in its header', async () => {
  await callMethod(github, 'get_repo', here);
  assert.equal(front.last.headers.authorization, `Bearer ${TOKEN}`);
  assert.deepEqual(github.secrets?.[0]?.hosts, [new URL(front.url).host]);
});

test('repositories', async () => {
  const repo = await callMethod(github, 'get_repo', here);
  assert.deepEqual(
    { full_name: repo.full_name, default_branch: repo.default_branch, description: repo.description, visibility: repo.visibility },
    { full_name: 'acme/site', default_branch: 'main', description: 'Our site', visibility: 'public' },
  );
  for (const args of [{ org: 'acme' }, { user: 'acme' }])
    assert.equal((await callMethod(github, 'list_repos', args)).items[0].full_name, 'acme/site', JSON.stringify(args));
  assert.equal(
    (await callMethod(github, 'list_repos')).items.find((each: { visibility: string }) => each.visibility === 'private').full_name,
    'dev/notes',
  );
  const wrong = await failureOf(callMethod(github, 'list_repos', { org: 'acme', user: 'dev' }));
  assert.equal(wrong.code, 'INVALID_ARGUMENTS');
});

test('an issue from its beginning to its end', async () => {
  const made = await callMethod(github, 'create_issue', { ...here, title: 'The door sticks', body: 'Since *Monday*.', labels: ['bug'] });
  assert.equal(made.title, 'The door sticks');
  assert.deepEqual(made.labels, ['bug']);
  const number = made.number as number;
  const read = await callMethod(github, 'get_issue', { ...here, number });
  assert.deepEqual([read.body, read.state, read.author], ['Since *Monday*.', 'open', 'dev']);

  const comment = await callMethod(github, 'create_comment', { ...here, number, body: 'I see it, too.' });
  await callMethod(github, 'update_comment', { ...here, comment_id: comment.id, body: 'Not any more.' });
  const { items } = await callMethod(github, 'list_comments', { ...here, number });
  assert.deepEqual(
    items.map((each: { author: string; body: string }) => [each.author, each.body]),
    [['dev', 'Not any more.']],
  );

  const known = await callMethod(github, 'list_labels', here);
  assert.ok(known.items.some((each: { name: string }) => each.name === 'bug'));
  assert.deepEqual((await callMethod(github, 'add_labels', { ...here, number, labels: ['good first/issue'] })).labels, [
    'bug',
    'good first/issue',
  ]);
  assert.deepEqual((await callMethod(github, 'remove_label', { ...here, number, label: 'good first/issue' })).labels, ['bug']);

  const closed = await callMethod(github, 'update_issue', {
    ...here,
    number,
    state: 'closed',
    state_reason: 'completed',
    assignees: ['ana'],
  });
  assert.deepEqual([closed.state, closed.state_reason, closed.assignees], ['closed', 'completed', ['ana']]);
  assert.equal(closed.title, 'The door sticks', 'what is left out stays');
  assert.deepEqual((await callMethod(github, 'list_issues', { ...here, labels: ['bug'] })).items, []);
  assert.equal((await callMethod(github, 'list_issues', { ...here, state: 'closed', labels: ['bug'] })).items[0].number, number);

  const found = await callMethod(github, 'search_issues', { query: 'repo:acme/site is:issue sticks' });
  assert.deepEqual([found.total, found.items[0].number, found.items[0].repository], [1, number, 'acme/site']);
});

test('pages end', async () => {
  for (const title of ['one', 'two', 'three']) await callMethod(github, 'create_issue', { ...here, title, labels: ['paged'] });
  const titles: string[] = [];
  let page: number | undefined = 1;
  while (page !== undefined) {
    const answer: { items: { title: string }[]; next_page?: number } = await callMethod(github, 'list_issues', {
      ...here,
      labels: ['paged'],
      page,
      per_page: 1,
    });
    titles.push(...answer.items.map(({ title }) => title));
    page = answer.next_page;
  }
  assert.deepEqual(titles.sort(), ['one', 'three', 'two']);
});

test('a change, from a branch over a review to the merge', async () => {
  const branch = await callMethod(github, 'create_branch', { ...here, branch: 'fix/door' });
  assert.match(branch.sha, /^[0-9a-f]{40}$/);
  const file = { ...here, path: 'src/door.ts', branch: 'fix/door', message: 'Fix the door' };
  const put = await callMethod(github, 'put_file', { ...file, content: 'one\ntwo\nthree\n' });
  const again = await failureOf(callMethod(github, 'put_file', { ...file, content: 'four\n' }));
  assert.ok(['INVALID', 'CONFLICT'].includes(again.code), again.message);
  await callMethod(github, 'put_file', { ...file, content: 'one\ndeux\nthree\n', sha: put.sha });

  const read = await callMethod(github, 'get_file', { ...here, path: 'src/door.ts', ref: 'fix/door', first_line: 2, last_line: 2 });
  assert.deepEqual([read.content, read.first_line, read.lines], ['deux', 2, 4]);
  const listed = await callMethod(github, 'list_files', { ...here, path: 'src', ref: 'fix/door' });
  assert.deepEqual(listed.items, [{ path: 'src/door.ts', type: 'file', size: 15 }]);
  assert.ok((await callMethod(github, 'list_files', here)).items.some((each: { path: string }) => each.path === 'README.md'));

  const pull = await callMethod(github, 'create_pull', {
    ...here,
    title: 'Fix the door',
    head: 'fix/door',
    base: 'main',
    body: 'It opens.',
  });
  const number = pull.number as number;
  assert.equal((await callMethod(github, 'list_pulls', { ...here, base: 'main' })).items[0].number, number);
  const { items: files } = await callMethod(github, 'list_pull_files', { ...here, number });
  assert.deepEqual([files[0].filename, files[0].additions], ['src/door.ts', 1500]);
  assert.match(files[0].patch, /^(\+knock\n)+.*… \(6500 more characters\)$/s);
  const bare = await callMethod(github, 'list_pull_files', { ...here, number, patches: false });
  assert.equal(bare.items[0].patch, undefined);
  assert.equal((await callMethod(github, 'update_pull', { ...here, number, title: 'Open the door' })).title, 'Open the door');

  const asked = await callMethod(github, 'request_reviewers', { ...here, number, reviewers: ['ana'] });
  assert.deepEqual(asked.reviewers, ['ana']);
  const mute = await failureOf(callMethod(github, 'create_review', { ...here, number, event: 'COMMENT' }));
  assert.equal(mute.code, 'INVALID_ARGUMENTS');
  const review = await callMethod(github, 'create_review', { ...here, number, event: 'COMMENT', body: 'Looks good.' });
  assert.equal(review.state, 'COMMENTED');
  assert.equal((await callMethod(github, 'list_reviews', { ...here, number })).items[0].body, 'Looks good.');
  // the emulator sees no lines in the change
  const remark = { path: 'src/door.ts', line: 2, body: 'In French?' };
  front.next({ body: { id: 5, state: 'APPROVED', html_url: 'x' } });
  await callMethod(github, 'create_review', { ...here, number, event: 'APPROVE', comments: [remark] });
  assert.deepEqual(JSON.parse(front.last.body.toString()), { event: 'APPROVE', comments: [{ ...remark, side: 'RIGHT' }] });
  front.next({
    body: [{ id: 6, html_url: 'y', user: { login: 'dev' }, ...remark, side: 'RIGHT', created_at: '2026-11-01T10:00:00Z', diff_hunk: '@@' }],
  });
  const remarks = await callMethod(github, 'list_review_comments', { ...here, number });
  assert.deepEqual(remarks.items, [{ id: 6, author: 'dev', ...remark, created_at: '2026-11-01T10:00:00Z', url: 'y' }]);

  const { head_sha } = await callMethod(github, 'get_pull', { ...here, number });
  const moved = await failureOf(callMethod(github, 'merge_pull', { ...here, number, sha: '0'.repeat(40) }));
  assert.ok(['CONFLICT', 'INVALID'].includes(moved.code), moved.message);
  assert.equal((await callMethod(github, 'get_pull', { ...here, number })).state, 'open');
  const merged = await callMethod(github, 'merge_pull', { ...here, number, sha: head_sha, merge_method: 'squash' });
  assert.equal(merged.merged, true);
  assert.equal((await callMethod(github, 'get_pull', { ...here, number })).state, 'merged');
  // again, after an answer that was lost
  const refused = { status: 405, body: { message: 'Pull Request is not mergeable' } };
  for (const sha of [head_sha, undefined]) {
    front.next(refused);
    const { message, ...same } = await callMethod(github, 'merge_pull', { ...here, number, sha });
    assert.deepEqual([same, message], [{ sha: merged.sha, merged: true }, 'It had been merged before']);
  }
  front.next(refused);
  assert.equal((await failureOf(callMethod(github, 'merge_pull', { ...here, number, sha: '0'.repeat(40) }))).code, 'NOT_ALLOWED');
  front.next(refused);
  front.next({ body: { merged: false, merge_commit_sha: merged.sha, head: { sha: head_sha } } });
  assert.equal((await failureOf(callMethod(github, 'merge_pull', { ...here, number, sha: head_sha }))).code, 'NOT_ALLOWED');
});

test('a file that is no text becomes an attachment', async () => {
  const data = Buffer.from([0x89, 0x50, 0, 0xff]);
  await callMethod(github, 'put_file', {
    ...here,
    path: 'a.png',
    message: 'A picture',
    content: data.toString('base64'),
    encoding: 'base64',
  });
  const attached: ToolFile[] = [];
  const file = await callMethod(github, 'get_file', { ...here, path: 'a.png' }, { attached });
  assert.deepEqual(file.attachment, { attachment_id: 'a1', name: 'a.png', mime_type: 'application/octet-stream', size: 4 });
  assert.deepEqual(Buffer.from(attached[0]!.data), data);
});

test('folders and files are told apart', async () => {
  await callMethod(github, 'put_file', { ...here, path: 'docs/a.md', message: 'A page', content: '# A' });
  assert.equal((await failureOf(callMethod(github, 'get_file', { ...here, path: 'docs' }))).code, 'NOT_A_FILE');
  assert.equal((await failureOf(callMethod(github, 'list_files', { ...here, path: 'README.md' }))).code, 'NOT_A_FOLDER');
});

test('runs of Actions', async () => {
  const listed = await callMethod(github, 'list_runs', { ...here, workflow: 'ci.yml', status: 'failure' });
  assert.equal(front.last.query.get('status'), 'failure');
  assert.deepEqual([listed.total, listed.items[0].id, listed.items[0].actor], [1, 77, 'dev']);
  assert.equal((await callMethod(github, 'list_runs', here)).items.length, 1);
  const run = await callMethod(github, 'get_run', { ...here, run_id: 77 });
  assert.deepEqual([run.attempt, run.jobs[0].id, run.jobs[0].failed_steps], [2, 88, ['2: npm test']]);
  await callMethod(github, 'rerun', { ...here, run_id: 77, only_failed: true });
  assert.equal(front.last.line, `POST ${ACTIONS}/runs/77/rerun-failed-jobs`);
  await callMethod(github, 'rerun', { ...here, run_id: 77 });
  assert.equal(front.last.line, `POST ${ACTIONS}/runs/77/rerun`);
  assert.deepEqual(await callMethod(github, 'cancel_run', { ...here, run_id: 77 }), { run_id: 77, requested: true });
  assert.deepEqual(await callMethod(github, 'get_logs_url', { ...here, job_id: 88 }), { url: 'https://logs.example.com/88?sig=1' });
  assert.deepEqual(await callMethod(github, 'get_logs_url', { ...here, run_id: 77 }), { url: 'https://logs.example.com/77.zip?sig=1' });
  assert.equal((await failureOf(callMethod(github, 'get_logs_url', here))).code, 'INVALID_ARGUMENTS');
});

test('code is found with the lines around it', async () => {
  const { items } = await callMethod(github, 'search_code', { query: 'repo:acme/site door' });
  assert.deepEqual(items[0].fragments, ['open the door']);
  const wrong = await failureOf(callMethod(github, 'search_code', { query: 'x' }));
  assert.deepEqual([wrong.code, wrong.retryable], ['INVALID', false]);
  assert.match(wrong.message, /Validation Failed; Search q missing/);
});

test('what goes wrong says what to do', async () => {
  const missing = await failureOf(callMethod(github, 'get_issue', { ...here, number: 99_999 }));
  assert.deepEqual([missing.code, missing.retryable], ['NOT_FOUND', false]);
  assert.match(missing.message, /GITHUB_TOKEN may not see it/);

  front.next({ status: 401, body: { message: 'Bad credentials', documentation_url: 'https://docs.github.com/rest' } });
  const stranger = await failureOf(callMethod(github, 'get_repo', here));
  assert.equal(stranger.code, 'UNAUTHORIZED');

  front.next({
    status: 422,
    body: { message: 'Validation Failed', errors: [{ resource: 'PullRequest', field: 'head', code: 'invalid' }] },
  });
  const invalid = await failureOf(callMethod(github, 'create_pull', { ...here, title: 'x', head: 'no-such-branch', base: 'main' }));
  assert.deepEqual([invalid.code, invalid.message], ['INVALID', 'GitHub: Validation Failed; PullRequest head invalid.']);

  front.next({ status: 403, headers: { 'retry-after': '60' }, body: { message: 'You have exceeded a secondary rate limit.' } });
  const limited = await failureOf(callMethod(github, 'create_issue', { ...here, title: 'x' }));
  assert.deepEqual([limited.code, limited.retryable], ['RATE_LIMITED', true]);
  assert.match(limited.message, /after 60 s/);

  const reset = Math.floor(Date.now() / 1000) + 90;
  front.next({
    status: 403,
    headers: { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': String(reset) },
    body: { message: 'API rate limit exceeded' },
  });
  assert.match((await failureOf(callMethod(github, 'get_repo', here))).message, /after (?:[5-8]\d|90) s/);

  front.next({ status: 403, body: { message: 'Resource not accessible by personal access token' } });
  const forbidden = await failureOf(callMethod(github, 'create_issue', { ...here, title: 'x' }));
  assert.deepEqual([forbidden.code, forbidden.retryable], ['FORBIDDEN', false]);
});

test('arguments that lead elsewhere never leave', async () => {
  const before = front.seen.length;
  const cases: [string, object][] = [
    ['get_repo', { owner: 'acme/../../user', repo: 'x' }],
    ['get_repo', { owner: '..', repo: '..' }],
    ['get_file', { ...here, path: '../../../user' }],
    ['get_issue', { ...here, number: 0 }],
    ['get_issue', { ...here, number: '1/comments' }],
    ['create_issue', { ...here, title: 'x', labels: 'bug' }],
    ['create_issue', { ...here, title: 'x', colour: 'red' }],
  ];
  for (const [name, args] of cases) assert.match((await failureOf(callMethod(github, name, args))).code, /^INVALID/, JSON.stringify(args));
  assert.equal(front.seen.length, before);
});
