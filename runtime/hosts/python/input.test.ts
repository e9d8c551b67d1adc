import assert from 'node:assert/strict';
import path from 'node:path';
import { after, test } from 'node:test';
import { HERE, Host } from './testing.ts';

const host = new Host([path.join(HERE, 'fixtures/main')]);
after(() => host.end());

test('nested inputs become their classes, with defaults for what is missing', async () => {
  const input = {
    channel: 'ops',
    inner: { id: 1, tags: ['a'] },
    many: [{ id: 2.0 }],
    by_key: { k: { id: 3 } },
    pair: [1, 'x'],
    mode: 'slow',
    level: 'high',
    at: '2026-01-02T03:04:05Z',
    ratio: 1,
    note: null,
    delivery: { platform: 'slack', channel: 'C' },
    foreign: { any: 1 },
  };
  const result = (await host.result('inputs', { input })) as Record<string, Record<string, unknown>>;
  assert.equal(result['delivery']?.['channel'], 'C');
  assert.deepEqual(result, {
    ...input,
    delivery: result['delivery'],
    many: [{ id: 2, tags: [] }],
    by_key: { k: { id: 3, tags: [] } },
    at: '2026-01-02T03:04:05+00:00',
    rest: null,
  });
  assert.deepEqual(await host.check('inputs', input), {
    type: 'workflow.input',
    run_id: 'check',
    request_id: '1',
    ok: true,
    concurrency_key: 'channel:ops',
    warnings: [],
  });
});

test('what is missing or of another kind is named with its path, all of it at once', async () => {
  const input = {
    inner: { tags: [1] },
    many: [{ id: 'x' }, 3],
    pair: [1],
    mode: 'odd',
    level: 'mid',
    at: 'soon',
    ratio: '1',
    by_key: { k: { id: true } },
  };
  const { ok, issues, error } = await host.check('inputs', input);
  assert.equal(ok, false);
  assert.deepEqual(
    issues.map(({ path: at, message }: Record<string, string>) => `${at}: ${message}`),
    [
      'channel: expected a string, it is missing',
      'inner.id: expected a whole number, it is missing',
      'inner.tags[0]: expected a string, got a whole number',
      'many[0].id: expected a whole number, got a string',
      'many[1]: expected an object, got a whole number',
      'by_key.k.id: expected a whole number, got true',
      'pair: expected a list of 2, got one of 1',
      'mode: expected "fast" or "slow", got a string',
      'level: expected "low" or "high", got a string',
      'at: expected a datetime as ISO 8601 text or null, got a string',
      'ratio: expected a number, got a string',
    ],
  );
  assert.match(error as string, /^input\.channel: expected a string, it is missing; input\.inner\.id: /);
});

test('a key that Input does not have is a warning, and no error', async () => {
  const { ok, warnings } = await host.check('inputs', { channel: 'c', chanel: 'd', inner: { id: 1, idd: 2 } });
  assert.equal(ok, true);
  assert.equal(warnings.length, 2);
  assert.match(warnings[0] as string, /^input\.inner\.idd: Inner has no such field; it has id, tags$/);
  assert.match(warnings[1] as string, /^input\.chanel: Input has no such field/);
});

test('a run with an input that does not fit fails with INVALID_INPUT', async () => {
  await assert.rejects(host.result('inputs'), {
    code: 'INVALID_INPUT',
    message: 'input.channel: expected a string, it is missing',
    non_retryable: true,
  });
  await assert.rejects(host.result('inputs', { input: [1] }), { code: 'INVALID_INPUT', message: 'input: expected an object, got a list' });
});

test('without Input the handler gets what was given, and an empty dict for nothing', async () => {
  assert.deepEqual(((await host.result('replay', { input: [1] })) as unknown[])[6], [1]);
  const { ok } = await host.check('replay', 'anything');
  assert.equal(ok, true);
  assert.equal((await host.check('nobody', {}))['ok'], false);
});
