/** The parts of the tool `stripe` that need no service. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toResult } from '../../userspace/tools/stripe/results.ts';

test('what could be used to pay is in no answer, of whatever kind its object is and however deep', () => {
  const secret = 'seti_1_secret_2';
  const results = [
    { id: 'cs_1', object: 'checkout.session', url: 'https://pay.example', client_secret: secret },
    {
      id: 'evt_1',
      object: 'event',
      type: 'setup_intent.created',
      data: {
        object: { id: 'seti_1', object: 'setup_intent', client_secret: secret, usage: 'off_session' },
        previous_attributes: { client_secret: secret, status: 'new', next: [{ secret }] },
      },
    },
    { id: 'in_1', object: 'invoice', lines: { object: 'list', data: [{ id: 'il_1', object: 'confirmation', client_secret: secret }] } },
    { id: 'whsec', object: 'webhook_endpoint', secret, url: 'https://shop.example' },
  ].map(toResult);
  assert.doesNotMatch(JSON.stringify(results), /secret_2/);
  assert.deepEqual(results[1]?.['data'], {
    object: { id: 'seti_1', object: 'setup_intent', usage: 'off_session' },
    previous_attributes: { status: 'new', next: [{}] },
  });
  assert.deepEqual(toResult({ id: 'x', object: 'thing', secretary: 'Ana' }), { id: 'x', object: 'thing', secretary: 'Ana' });
});
