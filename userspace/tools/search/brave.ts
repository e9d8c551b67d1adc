/** https://api-dashboard.search.brave.com/app/documentation */
import { secret } from '@centaur/sdk';
import { apiBase, createRest } from '../_shared/rest.ts';
import type { Hit, Provider, Question } from './provider.ts';
import { plainText } from './text.ts';

const KEY = 'BRAVE_SEARCH_API_KEY';
const API = apiBase('BRAVE_SEARCH_API_URL', 'https://api.search.brave.com/res/v1');

interface RawHit {
  readonly title?: string;
  readonly url: string;
  readonly description?: string;
  readonly age?: string;
  readonly page_age?: string;
  readonly extra_snippets?: readonly string[];
}

interface RawError {
  readonly error?: { readonly code?: string; readonly detail?: string };
}

const send = createRest({
  name: 'Brave Search',
  base: API,
  headers: () => ({ 'x-subscription-token': secret(KEY) }),
  explain(status, data) {
    const { code, detail } = (data as RawError | undefined)?.error ?? {};
    const said = detail ?? code;
    if (said === undefined) return undefined;
    if (code === 'SUBSCRIPTION_TOKEN_INVALID' || status === 401)
      return { code: 'UNAUTHORIZED', message: `${said} ${KEY} is wrong, or its plan does not have this` };
    return { message: said, again: status === 429 };
  },
});

const FRESHNESS = { day: 'pd', week: 'pw', month: 'pm', year: 'py' } as const;

export const brave: Provider = {
  name: 'brave',
  secret: KEY,
  base: API,
  async search(ctx, { kind, count, within, ...question }) {
    const { data } = await send<{ readonly web?: { readonly results: readonly RawHit[] }; readonly results?: readonly RawHit[] }>(ctx, {
      path: kind === 'web' ? '/web/search' : '/news/search',
      query: {
        q: withDomains(question),
        count,
        freshness: within === undefined ? undefined : FRESHNESS[within],
        text_decorations: false,
        ...(kind === 'web' ? { result_filter: 'web' } : {}),
      },
    });
    return ((kind === 'web' ? data.web?.results : data.results) ?? []).map(toHit);
  },
};

/** It has no parameter for them, but knows the operator. */
function withDomains({ query, domains = [] }: Pick<Question, 'query' | 'domains'>): string {
  const sites = domains.map((domain) => `site:${domain}`).join(' OR ');
  return sites === '' ? query : `${query} ${domains.length > 1 ? `(${sites})` : sites}`;
}

function toHit({ title = '', url, description = '', extra_snippets: more = [], age, page_age: date }: RawHit): Hit {
  const published = date ?? age;
  return {
    title: plainText(title),
    url,
    snippet: plainText([description, ...more].join(' ')),
    ...(published === undefined ? {} : { published }),
  };
}
