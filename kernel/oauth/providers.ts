/** What is known of the providers that tools come for. Each field can be said otherwise, for an installation of one's own. */
import type { OAuthApp } from './types.ts';

export const PROVIDERS = ['google', 'github', 'slack', 'linear', 'custom'] as const;
export type Provider = (typeof PROVIDERS)[number];

export type Preset = Pick<
  OAuthApp,
  | 'authorize_url'
  | 'token_url'
  | 'device_url'
  | 'revoke_url'
  | 'issuer'
  | 'scope_separator'
  | 'authorize_params'
  | 'hosts'
  | 'secret'
  | 'inject'
>;

/** Whose tokens are of a bot, and no person's own. */
export const SHARED_ONLY: ReadonlySet<Provider> = new Set(['slack']);

export const PRESETS: Readonly<Record<Exclude<Provider, 'custom'>, Preset>> = {
  google: {
    authorize_url: 'https://accounts.google.com/o/oauth2/v2/auth',
    token_url: 'https://oauth2.googleapis.com/token',
    device_url: 'https://oauth2.googleapis.com/device/code',
    revoke_url: 'https://oauth2.googleapis.com/revoke',
    issuer: 'https://accounts.google.com',
    scope_separator: ' ',
    // else there is a refresh token the first time only, or never
    authorize_params: { access_type: 'offline', prompt: 'consent' },
    hosts: ['www.googleapis.com', 'gmail.googleapis.com'],
    secret: 'GOOGLE_OAUTH',
    inject: null,
  },
  github: {
    authorize_url: 'https://github.com/login/oauth/authorize',
    token_url: 'https://github.com/login/oauth/access_token',
    device_url: 'https://github.com/login/device/code',
    revoke_url: null,
    issuer: null,
    scope_separator: ' ',
    authorize_params: {},
    hosts: ['api.github.com'],
    secret: 'GITHUB_TOKEN',
    inject: null,
  },
  slack: {
    authorize_url: 'https://slack.com/oauth/v2/authorize',
    token_url: 'https://slack.com/api/oauth.v2.access',
    device_url: null,
    revoke_url: 'https://slack.com/api/auth.revoke',
    issuer: null,
    scope_separator: ',',
    authorize_params: {},
    hosts: ['slack.com', 'files.slack.com'],
    secret: 'SLACK_BOT_TOKEN',
    inject: null,
  },
  linear: {
    authorize_url: 'https://linear.app/oauth/authorize',
    token_url: 'https://api.linear.app/oauth/token',
    device_url: null,
    revoke_url: 'https://api.linear.app/oauth/revoke',
    issuer: null,
    scope_separator: ',',
    authorize_params: {},
    hosts: ['api.linear.app'],
    secret: 'LINEAR_API_KEY',
    // its tool sends personal keys, which go without "Bearer"
    inject: 'Bearer {value}',
  },
};
