/** response_url: 5 answers within 30 minutes (docs.slack.dev: Handling user interaction, "Message responses"). */
import { randomBytes } from 'node:crypto';
import { SlackError } from './api.ts';
import type { Events } from './events.ts';
import { author, blocksOf, remove } from './messages.ts';
import { addMessage, findMessage, type Json, type Message, TEAM, type World } from './world.ts';

const USES = 5;
const LIFE_MS = 30 * 60_000;

interface Place {
  readonly channel: string;
  readonly user: string;
  readonly threadTs?: string | undefined;
  /** What was clicked. */
  readonly original?: { readonly ts: string; readonly isEphemeral: boolean };
}

export interface ResponseUrls {
  /** @returns the path of a new one */
  open(place: Place): string;
  /** What an app posted to one. */
  answer(path: string, body: unknown): { readonly status: number; readonly body: string };
  /** The same body as the answer to a command. */
  say(place: Place, body: Json): void;
}

export function createResponseUrls(world: World, events: Events): ResponseUrls {
  const open = new Map<string, { readonly place: Place; readonly until: number; uses: number }>();

  return {
    open(place) {
      const path = `/actions/${TEAM.id}/${Math.floor(world.clock.now())}/${randomBytes(12).toString('hex')}`;
      open.set(path, { place, until: world.clock.now() + LIFE_MS, uses: 0 });
      return path;
    },
    answer(path, body) {
      const found = open.get(path);
      const refused = (error: string, status = 404) => ({ status, body: JSON.stringify({ ok: false, error }) });
      if (found === undefined) return refused('no_service');
      if (world.clock.now() > found.until) return refused('expired_url');
      if (found.uses >= USES) return refused('used_url');
      if (typeof body !== 'object' || body === null) return refused('invalid_payload', 400);
      try {
        respond(found.place, body as Json);
      } catch (error) {
        if (error instanceof SlackError) return { status: 400, body: error.message };
        throw error;
      }
      found.uses += 1;
      return { status: 200, body: JSON.stringify({ ok: true }) };
    },
    say: respond,
  };

  function respond(place: Place, body: Json): void {
    const blocks = blocksOf(body.blocks);
    const written = typeof body.text === 'string' ? body.text.slice(0, 40_000) : '';
    if (body.delete_original === true) {
      dropOriginal(place);
      return;
    }
    if (written === '' && blocks === undefined) throw new SlackError('no_text');
    if (body.replace_original === true && place.original !== undefined) {
      replaceOriginal(place, written, blocks);
      return;
    }
    const threadTs = typeof body.thread_ts === 'string' ? body.thread_ts : undefined;
    if (body.response_type === 'in_channel') {
      const at = { channel_id: place.channel, ...author(), thread_ts: threadTs };
      events.posted(addMessage(world, { ...at, text: written, blocks }), 'message only');
    } else
      world.ephemerals.push({ ts: world.nextTs(), channel: place.channel, user: place.user, text: written, blocks, thread_ts: threadTs });
  }

  function dropOriginal({ original, channel }: Place): void {
    if (original?.isEphemeral === true) {
      const place = world.ephemerals.findIndex(({ ts }) => ts === original.ts);
      if (place >= 0) world.ephemerals.splice(place, 1);
      return;
    }
    const message = original === undefined ? undefined : findMessage(world, channel, original.ts);
    if (message !== undefined) remove(world, events, message);
  }

  function replaceOriginal({ original, channel }: Place, text: string, blocks: readonly Json[] | undefined): void {
    const ts = original?.ts ?? '';
    if (original?.isEphemeral === true) {
      const place = world.ephemerals.findIndex((one) => one.ts === ts);
      const before = world.ephemerals[place];
      if (before !== undefined) world.ephemerals[place] = { ...before, text, blocks };
      return;
    }
    const before = findMessage(world, channel, ts);
    if (before === undefined) throw new SlackError('message_not_found');
    events.changed(world.messages.update(before.id, { text, blocks, edits: (before.edits ?? 0) + 1 }) as Message, before);
  }
}
