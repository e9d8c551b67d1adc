/** What whoever asked is told when a request is refused, or could not be carried out. */
import http from 'node:http';
import type { Duplex } from 'node:stream';
import type { ClientResponse } from './exchange.ts';
import { RefusedError } from './target.ts';

export function toRefusal(error: unknown): RefusedError {
  if (error instanceof RefusedError) return error;
  const { code, message, cause } = error as { code?: string; message?: string; cause?: unknown };
  if (cause instanceof RefusedError) return cause;
  if (code?.startsWith('UND_ERR_HEADERS_TIMEOUT') || code?.startsWith('UND_ERR_BODY_TIMEOUT'))
    return new RefusedError(504, 'UPSTREAM_TIMEOUT', 'the service did not answer in time');
  if (code === 'SECRET_NOT_FOUND' || code === 'SOURCE_FAILED' || code === 'SEAL_BROKEN' || code === 'MASTER_KEY_UNKNOWN')
    return new RefusedError(503, 'SECRET_UNAVAILABLE', 'a secret that the request needs is not available', { cause: message });
  return new RefusedError(502, 'UPSTREAM_FAILED', 'the service could not be reached, or broke off', {
    cause: message ?? String(error),
    ...(code === undefined ? {} : { error_code: code }),
  });
}

export function sendRefusal(response: ClientResponse, refusal: RefusedError): void {
  if (response.headersSent || response.writableEnded) {
    response.destroy();
    return;
  }
  const { approval_id: approvalId, retry_after: retryAfter } = (refusal.details ?? {}) as { approval_id?: string; retry_after?: number };
  const text = JSON.stringify({
    code: refusal.code,
    message: refusal.message,
    ...(approvalId === undefined ? {} : { approval_id: approvalId }),
  });
  response.writeHead(refusal.status, {
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(text)),
    'x-centaur-refused': refusal.code,
    ...(refusal.status === 407 ? { 'proxy-authenticate': 'Basic realm="centaur"' } : {}),
    ...(retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) }),
  });
  response.end(text);
}

/** Where there is no response yet: on the socket itself. */
export function refuseRaw(socket: Duplex, refusal: RefusedError): void {
  if (!socket.writable) return void socket.destroy();
  const text = JSON.stringify({ code: refusal.code, message: refusal.message });
  socket.end(
    `HTTP/1.1 ${refusal.status} ${http.STATUS_CODES[refusal.status] ?? 'Refused'}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\n` +
      `x-centaur-refused: ${refusal.code}\r\n${refusal.status === 407 ? 'proxy-authenticate: Basic realm="centaur"\r\n' : ''}connection: close\r\n\r\n${text}`,
  );
}
