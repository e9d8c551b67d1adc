/** How the built-in tools tell of what goes wrong on the way. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import type { ToolContext } from '@centaur/sdk';
import { at, createRest, type RestRequest, segments, type Send } from '../../userspace/tools/_shared/rest.ts';
import { failureOf } from './call.ts';
import { type Front, startFront } from './front.ts';

let front: Front;
let send: Send;

before(async () => {
  front = await startFront({
    'GET /hop': () => ({ status: 302, headers: { location: '/there' } }),
    'GET /there': () => ({ body: { here: true } }),
  });
  send = createRest({ name: 'Shop', base: front.url, headers: () => ({}), explain: () => undefined });
});

after(() => front.close());

const ctx = { signal: new AbortController().signal } as ToolContext;

test('whether a call may be made again is told from what it is, and from what was answered', async () => {
  const cases: [RestRequest, number, boolean][] = [
    [{ path: '/' }, 500, true],
    [{ path: '/', method: 'PUT' }, 502, true],
    [{ path: '/', method: 'POST', json: {} }, 500, false],
    [{ path: '/', method: 'POST', json: {}, repeatable: true }, 500, true],
    [{ path: '/', method: 'POST', json: {} }, 503, true],
    [{ path: '/', method: 'POST', json: {} }, 429, true],
    [{ path: '/' }, 400, false],
  ];
  for (const [request, status, retryable] of cases) {
    front.next({ status, body: { a: 1 } });
    const failure = await failureOf(send(ctx, request));
    assert.equal(failure.retryable, retryable, `${request.method} ${status}`);
    assert.equal(/may have been done/.test(failure.message), status >= 500 && !retryable);
  }
});

test('Retry-After is seconds or a date', async () => {
  front.next({ status: 429, headers: { 'retry-after': '12' }, body: {} });
  assert.match((await failureOf(send(ctx, { path: '/' }))).message, /after 12 s/);
  front.next({ status: 429, headers: { 'retry-after': new Date(Date.now() + 60_000).toUTCString() }, body: {} });
  assert.match((await failureOf(send(ctx, { path: '/' }))).message, /after (?:[3-5]\d|60) s/);
});

test("the firewall's refusal is not taken for the service's", async () => {
  front.next({
    status: 403,
    headers: { 'x-centaur-refused': 'HOST_NOT_DECLARED' },
    body: { code: 'HOST_NOT_DECLARED', message: 'shop.example is not declared' },
  });
  const refused = await failureOf(send(ctx, { path: '/' }));
  assert.deepEqual(
    [refused.code, refused.message, refused.retryable],
    ['HOST_NOT_DECLARED', 'The firewall answered: shop.example is not declared.', false],
  );
  front.next({ status: 504, headers: { 'x-centaur-refused': 'UPSTREAM_TIMEOUT' }, body: { message: 'no answer in time' } });
  const lost = await failureOf(send(ctx, { path: '/', method: 'POST', json: {} }));
  assert.equal(lost.retryable, false);
  assert.match(lost.message, /may have been done/);
});

test('of a page that is an error the text is told, in time that grows with its length only', async () => {
  front.next({ status: 400, body: '<html><p class="x">Bad <b>things</b></p></html>' });
  assert.equal((await failureOf(send(ctx, { path: '/' }))).message, 'Shop: Bad things.');
  // tag by tag looked through to the end it would take many minutes
  front.next({ status: 400, body: `Worse ${'<a '.repeat(500_000)}` });
  assert.match((await failureOf(send(ctx, { path: '/' }))).message, /^Shop: Worse <a <a [<a ]+…/);
});

test('a connection that the firewall does not make is not taken for a service that is away', async () => {
  const firewall = createServer().on('connect', (_request, socket) => {
    socket.end('HTTP/1.1 403 Forbidden\r\nx-centaur-refused: HOST_NOT_DECLARED\r\nconnection: close\r\ncontent-length: 0\r\n\r\n');
  });
  firewall.listen(0, '127.0.0.1');
  await once(firewall, 'listening');
  const proxy = `http://127.0.0.1:${(firewall.address() as AddressInfo).port}`;
  // the proxy is read from the environment when the process begins
  const code = `
    const { createRest } = await import(${JSON.stringify(new URL('../../userspace/tools/_shared/rest.ts', import.meta.url).href)});
    const send = createRest({ name: 'Shop', base: 'https://shop.example', headers: () => ({}), explain: () => undefined });
    await send({ signal: new AbortController().signal }, { path: '/', method: 'POST' }).catch(({ code, retryable, message }) => {
      console.log(JSON.stringify({ code, retryable, message }));
    });`;
  const env = { PATH: process.env['PATH'], NODE_NO_WARNINGS: '1', NODE_USE_ENV_PROXY: '1', HTTPS_PROXY: proxy };
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', code], { env });
  firewall.close();
  const failure = JSON.parse(stdout) as { code: string; retryable: boolean; message: string };
  assert.deepEqual([failure.code, failure.retryable], ['REFUSED_BY_FIREWALL', false]);
  assert.match(failure.message, /no connection to shop\.example: it is not among the hosts/);
});

test('a service that is not there', async () => {
  const gone = createRest({ name: 'Shop', base: 'http://127.0.0.1:1', headers: () => ({}), explain: () => undefined });
  const failure = await failureOf(gone(ctx, { path: '/' }));
  assert.deepEqual([failure.code, failure.retryable], ['UNREACHABLE', true]);
  assert.equal((await failureOf(gone(ctx, { path: '/', method: 'POST' }))).retryable, false);
});

test('an answer that is too long is left', async () => {
  front.next({ body: new Uint8Array(5000) });
  assert.equal((await failureOf(send(ctx, { path: '/', bytes: 4000 }))).code, 'TOO_LARGE');
});

test('who calls it off gets the reason, and no failure of the tool', async () => {
  const reason = new Error('the caller has gone');
  const signal = AbortSignal.abort(reason);
  await assert.rejects(send({ signal } as ToolContext, { path: '/' }), (error) => error === reason);
});

test('a redirect is followed, or answered', async () => {
  assert.deepEqual((await send(ctx, { path: '/hop' })).data, { here: true });
  const { status, headers } = await send(ctx, { path: '/hop', stayHere: true });
  assert.deepEqual([status, headers.get('location')], [302, '/there']);
});

test('a value stays the segment that it is', async () => {
  assert.equal(at`/a/${'b/../c?d#e'}/f`, '/a/b%2F..%2Fc%3Fd%23e/f');
  assert.equal(segments('/src/a b.ts/'), 'src/a%20b.ts');
  for (const bad of ['..', '.', '']) assert.throws(() => at`/a/${bad}`, /no name/);
  for (const bad of ['a/../b', 'a//b', '..']) assert.throws(() => segments(bad), /no name/);
});
