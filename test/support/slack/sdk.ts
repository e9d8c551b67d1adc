/** Slack's own client against the Slack of a test. */
import assert from 'node:assert/strict';
import { ErrorCode, type Logger, LogLevel, WebClient, type WebClientOptions } from '@slack/web-api';
import type { Slack } from './index.ts';

/** What the SDK logs of refused calls is what the tests provoke. */
export const SILENT: Logger = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  setLevel() {},
  setName() {},
  getLevel: () => LogLevel.ERROR,
};

/** It tries once and says at once what it was refused. */
export function client(slack: Slack, token = slack.botToken, options: WebClientOptions = {}): WebClient {
  const once = { retryConfig: { retries: 0 }, rejectRateLimitedCalls: true };
  return new WebClient(token, { slackApiUrl: slack.apiUrl, logger: SILENT, ...once, ...options });
}

/** The error code of a refused call, and what Slack says of it. */
export async function refused(call: Promise<unknown>): Promise<{ readonly error: string; readonly messages: readonly string[] }> {
  const error = await call.then(
    () => assert.fail('it was not refused'),
    (reason: {
      readonly code: string;
      readonly data: { readonly error: string; readonly response_metadata?: { readonly messages?: string[] } };
    }) => reason,
  );
  assert.equal(error.code, ErrorCode.PlatformError);
  return { error: error.data.error, messages: error.data.response_metadata?.messages ?? [] };
}
