/** Deliveries as the providers would send them, for trying a webhook out. */
import { concat, type HashName, hmac, toBase64, toHex, utf8 } from './encoding.ts';
import type { HmacAuth } from './types.ts';
import { standardKey } from './verify.ts';

export const SAMPLE_PROVIDERS = ['github', 'stripe', 'slack', 'standard_webhooks', 'hmac', 'bearer'] as const;

export type SampleProvider = (typeof SAMPLE_PROVIDERS)[number];

export interface SampleOptions {
  readonly nowSeconds: number;
  /** Name of the event, such as `push`. Default: what the provider sends most. */
  readonly event?: string;
  /** Identifies the delivery, so that a second with the same id is the same one. Default: a new one. */
  readonly deliveryId?: string;
  /** How the webhook has its MAC, where it is not the usual one. */
  readonly hmac?: Omit<HmacAuth, 'type' | 'secretRef'>;
  /** Where the webhook wants its token. Default `Authorization: Bearer`. */
  readonly bearer?: { readonly header: string; readonly scheme: string };
}

const DEFAULT_HMAC = { header: 'x-webhook-signature', prefix: 'sha256=', encoding: 'hex', algorithm: 'sha256' } as const;

/** All headers of the delivery, its Content-Type among them. The secret is in none of them but the bearer's. */
export async function signSample(
  provider: SampleProvider,
  secret: string,
  body: string,
  options: SampleOptions,
): Promise<Record<string, string>> {
  const time = String(Math.floor(options.nowSeconds));
  const id = options.deliveryId ?? crypto.randomUUID();
  const mac = (text: string, hash: HashName = 'sha256', key = utf8(secret)): Promise<Uint8Array> => hmac(hash, key, utf8(text));
  const json = { 'content-type': 'application/json' };
  switch (provider) {
    case 'github': {
      const signature = `sha256=${toHex(await mac(body))}`;
      return { ...json, 'x-github-event': options.event ?? 'issues', 'x-github-delivery': id, 'x-hub-signature-256': signature };
    }
    case 'stripe':
      return { ...json, 'stripe-signature': `t=${time},v1=${toHex(await mac(`${time}.${body}`))}` };
    case 'slack': {
      const signature = `v0=${toHex(await mac(`v0:${time}:${body}`))}`;
      return { ...json, 'x-slack-request-timestamp': time, 'x-slack-signature': signature };
    }
    case 'standard_webhooks': {
      const signed = await hmac('sha256', standardKey(secret), utf8(`${id}.${time}.${body}`));
      return { ...json, 'webhook-id': id, 'webhook-timestamp': time, 'webhook-signature': `v1,${toBase64(signed)}` };
    }
    case 'hmac': {
      const { header, prefix, encoding, algorithm, timestampHeader } = options.hmac ?? { ...DEFAULT_HMAC, timestampHeader: undefined };
      const signed = await hmac(algorithm, utf8(secret), concat(utf8(timestampHeader === undefined ? '' : `${time}.`), utf8(body)));
      const signature = `${prefix}${encoding === 'hex' ? toHex(signed) : toBase64(signed)}`;
      const stamp = timestampHeader === undefined ? {} : { [timestampHeader]: time };
      return { ...json, 'x-delivery-id': id, [header]: signature, ...stamp };
    }
    case 'bearer': {
      const { header, scheme } = options.bearer ?? { header: 'authorization', scheme: 'Bearer' };
      return { ...json, 'x-delivery-id': id, [header]: scheme === '' ? secret : `${scheme} ${secret}` };
    }
  }
}

/** A small body with the members that handlers look for first. */
export function sampleBody(provider: SampleProvider, options: Pick<SampleOptions, 'event' | 'nowSeconds'>): string {
  return JSON.stringify(sample(provider, options.event, Math.floor(options.nowSeconds)));
}

function sample(provider: SampleProvider, event: string | undefined, time: number): object {
  switch (provider) {
    case 'github':
      return githubEvent(event ?? 'issues');
    case 'stripe': {
      const object = { id: 'in_sample', object: 'invoice', amount_paid: 4200, currency: 'eur', customer: 'cus_sample', status: 'paid' };
      const head = { id: `evt_sample_${time}`, object: 'event', api_version: '2026-01-28', created: time, livemode: false };
      return { ...head, type: event ?? 'invoice.paid', data: { object } };
    }
    case 'slack': {
      const inner = { type: event ?? 'app_mention', user: 'U0SAMPLE', channel: 'C0SAMPLE', text: '<@U0BOT> hello', ts: `${time}.000100` };
      return { type: 'event_callback', team_id: 'T0SAMPLE', api_app_id: 'A0SAMPLE', event_id: `Ev${time}`, event_time: time, event: inner };
    }
    case 'standard_webhooks':
      return { type: event ?? 'sample.created', timestamp: new Date(time * 1000).toISOString(), data: { id: 'sample_1' } };
    case 'hmac':
    case 'bearer':
      return {
        event: event ?? 'sample',
        id: `sample-${time}`,
        created_at: new Date(time * 1000).toISOString(),
        data: { message: 'hello' },
      };
  }
}

function githubEvent(event: string): object {
  const sender = { login: 'octocat', id: 1, type: 'User' };
  const repository = {
    id: 1,
    name: 'hello-world',
    full_name: 'octocat/hello-world',
    private: false,
    owner: sender,
    default_branch: 'main',
  };
  const text = { number: 1, title: 'A sample', body: 'Sent to try a webhook out.', state: 'open', user: sender };
  switch (event) {
    case 'ping':
      return { zen: 'Keep it logically awesome.', hook_id: 1, repository, sender };
    case 'push': {
      const commit = { id: '1'.repeat(40), message: 'A sample', author: { name: 'Octocat', email: 'octocat@example.com' } };
      return {
        ref: 'refs/heads/main',
        before: '0'.repeat(40),
        after: commit.id,
        commits: [commit],
        head_commit: commit,
        repository,
        sender,
      };
    }
    case 'pull_request': {
      const head = { ref: 'sample', sha: '1'.repeat(40) };
      return { action: 'opened', number: 1, pull_request: { ...text, head, base: { ref: 'main' } }, repository, sender };
    }
    case 'issue_comment':
      return { action: 'created', issue: text, comment: { id: 1, body: 'A sample comment', user: sender }, repository, sender };
    default:
      return { action: 'opened', issue: text, repository, sender };
  }
}
