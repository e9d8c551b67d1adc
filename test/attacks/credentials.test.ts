import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { after, before, beforeEach, describe, test } from 'node:test';
import { callThrough, type Service, startService } from '../support/firewall.ts';
import { decide, pendingApproval, publish } from './approvals.ts';
import { assertDenied, assertNothingLeaked, type Scene, startScene } from './support.ts';

const CLIENT_SECRET = 'oauth-client-secret-with-length-42';
const AWS_SECRET = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY';

describe('a token that is made on the way', () => {
  let scene: Scene;
  let tokens: Service;
  let minted: string[];
  let mode: 'fine' | 'refused' | 'broken';
  let names = 0;
  before(async () => {
    minted = [];
    tokens = await startService((_, response) => {
      if (mode === 'broken') return void response.destroy();
      if (mode === 'refused') return void response.writeHead(401).end('{"error":"invalid_client"}');
      const token = `minted-token-${'abcdefghij'.repeat(2)}-${minted.length}`;
      minted.push(token);
      response.end(
        JSON.stringify({ access_token: token, token_type: 'Bearer', expires_in: 3600, refresh_token: 'refresh-token-of-the-service-1' }),
      );
    });
    scene = await startScene({ handler: (request, response) => response.end(`you sent ${request.headers.authorization}`) });
    await scene.t.configure({ allow_cidrs: ['127.0.0.1'], ca_pems: [scene.service.caPem, tokens.caPem] });
  });
  after(async () => {
    await scene[Symbol.asyncDispose]();
    await tokens[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    mode = 'fine';
    tokens.seen.length = 0;
    await scene.reset();
  });

  async function oauth(): Promise<{
    readonly name: string;
    readonly token: string;
    readonly placeholder: string;
    readonly tokenUrl: string;
  }> {
    const name = `OAUTH_${(names += 1)}`;
    const tokenUrl = `https://localhost:${tokens.port}/oauth/token`;
    await scene.t.secret(name, {
      type: 'oauth_token',
      value: `${CLIENT_SECRET}-${name}`,
      hosts: [scene.authority],
      match_headers: ['authorization'],
      options: { token_url: tokenUrl, client_id: 'me', grant: 'client_credentials' },
    });
    const lease = await scene.t.lease([name]);
    await scene.reset();
    return { name, token: lease.token, placeholder: lease.placeholders[name] as string, tokenUrl };
  }
  const secrets = () => [CLIENT_SECRET, ...minted];

  test('is sent to the service, and blanked when it is echoed at once', async () => {
    const { name, token, placeholder } = await oauth();
    const answer = await callThrough(scene.t, token, scene.url('/'), { headers: { authorization: `Bearer ${placeholder}` } });
    assert.equal(answer.status, 200, answer.body);
    assert.equal(scene.service.seen[0]?.headers.authorization, `Bearer ${minted.at(-1)}`);
    assert.equal(new URLSearchParams(tokens.seen[0]?.body).get('client_secret'), `${CLIENT_SECRET}-${name}`);
    await assertNothingLeaked(scene.t, answer, [token], secrets());
    assert.equal(answer.body, `you sent Bearer ${'*'.repeat(minted.at(-1)?.length ?? 0)}`);
  });

  test('is blanked in the answers after the first', async () => {
    const { token, placeholder } = await oauth();
    await callThrough(scene.t, token, scene.url('/'), { headers: { authorization: `Bearer ${placeholder}` } });
    const answer = await callThrough(scene.t, token, scene.url('/'), { headers: { authorization: `Bearer ${placeholder}` } });
    assert.equal(tokens.seen.length, 1, 'one token is enough for both');
    await assertNothingLeaked(scene.t, answer, [token], secrets());
  });

  test('is stood for by a placeholder when a client asks the token endpoint itself', async () => {
    const { token, placeholder, tokenUrl } = await oauth();
    const answer = await callThrough(scene.t, token, tokenUrl, {
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: 'grant_type=client_credentials&client_id=me&client_secret=dummy',
    });
    assert.equal(answer.status, 200, answer.body);
    assert.equal((JSON.parse(answer.body) as { access_token: string }).access_token, placeholder);
    assert.equal(tokens.seen.length, 0, 'the endpoint was not asked');
    await assertNothingLeaked(scene.t, answer, [token], secrets());
  });

  for (const [how, status, code] of [
    ['refused', 502, 'TOKEN_REFUSED'],
    ['broken', 502, 'UPSTREAM_FAILED'],
  ] as const) {
    test(`that cannot be made refuses the request: ${how}`, async () => {
      const { token, placeholder } = await oauth();
      mode = how;
      const answer = await callThrough(scene.t, token, scene.url('/'), { headers: { authorization: `Bearer ${placeholder}` } });
      await assertDenied(scene, answer, { status, code }, { tokens: [token], secrets: secrets() });
    });
  }
});

describe('a value that is rotated', () => {
  test('is blanked in the answer to the request that waited while it was rotated', async () => {
    const { rotateSecret } = await import('../../kernel/vault/index.ts');
    await using scene = await startScene({
      config: { limits: { approvalMs: 60_000 } },
      handler: (request, response) => response.end(`you sent ${String(request.headers['x-api-key'])}`),
    });
    await publish(scene, 'approve');
    const call = scene.call('/', { headers: { 'x-api-key': scene.placeholder } });
    const id = await pendingApproval(scene);
    const next = 'sk-ant-api03-Second1Value2After3Rotation4Here5';
    await rotateSecret({ store: scene.t.store, audit: scene.t.installation.audit, master: scene.t.master }, 'test', 'API_KEY', next);
    await callThrough(scene.t, scene.lease.token, scene.url('/elsewhere'), { method: 'TRACE' });
    await decide(scene, id, 'approved');
    const answer = await call;
    assert.equal(answer.status, 200, answer.body);
    assert.match(String(scene.service.seen[0]?.headers['x-api-key']), /^sk-ant-/);
    await assertNothingLeaked(scene.t, answer, [scene.lease.token], [next]);
  });
});

describe('a signature', () => {
  let scene: Scene;
  before(async () => {
    scene = await startScene({ handler: (request, response) => response.end(JSON.stringify(request.headers)) });
  });
  after(() => scene[Symbol.asyncDispose]());
  beforeEach(() => scene.reset());

  let made = 0;
  /** Of a name of its own each time: what is changed of a secret, the firewall is told a moment later. */
  async function aws(options: Record<string, unknown> = {}) {
    made += 1;
    const name = `AWS_${made}`;
    await scene.t.secret(name, {
      type: 'aws_sigv4',
      value: JSON.stringify({ access_key_id: 'AKIAIOSFODNN7REALKEY', secret_access_key: AWS_SECRET }),
      hosts: [scene.authority],
      match_headers: ['authorization'],
      options,
    });
    const lease = await scene.t.lease([name]);
    await scene.reset();
    return { lease, placeholder: lease.placeholders[name] as string };
  }

  test('of AWS is made anew with the real key, as an independent computation makes it', async () => {
    const { lease, placeholder } = await aws();
    const body = '{"TableName":"things"}';
    const answer = await callThrough(scene.t, lease.token, scene.url('/a%20b/c?z=1&a=x%2Fy&a=b'), {
      method: 'POST',
      body,
      headers: {
        'content-type': 'application/x-amz-json-1.0',
        'x-amz-target': 'DynamoDB_20120810.GetItem',
        'x-amz-date': '20200101T000000Z',
        authorization: `AWS4-HMAC-SHA256 Credential=${placeholder}/20200101/eu-west-1/dynamodb/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=${'0'.repeat(64)}`,
      },
    });
    assert.equal(answer.status, 200, answer.body);
    const [request] = scene.service.seen;
    const headers = request?.headers as Record<string, string>;
    const parts =
      /^AWS4-HMAC-SHA256 Credential=(AKIAIOSFODNN7REALKEY)\/(\d{8})\/eu-west-1\/dynamodb\/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/.exec(
        headers['authorization'] as string,
      );
    assert.ok(parts, headers['authorization']);
    const [, , day = '', signed = '', signature] = parts;
    assert.ok(
      ['content-type', 'host', 'x-amz-date', 'x-amz-target'].every((name) => signed.split(';').includes(name)),
      signed,
    );
    const sha = (text: string) => createHash('sha256').update(text).digest('hex');
    const canonical = [
      'POST',
      '/a%2520b/c',
      'a=b&a=x%2Fy&z=1',
      ...signed.split(';').map((name) => `${name}:${headers[name]}`),
      '',
      signed,
      sha(body),
    ].join('\n');
    const stamp = headers['x-amz-date'] as string;
    assert.ok(Math.abs(Date.parse(stamp.replace(/^(.{4})(..)(..)T(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z')) - Date.now()) < 60_000, stamp);
    let key: Buffer = Buffer.from(`AWS4${AWS_SECRET}`);
    for (const part of [day, 'eu-west-1', 'dynamodb', 'aws4_request']) key = createHmac('sha256', key).update(part).digest();
    const text = `AWS4-HMAC-SHA256\n${stamp}\n${day}/eu-west-1/dynamodb/aws4_request\n${sha(canonical)}`;
    assert.equal(signature, createHmac('sha256', key).update(text).digest('hex'));
    await assertNothingLeaked(scene.t, answer, [lease.token], [AWS_SECRET]);
  });

  for (const [what, options, authorization, code] of [
    [
      'a region that it is not for',
      { regions: ['us-east-1'] },
      'Credential=PLACEHOLDER/20200101/eu-west-1/s3/aws4_request, SignedHeaders=host',
      'SCOPE_DENIED',
    ],
    [
      'a service that it is not for',
      { services: ['s3'] },
      'Credential=PLACEHOLDER/20200101/eu-west-1/iam/aws4_request, SignedHeaders=host',
      'SCOPE_DENIED',
    ],
    ['no scope', {}, 'PLACEHOLDER', 'NOT_SIGNED'],
  ] as const) {
    test(`of AWS is not made for ${what}`, async () => {
      const { lease, placeholder } = await aws(options);
      const answer = await callThrough(scene.t, lease.token, scene.url('/'), {
        headers: {
          authorization: `AWS4-HMAC-SHA256 ${authorization.replace('PLACEHOLDER', placeholder)}, Signature=${'0'.repeat(64)}`,
        },
      });
      await assertDenied(scene, answer, { status: 403, code }, { tokens: [lease.token], secrets: [AWS_SECRET] });
    });
  }

  test('over the body is what an independent computation makes, and holds the key back', async () => {
    const key = 'whsec_signing-key-of-some-length';
    await scene.t.secret('SIGNING', {
      type: 'hmac',
      value: key,
      hosts: [scene.authority],
      match_headers: ['x-signature'],
      options: { template: '{timestamp}.{method}.{path}.{body}', format: 't={timestamp},v1={signature}', timestamp_header: 'x-stamp' },
    });
    const lease = await scene.t.lease(['SIGNING']);
    await scene.reset();
    const body = '{"n":"ü"}';
    const answer = await callThrough(scene.t, lease.token, scene.url('/hook?a=1'), {
      body,
      headers: { 'x-signature': lease.placeholders['SIGNING'] },
    });
    assert.equal(answer.status, 200, answer.body);
    const headers = scene.service.seen[0]?.headers as Record<string, string>;
    const stamp = headers['x-stamp'] as string;
    const digest = createHmac('sha256', key).update(`${stamp}.POST./hook?a=1.${body}`).digest('hex');
    assert.equal(headers['x-signature'], `t=${stamp},v1=${digest}`);
    await assertNothingLeaked(scene.t, answer, [lease.token], [key]);
    await scene.reset();
    const asValue = await callThrough(scene.t, lease.token, scene.url('/hook'), { headers: { 'x-other': lease.placeholders['SIGNING'] } });
    await assertDenied(scene, asValue, { status: 403, code: 'PLACEHOLDER_NOT_BOUND' });
  });

  test('is refused when its key cannot be had, and the request is not sent without it', async () => {
    await scene.t.secret('AWS_BROKEN', { type: 'aws_sigv4', value: 'this-is-no-json-object', hosts: [scene.authority] });
    const lease = await scene.t.lease(['AWS_BROKEN']);
    await scene.reset();
    const answer = await callThrough(scene.t, lease.token, scene.url('/'), {
      headers: {
        authorization: `AWS4-HMAC-SHA256 Credential=${lease.placeholders['AWS_BROKEN']}/20200101/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature=${'0'.repeat(64)}`,
      },
    });
    await assertDenied(
      scene,
      answer,
      { status: 503, code: 'SECRET_UNAVAILABLE' },
      { tokens: [lease.token], secrets: ['this-is-no-json-object'] },
    );
  });
});
