/** Files into a thread, each once: their ids are noted before they appear there, and looked for in the thread when nobody knows. */
import type { Attachment, ExecutionView } from '@centaur/sdk';
import { SlackRefused, SlackSilent } from '../calls.ts';
import type { SlackContext, SlackDelivery } from '../context.ts';
import type { Uploaded } from './progress.ts';
import { hasFiles } from './thread.ts';

interface NewFile {
  readonly name: string;
  readonly data: Uint8Array;
}

export interface Upload {
  readonly delivery: SlackDelivery;
  /** What is known of it so far. */
  readonly uploaded: Uploaded;
  /** Asked for only when it is to be sent. */
  files(): Promise<readonly NewFile[]>;
  note(uploaded: Uploaded): Promise<void>;
  readonly signal: AbortSignal;
}

const TRIES = 5;
const TIMEOUT_MS = 60_000;

/** One message with all of them. @throws SlackRefused when Slack does not want them; SlackSilent when it stays silent */
export async function upload(context: SlackContext, { delivery, uploaded, files, note, signal }: Upload): Promise<void> {
  if (uploaded === true) return;
  let ids = uploaded === false ? [] : uploaded;
  for (let tries = 1; ; tries++) {
    const isThere = ids.length > 0 && (await hasFiles(context, delivery, { ids, began: context.now() }, signal));
    if (isThere) break;
    signal.throwIfAborted();
    const all = await files();
    if (all.length === 0) return;
    try {
      ids = [];
      for (const file of all) ids.push(await sendBytes(context, file, signal));
      await note(ids);
      signal.throwIfAborted();
      await context.slack.call(
        'files.completeUploadExternal',
        {
          files: ids.map((id, place) => ({ id, title: all[place]?.name })),
          channel_id: delivery.channel,
          thread_ts: delivery.thread_ts,
        },
        { signal },
      );
      break;
    } catch (error) {
      if (!(error instanceof SlackSilent) || tries >= TRIES) throw error;
      await context.slack.until(context.now() + 1000 * 2 ** tries, signal);
    }
  }
  await note(true);
}

/** @returns the id under which Slack has it; nobody sees it yet */
async function sendBytes({ slack }: SlackContext, { name, data }: NewFile, signal: AbortSignal): Promise<string> {
  const { upload_url: url, file_id: id } = await slack.call<{ upload_url: string; file_id: string }>(
    'files.getUploadURLExternal',
    { filename: name, length: data.length },
    { signal },
  );
  const answer = await fetch(url, {
    method: 'POST',
    redirect: 'error',
    headers: { 'content-type': 'application/octet-stream' },
    body: new Uint8Array(data),
    signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
  }).catch((cause: unknown) => {
    signal.throwIfAborted();
    throw new SlackSilent('the upload of a file: no answer', { cause });
  });
  await answer.body?.cancel();
  if (answer.status >= 500) throw new SlackSilent(`the upload of a file: status ${answer.status}`);
  if (!answer.ok) throw new SlackRefused('the upload of a file', `status_${answer.status}`);
  return id;
}

/** Results of tools that are kept because an answer has no room for them: for the agent, and long. */
const OVERFLOW = /^[\w-]+\.[\w-]+\.(?:txt|json)$/;
const OVERFLOW_BYTES = 48 * 1024;

/** What tools handed over while the turn ran; not what came with messages, nor what a harness or a tool said at length. */
export function filesOfTurn(
  attachments: readonly Attachment[],
  { started_at: started, completed_at: completed }: Pick<ExecutionView, 'started_at' | 'completed_at'>,
  { most, bytes }: { readonly most: number; readonly bytes: number },
): readonly Attachment[] {
  if (started === null || completed === null) return [];
  return attachments
    .filter(({ message_id: message, execution_id: execution }) => message === null && execution === null)
    .filter(({ created_at: created }) => created >= started && created <= completed)
    .filter(({ name, size }) => size > 0 && size <= bytes && !(OVERFLOW.test(name) && size > OVERFLOW_BYTES))
    .slice(0, most);
}
