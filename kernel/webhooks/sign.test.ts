import assert from 'node:assert/strict';
import { test } from 'node:test';
import { utf8 } from './encoding.ts';
import { SAMPLE_PROVIDERS, sampleBody, signSample } from './sign.ts';
import type { WebhookAuth } from './types.ts';
import { verifyWebhook } from './verify.ts';

const AT = { nowSeconds: 1_800_000_000 };

test('samples are signed as the webhook wants its signature or token', async () => {
  const hmac = { header: 'x-proof', prefix: 'v=', encoding: 'base64', algorithm: 'sha512', timestampHeader: 'x-time' } as const;
  const bearer = { header: 'x-token', scheme: '' };
  const auths: [WebhookAuth, Record<string, string>][] = [
    [{ type: 'hmac', secretRef: 'S', ...hmac }, await signSample('hmac', 'secret', '{}', { ...AT, hmac })],
    [{ type: 'bearer', secretRef: 'S', ...bearer }, await signSample('bearer', 'secret', '{}', { ...AT, bearer })],
  ];
  for (const [auth, headers] of auths) {
    assert.deepEqual(await verifyWebhook(auth, { headers: new Headers(headers), rawBody: utf8('{}'), ...AT }, ['secret']), { ok: true });
  }
});

test('two samples are two deliveries, unless they are given one id', async () => {
  const id = async (deliveryId?: string) =>
    (await signSample('github', 'secret', '{}', deliveryId === undefined ? AT : { ...AT, deliveryId }))['x-github-delivery'];
  assert.notEqual(await id(), await id());
  assert.equal(await id('one'), 'one');
});

test('each provider has a body, with the event that was asked for', () => {
  for (const provider of SAMPLE_PROVIDERS) assert.equal(typeof JSON.parse(sampleBody(provider, AT)), 'object', provider);
  for (const event of ['issues', 'push', 'pull_request', 'issue_comment', 'ping']) {
    const body = JSON.parse(sampleBody('github', { ...AT, event })) as { repository: { full_name: string } };
    assert.equal(body.repository.full_name, 'octocat/hello-world');
  }
  assert.equal((JSON.parse(sampleBody('stripe', { ...AT, event: 'charge.failed' })) as { type: string }).type, 'charge.failed');
  assert.equal((JSON.parse(sampleBody('slack', { ...AT, event: 'message' })) as { event: { type: string } }).event.type, 'message');
});
