/** What the methods of the Web API share: their arguments, their errors, and who calls. */
import { type Channel, clean, type Json, type Token, type World } from './world.ts';

export interface Call {
  readonly method: string;
  readonly args: Json;
  readonly token: Token;
}

/** @returns the answer without `ok`; an error is thrown */
export type Method = (call: Call) => Json;

export type Methods = Readonly<Record<string, Method>>;

/** `{ok: false, error}`, with HTTP 200 as Slack has it. */
export class SlackError extends Error {
  readonly answer: Json;
  constructor(code: string, more: Json = {}) {
    super(code);
    this.answer = { ok: false, error: code, ...more };
  }
}

/** With what is wrong where, as Block Kit's errors have it. */
export function invalid(code: string, problems: readonly string[]): SlackError {
  return new SlackError(code, { errors: problems, response_metadata: { messages: problems.map((text) => `[ERROR] ${text}`) } });
}

/** Fields that are JSON inside a form. */
const JSON_FIELDS = ['blocks', 'attachments', 'metadata', 'chunks', 'view', 'files', 'prompts', 'loading_messages'];

/** The arguments of a request, of JSON or of a form; a JSON field that cannot be read stays text. */
export function readArgs(contentType: string, body: string, query: URLSearchParams): Json {
  const fields: Record<string, unknown> = Object.fromEntries(query);
  if (contentType.includes('application/json')) {
    const read = parseJson(body === '' ? '{}' : body);
    // Slack: "invalid_json", "json_not_object"
    if (typeof read === 'string') throw new SlackError('invalid_json');
    if (typeof read !== 'object' || read === null || Array.isArray(read)) throw new SlackError('json_not_object');
    Object.assign(fields, read);
  } else Object.assign(fields, Object.fromEntries(new URLSearchParams(body)));
  for (const name of JSON_FIELDS) if (typeof fields[name] === 'string') fields[name] = parseJson(fields[name]);
  return clean(fields);
}

/** @returns the text itself when it is no JSON */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

export function textOf(args: Json, name: string): string | undefined {
  const value = args[name];
  return typeof value === 'string' && value !== '' ? value : undefined;
}

export function needed(args: Json, name: string, code = 'invalid_arguments'): string {
  const value = textOf(args, name);
  if (value !== undefined) return value;
  if (code !== 'invalid_arguments') throw new SlackError(code);
  throw new SlackError(code, { response_metadata: { messages: [`[ERROR] missing required field: ${name}`] } });
}

export function isTrue(value: unknown): boolean {
  return value === true || value === 'true' || value === '1' || value === 1;
}

/** The channel by its id, when the app may read or write there. */
export function channelOf(world: World, id: string | undefined, user: string): Channel {
  const channel = id === undefined ? undefined : world.channels.findOneBy('channel_id', id);
  if (channel === undefined) throw new SlackError('channel_not_found');
  if (channel.members.includes(user)) return channel;
  // a private channel is not even named to those who are not in it
  throw new SlackError(channel.is_private ? 'channel_not_found' : 'not_in_channel');
}
