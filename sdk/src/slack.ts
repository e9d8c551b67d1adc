/** Posts to Slack, as workflows make them. */

export interface PostToSlackOptions {
  /** The message that this one answers. */
  readonly threadTs?: string;
  /** Shown in the channel too, when it answers in a thread. */
  readonly replyBroadcast?: boolean;
  /** Block Kit. `text` is then what notifications show. */
  readonly blocks?: readonly unknown[];
  /** Default false, both. */
  readonly unfurlLinks?: boolean;
  readonly unfurlMedia?: boolean;
}

/** A message that is there, with what it says from now on. */
export interface SlackMessage {
  readonly channel: string;
  readonly ts: string;
  readonly text: string;
  readonly blocks?: readonly unknown[];
}

export interface SlackPost {
  readonly channel: string;
  readonly ts: string;
}
