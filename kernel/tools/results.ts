/** What calls bring back: results that are too large for an answer become attachments, as files do that a tool hands over. */
import { ToolError } from './errors.ts';
import type { AttachedFile, Dispatch } from './types.ts';

/** Keeps a file with a thread. */
export type AttachFile = (
  threadKey: string,
  file: { readonly name: string; readonly mimeType: string; readonly data: Buffer },
) => Promise<AttachedFile>;

/** More than this, an agent is shown the beginning of. */
const INLINE_MOST = 48 * 1024;
const RESULT_MOST = 1024 * 1024;
const FILE_MOST = 32 * 1024 * 1024;
/** Of one call together. */
const FILES_MOST = 64 * 1024 * 1024;
const PREVIEW = 2000;

export interface KeptResult {
  readonly result: unknown;
  /** As it came. */
  readonly bytes: number;
  readonly attachmentId?: string;
}

/** @throws ToolError TOO_LARGE */
export async function keepResult(
  value: unknown,
  name: string,
  attach: AttachFile | undefined,
  threadKey: string | undefined,
): Promise<KeptResult> {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? 'null');
  const bytes = Buffer.byteLength(text);
  if (attach === undefined || threadKey === undefined) {
    if (bytes > RESULT_MOST) throw tooLarge(`the result has ${bytes} bytes; ${RESULT_MOST} are the most: ask for less of it`);
    return { result: value ?? null, bytes };
  }
  if (bytes <= INLINE_MOST) return { result: value ?? null, bytes };
  if (bytes > FILE_MOST) throw tooLarge(`the result has ${bytes} bytes; ${FILE_MOST} are the most: ask for less of it`);
  const isText = typeof value === 'string';
  const attachment = await attach(threadKey, {
    name: `${name}.${isText ? 'txt' : 'json'}`,
    mimeType: isText ? 'text/plain' : 'application/json',
    data: Buffer.from(text),
  });
  return { result: { attachment, preview: text.slice(0, PREVIEW).toWellFormed() }, bytes, attachmentId: attachment.attachment_id };
}

/** @throws ToolError TOOL_REFUSED without a thread, TOO_LARGE: for the tool, which fails by it */
export function attachments(attach: AttachFile | undefined, threadKey: string | undefined): Dispatch['attach'] {
  let total = 0;
  return async ({ name, mimeType, data }) => {
    if (attach === undefined || threadKey === undefined)
      throw new ToolError('TOOL_REFUSED', 'files are kept with a thread, and this call belongs to none');
    total += data.length;
    if (data.length > FILE_MOST || total > FILES_MOST)
      throw tooLarge(`the file has ${data.length} bytes; ${FILE_MOST} are the most of one, ${FILES_MOST} of a call`);
    return attach(threadKey, {
      name: plainName(name),
      mimeType: /^[\w.+-]{1,64}\/[\w.+-]{1,64}$/.test(mimeType) ? mimeType : 'application/octet-stream',
      data,
    });
  };
}

/** A name, never a path. */
function plainName(name: string): string {
  return (
    name
      .toWellFormed()
      .replaceAll(/[/\\]|\p{Cc}/gu, '_')
      .slice(0, 255) || 'file'
  );
}

function tooLarge(message: string): ToolError {
  return new ToolError('TOO_LARGE', message);
}
