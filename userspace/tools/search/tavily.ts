/** https://docs.tavily.com/documentation/api-reference/endpoint/search */
import { secret } from '@centaur/sdk';
import { apiBase, createRest } from '../_shared/rest.ts';
import type { Provider } from './provider.ts';
import { plainText } from './text.ts';

const KEY = 'TAVILY_API_KEY';
const API = apiBase('TAVILY_API_URL', 'https://api.tavily.com');

interface RawHit {
  readonly title?: string;
  readonly url: string;
  readonly content?: string;
  readonly published_date?: string;
}

const send = createRest({
  name: 'Tavily',
  base: API,
  headers: () => ({ authorization: `Bearer ${secret(KEY)}` }),
  explain(status, data) {
    const { detail } = (data ?? {}) as { readonly detail?: { readonly error?: string } | string };
    const said = typeof detail === 'string' ? detail : detail?.error;
    if (said === undefined) return undefined;
    if (status === 401) return { message: `${said} ${KEY} is wrong` };
    // 432: the plan's limit, 433: that of paying by use
    if (status === 432 || status === 433) return { code: 'PAYMENT_REQUIRED', message: said };
    return { message: said, again: status === 429 };
  },
});

export const tavily: Provider = {
  name: 'tavily',
  secret: KEY,
  base: API,
  async search(ctx, { query, kind, count, within, domains }) {
    const { data } = await send<{ readonly results?: readonly RawHit[] }>(ctx, {
      method: 'POST',
      path: '/search',
      json: {
        query,
        topic: kind === 'web' ? 'general' : 'news',
        max_results: count,
        search_depth: 'basic',
        ...(within === undefined ? {} : { time_range: within }),
        ...(domains === undefined ? {} : { include_domains: domains }),
      },
      // it changes nothing
      repeatable: true,
    });
    return (data.results ?? []).map(({ title = '', url, content = '', published_date: published }) => ({
      title: plainText(title),
      url,
      snippet: plainText(content),
      ...(published === undefined ? {} : { published }),
    }));
  },
};
