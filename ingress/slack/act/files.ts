/** Files that people send: fetched from Slack, within the operator's limits, and handed on as parts of their message. */
import type { InputPart } from '@centaur/sdk';
import type { SlackContext } from '../context.ts';
import { type FileRef, readFileRef } from './message.ts';
import { tryCall } from './tell.ts';

export interface TakenFiles {
  readonly parts: readonly InputPart[];
  /** Of each that is not among them: its name, and why in words. */
  readonly refused: readonly { readonly name: string; readonly why: string }[];
}

/** Of one message, whatever the operator allows for each: the platform takes no more. */
const BYTES_OF_ALL = 60 * 1024 * 1024;
/** Of all files of a message together. */
const TIMEOUT_MS = 90_000;

export async function takeFiles(context: SlackContext, files: readonly FileRef[], timeoutMs = TIMEOUT_MS): Promise<TakenFiles> {
  const { most } = context.settings.rules.files;
  const parts: InputPart[] = [];
  const refused: { name: string; why: string }[] = [];
  const signal = AbortSignal.timeout(timeoutMs);
  let left = BYTES_OF_ALL;
  for (const [index, ref] of files.entries()) {
    const got =
      index >= most ? { name: ref.name, why: `only ${most} files are taken of a message` } : await take(context, ref, left, signal);
    if ('why' in got) refused.push(got);
    else {
      left -= got.data.length;
      parts.push(toPart(got));
    }
  }
  return { parts, refused };
}

interface Got {
  readonly name: string;
  readonly mimetype: string;
  readonly data: Buffer;
}

async function take(
  context: SlackContext,
  given: FileRef,
  left: number,
  signal: AbortSignal,
): Promise<Got | { readonly name: string; readonly why: string }> {
  const ref = given.isToBeAskedFor ? await askFor(context, given) : given;
  const { name, mimetype, size, url } = ref;
  const no = (why: string) => ({ name, why });
  const most = Math.min(context.settings.rules.files.bytes, left);
  const tooLarge = no(
    left < context.settings.rules.files.bytes ? 'the files are too large together' : `it is larger than ${inWords(most)}`,
  );
  if (ref.isElsewhere) return no('it is not kept in Slack');
  if (url === undefined) return no('Slack does not say where it is');
  if (!isSlacks(url, context.settings.slackApiUrl)) return no('it is not kept in Slack');
  if (size !== undefined && size > most) return tooLarge;
  try {
    // to nobody else than Slack with the token, wherever an answer may lead
    const headers = { authorization: `Bearer ${context.settings.botToken}` };
    const response = await fetch(url, { headers, redirect: 'manual', signal });
    const data = response.status === 200 ? await readAtMost(response, most) : undefined;
    if (response.status !== 200) {
      await response.body?.cancel();
      return no('Slack did not give it out');
    }
    if (data === undefined) return tooLarge;
    if (data.length === 0) return no('it is empty');
    // a page that asks to sign in is not the file
    const type = response.headers.get('content-type') ?? '';
    if (type.startsWith('text/html') && mimetype !== 'text/html') return no('Slack did not give it out');
    return { name, mimetype, data };
  } catch (error) {
    context.log({ level: 'warn', message: 'a file could not be fetched from Slack', file: ref.id, error: (error as Error).name });
    return no('it could not be fetched');
  }
}

async function askFor(context: SlackContext, ref: FileRef): Promise<FileRef> {
  const answer = await tryCall(context, 'files.info', { file: ref.id });
  return readFileRef(answer?.['file'])[0] ?? ref;
}

/** Of the place where the Web API is, or where Slack keeps files. */
export function isSlacks(url: string, apiUrl: string): boolean {
  const at = URL.parse(url);
  return at !== null && at.username === '' && at.password === '' && [new URL(apiUrl).origin, 'https://files.slack.com'].includes(at.origin);
}

/** Undefined when there is more. */
async function readAtMost(response: Response, most: number): Promise<Buffer | undefined> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.length;
    if (length > most) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** What it is by its first bytes goes to the model; everything else lies in the sandbox, where the agent is told of it. */
function toPart({ name, mimetype, data }: Got): InputPart {
  const seen = SIGNATURES.find(({ fits }) => fits(data))?.mimetype;
  const claimed = /^(?:image\/(?:png|jpeg|gif|webp)|application\/pdf)$/.test(mimetype);
  const media_type = seen ?? (claimed || mimetype === '' ? 'application/octet-stream' : mimetype);
  const source = { type: 'base64', media_type, data: data.toString('base64') } as const;
  return { type: seen?.startsWith('image/') === true ? 'image' : 'document', name, source };
}

const begins =
  (text: string, at = 0) =>
  (data: Buffer) =>
    data.subarray(at, at + text.length).toString('latin1') === text;
const SIGNATURES: readonly { readonly mimetype: string; fits(data: Buffer): boolean }[] = [
  { mimetype: 'image/png', fits: begins('\u0089PNG\r\n') },
  { mimetype: 'image/jpeg', fits: begins('\u00ff\u00d8\u00ff') },
  { mimetype: 'image/gif', fits: begins('GIF8') },
  { mimetype: 'image/webp', fits: (data) => begins('RIFF')(data) && begins('WEBP', 8)(data) },
  { mimetype: 'application/pdf', fits: begins('%PDF-') },
];

function inWords(bytes: number): string {
  const mebibytes = bytes / (1024 * 1024);
  return mebibytes >= 1 ? `${Math.floor(mebibytes)} MB` : `${Math.floor(bytes / 1024)} KB`;
}
