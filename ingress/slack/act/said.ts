/** A message as it is given to an agent: who wrote it where, what it says, and its files. */
import type { InputPart } from '@centaur/sdk';
import { clean } from '../../chat/index.ts';
import type { SlackContext } from '../context.ts';
import { isDirect } from '../settings.ts';
import type { TakenFiles } from './files.ts';
import type { Author, Message } from './message.ts';
import { namesOf, plainName } from './people.ts';
import { idsIn, type Names, toWords } from './words.ts';

const ATTACHED_LONGEST = 8000;

/** Names of everybody and everything in these texts, and of whoever wrote them. */
export function namesIn(context: SlackContext, texts: readonly string[], authors: readonly Author[], channel: string): Promise<Names> {
  const ids = idsIn(texts.join('\n'));
  const people = [...authors.flatMap(({ user }) => user ?? []), ...ids.people];
  return namesOf(context, { people, channels: isDirect(channel) ? ids.channels : [channel, ...ids.channels] });
}

export function nameOfAuthor({ user, name, botId }: Author, { people }: Names): string {
  return (
    (user === undefined ? undefined : people.get(user)) ?? (name === undefined ? undefined : plainName(name)) ?? user ?? botId ?? 'somebody'
  );
}

export interface Telling {
  readonly message: Message;
  /** Slack's markup, as it was decided on. */
  readonly text: string;
  readonly names: Names;
  readonly files: TakenFiles;
  /** What is to be said of it besides, in sentences. */
  readonly remarks: readonly string[];
}

/** What the person wrote comes after who they are: never at the beginning, where a harness may look for commands of its own. */
export function partsOf({ message, text, names, files, remarks }: Telling): readonly InputPart[] {
  const lines = [`[${requester(message, names)}]`];
  const words = clean(toWords(text, names));
  if (words !== '') lines.push(words);
  if (message.attached !== '') lines.push(quote('Attached to it', clean(toWords(message.attached, names)).slice(0, ATTACHED_LONGEST)));
  const missing = files.refused.map(({ name, why }) => `The file "${plainName(name)}" is not here: ${why}.`);
  lines.push(...[...remarks, ...missing].map((remark) => `[${remark}]`));
  return [{ type: 'text', text: lines.join('\n\n') }, ...files.parts];
}

function requester({ author, channel, ts, isDirect }: Message, names: Names): string {
  const id = author.user ?? author.botId;
  const known = names.channels.get(channel);
  const where = isDirect ? 'in a direct message' : `in ${known === undefined ? channel : `#${known} (${channel})`}`;
  const what = author.botId === undefined ? '' : 'the app ';
  return `Slack message from ${what}${nameOfAuthor(author, names)}${id === undefined ? '' : ` (${id})`}, ${where}, ${timeOf(ts)}`;
}

export function timeOf(ts: string): string {
  return `${new Date(Number(ts.split('.')[0]) * 1000).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}

/** Somebody else's words, line by line behind a mark: none of them can end the quotation. */
export function quote(head: string, text: string): string {
  return `[${head}:]\n${text
    .split(/\r\n|[\n\r\u2028\u2029\u0085]/)
    .map((line) => `> ${line}`)
    .join('\n')}`;
}
