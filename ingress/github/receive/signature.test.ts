import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { isSigned } from './signature.ts';

const body = Buffer.from('{"a":1}');
const sign = (secret: string, of: Uint8Array = body): string => `sha256=${createHmac('sha256', secret).update(of).digest('hex')}`;

test('only what was signed with the secret is', () => {
  // GitHub's own example, docs.github.com "Validating webhook deliveries"
  const documented = 'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17';
  assert.equal(isSigned("It's a Secret to Everybody", Buffer.from('Hello, World!'), documented), true);
  assert.equal(isSigned('secret', body, sign('secret')), true);
  for (const [what, header] of Object.entries({
    missing: undefined,
    empty: '',
    'of another secret': sign('other'),
    'of another body': sign('secret', Buffer.from('{"a":2}')),
    'without its name': sign('secret').slice(7),
    short: sign('secret').slice(0, -2),
    long: `${sign('secret')}00`,
    'of sha1': `sha1=${createHmac('sha1', 'secret').update(body).digest('hex')}`,
    'in large letters': sign('secret').toUpperCase(),
  }))
    assert.equal(isSigned('secret', body, header), false, what);
  assert.equal(isSigned('', body, sign('')), false, 'without a secret nothing is');
});
