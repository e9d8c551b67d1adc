/**
 * What a webhook is, once a workflow's `WEBHOOKS` have been understood, and what its workflow receives.
 */

/** How long ago a signed timestamp may lie, and how far ahead, where the declaration says nothing. Stripe's and Slack's own figure. */
export const DEFAULT_TOLERANCE_SECONDS = 300;

export const DEFAULT_MAX_BODY_BYTES = 1024 * 1024;

/** As a run's input may have. */
export const LARGEST_MAX_BODY_BYTES = 1024 * 1024;

/** How a delivery proves who sent it. Header names are in lower case; a `secretRef` names a secret and never is one. */
export type WebhookAuth =
  | { readonly type: 'none' }
  | HmacAuth
  | { readonly type: 'github'; readonly secretRef: string }
  | { readonly type: 'bearer'; readonly secretRef: string; readonly header: string; readonly scheme: string }
  | { readonly type: 'slack'; readonly secretRef: string; readonly toleranceSeconds: number }
  | { readonly type: 'stripe'; readonly secretRef: string; readonly toleranceSeconds: number }
  /** As standardwebhooks.com has it. */
  | { readonly type: 'standard_webhooks'; readonly secretRef: string; readonly toleranceSeconds: number };

/**
 * The MAC of the raw body. With a `timestampHeader` (unix seconds) the signed text is `{timestamp}.{body}`, and a delivery
 * older than the tolerance is refused.
 */
export interface HmacAuth {
  readonly type: 'hmac';
  readonly secretRef: string;
  readonly header: string;
  readonly prefix: string;
  readonly encoding: 'hex' | 'base64';
  readonly algorithm: 'sha1' | 'sha256' | 'sha512';
  readonly timestampHeader?: string;
  readonly toleranceSeconds?: number;
}

/** What makes two deliveries the same one. `body` is the SHA-256 of the raw body. */
export type TriggerKey =
  | { readonly type: 'header'; readonly header: string }
  | { readonly type: 'static'; readonly value: string }
  | { readonly type: 'json_path'; readonly path: string }
  | { readonly type: 'body' };

/** Which deliveries start a run at all. A leaf holds when the value at `key` does what `op` says with one of `values`. */
export type Filter =
  | { readonly any: readonly Filter[] }
  | { readonly all: readonly Filter[] }
  | {
      readonly source: 'header' | 'body';
      readonly key: string;
      readonly op: 'equals' | 'in' | 'contains' | 'prefix';
      readonly values: readonly (string | number | boolean)[];
    };

export interface WebhookSpec {
  readonly slug: string;
  readonly provider: string | null;
  readonly auth: WebhookAuth;
  readonly triggerKey: TriggerKey;
  /** In upper case. */
  readonly allowedMethods: readonly string[];
  /** Media types in lower case, without parameters; null allows all. */
  readonly allowedContentTypes: readonly string[] | null;
  readonly maxBodyBytes: number;
  readonly rateLimit: { readonly limit: number; readonly periodSeconds: number } | null;
  readonly filter: Filter | null;
  readonly enabled: boolean;
}

/** The run's input. Nothing in it authenticates anybody: secrets and signatures are gone from the headers and the query. */
export interface Envelope {
  readonly webhook: {
    readonly slug: string;
    readonly provider: string | null;
    readonly method: string;
    readonly path: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly query: Readonly<Record<string, string | readonly string[]>>;
    readonly body: unknown;
    readonly raw_body_sha256: string;
    readonly source_ip: string | null;
  };
}
