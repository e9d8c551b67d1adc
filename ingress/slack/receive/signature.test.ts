import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refuseEarly, sign, type SignedRequest, type Verdict, verify } from './signature.ts';

const NOW = 1_800_000_000_000;
const BODY = '{"type":"event_callback"}';
const at = (seconds: number) => NOW + seconds * 1000;

function signed(body: string, secret: string, ms: number): SignedRequest {
  const headers = sign(secret, body, ms);
  return { body: Buffer.from(body), signature: headers['x-slack-signature'], timestamp: headers['x-slack-request-timestamp'] };
}

const right = signed(BODY, 'secret', NOW);

const CASES: readonly (readonly [what: string, request: SignedRequest, verdict: Verdict])[] = [
  ['as Slack signs it', right, 'signed'],
  ['five minutes old', signed(BODY, 'secret', at(-300)), 'signed'],
  ['five minutes ahead', signed(BODY, 'secret', at(300)), 'signed'],
  ['older', signed(BODY, 'secret', at(-301)), 'stale'],
  ['further ahead', signed(BODY, 'secret', at(301)), 'stale'],
  ['by another secret', signed(BODY, 'other', NOW), 'forged'],
  ['another body', { ...right, body: Buffer.from(`${BODY} `) }, 'forged'],
  ['another time', { ...right, timestamp: String(NOW / 1000 + 1) }, 'forged'],
  ['no signature', { ...right, signature: undefined }, 'unsigned'],
  ['no timestamp', { ...right, timestamp: undefined }, 'unsigned'],
  ['an empty signature', { ...right, signature: '' }, 'forged'],
  ['half a signature', { ...right, signature: right.signature?.slice(0, 30) }, 'forged'],
  ['a version that we do not know', { ...right, signature: right.signature?.replace('v0=', 'v1=') }, 'forged'],
  ['in capitals', { ...right, signature: right.signature?.toUpperCase() }, 'forged'],
  ['a timestamp that is no number', { ...right, timestamp: '1e9' }, 'forged'],
  ['a timestamp of not a number', { ...right, timestamp: 'NaN' }, 'forged'],
  ['a negative timestamp', { ...right, timestamp: '-1' }, 'forged'],
];

for (const [what, request, verdict] of CASES)
  test(`a request: ${what}: ${verdict}`, () => {
    assert.equal(verify('secret', request, NOW), verdict);
    // what can be told without the body is told without it
    const isFormed = /^v0=[0-9a-f]{64}$/.test(request.signature ?? '') && /^\d+$/.test(request.timestamp ?? '');
    if (verdict === 'stale' || verdict === 'unsigned' || !isFormed) assert.equal(refuseEarly(request, NOW), verdict);
  });

test('bytes that are no text are signed as they are', () => {
  const body = Buffer.from([0xff, 0xfe, 0x00, 0x7b]);
  assert.equal(verify('secret', { ...right, body }, NOW), 'forged');
});

test('a request is signed as Slack documents it', () => {
  // docs.slack.dev: Verifying requests
  const body =
    'token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c';
  const signature = 'v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503';
  const request = { body: Buffer.from(body), signature, timestamp: '1531420618' };
  assert.equal(verify('8f742231b10e8888abcd99yyyzzz85a5', request, 1_531_420_618_000), 'signed');
});
