/**
 * Named points at which a process of the fault suite kills itself, as `kill -9` would: no handler runs, nothing is flushed. Which point, and
 * the how-manieth time it is passed, is in the environment. The production code knows nothing of them: they are in what a process wraps
 * around the store, the approvals and the tool that it works with.
 */
import { writeSync } from 'node:fs';
import type { Approvals } from '../../kernel/engine/index.ts';
import type { Queryable, Store } from '../../kernel/store/index.ts';

/** What the suite reads from a process's standard output before it is gone. */
export const DIED_AT = 'died at: ';

export const WORKER_POINTS = [
  'asked, before the commit',
  'asked, before it waits',
  'parked',
  'told of the decision',
  'woken, before it is used',
  'used, before the checkpoint',
  'expiring',
  'expired, before the run hears of it',
  'done, before the end',
  'tool called',
  'tool done',
] as const;
export const DECIDER_POINTS = ['decided, before the commit', 'decided, after the commit'] as const;
export type Point = (typeof WORKER_POINTS)[number] | (typeof DECIDER_POINTS)[number];

let left = Number(process.env['FAULT_NTH'] ?? 1);

export function point(name: Point): void {
  if (process.env['FAULT_POINT'] !== name) return;
  left -= 1;
  if (left > 0) return;
  writeSync(1, `${DIED_AT}${name}\n`);
  process.kill(process.pid, 'SIGKILL');
}

/** @param ended called after a transaction in which `mark` was called has committed */
function watching(store: Store, marked: (tx: Queryable) => Point | undefined): Store {
  return {
    ...store,
    now: () => store.now(),
    async transaction(work) {
      let seen: Queryable | undefined;
      const value = await store.transaction((tx) => work((seen = tx)));
      const after = seen && marked(seen);
      if (after !== undefined) point(after);
      return value;
    },
  };
}

/** What a worker works with. */
export function inWorker(plain: Store, approvals: Approvals): { readonly store: Store; readonly approvals: Approvals } {
  const asking = new WeakSet<Queryable>();
  const watched = watching(plain, (tx) => (asking.has(tx) ? 'asked, before it waits' : undefined));
  return {
    store: {
      ...watched,
      listener: {
        ...plain.listener,
        on: (channel, handler) =>
          plain.listener.on(channel, (payload) => {
            if (channel === 'centaur_approvals') point('told of the decision');
            handler(payload);
          }),
      },
    },
    approvals: {
      ...approvals,
      async ask(tx, question) {
        const asked = await approvals.ask(tx, question);
        point('asked, before the commit');
        asking.add(tx);
        return asked;
      },
      async expire(approvalId) {
        point('expiring');
        const until = await approvals.expire(approvalId);
        if (until === undefined) point('expired, before the run hears of it');
        return until;
      },
      async use(approvalId, args) {
        point('woken, before it is used');
        const used = await approvals.use(approvalId, args);
        point('used, before the checkpoint');
        return used;
      },
    },
  };
}

/** Of whoever decides. */
export function inDecider(store: Store): Store {
  return {
    ...store,
    now: () => store.now(),
    async transaction(work) {
      const value = await store.transaction(async (tx) => {
        const done = await work(tx);
        point('decided, before the commit');
        return done;
      });
      point('decided, after the commit');
      return value;
    },
  };
}
