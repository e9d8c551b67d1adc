/** One request to the API, and what its refusals become. */

export interface Transport {
  /** Ends in `/api`. */
  readonly base: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly fetch: typeof globalThis.fetch;
}

/** The API refused, or could not be reached (`status` 0, code `UNREACHABLE`; `TIMEOUT` for a wait that was given up). */
export class CentaurApiError extends Error {
  /** The HTTP status; 0 when there was no answer. */
  readonly status: number;
  /** What was refused, in SCREAMING_SNAKE; compare this, not the message. */
  readonly code: string;
  /** For `INVALID_INPUT`: `{ issues: [{ path, message }] }`. */
  readonly details: unknown;
  constructor(status: number, code: string, message: string, options?: ErrorOptions & { readonly details?: unknown }) {
    super(message, options);
    this.name = 'CentaurApiError';
    this.status = status;
    this.code = code;
    this.details = options?.details;
  }
}

export async function request<T>(
  api: Transport,
  method: 'GET' | 'POST' | 'DELETE',
  path: string,
  body?: unknown,
  signal?: AbortSignal,
): Promise<T> {
  const response = await send(api, path, {
    method,
    headers: { ...api.headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(signal === undefined ? {} : { signal }),
  });
  const text = await response.text().catch((error: unknown) => Promise.reject(unreachable(api, error)));
  const answer = parseJson(text);
  if (!response.ok) throw refusal(response.status, answer);
  if (answer === undefined) {
    throw new CentaurApiError(response.status, 'NOT_JSON', `${api.base} did not answer in JSON; is it the Centaur API?`);
  }
  return answer as T;
}

/** @throws CentaurApiError UNREACHABLE; the signal's reason when it aborts */
export async function send(api: Transport, path: string, init: RequestInit): Promise<Response> {
  try {
    return await api.fetch(api.base + path, init);
  } catch (error) {
    if (init.signal?.aborted) throw init.signal.reason;
    throw unreachable(api, error);
  }
}

/** An error from an answer that is not 2xx; the body is the API's `{code, message, details?}` unless a proxy answered. */
export function refusal(status: number, answer: unknown): CentaurApiError {
  const { code, message, details } = (typeof answer === 'object' && answer !== null ? answer : {}) as Record<string, unknown>;
  return new CentaurApiError(
    status,
    typeof code === 'string' ? code : `HTTP_${status}`,
    typeof message === 'string' ? message : `the API answered with status ${status}`,
    details === undefined ? undefined : { details },
  );
}

export function unreachable(api: Transport, cause: unknown): CentaurApiError {
  // fetch says only "fetch failed"; what happened is in its cause
  const reason = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
  const told = reason instanceof Error ? reason.message || (reason as { code?: string }).code : String(reason);
  return new CentaurApiError(0, 'UNREACHABLE', `no answer from ${api.base}: ${told}`, { cause });
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** `?name=value…` of the fields that are set, or nothing. */
export function query(fields: Readonly<Record<string, string | number | undefined>>): string {
  const set = Object.entries(fields).filter(([, value]) => value !== undefined);
  if (set.length === 0) return '';
  return `?${new URLSearchParams(Object.fromEntries(set.map(([key, value]) => [key, String(value)]))).toString()}`;
}
