import { method, type ToolContext, ToolFailure } from '@centaur/sdk';
import * as z from 'zod';
import { at } from '../_shared/rest.ts';
import { compact, cut } from '../_shared/results.ts';
import { mail, nextPage, page_token } from './api.ts';
import { enclosedIn, header, type Letter, type Part, textOf, writeLetter } from './mime.ts';

interface RawMessage {
  readonly id: string;
  readonly threadId: string;
  readonly labelIds?: readonly string[];
  readonly snippet?: string;
  readonly internalDate?: string;
  readonly payload?: Part;
}

interface RawDraft {
  readonly id: string;
  readonly message?: RawMessage;
}

const MOST_CHARACTERS = 50_000;
/** Of a conversation, each message. */
const EACH_CHARACTERS = 8000;
/** For each message of a list Gmail wants a request of its own. */
const AT_A_TIME = 5;

const id = z.string().regex(/^[\w-]+$/);
const message = id.describe('Id of the message');
const person = z.email();
const letter = {
  to: z.array(person).min(1).max(100),
  cc: z.array(person).max(100).optional(),
  bcc: z.array(person).max(100).optional(),
  subject: z.string().min(1).max(500),
  text: z.string().min(1).max(200_000),
  reply_to_message: id.optional().describe('Id of the message that it answers: it joins that conversation'),
};

export const mailMethods = {
  search_messages: method({
    description: 'Messages in Gmail, newest first, by the words and operators of its own search. Without their texts.',
    risk: 'read',
    input: z.strictObject({
      query: z.string().min(1).optional().describe('`from:ana@example.com subject:invoice newer_than:7d has:attachment`'),
      label: z.string().min(1).optional().describe('Id of a label: `INBOX`, `UNREAD`; list_labels tells others'),
      limit: z.int().min(1).max(50).default(20),
      page_token,
    }),
    async run({ query: q, label: labelIds, limit, page_token: pageToken }, ctx) {
      const found = await mail<{ readonly messages?: readonly { readonly id: string }[]; readonly nextPageToken?: string }>(ctx, {
        path: '/messages',
        query: { q, labelIds, maxResults: limit, pageToken },
      });
      const ids = (found.messages ?? []).map(({ id }) => id);
      const items: unknown[] = [];
      for (let i = 0; i < ids.length; i += AT_A_TIME)
        items.push(...(await Promise.all(ids.slice(i, i + AT_A_TIME).map(async (id) => toLine(await headersOf(ctx, id))))));
      return { items, ...nextPage(found) };
    },
  }),

  get_message: method({
    description: 'One message: from whom, to whom, its text, and the names of what is attached.',
    risk: 'read',
    input: z.strictObject({ message }),
    run: async ({ message }, ctx) =>
      toMessage(await mail<RawMessage>(ctx, { path: at`/messages/${message}`, query: { format: 'full' } }), MOST_CHARACTERS),
  }),

  get_conversation: method({
    description: 'All messages of a conversation, oldest first, with their texts.',
    risk: 'read',
    input: z.strictObject({ thread: id.describe('thread of a message') }),
    async run({ thread }, ctx) {
      const raw = await mail<{ readonly messages?: readonly RawMessage[] }>(ctx, {
        path: at`/threads/${thread}`,
        query: { format: 'full' },
      });
      return { thread, items: (raw.messages ?? []).map((each) => toMessage(each, EACH_CHARACTERS)) };
    },
  }),

  download_attachment: method({
    description: 'Keeps an attachment of a message with the conversation. Up to 10 MiB.',
    risk: 'read',
    input: z.strictObject({ message, name: z.string().min(1).describe('Name of the attachment, as get_message tells it') }),
    async run({ message, name }, ctx) {
      const { payload = {} } = await mail<RawMessage>(ctx, { path: at`/messages/${message}`, query: { format: 'full' } });
      const found = enclosedIn(payload).find((each) => each.name === name);
      if (found === undefined) throw new ToolFailure('NOT_FOUND', `The message has no attachment ${name}.`);
      const { data } = await mail<{ readonly data: string }>(ctx, { path: at`/messages/${message}/attachments/${found.attachment}` });
      return ctx.attach({ name, mimeType: found.mime_type, data: Buffer.from(data, 'base64url') });
    },
  }),

  list_labels: method({
    description: 'The labels of Gmail, those of its own and those of the account.',
    risk: 'read',
    input: z.strictObject({}),
    async run(_, ctx) {
      const { labels = [] } = await mail<{
        readonly labels?: readonly { readonly id: string; readonly name: string; readonly type?: string }[];
      }>(ctx, { path: '/labels' });
      return { items: labels.map(({ id, name, type }) => ({ id, name, own: type === 'user' })) };
    },
  }),

  change_labels: method({
    description: 'Puts labels on messages and takes others off. Off INBOX is archiving, off UNREAD is having read.',
    risk: 'write',
    idempotent: true,
    input: z
      .strictObject({
        messages: z.array(id).min(1).max(1000),
        add: z.array(z.string().min(1)).max(100).default([]).describe('Ids of labels'),
        remove: z.array(z.string().min(1)).max(100).default([]).describe('Ids of labels'),
      })
      .refine(({ add, remove }) => add.length + remove.length > 0, 'name a label')
      .refine(({ add }) => !add.includes('TRASH'), 'trash_message does that'),
    async run({ messages, add, remove }, ctx) {
      await mail(ctx, {
        method: 'POST',
        path: '/messages/batchModify',
        json: { ids: messages, addLabelIds: add, removeLabelIds: remove },
        repeatable: true,
      });
      return { changed: messages.length };
    },
  }),

  trash_message: method({
    description: 'Puts a message into the trash, where it stays for 30 days.',
    risk: 'write',
    idempotent: true,
    input: z.strictObject({ message }),
    async run({ message }, ctx) {
      await mail(ctx, { method: 'POST', path: at`/messages/${message}/trash`, repeatable: true });
      return { message, trashed: true };
    },
  }),

  list_drafts: method({
    description: 'Drafts: to whom, and about what.',
    risk: 'read',
    input: z.strictObject({ limit: z.int().min(1).max(50).default(20), page_token }),
    async run({ limit, page_token: pageToken }, ctx) {
      const found = await mail<{ readonly drafts?: readonly RawDraft[]; readonly nextPageToken?: string }>(ctx, {
        path: '/drafts',
        query: { maxResults: limit, pageToken },
      });
      const items: unknown[] = [];
      for (const { id: draft, message: raw } of found.drafts ?? [])
        items.push({ draft, ...(raw === undefined ? {} : toLine(await headersOf(ctx, raw.id))) });
      return { items, ...nextPage(found) };
    },
  }),

  create_draft: method({
    description: 'Writes a message without sending it: a person, or send_draft, does that.',
    risk: 'write',
    input: z.strictObject(letter),
    async run(given, ctx) {
      const raw = await mail<RawDraft>(ctx, { method: 'POST', path: '/drafts', json: { message: await toRaw(ctx, given) } });
      return { draft: raw.id, ...compact({ message: raw.message?.id, thread: raw.message?.threadId }) };
    },
  }),

  send_draft: method({
    description: 'Sends a draft as it is.',
    risk: 'customer_facing',
    input: z.strictObject({ draft: id.describe('draft of create_draft or list_drafts') }),
    async run({ draft }, ctx) {
      const sent = await mail<RawMessage>(ctx, { method: 'POST', path: '/drafts/send', json: { id: draft } });
      return { message: sent.id, thread: sent.threadId };
    },
  }),

  send_message: method({
    description: 'Sends a mail, in plain text.',
    risk: 'customer_facing',
    input: z.strictObject(letter),
    async run(given, ctx) {
      const sent = await mail<RawMessage>(ctx, { method: 'POST', path: '/messages/send', json: await toRaw(ctx, given) });
      return { message: sent.id, thread: sent.threadId };
    },
  }),
};

type Given = Pick<Letter, 'to' | 'cc' | 'bcc' | 'subject' | 'text'> & { readonly reply_to_message?: string | undefined };

async function toRaw(ctx: ToolContext, { reply_to_message: answered, ...letter }: Given): Promise<{ raw: string; threadId?: string }> {
  if (answered === undefined) return { raw: writeLetter(letter) };
  const { payload, threadId } = await headersOf(ctx, answered);
  const inReplyTo = header(payload, 'message-id');
  const references = [header(payload, 'references'), inReplyTo].filter(Boolean).join(' ') || undefined;
  return { raw: writeLetter({ ...letter, inReplyTo, references }), threadId };
}

const WANTED = ['From', 'To', 'Cc', 'Subject', 'Message-ID', 'References'].map((name) => `metadataHeaders=${name}`).join('&');

function headersOf(ctx: ToolContext, id: string): Promise<RawMessage> {
  return mail<RawMessage>(ctx, { path: `${at`/messages/${id}`}?format=metadata&${WANTED}` });
}

function toLine({ id, threadId, labelIds, snippet, internalDate, payload }: RawMessage): Record<string, unknown> {
  return compact({
    message: id,
    thread: threadId,
    from: header(payload, 'from'),
    to: header(payload, 'to'),
    cc: header(payload, 'cc'),
    subject: header(payload, 'subject'),
    date: internalDate === undefined ? undefined : new Date(Number(internalDate)).toISOString(),
    labels: labelIds,
    snippet,
  });
}

function toMessage(raw: RawMessage, most: number): Record<string, unknown> {
  const { snippet: _, ...line } = toLine(raw);
  const attachments = enclosedIn(raw.payload ?? {}).map(({ name, mime_type, size }) => ({ name, mime_type, size }));
  return compact({ ...line, text: cut(textOf(raw.payload ?? {}), most), attachments: attachments.length === 0 ? undefined : attachments });
}
