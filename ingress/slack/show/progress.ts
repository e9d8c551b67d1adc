/**
 * What of a turn is in its thread, as it is noted with the platform for the process that takes over. It is small: how far a stream has
 * come dies with its process, and the next one goes on by editing the messages.
 */
import { z } from 'zod';
import { nothingShown, type Shown } from '../render/shown.ts';

const ts = z.string().regex(/^\d{1,12}\.\d{1,8}$/);
const fileId = z.string().min(1).max(64);

const PROGRESS = z.strictObject({
  v: z.literal(1),
  /** Of its messages, in the order of the thread. */
  messages: z.array(ts),
  /** Those of them that may be streams which nobody closed. */
  open: z.array(ts),
  /** When a call began that puts a message there and was not answered yet; milliseconds since the epoch. */
  began: z.number().nullable(),
  as: z.enum(['blocks', 'words']),
  /** The long answer's file, and the agent's own: ids of uploads under way, or whether they are there. */
  answerFile: z.union([z.boolean(), z.array(fileId)]),
  files: z.union([z.boolean(), z.array(fileId)]),
  isFinal: z.boolean(),
});

export type Progress = z.output<typeof PROGRESS>;
/** Whether files are there; or the ids of those of which nobody knows. */
export type Uploaded = Progress['files'];

/** What the platform keeps, with room to spare. */
const LONGEST = 7_500;

export const NO_PROGRESS: Progress = {
  v: 1,
  messages: [],
  open: [],
  began: null,
  as: 'blocks',
  answerFile: false,
  files: false,
  isFinal: false,
};

/** Undefined: nobody has shown anything of it. What cannot be read was written by another release: then the thread is asked. */
export function readProgress(noted: unknown): Progress | undefined {
  if (noted === undefined || noted === null) return undefined;
  const read = PROGRESS.safeParse(noted);
  return read.success ? read.data : { ...NO_PROGRESS, began: 0 };
}

/** @param began of the call that is about to be made, when it puts a message into the thread */
export function progressOf(shown: Shown, more: Pick<Progress, 'began' | 'answerFile' | 'files'>): Progress {
  const { stream, toStop, as, isFinal } = shown;
  const open = [...toStop, ...(stream === null ? [] : [stream.ts])].filter((each) => each !== '');
  const messages = [...shown.messages.map((message) => message.ts), ...(stream === null ? [] : [stream.ts])].filter((each) => each !== '');
  const progress: Progress = { v: 1, messages, open, as, isFinal, ...more };
  // of a turn of days: they are all found in the thread
  return JSON.stringify(progress).length <= LONGEST ? progress : { ...progress, messages: [], open: [], began: progress.began ?? 0 };
}

/** What is shown, for whoever takes over: all of it is written once more. */
export function shownAfter(progress: Progress): Shown {
  const { messages, open, as, answerFile, isFinal } = progress;
  return {
    ...nothingShown('edits'),
    messages: messages.map((each) => ({ ts: each, digest: '' })),
    toStop: open,
    as,
    isFinal,
    isAttached: answerFile === true,
  };
}
