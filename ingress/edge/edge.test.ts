import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { test } from 'node:test';
import { text } from 'node:stream/consumers';
import { signSample } from '../../kernel/webhooks/sign.ts';
import { buildEdge } from './build.ts';
import { readConfig } from './config.ts';
import { createEdge, type EdgeOptions } from './edge.ts';
import { serveEdge } from './node.ts';
import { API_KEY, type Arrived, BODY, environmentFor, githubDelivery, SECRETS, SIGNING_KEY, sourceOf, startFakeApi } from './testing.ts';

const HOST = 'https://hooks.example.com';

/** An edge before an API that is a function. */
function edgeBefore(api: NonNullable<EdgeOptions['fetch']>, more: Partial<EdgeOptions> = {}) {
  const arrived: Arrived[] = [];
  const logged: string[] = [];
  const { options } = readConfig(environmentFor('https://api.internal/'));
  assert.ok(options !== undefined);
  const edge = createEdge({
    ...options,
    log: (entry) => logged.push(JSON.stringify(entry)),
    async fetch(request) {
      const { pathname, search } = new URL(request.url);
      arrived.push({ method: request.method, path: pathname + search, headers: request.headers, body: await request.clone().text() });
      return api(request);
    },
    ...more,
  });
  return {
    arrived,
    logged,
    send: (path: string, init: RequestInit = {}, sourceIp: string | null = '203.0.113.9') =>
      edge.fetch(new Request(`${HOST}${path}`, init), sourceIp),
  };
}

const accepting = (): Promise<Response> =>
  Promise.resolve(
    new Response('{"ok":true,"run_id":"r","created":true}', {
      status: 202,
      headers: { 'content-type': 'application/json', 'set-cookie': 'inside=1' },
    }),
  );

async function codeOf(response: Response): Promise<string> {
  return ((await response.json()) as { code: string }).code;
}

test('a verified delivery reaches the API as it came, with our key and our word for its source', async () => {
  const t = edgeBefore(accepting);
  const response = await t.send('/api/webhooks/github?a=1&b=%20', await githubDelivery());
  assert.equal(response.status, 202);
  assert.deepEqual(await response.json(), { ok: true, run_id: 'r', created: true });
  assert.equal(response.headers.get('set-cookie'), null);
  const [sent] = t.arrived;
  assert.ok(sent !== undefined && t.arrived.length === 1);
  assert.equal(sent.method, 'POST');
  assert.equal(sent.path, '/api/webhooks/github?a=1&b=%20');
  assert.equal(sent.body, BODY, 'byte for byte, as it was signed');
  assert.equal(sent.headers.get('x-api-key'), API_KEY);
  assert.match(sent.headers.get('x-hub-signature-256') ?? '', /^sha256=/, 'the API verifies it again');
  assert.equal(await sourceOf(sent), '203.0.113.9');
});

test('what a sender says of itself is not passed on as ours', async () => {
  const t = edgeBefore(accepting);
  const forged = {
    'X-Centaur-Edge': 't=1,ip=10.0.0.1,v1=00',
    'X-Forwarded-For': '10.0.0.1',
    'X-Real-IP': '10.0.0.1',
    'X-Api-Key': 'theirs',
    Cookie: 'a=b',
    'CF-Connecting-IP': '10.0.0.1',
  };
  await t.send('/api/webhooks/github', await githubDelivery({ headers: forged }));
  const sent = t.arrived[0] as Arrived;
  assert.equal(await sourceOf(sent), '203.0.113.9');
  assert.doesNotMatch(JSON.stringify([...sent.headers]), /10\.0\.0\.1|theirs|a=b/);
  await t.send('/api/webhooks/github', await githubDelivery({ headers: { 'CF-Webhook-Auth': 'x', 'X-Centaur-Signature': 'y' } }));
  assert.equal(t.arrived[1]?.headers.get('cf-webhook-auth'), 'x', 'what a provider may have its proof in goes on');
  assert.equal(t.arrived[1]?.headers.get('x-centaur-signature'), 'y');
});

test('refuses as the API does, and sends it nothing', async () => {
  const t = edgeBefore(accepting);
  const cases: [string, RequestInit, number, string][] = [
    ['/', {}, 404, 'WEBHOOK_NOT_FOUND'],
    ['/api/webhooks/unknown', await githubDelivery(), 404, 'WEBHOOK_NOT_FOUND'],
    ['/api/webhooks/off', { method: 'POST' }, 404, 'WEBHOOK_NOT_FOUND'],
    ['/api/webhooks/github/', await githubDelivery(), 404, 'WEBHOOK_NOT_FOUND'],
    ['/api/runs', { method: 'POST' }, 404, 'WEBHOOK_NOT_FOUND'],
    ['/api/webhooks/github', { method: 'GET' }, 405, 'METHOD_NOT_ALLOWED'],
    ['/api/webhooks/github', await githubDelivery({ headers: { 'content-type': 'text/plain' } }), 415, 'UNSUPPORTED_MEDIA_TYPE'],
    ['/api/webhooks/github', await githubDelivery({ headers: { 'content-encoding': 'gzip' } }), 415, 'UNSUPPORTED_MEDIA_TYPE'],
    ['/api/webhooks/github', await githubDelivery({ body: 'x'.repeat(1001) }), 413, 'TOO_LARGE'],
    ['/api/webhooks/github', await githubDelivery({ body: `${BODY} ` }), 401, 'BAD_SIGNATURE'],
    ['/api/webhooks/github', { method: 'POST', body: BODY, headers: { 'content-type': 'application/json' } }, 401, 'BAD_SIGNATURE'],
    ['/api/webhooks/open', { method: 'POST', body: '{', headers: { 'content-type': 'application/json' } }, 400, 'MALFORMED_BODY'],
    ['/api/webhooks/unset', await githubDelivery(), 503, 'WEBHOOK_SECRET_MISSING'],
  ];
  for (const [path, init, status, code] of cases) {
    const response = await t.send(path, init);
    assert.deepEqual([response.status, await codeOf(response)], [status, code], path);
    if (status === 405) assert.equal(response.headers.get('allow'), 'POST');
  }
  assert.deepEqual(t.arrived, []);
});

test('a delivery that the filter leaves out is answered here, once its signature holds', async () => {
  const t = edgeBefore(accepting);
  const response = await t.send('/api/webhooks/github', await githubDelivery({ event: 'star' }));
  assert.deepEqual([response.status, await response.json()], [200, { ok: true, filtered: true, run_id: null, created: false }]);
  assert.equal((await t.send('/api/webhooks/github', await githubDelivery({ event: 'star', body: '{}' }))).status, 401);
  assert.deepEqual(t.arrived, []);
});

test('takes the secret before while it is rotated', async () => {
  const t = edgeBefore(accepting);
  for (const [secret, status] of [
    [SECRETS.STRIPE_SECRET, 202],
    [SECRETS.STRIPE_SECRET_PREVIOUS, 202],
    ['another', 401],
  ] as const) {
    const headers = await signSample('stripe', secret, BODY, { nowSeconds: Date.now() / 1000 });
    assert.equal((await t.send('/webhooks/stripe', { method: 'POST', headers, body: BODY })).status, status);
  }
  assert.equal(t.arrived[0]?.path, '/api/webhooks/stripe');
});

test('asks an API once more that did not answer, and then says so', async () => {
  let tries = 0;
  const flaky = edgeBefore(() => ((tries += 1) === 1 ? Promise.reject(new TypeError('fetch failed')) : accepting()));
  assert.equal((await flaky.send('/api/webhooks/github', await githubDelivery())).status, 202);
  assert.equal(tries, 2);
  const dead = edgeBefore(() => Promise.reject(new TypeError('fetch failed')));
  const response = await dead.send('/api/webhooks/github', await githubDelivery());
  assert.deepEqual([response.status, await codeOf(response), response.headers.get('retry-after')], [502, 'API_UNREACHABLE', '5']);
  assert.equal(dead.arrived.length, 2);
});

test('gives up on an API that is too slow, without asking again', async () => {
  const slow = edgeBefore(
    ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error))),
    { timeoutMs: 30 },
  );
  const response = await slow.send('/api/webhooks/github', await githubDelivery());
  assert.deepEqual([response.status, await codeOf(response)], [504, 'API_TIMEOUT']);
  assert.equal(slow.arrived.length, 1);
});

test('what the API refuses, the sender hears', async () => {
  const full = edgeBefore(() => Promise.resolve(new Response('{"code":"RATE_LIMITED"}', { status: 429, headers: { 'retry-after': '7' } })));
  const response = await full.send('/api/webhooks/github', await githubDelivery());
  assert.deepEqual([response.status, response.headers.get('retry-after'), await codeOf(response)], [429, '7', 'RATE_LIMITED']);
});

test('does not carry its key after a redirect', async () => {
  const moved = edgeBefore((request) => {
    assert.equal(request.redirect, 'manual');
    return Promise.resolve(new Response(null, { status: 307, headers: { location: 'https://elsewhere.example' } }));
  });
  const response = await moved.send('/api/webhooks/github', await githubDelivery());
  assert.deepEqual([response.status, response.headers.get('location')], [502, null]);
  assert.equal(moved.arrived.length, 1);
});

test('logs what went wrong without bodies, header values or secrets', async () => {
  const t = edgeBefore(() => Promise.reject(new TypeError('fetch failed for hunter2')));
  await t.send('/api/webhooks/github', await githubDelivery());
  await t.send(
    '/api/webhooks/github',
    await githubDelivery({ body: '{"private":true}', headers: { 'x-hub-signature-256': 'sha256=c0ffee' } }),
  );
  await t.send('/api/webhooks/unset', await githubDelivery());
  assert.equal(t.logged.length, 3);
  assert.doesNotMatch(t.logged.join('\n'), new RegExp(['hunter2', 'private', 'c0ffee', 'opened', API_KEY, SIGNING_KEY].join('|')));
});

test('a sender that breaks off is no reason to log what it sent', async () => {
  const t = edgeBefore(accepting);
  const body = new ReadableStream({ start: (stream) => stream.error(new Error('hunter2')) });
  const response = await t.send('/api/webhooks/github', { ...(await githubDelivery()), body, duplex: 'half' });
  assert.equal(response.status, 500);
  assert.deepEqual(t.logged, ['{"level":"error","message":"a request failed","error":"Error"}']);
});

test('a configuration that lacks something serves nothing, and one bad webhook costs only itself', () => {
  const environment = environmentFor('https://api.internal');
  for (const missing of ['CENTAUR_API_URL', 'CENTAUR_API_KEY', 'CENTAUR_EDGE_SIGNING_KEY']) {
    const { options, problems } = readConfig({ ...environment, [missing]: undefined });
    assert.equal(options, undefined, missing);
    assert.match(problems.join(), new RegExp(missing));
  }
  assert.deepEqual([...(readConfig({ ...environment, CENTAUR_WEBHOOKS: '{' }).options?.webhooks ?? ['?'])], []);
  const declared = [
    { slug: 'a', auth: { type: 'bearer', secret_ref: 'T', header: 'X-Api-Key' } },
    { slug: 'b', auth: { type: 'basic' } },
    { slug: 'c', auth: 'none' },
  ];
  const { options, problems } = readConfig({ ...environment, CENTAUR_WEBHOOKS: declared });
  assert.deepEqual([...(options?.webhooks.keys() ?? [])], ['c']);
  assert.equal(problems.length, 2);
});

test('a Worker is one file that needs nothing else, and answers 503 until it is configured', async () => {
  const code = buildEdge('worker');
  assert.doesNotMatch(code, /^import /m);
  const statusWith = async (environment: object): Promise<number> => {
    const fresh = (await import(
      `data:text/javascript,${encodeURIComponent(`${code}// ${JSON.stringify(environment)}`)}`
    )) as typeof import('./worker.ts');
    return (await fresh.default.fetch(new Request(HOST), { ...environment })).status;
  };
  assert.equal(await statusWith({}), 503);
  assert.equal(await statusWith({ ...environmentFor('https://api.internal'), CENTAUR_WEBHOOKS: [] }), 404);
});

test('on Node: real sockets, a header sent twice, and a body that is too large', async () => {
  await using api = await startFakeApi();
  const { options } = readConfig(environmentFor(api.url));
  assert.ok(options !== undefined);
  const server = serveEdge(createEdge(options));
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => new Promise<void>((done) => void server.close(() => done())));
  cleanup.defer(() => server.closeAllConnections());
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}/api/webhooks/github`;
  const delivery = await githubDelivery();
  assert.equal((await fetch(url, delivery)).status, 202);
  assert.equal(await sourceOf(api.arrived[0] as Arrived), '127.0.0.1');

  const raw = async (lines: readonly string[]): Promise<string> => {
    const socket = connect(port, '127.0.0.1');
    socket.end(['POST /api/webhooks/github HTTP/1.1', 'Host: x', 'Connection: close', ...lines].join('\r\n'));
    return text(socket);
  };
  const signature = `X-Hub-Signature-256: ${(delivery.headers as Record<string, string>)['x-hub-signature-256']}`;
  const twice = await raw(['Content-Type: application/json', `Content-Length: ${BODY.length}`, signature, signature, '', BODY]);
  assert.match(twice, /^HTTP\/1\.1 401 [^]*the signature is ambiguous/);
  const large = await raw(['Content-Type: application/json', 'Transfer-Encoding: chunked', '', '800', 'x'.repeat(2048), '0', '', '']);
  assert.match(large, /^HTTP\/1\.1 413 /);
  assert.equal(api.arrived.length, 1);

  const trace = connect(port, '127.0.0.1');
  trace.end('TRACE /api/webhooks/github HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.match(await text(trace), /^HTTP\/1\.1 400 /);

  const endless = connect(port, '127.0.0.1');
  endless.write('POST /api/webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n');
  endless.write(`800\r\n${'x'.repeat(2048)}\r\n`);
  assert.match(await text(endless), /^HTTP\/1\.1 413 /, 'before the body has ended');
});

test('on Node: a refusal is heard even when it comes later than the end of reading', async () => {
  const server = serveEdge({
    async fetch(request) {
      const reader = request.body?.getReader();
      await reader?.read();
      await reader?.cancel();
      await new Promise((done) => setTimeout(done, 20));
      return new Response('late', { status: 413 });
    },
  });
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => new Promise<void>((done) => void server.close(() => done())));
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  socket.write('POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n');
  assert.match(await text(socket), /^HTTP\/1\.1 413 [^]*late/);
});

test('on Node: an API that is not there is a 502', async () => {
  const nobody = createServer();
  await new Promise<void>((done) => nobody.listen(0, '127.0.0.1', done));
  const { port } = nobody.address() as AddressInfo;
  await new Promise((done) => nobody.close(done));
  const { options } = readConfig(environmentFor(`http://127.0.0.1:${port}`));
  assert.ok(options !== undefined);
  assert.equal((await createEdge(options).fetch(new Request(`${HOST}/api/webhooks/github`, await githubDelivery()), null)).status, 502);
});

test('a Worker believes CF-Connecting-IP on Cloudflare alone', async () => {
  await using api = await startFakeApi();
  for (const [source, expected] of [
    ['cloudflare', '203.0.113.9'],
    ['', null],
  ] as const) {
    // a module of its own each time: a Worker keeps its edge
    const { default: worker } = (await import(`./worker.ts?${source}`)) as typeof import('./worker.ts');
    const init = await githubDelivery({ headers: { 'cf-connecting-ip': '203.0.113.9' } });
    const environment = { ...environmentFor(api.url), CENTAUR_EDGE_SOURCE: source };
    assert.equal((await worker.fetch(new Request('https://edge/api/webhooks/github', init), environment)).status, 202);
    assert.equal(await sourceOf(api.arrived.at(-1) as Arrived), expected);
  }
});

test('a secret that anybody could guess verifies nothing, and is named', () => {
  const { options, problems } = readConfig({ ...environmentFor('https://api.internal/'), GITHUB_SECRET: '\n' });
  assert.deepEqual(options?.webhooks.get('github')?.secrets, []);
  assert.ok(problems.some((problem) => problem.startsWith('GITHUB_SECRET: is blank')));
});
