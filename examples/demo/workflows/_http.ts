/** One call to the demo's service. */

/**
 * @param step tells the service which step calls, so that its request log can be held against the checkpoints
 * @throws Error when the service does not answer 2xx
 */
export async function send<T>(ctx: { readonly runId: string }, step: string, method: string, url: string, body?: unknown): Promise<T> {
  const response = await fetch(url, {
    method,
    headers: {
      'content-type': 'application/json',
      'x-step': step,
      // The same on every try of this step: a service that must not act twice can tell
      'idempotency-key': `${ctx.runId}/${step}`,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (!response.ok) throw new Error(`${method} ${url} answered ${response.status}`);
  return (await response.json()) as T;
}
