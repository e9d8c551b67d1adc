import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { EngineError } from '../engine/index.ts';
import { createTestEngine, type TestEngine } from '../../test/support/engine.ts';
import { eventually } from '../../test/support/wait.ts';
import { createApi, createKeys, ensureAdminKey, ROUTES } from './index.ts';

const ADMIN = 'an-operators-own-admin-key';

async function withApi(work: (t: TestEngine, call: Call, url: string) => Promise<void>): Promise<void> {
  await using t = await createTestEngine();
  t.registry.define('greet', async (input: { name: string }, ctx) => ctx.step('greet', () => `hello ${input.name}`), {
    parseInput(input) {
      if (typeof (input as { name?: unknown } | null)?.name !== 'string') throw new EngineError('INVALID_INPUT', 'input.name: expected a text', { details: { issues: [{ path: 'name' }] } });
      return input;
    },
  });
  t.registry.define('other', async () => 1);
  await ensureAdminKey(t.store, ADMIN, tmpdir());
  const api = createApi({ engine: t.engine, registry: t.registry, store: t.store, version: 'test' });
  const { url } = await api.listen({ host: '127.0.0.1', port: 0 });
  const call: Call = async (method, path, body, key = ADMIN, headers = {}) => {
    const response = await fetch(url + path, {
      method,
      headers: { ...(key === '' ? {} : { 'x-api-key': key }), ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: text.startsWith('{') || text.startsWith('[') ? JSON.parse(text) : text };
  };
  try {
    await work(t, call, url);
  } finally {
    await api.close();
  }
}

type Call = (method: string, path: string, body?: unknown, key?: string, headers?: Record<string, string>) => Promise<{ status: number; headers: Headers; body: any }>; // oxlint-disable-line typescript/no-explicit-any -- the tests look into answers of many shapes

test('every route that is not marked open refuses a caller without a key, with a wrong one, and with a revoked one', async () => {
  await withApi(async (t, call) => {
    const keys = createKeys(t.store);
    const revoked = await keys.create('gone', ['admin']);
    await keys.revoke(revoked.key_id);
    for (const route of ROUTES) {
      for (const prefix of ['', '/api']) {
        for (const key of ['', 'ck_00000000_wrongwrongwrongwrongwrongwrongwrongwrongwrong01', revoked.key]) {
          const { status, body } = await call(route.method, prefix + route.path.replace(/\{\w+\}/g, 'x'), route.body === undefined ? undefined : {}, key);
          if (route.scopes === 'open') assert.notEqual(status, 401);
          else assert.deepEqual([status, body.code], [401, 'UNAUTHENTICATED'], `${route.method} ${route.path}`);
        }
      }
    }
  });
});

test('a start answers 201, its repetition 200, another input 409', async () => {
  await withApi(async (t, call) => {
    const start = { workflow_name: 'greet', input: { name: 'ann' }, trigger_key: 'k1' };
    const first = await call('POST', '/api/workflows/runs', start, ADMIN, { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' });
    assert.equal(first.status, 201);
    assert.deepEqual([first.body.created, first.body.idempotent], [true, false]);
    const again = await call('POST', '/workflows/runs', start);
    assert.deepEqual([again.status, again.body.run_id, again.body.idempotent], [200, first.body.run_id, true]);
    assert.equal((await call('POST', '/workflows/runs', { ...start, input: { name: 'bob' } })).status, 409);
    await t.ended(first.body.run_id);
    const run = await call('GET', `/workflows/runs/${first.body.run_id}`);
    assert.deepEqual([run.body.status, run.body.result, run.body.trace_id], ['completed', 'hello ann', '0af7651916cd43dd8448eb211c80319c']);
    const many = await call('POST', '/workflows/runs', [start, { workflow_name: 'other' }]);
    assert.deepEqual([many.status, many.body.length], [201, 2]);
  });
});

test('bad input gets a clear error that names the field, and starts nothing', async () => {
  await withApi(async (t, call) => {
    const refused: [number, string, RegExp, unknown][] = [
      [422, 'UNKNOWN_WORKFLOW', /did you mean greet/, { workflow_name: 'gret' }],
      [422, 'INVALID_INPUT', /input\.name/, { workflow_name: 'greet', input: { nam: 'x' } }],
      [422, 'INVALID_REQUEST', /workflow_nam"/, { workflow_nam: 'greet' }],
      [422, 'INVALID_REQUEST', /priority/, { workflow_name: 'greet', priority: 'high' }],
      [422, 'INVALID_REQUEST', /run_at/, { workflow_name: 'greet', run_at: 'tomorrow' }],
      [422, 'UNKNOWN_WORKFLOW', /^\[1\]/, [{ workflow_name: 'other' }, { workflow_name: 'nope' }]],
      [400, 'MALFORMED_JSON', /not JSON/, '{"workflow_name": '],
      [413, 'TOO_LARGE', /larger|limit/, { workflow_name: 'other', input: 'x'.repeat(2_000_000) }],
    ];
    for (const [status, code, message, body] of refused) {
      const answer = await call('POST', '/workflows/runs', body);
      assert.deepEqual([answer.status, answer.body.code], [status, code], JSON.stringify(answer.body).slice(0, 300));
      assert.match(answer.body.message, message);
    }
    assert.equal((await call('POST', '/workflows/runs', 'x=1', ADMIN, { 'content-type': 'text/plain' })).status, 415);
    assert.equal((await call('GET', '/workflows/runs/nope')).body.code, 'RUN_NOT_FOUND');
    assert.equal((await call('GET', '/workflows/runs?limit=1000')).body.code, 'INVALID_REQUEST');
    assert.match((await call('GET', '/workflows/runs?stauts=failed')).body.message, /stauts: unknown parameter/);
    assert.equal((await call('GET', '/nowhere')).status, 404);
    const wrong = await call('DELETE', '/workflows/runs');
    assert.deepEqual([wrong.status, wrong.headers.get('allow')], [405, 'POST, GET']);
    assert.equal((await t.engine.listRuns({})).items.length, 0);
  });
});

test('cancelling a finished run is refused; retry and fork answer with runs', async () => {
  await withApi(async (t, call) => {
    const { run_id } = (await call('POST', '/workflows/runs', { workflow_name: 'greet', input: { name: 'ann' } })).body;
    await t.ended(run_id);
    assert.deepEqual((await call('POST', `/workflows/runs/${run_id}/cancel`)).body.code, 'RUN_FINISHED');
    assert.deepEqual((await call('POST', `/workflows/runs/${run_id}/retry`)).body.code, 'RUN_NOT_RETRYABLE');
    const fork = await call('POST', `/workflows/runs/${run_id}/fork`, { from_step: 'greet', input: { name: 'bob' } });
    assert.equal(fork.status, 201);
    assert.equal((await t.ended(fork.body.run_id)).result, 'hello bob');
  });
});

test('scopes are kept: a key for one workflow sees and starts only that one', async () => {
  await withApi(async (t, call) => {
    const greeter = (await call('POST', '/keys', { name: 'greeter', scopes: ['workflows:greet'] })).body.key;
    const reader = (await call('POST', '/keys', { name: 'reader', scopes: ['workflows.read'] })).body.key;
    const emitter = (await call('POST', '/keys', { name: 'emitter', scopes: ['events.emit'] })).body.key;
    const other = (await call('POST', '/workflows/runs', { workflow_name: 'other' })).body.run_id;
    assert.equal((await call('POST', '/workflows/runs', { workflow_name: 'greet', input: { name: 'x' } }, greeter)).status, 201);
    assert.equal((await call('POST', '/workflows/runs', { workflow_name: 'other' }, greeter)).status, 403);
    assert.equal((await call('GET', `/workflows/runs/${other}`, undefined, greeter)).status, 404);
    assert.deepEqual((await call('GET', '/workflows', undefined, greeter)).body.items.map((item: { name: string }) => item.name), ['greet']);
    assert.equal((await call('GET', '/workflows/runs', undefined, greeter)).status, 403);
    assert.equal((await call('GET', `/workflows/runs/${other}`, undefined, reader)).status, 200);
    assert.equal((await call('POST', `/workflows/runs/${other}/cancel`, undefined, reader)).status, 403);
    assert.equal((await call('POST', '/workflows/events', { event_type: 'a', correlation_id: 'b' }, emitter)).status, 202);
    assert.equal((await call('GET', '/workflows', undefined, emitter)).status, 403);
    for (const key of [greeter, reader, emitter]) assert.equal((await call('POST', '/keys', { name: 'mine', scopes: ['admin'] }, key)).status, 403);
    assert.match((await call('POST', '/keys', { name: 'x', scopes: ['root'] })).body.message, /"root" is unknown/);
    assert.ok(!JSON.stringify((await call('GET', '/keys')).body).includes(greeter));
    await t.engine.listRuns({});
  });
});

test('the event stream replays from the last id, ends with the run, and stops when the reader leaves', async () => {
  await withApi(async (t, call, url) => {
    t.registry.define('three', async (_: unknown, ctx) => {
      for (const name of ['a', 'b', 'c']) await ctx.step(name, () => name);
      await ctx.waitForEvent('go', { eventType: 'go' });
    });
    const { run_id } = (await call('POST', '/workflows/runs', { workflow_name: 'three' })).body;
    const headers = { 'x-api-key': ADMIN };
    const left = new AbortController();
    const open = await fetch(`${url}/workflows/runs/${run_id}/events`, { headers, signal: left.signal });
    assert.equal(open.headers.get('content-type'), 'text/event-stream');
    left.abort();
    await call('POST', '/workflows/events', { event_type: 'go', correlation_id: run_id });
    await t.ended(run_id);
    const whole = await (await fetch(`${url}/workflows/runs/${run_id}/events`, { headers })).text();
    const ids = [...whole.matchAll(/^id: (.+)$/gm)].map((match) => match[1]);
    assert.equal(ids.length, 5);
    assert.match(whole, /event: run\.completed\n/);
    const rest = await (await fetch(`${url}/workflows/runs/${run_id}/events`, { headers: { ...headers, 'last-event-id': ids[1] as string } })).text();
    assert.deepEqual([...rest.matchAll(/^id: (.+)$/gm)].map((match) => match[1]), ids.slice(2));
  });
});

test('health, metrics and the OpenAPI document answer', async () => {
  await withApi(async (_t, call) => {
    assert.equal((await call('GET', '/healthz', undefined, '')).body.status, 'ok');
    assert.equal((await call('GET', '/readyz', undefined, '')).body.status, 'ready');
    assert.match((await call('GET', '/metrics')).body, /^centaur_resident_runs 0$/m);
    const document = (await call('GET', '/api/openapi.json', undefined, '')).body;
    assert.equal(document.openapi, '3.1.0');
    assert.deepEqual(Object.keys(document.paths).toSorted(), [...new Set(ROUTES.map((route) => route.path))].toSorted());
  });
});

test('the first start makes an admin key for its owner alone, and the next one keeps it', async () => {
  await using t = await createTestEngine({ idle: true });
  const home = mkdtempSync(join(tmpdir(), 'centaur-home-'));
  const first = await ensureAdminKey(t.store, undefined, home);
  const file = join(home, 'admin.key');
  assert.equal(readFileSync(file, 'utf8').trim(), first.created);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.deepEqual((await createKeys(t.store).authenticate(first.created)).scopes, ['admin']);
  assert.equal((await ensureAdminKey(t.store, undefined, home)).created, undefined);
  assert.match((await ensureAdminKey(t.store, 'another-key-given-later', home)).warning ?? '', /not an active key/);
});

test('a database that goes away is 503, and comes back', async () => {
  await withApi(async (t, call) => {
    await call('GET', '/workflows/runs');
    await t.store.query(`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`);
    await eventually(async () => (await call('GET', '/workflows/runs')).status === 200);
    assert.equal((await call('POST', '/workflows/runs', { workflow_name: 'other' })).status, 201);
  });
});
