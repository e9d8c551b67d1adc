/**
 * What is done when a turn has come further: not worth a place where it is kept, so this process does it if it still lives. Looking
 * keeps no process alive.
 */
import type { ExecutionView } from '@centaur/sdk';
import type { SlackContext } from '../context.ts';

const EVERY_MS = 3000;
const LONGEST_MS = 6 * 3_600_000;
const MOST = 200;
const FOLLOWED = new WeakMap<SlackContext['slack'], Set<string>>();

/** @param then called once, when `isThere` of the turn */
export function whenTurn(
  context: SlackContext,
  executionId: string,
  isThere: (turn: ExecutionView) => boolean,
  then: (turn: ExecutionView) => Promise<void> | void,
): void {
  const followed = FOLLOWED.get(context.slack) ?? new Set<string>();
  FOLLOWED.set(context.slack, followed);
  if (followed.has(executionId) || followed.size >= MOST) return;
  followed.add(executionId);
  const until = context.now() + LONGEST_MS;
  const look = async (): Promise<void> => {
    const turn = await context.api.threads.execution(executionId);
    if (isThere(turn)) {
      followed.delete(executionId);
      await then(turn);
    } else if (context.now() < until) again();
    else followed.delete(executionId);
  };
  const again = (): void => {
    setTimeout(() => {
      look().catch((error: Error) => {
        followed.delete(executionId);
        context.log({ level: 'warn', message: 'a turn could not be looked after', execution_id: executionId, error: error.message });
      });
    }, EVERY_MS).unref();
  };
  again();
}
