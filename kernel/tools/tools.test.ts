import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { listApprovals, publishPolicy } from '../policy/index.ts';
import {
  addGrant,
  allowGrant,
  createLease,
  listGrants,
  listLeases,
  listRefusals,
  ownSecretName,
  putSecret,
  refuseGrant,
  removeGrant,
  removeSecret,
} from '../vault/index.ts';
import { approve, createTestTools, inTurnOf, KEY, refused, SHOP, shop, Told } from '../../test/support/tools.ts';
import { eventually } from '../../test/support/wait.ts';
import type { ToolError } from './index.ts';

const CANARY = 'CANARY-of-an-argument';

test('a call that fits is allowed, recorded before it is made, and its outcome after', async () => {
  await using t = await createTestTools();
  t.runner.act = async ({ args }) => {
    assert.equal((await t.entries('tool.call')).length, 1);
    return { echo: args };
  };
  const { result, repeated } = await t.tools.call(KEY, shop('create', { item: CANARY }));
  assert.deepEqual([result, repeated], [{ echo: { item: CANARY } }, false]);
  const [intent] = await t.entries('tool.call');
  const [outcome] = await t.entries('tool.outcome');
  assert.equal(intent?.actor, KEY.principal);
  assert.equal(intent?.resource, 'tool:shop.create');
  assert.equal(intent?.decision, 'allow');
  const { tool, method, risk, policy, rule, digest } = intent.details;
  assert.deepEqual([tool, method, risk, policy, rule], ['shop', 'create', 'write', 0, 'harmless-tools']);
  assert.match(digest as string, /^[0-9a-f]{64}$/);
  assert.equal((outcome as unknown as { intent_id: string }).intent_id, (intent as unknown as { id: string }).id);
  assert.equal(outcome?.details['ok'], true);
});

test('a call of a tool with secrets has a lease from its intent to its answer, one without has none', async () => {
  await using t = await createTestTools();
  const leases = async () => (await t.store.query<{ call_id: string; principal: string }>('select * from tool_call_leases')).rows;
  const secret = { name: 'SHOP_KEY', hosts: ['api.shop.test'], optional: true };
  t.runner.serve({ ...SHOP, secrets: [secret] }, { ...SHOP, name: 'plain' });
  const seen: unknown[] = [];
  t.runner.act = async ({ callId }) => {
    seen.push((await leases()).map((lease) => [lease.call_id === callId, lease.principal]));
    return null;
  };
  for (const [method, idempotencyKey] of [['list'], ['create'], ['create', 'key-1']] as const) {
    await t.tools.call(KEY, shop(method, method === 'create' ? { item: 'x' } : {}, { idempotencyKey }));
    // of a call that reads it ends behind the answer
    await eventually(async () => (await leases()).length === 0);
  }
  t.runner.act = async () => {
    seen.push(await leases());
    throw new Error('no');
  };
  await t.tools.call(KEY, { tool: 'plain', method: 'list', args: {} }).catch(() => undefined);
  assert.deepEqual(seen, [[[true, 'tool:shop']], [[true, 'tool:shop']], [[true, 'tool:shop']], []]);
  await t.tools.call(KEY, shop('create', { item: 'x' })).catch(() => undefined);
  assert.equal((seen.at(-1) as unknown[]).length, 1);
  assert.deepEqual(await leases(), [], 'a failure is an answer, too');
  // without its entry there is no lease
  const { rows } = await t.store.query<{ key: string }>(
    `select conname as key from pg_constraint where conrelid = 'tool_call_leases'::regclass and contype = 'f' and confrelid = 'audit_log'::regclass`,
  );
  assert.equal(rows.length, 1);
});

test('what is left out has its default, for the policy as for the tool', async () => {
  await using t = await createTestTools();
  await t.tools.call(KEY, shop('list'));
  assert.deepEqual(t.runner.dispatched[0]?.args, { limit: 10 });
});

test('what does not fit the schema is refused by the argument’s name, and nothing is made or recorded', async () => {
  await using t = await createTestTools();
  await assert.rejects(t.tools.call(KEY, shop('create', { item: 7, colour: CANARY })), (error: ToolError) => {
    assert.equal(error.message, 'arguments item: expected a string, got a number (and 1 more)');
    assert.ok(!JSON.stringify(error.details).includes(CANARY));
    return refused('INVALID_ARGUMENTS')(error);
  });
  await assert.rejects(t.tools.call(KEY, shop('create', [1])), refused('INVALID_ARGUMENTS'));
  await assert.rejects(t.tools.call(KEY, shop('create', null)), refused('INVALID_ARGUMENTS'));
  await assert.rejects(t.tools.call(KEY, shop('create', { item: 'x' }, { idempotencyKey: 'with space' })), refused('INVALID_ARGUMENTS'));
  await assert.rejects(t.tools.call(KEY, shop('steal')), refused('TOOL_METHOD_NOT_FOUND'));
  await assert.rejects(t.tools.call(KEY, { tool: '__proto__', method: 'x', args: {} }), refused('TOOL_NOT_FOUND'));
  await assert.rejects(t.tools.call(KEY, shop('constructor')), refused('TOOL_METHOD_NOT_FOUND'));
  assert.equal(t.runner.dispatched.length, 0);
  assert.deepEqual(await t.entries('tool'), []);
});

test('the policy denies: nothing is made, and the log says who asked for what', async () => {
  await using t = await createTestTools();
  const text = `version: 1
default: deny
rules:
  - {id: all, tool: "*", effect: allow, when: 'tool.risk == "write"'}
  - {id: no-tea, tool: shop.create, effect: deny, when: 'args.item == "${CANARY}"', message: No tea.}
`;
  await publishPolicy(t.installation, 'user:ada', { text });
  await assert.rejects(t.tools.call(KEY, shop('create', { item: CANARY })), (error: ToolError) => {
    assert.equal(error.message, 'No tea.');
    return refused('POLICY_DENIED', { rule: 'no-tea' })(error);
  });
  await t.tools.call(KEY, shop('create', { item: 'coffee' }));
  assert.equal(t.runner.dispatched.length, 1);
  const [entry, ...others] = await t.entries('tool.deny');
  assert.deepEqual([entry?.details['rule'], entry?.details['policy'], others.length], ['no-tea', 1, 0]);
});

test('a condition that fails counts against the call, and what it says is in no entry', async () => {
  await using t = await createTestTools();
  const text = `version: 1
default: deny
rules:
  - {id: all, tool: "*", effect: allow, when: 'tool.risk == "write"'}
  - {id: odd, tool: shop.put, effect: deny, when: 'int(args.amount) > 3'}
`;
  await publishPolicy(t.installation, 'user:ada', { text });
  await assert.rejects(t.tools.call(KEY, shop('put', { amount: CANARY })), refused('POLICY_DENIED'));
  assert.deepEqual((await t.entries('tool.deny'))[0]?.details['failed_rules'], ['odd']);
});

test('a call that is denied is refused with the reason, also when it comes again', async () => {
  await using t = await createTestTools();
  const answer = t.tools.call(KEY, shop('remove', { id: '7' }));
  const [[result], id] = await Promise.all([Promise.allSettled([answer]), approve(t, 'deny', 'not on Fridays')]);
  assert.equal(result.status, 'rejected');
  refused('APPROVAL_DENIED', { approval_id: id })(result.reason);
  assert.match((result.reason as Error).message, /not on Fridays/);
  await assert.rejects(t.tools.call(KEY, shop('remove', { id: '7' })), refused('APPROVAL_DENIED'));
  assert.equal(t.runner.dispatched.length, 0);
  assert.equal((await t.entries('tool.deny')).length, 2);
});

test('without the audit log there is no call, and what had been begun holds nothing up', async () => {
  await using t = await createTestTools();
  const away = () => Promise.reject(new Error('the log is away'));
  const down = { ...t.installation, audit: { ...t.installation.audit, write: away, append: away } };
  const { tools, runner } = await t.another({ installation: down });
  await assert.rejects(tools.call(KEY, shop('list')), /the log is away/);
  await assert.rejects(tools.call(KEY, shop('create', { item: 'tea' }, { idempotencyKey: 'k' })), /the log is away/);
  assert.equal(runner.dispatched.length, 0);
  await t.tools.call(KEY, shop('create', { item: 'tea' }, { idempotencyKey: 'k' }));
  assert.equal(t.runner.dispatched.length, 1);
});

test('of 20 calls under one key at once, one is made, and all have its answer', async () => {
  await using t = await createTestTools();
  const elsewhere = await t.another();
  let made = 0;
  const act = async () => {
    made += 1;
    await new Promise((resolve) => setTimeout(resolve, 200));
    return { n: made };
  };
  t.runner.act = elsewhere.runner.act = act;
  const both = [t.tools, elsewhere.tools];
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, i) => both[i % 2]!.call(KEY, shop('create', { item: 'tea' }, { idempotencyKey: 'order-1' }))),
  );
  assert.equal(made, 1);
  assert.deepEqual(new Set(answers.map(({ result }) => JSON.stringify(result))), new Set(['{"n":1}']));
  assert.equal(answers.filter(({ repeated }) => !repeated).length, 1);
  assert.equal((await t.entries('tool.call')).length, 1);
  // and later, from anywhere
  assert.deepEqual((await elsewhere.tools.call(KEY, shop('create', { item: 'tea' }, { idempotencyKey: 'order-1' }))).result, { n: 1 });
  await assert.rejects(
    t.tools.call(KEY, shop('create', { item: 'coffee' }, { idempotencyKey: 'order-1' })),
    refused('IDEMPOTENCY_PAYLOAD_MISMATCH'),
  );
  await t.tools.call({ principal: 'key:other' }, shop('create', { item: 'coffee' }, { idempotencyKey: 'order-1' }));
  assert.equal(made, 2);
});

test('a key’s call that has begun goes on when its caller leaves; without a key it is stopped', async () => {
  await using t = await createTestTools();
  const gone = new AbortController();
  let signal: AbortSignal | undefined;
  let finish = () => {};
  t.runner.act = (call) => {
    signal = call.signal;
    return new Promise((resolve, reject) => {
      finish = () => resolve('done');
      call.signal.addEventListener('abort', () => reject(new Error('stopped')));
    });
  };
  const kept = t.tools.call(KEY, shop('create', { item: 'tea' }, { idempotencyKey: 'k', signal: gone.signal }));
  kept.catch(() => {});
  await eventually(() => signal);
  gone.abort();
  await assert.rejects(kept, refused('TOOL_CANCELLED'));
  assert.equal(signal?.aborted, false);
  finish();
  assert.equal((await t.tools.call(KEY, shop('create', { item: 'tea' }, { idempotencyKey: 'k' }))).result, 'done');
  signal = undefined;
  const leaving = new AbortController();
  const stopped = t.tools.call(KEY, shop('create', { item: 'tea' }, { signal: leaving.signal }));
  stopped.catch(() => {});
  await eventually(() => signal);
  leaving.abort();
  await assert.rejects(stopped, refused('TOOL_CANCELLED'));
  assert.equal(signal!.aborted, true);
});

test('failures: what may be made again leaves nothing behind, what may have been done is kept', async () => {
  await using t = await createTestTools();
  const fail = (answer: Partial<Extract<Told['answer'], { ok: false }>>) => async () => {
    throw new Told({ ok: false, code: 'TOOL_FAILED', message: 'broken', retryable: true, started: true, ...answer });
  };
  const rows = async () => (await t.store.query('select from tool_calls')).rowCount;
  const call = (method: string, key: string) => t.tools.call(KEY, shop(method, { item: 'x' }, { idempotencyKey: key }));
  // never reached the tool
  t.runner.act = fail({ code: 'TOOL_CRASHED', started: false });
  await assert.rejects(call('create', 'a'), refused('TOOL_FAILED', { retryable: true }));
  assert.equal(await rows(), 0);
  // its author says that it may be tried again
  t.runner.act = fail({ code: 'RATE_LIMITED' });
  await assert.rejects(call('create', 'b'), refused('TOOL_FAILED', { tool_code: 'RATE_LIMITED' }));
  assert.equal(await rows(), 0);
  // it crashed in the middle: no harm where doing it again does none, and unknown for good elsewhere
  t.runner.act = fail({ code: 'TOOL_CRASHED' });
  await assert.rejects(call('put', 'c'), refused('TOOL_FAILED', { retryable: true }));
  assert.equal(await rows(), 0);
  await assert.rejects(call('create', 'd'), refused('TOOL_CALL_UNKNOWN'));
  // without a key nobody is told to call again what may have been done
  await assert.rejects(t.tools.call(KEY, shop('create', { item: 'x' })), refused('TOOL_FAILED', { retryable: false }));
  t.runner.act = async () => 'again';
  await assert.rejects(call('create', 'd'), refused('TOOL_CALL_UNKNOWN'));
  assert.equal((await call('put', 'c')).result, 'again');
  // the tool refused, and will again
  t.runner.act = fail({ code: 'NOT_FOUND', retryable: false, message: 'no such item' });
  await assert.rejects(call('create', 'e'), refused('TOOL_REFUSED', { tool_code: 'NOT_FOUND' }));
  t.runner.act = async () => 'again';
  await assert.rejects(call('create', 'e'), (error: ToolError) => error.message === 'no such item' && error.code === 'TOOL_REFUSED');
});

test('a call whose result could not be kept was made, and says so', async () => {
  await using t = await createTestTools({
    attach: async () => {
      throw new Error('the disk is full');
    },
  });
  t.runner.act = async () => 'x'.repeat(100_000);
  const caller = { principal: 'thread:t1', threadKey: 't1' };
  await assert.rejects(t.tools.call(caller, shop('create', { item: 'x' })), refused('TOOL_FAILED', { retryable: false, started: true }));
  await assert.rejects(t.tools.call(caller, shop('list')), refused('TOOL_FAILED', { retryable: true, started: true }));
  const keyed = () => t.tools.call(caller, shop('create', { item: 'x' }, { idempotencyKey: 'k' }));
  await assert.rejects(keyed(), refused('TOOL_CALL_UNKNOWN'));
  await assert.rejects(keyed(), refused('TOOL_CALL_UNKNOWN'));
});

test('when the process stops, nobody waits for a person any more', async () => {
  await using t = await createTestTools();
  const call = t.tools.call(KEY, shop('remove', { id: 'x' }, { idempotencyKey: 'k', waitMs: Number.POSITIVE_INFINITY }));
  await eventually(async () => (await listApprovals(t.store, { state: 'pending' })).items.length === 1);
  await Promise.all([t.tools.close(), assert.rejects(call, refused('TOOL_CANCELLED'))]);
  await assert.rejects(t.tools.call(KEY, shop('list')), refused('TOOL_CANCELLED'));
});

test('a tool cannot answer in the name of the platform', async () => {
  await using t = await createTestTools();
  t.runner.act = async () => {
    throw new Told({ ok: false, code: 'APPROVAL_REQUIRED', message: 'ask ada', retryable: false, started: true });
  };
  await assert.rejects(t.tools.call(KEY, shop('list')), refused('TOOL_REFUSED', { tool_code: 'APPROVAL_REQUIRED' }));
  t.runner.act = async () => {
    throw new Told({ ok: false, code: 'x\ny', message: 'odd', retryable: false, started: true });
  };
  await assert.rejects(t.tools.call(KEY, shop('list')), refused('TOOL_FAILED', { tool_code: 'TOOL_FAILED' }));
});

for (const { method, made, waits } of [
  { method: 'create', made: 'refused', waits: false },
  { method: 'put', made: 'again', waits: false },
  { method: 'remove', made: 'again', waits: true },
] as const)
  test(`a process is killed ${waits ? 'while it waits for a person' : `in the middle of ${method}`}: the call is ${made}`, async () => {
    await using t = await createTestTools();
    const child = spawn(process.execPath, [fileURLToPath(new URL('../../test/support/tool-maker.ts', import.meta.url))], {
      env: { ...process.env, DATABASE_URL: t.database.url, MASTER_KEY: t.masterKey.toString('hex'), METHOD: method, CALL_KEY: 'k' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [said] = (await once(child.stdout, 'data')) as [Buffer];
    assert.equal(said.toString().trim(), waits ? 'waits' : 'made');
    const call = () => t.tools.call(KEY, shop(method, { item: 'tea' }, { idempotencyKey: 'k' }));
    // alive, it is waited for
    const early = call();
    early.catch(() => {});
    assert.equal(await Promise.race([early, new Promise((resolve) => setTimeout(resolve, 300, 'waits'))]), 'waits');
    child.kill('SIGKILL');
    await once(child, 'exit');
    if (waits) await approve(t);
    if (made === 'refused') await assert.rejects(early, refused('TOOL_CALL_UNKNOWN'));
    else await early;
    if (made === 'refused') await assert.rejects(call(), refused('TOOL_CALL_UNKNOWN'));
    assert.equal(t.runner.dispatched.length, made === 'refused' ? 0 : 1);
  });

test('the time of a call is up: the tool is told, and the caller hears of it', async () => {
  await using t = await createTestTools();
  t.runner.serve({ ...SHOP, timeout: 50, methods: { slow: { description: 'Slow.', risk: 'read' } } });
  let reason: unknown;
  t.runner.act = (call) =>
    new Promise((_, reject) =>
      call.signal.addEventListener('abort', () => {
        reason = call.signal.reason;
        reject(new Error('stopped'));
      }),
    );
  await assert.rejects(t.tools.call(KEY, shop('slow')), refused('TOOL_TIMEOUT', { retryable: true }));
  assert.equal((reason as Error).name, 'TimeoutError');
  await eventually(async () => (await t.entries('tool.outcome'))[0]?.details['code'] === 'TOOL_TIMEOUT');
});

test('a large result of a thread becomes an attachment; without a thread it is refused', async () => {
  const kept: { threadKey: string; name: string; mimeType: string; size: number }[] = [];
  await using t = await createTestTools({
    attach: async (threadKey, { name, mimeType, data }) => {
      kept.push({ threadKey, name, mimeType, size: data.length });
      return { attachment_id: 'att-1', name, mime_type: mimeType, size: data.length };
    },
  });
  const thread = { principal: 'thread:demo', threadKey: 'demo' };
  t.runner.act = async () => ({ rows: 'x'.repeat(60_000) });
  const { result } = await t.tools.call(thread, shop('list'));
  const { attachment, preview } = result as { attachment: { attachment_id: string }; preview: string };
  assert.equal(attachment.attachment_id, 'att-1');
  assert.equal(preview.length, 2000);
  assert.deepEqual(kept, [{ threadKey: 'demo', name: 'shop.list.json', mimeType: 'application/json', size: 60_011 }]);
  assert.equal(((await t.tools.call(KEY, shop('list'))).result as { rows: string }).rows.length, 60_000);
  t.runner.act = async () => 'é'.repeat(600_000);
  await assert.rejects(t.tools.call(KEY, shop('list')), refused('TOO_LARGE'));
  // what was done is not forgotten because its answer is too large
  await assert.rejects(t.tools.call(KEY, shop('create', { item: 'x' }, { idempotencyKey: 'k' })), refused('TOO_LARGE'));
  t.runner.act = async () => 'small';
  await assert.rejects(t.tools.call(KEY, shop('create', { item: 'x' }, { idempotencyKey: 'k' })), refused('TOO_LARGE'));
});

test('files of a tool are kept with the thread, by a plain name', async () => {
  const names: string[] = [];
  await using t = await createTestTools({
    attach: async (_, { name, mimeType, data }) => {
      names.push(`${name} ${mimeType}`);
      return { attachment_id: 'a', name, mime_type: mimeType, size: data.length };
    },
  });
  t.runner.act = (call) => call.attach({ name: '../../etc/passwd', mimeType: 'text/html\r\nx: y', data: Buffer.from('x') });
  await t.tools.call({ principal: 'thread:demo', threadKey: 'demo' }, shop('list'));
  assert.deepEqual(names, ['.._.._etc_passwd application/octet-stream']);
  await assert.rejects(t.tools.call(KEY, shop('list')), refused('TOOL_FAILED'));
});

test('grants follow what tools declare, and never touch what a person gave', async () => {
  await using t = await createTestTools();
  const secret = (name: string) =>
    putSecret(t.installation, 'user:ada', name, { value: `value-of-${name}-0123456789`, hosts: ['api.example.com'] });
  await secret('FIRST');
  await secret('SECOND');
  await addGrant(t.installation, 'user:ada', 'tool:shop', 'SECOND');
  const grants = async () =>
    (await listGrants(t.store, { principal: 'tool:shop' })).map((grant) => `${grant.secret} ${grant.declared ? 'declared' : 'given'}`);
  const hosts = ['api.example.com'];
  t.runner.serve({
    ...SHOP,
    secrets: [
      { name: 'FIRST', hosts },
      { name: 'SECOND', hosts },
      { name: 'THIRD', hosts, optional: true },
    ],
  });
  await eventually(async () => (await grants()).join() === 'FIRST declared,SECOND given');
  // a secret that comes later
  await secret('THIRD');
  await eventually(async () => (await grants()).join() === 'FIRST declared,SECOND given,THIRD declared');
  // a person takes one away: it stays away, and the calls say so
  const [first] = await listGrants(t.store, { principal: 'tool:shop', secret: 'FIRST' });
  await removeGrant(t.installation, 'user:ada', first!.grant_id);
  await eventually(() => t.tools.get('shop')?.missingSecrets.join() === 'FIRST');
  await assert.rejects(t.tools.call(KEY, shop('list')), (error: ToolError) => {
    assert.match(error.message, /centaur grants add tool:shop FIRST/);
    return refused('TOOL_NOT_READY', { missing_secrets: ['FIRST'] })(error);
  });
  await addGrant(t.installation, 'user:ada', 'tool:shop', 'FIRST');
  await t.tools.call(KEY, shop('list'));
  // a person gives what is declared: it outlives the declaration
  await addGrant(t.installation, 'user:ada', 'tool:shop', 'THIRD');
  t.runner.serve({ ...SHOP, secrets: [{ name: 'SECOND', hosts }] });
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.deepEqual(await grants(), ['FIRST given', 'SECOND given', 'THIRD given']);
});

test('declared grants are taken back with the declaration, and no process takes back those of another', async () => {
  await using t = await createTestTools();
  await putSecret(t.installation, 'user:ada', 'FIRST', { value: 'value-of-first-0123456789', hosts: ['api.example.com'] });
  const held = async () => (await listGrants(t.store, { principal: 'tool:shop' })).length;
  t.runner.serve({ ...SHOP, secrets: [{ name: 'FIRST', hosts: ['api.example.com'] }] });
  await eventually(async () => (await held()) === 1);
  t.runner.serve(SHOP);
  await eventually(async () => (await held()) === 0);
  t.runner.serve({ ...SHOP, secrets: [{ name: 'FIRST', hosts: ['api.example.com'] }] });
  await eventually(async () => (await held()) === 1);
  await t.another();
  assert.equal(await held(), 1, 'its own has no such tool');
  const actions = (await t.entries('grant')).map((entry) => `${(entry as { action: string }).action} ${entry.actor}`);
  assert.deepEqual(actions, ['grant.add system:tools', 'grant.remove system:tools', 'grant.add system:tools']);
});

test('a tool without its secret is listed, and its calls name the secret and the command', async () => {
  await using t = await createTestTools();
  t.runner.serve({ ...SHOP, secrets: [{ name: 'SHOP_KEY', hosts: ['api.example.com'] }] });
  assert.deepEqual(t.tools.get('shop')?.missingSecrets, ['SHOP_KEY']);
  await assert.rejects(t.tools.call(KEY, shop('list')), (error: ToolError) => {
    assert.match(error.message, /centaur secrets set SHOP_KEY/);
    return refused('TOOL_NOT_READY')(error);
  });
  await putSecret(t.installation, 'user:ada', 'SHOP_KEY', { value: 'value-of-shop-0123456789', hosts: ['api.example.com'] });
  await t.tools.call(KEY, shop('list'));
});

test('calls are forgotten after 30 days', async () => {
  await using t = await createTestTools();
  for (const key of ['old', 'new']) await t.tools.call(KEY, shop('put', {}, { idempotencyKey: key }));
  await t.store.query(`update tool_calls set created_at = now() - interval '31 days' where call_key = 'old'`);
  await t.another();
  await eventually(async () => {
    const { rows } = await t.store.query<{ call_key: string }>('select call_key from tool_calls');
    return rows.length === 1 && rows[0]?.call_key === 'new';
  });
});

test('no argument and no result is in the audit log or the log, whatever becomes of a call', async () => {
  await using t = await createTestTools();
  const say = (method: string, args: unknown, more = {}) => t.tools.call(KEY, shop(method, args, more)).catch((error: Error) => error);
  t.runner.act = async () => ({ secret: CANARY });
  await say('create', { item: CANARY });
  await say('put', { [CANARY]: CANARY }, { idempotencyKey: 'k' });
  await say('remove', { id: CANARY }, { waitMs: 0 });
  t.runner.act = async () => {
    throw new Error(`cannot read ${CANARY}`);
  };
  await say('create', { item: CANARY });
  await say('list', { status: CANARY });
  await t.installation.audit.idle();
  const { rows } = await t.store.query<{ entry: string }>('select entry from audit_log');
  assert.ok(rows.length > 6);
  assert.ok(!rows.some(({ entry }) => entry.includes(CANARY)));
  assert.ok(!JSON.stringify(t.logs).includes(CANARY));
});

test('a user’s own secret takes the place of the tool’s in what they ask, and in nothing else', async () => {
  await using t = await createTestTools();
  t.runner.serve({ ...SHOP, secrets: [{ name: 'SHOP_KEY', hosts: ['shop.example.com'] }] });
  const thread = { principal: 'thread:a', threadKey: 'a' };
  const user = 'ana@example.com';
  const [ana, bo] = [inTurnOf(user), inTurnOf('bo@example.com')];
  const own = ownSecretName('SHOP_KEY', user);
  await putSecret(t.installation, 'test', own, { hosts: ['shop.example.com'], value: 'the-key-of-ana-alone' });
  // hers, but nobody has granted it to her
  await assert.rejects(t.tools.call(ana, shop('create', { item: 'tea' })), refused('TOOL_NOT_READY'));
  await addGrant(t.installation, 'test', `user:${user}`, own);
  await t.tools.call(ana, shop('create', { item: 'tea' }));
  const [dispatched] = t.runner.dispatched;
  assert.deepEqual([dispatched?.own?.user, [...(dispatched?.own?.secrets ?? [])]], [user, [['SHOP_KEY', own]]]);
  assert.equal((await t.entries('tool.call'))[0]?.details['on_behalf_of'], `user:${user}`);
  // there is none for anybody else
  for (const caller of [thread, bo, KEY])
    await assert.rejects(t.tools.call(caller, shop('create', { item: 'tea' })), refused('TOOL_NOT_READY'));
  await putSecret(t.installation, 'test', 'SHOP_KEY', { hosts: ['shop.example.com'], value: 'the-key-of-everybody' });
  for (const caller of [thread, bo, KEY]) {
    await t.tools.call(caller, shop('create', { item: 'tea' }));
    assert.equal(t.runner.dispatched.at(-1)?.own, undefined);
  }
});

test('for a secret that an app makes, a tool that lacks it names the command that connects the account', async () => {
  await using t = await createTestTools();
  t.runner.serve({ ...SHOP, secrets: [{ name: 'SHOP_OAUTH', hosts: ['shop.example.com'] }] });
  const told = (user?: string) =>
    t.tools.call(inTurnOf(user), shop('list')).then(
      () => assert.fail('it is not ready'),
      (error: Error) => error.message.replace(/^.*with: /, ''),
    );
  const revoked = (user: string | null, secret: string) =>
    t.store.query(
      `insert into oauth_connections (connection_id, app, user_name, flow, secret, status, expires_at, created_by, audit_id)
       select gen_random_uuid(), 'crm', $1, 'code', $2, 'revoked', now(), 'test', audit_id from audit_log limit 1`,
      [user, secret],
    );
  await t.installation.audit.write({ action: 'test', actor: 'test' });
  assert.equal(await told('ana'), 'centaur secrets set SHOP_OAUTH --for shop');
  await revoked('ana', ownSecretName('SHOP_OAUTH', 'ana'));
  assert.equal(await told('ana'), 'centaur accounts connect crm --user ana');
  for (const other of ['bo', undefined]) assert.equal(await told(other), 'centaur accounts connect crm');
});

test('an idempotency key is one user’s, also in a thread of several', async () => {
  await using t = await createTestTools();
  let made = 0;
  t.runner.act = async () => ({ made: ++made });
  const call = shop('create', { item: 'tea' }, { idempotencyKey: 'k' });
  const answers = [];
  for (const user of ['ana', 'bo', undefined, 'ana']) answers.push((await t.tools.call(inTurnOf(user), call)).result);
  assert.deepEqual(
    answers,
    [1, 2, 3, 1].map((each) => ({ made: each })),
  );
  assert.equal(new Set(t.runner.dispatched.map(({ idempotencyKey }) => idempotencyKey)).size, 3, 'nor is it at the service');
  // at once, too: nobody is answered with what was made for another
  const [ana, bo] = await Promise.all(['ana', 'bo'].map((user) => t.tools.call(inTurnOf(user), { ...call, idempotencyKey: 'k2' })));
  assert.notDeepEqual(ana?.result, bo?.result);
});

test('a tool from which an operator took a secret away gets no user’s own in its place', async () => {
  await using t = await createTestTools();
  t.runner.serve({ ...SHOP, secrets: [{ name: 'SHOP_KEY', hosts: ['shop.example.com'] }] });
  await putSecret(t.installation, 'test', 'SHOP_KEY', { hosts: ['shop.example.com'], value: 'the-key-of-everybody' });
  const own = ownSecretName('SHOP_KEY', 'ana');
  await putSecret(t.installation, 'test', own, { hosts: ['shop.example.com'], value: 'the-key-of-ana-alone' });
  await addGrant(t.installation, 'test', 'user:ana', own);
  const ana = inTurnOf('ana');
  await t.tools.call(ana, shop('create', { item: 'tea' }));
  assert.equal(t.runner.dispatched.at(-1)?.own?.user, 'ana');
  const lease = await createLease(t.installation, 'test', {
    principal: 'tool:shop',
    onBehalfOf: 'user:ana',
    secrets: [own],
    ttlSeconds: 60,
  });
  const [grant] = await listGrants(t.store, { principal: 'tool:shop' });
  await removeGrant(t.installation, 'test', grant?.grant_id as string);
  const before = t.runner.dispatched.length;
  await t.tools.call(ana, shop('create', { item: 'tea' })).catch(() => {});
  assert.ok(
    t.runner.dispatched.slice(before).every((call) => call.own === undefined),
    'at once',
  );
  await eventually(() => t.tools.get('shop')?.missingSecrets.includes('SHOP_KEY'));
  await assert.rejects(t.tools.call(ana, shop('create', { item: 'tea' })), refused('TOOL_NOT_READY'));
  const { items } = await listLeases(t.store);
  assert.equal(items.find(({ lease_id: id }) => id === lease.leaseId)?.status, 'revoked');
  // also when there is nothing any more that it was taken away from
  await removeSecret(t.installation, 'test', 'SHOP_KEY');
  await assert.rejects(t.tools.call(ana, shop('create', { item: 'tea' })), refused('TOOL_NOT_READY'));
  await putSecret(t.installation, 'test', 'SHOP_KEY', { hosts: ['shop.example.com'], value: 'the-next-key-of-everybody' });
  await assert.rejects(t.tools.call(ana, shop('create', { item: 'tea' })), refused('TOOL_NOT_READY'));
  await addGrant(t.installation, 'test', 'tool:shop', 'SHOP_KEY');
  await t.tools.call(ana, shop('create', { item: 'tea' }));
  assert.equal(t.runner.dispatched.at(-1)?.own?.user, 'ana');
  // whereas a secret that is only gone refuses nothing
  await removeSecret(t.installation, 'test', 'SHOP_KEY');
  await t.tools.call(ana, shop('create', { item: 'tea' }));
  assert.equal(t.runner.dispatched.at(-1)?.own?.user, 'ana');
});

test('a tool to which a secret is refused gets no user’s own in its place, though there never was a shared one', async () => {
  await using t = await createTestTools();
  t.runner.serve({ ...SHOP, secrets: [{ name: 'SHOP_KEY', hosts: ['shop.example.com'] }] });
  const own = ownSecretName('SHOP_KEY', 'ana');
  await putSecret(t.installation, 'test', own, { hosts: ['shop.example.com'], value: 'the-key-of-ana-alone' });
  await addGrant(t.installation, 'test', 'user:ana', own);
  const ana = inTurnOf('ana');
  await t.tools.call(ana, shop('create', { item: 'tea' }));
  const lease = await createLease(t.installation, 'test', {
    principal: 'tool:shop',
    onBehalfOf: 'user:ana',
    secrets: [own],
    ttlSeconds: 60,
  });
  const { created_at } = await refuseGrant(t.installation, 'test', 'tool:shop', 'SHOP_KEY');
  assert.equal((await refuseGrant(t.installation, 'test', 'tool:shop', 'SHOP_KEY')).created_at, created_at);
  assert.deepEqual(await listRefusals(t.store), [{ principal: 'tool:shop', secret: 'SHOP_KEY', created_at }]);
  const { items } = await listLeases(t.store);
  assert.equal(items.find(({ lease_id: id }) => id === lease.leaseId)?.status, 'revoked');
  await assert.rejects(t.tools.call(ana, shop('create', { item: 'tea' })), refused('TOOL_NOT_READY'));
  // nor a shared one that comes later
  await putSecret(t.installation, 'test', 'SHOP_KEY', { hosts: ['shop.example.com'], value: 'the-key-of-everybody' });
  await assert.rejects(t.tools.call(KEY, shop('create', { item: 'tea' })), refused('TOOL_NOT_READY'));
  await allowGrant(t.installation, 'test', 'tool:shop', 'SHOP_KEY');
  await t.tools.call(ana, shop('create', { item: 'tea' }));
  assert.equal(t.runner.dispatched.at(-1)?.own?.user, 'ana');
  await t.tools.call(KEY, shop('create', { item: 'tea' }));
  for (const principal of ['user:ana', 'tool:*', 'shop'])
    await assert.rejects(refuseGrant(t.installation, 'test', principal, 'SHOP_KEY'), { code: 'INVALID_SECRET', message: /^principal: / });
  await assert.rejects(refuseGrant(t.installation, 'test', 'tool:shop', 'no name'), { code: 'INVALID_SECRET', message: /^name: / });
  await assert.rejects(allowGrant(t.installation, 'test', 'tool:shop', 'SHOP_KEY'), { code: 'GRANT_NOT_FOUND' });
  const actions = (await t.entries('grant')).map((entry) => `${(entry as { action: string }).action} ${entry.actor}`);
  assert.deepEqual(actions.slice(-3), ['grant.refuse test', 'grant.allow test', 'grant.add system:tools']);
});

test('a call that waited goes no further when the turn is another’s by then', async () => {
  await using t = await createTestTools();
  let user: string | undefined = 'ana';
  const caller = { ...inTurnOf(undefined), user: async () => user };
  const waiting = t.tools.call(caller, shop('remove', { id: '1' }, { waitMs: 60_000, idempotencyKey: 'k' }));
  waiting.catch(() => {});
  await eventually(async () => (await t.store.query(`select 1 from approvals where state = 'pending'`)).rowCount === 1);
  // bo said something to it
  user = undefined;
  await approve(t);
  await assert.rejects(waiting, refused('TOOL_CANCELLED'));
  assert.deepEqual([t.runner.dispatched.length, (await t.entries('tool.call')).length], [0, 0]);
  // what was approved is there to be used by what was asked for
  user = 'ana';
  await t.tools.call(caller, shop('remove', { id: '1' }, { idempotencyKey: 'k' }));
});

test('what is known to have failed is made again for the run’s next attempt, under the same key, and for no other', async () => {
  await using t = await createTestTools();
  const create = (attempt: number) => t.tools.call(KEY, shop('create', { item: 'tea' }, { idempotencyKey: 'k', attempt }));
  t.runner.act = async () => {
    throw new Told({ ok: false, code: 'OUT_OF_STOCK', message: 'no tea', retryable: false, started: true });
  };
  await assert.rejects(create(1), refused('TOOL_REFUSED', { tool_code: 'OUT_OF_STOCK' }));
  t.runner.act = async ({ args }) => args;
  await assert.rejects(create(1), refused('TOOL_REFUSED', { tool_code: 'OUT_OF_STOCK' }));
  const elsewhere = await t.another();
  elsewhere.runner.act = t.runner.act;
  const answers = await Promise.all(
    [t.tools, elsewhere.tools, t.tools].map((tools) =>
      tools.call(KEY, shop('create', { item: 'tea' }, { idempotencyKey: 'k', attempt: 2 })),
    ),
  );
  assert.deepEqual(answers[0]?.result, { item: 'tea' });
  const keys = [...t.runner.dispatched, ...elsewhere.runner.dispatched].map(({ idempotencyKey }) => idempotencyKey);
  assert.deepEqual([keys.length, new Set(keys).size], [2, 1]);
  assert.equal((await create(3)).repeated, true);
});

test('what nobody knows the outcome of stays refused, whatever the attempt', async () => {
  await using t = await createTestTools();
  const call = (method: string, attempt: number) => t.tools.call(KEY, shop(method, { item: 'tea' }, { idempotencyKey: method, attempt }));
  t.runner.act = async () => {
    throw new Told({ ok: false, code: 'TOOL_CRASHED', message: 'crashed', retryable: false, started: true });
  };
  for (const method of ['create', 'put']) await assert.rejects(call(method, 1));
  t.runner.act = async () => 'x'.repeat(9 * 1024 * 1024);
  await assert.rejects(call('create', 2), refused('TOOL_CALL_UNKNOWN'));
  await assert.rejects(t.tools.call(KEY, shop('create', { item: 'much' }, { idempotencyKey: 'much', attempt: 1 })), refused('TOO_LARGE'));
  t.runner.act = async () => 'done';
  // it was made: only its result was too large
  await assert.rejects(t.tools.call(KEY, shop('create', { item: 'much' }, { idempotencyKey: 'much', attempt: 2 })), refused('TOO_LARGE'));
  assert.equal((await call('put', 2)).result, 'done');
});

for (const { code, message } of [
  { code: 'RESULT_NOT_JSON', message: 'it returned a cycle' },
  { code: 'TOO_LARGE', message: 'it returned more than is sent' },
  { code: 'REFUSED_BY_FIREWALL', message: 'a connection was refused' },
  { code: 'TOOL_FAILED', message: 'socket hang up' },
])
  test(`a failure with ${code} is not the tool’s own word: the next attempt makes the call where that does no harm, and nowhere else`, async () => {
    await using t = await createTestTools();
    const call = (method: string, attempt: number) => t.tools.call(KEY, shop(method, { item: 'tea' }, { idempotencyKey: method, attempt }));
    t.runner.act = async () => {
      throw new Told({ ok: false, code, message, retryable: code === 'TOOL_FAILED', started: true });
    };
    const said = (error: ToolError) => error.message === message;
    for (const method of ['create', 'put']) await assert.rejects(call(method, 1), said);
    // the same attempt hears the same
    await assert.rejects(call('create', 1), said);
    t.runner.act = async () => 'done';
    await assert.rejects(call('create', 2), refused('TOOL_CALL_UNKNOWN'));
    assert.equal((await call('put', 2)).result, 'done');
    assert.deepEqual(
      t.runner.dispatched.map(({ method }) => method.name),
      ['create', 'put', 'put'],
    );
  });
