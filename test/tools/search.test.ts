/** The tool `search` against stand-ins that are as strict as the services are documented to be. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import type { ToolDefinition } from '@centaur/sdk';
import { plainText } from '../../userspace/tools/search/text.ts';
import { callMethod, failureOf } from './call.ts';
import { type Front, type Seen, startFront } from './front.ts';

const BRAVE = 'BSA-0123456789';
const TAVILY = 'tvly-0123456789';
let front: Front;
let search: ToolDefinition;

function brave(hits: unknown) {
  return ({ headers, query }: Seen) => {
    if (headers['x-subscription-token'] !== BRAVE)
      return {
        status: 422,
        body: {
          type: 'ErrorResponse',
          error: { code: 'SUBSCRIPTION_TOKEN_INVALID', detail: 'The provided subscription token is invalid.' },
        },
      };
    const count = Number(query.get('count'));
    const known = ['q', 'count', 'freshness', 'text_decorations', 'result_filter'];
    const wrong = [...query.keys()].find((key) => !known.includes(key));
    if (wrong !== undefined || !(count >= 1 && count <= 20) || !['pd', 'pw', 'pm', 'py', null].includes(query.get('freshness')))
      return {
        status: 422,
        body: { type: 'ErrorResponse', error: { code: 'VALIDATION', detail: `Unable to validate request: ${wrong}` } },
      };
    return { body: hits };
  };
}

before(async () => {
  front = await startFront({
    'GET /res/v1/web/search': brave({
      type: 'search',
      web: {
        results: [
          {
            title: 'Doors &amp; <strong>hinges</strong>',
            url: 'https://example.com/doors',
            description: 'How to  oil a <strong>hinge</strong>.',
            page_age: '2026-10-01T00:00:00',
          },
          { title: 'Windows', url: 'https://example.com/windows', description: 'x'.repeat(3000) },
        ],
      },
    }),
    'GET /res/v1/news/search': brave({
      type: 'news',
      results: [{ title: 'A door', url: 'https://news.example.com/1', description: 'It opened.', age: '2 days ago' }],
    }),
    'POST /search': ({ headers, body }) => {
      if (headers.authorization !== `Bearer ${TAVILY}`)
        return { status: 401, body: { detail: { error: 'Unauthorized: missing or invalid API key.' } } };
      const { query, topic } = JSON.parse(body.toString()) as { query: string; topic: string };
      return {
        body: {
          query,
          results: [
            {
              title: `${topic}: ${query}`,
              url: 'https://example.com/t',
              content: 'Found',
              score: 0.9,
              published_date: 'Sat, 21 Nov 2026 10:00:00 GMT',
            },
          ],
        },
      };
    },
  });
  process.env['BRAVE_SEARCH_API_URL'] = `${front.url}/res/v1`;
  process.env['TAVILY_API_URL'] = front.url;
  search = (await import('../../userspace/tools/search/tool.ts')).default;
});

beforeEach(() => {
  delete process.env['BRAVE_SEARCH_API_KEY'];
  delete process.env['TAVILY_API_KEY'];
});

after(() => front.close());

const call = (method: string, args: unknown) => callMethod(search, method, args);

test('without a key it says which ones there could be', async () => {
  const failure = await failureOf(call('search_web', { query: 'x' }));
  assert.equal(failure.code, 'NO_PROVIDER');
  assert.match(failure.message, /secrets set BRAVE_SEARCH_API_KEY --for search, or: centaur secrets set TAVILY_API_KEY/);
  assert.ok(search.secrets?.every(({ optional }) => optional));
});

test('Brave: pages, as plain text of a bounded length', async () => {
  process.env['BRAVE_SEARCH_API_KEY'] = BRAVE;
  const { provider, items } = await call('search_web', {
    query: 'hinge',
    count: 2,
    within: 'week',
    domains: ['example.com', 'example.org'],
  });
  assert.equal(provider, 'brave');
  assert.deepEqual(items[0], {
    title: 'Doors & hinges',
    url: 'https://example.com/doors',
    snippet: 'How to oil a hinge.',
    published: '2026-10-01T00:00:00',
  });
  assert.ok(items[1].snippet.length < 1600);
  assert.deepEqual(
    [front.last.query.get('q'), front.last.query.get('freshness'), front.last.query.get('count')],
    ['hinge (site:example.com OR site:example.org)', 'pw', '2'],
  );
});

test('Brave: news', async () => {
  process.env['BRAVE_SEARCH_API_KEY'] = BRAVE;
  const { items } = await call('search_news', { query: 'door' });
  assert.deepEqual(items, [{ title: 'A door', url: 'https://news.example.com/1', snippet: 'It opened.', published: '2 days ago' }]);
});

test('Tavily is asked when only its key is there, or when the call says so', async () => {
  process.env['TAVILY_API_KEY'] = TAVILY;
  const { provider, items } = await call('search_news', { query: 'door', within: 'day', domains: ['example.com'], count: 3 });
  assert.equal(provider, 'tavily');
  assert.deepEqual(items, [
    { title: 'news: door', url: 'https://example.com/t', snippet: 'Found', published: 'Sat, 21 Nov 2026 10:00:00 GMT' },
  ]);
  assert.deepEqual(JSON.parse(front.last.body.toString()), {
    query: 'door',
    topic: 'news',
    max_results: 3,
    search_depth: 'basic',
    time_range: 'day',
    include_domains: ['example.com'],
  });
  process.env['BRAVE_SEARCH_API_KEY'] = BRAVE;
  assert.equal((await call('search_web', { query: 'x' })).provider, 'brave');
  assert.equal((await call('search_web', { query: 'x', provider: 'tavily' })).provider, 'tavily');
});

test('what a service refuses is told in its words', async () => {
  process.env['BRAVE_SEARCH_API_KEY'] = 'wrong';
  process.env['TAVILY_API_KEY'] = 'wrong';
  for (const [provider, said] of [
    ['brave', /token is invalid\. BRAVE_SEARCH_API_KEY is wrong/],
    ['tavily', /invalid API key\. TAVILY_API_KEY is wrong/],
  ] as const) {
    const failure = await failureOf(call('search_web', { query: 'x', provider }));
    assert.equal(failure.code, 'UNAUTHORIZED');
    assert.match(failure.message, said);
  }
  front.next({ status: 432, body: { detail: { error: "This request exceeds your plan's set usage limit." } } });
  assert.equal((await failureOf(call('search_web', { query: 'x', provider: 'tavily' }))).code, 'PAYMENT_REQUIRED');
  front.next({
    status: 429,
    body: { type: 'ErrorResponse', error: { code: 'RATE_LIMITED', detail: 'Request rate limit exceeded for plan.' } },
  });
  const late = await failureOf(call('search_web', { query: 'x', provider: 'brave' }));
  assert.deepEqual([late.code, late.retryable], ['RATE_LIMITED', true]);
});

test('marks are taken out of a text in time that grows with its length only', () => {
  assert.equal(plainText('1 < 2 &amp; a <strong class="x">hinge</strong>'), '1 < 2 & a hinge');
  // tag by tag looked through to the end it would take many minutes
  assert.match(plainText('<a '.repeat(500_000)), /^<a <a .*more characters\)$/);
});
