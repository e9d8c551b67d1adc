/** What the order workflows share. The underscore keeps the host from looking for a workflow in it. */
import { NonRetryableError } from '@centaur/sdk';

export async function call<T = unknown>(shop: string, path: string, body: unknown, idempotencyKey?: string): Promise<T> {
  const response = await fetch(shop + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(idempotencyKey ? { 'idempotency-key': idempotencyKey } : {}) },
    body: JSON.stringify(body),
  });
  if (response.ok) return (await response.json()) as T;
  const message = `${path} answered ${response.status}`;
  // 409 and 422: out of stock, card refused. The same request will not do better
  throw response.status < 500 ? new NonRetryableError(message, { code: `HTTP_${response.status}` }) : new Error(message);
}
