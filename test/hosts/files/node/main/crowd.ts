/** As many steps as are asked for: one after the other, or at once. */
import type { WorkflowContext } from '@centaur/sdk';

interface Input {
  readonly steps: number;
  readonly size?: number;
  readonly at_once?: boolean;
}

export const WORKFLOW_NAME = 'crowd';

export async function handler({ steps, size = 1, at_once: atOnce = false }: Input, ctx: WorkflowContext): Promise<number> {
  const step = () => ctx.step('count', () => 'x'.repeat(size));
  let total = 0;
  if (atOnce) for (const { length } of await Promise.all(Array.from({ length: steps }, step))) total += length;
  else for (let n = 0; n < steps; n++) total += (await step()).length;
  return total;
}
