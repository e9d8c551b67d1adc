import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { hmac, utf8 } from './encoding.ts';
import { type SampleOptions, type SampleProvider, signSample } from './sign.ts';
import type { HmacAuth, WebhookAuth } from './types.ts';
import { type Verdict, verifyWebhook } from './verify.ts';

const NOW = 1_800_000_000;
const BODY = '{"id":1}';
const SECRET = 'correct horse';
const AUTH: Readonly<Record<SampleProvider, WebhookAuth>> = {
  github: { type: 'github', secretRef: 'S' },
  stripe: { type: 'stripe', secretRef: 'S', toleranceSeconds: 300 },
  slack: { type: 'slack', secretRef: 'S', toleranceSeconds: 300 },
  standard_webhooks: { type: 'standard_webhooks', secretRef: 'S', toleranceSeconds: 300 },
  hmac: { type: 'hmac', secretRef: 'S', header: 'x-webhook-signature', prefix: 'sha256=', encoding: 'hex', algorithm: 'sha256' },
  bearer: { type: 'bearer', secretRef: 'S', header: 'authorization', scheme: 'Bearer' },
};
const PROVIDERS = Object.keys(AUTH) as SampleProvider[];
const TIMED = ['stripe', 'slack', 'standard_webhooks'] as const;

function verify(
  auth: WebhookAuth,
  headers: Headers | Record<string, string>,
  secrets = [SECRET],
  body: string = BODY,
  nowSeconds = NOW,
): Promise<Verdict> {
  return verifyWebhook(auth, { headers: new Headers(headers), rawBody: utf8(body), nowSeconds }, secrets);
}

async function reason(...args: Parameters<typeof verify>): Promise<string> {
  const verdict = await verify(...args);
  return verdict.ok ? 'ok' : verdict.reason;
}

const sign = (provider: SampleProvider, options: Partial<SampleOptions> = {}): Promise<Record<string, string>> =>
  signSample(provider, SECRET, BODY, { nowSeconds: NOW, ...options });

const hmacHex = (text: string, algorithm = 'sha256'): string => createHmac(algorithm, SECRET).update(text).digest('hex');

test('takes what the providers publish as examples', async () => {
  assert.equal(
    await reason(
      AUTH.github,
      { 'x-hub-signature-256': 'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17' },
      ["It's a Secret to Everybody"],
      'Hello, World!',
    ),
    'ok',
  );
  assert.equal(
    await reason(
      AUTH.slack,
      {
        'x-slack-request-timestamp': '1531420618',
        'x-slack-signature': 'v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503',
      },
      ['8f742231b10e8888abcd99yyyzzz85a5'],
      'token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar' +
        '&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com' +
        '%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c',
      1_531_420_618,
    ),
    'ok',
  );
  assert.equal(
    await reason(
      AUTH.standard_webhooks,
      {
        'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
        'webhook-timestamp': '1614265330',
        'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
      },
      ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'],
      '{"test": 2432232314}',
      1_614_265_330,
    ),
    'ok',
  );
});

for (const provider of PROVIDERS) {
  test(`${provider}: takes what its secret signed, under the old and the new secret while it is rotated`, async () => {
    const headers = await sign(provider);
    assert.equal(await reason(AUTH[provider], headers), 'ok');
    assert.equal(await reason(AUTH[provider], headers, ['new', SECRET]), 'ok');
    assert.equal(await reason(AUTH[provider], headers, [SECRET, 'old']), 'ok');
  });

  test(`${provider}: refuses other secrets, no secret, an empty secret and no signature`, async () => {
    const headers = await sign(provider);
    assert.equal(await reason(AUTH[provider], headers, ['other', SECRET.toUpperCase()]), 'invalid');
    assert.equal(await reason(AUTH[provider], headers, []), 'invalid');
    assert.equal(await reason(AUTH[provider], headers, ['']), 'invalid');
    assert.equal(await reason(AUTH[provider], {}), 'missing');
  });
}

for (const provider of PROVIDERS.filter((each) => each !== 'bearer')) {
  test(`${provider}: refuses a body of which one byte was changed`, async () => {
    assert.equal(await reason(AUTH[provider], await sign(provider), [SECRET], '{"id":2}'), 'invalid');
    assert.equal(await reason(AUTH[provider], await sign(provider), [SECRET], ''), 'invalid');
  });
}

for (const provider of TIMED) {
  test(`${provider}: refuses what is older or newer than the tolerance, to the second`, async () => {
    const headers = await sign(provider);
    assert.equal(await reason(AUTH[provider], headers, [SECRET], BODY, NOW + 300), 'ok');
    assert.equal(await reason(AUTH[provider], headers, [SECRET], BODY, NOW + 301), 'stale');
    assert.equal(await reason(AUTH[provider], headers, [SECRET], BODY, NOW - 301), 'stale');
  });

  test(`${provider}: tells nobody without the secret that a time is stale`, async () => {
    assert.equal(await reason(AUTH[provider], await sign(provider), ['other'], BODY, NOW + 301), 'invalid');
  });
}

test('refuses a header that was sent twice, even when both are right', async () => {
  for (const provider of PROVIDERS.filter((each) => each !== 'bearer')) {
    const signed = await sign(provider);
    const headers = new Headers(signed);
    const [name, value] = Object.entries(signed).find(([each]) => each.endsWith('signature') || each.endsWith('-256')) as [string, string];
    headers.append(name, value);
    assert.equal(await reason(AUTH[provider], headers), 'ambiguous', provider);
  }
  const bearer = new Headers({ authorization: 'Bearer wrong' });
  bearer.append('authorization', `Bearer ${SECRET}`);
  assert.equal(await reason(AUTH.bearer, bearer), 'ambiguous');
});

test('refuses a timestamp that was sent twice', async () => {
  for (const [provider, name] of [
    ['slack', 'x-slack-request-timestamp'],
    ['standard_webhooks', 'webhook-timestamp'],
    ['standard_webhooks', 'webhook-id'],
  ] as const) {
    const headers = new Headers(await sign(provider));
    headers.append(name, String(NOW));
    assert.equal(await reason(AUTH[provider], headers), 'ambiguous', name);
  }
});

test('hmac: takes either case of hex, both alphabets of base64, other hashes, and no prefix', async () => {
  const auth = AUTH.hmac as HmacAuth;
  assert.equal(await reason(auth, { [auth.header]: `sha256=${hmacHex(BODY).toUpperCase()}` }), 'ok');
  for (const algorithm of ['sha1', 'sha256', 'sha512'] as const) {
    const mac = createHmac(algorithm, SECRET).update(BODY);
    const base64 = { ...auth, algorithm, prefix: '', encoding: 'base64' } as const;
    const text = mac.digest('base64');
    assert.equal(await reason(base64, { [auth.header]: text }), 'ok', algorithm);
    assert.equal(
      await reason(base64, { [auth.header]: text.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '') }),
      'ok',
      algorithm,
    );
  }
});

test('hmac: with a timestamp header the time is signed before the body', async () => {
  const auth: HmacAuth = { ...(AUTH.hmac as HmacAuth), timestampHeader: 'x-time', toleranceSeconds: 10 };
  const headers = { 'x-webhook-signature': `sha256=${hmacHex(`${NOW}.${BODY}`)}`, 'x-time': String(NOW) };
  assert.equal(await reason(auth, headers), 'ok');
  assert.equal(await reason(auth, { ...headers, 'x-time': String(NOW + 1) }), 'invalid');
  assert.equal(await reason(auth, { 'x-webhook-signature': headers['x-webhook-signature'] }), 'missing');
  assert.equal(await reason(auth, headers, [SECRET], BODY, NOW + 11), 'stale');
  assert.equal(await reason(auth, { ...headers, 'x-webhook-signature': `sha256=${hmacHex(BODY)}` }), 'invalid');
});

test('a body of any size is verified alike', async () => {
  for (const size of [0, 65_535, 65_536, 300_000]) {
    const body = 'x'.repeat(size);
    const headers = { 'x-hub-signature-256': `sha256=${hmacHex(body)}` };
    assert.equal(await reason(AUTH.github, headers, ['other', SECRET], body), 'ok', String(size));
    assert.equal(await reason(AUTH.github, headers, ['other'], body), 'invalid', String(size));
  }
});

test('stripe: any of several v1 will do, and a v0 never', async () => {
  const right = hmacHex(`${NOW}.${BODY}`);
  const wrong = '0'.repeat(64);
  assert.equal(await reason(AUTH.stripe, { 'stripe-signature': `t=${NOW},v1=${wrong},v1=${right},v0=${wrong}` }), 'ok');
  assert.equal(await reason(AUTH.stripe, { 'stripe-signature': `t=${NOW},v0=${right}` }), 'malformed');
  assert.equal(await reason(AUTH.stripe, { 'stripe-signature': `t=${NOW}${`,v1=${right}`.repeat(17)}` }), 'malformed');
});

test('bearer: takes the scheme in any case, a header of its own, and a token without a scheme', async () => {
  assert.equal(await reason(AUTH.bearer, { authorization: `bearer   ${SECRET}` }), 'ok');
  assert.equal(await reason(AUTH.bearer, { authorization: `Basic ${SECRET}` }), 'invalid');
  const gitlab = { type: 'bearer', secretRef: 'S', header: 'x-gitlab-token', scheme: '' } as const;
  assert.equal(await reason(gitlab, { 'x-gitlab-token': SECRET }), 'ok');
  assert.equal(await reason(gitlab, { 'x-gitlab-token': SECRET.slice(0, -1) }), 'invalid');
  assert.equal(await reason(gitlab, { 'x-gitlab-token': `${SECRET}x` }), 'invalid');
});

test('answers each hostile signature with a refusal, and never throws', async () => {
  const junk = [
    'x',
    '=',
    ',',
    'sha256=',
    'sha256=zz',
    'sha256=abc',
    'v0=',
    'v1,',
    'v1,=',
    't=',
    't=,v1=',
    `t=${'9'.repeat(40)},v1=00`,
    't=-1,v1=00',
  ];
  const short = ['sha256=ab', 'v0=ab', `t=${NOW},v1=ab`, 'v1,YWI=', `sha256=${'0'.repeat(66)}`];
  const values = [
    ...junk,
    ...short,
    'sha1=00',
    'v0=v0=',
    'a'.repeat(100_000),
    'ÿ',
    '%00',
    `t=NaN,v1=${'0'.repeat(64)}`,
    'Bearer',
    'Bearer ',
  ];
  const names = [
    'x-hub-signature-256',
    'x-webhook-signature',
    'x-slack-signature',
    'stripe-signature',
    'webhook-signature',
    'authorization',
  ];
  for (const value of values) {
    const all = Object.fromEntries(names.map((name) => [name, value]));
    const headers = { ...all, 'x-slack-request-timestamp': String(NOW), 'webhook-id': 'a', 'webhook-timestamp': String(NOW) };
    for (const provider of PROVIDERS) assert.notEqual(await reason(AUTH[provider], headers), 'ok', `${provider} ${value.slice(0, 40)}`);
  }
});

test('nothing is ever signed with an empty key', async () => {
  await assert.rejects(hmac('sha256', utf8(''), utf8(BODY)), RangeError);
});

test('none: takes everything', async () => {
  assert.equal(await reason({ type: 'none' }, {}, []), 'ok');
});
