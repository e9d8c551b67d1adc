/** What a delivery is refused for before its signature is looked at: its method, its media type and its size. */
import { createByteBuffer } from './byte-buffer.ts';
import type { Bytes } from './encoding.ts';
import type { WebhookSpec } from './types.ts';

export interface Refusal {
  readonly status: 405 | 413 | 415;
  readonly code: 'METHOD_NOT_ALLOWED' | 'TOO_LARGE' | 'UNSUPPORTED_MEDIA_TYPE';
  readonly message: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** By the head of the request alone. A delivery without a Content-Type passes here: it may have no body. See `refuseUntyped`. */
export function refuseHead(spec: WebhookSpec, method: string, headers: Headers): Refusal | undefined {
  if (!spec.allowedMethods.includes(method.toUpperCase())) {
    const allow = spec.allowedMethods.join(', ');
    return { status: 405, code: 'METHOD_NOT_ALLOWED', message: `this webhook takes ${allow}`, headers: { allow } };
  }
  const encoding = headers.get('content-encoding') ?? 'identity';
  if (encoding.toLowerCase() !== 'identity') return unsupported('a compressed body is not supported; send it as it is');
  const type = mediaType(headers);
  if (type !== '' && spec.allowedContentTypes !== null && !spec.allowedContentTypes.includes(type)) {
    return unsupported(`this webhook takes ${spec.allowedContentTypes.join(', ')}`);
  }
  return Number(headers.get('content-length') ?? 0) > spec.maxBodyBytes ? tooLarge(spec) : undefined;
}

/** A body that does not say what it is, where the webhook takes some types alone. */
export function refuseUntyped({ allowedContentTypes }: WebhookSpec, headers: Headers, rawBody: Bytes): Refusal | undefined {
  if (allowedContentTypes === null || rawBody.length === 0 || mediaType(headers) !== '') return undefined;
  return unsupported(`the body has no Content-Type; this webhook takes ${allowedContentTypes.join(', ')}`);
}

/** The raw body, read no further than its limit. */
export async function readRawBody(body: ReadableStream<Bytes> | null, spec: WebhookSpec): Promise<Uint8Array<ArrayBuffer> | Refusal> {
  const buffer = createByteBuffer(spec.maxBodyBytes);
  const reader = body?.getReader();
  for (;;) {
    const part = await reader?.read();
    if (part === undefined || part.done) return buffer.bytes();
    if (!buffer.add(part.value)) {
      // not awaited: whoever sends too much does not decide when we answer
      reader?.cancel().catch(() => {});
      return tooLarge(spec);
    }
  }
}

/** In lower case and without parameters; the empty text when there is none. */
export function mediaType(headers: Headers): string {
  return (headers.get('content-type') ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
}

function unsupported(message: string): Refusal {
  return { status: 415, code: 'UNSUPPORTED_MEDIA_TYPE', message, headers: {} };
}

export function tooLarge({ maxBodyBytes }: WebhookSpec): Refusal {
  // the rest of the body is not read, so the connection cannot be used again
  return {
    status: 413,
    code: 'TOO_LARGE',
    message: `the body is over the limit of ${maxBodyBytes} bytes`,
    headers: { connection: 'close' },
  };
}
