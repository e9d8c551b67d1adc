/**
 * Every weekday at 7 in Berlin: collect figures, wait for late ones, write a report, post it.
 *
 * Shows: a schedule, a checked input with defaults, retries that give up on the errors where trying again cannot
 * help, a durable sleep, `ctx.now()`.
 */
import { NonRetryableError, defineWorkflow } from '@centaur/sdk';
import { z } from 'zod';

const Input = z.object({
  /** Answers `GET /figures?day=YYYY-MM-DD` with `{ orders, revenue, refunds }`. */
  source: z.url(),
  /** Receives the finished report by `POST`. */
  target: z.url(),
  settle: z.string().default('10m'),
});

interface Figures {
  orders: number;
  revenue: number;
  refunds: number;
}

export default defineWorkflow({
  name: 'nightly_report',
  input: Input,
  steps: ['collect', 'settle', 'collect_late', 'post'],
  schedule: {
    type: 'cron',
    cron: '0 7 * * MON-FRI',
    timezone: 'Europe/Berlin',
    input: { source: 'https://shop.example/api', target: 'https://chat.example/hooks/ops' },
    // Put your own addresses above, then set it to true
    enabled: false,
  },
  handler: async (input, ctx) => {
    // Not `new Date()`: a replay tomorrow must report on the same day
    const day = ctx.now().toISOString().slice(0, 10);
    const address = `${input.source}/figures?day=${day}`;
    const retry = { maxAttempts: 6, delay: '2s', maxDelay: '5m', jitter: 0.2 };

    const early = await ctx.step('collect', ({ signal }) => get(address, signal), { retry, timeout: '30s' });
    await ctx.sleep('settle', input.settle);
    const late = await ctx.step('collect_late', ({ signal }) => get(address, signal), { retry, timeout: '30s' });

    const report = [
      `Report of ${day}`,
      `${late.orders} orders (${late.orders - early.orders} of them late)`,
      `${(late.revenue - late.refunds).toFixed(2)} net, ${late.refunds.toFixed(2)} refunded`,
    ].join('\n');
    await ctx.step('post', () => post(input.target, { text: report }, `${ctx.runId}/post`), { retry });
    return { day, report };
  },
});

async function get(address: string, signal: AbortSignal): Promise<Figures> {
  const response = await fetch(address, { signal });
  return (await accept(response).json()) as Figures;
}

/** A step that was in flight when its worker died runs again: the key lets the receiver notice. */
async function post(address: string, body: unknown, idempotencyKey: string): Promise<number> {
  const response = await fetch(address, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': idempotencyKey },
    body: JSON.stringify(body),
  });
  return accept(response).status;
}

/** 4xx will be 4xx again, but for "later" and "too many"; everything else is worth another try. */
function accept(response: Response): Response {
  if (response.ok) return response;
  const message = `${response.url} answered ${response.status}`;
  const { status } = response;
  if (status >= 400 && status < 500 && status !== 408 && status !== 429) throw new NonRetryableError(message);
  throw new Error(message);
}
