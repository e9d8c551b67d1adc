/** What every case is called with. */
import type { WorkflowContext } from '@centaur/sdk';

export type Context = WorkflowContext & {
  callTool(tool: string, method: string, args: Readonly<Record<string, unknown>>): Promise<unknown>;
  postToSlack(channel: string, text: string, options?: object): Promise<{ readonly channel: string; readonly ts: string }>;
  updateSlack(message: object): Promise<{ readonly channel: string; readonly ts: string }>;
};

export type Cases = Readonly<Record<string, (ctx: Context) => unknown>>;

export interface Choice {
  readonly case: string;
}

export function choose(cases: Cases, input: Choice, ctx: Context): unknown {
  const chosen = cases[input.case];
  if (chosen === undefined) throw new Error(`there is no case ${input.case}`);
  return chosen(ctx);
}
