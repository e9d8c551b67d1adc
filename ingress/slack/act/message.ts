/** Messages as Slack tells of them, read field by field: nothing of an event is trusted to be what it should be. */
import type { Raw } from '../heard.ts';
import { isDirect } from '../settings.ts';
import { textOfAttachments, textOfBlocks } from './blocks.ts';
import { idOf, listOf, nameOf, objectOf, textOf, tsOf } from '../shapes.ts';

/** Something that happened in a conversation with us, or near one. */
export type Happened =
  | { readonly kind: 'posted'; readonly message: Message }
  | { readonly kind: 'edited'; readonly message: Message; readonly before: Message | undefined }
  | { readonly kind: 'deleted'; readonly message: Message }
  /** The assistant's container was opened, or its person looks at another channel now. */
  | { readonly kind: 'opened' | 'looked elsewhere'; readonly place: Place; readonly lookedAt: string | undefined };

export interface Place {
  readonly channel: string;
  /** Of the message that the thread began with. */
  readonly threadTs: string;
}

export interface Message extends Place {
  readonly ts: string;
  /** In a thread that began with another message. */
  readonly isReply: boolean;
  /** Between one person and us alone. */
  readonly isDirect: boolean;
  readonly subtype: string | undefined;
  /** Told as a message of a channel: when it names us there, it is told as a mention, too. */
  readonly isOfChannel: boolean;
  readonly author: Author;
  /** Slack's markup, as it goes over the wire; of an app that sends blocks alone: what those say. */
  readonly text: string;
  /** What its blocks say, for finding out whom they name. */
  readonly inBlocks: string;
  /** What is quoted in it or unfolded under it. */
  readonly attached: string;
  readonly files: readonly FileRef[];
  /** When it was edited last. */
  readonly editedTs: string | undefined;
}

export interface Author {
  readonly user: string | undefined;
  /** Every organisation that Slack names for the author. */
  readonly teams: readonly string[];
  readonly botId: string | undefined;
  readonly appId: string | undefined;
  /** What an app calls itself. */
  readonly name: string | undefined;
}

/** A file of a message; of one in a shared channel Slack says no more than its id. */
export interface FileRef {
  readonly id: string;
  readonly name: string;
  readonly mimetype: string;
  readonly size: number | undefined;
  readonly url: string | undefined;
  /** It is somewhere else than at Slack, or gone. */
  readonly isElsewhere: boolean;
  /** Only `files.info` says what it is. */
  readonly isToBeAskedFor: boolean;
}

/** Undefined: nothing of it is for us to act on, or it is not what it should be. */
export function readEvent(event: Raw): Happened | undefined {
  if (event['type'] === 'app_mention') return posted(event);
  if (event['type'] === 'assistant_thread_started' || event['type'] === 'assistant_thread_context_changed') return readContainer(event);
  if (event['type'] !== 'message') return undefined;
  if (event['subtype'] === 'message_changed') return readChange(event);
  if (event['subtype'] === 'message_deleted') return readDeletion(event);
  return posted(event);
}

function posted(event: Raw): Happened | undefined {
  const message = readMessage(event, event);
  return message === undefined ? undefined : { kind: 'posted', message };
}

function readChange(event: Raw): Happened | undefined {
  const after = objectOf(event['message']);
  const message = after && readMessage(after, event);
  if (after === undefined || message === undefined) return undefined;
  const previous = objectOf(event['previous_message']);
  const before = previous && readMessage(previous, event);
  // the first message of a thread leaves a stone where it was
  if (message.subtype === 'tombstone') return { kind: 'deleted', message: before ?? message };
  return { kind: 'edited', message, before };
}

function readDeletion(event: Raw): Happened | undefined {
  const previous = objectOf(event['previous_message']) ?? {};
  const message = readMessage({ ...previous, ts: event['deleted_ts'] ?? previous['ts'] }, event);
  return message === undefined ? undefined : { kind: 'deleted', message };
}

function readContainer(event: Raw): Happened | undefined {
  const thread = objectOf(event['assistant_thread']) ?? {};
  const channel = idOf(thread['channel_id']);
  const threadTs = tsOf(thread['thread_ts']);
  if (channel === undefined || threadTs === undefined) return undefined;
  const lookedAt = idOf(objectOf(thread['context'])?.['channel_id']);
  return {
    kind: event['type'] === 'assistant_thread_started' ? 'opened' : 'looked elsewhere',
    place: { channel, threadTs },
    lookedAt,
  };
}

/** @param around what a changed message came in: it names the channel */
export function readMessage(raw: Raw, around: Raw): Message | undefined {
  const channel = idOf(around['channel'] ?? raw['channel']);
  const ts = tsOf(raw['ts']);
  if (channel === undefined || ts === undefined) return undefined;
  const threadTs = tsOf(raw['thread_ts']) ?? ts;
  const profile = objectOf(raw['bot_profile']);
  const inBlocks = textOfBlocks(raw['blocks']);
  const text = textOf(raw['text']);
  return {
    channel,
    ts,
    threadTs,
    isReply: threadTs !== ts,
    isDirect: isDirect(channel),
    subtype: typeof raw['subtype'] === 'string' ? raw['subtype'] : undefined,
    isOfChannel: raw['type'] === 'message' && (around['channel_type'] === 'channel' || around['channel_type'] === 'group'),
    author: {
      user: idOf(raw['user']),
      teams: [...new Set([raw['user_team'], raw['source_team'], raw['team']].map(idOf).filter((team) => team !== undefined))],
      botId: idOf(raw['bot_id']) ?? idOf(profile?.['id']),
      appId: idOf(raw['app_id']) ?? idOf(profile?.['app_id']),
      name: nameOf(raw['username']) ?? nameOf(profile?.['name']),
    },
    text: text.trim() === '' ? inBlocks : text,
    inBlocks,
    attached: textOfAttachments(raw['attachments']),
    files: listOf(raw['files']).flatMap(readFileRef),
    editedTs: tsOf(objectOf(raw['edited'])?.['ts']),
  };
}

/** Also of what `files.info` answers. */
export function readFileRef(value: unknown): FileRef[] {
  const file = objectOf(value);
  const id = idOf(file?.['id']);
  if (file === undefined || id === undefined) return [];
  const url = file['url_private_download'] ?? file['url_private'];
  const isAsked = file['file_access'] === 'check_file_info';
  return [
    {
      id,
      name: nameOf(file['name']) ?? nameOf(file['title']) ?? id,
      mimetype: typeof file['mimetype'] === 'string' ? file['mimetype'].toLowerCase().slice(0, 128) : '',
      size: typeof file['size'] === 'number' && Number.isSafeInteger(file['size']) ? file['size'] : undefined,
      url: typeof url === 'string' ? url : undefined,
      isElsewhere: file['is_external'] === true || file['mode'] === 'tombstone' || file['mode'] === 'hidden_by_limit',
      isToBeAskedFor: isAsked,
    },
  ];
}
