/** Search of the web, by whichever service there is a key for. See README.md. */
import { defineTool, method, type ToolContext, ToolFailure } from '@centaur/sdk';
import * as z from 'zod';
import { hostOf } from '../_shared/rest.ts';
import { brave } from './brave.ts';
import type { Provider, Question } from './provider.ts';
import { tavily } from './tavily.ts';

/** In this order, when there are keys for several. */
const PROVIDERS: readonly Provider[] = [brave, tavily];

const input = z.strictObject({
  query: z.string().min(1).max(400),
  count: z.int().min(1).max(20).default(8),
  within: z.enum(['day', 'week', 'month', 'year']).optional().describe('Not older than this'),
  domains: z
    .array(z.string().regex(/^(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}$/i))
    .min(1)
    .max(10)
    .optional()
    .describe('Only pages of these hosts: `example.com`'),
  provider: z.enum(['brave', 'tavily']).optional().describe('Default: the one that there is a key for'),
});

export default defineTool({
  description: 'Searches the web and the news: titles, addresses and excerpts of pages. It does not open pages.',
  secrets: [
    {
      name: brave.secret,
      hosts: [hostOf(brave.base)],
      methods: ['GET'],
      match_headers: ['x-subscription-token'],
      optional: true,
      description: 'https://api-dashboard.search.brave.com: a key of the Search plan',
    },
    {
      name: tavily.secret,
      hosts: [hostOf(tavily.base)],
      methods: ['POST'],
      match_headers: ['authorization'],
      optional: true,
      description: 'https://app.tavily.com: an API key',
    },
  ],
  timeout: '30s',
  methods: {
    search_web: method({
      description: 'Pages about something: their titles, addresses and excerpts, best first.',
      risk: 'read',
      input,
      run: (given, ctx) => ask(ctx, 'web', given),
    }),
    search_news: method({
      description: 'News about something: titles, addresses, excerpts, and when they were published.',
      risk: 'read',
      input,
      run: (given, ctx) => ask(ctx, 'news', given),
    }),
  },
});

type Given = z.output<typeof input>;

async function ask(ctx: ToolContext, kind: Question['kind'], { provider: wanted, query, count, within, domains }: Given) {
  const provider = choose(wanted);
  const question = { query, count, kind, ...(within === undefined ? {} : { within }), ...(domains === undefined ? {} : { domains }) };
  const items = await provider.search(ctx, question);
  return { provider: provider.name, items: items.slice(0, count) };
}

function choose(wanted: Provider['name'] | undefined): Provider {
  const asked = PROVIDERS.filter(({ name }) => wanted === undefined || name === wanted);
  const found = asked.find(({ secret }) => (process.env[secret] ?? '') !== '');
  if (found !== undefined) return found;
  const how = asked.map(({ secret }) => `centaur secrets set ${secret} --for search`).join(', or: ');
  throw new ToolFailure('NO_PROVIDER', `There is no key for ${wanted ?? 'any service'}. An operator sets one with: ${how}`);
}
