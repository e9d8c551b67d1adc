import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { createTestThreads } from '../../test/support/threads.ts';
import { eventually } from '../../test/support/wait.ts';
import { ThreadError } from './errors.ts';

const refuses = (code: string, pattern?: RegExp) => (error: unknown) => {
  assert.ok(error instanceof ThreadError, String(error));
  assert.equal(error.code, code);
  if (pattern !== undefined) assert.match(error.message, pattern);
  return true;
};

test('a spawn with an id answers the same however often it is sent, and refuses another body', async () => {
  await using t = await createTestThreads();
  const first = await t.threads.spawn({ thread_key: 'a', spawn_id: 's1', harness: 'claude' });
  assert.deepEqual(
    [first.assignment_generation, first.harness, first.state, first.assignment_state, first.idempotent],
    [1, 'claude', 'active', 'assigned_idle', false],
  );
  const again = await t.threads.spawn({ thread_key: 'a', spawn_id: 's1', harness: 'claude' });
  assert.deepEqual(again, { ...first, idempotent: true });
  await assert.rejects(
    t.threads.spawn({ thread_key: 'a', spawn_id: 's1', harness: 'demo' }),
    refuses('IDEMPOTENCY_PAYLOAD_MISMATCH', /s1/),
  );
  await t.threads.release({ thread_key: 'a' });
  assert.deepEqual(await t.threads.spawn({ thread_key: 'a', spawn_id: 's1', harness: 'claude' }), { ...first, idempotent: true });
});

test('a spawn that names nothing attaches; one that names something else is refused until the release', async () => {
  await using t = await createTestThreads();
  await t.threads.spawn({ thread_key: 'a', persona_id: 'reviewer' });
  const attached = await t.threads.spawn({ thread_key: 'a' });
  assert.deepEqual(
    [attached.assignment_generation, attached.harness, attached.persona_id, attached.prompt_ref],
    [1, 'claude', 'reviewer', 'persona:reviewer'],
  );
  await assert.rejects(
    t.threads.spawn({ thread_key: 'a', harness: 'demo' }),
    refuses('ACTIVE_ASSIGNMENT_PROMPT_MISMATCH', /claude with the persona reviewer/),
  );
  assert.equal((await t.threads.release({ thread_key: 'a', release_id: 'r' })).released, true);
  assert.equal((await t.threads.release({ thread_key: 'a', release_id: 'r' })).idempotent, true);
  assert.deepEqual(await t.threads.release({ thread_key: 'a' }), {
    thread_key: 'a',
    released: false,
    reason: 'no_active_assignment',
    idempotent: false,
  });
  assert.equal((await t.threads.spawn({ thread_key: 'a', harness: 'demo' })).assignment_generation, 2);
});

test('a thread keeps its persona as it was, with its hash, until it is released', async () => {
  await using t = await createTestThreads();
  const first = await t.threads.spawn({ thread_key: 'a', persona_id: 'shopper', agents_md_override: 'Only tea.' });
  assert.deepEqual([first.harness, first.persona_sha256], ['demo', 'ab'.repeat(32)]);
  // of persona and override together, as before
  assert.equal(first.effective_agents_md_sha256, createHash('sha256').update('Shop.\n\nOnly tea.').digest('hex'));
  t.personas.set('shopper', { harness: 'claude', prompt: 'Shop more.' });
  const again = await t.threads.spawn({ thread_key: 'a', persona_id: 'shopper', agents_md_override: 'Only tea.' });
  assert.deepEqual([again.assignment_generation, again.harness, again.persona_sha256], [1, 'demo', first.persona_sha256]);
  t.personas.delete('shopper');
  assert.equal(
    (await t.threads.spawn({ thread_key: 'a', persona_id: 'shopper', agents_md_override: 'Only tea.' })).assignment_generation,
    1,
  );
  assert.equal((await t.threads.getThread('a')).persona_sha256, first.persona_sha256);
  const prompt = await t.threads.getPrompt('a');
  assert.deepEqual([prompt.parts[0]?.text, prompt.model, prompt.persona?.name], ['Shop. / Only tea.', 'small', 'shopper']);
  let seen: unknown;
  t.onTurn(async (owner, threads) => {
    const { persona, override } = await threads.turns.begin(owner);
    seen = [persona?.prompt, persona?.model, persona?.effort, persona?.tools, override];
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: '' });
  });
  await t.ended(await t.say('a', 'hello'));
  assert.deepEqual(seen, ['Shop.', 'small', 'low', ['shop'], 'Only tea.']);
});

test('which tools a thread may call is up to its present persona', async () => {
  await using t = await createTestThreads();
  assert.equal(await t.threads.allowedTools('a'), null);
  await t.threads.spawn({ thread_key: 'a', persona_id: 'shopper' });
  assert.deepEqual(await t.threads.allowedTools('a'), ['shop']);
  await t.threads.release({ thread_key: 'a' });
  await t.threads.spawn({ thread_key: 'a', persona_id: 'reviewer' });
  assert.equal(await t.threads.allowedTools('a'), null);
});

test('a turn that runs may call what its own persona leaves it, though its thread is released and has another one', async () => {
  await using t = await createTestThreads();
  const allowed: unknown[] = [];
  t.onTurn(async (owner, threads) => {
    await threads.turns.begin(owner);
    await threads.release({ thread_key: 'a' });
    allowed.push(await threads.allowedTools('a'));
    await threads.spawn({ thread_key: 'a' });
    allowed.push(await threads.allowedTools('a'));
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: '' });
  });
  await t.threads.spawn({ thread_key: 'a', persona_id: 'shopper' });
  await t.ended(await t.say('a', 'hello'));
  assert.deepEqual(allowed, [['shop'], ['shop']]);
  assert.equal(await t.threads.allowedTools('a'), null);
});

test('a turn is a user’s when nobody else has a word in it, and while it runs', async () => {
  await using t = await createTestThreads();
  let seen: unknown;
  /** Null: without a name. */
  let steer: string | null | undefined;
  let role: 'system' | undefined;
  t.onTurn(async (owner, threads) => {
    await threads.turns.begin(owner);
    if (steer !== undefined)
      await threads.steer(owner.executionId, { content_blocks: [{ type: 'text', text: 'and more' }], user_id: steer ?? undefined });
    seen = await threads.userOfTurn('a');
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: '' });
  });
  const turn = async (by: readonly (string | undefined)[], asked?: string) => {
    seen = 'nobody looked';
    const { assignment_generation } = await t.threads.spawn({ thread_key: 'a' });
    for (const user_id of by)
      await t.threads.message({
        thread_key: 'a',
        assignment_generation,
        parts: [{ type: 'text', text: 'x' }],
        user_id,
        ...(user_id === undefined ? { role } : {}),
      });
    await t.ended((await t.threads.execute({ thread_key: 'a', assignment_generation, user_id: asked })).execution_id);
    return seen;
  };
  assert.equal(await turn(['ana'], 'ana'), 'ana');
  assert.equal(await turn(['ana', 'ana'], 'ana'), 'ana');
  assert.equal(await turn(['ana']), undefined, 'nobody knows who asked for it, and gets the answer');
  assert.equal(await turn([undefined], 'ana'), undefined, 'nobody knows who said that');
  assert.equal(await turn([undefined]), undefined);
  assert.equal(await turn(['ana', 'bo'], 'ana'), undefined);
  assert.equal(await turn(['ana', undefined], 'ana'), undefined);
  assert.equal(await turn(['workflow:7'], 'workflow:7'), undefined, 'a run is nobody');
  role = 'system';
  assert.equal(await turn(['ana', undefined], 'ana'), undefined, 'whatever part it plays');
  role = undefined;
  assert.equal(await turn(['bo'], 'ana'), undefined);
  assert.equal(await t.threads.userOfTurn('a'), undefined, 'no turn runs');
  assert.equal(await t.threads.userOfTurn('unknown'), undefined);
  for (const by of ['bo', null]) {
    steer = by;
    assert.equal(await turn(['ana'], 'ana'), undefined, 'somebody else had a word in it');
    steer = undefined;
    // what was said too late for that turn is said to the next one, and is still not ana's
    assert.equal(await turn(['ana'], 'ana'), undefined);
    assert.equal(await turn(['ana'], 'ana'), 'ana');
  }
});

test('what is unknown is refused by name', async () => {
  await using t = await createTestThreads();
  await assert.rejects(t.threads.spawn({ thread_key: 'a', harness: 'gpt' }), refuses('UNKNOWN_HARNESS', /demo, claude/));
  await assert.rejects(
    t.threads.spawn({ thread_key: 'a', persona_id: 'nobody' }),
    refuses('UNKNOWN_PERSONA_ID', /"nobody"; known are reviewer, shopper$/),
  );
  await assert.rejects(
    t.threads.spawn({ thread_key: 'a', persona_id: 'reviewr' }),
    refuses('UNKNOWN_PERSONA_ID', /"reviewr"; did you mean reviewer\?/),
  );
  await assert.rejects(t.threads.getThread('a'), refuses('THREAD_NOT_FOUND'));
  await assert.rejects(t.threads.spawn({ thread_key: '' }), refuses('INVALID_REQUEST', /thread_key/));
  await assert.rejects(t.threads.spawn({ thread_key: 'a\u0000b' }), refuses('INVALID_REQUEST', /control/));
  await assert.rejects(t.threads.message({ thread_key: 'nowhere', assignment_generation: 1, parts: [] }), refuses('NO_ACTIVE_ASSIGNMENT'));
  await assert.rejects(t.threads.getThread('nowhere'), refuses('THREAD_NOT_FOUND'));
  for (const reading of [
    () => t.threads.listMessages('nowhere', { limit: 5 }),
    () => t.threads.listExecutions('nowhere', { limit: 5 }),
    () => t.threads.listAttachments('nowhere'),
  ])
    await assert.rejects(reading(), refuses('THREAD_NOT_FOUND'));
  await assert.rejects(t.threads.getExecution('exe_1'), refuses('EXECUTION_NOT_FOUND'));
});

test('a message is stored once, in its place, and an old generation is refused', async () => {
  await using t = await createTestThreads();
  const { assignment_generation } = await t.threads.spawn({ thread_key: 'a' });
  const message = { thread_key: 'a', assignment_generation, message_id: 'm1', parts: [{ type: 'text', text: 'hello' }] };
  assert.deepEqual(await t.threads.message(message), { message_id: 'm1', stored_event_id: 'a:m1', attachment_ids: [], idempotent: false });
  assert.equal((await t.threads.message(message)).idempotent, true);
  await assert.rejects(
    t.threads.message({ ...message, parts: [{ type: 'text', text: 'other' }] }),
    refuses('IDEMPOTENCY_PAYLOAD_MISMATCH'),
  );
  await Promise.all(Array.from({ length: 20 }, (_, i) => t.threads.message({ ...message, message_id: `n${i}` })));
  const { items, next } = await t.threads.listMessages('a', { limit: 15 });
  const rest = await t.threads.listMessages('a', { after: next ?? '', limit: 15 });
  assert.equal(new Set([...items, ...rest.items].map(({ id }) => id)).size, 21);
  await t.threads.release({ thread_key: 'a' });
  await t.threads.spawn({ thread_key: 'a' });
  await assert.rejects(t.threads.message({ ...message, message_id: 'm2' }), refuses('ASSIGNMENT_GENERATION_STALE', /2/));
});

test('data in a message becomes an attachment, is served back, and must be base64', async () => {
  await using t = await createTestThreads();
  const { assignment_generation } = await t.threads.spawn({ thread_key: 'a' });
  const picture = Buffer.alloc(5000, 7);
  const image = (data: string) => ({ type: 'image', name: '../../etc/x.png', source: { type: 'base64', media_type: 'image/png', data } });
  const { attachment_ids } = await t.threads.message({
    thread_key: 'a',
    assignment_generation,
    parts: [{ type: 'text', text: 'look' }, image(picture.toString('base64')), image(Buffer.from('tiny').toString('base64'))],
  });
  assert.equal(attachment_ids.length, 1);
  const attachment = await t.threads.readAttachment(attachment_ids[0] as string);
  assert.deepEqual(
    [attachment.name, attachment.mime_type, attachment.size, attachment.data.equals(picture)],
    ['.._.._etc_x.png', 'image/png', 5000, true],
  );
  const [message] = (await t.threads.listMessages('a', { limit: 1 })).items;
  assert.deepEqual((message?.parts[1] as { source?: { attachment_id?: string } } | undefined)?.source?.attachment_id, attachment.id);
  for (const bad of ['not base64!', 'QUJD*', 'A', ''])
    await assert.rejects(
      t.threads.message({ thread_key: 'a', assignment_generation, parts: [image(bad)] }),
      refuses('INVALID_BASE64_ATTACHMENT', /parts\[0\]/),
      bad,
    );
  assert.equal((await t.threads.listMessages('a', { limit: 10 })).items.length, 1, 'a refused message changes nothing');
});

test('an execution takes the messages that wait, runs, and ends with its result and its last event', async () => {
  await using t = await createTestThreads();
  const seen: unknown[] = [];
  t.onTurn(async (owner, threads) => {
    const turn = await threads.turns.begin(owner);
    seen.push(turn.messages.map(({ parts }) => parts[0]?.['text']));
    await threads.turns.append(owner, [{ kind: 'text.delta', data: { type: 'text.delta', text: 'ok' } }], 17);
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: 'a\0b', usage: { input: 1 } });
  });
  const executionId = await t.say('a', 'one');
  const execution = await t.ended(executionId);
  assert.deepEqual([execution.status, execution.terminal_reason, execution.result_text], ['completed', 'completed', 'a\ufffdb']);
  assert.deepEqual(seen, [['one']]);
  const events = await t.events('a');
  assert.deepEqual(
    events.map(({ id, kind, data }) => `${id} ${kind} ${(data['status'] ?? '') as string}`),
    ['1 message_stored ', '2 execution_state queued', '3 execution_state running', '4 text.delta ', '5 execution_state completed'],
  );
  await assert.rejects(
    t.threads.execute({ thread_key: 'a', assignment_generation: 1 }),
    refuses('NO_INPUT'),
    'the message was answered already',
  );
});

test('an execution with an id happens once', async () => {
  await using t = await createTestThreads();
  let turns = 0;
  t.onTurn(async (owner, threads) => {
    turns += 1;
    await threads.turns.begin(owner);
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: '' });
  });
  const { assignment_generation } = await t.threads.spawn({ thread_key: 'a' });
  await t.threads.message({ thread_key: 'a', assignment_generation, parts: [{ type: 'text', text: 'x' }] });
  const request = { thread_key: 'a', assignment_generation, execute_id: 'e1' };
  const all = await Promise.all(Array.from({ length: 10 }, () => t.threads.execute(request)));
  assert.equal(new Set(all.map(({ execution_id }) => execution_id)).size, 1);
  assert.equal(all.filter(({ idempotent }) => !idempotent).length, 1);
  await assert.rejects(t.threads.execute({ ...request, model: 'other' }), refuses('IDEMPOTENCY_PAYLOAD_MISMATCH'));
  await t.ended(all[0]?.execution_id ?? '');
  assert.equal((await t.threads.execute(request)).status, 'completed');
  assert.equal(turns, 1);
});

test('a thread has one turn at a time, in order; other threads do not wait', async () => {
  await using t = await createTestThreads();
  let running = 0;
  const order: string[] = [];
  const release: (() => void)[] = [];
  t.onTurn(async (owner, threads) => {
    const turn = await threads.turns.begin(owner);
    if (owner.threadKey === 'a') {
      running += 1;
      assert.equal(running, 1);
      order.push(String(turn.messages[0]?.parts[0]?.['text']));
      await new Promise<void>((resolve) => release.push(resolve));
      running -= 1;
    }
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: '' });
  });
  const ids = [await t.say('a', 'one'), await t.say('a', 'two'), await t.say('a', 'three')];
  await t.ended(await t.say('b', 'meanwhile'));
  for (const id of ids) {
    await eventually(() => release.length > 0);
    release.shift()?.();
    await t.ended(id);
  }
  assert.deepEqual(order, ['one', 'two', 'three']);
});

test('a queued turn is cancelled at once, a running one is told; both end with an event', async () => {
  await using t = await createTestThreads();
  t.onTurn(async (owner, threads) => {
    await threads.turns.begin(owner);
    await new Promise<void>((resolve) => {
      const stop = threads.turns.onSignal(owner.executionId, async () => {
        if (!(await threads.turns.readSignals(owner, 0)).cancelRequested) return;
        stop();
        resolve();
      });
    });
    await threads.turns.finish(owner, { status: 'cancelled', reason: 'cancelled', resultText: '' });
  });
  const first = await t.say('a', 'one');
  const second = await t.say('a', 'two');
  await eventually(async () => (await t.threads.getExecution(first)).status === 'running');
  assert.equal((await t.threads.cancel(second)).status, 'cancelled');
  assert.deepEqual(await t.threads.cancel(second), { execution_id: second, thread_key: 'a', status: 'cancelled', idempotent: true });
  assert.equal((await t.threads.cancel(first)).status, 'cancel_requested');
  assert.equal((await t.ended(first)).status, 'cancelled');
  const states = (await t.events('a'))
    .filter(({ kind }) => kind === 'execution_state')
    .map(({ data }) => `${data['execution_id'] === first} ${data['status'] as string}`);
  assert.deepEqual(
    states,
    ['true queued', 'false queued', 'true running', 'false cancelled', 'true cancel_requested', 'true cancelled'].toSorted(
      (a, b) => states.indexOf(a) - states.indexOf(b),
    ),
  );
  await assert.rejects(t.threads.cancel('00000000-0000-7000-8000-000000000000'), refuses('EXECUTION_NOT_FOUND'));
});

test('what is said to a running turn reaches it once and in order', async () => {
  await using t = await createTestThreads();
  const heard: unknown[] = [];
  t.onTurn(async (owner, threads) => {
    await threads.turns.begin(owner);
    let position = 0;
    while (heard.length < 3) {
      const { signals } = await threads.turns.readSignals(owner, position);
      for (const signal of signals) {
        position = signal.position;
        heard.push((signal.body as { text: string }[])[0]?.text);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: '' });
  });
  const executionId = await t.say('a', 'one');
  await eventually(async () => (await t.threads.getExecution(executionId)).status === 'running');
  for (const text of ['x', 'x', 'y', 'z'])
    await t.threads.steer(executionId, { content_blocks: [{ type: 'text', text }], message_id: text });
  await t.ended(executionId);
  assert.deepEqual(heard, ['x', 'y', 'z']);
  await assert.rejects(t.threads.steer(executionId, { content_blocks: [] }), refuses('EXECUTION_NOT_RUNNING', /completed/));
});

test('ids are without gaps and in order of commit, whoever appends', async () => {
  await using t = await createTestThreads();
  t.onTurn(async (owner, threads) => {
    await threads.turns.begin(owner);
    for (let i = 0; i < 200; i++) await threads.turns.append(owner, [{ kind: 'text.delta', data: { i } }]);
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: '' });
  });
  const executionId = await t.say('a', 'one');
  const read: number[] = [];
  const reading = (async () => {
    for await (const { bytes } of t.threads.follow('a', 0, { executionId, signal: AbortSignal.timeout(60_000) }))
      for (const [, id] of Buffer.from(bytes)
        .toString()
        .matchAll(/^id: (\d+)$/gm))
        read.push(Number(id));
  })();
  for (let i = 0; i < 50; i++)
    await t.threads.message({ thread_key: 'a', assignment_generation: 1, parts: [{ type: 'text', text: `${i}` }] });
  await reading;
  const all = await t.events('a');
  assert.deepEqual(
    all.map(({ id }) => id),
    all.map((_, i) => i + 1),
  );
  const own = new Set(read);
  assert.equal(own.size, read.length, 'nothing twice');
  assert.deepEqual(
    read,
    read.toSorted((a, b) => a - b),
  );
  assert.equal(read.length, 200 + 3, 'the turn’s own events, to the last');
});

test('a worker that lost the turn writes nothing more', async () => {
  await using t = await createTestThreads();
  const refused: unknown[] = [];
  t.onTurn(async (owner, threads) => {
    await threads.turns.begin(owner);
    await t.store.query('update workflow_runs set owner = null where run_id = $1', [owner.runId]);
    for (const write of [
      () => threads.turns.append(owner, [{ kind: 'x', data: {} }], 5),
      () => threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: 'stale' }),
      () => threads.turns.recordSandbox(owner, { state: 'idle', sandboxId: null, backend: null, host: null, logOffset: 9 }),
    ])
      await write().catch((error: ThreadError) => refused.push(error.code));
    await t.store.query('update workflow_runs set owner = $2 where run_id = $1', [owner.runId, t.engine.engine.stats().worker_id]);
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: 'fresh' });
  });
  const execution = await t.ended(await t.say('a', 'one'));
  assert.deepEqual(refused, ['TURN_TAKEN_OVER', 'TURN_TAKEN_OVER', 'TURN_TAKEN_OVER']);
  assert.equal(execution.result_text, 'fresh');
  assert.equal(
    (await t.events('a')).some(({ kind }) => kind === 'x'),
    false,
  );
});

test('a turn whose start was cut off is started by the sweep', async () => {
  await using t = await createTestThreads();
  const { assignment_generation } = await t.threads.spawn({ thread_key: 'a' });
  await t.threads.message({ thread_key: 'a', assignment_generation, parts: [{ type: 'text', text: 'x' }] });
  await t.store.query('alter table workflow_triggers rename to workflow_triggers_away');
  const { execution_id } = await t.threads.execute({ thread_key: 'a', assignment_generation });
  await t.store.query('alter table workflow_triggers_away rename to workflow_triggers');
  assert.equal((await t.threads.getExecution(execution_id)).status, 'queued');
  await t.store.query(`update agent_execution_requests set created_at = now() - interval '1 minute'`);
  // the sweep of this process may have been at it by itself, a moment before
  assert.ok((await t.threads.turns.startForgotten()) <= 1);
  assert.equal((await t.ended(execution_id)).status, 'completed');
});

test('whoever shows a turn keeps it when it notes something as the turn ends', async () => {
  await using t = await createTestThreads();
  const gate = Promise.withResolvers<void>();
  t.onTurn(async (owner, threads) => {
    await threads.turns.begin(owner);
    await gate.promise;
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: 'done' });
  });
  const id = await t.say('a', 'hello', { platform: 'slack', delivery: { channel: 'C1' } });
  const { deliveries } = t.threads;
  await deliveries.claim({ consumer_id: 'bot', limit: 1, lease_seconds: 60, live: true });
  // the end of a turn, before its commit
  const renewed = await t.store.transaction(async (tx) => {
    await tx.query(
      `insert into agent_final_delivery_outbox (thread_key, execution_id, platform, delivery, final_payload) values ('a', $1, 'slack', '{}', '{}')`,
      [id],
    );
    const renewing = deliveries.renew(id, 'bot', 60, { seen: 1 });
    await eventually(async () => {
      const waiting = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%progress%'`;
      return (await t.store.query(waiting)).rowCount === 1;
    });
    return { renewing };
  });
  assert.deepEqual(await renewed.renewing, { state: 'sending' });
  gate.resolve();
});

test('a final answer is owed until somebody says that it was delivered', async () => {
  await using t = await createTestThreads();
  const executionId = await t.say('slack:C1:1', 'one', { platform: 'slack', delivery: { channel: 'C1' } });
  await t.ended(executionId);
  const { deliveries } = t.threads;
  assert.deepEqual(await deliveries.claim({ consumer_id: 'x', limit: 5, lease_seconds: 60, platform: 'discord' }), []);
  const [claimed] = await deliveries.claim({ consumer_id: 'bot1', limit: 5, lease_seconds: 60, platform: 'slack' });
  assert.deepEqual(
    [
      claimed?.execution_id,
      claimed?.attempt_count,
      claimed?.delivery,
      (claimed?.final_payload as { result_text: string } | undefined)?.result_text,
    ],
    [executionId, 1, { channel: 'C1' }, 'done'],
  );
  assert.deepEqual(await deliveries.claim({ consumer_id: 'bot2', limit: 5, lease_seconds: 60 }), [], 'it is claimed');
  await assert.rejects(deliveries.settle(executionId, 'bot2'), refuses('DELIVERY_NOT_CLAIMED'));
  await deliveries.renew(executionId, 'bot1', 60);
  await t.store.query(`update agent_final_delivery_outbox set lease_expires_at = now() - interval '1 s'`);
  assert.equal(
    (await deliveries.claim({ consumer_id: 'bot2', limit: 5, lease_seconds: 60 }))[0]?.attempt_count,
    2,
    'its consumer was silent',
  );
  await assert.rejects(deliveries.renew(executionId, 'bot1', 60), refuses('DELIVERY_NOT_CLAIMED'));
  assert.deepEqual(await deliveries.fail(executionId, { consumer_id: 'bot2', error: 'rate limited', retry_after_seconds: 5 }), {
    state: 'retry_wait',
  });
  assert.deepEqual(await deliveries.claim({ consumer_id: 'bot2', limit: 5, lease_seconds: 60 }), [], 'not before its time');
  await deliveries.retry(executionId);
  assert.equal((await deliveries.claim({ consumer_id: 'bot2', limit: 5, lease_seconds: 60 })).length, 1);
  assert.deepEqual(await deliveries.settle(executionId, 'bot2'), { idempotent: false });
  assert.deepEqual(await deliveries.settle(executionId, 'bot2'), { idempotent: true });
  assert.equal((await t.events('slack:C1:1')).at(-1)?.kind, 'final_delivery_delivered');
});

test('a delivery that cannot succeed becomes a dead letter', async () => {
  await using t = await createTestThreads();
  const executionId = await t.say('a', 'one', { platform: 'slack' });
  await t.ended(executionId);
  await t.threads.deliveries.claim({ consumer_id: 'bot', limit: 1, lease_seconds: 60 });
  assert.deepEqual(await t.threads.deliveries.fail(executionId, { consumer_id: 'bot', error: 'channel_not_found', non_retryable: true }), {
    state: 'dead_letter',
  });
  assert.deepEqual(await t.threads.deliveries.claim({ consumer_id: 'bot', limit: 1, lease_seconds: 60 }), []);
});

test('threads are listed by use, each once, also while others are used', async () => {
  await using t = await createTestThreads();
  for (let i = 0; i < 25; i++) await t.threads.spawn({ thread_key: `t${i}` });
  const seen: string[] = [];
  let after: string | undefined;
  do {
    const page = await t.threads.listThreads({ after, limit: 10 });
    seen.push(...page.items.map(({ thread_key }) => thread_key));
    after = page.next ?? undefined;
  } while (after !== undefined);
  assert.equal(seen.length, 25);
  assert.equal(new Set(seen).size, 25);
  assert.equal(seen[0], 't24');
  await assert.rejects(t.threads.listThreads({ after: 'x', limit: 1 }), refuses('INVALID_REQUEST', /after/));
});

test('a page of the stream ends where it grows large, and the next one goes on behind it', async () => {
  await using t = await createTestThreads();
  const size = 700_000;
  t.onTurn(async (owner, threads) => {
    await threads.turns.begin(owner);
    for (let i = 0; i < 12; i++) await threads.turns.append(owner, [{ kind: 'message', data: { i, text: 'x'.repeat(size) } }]);
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: 'done' });
  });
  await t.ended(await t.say('large', 'go'));
  const pages: number[] = [];
  const ids: number[] = [];
  for await (const { bytes, last } of t.threads.follow('large', 0, { signal: AbortSignal.timeout(60_000) })) {
    pages.push(bytes.length);
    for (const [, id] of Buffer.from(bytes)
      .toString()
      .matchAll(/^id: (\d+)$/gm))
      ids.push(Number(id));
    if (last === (await t.threads.getThread('large')).last_event_id) break;
  }
  assert.deepEqual(
    ids,
    ids.map((_, i) => i + 1),
  );
  assert.ok(pages.length >= 3 && Math.max(...pages) < 5_000_000, pages.join(' '));
});

test('a question with a zero byte in it is found among what the turn has told', async () => {
  await using t = await createTestThreads();
  const found: boolean[] = [];
  t.onTurn(async (owner, threads) => {
    await threads.turns.begin(owner);
    const data = { type: 'approval_pending', summary: { command: 'printf "\0"', quoted: '"approval_id":"b"' }, approval_id: 'a' };
    await threads.turns.append(owner, [{ kind: 'approval_pending', data }]);
    for (const id of ['a', 'b']) found.push(await threads.turns.hasEvent(owner, 'approval_pending', id));
    await threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText: 'done' });
  });
  await t.ended(await t.say('a', 'go'));
  assert.deepEqual(found, [true, false]);
});
