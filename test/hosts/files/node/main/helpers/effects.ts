/** Says on standard error that something was done, where a test can count it. */
export function effect(ctx: { readonly runId: string }, name: string): void {
  console.error(`effect ${ctx.runId} ${name}`);
}
