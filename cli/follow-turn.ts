/** Following a thread, or one turn of it to its end. */
import type { ExecutionStatus, ThreadEventData } from '@centaur/sdk';
import type { Api } from './api.ts';
import { EXIT } from './exit.ts';
import { printable } from './output.ts';
import { isFinal, type TurnView } from './turn-view.ts';

export type TurnState = Extract<ThreadEventData, { type: 'execution.state' }>;

export interface TurnPlace {
  readonly threadKey: string;
  /** Without it the thread is followed until Ctrl-C. */
  readonly executionId?: string;
  /** Id of the last event already seen. */
  readonly after?: number;
  /** Id of the last event to show. */
  readonly until?: number;
}

/** How long after Ctrl-C a second one is waited for. */
const AGAIN_MS = 2000;

/**
 * Ctrl-C leaves a turn to itself; a second one within two seconds cancels it and waits for its end; a third leaves.
 *
 * @returns how the turn ended; `shown` when nothing follows and its end was seen before or not asked for; `left` by Ctrl-C
 */
export async function followTurn(api: Api, place: TurnPlace, view: TurnView): Promise<TurnState | 'shown' | 'left'> {
  const { threadKey, executionId, after, until } = place;
  if (until !== undefined && until <= (after ?? 0)) return 'shown';
  const left = new AbortController();
  const stopListening = listen(
    left,
    executionId === undefined
      ? undefined
      : {
          ask: () => view.note('Ctrl-C again within 2 seconds cancels the turn; else it goes on'),
          act: async () => {
            view.note('cancelling');
            // it has ended meanwhile, or the stream tells what is wrong
            await api.threads.cancel(executionId).catch((error: Error) => view.note(printable(error.message)));
          },
        },
  );
  try {
    const events = api.threads.events(threadKey, {
      signal: left.signal,
      onDisconnect: view.lost,
      ...(executionId === undefined ? {} : { executionId }),
      ...(after === undefined ? {} : { after }),
    });
    for await (const event of events) {
      view.event(event);
      const { data } = event;
      if (data.type === 'execution.state' && data.execution_id === executionId && isFinal(data.status)) return data;
      if (until !== undefined && event.id >= until) return 'shown';
    }
  } catch (error) {
    if (!left.signal.aborted) throw error;
  } finally {
    stopListening();
    view.end();
  }
  return left.signal.aborted ? 'left' : 'shown';
}

/** @param cancel what a second Ctrl-C does; without it the first one leaves at once. @returns how to stop */
function listen(left: AbortController, cancel: { ask(): void; act(): Promise<void> } | undefined): () => void {
  let presses = 0;
  let timer: NodeJS.Timeout | undefined;
  const leave = () => left.abort();
  const press = () => {
    presses += 1;
    clearTimeout(timer);
    if (cancel === undefined || presses > 2) return leave();
    if (presses === 2) return void cancel.act();
    cancel.ask();
    timer = setTimeout(leave, AGAIN_MS);
  };
  process.on('SIGINT', press);
  process.once('SIGTERM', leave);
  return () => {
    clearTimeout(timer);
    process.off('SIGINT', press);
    process.off('SIGTERM', leave);
  };
}

export function exitCodeOf(status: ExecutionStatus): number {
  return status === 'completed' ? EXIT.ok : EXIT.failed;
}
