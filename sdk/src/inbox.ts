/** The inbox of chat services over the API: what they say is stored before they are answered, and acted on afterwards. */
import { request, type Transport } from './transport.ts';
import type { InboxChange, InboxEvent } from './thread-wire.ts';

/** One event, by the service and the service's own id of it. */
export interface InboxName {
  readonly platform: string;
  readonly eventId: string;
}

export interface InboxClaimOptions {
  /** Names the process that acts on it. */
  readonly consumerId: string;
  readonly platform: string;
  /** 1 to 50, default 10. */
  readonly limit?: number;
  /** 5 to 600, default 60. Send a heartbeat while it takes longer. */
  readonly leaseSeconds?: number;
  /** When there is none, wait so long for one, ms. 30,000 at most. Default 0. */
  readonly waitMs?: number;
  /** Ends the waiting. */
  readonly signal?: AbortSignal;
}

export interface InboxClient {
  /** Stored when it resolves. What is known under the id is not stored again. */
  put(event: InboxName & { readonly conversation: string; readonly body: unknown }): Promise<InboxChange>;
  /** Takes the first event of each conversation that nobody has, oldest first. */
  claim(options: InboxClaimOptions): Promise<readonly InboxEvent[]>;
  heartbeat(event: InboxName, options: { readonly consumerId: string; readonly leaseSeconds?: number }): Promise<InboxChange>;
  /** Says that it was acted on: what it said is deleted. */
  done(event: InboxName, options: { readonly consumerId: string }): Promise<InboxChange>;
  /** Says that it was not. It is due again after a while, and its conversation waits for it. */
  failed(
    event: InboxName,
    options: {
      readonly consumerId: string;
      readonly error: string;
      /** 1 to 3600. Default: longer after each attempt. */
      readonly retryAfterSeconds?: number;
      /** It can never succeed: it is given up. */
      readonly nonRetryable?: boolean;
    },
  ): Promise<InboxChange>;
}

export function createInboxClient(api: Transport): InboxClient {
  const post = <T>(path: string, body: unknown, signal?: AbortSignal) => request<T>(api, 'POST', `/agent/inbox${path}`, body, signal);
  const of = ({ platform, eventId }: InboxName, what: string) => `/${encodeURIComponent(platform)}/${encodeURIComponent(eventId)}/${what}`;
  return {
    put: ({ platform, eventId, conversation, body }) => post('', { platform, event_id: eventId, conversation, body }),
    async claim({ consumerId, platform, limit, leaseSeconds, waitMs, signal }) {
      const body = { consumer_id: consumerId, platform, limit, lease_seconds: leaseSeconds, wait_ms: waitMs };
      return (await post<{ readonly events: readonly InboxEvent[] }>('/claim', body, signal)).events;
    },
    heartbeat: (event, { consumerId, leaseSeconds }) =>
      post(of(event, 'heartbeat'), { consumer_id: consumerId, lease_seconds: leaseSeconds }),
    done: (event, { consumerId }) => post(of(event, 'done'), { consumer_id: consumerId }),
    failed: (event, { consumerId, error, retryAfterSeconds, nonRetryable }) =>
      post(of(event, 'failed'), {
        consumer_id: consumerId,
        error,
        retry_after_seconds: retryAfterSeconds,
        non_retryable: nonRetryable,
      }),
  };
}
