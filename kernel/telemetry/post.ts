/** Sends OTLP as JSON over HTTP (https://opentelemetry.io/docs/specs/otlp/#otlphttp). For any signal. */
import { gzipSync } from 'node:zlib';

export interface OtlpReceiver {
  readonly url: string;
  /** May hold a key. */
  readonly headers: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly compression: 'gzip' | 'none';
}

/**
 * `again`: it may take it later, `afterMs` from now if it says so. `refused`: it will never take this, so sending it again helps nobody.
 * `taken` may have `rejected` some of it.
 */
export type Posted =
  | { readonly outcome: 'taken'; readonly rejected: number; readonly message: string | undefined }
  | { readonly outcome: 'again'; readonly message: string; readonly afterMs: number | undefined }
  | { readonly outcome: 'refused'; readonly message: string };

/** What became of one request, for the figure of it. `again`: it is sent again; `given_up`: what comes next has what was in it. */
export type PostOutcome = 'taken' | 'taken_in_part' | 'again' | 'given_up' | 'refused';

/** As the protocol has it. */
const AGAIN = new Set([429, 502, 503, 504]);
const ANSWER_MOST = 64 * 1024;

/** Never throws. What it says of a failure has nothing of the request in it. */
export async function postOtlp(receiver: OtlpReceiver, body: object, signal?: AbortSignal): Promise<Posted> {
  const json = Buffer.from(JSON.stringify(body));
  const zipped = receiver.compression === 'gzip';
  const late = AbortSignal.timeout(receiver.timeoutMs);
  try {
    const response = await fetch(receiver.url, {
      method: 'POST',
      // a redirect would take the headers, and so a key, to somebody else
      redirect: 'manual',
      headers: {
        ...receiver.headers,
        'content-type': 'application/json',
        ...(zipped ? { 'content-encoding': 'gzip' } : {}),
      },
      body: zipped ? gzipSync(json) : json,
      signal: signal === undefined ? late : AbortSignal.any([signal, late]),
    });
    const text = await read(response);
    if (response.status >= 200 && response.status < 300) return taken(text);
    const message = `the receiver answered ${response.status}`;
    if (AGAIN.has(response.status)) return { outcome: 'again', message, afterMs: retryAfter(response.headers.get('retry-after')) };
    return { outcome: 'refused', message };
  } catch (error) {
    const { cause, name } = error as Error;
    // never the message: `fetch` puts addresses and headers that it cannot use into it, and with them a password or a key
    const why = cause instanceof Error ? ((cause as NodeJS.ErrnoException).code ?? cause.name) : name;
    return { outcome: 'again', message: `the receiver cannot be reached: ${why}`, afterMs: undefined };
  }
}

/** An answer that does not end is not read to its end. */
async function read(response: Response): Promise<string> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of response.body ?? []) {
    bytes += part.length;
    if (bytes > ANSWER_MOST) break;
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}

function taken(text: string): Posted {
  try {
    const { partialSuccess } = JSON.parse(text) as { readonly partialSuccess?: Readonly<Record<string, unknown>> };
    const [count] = Object.entries(partialSuccess ?? {}).flatMap(([name, value]) => (name.startsWith('rejected') ? [Number(value)] : []));
    const message = partialSuccess?.['errorMessage'];
    return {
      outcome: 'taken',
      rejected: Number.isSafeInteger(count) ? (count as number) : 0,
      message: typeof message === 'string' && message !== '' ? message.slice(0, 200) : undefined,
    };
  } catch {
    return { outcome: 'taken', rejected: 0, message: undefined };
  }
}

/** Seconds, or a date. */
function retryAfter(header: string | null): number | undefined {
  if (header === null) return undefined;
  const ms = /^\d{1,6}$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}
