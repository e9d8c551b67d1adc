/** What providers are asked from here: under the rules of the way out, as they are now, and read without believing more than is needed. */
import { presentRules } from '../firewall/present-rules.ts';
import { RefusedError } from '../firewall/target.ts';
import { askEndpoint, type EndpointAnswer } from '../firewall/token-endpoint.ts';
import { createUpstreams } from '../firewall/upstream.ts';
import type { Store } from '../store/index.ts';
import { ConnectFailure, reasonOf } from './errors.ts';
import type { OAuthApp } from './types.ts';

export interface Tokens {
  readonly access: string;
  readonly refresh: string | undefined;
  /** Undefined: it does not say. */
  readonly seconds: number | undefined;
  /** Undefined: all that were asked for. */
  readonly scopes: readonly string[] | undefined;
}

export interface AskParts {
  readonly store: Store;
  /** For tests of name resolution. */
  readonly resolver?: ((host: string) => Promise<readonly string[]>) | undefined;
  /** Ends what is being asked. */
  readonly signal?: AbortSignal | undefined;
}

export type Ask = (url: string, form: Readonly<Record<string, string | undefined>>) => Promise<EndpointAnswer>;

const ASK_MS = 20_000;

/** @returns a way of asking that throws ConnectFailure where there is no answer to read */
export function createAsk({ store, resolver, signal }: AskParts): Ask {
  return async (url, form) => {
    const rules = await presentRules(store);
    const { port, protocol } = new URL(url);
    const target = {
      scheme: protocol === 'http:' ? 'http' : 'https',
      host: '',
      port: port === '' ? (protocol === 'http:' ? 80 : 443) : Number(port),
    } as const;
    if (!rules.isPortOpen(target)) throw new ConnectFailure('ADDRESS_DENIED');
    const upstreams = createUpstreams({
      addresses: rules.addresses,
      caPems: rules.caPems,
      headersTimeoutMs: ASK_MS,
      idleTimeoutMs: ASK_MS,
      ...(resolver === undefined ? {} : { resolver }),
    });
    const given = Object.fromEntries(Object.entries(form).filter((entry): entry is [string, string] => entry[1] !== undefined));
    try {
      const answer = await askEndpoint(upstreams, url, given, { signal });
      if (answer.status >= 300 && answer.status < 400) throw new ConnectFailure('REDIRECTED');
      return answer;
    } catch (error) {
      if (error instanceof ConnectFailure) throw error;
      const refused = error instanceof RefusedError ? error : (error as { cause?: unknown }).cause;
      const code = refused instanceof RefusedError ? refused.code : undefined;
      throw new ConnectFailure(code === 'ADDRESS_DENIED' ? 'ADDRESS_DENIED' : code === 'TOKEN_REFUSED' ? 'TOO_LARGE' : 'UNREACHABLE', {
        cause: error,
      });
    } finally {
      await upstreams.close();
    }
  };
}

/** As RFC 6749 has it; GitHub and Slack answer 200 to what they refuse. @throws ConnectFailure */
export function readTokens(app: OAuthApp, { status, fields }: EndpointAnswer): Tokens {
  const { access_token: access, refresh_token: refresh, expires_in: seconds, scope, error } = fields;
  if (error !== undefined || status !== 200) throw new ConnectFailure(reasonOf(error));
  // shorter ones could not be told from other text in an answer
  if (!isToken(access)) throw new ConnectFailure('NO_TOKEN');
  const given = typeof scope === 'string' ? new Set(scope.split(/[\s,]+/)) : undefined;
  return {
    access,
    refresh: isToken(refresh) ? refresh : undefined,
    seconds: Number(seconds) > 0 ? Number(seconds) : undefined,
    // those that we know: a provider's own words are not kept
    scopes: given && app.scopes.filter((each) => given.has(each)),
  };
}

/** What is to be taken back at the provider. */
export interface TakenBack {
  readonly url: string;
  readonly token: string;
  readonly clientId: string;
  readonly clientSecret: string | undefined;
}

/** As RFC 7009 has it: whoever answers 200 knows the token no more. Slack says in the body that it did not. */
export async function takeBack(ask: Ask, { url, token, clientId, clientSecret }: TakenBack): Promise<'revoked' | 'failed'> {
  try {
    const { status, fields } = await ask(url, { token, client_id: clientId, client_secret: clientSecret });
    return status === 200 && fields['error'] === undefined ? 'revoked' : 'failed';
  } catch {
    return 'failed';
  }
}

function isToken(value: unknown): value is string {
  return typeof value === 'string' && /^[\x21-\x7e]{12,16000}$/.test(value);
}
