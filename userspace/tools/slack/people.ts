/** Channels and the people in them. */
import { method } from '@centaur/sdk';
import * as z from 'zod';
import { compact } from '../_shared/results.ts';
import { channel, nextCursor, type Paged, paging, read, user } from './api.ts';

interface RawChannel {
  readonly id: string;
  readonly name?: string;
  readonly is_private?: boolean;
  readonly is_im?: boolean;
  readonly is_archived?: boolean;
  readonly is_member?: boolean;
  readonly is_ext_shared?: boolean;
  readonly is_pending_ext_shared?: boolean;
  readonly user?: string;
  readonly topic?: { readonly value: string };
  readonly purpose?: { readonly value: string };
  readonly num_members?: number;
}

interface RawUser {
  readonly id: string;
  readonly name?: string;
  readonly real_name?: string;
  readonly deleted?: boolean;
  readonly is_bot?: boolean;
  readonly is_admin?: boolean;
  readonly is_restricted?: boolean;
  readonly tz?: string;
  readonly profile?: {
    readonly display_name?: string;
    readonly real_name?: string;
    readonly email?: string;
    readonly title?: string;
    readonly status_text?: string;
  };
}

export const peopleMethods = {
  list_channels: method({
    description: 'Channels that the app can see. shared_outside: people of other companies read along.',
    risk: 'read',
    input: z.strictObject({
      types: z
        .array(z.enum(['public_channel', 'private_channel', 'mpim', 'im']))
        .min(1)
        .default(['public_channel', 'private_channel']),
      archived: z.boolean().default(false).describe('Archived ones, too'),
      ...paging,
    }),
    async run({ types, archived, ...page }, ctx) {
      const answer = await read<Paged & { readonly channels: readonly RawChannel[] }>(ctx, 'conversations.list', {
        types: types.join(','),
        exclude_archived: !archived,
        ...page,
      });
      return { channels: answer.channels.map(toChannel), ...nextCursor(answer) };
    },
  }),

  get_channel: method({
    description: 'One channel. shared_outside: people of other companies read along.',
    risk: 'read',
    input: z.strictObject({ channel }),
    async run(input, ctx) {
      return toChannel(
        (await read<{ readonly channel: RawChannel }>(ctx, 'conversations.info', { ...input, include_num_members: true })).channel,
      );
    },
  }),

  list_channel_members: method({
    description: 'Ids of the users in a channel; get_user tells who they are.',
    risk: 'read',
    input: z.strictObject({ channel, ...paging }),
    async run(input, ctx) {
      const answer = await read<Paged & { readonly members: readonly string[] }>(ctx, 'conversations.members', input);
      return { members: answer.members, ...nextCursor(answer) };
    },
  }),

  list_users: method({
    description: 'People and apps of the workspace. One whose address is known: find_user_by_email.',
    risk: 'read',
    input: z.strictObject({ bots: z.boolean().default(false), deleted: z.boolean().default(false), ...paging }),
    async run({ bots, deleted, ...page }, ctx) {
      const answer = await read<Paged & { readonly members: readonly RawUser[] }>(ctx, 'users.list', page);
      const wanted = answer.members.filter((each) => (bots || each.is_bot !== true) && (deleted || each.deleted !== true));
      return { users: wanted.map(toUser), ...nextCursor(answer) };
    },
  }),

  get_user: method({
    description: 'One user.',
    risk: 'read',
    input: z.strictObject({ user }),
    run: async (input, ctx) => toUser((await read<{ readonly user: RawUser }>(ctx, 'users.info', input)).user),
  }),

  find_user_by_email: method({
    description: 'The user with this email address.',
    risk: 'read',
    input: z.strictObject({ email: z.email() }),
    run: async (input, ctx) => toUser((await read<{ readonly user: RawUser }>(ctx, 'users.lookupByEmail', input)).user),
  }),
};

function toChannel(raw: RawChannel): Record<string, unknown> {
  return compact({
    id: raw.id,
    name: raw.name,
    user: raw.user,
    private: raw.is_private === true ? true : undefined,
    archived: raw.is_archived === true ? true : undefined,
    member: raw.is_member,
    shared_outside: raw.is_ext_shared === true || raw.is_pending_ext_shared === true ? true : undefined,
    topic: raw.topic?.value,
    purpose: raw.purpose?.value,
    members: raw.num_members,
  });
}

function toUser(raw: RawUser): Record<string, unknown> {
  return compact({
    id: raw.id,
    name: raw.name,
    real_name: raw.profile?.real_name ?? raw.real_name,
    display_name: raw.profile?.display_name,
    email: raw.profile?.email,
    title: raw.profile?.title,
    status: raw.profile?.status_text,
    time_zone: raw.tz,
    bot: raw.is_bot === true ? true : undefined,
    deleted: raw.deleted === true ? true : undefined,
    admin: raw.is_admin === true ? true : undefined,
    guest: raw.is_restricted === true ? true : undefined,
  });
}
