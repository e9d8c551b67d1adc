import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSpares } from './spares.ts';

interface Made {
  readonly shape: string;
  readonly number: number;
  alive: boolean;
  stopped: boolean;
  stop(): Promise<void>;
  isAlive(): Promise<boolean>;
}

function setUp(options: { readonly fails?: () => boolean } = {}) {
  const made: Made[] = [];
  const spares = createSpares<string, Made>({
    async prepare(shape) {
      if (options.fails?.() === true) throw new Error('no room');
      const each: Made = {
        shape,
        number: made.length,
        alive: true,
        stopped: false,
        async stop() {
          each.stopped = true;
        },
        isAlive: async () => each.alive,
      };
      made.push(each);
      return each;
    },
    keyOf: (shape) => shape,
    isKept: (shape) => shape !== 'ask',
    log: () => {},
  });
  return { made, spares };
}

test('one is made ahead after the first of its shape, given away once, and made again', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { made, spares } = setUp();
  const first = await spares.take('a');
  assert.equal(made.length, 1);
  t.mock.timers.tick(1000);
  assert.equal(made.length, 2, 'a spare is there');
  const [second, third] = await Promise.all([spares.take('a'), spares.take('a')]);
  assert.equal(new Set([first, second, third]).size, 3, 'nobody shares one');
  assert.equal(second.number, 1, 'the spare');
  assert.equal(made.length, 3);
  const other = await spares.take('b');
  assert.equal(other.shape, 'b');
  t.mock.timers.tick(1000);
  await spares.close();
  assert.deepEqual(
    made.map(({ stopped }) => stopped),
    [false, false, false, false, true, true],
    'what is nobody’s ends with the worker, and nothing else does',
  );
});

test('a spare that has died is not given away', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { made, spares } = setUp();
  await spares.take('a');
  t.mock.timers.tick(1000);
  (made[1] as Made).alive = false;
  const next = await spares.take('a');
  assert.equal(next.number, 2);
  assert.equal(made[1]?.stopped, true);
  await spares.close();
});

test('a spare that cannot be made costs nothing but the time to make one when it is needed', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let full = false;
  const { made, spares } = setUp({ fails: () => full });
  await spares.take('a');
  full = true;
  t.mock.timers.tick(1000);
  full = false;
  assert.equal((await spares.take('a')).number, 1);
  assert.equal(made.length, 2);
  await spares.close();
});

test('none is made for what is only asked, and a shape that nobody wants any more loses its own', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { made, spares } = setUp();
  await spares.take('ask');
  t.mock.timers.tick(10_000);
  assert.equal(made.length, 1);
  await spares.take('a');
  t.mock.timers.tick(1000);
  assert.equal(made.length, 3);
  t.mock.timers.tick(20 * 60_000);
  for (let i = 0; i < 5; i++) await Promise.resolve();
  assert.equal(made[2]?.stopped, true);
  await spares.close();
});

test('a spare that fails after it was taken leaves the next one where it is', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const made: { stopped: boolean }[] = [];
  const waiting: PromiseWithResolvers<void>[] = [];
  const spares = createSpares<string, { stop(): Promise<void>; isAlive(): Promise<boolean> }>({
    async prepare() {
      const gate = Promise.withResolvers<void>();
      waiting.push(gate);
      await gate.promise;
      const each = { stopped: false, isAlive: async () => true, stop: async () => void (each.stopped = true) };
      made.push(each);
      return each;
    },
    keyOf: (shape) => shape,
    isKept: () => true,
    log: () => {},
  });
  const soon = () => new Promise<void>((resolve) => setImmediate(resolve));
  const first = spares.take('a');
  await soon();
  waiting[0]?.resolve();
  await first;
  t.mock.timers.tick(1000);
  const second = spares.take('a');
  t.mock.timers.tick(1000);
  assert.equal(waiting.length, 3, 'one is being taken, and one made ahead');
  waiting[2]?.resolve();
  waiting[1]?.reject(new Error('no room'));
  await soon();
  waiting[3]?.resolve();
  await second;
  await spares.close();
  assert.equal(made.filter(({ stopped }) => stopped).length, 1, 'the one that was made ahead ends');
});
