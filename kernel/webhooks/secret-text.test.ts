import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readSecretText } from './secret-text.ts';

test('a secret that anybody could guess is none, and a line break at the end is no part of it', () => {
  for (const text of ['', '\n', ' ', '        ', 'x', 'short12', 'whsec_', 'whsec_AAAA', ' longer-than-8', 'longer-than-8\n\n']) {
    const read = readSecretText(text);
    assert.equal(read.ok, false, JSON.stringify(text));
    assert.ok(!read.ok && !read.message.includes('longer'), 'a message that quotes it');
  }
  for (const text of ['12345678', 'whsec_MTIzNDU2Nzg=', 'two words'])
    for (const end of ['', '\n', '\r\n']) assert.deepEqual(readSecretText(`${text}${end}`), { ok: true, text });
});
