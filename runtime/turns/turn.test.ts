/**
 * Turns at moments that real processes do not keep to: taken over in mid-journal, with words that come too early or too
 * late, or to a sandbox that refuses. Threads and places are stood in for; the codec, the journal's reading and the turn are
 * what they are. `turns.test.ts` has the real parts.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Threads } from '@centaur/kernel/threads';
import { harnesses } from '../harness/index.ts';
import { SandboxError } from '../sandbox/errors.ts';
import { createConversation } from './conversation.ts';
import type { Places } from './place.ts';
import { createProcess } from './testing.ts';
import { runTurn, type TurnParts } from './turn.ts';

type End = Parameters<Threads['turns']['finish']>[1];
interface Signal {
  readonly position: number;
  readonly kind: 'steer';
  readonly body: { readonly type: 'text'; readonly text: string }[];
}
type Process = ReturnType<typeof createProcess>;

const owner = { threadKey: 't', executionId: 'e1', runId: 'r' };
/** In short parts: where the machine stands still for a moment, that is one of them, and no reason to look too early. */
const pause = async (ms: number) => {
  for (let i = 0; i < ms / 5; i++) await new Promise((resolve) => setTimeout(resolve, 5));
};
const says = (line: object) => ({ kind: 'out' as const, data: Buffer.from(`${JSON.stringify(line)}\n`) });
const begun = says({ type: 'system', subtype: 'init', session_id: 's1', model: 'm', cwd: '/w' });
const result = (text: string) => says({ type: 'result', subtype: 'success', is_error: false, result: text, session_id: 's1', usage: {} });
const steer = (position: number, text: string): Signal => ({ position, kind: 'steer', body: [{ type: 'text', text }] });

function conversationOf({ process }: Process) {
  return createConversation(process, harnesses.claude.createCodec(), { cwd: '/w', approvals: 'none' });
}

function standIns(
  process: Process,
  options: {
    readonly begunBefore: boolean;
    readonly cancelled?: boolean;
    readonly known?: () => boolean;
    readonly permissions?: Partial<TurnParts['permissions']>;
  },
) {
  const state = { end: undefined as End | undefined, signals: [] as Signal[], opened: 0, told: () => {}, stored: [] as string[] };
  const threads = {
    turns: {
      begin: async () => ({
        threadKey: 't',
        executionId: 'e1',
        status: state.end?.status ?? (options.cancelled === true ? 'cancel_requested' : 'running'),
        begunBefore: options.begunBefore,
        startedAt: Date.now(),
        workerId: 1,
        harness: 'claude',
        model: null,
        effort: null,
        messages: [{ role: 'user', parts: [{ type: 'text', text: 'go' }] }],
      }),
      append: async (_: unknown, events: { kind: string; data: { approval_id?: string } }[]) =>
        void state.stored.push(...events.map(({ kind, data }) => (data.approval_id === undefined ? kind : `${kind} ${data.approval_id}`))),
      async readSignals(_: unknown, position: number) {
        await pause(2);
        return { signals: state.signals.filter((each) => each.position > position), cancelRequested: options.cancelled === true };
      },
      onSignal(_: string, listener: () => void) {
        state.told = listener;
        return () => {};
      },
      hasEvent: async (_: unknown, kind: string, approvalId?: string) =>
        kind === 'approval_pending' ? state.stored.includes(`${kind} ${approvalId}`) : options.begunBefore || state.stored.includes(kind),
      finish: async (_: unknown, end: End) => void (state.end = end),
    },
    getExecution: async () => ({ status: state.end?.status }),
  } as unknown as Threads;
  const places = {
    async open() {
      state.opened += 1;
      if (state.opened > 5) throw new Error('it was opened again and again');
      const sandbox = { id: 's', workspace: '/w', home: '/h', pack: async () => null };
      return { harness: harnesses.claude, sandbox, conversation: conversationOf(process), stored: 0 };
    },
    keep() {},
    isReady: async () => options.known?.() ?? true,
    isKnown: async () => options.known?.() ?? true,
  } as unknown as Places;
  const parts: TurnParts = {
    threads,
    places,
    permissions: { answer: async () => ({ allow: true }), withdraw: async () => {}, ...options.permissions },
    deadlines: { silenceMs: 60_000, hardMs: 600_000, graceMs: 300 },
    detached: new AbortController().signal,
    log: () => {},
  };
  return { state, run: () => runTurn(parts, owner, AbortSignal.timeout(60_000)) };
}

/** What a worker did before it died: gave the turn, and said this to it. */
async function givenBefore(process: Process, more?: { readonly position: number; readonly text: string }): Promise<void> {
  const conversation = conversationOf(process);
  const listening = conversation.listen(AbortSignal.timeout(60_000));
  const catchUp = async () => {
    while (!conversation.caughtUp) await listening.next();
  };
  await listening.next();
  await catchUp();
  await conversation.turn('e1', { content: [{ type: 'text', text: 'go' }] });
  process.add(begun);
  await listening.next();
  await listening.next();
  if (more !== undefined) await conversation.steer(more.position, [{ type: 'text', text: more.text }]);
}

test('what was said to a turn is not said again by the worker that takes it over', async () => {
  const process = createProcess(() => {});
  await givenBefore(process, { position: 7, text: 'also this' });
  const { state, run } = standIns(process, { begunBefore: true });
  state.signals.push(steer(7, 'also this'));
  const running = run();
  await pause(100);
  state.told();
  await pause(50);
  process.add(result('done'));
  await running;
  assert.equal(process.told().filter((text) => text.includes('also this')).length, 1);
  assert.deepEqual([state.end?.status, state.end?.signalPosition], ['completed', 7]);
});

test('a cancellation that is there at the takeover reaches the harness, and takes no answer away that is there too', async () => {
  for (const answered of [false, true]) {
    const process = createProcess(() => {}, { pieces: 10 });
    for (let i = 0; i < 50; i++) process.add(says({ type: 'system', subtype: 'note', n: i }));
    await givenBefore(process);
    if (answered) process.add(result('the answer'));
    const { state, run } = standIns(process, { begunBefore: true, cancelled: true });
    await run();
    if (answered) assert.deepEqual([state.end?.status, state.end?.resultText], ['completed', 'the answer']);
    else {
      assert.equal(state.end?.status, 'cancelled');
      assert.ok(
        process.told().some((text) => text.includes('interrupt')),
        'it was told',
      );
      // it did not listen
      assert.deepEqual(process.signals, ['SIGKILL']);
    }
  }
});

test('of several words to a turn, those that come after its end count as not said', async () => {
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  const process = createProcess(() => {}, { beforeWrite: (text) => (text.includes('first word') ? held : undefined) });
  const { state, run } = standIns(process, { begunBefore: false });
  const running = run();
  await pause(100);
  process.add(begun);
  state.signals.push(steer(1, 'first word'), steer(2, 'second word'));
  state.told();
  await pause(30);
  process.add(result('done'));
  await pause(30);
  release();
  await running;
  assert.equal(process.told().filter((text) => text.includes('second word')).length, 0);
  assert.equal(state.end?.signalPosition, 1);
});

test('input that a sandbox refuses ends the turn at once, and says why', async () => {
  const process = createProcess(() => {}, {
    beforeWrite() {
      throw new SandboxError('SANDBOX_LIMIT', 'the process does not read its input');
    },
  });
  const { state, run } = standIns(process, { begunBefore: false });
  await run();
  assert.deepEqual([state.end?.status, state.end?.reason, state.opened], ['failed_permanent', 'execution_error', 1]);
  assert.match(state.end?.errorText ?? '', /does not read its input/);
});

test('a worker whose harness belongs to another one by now kills nothing and ends nothing', async () => {
  let taken = false;
  const process = createProcess(() => {}, {
    beforeWrite() {
      if (taken) throw new SandboxError('SANDBOX_TAKEN', 'another one writes');
    },
  });
  await givenBefore(process);
  const { state, run } = standIns(process, { begunBefore: true, cancelled: true });
  taken = true;
  await assert.rejects(run(), { code: 'SANDBOX_TAKEN' });
  assert.deepEqual([process.signals, state.end], [[], undefined]);
});

test('the journal of a sandbox that died is read to its end before anything is repeated', async () => {
  const process = createProcess(() => {});
  await givenBefore(process);
  // nobody has heard of the tool yet
  process.add(
    says({
      type: 'assistant',
      session_id: 's1',
      message: { id: 'm', role: 'assistant', content: [{ type: 'tool_use', id: 'c', name: 'Bash', input: {} }] },
    }),
  );
  process.add({ kind: 'exit', code: null, signal: null, reason: 'lost' });
  const { state, run } = standIns(process, { begunBefore: true });
  await run();
  assert.deepEqual([state.end?.status, state.end?.reason, state.opened], ['failed_permanent', 'sandbox_lost', 1]);
  assert.match(state.end?.errorText ?? '', /a tool had run/);
});

test('what fails in a sandbox that dies is no failure of the harness, and begins again', async () => {
  for (const known of [true, false]) {
    const process = createProcess(() => {});
    await givenBefore(process);
    process.add(
      says({
        type: 'result',
        subtype: 'error_during_execution',
        is_error: true,
        result: 'the connection was closed',
        session_id: 's1',
        usage: {},
      }),
    );
    const { state, run } = standIns(process, { begunBefore: false, known: () => known });
    await run();
    assert.deepEqual([state.end?.reason, state.opened], known ? ['harness_error', 1] : ['sandbox_lost', 3]);
  }
});

const asks = (id: string, command: string) =>
  says({ type: 'control_request', request_id: id, request: { subtype: 'can_use_tool', tool_name: 'Bash', input: { command } } });

test('each question is announced once, however many there are, and answered once, by whoever is there at its answer', async () => {
  const process = createProcess(() => {});
  await givenBefore(process);
  process.add(asks('q1', 'one'));
  process.add(asks('q2', 'two'));
  let decided = () => {};
  const decision = new Promise<void>((resolve) => (decided = resolve));
  const { state, run } = standIns(process, {
    begunBefore: true,
    permissions: {
      async answer({ id }, _, onWaits) {
        // the worker before this one had asked, and announced the first
        await onWaits({ approvalId: `a-${id}`, gate: 'g', expiresAt: 0, isNew: false });
        await decision;
        return id === 'q1' ? { allow: true } : { allow: false, message: 'not two' };
      },
    },
  });
  state.stored.push('approval_pending a-q1');
  const running = run();
  await pause(100);
  assert.deepEqual(
    state.stored.filter((kind) => kind.startsWith('approval_pending')),
    ['approval_pending a-q1', 'approval_pending a-q2'],
  );
  decided();
  await pause(50);
  process.add(result('done'));
  await running;
  const told = process.told().filter((text) => text.includes('"behavior"'));
  assert.equal(told.length, 2);
  assert.match(told.find((text) => text.includes('q1')) ?? '', /"allow".*one/);
  assert.match(told.find((text) => text.includes('q2')) ?? '', /not two/);
});

test('a question that the harness takes back is withdrawn, and its late answer reaches nobody', async () => {
  const process = createProcess(() => {});
  await givenBefore(process);
  process.add(asks('q1', 'one'));
  const withdrawn: string[] = [];
  let decided = () => {};
  const { state, run } = standIns(process, {
    begunBefore: true,
    permissions: {
      async answer(_request, signal, onWaits) {
        await onWaits({ approvalId: 'a', gate: 'g', expiresAt: 0, isNew: true });
        await new Promise<void>((resolve) => (decided = resolve));
        assert.ok(signal.aborted);
        return { allow: true };
      },
      withdraw: async ({ id }) => void withdrawn.push(id),
    },
  });
  const running = run();
  await pause(100);
  process.add(says({ type: 'control_cancel_request', request_id: 'q1' }));
  await pause(50);
  decided();
  await pause(50);
  process.add(result('done'));
  await running;
  assert.deepEqual(withdrawn, ['q1']);
  assert.equal(process.told().filter((text) => text.includes('"behavior"')).length, 0);
  assert.equal(state.end?.status, 'completed');
});

test('a turn that is being stopped allows nothing any more', async () => {
  const process = createProcess(() => {});
  await givenBefore(process);
  process.add(asks('q1', 'one'));
  let asked = 0;
  const { state, run } = standIns(process, {
    begunBefore: true,
    cancelled: true,
    permissions: {
      async answer() {
        asked += 1;
        await pause(100);
        return { allow: true };
      },
    },
  });
  await run();
  assert.equal(state.end?.status, 'cancelled');
  assert.equal(process.told().filter((text) => text.includes('"allow"')).length, 0, `${asked} were asked`);
});
