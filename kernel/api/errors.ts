/** What a request is refused with. Nothing of the inside reaches the answer: no stack, no SQL, no key. */
import { randomUUID } from 'node:crypto';
import { CareError } from '../care/index.ts';
import { ChatError } from '../chats/index.ts';
import { EngineError } from '../engine/index.ts';
import { OAuthError } from '../oauth/index.ts';
import { SignInError } from '../oidc/index.ts';
import { PolicyError, type PolicyErrorCode } from '../policy/index.ts';
import { isTransient } from '../store/index.ts';
import { ThreadError } from '../threads/index.ts';
import { ToolError } from '../tools/index.ts';
import { UserError } from '../users/index.ts';
import { VaultError, type VaultErrorCode } from '../vault/index.ts';
import { WebhookError } from '../webhooks/index.ts';
import type { Reply } from './reply.ts';
import type { Log } from './services.ts';

/** Codes of this room with their HTTP status; those of the engine are in `ENGINE_ERRORS`, of other rooms below. */
export const API_ERRORS = {
  /** The body is not JSON; the message says where. */
  MALFORMED_JSON: 400,
  /** The connection ended before the body: nobody reads this answer. */
  BODY_CUT_OFF: 400,
  /** No key, or none that is known and active. */
  UNAUTHENTICATED: 401,
  /** The key lacks a scope; `details.needed` lists those that would do. */
  FORBIDDEN: 403,
  /** A browser asks with a cookie, from a page that is not of this server. */
  CROSS_ORIGIN: 403,
  /** No such route. */
  NOT_FOUND: 404,
  KEY_NOT_FOUND: 404,
  AUDIT_ENTRY_NOT_FOUND: 404,
  /** The journal of the run is not the one that was sealed; `details.problems` names what differs. */
  JOURNAL_TAMPERED: 409,
  /** The process was started without what replays runs. */
  REPLAYS_UNAVAILABLE: 503,
  /** No such trace, or the key may see nothing of it. */
  TRACE_NOT_FOUND: 404,
  /** The route exists under another method; `Allow` lists them. */
  METHOD_NOT_ALLOWED: 405,
  /** Revoking it would leave no key that can make another. */
  LAST_ADMIN_KEY: 409,
  /** The entry is not in a sealed batch yet: it will be within seconds. */
  NOT_SEALED: 409,
  /** The body is over its limit. */
  TOO_LARGE: 413,
  /** The body is not sent as JSON. */
  UNSUPPORTED_MEDIA_TYPE: 415,
  /** A field is missing, unknown or out of range; `details.issues` lists each. */
  INVALID_REQUEST: 422,
  /** A fault of ours. `details.error_id` finds it in the log. */
  INTERNAL: 500,
  /** Starting, draining, or without a migrated database. */
  NOT_READY: 503,
  /** The process was started without the master key. */
  VAULT_UNAVAILABLE: 503,
  /** No firewall has been started on this installation. */
  FIREWALL_UNAVAILABLE: 503,
  /** The process was started without threads. */
  THREADS_UNAVAILABLE: 503,
  /** The process was started without webhooks. */
  WEBHOOKS_UNAVAILABLE: 503,
  /** The process was started without tools. */
  TOOLS_UNAVAILABLE: 503,
  /** The process was started without the master key, so it connects no accounts. */
  ACCOUNTS_UNAVAILABLE: 503,
  /** The process was started without the master key, so it knows no users. */
  USERS_UNAVAILABLE: 503,
  /** The process was started without the master key, so it knows nobody in a chat. */
  CHATS_UNAVAILABLE: 503,
  /** The bot of a chat does not answer: whoever sent it sends it again. */
  BOT_UNAVAILABLE: 503,
} as const;

export const VAULT_ERRORS: Readonly<Record<VaultErrorCode, number>> = {
  INVALID_SECRET: 422,
  SECRET_NOT_FOUND: 404,
  NOT_GRANTED: 403,
  GRANT_NOT_FOUND: 404,
  LEASE_NOT_FOUND: 404,
  MASTER_KEY_UNKNOWN: 503,
  SEAL_BROKEN: 503,
  SOURCE_FAILED: 503,
};

export const POLICY_ERRORS: Readonly<Record<PolicyErrorCode, number>> = {
  INVALID_POLICY: 422,
  POLICY_NOT_FOUND: 404,
  APPROVAL_NOT_FOUND: 404,
  APPROVAL_DECIDED: 409,
  NOT_AN_APPROVER: 403,
  STALE_DIGEST: 409,
  STALE_VERSION: 412,
  REASON_REQUIRED: 422,
  EDIT_REFUSED: 422,
  APPROVAL_TAMPERED: 409,
  STICKY_REFUSED: 422,
  PROOF_REQUIRED: 403,
  TOO_MANY_PENDING: 429,
  STICKY_NOT_FOUND: 404,
  APPROVAL_REQUIRED: 409,
  APPROVAL_DENIED: 403,
  APPROVAL_BY_AUTHOR: 403,
  POLICY_BROKEN: 503,
};

export type ApiErrorCode = keyof typeof API_ERRORS;

export class ApiError extends Error {
  readonly code: ApiErrorCode;
  readonly details: unknown;
  readonly headers: Readonly<Record<string, string>>;
  constructor(
    code: ApiErrorCode,
    message: string,
    options?: ErrorOptions & { readonly details?: unknown; readonly headers?: Readonly<Record<string, string>> },
  ) {
    super(message, options);
    this.name = 'ApiError';
    this.code = code;
    this.details = options?.details;
    this.headers = options?.headers ?? {};
  }
}

/** An error as an answer. What is not known is logged under an id, and only the id is told. */
export function refusal(error: unknown, log: Log, context: Readonly<Record<string, unknown>>): Reply {
  if (error instanceof ApiError) return answer(API_ERRORS[error.code], error.code, error.message, error.details, error.headers);
  // ROW_REJECTED quotes Postgres: that is for our log, not for the client
  if (error instanceof EngineError && error.code !== 'ROW_REJECTED')
    return answer(error.httpStatus, error.code, error.message, error.details, retryLater(error.httpStatus));
  if (error instanceof WebhookError) return answer(error.httpStatus, error.code, error.message, undefined, error.headers);
  if (error instanceof ThreadError) return answer(error.httpStatus, error.code, error.message, error.details, {});
  if (error instanceof OAuthError) return answer(error.httpStatus, error.code, error.message, error.details, {});
  if (error instanceof UserError) return answer(error.httpStatus, error.code, error.message, undefined, error.headers);
  if (error instanceof SignInError) return answer(error.httpStatus, error.code, error.message, undefined, {});
  if (error instanceof ChatError) return answer(error.httpStatus, error.code, error.message, undefined, {});
  if (error instanceof CareError) return answer(error.httpStatus, error.code, error.message, error.details, {});
  if (error instanceof ToolError) return answer(error.httpStatus, error.code, error.message, error.details, {});
  if (error instanceof VaultError) return answer(VAULT_ERRORS[error.code], error.code, error.message, error.details, {});
  if (error instanceof PolicyError)
    return answer(
      POLICY_ERRORS[error.code],
      error.code,
      error.message,
      error.problems.length === 0 ? error.details : { problems: error.problems },
      {},
    );
  if (isTransient(error)) {
    log({ level: 'warn', message: 'a request met an unreachable Postgres', error: (error as Error).message, ...context });
    return answer(503, 'STORE_UNAVAILABLE', 'Postgres cannot be reached right now; try again', undefined, retryLater(503));
  }
  const errorId = randomUUID();
  log({
    level: 'error',
    message: 'a request failed',
    error_id: errorId,
    error: error instanceof Error ? (error.stack ?? error.message) : String(error),
    ...context,
  });
  return answer(500, 'INTERNAL', `something went wrong on our side; the log has it under ${errorId}`, { error_id: errorId }, {});
}

function answer(status: number, code: string, message: string, details: unknown, headers: Readonly<Record<string, string>>): Reply {
  return { status, body: { code, message, ...(details === undefined ? {} : { details }) }, headers };
}

const retryLater = (status: number): Record<string, string> => (status === 503 ? { 'retry-after': '1' } : {});
