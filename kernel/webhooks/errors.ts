/** What webhooks refuse, by code, with the HTTP status that says so. Whoever sends has no key, so the messages tell little. */
export const WEBHOOK_ERRORS = {
  /** No workflow that is loaded declares a webhook of this name, or its declaration was refused. */
  WEBHOOK_NOT_FOUND: 404,
  DELIVERY_NOT_FOUND: 404,
  /** `Allow` lists the methods. */
  METHOD_NOT_ALLOWED: 405,
  /** A content type that is not allowed, or a compressed body. */
  UNSUPPORTED_MEDIA_TYPE: 415,
  /** The body is over the limit of the webhook. */
  TOO_LARGE: 413,
  /** More deliveries than the webhook allows; `Retry-After` says when. */
  RATE_LIMITED: 429,
  /** The signature is missing, wrong, too old or given twice. */
  BAD_SIGNATURE: 401,
  /** The body did not come to its end in time. */
  TOO_SLOW: 408,
  /** So many bodies are being sent at once that there is no memory for another. */
  TOO_BUSY: 503,
  /** The body is not what its content type says. */
  MALFORMED_BODY: 400,
  /** The secret to verify with is not there. The log names it. */
  WEBHOOK_SECRET_MISSING: 503,
} as const;

export type WebhookErrorCode = keyof typeof WEBHOOK_ERRORS;

export class WebhookError extends Error {
  readonly code: WebhookErrorCode;
  readonly headers: Readonly<Record<string, string>>;
  constructor(code: WebhookErrorCode, message: string, options?: ErrorOptions & { readonly headers?: Readonly<Record<string, string>> }) {
    super(message, options);
    this.name = 'WebhookError';
    this.code = code;
    this.headers = options?.headers ?? {};
  }
  get httpStatus(): number {
    return WEBHOOK_ERRORS[this.code];
  }
}
