/** A minute, for a machine that is busy: only what never comes takes as long. Waits until `check` answers with something true, and gives that back. */
export async function eventually<T>(
  check: () => T | Promise<T>,
  options: { readonly timeoutMs?: number; readonly what?: string } = {},
): Promise<NonNullable<T>> {
  const deadline = performance.now() + (options.timeoutMs ?? 60_000);
  for (;;) {
    const value = await check();
    if (value !== undefined && value !== null && value !== false) return value;
    if (performance.now() > deadline) throw new Error(`waited too long for ${options.what ?? 'the condition'}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
