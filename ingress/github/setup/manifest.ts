/** What has to be set at GitHub, as GitHub takes it: for an app as a manifest, for a machine account in words. */

/** Of webhooks. */
export const EVENTS = ['issue_comment', 'issues', 'pull_request', 'pull_request_review', 'pull_request_review_comment'] as const;

/** Of an app, and of a fine-grained token of a machine account. */
export const PERMISSIONS: Readonly<Record<string, 'read' | 'write'>> = { issues: 'write', metadata: 'read', pull_requests: 'write' };

/** @param url where GitHub reaches the bot, with its path */
export function appManifest(url: string): object {
  return {
    name: 'Centaur',
    url: new URL('/', url).href,
    hook_attributes: { url, active: true },
    public: false,
    default_permissions: PERMISSIONS,
    default_events: EVENTS,
  };
}
