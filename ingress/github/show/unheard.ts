/** What was said in comments too late for a turn, as a turn of its own. */
import type { AskFor } from '../../chat/index.ts';
import { type GitHubDelivery, PLATFORM } from '../context.ts';

export const askForUnheard =
  (delivery: GitHubDelivery): AskFor =>
  ({ said, userId }) => {
    const [, executeId, kind, id] = /^(github:[^:]+:(comment|review-comment|review|body):(\d+)):message$/.exec(said) ?? [];
    if (executeId === undefined) return undefined;
    const user = userId.slice(userId.lastIndexOf(':') + 1);
    return { executeId, userId, delivery: { ...delivery, platform: PLATFORM, user, kind, id: Number(id) } };
  };
