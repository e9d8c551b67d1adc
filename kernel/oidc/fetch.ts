/** The way to the provider: under the firewall's rules for addresses as they are now, without redirects, with a bounded answer. */
import type { CustomFetch } from 'openid-client';
import { type EgressConfig, readRules } from '../firewall/rules.ts';
import { authorityText, parseAuthority } from '../firewall/target.ts';
import { createUpstreams } from '../firewall/upstream.ts';
import type { Store } from '../store/index.ts';

const ASK_MS = 10_000;
/** Documents with keys are some KiB. */
const ANSWER_MOST = 256 * 1024;

export interface FetchParts {
  readonly store: Store;
  /** For tests of name resolution. */
  readonly resolver?: ((host: string) => Promise<readonly string[]>) | undefined;
}

export function createProviderFetch({ store, resolver }: FetchParts): CustomFetch {
  return async (address, { method, headers, body }) => {
    const url = new URL(address);
    const { rows } = await store.query<{ config: string }>('select config from firewall_configs order by version desc limit 1');
    const rules = readRules(rows[0] === undefined ? {} : (JSON.parse(rows[0].config) as EgressConfig));
    const target = parseAuthority(url.host, url.protocol === 'http:' ? 'http' : 'https', 'default');
    if (!rules.isPortOpen(target)) throw new Error(`port ${target.port} is not among egress.ports`);
    const upstreams = createUpstreams({
      addresses: rules.addresses,
      caPems: rules.caPems,
      headersTimeoutMs: ASK_MS,
      idleTimeoutMs: ASK_MS,
      ...(resolver === undefined ? {} : { resolver }),
    });
    try {
      const answer = await upstreams.pool(target).request({
        path: `${url.pathname}${url.search}`,
        method,
        headers: { ...headers, host: authorityText(target) },
        body: body === undefined || body === null ? null : textOf(body),
        signal: AbortSignal.timeout(ASK_MS),
      });
      const parts: Buffer[] = [];
      let size = 0;
      for await (const part of answer.body as AsyncIterable<Buffer>) {
        size += part.length;
        if (size > ANSWER_MOST) throw new Error(`the provider answered more than ${ANSWER_MOST} bytes`);
        parts.push(part);
      }
      const shown = Object.entries(answer.headers).flatMap(([name, value]): [string, string][] =>
        value === undefined ? [] : [[name, Array.isArray(value) ? value.join(', ') : value]],
      );
      const isEmpty = [101, 204, 205, 304].includes(answer.statusCode);
      return new Response(isEmpty ? null : Buffer.concat(parts), { status: answer.statusCode, headers: shown });
    } finally {
      await upstreams.close();
    }
  };
}

function textOf(body: unknown): string {
  if (typeof body === 'string' || body instanceof URLSearchParams) return String(body);
  throw new TypeError('only forms are sent to a provider');
}
