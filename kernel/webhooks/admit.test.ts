import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readRawBody, refuseHead, refuseUntyped } from './admit.ts';
import type { WebhookSpec } from './types.ts';

const SPEC: WebhookSpec = {
  slug: 'a',
  provider: null,
  auth: { type: 'none' },
  triggerKey: { type: 'body' },
  allowedMethods: ['POST', 'PUT'],
  allowedContentTypes: ['application/json'],
  maxBodyBytes: 10,
  rateLimit: null,
  filter: null,
  enabled: true,
};

const statusOf = (method: string, headers: Record<string, string>, spec = SPEC): number =>
  refuseHead(spec, method, new Headers(headers))?.status ?? 0;

test('a head is refused for its method, its type, its encoding and its announced size', () => {
  assert.equal(statusOf('post', { 'content-type': 'Application/JSON;charset=utf-8', 'content-length': '10' }), 0);
  assert.equal(statusOf('POST', {}), 0, 'without a body there is no type');
  assert.equal(statusOf('GET', {}), 405);
  assert.equal(refuseHead(SPEC, 'GET', new Headers())?.headers['allow'], 'POST, PUT');
  assert.equal(statusOf('POST', { 'content-type': 'text/plain' }), 415);
  assert.equal(statusOf('POST', { 'content-type': 'application/json, text/plain' }), 415);
  assert.equal(statusOf('POST', { 'content-type': 'text/plain' }, { ...SPEC, allowedContentTypes: null }), 0);
  assert.equal(statusOf('POST', { 'content-encoding': 'gzip' }), 415);
  assert.equal(statusOf('POST', { 'content-length': '11' }), 413);
});

test('a body is read to its limit and not beyond', async () => {
  const read = (...sizes: readonly number[]) => {
    const chunks = sizes.map((size) => new Uint8Array(size).fill(7));
    let cancelled = false;
    const stream = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          const chunk = chunks.shift();
          if (chunk === undefined) controller.close();
          else controller.enqueue(chunk);
        },
        cancel() {
          cancelled = true;
        },
      },
      { highWaterMark: 0 },
    );
    return readRawBody(stream, SPEC).then((body) => ({ body, cancelled, left: chunks.length }));
  };
  assert.deepEqual((await read(4, 6)).body, new Uint8Array(10).fill(7));
  const over = await read(4, 7, 1000, 1000);
  assert.equal('status' in over.body && over.body.status, 413);
  assert.deepEqual([over.cancelled, over.left], [true, 2]);
  assert.deepEqual(await readRawBody(null, SPEC), new Uint8Array(0));
});

test('a body says what it is, where not everything is taken', () => {
  const statusOfBody = (type: string | undefined, size: number, spec = SPEC) =>
    refuseUntyped(spec, new Headers(type === undefined ? {} : { 'content-type': type }), new Uint8Array(size))?.status ?? 0;
  assert.equal(statusOfBody(undefined, 1), 415);
  assert.equal(statusOfBody('', 1), 415);
  assert.equal(statusOfBody(undefined, 0), 0);
  assert.equal(statusOfBody('application/json', 1), 0);
  assert.equal(statusOfBody(undefined, 1, { ...SPEC, allowedContentTypes: null }), 0);
});
