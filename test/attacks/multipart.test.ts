import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { callThrough, type ServiceHandler } from '../support/firewall.ts';
import { assertDenied, assertNothingLeaked, assertRefused, exchangeRaw, KEY, openTls, type Scene, startScene } from './support.ts';

const BOUNDARY = 'a-boundary-of-forty-characters-0123456789';

interface Part {
  readonly head?: string;
  readonly body: string;
}

function multipart(...parts: readonly Part[]): string {
  const text = parts.map(({ head = '', body }) => `--${BOUNDARY}\r\nContent-Disposition: form-data; name="file"\r\n${head}\r\n${body}\r\n`);
  return `${text.join('')}--${BOUNDARY}--\r\n`;
}

const base64 = (text: string) => Buffer.from(text).toString('base64');
const FIRST: Part = { body: 'nothing of interest' };
const BASE64 = 'Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n';

describe('a body of several parts', () => {
  let scene: Scene;
  let act: ServiceHandler;
  before(async () => {
    scene = await startScene({
      hosts: ['evil.test'],
      secret: { match_headers: ['x-api-key'] },
      handler: (request, response, body) => act(request, response, body),
    });
    await scene.t.secret('BODY_KEY', { value: 'a-value-for-bodies-0123456789', hosts: [scene.authority], match_body: true });
    await scene.t.configure({
      allow: [{ host: `evil.test:${scene.service.port}` }],
      allow_cidrs: ['127.0.0.1'],
      ca_pems: [scene.service.caPem],
    });
    act = (_, response) => response.end('ok');
    while ((await callThrough(scene.t, scene.lease.token, scene.url('/', 'evil.test'))).status !== 200);
  });
  after(() => scene[Symbol.asyncDispose]());
  beforeEach(async () => {
    act = (_, response) => response.end('ok');
    await scene.reset();
  });

  const post = (body: string) =>
    callThrough(scene.t, scene.lease.token, scene.url('/upload', 'evil.test'), {
      headers: { 'content-type': `multipart/form-data; boundary=${BOUNDARY}` },
      body,
    });

  /** Chunked, with a pause before the second part of it. */
  async function postInTwo(body: string, at: number, key = scene.placeholder) {
    const socket = await openTls(scene);
    const chunk = (text: string) => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
    socket.write(
      `POST /upload HTTP/1.1\r\nHost: ${scene.authority}\r\nx-api-key: ${key}\r\nContent-Type: multipart/form-data; boundary=${BOUNDARY}\r\nTransfer-Encoding: chunked\r\n\r\n${chunk(body.slice(0, at))}`,
    );
    await new Promise((resolve) => setTimeout(resolve, 5));
    const answer = await exchangeRaw(socket, `${chunk(body.slice(at))}0\r\n\r\n`);
    socket.destroy();
    return answer;
  }

  const secretParts: [what: string, part: () => Part][] = [
    ['as a field', () => ({ body: KEY })],
    ['inside a file', () => ({ head: 'Content-Type: text/plain\r\n', body: `API_KEY=${KEY}\nOTHER=1\n` })],
    ['in the head of a part', () => ({ head: `Content-Type: text/plain; note="${KEY}"\r\n`, body: 'x' })],
    ['in a part that is base64', () => ({ head: BASE64, body: base64(KEY) })],
    ['in a part that is base64, behind one byte', () => ({ head: BASE64, body: base64(`:${KEY}`) })],
    ['in a part that is base64, behind two bytes', () => ({ head: BASE64, body: base64(`u:${KEY}\n`) })],
    ['in a part that is base64url', () => ({ head: BASE64, body: Buffer.from(`:${KEY}`).toString('base64url') })],
    ['in a part that is hex', () => ({ body: Buffer.from(KEY).toString('hex') })],
    [
      'in a part of parts',
      () => ({ head: 'Content-Type: multipart/mixed; boundary=inner\r\n', body: `--inner\r\n\r\n${KEY}\r\n--inner--` }),
    ],
  ];
  for (const [what, part] of secretParts) {
    test(`is refused with the value of a secret ${what}`, async () => {
      await assertDenied(scene, await post(multipart(FIRST, part())), { status: 403, code: 'SECRET_IN_REQUEST' });
    });
  }

  test('is refused with the value of a secret after its end', async () => {
    await assertDenied(scene, await post(`${multipart(FIRST)}${KEY}`), { status: 403, code: 'SECRET_IN_REQUEST' });
  });

  test('is refused with the value of a secret wherever its chunks are cut', async () => {
    const body = multipart(FIRST, { body: KEY });
    for (let at = body.indexOf(KEY) + 1; at < body.indexOf(KEY) + KEY.length; at += 7) {
      await scene.reset();
      await assertDenied(scene, await postInTwo(body, at), { status: 403, code: 'SECRET_IN_REQUEST' });
    }
  });

  test('is refused with a placeholder that is not for bodies, wherever its chunks are cut', async () => {
    const body = multipart(FIRST, { body: scene.placeholder });
    for (const at of [1, 9, scene.placeholder.length - 1]) {
      await scene.reset();
      await assertDenied(scene, await postInTwo(body, body.indexOf(scene.placeholder) + at, 'none'), {
        status: 403,
        code: 'PLACEHOLDER_NOT_BOUND',
      });
      // beside a credential it is text, and stays it
      await scene.reset();
      const answer = await postInTwo(body, body.indexOf(scene.placeholder) + at);
      assert.deepEqual([answer.status, scene.service.seen[0]?.body], [200, body]);
    }
  });

  test('has a placeholder that is for bodies replaced in its part, and its length put right', async () => {
    const lease = await scene.t.lease(['BODY_KEY']);
    await scene.reset();
    const before = multipart(FIRST, { body: lease.placeholders['BODY_KEY'] as string });
    const answer = await callThrough(scene.t, lease.token, scene.url('/upload'), {
      headers: { 'content-type': `multipart/form-data; boundary=${BOUNDARY}` },
      body: before,
    });
    assert.equal(answer.status, 200, answer.body);
    const after = multipart(FIRST, { body: 'a-value-for-bodies-0123456789' });
    assert.equal(scene.service.seen[0]?.body, after);
    assert.equal(scene.service.seen[0]?.headers['content-length'], String(after.length));
    await assertNothingLeaked(scene.t, answer, [lease.token], ['a-value-for-bodies-0123456789']);
  });

  test('that is too long to be held is cut off before the value of a secret is out', async () => {
    const body = multipart({ body: 'x'.repeat(3_000_000) }, { head: BASE64, body: base64(`:${KEY}`) });
    const answer = await post(body).catch(() => ({ status: 0, body: '' }));
    assert.ok([0, 403].includes(answer.status), String(answer.status));
    assert.equal(scene.service.seen.length, 0, 'the service has not had the whole request');
    await assertRefused(scene, answer, 'SECRET_IN_REQUEST');
  });

  for (const [what, type, parts] of [
    ['a part', `multipart/mixed; boundary=${BOUNDARY}`, [multipart(FIRST, { body: `you sent ${KEY}` })]],
    ['a part that is base64', `multipart/mixed; boundary=${BOUNDARY}`, [multipart(FIRST, { head: BASE64, body: base64(`:${KEY}:`) })]],
    ['the head of a part', `multipart/mixed; boundary=${BOUNDARY}`, [multipart({ head: `Content-Location: /${KEY}\r\n`, body: 'x' })]],
    [
      'two parts of a range',
      `multipart/byteranges; boundary=${BOUNDARY}`,
      [multipart({ head: 'Content-Range: bytes 0-9/99\r\n', body: KEY }, { head: 'Content-Range: bytes 50-59/99\r\n', body: KEY })],
    ],
    ['an event', 'text/event-stream', ['data: 1\n\n', `data: ${KEY}\n\n`, 'data: 2\n\n']],
    [
      'two events, each cut in two',
      'text/event-stream',
      [`data: ${KEY.slice(0, 9)}`, `${KEY.slice(9)}\n\ndata: ${KEY.slice(0, 30)}`, `${KEY.slice(30)}\n\n`],
    ],
  ] as const) {
    test(`has an echo blanked in ${what}`, async () => {
      act = (_, response) => {
        response.writeHead(200, { 'content-type': type });
        const next = (n: number) => (n === parts.length ? response.end() : (response.write(parts[n]), setTimeout(() => next(n + 1), 5)));
        next(0);
      };
      const answer = await scene.call('/', { headers: { 'x-api-key': scene.placeholder } });
      assert.equal(answer.status, 200);
      assert.equal(Buffer.byteLength(answer.body), parts.join('').length, 'the length stays');
      assert.match(answer.body, /\*{12}/);
      await assertNothingLeaked(scene.t, answer, [scene.lease.token]);
      const outcome = (await scene.entries()).find(({ action }) => action === 'egress.outcome');
      assert.equal(outcome?.['details'].alert, true);
    });
  }
});
