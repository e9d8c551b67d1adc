/** Conversations over a journal in memory, with the codecs as they are: taken over at every place. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Codec, harnesses, type HarnessEvent } from '../harness/index.ts';
import type { SandboxProcess } from '../sandbox/types.ts';
import { type Conversation, createConversation } from './conversation.ts';
import { claude, createProcess } from './testing.ts';

const begin = (process: SandboxProcess, codec: Codec) => createConversation(process, codec, { cwd: '/w', approvals: 'none' });

/** Listens until the turn is over; gives it first, if nobody has. */
async function runTurn(conversation: Conversation, id: string, text: string): Promise<{ events: HarnessEvent[]; offset: number }> {
  const events: HarnessEvent[] = [];
  for await (const heard of conversation.listen(AbortSignal.timeout(60_000))) {
    if (heard.executionId === id) events.push(...heard.events);
    if (events.some(({ type }) => type === 'turn.completed')) return { events, offset: heard.offset };
    if (conversation.caughtUp && conversation.ready && !conversation.hasTaken(id))
      await conversation.turn(id, { content: [{ type: 'text', text }] });
  }
  throw new Error('the process ended');
}

const completedWith = (events: readonly HarnessEvent[]) =>
  events.flatMap((event) => (event.type === 'turn.completed' ? [`${event.status} ${event.result_text}`] : []));

test('a turn is given when the process is ready, also when nothing comes from it before', async () => {
  const { process } = createProcess(claude);
  const conversation = begin(process, harnesses.claude.createCodec());
  assert.deepEqual(completedWith((await runTurn(conversation, 'one', 'first')).events), ['completed first']);
  assert.deepEqual(completedWith((await runTurn(conversation, 'two', 'second')).events), ['completed second']);
  assert.equal(conversation.nativeId, 's1');
});

test('whoever reads the journal anew hears the same, and does not give the turn again', async () => {
  const { process, entries } = createProcess(claude);
  const first = await runTurn(begin(process, harnesses.claude.createCodec()), 'one', 'hello');
  const told = entries.filter(({ kind }) => kind === 'in').length;
  const again = await runTurn(begin(process, harnesses.claude.createCodec()), 'one', 'never said');
  assert.deepEqual(again, first);
  assert.equal(entries.filter(({ kind }) => kind === 'in').length, told);
});

test('it may be taken over behind any entry of the journal', async () => {
  const whole = createProcess(claude);
  const live = begin(whole.process, harnesses.claude.createCodec());
  const events = [...(await runTurn(live, 'one', 'first')).events, ...(await runTurn(live, 'two', 'second')).events];
  for (let cut = 0; cut <= whole.entries.length; cut++) {
    const part = createProcess(claude);
    const rest = whole.entries.slice(cut);
    const next = rest.findIndex(({ kind }) => kind === 'in');
    // what the harness was about to say to what it had been told comes too, behind the takeover
    for (const entry of [...whole.entries.slice(0, cut), ...rest.slice(0, next < 0 ? rest.length : next)]) {
      const { offset: _, at: __, ...bare } = entry;
      part.add(bare);
    }
    const later = begin(part.process, harnesses.claude.createCodec());
    const heard = [...(await runTurn(later, 'one', 'first')).events, ...(await runTurn(later, 'two', 'second')).events];
    assert.deepEqual(heard, events, `behind entry ${cut}`);
    assert.equal(part.entries.filter(({ kind }) => kind === 'in').length, 2, `behind entry ${cut}`);
  }
});

test('a call is made again where it was made, not where its note stands', async () => {
  const { process, add } = createProcess(() => {});
  const conversation = begin(process, harnesses.claude.createCodec());
  const listening = conversation.listen(AbortSignal.timeout(60_000));
  await listening.next();
  await conversation.turn('one', { content: [{ type: 'text', text: 'go' }] });
  const result = (text: string) =>
    add({
      kind: 'out',
      data: Buffer.from(
        `${JSON.stringify({ type: 'result', subtype: 'success', is_error: false, result: text, session_id: 's', usage: {} })}\n`,
      ),
    });
  // the steer is written while a result that nobody has read yet stands before it
  result('half');
  await conversation.steer(1, [{ type: 'text', text: 'and more' }]);
  result('whole');
  const collect = async (on: AsyncGenerator<{ events: readonly HarnessEvent[] }>, entries: number) => {
    const events: HarnessEvent[] = [];
    for (let i = 0; i < entries; i++) events.push(...((await on.next()).value as { events: readonly HarnessEvent[] }).events);
    return events;
  };
  const live = await collect(listening, 4);
  const replayed = await collect(begin(process, harnesses.claude.createCodec()).listen(AbortSignal.timeout(60_000)), 4);
  assert.deepEqual(replayed, live);
});
