/** The outbox of final answers over the API, as any chat client uses it. */
import { request, type Transport } from './transport.ts';
import type { Delivery, DeliveryChange, LiveDelivery } from './thread-wire.ts';

export interface ClaimOptions {
  /** Names the process that delivers. */
  readonly consumerId: string;
  /** 1 to 20, default 5. */
  readonly limit?: number;
  /** 15 to 600, default 60. Send a heartbeat while delivering takes longer. */
  readonly leaseSeconds?: number;
  /** Only answers for this platform. */
  readonly platform?: string;
  /** When there is none, wait so long for one, ms. 30,000 at most. Default 0. */
  readonly waitMs?: number;
  /** Ends the waiting. */
  readonly signal?: AbortSignal;
}

export interface FailedOptions {
  readonly consumerId: string;
  readonly error: string;
  readonly errorClass?: string;
  /** 5 to 600. Default: longer after each attempt. */
  readonly retryAfterSeconds?: number;
  /** It can never succeed: a dead letter. */
  readonly nonRetryable?: boolean;
}

export interface DeliveriesClient {
  /** Takes answers that are due, oldest first. Each is this consumer's until its lease ends; then another may take it. */
  claim(options: ClaimOptions): Promise<readonly Delivery[]>;
  /** Takes those of turns that have not ended, too: for whoever shows turns while they run. */
  claimLive(options: ClaimOptions): Promise<readonly LiveDelivery[]>;
  /** Keeps a claim while delivering; its state is `live` until the turn has ended. */
  heartbeat(
    executionId: string,
    options: {
      readonly consumerId: string;
      readonly leaseSeconds?: number;
      /** JSON: what whoever takes over is told of how far this one has come. */
      readonly progress?: unknown;
    },
  ): Promise<DeliveryChange>;
  /** Says that it was delivered: nothing is owed any more. */
  delivered(executionId: string, options: { readonly consumerId: string }): Promise<DeliveryChange>;
  /** Says that it was not. It is due again after a while. */
  failed(executionId: string, options: FailedOptions): Promise<DeliveryChange>;
}

export function createDeliveriesClient(api: Transport): DeliveriesClient {
  const post = <T>(path: string, body: unknown, signal?: AbortSignal) =>
    request<T>(api, 'POST', `/agent/final-deliveries${path}`, body, signal);
  const of = (executionId: string, what: string) => `/${encodeURIComponent(executionId)}/${what}`;
  async function claim<T>({ consumerId, limit, leaseSeconds, platform, waitMs, signal }: ClaimOptions, live?: true): Promise<readonly T[]> {
    const body = { consumer_id: consumerId, limit, lease_seconds: leaseSeconds, platform, live, wait_ms: waitMs };
    return (await post<{ readonly deliveries: readonly T[] }>('/claim', body, signal)).deliveries;
  }
  return {
    claim: (options) => claim<Delivery>(options),
    claimLive: (options) => claim<LiveDelivery>(options, true),
    heartbeat: (executionId, { consumerId, leaseSeconds, progress }) =>
      post(of(executionId, 'heartbeat'), { consumer_id: consumerId, lease_seconds: leaseSeconds, progress }),
    delivered: (executionId, { consumerId }) => post(of(executionId, 'delivered'), { consumer_id: consumerId }),
    failed: (executionId, { consumerId, error, errorClass, retryAfterSeconds, nonRetryable }) =>
      post(of(executionId, 'failed'), {
        consumer_id: consumerId,
        error,
        error_class: errorClass,
        retry_after_seconds: retryAfterSeconds,
        non_retryable: nonRetryable,
      }),
  };
}
