import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { createLog } from './log.ts';

const now = () => new Date('2026-01-31T09:00:00Z');

function lines(options: Partial<Parameters<typeof createLog>[0]>) {
  const written: string[] = [];
  const stream = new Writable({
    decodeStrings: false,
    write: (text: string, _encoding, done) => done(void written.push(text)),
  }) as NodeJS.WriteStream;
  return { written, log: createLog({ level: 'info', stream, now, ...options }) };
}

test('a line for machines is one JSON object with its time first', () => {
  const { written, log } = lines({ pretty: false });
  log({ level: 'warn', message: 'two\nlines', run_id: 'r1' });
  assert.deepEqual(written, ['{"time":"2026-01-31T09:00:00.000Z","level":"warn","message":"two\\nlines","run_id":"r1"}\n']);
});

test('a line for people is short and cannot move the cursor', () => {
  const { written, log } = lines({ pretty: true });
  log({ level: 'info', message: 'loaded \u001b[2J', workflow: 'a', webhooks: 0, gone: undefined });
  assert.match(written[0] ?? '', /^\d\d:\d\d:\d\d info  loaded \\x1b\[2J workflow=a webhooks=0\n$/);
});

test('levels below the least are not written', () => {
  const { written, log } = lines({ pretty: false });
  log({ level: 'debug', message: 'no' });
  assert.deepEqual(written, []);
});

test('every line passes the barrier, whichever its form', () => {
  const all: string[] = [];
  for (const pretty of [true, false]) {
    const { written, log } = lines({ pretty, component: 'worker', scrub: (line) => line.replaceAll('canary', '******') });
    log({ level: 'error', message: 'it had canary in it', details: { deep: ['canary'] }, run_id: 'r' });
    all.push(...written);
  }
  assert.equal(all.length, 2);
  for (const line of all) assert.doesNotMatch(line, /canary/);
  assert.deepEqual(JSON.parse(all[1] ?? ''), {
    time: '2026-01-31T09:00:00.000Z',
    component: 'worker',
    level: 'error',
    message: 'it had ****** in it',
    details: { deep: ['******'] },
    run_id: 'r',
  });
});

test('a secret with a tab or a carriage return in it is found before it is made printable', () => {
  const secret = '-----BEGIN KEY-----\r\nab\tcd';
  const scrub = (line: string) => line.replaceAll(secret, '******').replaceAll(JSON.stringify(secret).slice(1, -1), '******');
  for (const pretty of [true, false]) {
    const { written, log } = lines({ pretty, scrub });
    log({ level: 'error', message: `it said ${secret}`, error: secret, details: [secret] });
    assert.doesNotMatch(written.join(''), /BEGIN|ab.*cd/s);
  }
});
