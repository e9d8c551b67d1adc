import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkPassword, createPasswords, makeTemporaryPassword } from './passwords.ts';

const CHEAP = { memory: 64, passes: 1, parallelism: 1 };

test('a password is right against its own hash and no other, and a hash says how it was made', async () => {
  const passwords = createPasswords();
  const hash = await passwords.hash('correct horse battery staple');
  assert.match(hash, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/);
  assert.equal(await passwords.verify('correct horse battery staple', hash), 'right');
  assert.equal(await passwords.verify('correct horse battery stapl', hash), 'wrong');
  assert.notEqual(await passwords.hash('correct horse battery staple'), hash);
});

test('a hash is what its parameters say', async () => {
  const passwords = createPasswords(CHEAP);
  const hash = await passwords.hash('one password');
  const { argon2Sync } = await import('node:crypto');
  const [, , , , salt = '', tag = ''] = hash.split('$');
  const parameters = { message: 'one password', nonce: Buffer.from(salt, 'base64'), memory: 64, passes: 1, parallelism: 1, tagLength: 32 };
  assert.equal(argon2Sync('argon2id', parameters).toString('base64').replace('=', ''), tag);
});

test('a hash of other parameters still counts, and is to be made anew', async () => {
  const before = await createPasswords(CHEAP).hash('one password');
  const now = createPasswords({ ...CHEAP, passes: 2 });
  assert.equal(await now.verify('one password', before), 'right, but made with other parameters');
  assert.equal(await now.verify('another password', before), 'wrong');
});

test('two forms of one text are one password', async () => {
  const passwords = createPasswords(CHEAP);
  assert.equal(await passwords.verify('cafe\u0301 au lait', await passwords.hash('caf\u00e9 au lait')), 'right');
});

test('no password is right where there is none', async () => {
  assert.equal(await createPasswords(CHEAP).verify('', null), 'wrong');
});

test('length is the only rule', () => {
  assert.throws(() => checkPassword('elevenchars', 'password'), /^UserError: password: expected at least 12 characters$/);
  // characters, and not code units
  assert.throws(() => checkPassword('🔑'.repeat(11), 'password'), /at least 12/);
  assert.throws(() => checkPassword('a'.repeat(1001), 'password'), /at most 1000/);
  checkPassword('aaaaaaaaaaaa', 'password');
});

test('more checks than there is room for are refused, and those before them end', async () => {
  const passwords = createPasswords({ ...CHEAP, memory: 4096 });
  const all = await Promise.allSettled(Array.from({ length: 60 }, () => passwords.verify('x', null)));
  const refused = all.filter((each) => each.status === 'rejected');
  assert.equal(refused.length, 60 - 2 - 32);
  assert.match(String(refused[0]?.reason), /too many passwords are being checked/);
  assert.equal(await passwords.verify('x', null), 'wrong');
});

test('a temporary password is not guessed, and is easy to read out', () => {
  const many = new Set(Array.from({ length: 100 }, makeTemporaryPassword));
  assert.equal(many.size, 100);
  for (const each of many) assert.match(each, /^[a-hjkmnp-z2-9]{5}(?:-[a-hjkmnp-z2-9]{5}){3}$/);
});
