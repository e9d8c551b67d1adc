import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isOver, startTurn, takeEvent } from '../../chat/index.ts';
import { createDice, EXECUTION, rollTurn } from '../../chat/testing.ts';
import { answer, type Call, completed, delta, methods, PLACE, play, readThread, running, wordsIn } from './fake/testing.ts';
import { CALLS_PER_MINUTE, LIMITS } from './limits.ts';
import { FRESH_PACE, noteAnswer, noteCall, noteRetryAfter, readyAt } from './pace.ts';
import { nothingShown, recoverShown } from './shown.ts';
import { planNext, planWorkspace, type Scene } from './stream.ts';

describe('how often Slack is called', () => {
  it('is bounded by time, not by events', () => {
    const words = Array.from({ length: 2_000 }, (_, index) => delta(`w${index}.0 `));
    for (const [by, method, everyMs] of [
      ['stream', 'chat.appendStream', LIMITS.appendEveryMs],
      ['edits', 'chat.update', LIMITS.updateEveryMs],
    ] as const) {
      const { slack } = play([running, ...words, completed()], { by, everyMs: 5 });
      const times = slack.calls.filter((call) => call.method === method).map((call) => call.at);
      assert.ok(times.length > 3 && times.length < 40, `${times.length} calls`);
      for (const [index, at] of times.entries()) if (index > 0) assert.ok(at - (times[index - 1] ?? 0) >= everyMs);
      assert.deepEqual(slack.complaints, []);
    }
  });

  it('obeys Retry-After, and loses nothing', () => {
    for (const by of ['stream', 'edits'] as const) {
      let refusedAt = 0;
      const method = by === 'stream' ? 'chat.appendStream' : 'chat.update';
      const refuses = (call: Call, now: number): { error: string; retryAfter: number } | undefined => {
        if (call.method !== method || refusedAt > 0) return undefined;
        refusedAt = now;
        return { error: 'ratelimited', retryAfter: 30 };
      };
      const { slack } = play([running, ...Array.from({ length: 100 }, (_, index) => delta(`w${index}.0 `)), completed()], {
        by,
        everyMs: 100,
        faults: { refuses },
      });
      for (const call of slack.calls) if (call.method === method) assert.ok(call.at < refusedAt || call.at >= refusedAt + 30_000);
      assert.equal(wordsIn(readThread(slack)).length, 100);
    }
  });

  it('stays within the limits of the workspace, in fair turns', () => {
    const threads = Array.from({ length: 60 }, (_, key) => ({ key, shown: nothingShown('edits'), count: 0, last: 0 }));
    let pace = FRESH_PACE;
    let turn = startTurn({ executionId: EXECUTION, after: 0 });
    const calls: { method: string; at: number }[] = [];
    let finished: number | undefined;
    let over = turn;
    for (let now = 1_000_000; now < 1_400_000; now += 500) {
      const isLate = now > 1_300_000;
      turn = takeEvent(turn, { id: turn.lastEventId + 1, event: 'text.delta', data: delta('x ') });
      if (!isLate) over = takeEvent(turn, { id: turn.lastEventId + 1, event: 'execution.state', data: completed() });
      const scenes = threads.map((thread): Scene & { key: number } => ({
        key: thread.key,
        turn: isLate && thread.key === 33 ? over : turn,
        shown: thread.shown,
        place: { channel: `C${thread.key}`, threadTs: '1' },
        facts: { harness: 'pi', startedAt: 0 },
        now,
      }));
      const { key, next } = planWorkspace(scenes, pace);
      if (next.do !== 'call' || key === null) continue;
      pace = noteAnswer(noteCall(pace, next.method, `C${key}`, now), next.method, `C${key}`, now, now);
      calls.push({ method: next.method, at: now });
      const thread = threads[key] as (typeof threads)[0];
      thread.shown = { ...next.afterwards, messages: next.afterwards.messages.map((message) => ({ ...message, ts: 'x' })) };
      thread.count++;
      if (isLate && key === 33) finished ??= now;
    }
    for (const method of ['chat.update', 'chat.postMessage'] as const) {
      const times = calls.filter((call) => call.method === method).map((call) => call.at);
      assert.ok(times.length >= CALLS_PER_MINUTE[method]);
      for (const [index, at] of times.entries()) {
        const before = times[index - CALLS_PER_MINUTE[method]];
        if (before !== undefined) assert.ok(at - before >= 60_000, `${method} at ${at}`);
      }
    }
    const counts = threads.map((thread) => thread.count).toSorted((a, b) => a - b);
    assert.ok((counts[0] ?? 0) >= 3 && (counts.at(-1) ?? 99) - (counts[0] ?? 0) <= 2, `${counts[0]} to ${counts.at(-1)}`);
    assert.ok(finished !== undefined && finished - 1_300_000 < 61_000);
  });

  it('begins by a message where streams have to wait: the first sign is quick', () => {
    let pace = FRESH_PACE;
    for (let index = 0; index < CALLS_PER_MINUTE['chat.startStream']; index++) pace = noteCall(pace, 'chat.startStream', 'C9', 1_000);
    const turn = startTurn({ executionId: EXECUTION, after: 0 });
    const next = planNext({ turn, shown: nothingShown('stream'), place: PLACE, facts: { harness: 'pi', startedAt: 0 }, now: 3_000 }, pace);
    assert.equal(next.do === 'call' && next.method, 'chat.postMessage');
  });

  it('stays a stream where the first sign of another turn is under way in the channel', () => {
    const pace = noteCall(FRESH_PACE, 'chat.startStream', PLACE.channel, 1_000);
    const turn = startTurn({ executionId: EXECUTION, after: 0 });
    const scene = { turn, shown: nothingShown('stream'), place: PLACE, facts: { harness: 'pi', startedAt: 0 } };
    assert.deepEqual(planNext({ ...scene, now: 1_500 }, pace), { do: 'wait', until: 2_500 });
    const next = planNext({ ...scene, now: 2_500 }, noteAnswer(pace, 'chat.startStream', PLACE.channel, 1_000, 1_500));
    assert.equal(next.do === 'call' && next.method, 'chat.startStream');
  });

  it('counts by method, by channel, and with the pauses that Slack asked for', () => {
    let pace = noteCall(FRESH_PACE, 'chat.postMessage', 'C1', 0);
    assert.equal(readyAt(pace, 'chat.postMessage', 'C2', 10), 10);
    // Slack may count it as late as it answers
    assert.equal(readyAt(pace, 'chat.postMessage', 'C1', 5_000), 6_000, 'to be asked again then, whenever it is answered');
    pace = noteAnswer(pace, 'chat.postMessage', 'C1', 0, 5_000);
    assert.equal(readyAt(pace, 'chat.postMessage', 'C1', 5_000), 6_000);
    pace = noteRetryAfter(pace, 'chat.update', 7, 100);
    assert.equal(readyAt(pace, 'chat.update', 'C1', 200), 7_100);
    assert.equal(readyAt(pace, 'chat.delete', 'C1', 200), 200);
  });
});

describe('a bot that dies', () => {
  it('between any two calls goes on, and the answer is there once', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const dice = createDice(seed);
      const by = seed % 2 === 0 ? 'stream' : 'edits';
      const data = rollTurn(dice, 60 + dice(100)).map((event) => event.data);
      let deaths = 0;
      const dies = (): 'before' | 'after' | undefined => {
        if (deaths >= 6 || dice(8) !== 0) return undefined;
        deaths++;
        return dice(2) === 0 ? 'before' : 'after';
      };
      const { slack, turn } = play(data, { by, everyMs: 300, faults: { dies } });
      assert.ok(isOver(turn));
      const final = turn.result ?? '';
      assert.equal(readThread(slack).split(final).length, 2, `seed ${seed}`);
      assert.ok(
        slack.messages.every((message) => !message.streaming),
        `seed ${seed}`,
      );
      assert.deepEqual(
        slack.complaints.filter((complaint) => !complaint.startsWith('an edit')),
        [],
        `seed ${seed}`,
      );
    }
  });

  it('finds a stream that nobody noted by the ids of its cards', () => {
    let isFirst = true;
    const dies = (call: Call): 'after' | undefined => {
      const isDeath = isFirst && call.method === 'chat.startStream';
      if (isDeath) isFirst = false;
      return isDeath ? 'after' : undefined;
    };
    const { slack } = play([running, delta('x'), completed(answer)], { by: 'stream', everyMs: 2_000, faults: { dies } });
    assert.equal(slack.messages.length, 1);
    assert.deepEqual(methods(slack).slice(0, 3), ['startStream', 'stopStream', 'update']);
    assert.match(readThread(slack), /^The answer 42\./);
  });

  it('takes no message of another turn for its own', () => {
    const other = {
      ts: '1',
      metadata: { event_type: 'centaur_turn', event_payload: { execution_id: 'exe_11', segment: 0, last_event_id: 1 } },
    };
    const cards = { ts: '2', blocks: [{ type: 'plan', tasks: [{ task_id: 'exe_11/0/start' }] }] };
    assert.deepEqual(recoverShown(EXECUTION, [other, cards, { ts: '3' }, { ts: '4', metadata: { event_type: 'x' } }]).messages, []);
  });

  it('asks for the thread when it does not know whether a message was posted', () => {
    const shown = { ...nothingShown('edits'), messages: [{ ts: '', digest: 'x' }] };
    assert.deepEqual(
      planNext(
        { turn: startTurn({ executionId: EXECUTION, after: 0 }), shown, place: PLACE, facts: { harness: 'pi', startedAt: 0 }, now: 0 },
        FRESH_PACE,
      ),
      { do: 'recover' },
    );
  });
});
