/**
 * What Slack says, as it is kept in the inbox until it was acted on. Only what somebody acts on is kept: the rest is acknowledged and
 * forgotten.
 */

/** As Slack sends it, unchecked: whoever acts on it reads what it needs, and trusts nothing. */
export type Raw = Readonly<Record<string, unknown>>;

export type Heard =
  /** `event_callback`: the inner event. `teamId` is the workspace that it was sent to. */
  | { readonly kind: 'event'; readonly eventId: string; readonly teamId: string; readonly at: number; readonly event: Raw }
  /** A button, a menu, a modal. `signed` is what Slack sent over HTTP, for the platform to check by itself; Socket Mode has none. */
  | { readonly kind: 'interaction'; readonly payload: Raw; readonly signed: Signed | null; readonly at: number }
  /** `/centaur …` */
  | { readonly kind: 'command'; readonly command: Raw; readonly at: number };

export interface Signed {
  /** The raw body. */
  readonly body: string;
  readonly signature: string;
  /** In seconds, as Slack sent it. */
  readonly timestamp: string;
}
