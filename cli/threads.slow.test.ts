import assert from 'node:assert/strict';
import { createServer, connect as connectTo, type AddressInfo, type Socket } from 'node:net';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import type { z } from 'zod';
import {
  createClient,
  type AgentEventData,
  type ExecutionView,
  type ThreadView,
  type MessageView,
  type PromptView,
  type Attachment,
} from '@centaur/sdk';
import type { AttachmentSchema, ExecutionSchema, MessageSchema, PromptSchema, ThreadSchema } from '../kernel/api/thread-schemas.ts';
import type { Threads } from '../kernel/threads/index.ts';
import type { TurnOwner } from '../kernel/threads/events.ts';
import { ADMIN, startTestApi, type TestApi } from '../test/support/api.ts';
import { createPlace, type Finished, type Place } from '../test/support/cli.ts';
import { createTestThreads, type TestThreads } from '../test/support/threads.ts';
import { eventually } from '../test/support/wait.ts';

let t: TestThreads;
let api: TestApi;
let place: Place;

before(async () => {
  t = await createTestThreads();
  api = await startTestApi({ threads: t.threads, on: t.engine });
  place = createPlace({ CENTAUR_API_URL: api.url, CENTAUR_API_KEY: ADMIN });
});

after(async () => {
  await place[Symbol.asyncDispose]();
  await api[Symbol.asyncDispose]();
  await t[Symbol.asyncDispose]();
});

/** What agents do, by the thread that they are asked in. */
const scripts = new Map<string, (say: Said, owner: TurnOwner) => Promise<void>>();
interface Said {
  (...events: AgentEventData[]): Promise<void>;
  end(text: string, more?: Partial<Parameters<Threads['turns']['finish']>[1]>): Promise<void>;
  /** Until somebody cancels the turn; then it ends so. */
  untilCancelled(): Promise<void>;
}

beforeEach(() => {
  t.onTurn(async (owner, threads) => {
    await threads.turns.begin(owner);
    const say: Said = Object.assign(
      (...events: AgentEventData[]) =>
        threads.turns.append(
          owner,
          events.map((data) => ({ kind: data.type, data })),
        ),
      {
        end: (resultText: string, more = {}) =>
          threads.turns.finish(owner, { status: 'completed', reason: 'completed', resultText, ...more }),
        async untilCancelled() {
          await eventually(async () => (await threads.turns.readSignals(owner, 0)).cancelRequested);
          await say.end('', { status: 'cancelled', reason: 'cancelled' });
        },
      },
    );
    await (scripts.get(owner.threadKey) ?? (() => say.end('done')))(say, owner);
  });
});

const threads = (...args: string[]) => place.run(['threads', ...args]);
const json = ({ stdout }: Finished) => JSON.parse(stdout);
const lines = (text: string) => text.trim().split('\n');

/** A turn of one message that is streamed, with a tool before it. */
const TURN: AgentEventData[] = [
  { type: 'text.delta', message_id: 'm1', text: 'I will\tlook' },
  { type: 'text.delta', message_id: 'm1', text: ' it up.' },
  { type: 'tool_use', id: 't1', name: 'Bash', input: { command: 'ls' } },
  { type: 'message', message_id: 'm1', content: [{ type: 'text', text: 'I will\tlook it up.' }], phase: 'commentary' },
  { type: 'tool_result', id: 't1', content: [{ type: 'text', text: 'a.txt\nb.txt' }], is_error: false },
  { type: 'message', message_id: 'm2', content: [{ type: 'text', text: 'Two files: \u001b]0;gotcha\u0007\u009b2J.' }], phase: 'final' },
];

test('a turn that is waited for says its text on stdout, once, and what it does on stderr', async () => {
  scripts.set('talk', async (say) => {
    await say(...TURN);
    await say.end('Two files.');
  });
  const { code, stdout, stderr } = await threads('send', 'talk', 'What is here?', '--wait');
  assert.equal(code, 0);
  assert.equal(stdout, 'I will\tlook it up.\nTwo files: \\x1b]0;gotcha\\x07\\x9b2J.\n');
  assert.deepEqual(lines(stderr).slice(1), ['queued', 'running', '→ Bash {"command":"ls"}', '← a.txt … 2 lines', 'completed']);
});

test('an agent that tells no more than its result is heard all the same', async () => {
  const { code, stdout } = await threads('send', 'terse', 'hello', '--follow');
  assert.deepEqual([code, stdout], [0, 'done\n']);
});

test('a turn that fails is exit code 1, and says why', async () => {
  for (const key of ['fails', 'fails too'])
    scripts.set(key, (say) => say.end('', { status: 'failed_permanent', reason: 'harness_missing', errorText: 'no claude here' }));
  const [{ code, stdout, stderr }, asJson] = await Promise.all([
    threads('send', 'fails', 'hello', '--wait'),
    threads('send', 'fails too', 'hello', '--wait', '--json'),
  ]);
  assert.deepEqual([code, stdout, lines(stderr).at(-1)], [1, '', 'failed (harness_missing): no claude here']);
  assert.deepEqual([asJson.code, asJson.stderr, json(asJson).error_text], [1, '', 'no claude here']);
});

test('a turn’s id is all that goes to stdout, and an id of one’s own makes it happen once', async () => {
  const first = await threads('send', 'once', 'hello', '--execute-id', 'e1', '--model', 'small', '--effort', 'low', '--harness', 'demo');
  assert.match(first.stdout, /^[0-9a-f-]{36}\n$/);
  const [again, other] = await Promise.all([
    threads('send', 'once', 'hello', '--execute-id', 'e1', '--model', 'small', '--effort', 'low', '--harness', 'demo'),
    threads('send', 'once', 'bye', '--execute-id', 'e1'),
  ]);
  assert.deepEqual([again.stdout, again.stderr], [first.stdout, 'this was sent before: it is that turn\n']);
  assert.deepEqual([other.code, /was used before.*\nAn id stands for one request/.test(other.stderr)], [1, true]);
  const turn = await t.threads.getExecution(first.stdout.trim());
  assert.deepEqual([turn.model, turn.harness, turn.execute_id], ['small', 'demo', 'e1']);
});

test('files and stdin reach the agent, and come back as they were', async () => {
  const picture = Buffer.alloc(5000, 7);
  const file = path.join(place.folder, 'photo.PNG');
  writeFileSync(file, picture);
  const sent = await place.run(['threads', 'send', 'files', '-', '--file', file, '--file', place.write('a.pdf', 'x'), '--wait'], {
    stdin: 'look\n',
  });
  assert.equal(sent.code, 0, sent.stderr);
  const [messages, shown, attachments, listed] = await Promise.all([
    threads('messages', 'files', '--json'),
    threads('messages', 'files'),
    threads('attachments', 'files', '--json'),
    threads('attachments', 'files'),
  ]);
  const [message] = json(messages).items;
  assert.deepEqual(
    message.parts.map((part: { type: string; text?: string; source?: { media_type: string } }) => [
      part.type,
      part.text ?? part.source?.media_type,
    ]),
    [
      ['text', 'look'],
      ['image', 'image/png'],
      ['document', 'application/pdf'],
    ],
  );
  assert.match(shown.stdout, /^user, .* ago\nlook \[image photo\.PNG\] \[document a\.pdf\]\n$/);
  const { items } = json(attachments);
  assert.match(listed.stdout, new RegExp(`^${items[0].id} +photo\\.PNG +image/png +4\\.9 KiB +sent`, 'm'));
  const copy = path.join(place.folder, 'copy.png');
  assert.equal((await threads('download', items[0].id, '-o', copy)).code, 0);
  assert.ok(readFileSync(copy).equals(picture));
});

test('Ctrl-C leaves the turn to itself; asked twice it cancels', async () => {
  for (const key of ['left', 'stopped']) scripts.set(key, (say) => say.untilCancelled());
  const stopped = await t.say('stopped', 'work');
  const once = place.start(['threads', 'send', 'left', 'work', '--wait']);
  const twice = place.start(['threads', 'tail', 'stopped', '--execution', stopped]);
  for (const { child, output } of [once, twice]) {
    await eventually(() => output.stderr.includes('running'));
    child.kill('SIGINT');
    await eventually(() => output.stderr.includes('Ctrl-C again within 2 seconds cancels'));
  }
  twice.child.kill('SIGINT');
  const ended = await twice.finished;
  assert.deepEqual([ended.code, lines(ended.stderr).at(-1)], [1, 'cancelled']);
  assert.equal((await t.threads.getExecution(stopped)).status, 'cancelled');

  const { code, stderr } = await once.finished;
  assert.equal(code, 130);
  const left = /the turn goes on; follow it with: centaur threads tail left --execution (\S+)/.exec(stderr)?.[1] ?? '';
  assert.equal((await t.threads.getExecution(left)).status, 'running');
  await t.threads.cancel(left);
});

test('a tail that is resumed, and whose connection is lost, tells each event once', async () => {
  const goOn = Promise.withResolvers<void>();
  scripts.set('cut', async (say) => {
    await say(...Array.from({ length: 30 }, (_, i): AgentEventData => ({ type: 'text.delta', message_id: 'm', text: `${i} ` })));
    await goOn.promise;
    await say(...Array.from({ length: 30 }, (_, i): AgentEventData => ({ type: 'text.delta', message_id: 'm', text: `${i} ` })));
    await say.end('done');
  });
  const id = await t.say('cut', 'hello');
  await using proxy = await cuttable(api.url);
  const tail = place.start(['threads', 'tail', 'cut', '--execution', id, '--after', '5', '--json'], { CENTAUR_API_URL: proxy.url });
  await eventually(() => tail.output.stdout.includes('"id":33,'));
  assert.ok(proxy.cut() > 0);
  goOn.resolve();
  const { code, stdout } = await tail.finished;
  assert.equal(code, 0);
  assert.deepEqual(
    lines(stdout).map((line) => JSON.parse(line).id),
    Array.from({ length: 59 }, (_, i) => i + 6),
  );
  // behind the last event nothing comes, and the exit code still tells how the turn ended
  const late = await threads('tail', 'cut', '--execution', id, '--after', '64', '--json');
  assert.deepEqual([late.code, late.stdout], [0, '']);
});

/** A proxy whose connections can be cut; later ones go through. */
async function cuttable(url: string) {
  const open = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connectTo(Number(new URL(url).port), '127.0.0.1');
    for (const socket of [client, upstream]) {
      open.add(socket);
      socket.on('error', () => socket.destroy()).on('close', () => open.delete(socket));
    }
    client.pipe(upstream).pipe(client);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = () => {
    const count = open.size;
    for (const socket of open) socket.destroy();
    return count;
  };
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut,
    async [Symbol.asyncDispose]() {
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

test('a thread is told as far as it has come, without waiting for more', async () => {
  await t.ended(await t.say('history', 'one'));
  const [{ code, stdout, stderr }, nothing] = await Promise.all([
    threads('tail', 'history', '--no-follow'),
    threads('tail', 'history', '--no-follow', '--after', '4'),
  ]);
  assert.deepEqual([code, stdout, lines(stderr)], [0, 'done\n', ['user: one', 'queued', 'running', 'completed']]);
  assert.deepEqual([nothing.code, nothing.stdout, nothing.stderr], [0, '', '']);
});

test('threads are listed and shown with their turns', async () => {
  const id = await t.say('shown/ü:1', 'one');
  await t.ended(id);
  const [ls, listed, shown, all] = await Promise.all([
    threads('ls'),
    threads('ls', '--limit', '1', '--json'),
    threads('show', 'shown/ü:1'),
    threads('show', 'shown/ü:1', '--json'),
  ]);
  assert.match(ls.stdout, /^THREAD +HARNESS.*\nshown\/ü:1 +demo /);
  assert.equal(json(listed).items[0].thread_key, 'shown/ü:1');
  assert.match(shown.stdout, /harness +demo\n(?:.*\n)* +events +4\n/);
  assert.match(shown.stdout, new RegExp(`^${id} +completed .* ago .* done$`, 'm'));
  assert.equal(json(all).executions[0].execution_id, id);
});

test('a turn is steered and cancelled by its id, or by the thread that is at it', async () => {
  scripts.set('steered', (say) => say.untilCancelled());
  const first = await t.say('steered', 'one');
  await eventually(async () => (await t.threads.getExecution(first)).status === 'running');
  const second = await t.say('steered', 'two');
  const [steered, waiting] = await Promise.all([
    threads('steer', 'steered', 'only the open ones', '--message-id', 's1'),
    threads('cancel', second),
  ]);
  assert.deepEqual([steered.stdout, waiting.stdout], [`steered ${first}\n`, `cancelled ${second}\n`]);
  assert.deepEqual((await t.events('steered')).find(({ kind }) => kind === 'steered')?.data['content'], [
    { type: 'text', text: 'only the open ones' },
  ]);
  assert.equal((await threads('cancel', 'steered')).stdout, `${first} was told to end\n`);
  await t.ended(first);
  const [over, late] = await Promise.all([threads('cancel', 'steered'), threads('steer', first, 'more')]);
  assert.deepEqual([over.code, /no turn of the thread steered runs or waits\nSee what it did/.test(over.stderr)], [1, true]);
  assert.deepEqual([late.code, /not running.*\nSend it as a message/.test(late.stderr)], [1, true]);
});

test('of several turns that wait, the one to cancel must be named', async () => {
  scripts.set('queue', (say) => say.untilCancelled());
  const ids: string[] = [];
  for (const text of ['one', 'two', 'three']) ids.push(await t.say('queue', text));
  await eventually(async () => (await t.threads.getExecution(ids[0] ?? '')).status === 'running');
  // as it is between two turns
  await t.store.query(`update agent_execution_requests set status = 'queued' where execution_id = $1`, [ids[0]]);
  const { code, stderr } = await threads('cancel', 'queue');
  await t.store.query(`update agent_execution_requests set status = 'running' where execution_id = $1`, [ids[0]]);
  assert.equal(code, 1);
  assert.match(stderr, /3 turns of the thread queue wait: say which/);
  assert.ok(ids.every((id) => stderr.includes(id)));
  assert.equal((await threads('release', 'queue', '--cancel')).stdout, 'released queue\n');
  await t.ended(ids[0] ?? '');
  assert.deepEqual(await Promise.all(ids.map(async (id) => (await t.threads.getExecution(id)).status)), [
    'cancelled',
    'cancelled',
    'cancelled',
  ]);
});

test('another harness needs a release first, and the refusal says so', async () => {
  await t.say('other', 'one');
  const refused = await threads('send', 'other', 'two', '--harness', 'claude');
  assert.deepEqual([refused.code, /assigned to demo.*\nLeave --harness and --persona out/.test(refused.stderr)], [1, true]);
  assert.equal((await threads('release', 'other')).stdout, 'released other\n');
  assert.equal((await threads('send', 'other', 'two', '--persona', 'reviewer', '--wait')).code, 0);
  assert.equal(json(await threads('show', 'other', '--json')).persona_id, 'reviewer');
});

const WRONG: readonly [code: number, args: string[], message: RegExp][] = [
  [2, ['send', 'x'], /nothing to say: give a text, - for stdin, or --file/],
  [2, ['send', 'x', '-'], /stdin was empty/],
  [2, ['send', 'x', 'hi', '--file', 'missing.png'], /cannot read missing\.png/],
  [2, ['tail', 'x', '--after', 'last'], /whole number/],
  [2, ['tail', 'x', '--execution', 'y', '--no-follow'], /cannot be used with/],
  [1, ['send', 'x', 'hi', '--harness', 'gpt'], /"gpt" is not one of demo, claude/],
  [1, ['send', '{"a": 1}', 'hi'], /thread_key: expected a key such as/],
  [5, ['show', 'nowhere'], /there is no thread "nowhere"\n"centaur threads ls" lists/],
  [5, ['messages', 'nowhere'], /there is no thread/],
  [5, ['cancel', 'nowhere'], /there is no thread/],
  [5, ['cancel', '0198c0de-0000-7000-8000-000000000000'], /there is no execution .*\n"centaur threads show/],
  [5, ['download', 'nothing'], /there is no attachment "nothing"\n/],
];

test('what is wrong is said by name, with the way out', async () => {
  const results = await Promise.all(WRONG.map(([, args]) => threads(...args)));
  results.forEach(({ code, stdout, stderr }, i) => {
    const [expected, args, message] = WRONG[i] as (typeof WRONG)[number];
    assert.deepEqual([code, stdout], [expected, ''], `${args.join(' ')}: ${stderr}`);
    assert.match(stderr, message);
    assert.ok(!stderr.includes('    at '), 'a stack is of no help here');
  });
});

test('a turn of another thread is not followed: nothing would ever come', async () => {
  const id = await t.say('mine', 'hello');
  await t.say('theirs', 'hello');
  const { code, stderr } = await threads('tail', 'theirs', '--execution', id);
  assert.deepEqual([code, /is not of the thread theirs\nFollow it with: centaur threads tail mine --execution/.test(stderr)], [1, true]);
});

test('deliveries are listed, and a dead letter is made due again', async () => {
  const { threads: client, deliveries } = createClient({ url: api.url, apiKey: ADMIN });
  const { assignment_generation: assignmentGeneration } = await client.spawn('owed');
  await client.message('owed', 'hello', { assignmentGeneration });
  const { execution_id } = await client.execute('owed', { assignmentGeneration, delivery: { platform: 'pager' } });
  await t.ended(execution_id);
  await deliveries.claim({ consumerId: 'bot-1', platform: 'pager' });
  await deliveries.failed(execution_id, { consumerId: 'bot-1', error: 'no such\u001b[2Jroom', nonRetryable: true });
  const run = (...args: string[]) => place.run(['deliveries', ...args]);
  const listed = await run('ls', '--state', 'dead_letter');
  assert.match(listed.stdout, new RegExp(`${execution_id} +dead_letter +pager +owed +1 +- +no such\\\\x1b\\[2Jroom`));
  assert.deepEqual(JSON.parse((await run('ls', '--state', 'delivered', '--platform', 'pager', '--json')).stdout), {
    items: [],
    next: null,
  });
  assert.equal((await run('retry', execution_id)).stdout, `${execution_id} is due again\n`);
  assert.match((await run('ls', '--platform', 'pager')).stdout, /pending/);
  assert.equal((await run('retry', execution_id)).code, 1);
  await deliveries.claim({ consumerId: 'bot-1', platform: 'pager' });
  await deliveries.delivered(execution_id, { consumerId: 'bot-1' });
});

test('what a chat service said is listed without its words, and what was given up is made due again', async () => {
  const { inbox } = createClient({ url: api.url, apiKey: ADMIN });
  const event = { platform: 'pager', eventId: 'Ev1' };
  assert.equal((await inbox.put({ ...event, conversation: 'room 1', body: { text: 'private words' } })).created, true);
  assert.equal((await inbox.put({ ...event, conversation: 'room 1', body: { text: 'private words' } })).created, false);
  const [claimed] = await inbox.claim({ consumerId: 'bot-1', platform: 'pager', waitMs: 5000 });
  assert.deepEqual(claimed?.body, { text: 'private words' });
  assert.equal((await inbox.heartbeat(event, { consumerId: 'bot-1' })).state, 'claimed');
  await inbox.failed(event, { consumerId: 'bot-1', error: 'no such\u001b[2Jroom', nonRetryable: true });
  const run = (...args: string[]) => place.run(['inbox', ...args]);
  const listed = await run('ls', '--state', 'dead_letter');
  assert.match(listed.stdout, /pager +Ev1 +dead_letter +room 1 +1 +.+ +- +no such\\x1b\[2Jroom/);
  assert.doesNotMatch((await run('ls', '--json')).stdout, /private/);
  assert.equal((await run('retry', 'pager', 'Ev1')).stdout, 'Ev1 is due again\n');
  assert.equal((await run('retry', 'pager', 'Ev1')).code, 1);
  await inbox.claim({ consumerId: 'bot-1', platform: 'pager' });
  assert.equal((await inbox.done(event, { consumerId: 'bot-1' })).state, 'done');
  assert.match((await run('ls', '--platform', 'no such')).stderr, /platform: expected a name such as slack/);
});

test('the client speaks with the real threads and deliveries', async () => {
  const { threads: client, deliveries } = createClient({ url: api.url, apiKey: ADMIN });
  const { assignment_generation: assignmentGeneration } = await client.spawn('typed', { spawnId: 's1', personaId: 'reviewer' });
  await client.message('typed', 'hello', { assignmentGeneration, messageId: 'm1', userId: 'ann', metadata: { a: 1 } });
  const { execution_id } = await client.execute('typed', { assignmentGeneration, delivery: { platform: 'chat', channel: 'C1' } });
  const seen: string[] = [];
  for await (const { data } of client.events('typed', { executionId: execution_id }))
    seen.push(data.type === 'execution.state' ? data.status : data.type);
  assert.deepEqual(seen, ['queued', 'running', 'final_delivery.ready', 'completed']);

  const [owed, ...others] = await deliveries.claim({ consumerId: 'bot-1', platform: 'chat', leaseSeconds: 15, limit: 5 });
  assert.deepEqual(
    [owed?.execution_id, owed?.final_payload.result_text, owed?.delivery, others],
    [execution_id, 'done', { platform: 'chat', channel: 'C1' }, []],
  );
  assert.equal((await deliveries.heartbeat(execution_id, { consumerId: 'bot-1', leaseSeconds: 20 })).state, 'sending');
  await assert.rejects(deliveries.delivered(execution_id, { consumerId: 'bot-2' }), { code: 'DELIVERY_NOT_CLAIMED', status: 409 });
  assert.equal(
    (await deliveries.failed(execution_id, { consumerId: 'bot-1', error: 'busy', errorClass: 'Busy', retryAfterSeconds: 5 })).state,
    'retry_wait',
  );
  await t.store.query('update agent_final_delivery_outbox set next_attempt_at = now() where execution_id = $1', [execution_id]);
  assert.equal((await deliveries.claim({ consumerId: 'bot-2' }))[0]?.attempt_count, 2);
  assert.deepEqual(
    [
      await deliveries.delivered(execution_id, { consumerId: 'bot-2' }),
      await deliveries.delivered(execution_id, { consumerId: 'bot-2' }),
    ].map(({ state, idempotent }) => [state, idempotent]),
    [
      ['delivered', false],
      ['delivered', true],
    ],
  );
  assert.equal((await client.release('typed', { releaseId: 'r1', cancelInflight: true })).released, true);
  assert.equal((await client.release('typed', { releaseId: 'r1', cancelInflight: true })).idempotent, true);
});

test('prompt shows what the next turn would be told, part by part', async () => {
  await t.threads.spawn({ thread_key: 'told', persona_id: 'shopper', agents_md_override: 'Only \u001b[2Jtea.' });
  const shown = (await threads('prompt', 'told')).stdout;
  assert.match(shown, /harness +demo/);
  assert.match(shown, new RegExp(`persona +shopper \\(sha256 ${'ab'.repeat(32)}\\)`));
  assert.match(shown, /persona, from test, 0 B\nShop\. \/ Only \\x1b\[2Jtea\.\n/);
  assert.deepEqual(json(await threads('prompt', 'told', '--json')).tools, ['shop']);
  const missing = await threads('prompt', 'nowhere');
  assert.deepEqual([missing.code, /there is no thread "nowhere"/.test(missing.stderr)], [5, true]);
});

/** What the API answers with is what the SDK says; `npm run types` is what checks it. */
test('the shapes of the SDK are those of the API', () => {
  const same = <Wire, Said>(
    ..._proof: [Wire] extends [Said] ? ([Said] extends [Wire] ? [] : ['the API asks less']) : ['the SDK says more']
  ) => true;
  assert.ok(same<z.infer<typeof ThreadSchema>, Mutable<ThreadView>>());
  assert.ok(same<keyof z.infer<typeof ExecutionSchema>, keyof ExecutionView>());
  assert.ok(same<keyof z.infer<typeof MessageSchema>, keyof MessageView>());
  assert.ok(same<keyof z.infer<typeof PromptSchema>, keyof PromptView>());
  assert.ok(same<keyof z.infer<typeof PromptSchema>['parts'][number], keyof PromptView['parts'][number]>());
  assert.ok(same<z.infer<typeof AttachmentSchema>, Mutable<Attachment>>());
});

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };
