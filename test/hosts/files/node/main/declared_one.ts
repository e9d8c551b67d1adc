/** Everything a file can declare, once. */
export const WORKFLOW_NAME = 'declared_one';
export const WORKFLOW_PRINCIPAL = true;
export const AGENT_DEFAULTS = { harness: 'codex' };
export const QUEUE = 'etl';
export const RETRY = { maxAttempts: 3 };
export const SCHEDULE = { type: 'cron', cron: '0 9 * * 1-5', timezone: 'America/New_York', input: { profile: 'default' } };
export const WEBHOOKS = [
  {
    slug: 'one',
    provider: 'github',
    auth: { type: 'github_hmac', secret_ref: 'GITHUB_WEBHOOK_SECRET' },
    trigger_key: { type: 'header', name: 'X-GitHub-Delivery' },
  },
];

export const handler = (): null => null;
