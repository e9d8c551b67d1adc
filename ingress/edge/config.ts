/**
 * The edge's configuration, from bindings of a Worker or environment variables:
 *
 *   CENTAUR_WEBHOOKS          JSON, as a workflow file's WEBHOOKS: a webhook or a list of them
 *   CENTAUR_API_URL           where the API is
 *   CENTAUR_API_KEY           an API key of scope webhooks:forward
 *   CENTAUR_EDGE_SIGNING_KEY  the same as the API's
 *   CENTAUR_EDGE_SOURCE       `cloudflare` on Workers: CF-Connecting-IP is the sender's address there, and nowhere else
 *   <secret_ref>              each webhook's secret, and while it is rotated the one before as <secret_ref>_PREVIOUS
 */
import { readSecretText } from '../../kernel/webhooks/secret-text.ts';
import { parseWebhookSpecs } from '../../kernel/webhooks/spec.ts';
import type { WebhookAuth } from '../../kernel/webhooks/types.ts';
import type { EdgeOptions, EdgeWebhook } from './edge.ts';

export type Environment = Readonly<Record<string, unknown>>;

export interface EdgeConfig {
  /** Undefined when nothing could be forwarded. */
  readonly options: Pick<EdgeOptions, 'webhooks' | 'forwardTo' | 'key' | 'signingKey'> | undefined;
  /** What is wrong, without any value. A webhook that is named here is not served. */
  readonly problems: readonly string[];
}

export function readConfig(environment: Environment): EdgeConfig {
  const problems: string[] = [];
  const forwardTo = text(environment, 'CENTAUR_API_URL');
  const key = text(environment, 'CENTAUR_API_KEY');
  const signingKey = text(environment, 'CENTAUR_EDGE_SIGNING_KEY');
  if (!/^https?:$/.test(URL.parse(forwardTo)?.protocol ?? '')) problems.push('CENTAUR_API_URL: expected an http or https URL');
  if (key === '') problems.push('CENTAUR_API_KEY: is missing');
  if (signingKey.length < 16) problems.push('CENTAUR_EDGE_SIGNING_KEY: expected at least 16 characters');
  if (problems.length > 0) return { options: undefined, problems };
  const { specs, problems: refused } = parseWebhookSpecs(readJson(environment, problems), 'CENTAUR_WEBHOOKS');
  problems.push(...refused.map(({ field, message }) => `${field}: ${message}`));
  const webhooks = new Map<string, EdgeWebhook>();
  for (const spec of specs) {
    const header = 'header' in spec.auth ? spec.auth.header : '';
    if (header === 'x-api-key') {
      problems.push(`CENTAUR_WEBHOOKS: ${spec.slug} has its proof in X-Api-Key, where the edge has its own key`);
      continue;
    }
    webhooks.set(spec.slug, { spec, secrets: secretsOf(spec.auth, environment, problems) });
  }
  return { options: { webhooks, forwardTo, key, signingKey }, problems };
}

function readJson(environment: Environment, problems: string[]): unknown {
  const declared = environment['CENTAUR_WEBHOOKS'];
  // a Worker may have it as a binding of type JSON
  if (typeof declared !== 'string') return declared;
  try {
    return JSON.parse(declared);
  } catch {
    problems.push('CENTAUR_WEBHOOKS: expected JSON');
    return undefined;
  }
}

function secretsOf(auth: WebhookAuth, environment: Environment, problems: string[]): readonly string[] {
  if (auth.type === 'none') return [];
  if (text(environment, auth.secretRef) === '') problems.push(`${auth.secretRef}: is missing`);
  return [auth.secretRef, `${auth.secretRef}_PREVIOUS`].flatMap((name) => {
    if (text(environment, name) === '') return [];
    const secret = readSecretText(text(environment, name));
    if (!secret.ok) problems.push(`${name}: ${secret.message}`);
    return secret.ok ? [secret.text] : [];
  });
}

function text(environment: Environment, name: string): string {
  const value = environment[name];
  return typeof value === 'string' ? value : '';
}
