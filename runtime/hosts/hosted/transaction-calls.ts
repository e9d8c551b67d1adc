/** Transactions of a hosted run: the handler's statements come one by one as messages, and its last word decides about all of them. */
import type { Queryable } from '@centaur/kernel/store';
import { NonRetryableError, type WorkflowContext } from '@centaur/sdk';
import { stepOptions, thrown } from './fields.ts';
import type { TransactionMessage } from '../protocol/messages.ts';

/**
 * Runs `work` in a transaction of the workflow's own, once: what it returned is kept in the same transaction under `key`, and a
 * repeat answers from there.
 */
export type RunTransaction = (
  workflow: string,
  key: string,
  work: (tx: Queryable) => Promise<unknown>,
  /** Nobody waits for it any more: a connection that broke is not tried again. */
  isOver: () => boolean,
) => Promise<unknown>;

export interface TransactionCalls {
  handle(message: TransactionMessage): void;
  /** The run has left the host: what is open is rolled back. */
  close(): void;
}

interface Parts {
  readonly ctx: Pick<WorkflowContext, 'runId' | 'attempt' | 'step'>;
  readonly workflow: string;
  readonly runTransaction: RunTransaction | undefined;
  number(name: string): string;
  answer(requestId: string, value: unknown): void;
  refuse(requestId: string, error: Error): void;
}

interface Open {
  readonly tx: Queryable;
  readonly step: { waiter: string | undefined };
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export function createTransactionCalls(parts: Parts): TransactionCalls {
  const { ctx, workflow, runTransaction, answer, refuse } = parts;
  const open = new Map<string, Open>();
  let count = 0;
  let closed = false;

  function begin(message: Extract<TransactionMessage, { type: 'ctx.tx.begin' }>): void {
    const { request_id: first } = message;
    const full = parts.number(message.step);
    const step: Open['step'] = { waiter: first };
    let begun = false;
    const outcome = ctx.step(
      message.step,
      ({ attempt, signal }) => {
        if (runTransaction === undefined)
          throw new NonRetryableError('transactions need the workflow to have a schema of its own, and it has none', {
            code: 'NO_WORKFLOW_SCHEMA',
          });
        return runTransaction(
          workflow,
          // a retry of the run does again what it does again
          `${ctx.runId}/${ctx.attempt}/${full}`,
          (tx) =>
            new Promise((resolve, reject) => {
              const id = `${full}/${++count}`;
              const over = () => {
                open.delete(id);
                reject(new Error('nobody waits for this transaction any more'));
              };
              // the run has left, or the attempt took too long, while the session was waited for
              if (closed || signal.aborted) return over();
              signal.addEventListener('abort', over, { once: true });
              const close =
                <T>(settle: (value: T) => void) =>
                (value: T) => {
                  open.delete(id);
                  settle(value);
                };
              open.set(id, { tx, step, resolve: close(resolve), reject: close(reject) });
              const again = begun;
              begun = true;
              answer(step.waiter ?? first, { done: false, retry: again || attempt > 1, tx: id, attempt, checkpoint_name: full });
              step.waiter = undefined;
            }),
          () => closed || signal.aborted,
        );
      },
      stepOptions(message),
    );
    outcome.then(
      (value) => answer(step.waiter ?? first, begun ? value : { done: true, value, checkpoint_name: full }),
      (error: Error) => refuse(step.waiter ?? first, error),
    );
  }

  return {
    handle(message) {
      if (message.type === 'ctx.tx.begin') return begin(message);
      const found = open.get(message.tx);
      if (found === undefined) return refuse(message.request_id, new Error(`there is no open transaction ${JSON.stringify(message.tx)}`));
      switch (message.type) {
        case 'ctx.tx.query':
          found.tx.query(message.sql, message.params ?? []).then(
            ({ rows, rowCount }) => answer(message.request_id, { rows, row_count: rowCount }),
            (error: Error) => refuse(message.request_id, error),
          );
          return;
        case 'ctx.tx.commit':
          found.step.waiter = message.request_id;
          return found.resolve(message.value ?? null);
        case 'ctx.tx.rollback':
          found.step.waiter = message.request_id;
          return found.reject(thrown(message.error));
      }
    },
    close() {
      closed = true;
      for (const { reject } of open.values()) reject(new Error('the run has left its process'));
    },
  };
}
