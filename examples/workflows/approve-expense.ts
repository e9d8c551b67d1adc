/**
 * An expense that a person decides on, however long that takes: small ones pass, large ones wait for an event, with
 * a reminder each day and an end after a week.
 *
 *   centaur events emit expense_decided <expenseId> '{"by": "ann", "approved": true}'
 *
 * Shows: waiting for an event with a timeout, an event that may come before the wait, the export style without
 * `defineWorkflow`.
 */
import { WaitTimeoutError, type WorkflowContext } from '@centaur/sdk';

export const WORKFLOW_NAME = 'approve_expense';

export const RETRY = { maxAttempts: 3, delay: '10s' };

interface Expense {
  expenseId: string;
  amount: number;
  /** Receives reminders and the outcome by `POST`. */
  notify?: string;
}

interface Decision {
  by: string;
  approved: boolean;
}

export async function handler(expense: Expense, ctx: WorkflowContext): Promise<Decision & { reminders: number }> {
  if (expense.amount <= 50) return { by: 'policy', approved: true, reminders: 0 };

  for (let reminders = 0; reminders < 7; reminders += 1) {
    await ctx.step('ask', () => tell(expense, `Please decide on ${expense.expenseId}: ${expense.amount.toFixed(2)}`));
    try {
      const decision = await ctx.waitForEvent<Decision>('decision', {
        eventType: 'expense_decided',
        correlationId: expense.expenseId,
        timeout: '1d',
      });
      await ctx.step('tell', () => tell(expense, `${expense.expenseId}: ${decision.approved ? 'approved' : 'declined'} by ${decision.by}`));
      return { ...decision, reminders };
    } catch (error) {
      if (!(error instanceof WaitTimeoutError)) throw error;
      ctx.log.info('nobody has decided yet', { expenseId: expense.expenseId, day: reminders + 1 });
    }
  }
  return { by: 'deadline', approved: false, reminders: 7 };
}

async function tell({ notify }: Expense, text: string): Promise<void> {
  if (notify === undefined) return;
  const response = await fetch(notify, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ text }),
  });
  if (!response.ok) throw new Error(`${notify} answered ${response.status}`);
}
