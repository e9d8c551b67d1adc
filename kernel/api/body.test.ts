import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeFault, readJson } from './body.ts';

const limits = { single: 20, many: 40 };
const send = (body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = { 'content-type': 'application/json' }) =>
  readJson(new Request('http://api/', { method: 'POST', body, headers }), limits);

test('a body is read as JSON, whatever parameters its type has', async () => {
  assert.deepEqual(await send('{"a":1}'), { a: 1 });
  assert.deepEqual(await send('[1]', { 'content-type': 'application/json; charset=utf-8' }), [1]);
  assert.deepEqual(await send('null', { 'content-type': 'application/merge-patch+json' }), null);
});

test('a body that is not sent as JSON is refused before it is read', async () => {
  await assert.rejects(send('a=1', { 'content-type': 'application/x-www-form-urlencoded' }), {
    code: 'UNSUPPORTED_MEDIA_TYPE',
    message: /form-urlencoded.*send application\/json/,
  });
  await assert.rejects(send('{}', { 'content-type': 'application/jsonp' }), { code: 'UNSUPPORTED_MEDIA_TYPE' });
  await assert.rejects(send(new Uint8Array([1]), {}), { code: 'UNSUPPORTED_MEDIA_TYPE', message: /no Content-Type/ });
  await assert.rejects(send('{}', { 'content-type': 'application/json', 'content-encoding': 'gzip' }), {
    code: 'UNSUPPORTED_MEDIA_TYPE',
    message: /gzip/,
  });
});

test('an array may be longer than an object', async () => {
  const long = JSON.stringify(['x'.repeat(30)]);
  assert.deepEqual(await send(`  ${long}`), ['x'.repeat(30)]);
  await assert.rejects(send(JSON.stringify({ a: 'x'.repeat(30) })), { code: 'TOO_LARGE', message: /limit of 20 bytes/ });
  await assert.rejects(send(JSON.stringify(['x'.repeat(50)])), { code: 'TOO_LARGE', message: /limit of 40 bytes/ });
});

test('a body without an announced length is refused as soon as it is too long', async () => {
  let sent = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      sent += 1;
      controller.enqueue(Buffer.from(sent === 1 ? '{"a":"' : 'xxxxxxxx'));
    },
  });
  const request = new Request('http://api/', {
    method: 'POST',
    body,
    duplex: 'half',
    headers: { 'content-type': 'application/json' },
  });
  await assert.rejects(readJson(request, limits), { code: 'TOO_LARGE' });
  assert.ok(sent < 6, `read ${sent} chunks`);
});

test('bytes that are not UTF-8 are refused', async () => {
  await assert.rejects(send(new Uint8Array([0x22, 0xff, 0x22])), { code: 'MALFORMED_JSON', message: /UTF-8/ });
});

test('a fault is told with its place', () => {
  const faults: [string, string][] = [
    ['', 'it is empty'],
    [' \n', 'it is empty'],
    ['abc', 'unexpected "a" at line 1, column 1'],
    ['{a', 'unexpected "a" at line 1, column 2'],
    ['{"a":1,}', 'unexpected "}" at line 1, column 8'],
    ['{"a":1,\n "b" 2}', 'unexpected "2" at line 2, column 6'],
    ['{"a":tru}', 'unexpected "t" at line 1, column 6'],
    ['{"a":1}}', 'unexpected "}" at line 1, column 8'],
    ['[1,]', 'unexpected "]" at line 1, column 4'],
    ['[1}', 'unexpected "}" at line 1, column 3'],
    ['[01]', 'unexpected "1" at line 1, column 3'],
    ["{'a':1}", 'unexpected "\'" at line 1, column 2'],
    ['{"a":NaN}', 'unexpected "N" at line 1, column 6'],
    ['"\\x"', 'unexpected "\\\\" at line 1, column 2'],
    ['["a\nb"]', 'unexpected "\\n" at line 1, column 4'],
    ['["\\u12"]', 'unexpected "\\\\" at line 1, column 3'],
    ['["\\u12', 'it ends too early, at line 1, column 7'],
    ['"🙂" 🙂', 'unexpected "🙂" at line 1, column 6'],
    ['1 2', 'unexpected "2" at line 1, column 3'],
    ['{"a":1', 'it ends too early, at line 1, column 7'],
    ['{"a":', 'it ends too early, at line 1, column 6'],
    ['["ab', 'it ends too early, at line 1, column 5'],
    ['["ab\\', 'it ends too early, at line 1, column 6'],
    ['[tru', 'it ends too early, at line 1, column 5'],
    ['{"a": -', 'it ends too early, at line 1, column 8'],
  ];
  for (const [text, told] of faults) {
    assert.throws(() => JSON.parse(text), `${text} is JSON after all`);
    assert.equal(describeFault(text), told, text);
  }
});

test('a fault in a long body is found in linear time', () => {
  const started = performance.now();
  assert.match(describeFault(`[${'{"key":"value"},'.repeat(60_000)}x]`), /unexpected "x"/);
  assert.match(describeFault('['.repeat(1_000_000)), /too early/);
  assert.match(describeFault(`["${'a'.repeat(1_000_000)}`), /too early/);
  assert.match(describeFault(`["${'\\n'.repeat(1_000_000)}`), /too early/);
  // quadratic time would be an hour
  assert.ok(performance.now() - started < 60_000);
});
