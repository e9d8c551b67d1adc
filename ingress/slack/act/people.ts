/** What people and channels are called: asked of Slack, and known for a while. */
import { clipLine } from '../../chat/index.ts';
import type { SlackContext } from '../context.ts';
import { nameOf, objectOf } from '../shapes.ts';
import { tryCall } from './tell.ts';
import type { Names } from './words.ts';

const KNOWN_MS = 3_600_000;
const UNKNOWN_MS = 300_000;
const MOST_KNOWN = 10_000;
/** Looked up for one message: those beyond keep their ids. */
const MOST_AT_ONCE = 30;

interface Known {
  readonly name: string | undefined;
  readonly until: number;
}

const CACHES = new WeakMap<SlackContext['slack'], Map<string, Known>>();

export async function namesOf(
  context: SlackContext,
  ids: { readonly people: Iterable<string>; readonly channels: Iterable<string> },
): Promise<Names> {
  const [people, channels] = await Promise.all([lookUp(context, ids.people, personName), lookUp(context, ids.channels, channelName)]);
  people.set(context.self.userId, context.self.name);
  return { people, channels };
}

async function lookUp(
  context: SlackContext,
  ids: Iterable<string>,
  ask: (context: SlackContext, id: string) => Promise<string | undefined>,
): Promise<Map<string, string>> {
  const wanted = [...new Set(ids)].slice(0, MOST_AT_ONCE);
  const found = await Promise.all(wanted.map(async (id) => [id, await remembered(context, id, ask)] as const));
  return new Map(found.flatMap(([id, name]) => (name === undefined ? [] : [[id, name]])));
}

async function remembered(
  context: SlackContext,
  id: string,
  ask: (context: SlackContext, id: string) => Promise<string | undefined>,
): Promise<string | undefined> {
  const cache = CACHES.get(context.slack) ?? new Map<string, Known>();
  CACHES.set(context.slack, cache);
  const known = cache.get(id);
  const now = context.now();
  if (known !== undefined && known.until > now) return known.name;
  const name = await ask(context, id);
  if (cache.size >= MOST_KNOWN) cache.clear();
  cache.set(id, { name, until: now + (name === undefined ? UNKNOWN_MS : KNOWN_MS) });
  return name;
}

async function personName(context: SlackContext, user: string): Promise<string | undefined> {
  const answer = objectOf((await tryCall(context, 'users.info', { user }))?.['user']);
  const profile = objectOf(answer?.['profile']);
  const name =
    nameOf(profile?.['real_name']) ?? nameOf(answer?.['real_name']) ?? nameOf(profile?.['display_name']) ?? nameOf(answer?.['name']);
  return name === undefined ? undefined : plainName(name);
}

async function channelName(context: SlackContext, channel: string): Promise<string | undefined> {
  const name = nameOf(objectOf((await tryCall(context, 'conversations.info', { channel }))?.['channel'])?.['name']);
  return name === undefined ? undefined : plainName(name);
}

/** People choose their names: one line of it, without what sets our own words apart. */
export function plainName(name: string): string {
  return clipLine(name.replaceAll(/[[\]<>"`]/g, ''), 80);
}
