import assert from 'node:assert/strict';
import { generateKeyPairSync, verify } from 'node:crypto';
import { test } from 'node:test';
import { appJwt, createTokenCache, type NewToken } from './auth.ts';

const T = 1_800_000_000_000;
const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });

test('an app signs who it is, for less than ten minutes', () => {
  const [head = '', claims = '', signature = ''] = appJwt('4711', privateKey, T).split('.');
  const read = (part: string): unknown => JSON.parse(Buffer.from(part, 'base64url').toString());
  assert.deepEqual(read(head), { alg: 'RS256', typ: 'JWT' });
  assert.deepEqual(read(claims), { iat: T / 1000 - 60, exp: T / 1000 + 540, iss: '4711' });
  assert.ok(verify('sha256', Buffer.from(`${head}.${claims}`), publicKey, Buffer.from(signature, 'base64url')));
});

test('a token is asked for once, and anew shortly before its end', async () => {
  let now = T;
  const asked: number[] = [];
  const made = Promise.withResolvers<void>();
  const cache = createTokenCache(
    async (installation): Promise<NewToken> => {
      asked.push(installation);
      await made.promise;
      return { token: `token ${asked.length}`, expiresAt: now + 3_600_000 };
    },
    () => now,
  );
  const both = Promise.all([cache.get(1), cache.get(1)]);
  made.resolve();
  assert.deepEqual(await both, ['token 1', 'token 1']);
  now += 3_600_000 - 6 * 60_000;
  assert.equal(await cache.get(1), 'token 1');
  now += 2 * 60_000;
  assert.equal(await cache.get(1), 'token 2');
  assert.equal(await cache.get(2), 'token 3');
  assert.deepEqual(asked, [1, 1, 2]);
  cache.drop(1, 'token 1');
  assert.equal(await cache.get(1), 'token 2', 'another one was refused');
  cache.drop(1, 'token 2');
  assert.equal(await cache.get(1), 'token 4');
});

test('a token that could not be had is asked for again', async () => {
  let tries = 0;
  const cache = createTokenCache(
    async () => {
      if (++tries === 1) throw new Error('away');
      return { token: 'x', expiresAt: T + 3_600_000 };
    },
    () => T,
  );
  await assert.rejects(cache.get(1), /away/);
  assert.equal(await cache.get(1), 'x');
});
