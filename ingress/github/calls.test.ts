import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { createGitHubCalls, GitHubNotNow, GitHubRefused } from './calls.ts';
import type { GitHubAuth } from './settings.ts';

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const TOKEN: GitHubAuth = { kind: 'token', token: 'x' };
const APP: GitHubAuth = { kind: 'app', appId: '4711', privateKey };
const { signal } = new AbortController();
const SCOPE = { repo: 'acme/site', installation: null };

interface Answer {
  readonly status: number;
  readonly body: object;
}

/** Calls of something that answers as it is told, in a world whose hours pass at once. */
async function start(auth: GitHubAuth, answer: (line: string, authorization: string) => Answer) {
  const lines: string[] = [];
  const server = createServer((request, response) => {
    const line = `${request.method} ${request.url}`;
    lines.push(line);
    const { status, body } = answer(line, request.headers.authorization ?? '');
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  let hours = 0;
  const apiUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    lines,
    calls: createGitHubCalls({ auth, apiUrl, now: () => Date.UTC(2026, 0, 1) + hours++ * 3_600_000 }),
    [Symbol.dispose]() {
      server.close();
      server.closeAllConnections();
    },
  };
}

test('a limit that does not end, and a suspension, are for later; what is refused is refused', async () => {
  let now: Answer = { status: 403, body: { message: 'You have exceeded a secondary rate limit' } };
  using github = await start(TOKEN, () => now);
  const write = () => github.calls.write(SCOPE, 'POST', '/issues/1/comments', { body: 'x' }, { signal });
  await assert.rejects(write, GitHubNotNow);
  assert.equal(github.lines.length, 7);
  now = { status: 403, body: { message: 'This installation has been suspended' } };
  await assert.rejects(write, GitHubNotNow);
  now = { status: 403, body: { message: 'Unable to create comment because issue is locked.' } };
  await assert.rejects(write, GitHubRefused);
});

test('what waits for its turn is not written when the claim was lost meanwhile', async () => {
  using github = await start(TOKEN, () => ({ status: 200, body: {} }));
  let isLost = false;
  const throwIfLost = (): void => {
    if (isLost) throw new Error('lost');
  };
  const write = () => github.calls.write(SCOPE, 'PATCH', '/issues/comments/1', { body: 'x' }, { signal, throwIfLost });
  const first = write();
  const second = write();
  await first;
  isLost = true;
  await assert.rejects(second, /lost/);
  assert.equal(github.lines.length, 1);
  isLost = false;
  await write();
});

test('an app that was taken away and installed anew is found again', async () => {
  let current = 1;
  using github = await start(APP, (line, authorization) => {
    if (line.endsWith('/installation')) return { status: 200, body: { id: current } };
    const [, installation] = /installations\/(\d+)\/access_tokens/.exec(line) ?? [];
    if (installation !== undefined)
      return Number(installation) === current
        ? { status: 201, body: { token: `of ${current}`, expires_at: '2099-01-01T00:00:00Z' } }
        : { status: 404, body: { message: 'Not Found' } };
    return authorization === `Bearer of ${current}` ? { status: 200, body: {} } : { status: 401, body: { message: 'Bad credentials' } };
  });
  await github.calls.read(SCOPE, '/issues/1', signal);
  current = 2;
  await github.calls.read(SCOPE, '/issues/1', signal);
  await github.calls.read({ ...SCOPE, installation: 1 }, '/issues/1', signal);
  current = 3;
  await github.calls.read({ ...SCOPE, installation: 2 }, '/issues/1', signal);
  assert.equal(github.lines.filter((line) => line.endsWith('/installation')).length, 3);
});
