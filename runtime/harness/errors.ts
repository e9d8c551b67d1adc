/** From what a CLI says about a failure to the class that decides what happens next: retry, another key, or a person. */
import type { ErrorClass } from './events.ts';

/**
 * 403 is a refusal of the firewall, which answers in the upstream's error shape (docs: firewall); 401 is a key that does
 * not work.
 */
export function classifyHttp(http: number | undefined): ErrorClass | undefined {
  if (http === undefined || http < 400) return undefined;
  if (http === 401 || http === 402) return 'auth';
  if (http === 403 || http === 451) return 'policy';
  if (http === 429) return 'rate_limit';
  if (http === 408) return 'network';
  return http >= 500 ? 'overloaded' : 'invalid_request';
}

const WORDS: readonly (readonly [ErrorClass, RegExp])[] = [
  ['rate_limit', /rate.?limit|too many requests|usage.?limit|quota/i],
  ['auth', /api.?key|unauthori[sz]ed|authenticat|not logged in|credential|billing|environment variable/i],
  ['overloaded', /overloaded|high demand|service unavailable|server.?error|internal error/i],
  ['policy', /forbidden|denied by|polic(y|ies)|permission/i],
  ['network', /network|connect|ECONN|ENOTFOUND|EAI_AGAIN|socket|timed? ?out|stream disconnected|terminated|fetch failed|certificate|TLS/i],
  ['invalid_request', /invalid.?request|bad request|context.?(window|length|overflow)|too long|model.*not (found|exist|support)/i],
];

export function classifyText(message: string): ErrorClass {
  return WORDS.find(([, pattern]) => pattern.test(message))?.[0] ?? 'harness';
}

/** "429 {…}", as pi writes it, and "unexpected status 401", as Codex does. */
export function httpInText(message: string): number | undefined {
  const found = /^(\d{3})\b|\bstatus:? (\d{3})\b|\((\d{3})\)/.exec(message);
  const http = Number(found?.[1] ?? found?.[2] ?? found?.[3]);
  return http >= 400 && http < 600 ? http : undefined;
}
