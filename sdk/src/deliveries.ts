/** The outbox of final answers over the API, as any chat client uses it. */
import { request, type Transport } from './transport.ts';
import type { Delivery, DeliveryChange } from './thread-wire.ts';

export interface ClaimOptions {
  /** Names the process that delivers. */
  readonly consumerId: string;
  /** 1 to 20, default 5. */
  readonly limit?: number;
  /** 15 to 600, default 60. Send a heartbeat while delivering takes longer. */
  readonly leaseSeconds?: number;
  /** Only answers for this platform. */
  readonly platform?: string;
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
  /** Keeps a claim while delivering. */
  heartbeat(executionId: string, options: { readonly consumerId: string; readonly leaseSeconds?: number }): Promise<DeliveryChange>;
  /** Says that it was delivered: nothing is owed any more. */
  delivered(executionId: string, options: { readonly consumerId: string }): Promise<DeliveryChange>;
  /** Says that it was not. It is due again after a while. */
  failed(executionId: string, options: FailedOptions): Promise<DeliveryChange>;
}

export function createDeliveriesClient(api: Transport): DeliveriesClient {
  const post = <T>(path: string, body: unknown) => request<T>(api, 'POST', `/agent/final-deliveries${path}`, body);
  const of = (executionId: string, what: string) => `/${encodeURIComponent(executionId)}/${what}`;
  return {
    async claim({ consumerId, limit, leaseSeconds, platform }) {
      const { deliveries } = await post<{ readonly deliveries: readonly Delivery[] }>('/claim', {
        consumer_id: consumerId,
        limit,
        lease_seconds: leaseSeconds,
        platform,
      });
      return deliveries;
    },
    heartbeat: (executionId, { consumerId, leaseSeconds }) =>
      post(of(executionId, 'heartbeat'), { consumer_id: consumerId, lease_seconds: leaseSeconds }),
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
