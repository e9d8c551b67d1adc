/** What was sent to the thread, as the blocks that a harness takes. */
import type { MessagePart, Threads } from '@centaur/kernel/threads';
import type { ContentBlock, HarnessCapabilities } from '../harness/index.ts';
import type { Sandbox } from '../sandbox/types.ts';

interface Source {
  readonly type?: unknown;
  readonly media_type?: unknown;
  readonly data?: unknown;
  readonly url?: unknown;
  readonly attachment_id?: unknown;
  readonly name?: unknown;
}

/**
 * Images and documents go to the model where the harness can send them; everything else with data is put into the
 * workspace, and the model is told where.
 */
export async function toContent(
  parts: readonly MessagePart[],
  {
    threads,
    threadKey,
    sandbox,
    capabilities,
  }: {
    readonly threads: Threads;
    readonly threadKey: string;
    readonly sandbox: Sandbox;
    readonly capabilities: HarnessCapabilities;
  },
): Promise<ContentBlock[]> {
  const blocks: ContentBlock[] = [];
  for (const [i, part] of parts.entries()) {
    const source = typeof part['source'] === 'object' && part['source'] !== null ? (part['source'] as Source) : undefined;
    if (typeof part['text'] === 'string') blocks.push({ type: 'text', text: part['text'] });
    else if (source === undefined) blocks.push({ type: 'text', text: JSON.stringify(part) });
    else if (source.type === 'url' && typeof source.url === 'string') blocks.push({ type: 'text', text: `[${part.type}: ${source.url}]` });
    else {
      const given = { ...source, name: source.name ?? part['name'] };
      const { data, mimeType, name } = await read(threads, threadKey, given, `${part.type}-${i + 1}`);
      const isImage = part.type === 'image' && capabilities.images;
      const isDocument = part.type === 'document' && capabilities.images && mimeType === 'application/pdf';
      if (isImage || isDocument)
        blocks.push({
          type: part.type,
          source: { type: 'base64', media_type: mimeType, data: data.toString('base64') },
        });
      else {
        const path = `${sandbox.workspace}/uploads/${i + 1}-${name}`;
        await sandbox.writeFile(path, data);
        blocks.push({ type: 'text', text: `[The user sent a file (${mimeType}, ${data.length} bytes): ${path}]` });
      }
    }
  }
  return blocks.length === 0 ? [{ type: 'text', text: '' }] : blocks;
}

async function read(
  threads: Threads,
  threadKey: string,
  source: Source,
  fallback: string,
): Promise<{ readonly data: Buffer; readonly mimeType: string; readonly name: string }> {
  if (typeof source.attachment_id === 'string') {
    const { data, mime_type, name, thread_key } = await threads.readAttachment(source.attachment_id);
    if (thread_key !== threadKey) throw new Error(`the attachment ${source.attachment_id} is of another thread`);
    return { data, mimeType: mime_type, name: fileName(name, fallback) };
  }
  return {
    data: Buffer.from(typeof source.data === 'string' ? source.data : '', 'base64'),
    mimeType: typeof source.media_type === 'string' ? source.media_type : 'application/octet-stream',
    name: fileName(source.name, fallback),
  };
}

/** A name that is no path, no option and no hidden file. */
function fileName(name: unknown, fallback: string): string {
  const plain = typeof name === 'string' ? name.replaceAll(/[^\p{L}\p{N}._ -]/gu, '_').replace(/^[-. ]+/, '') : '';
  // names of files have 255 bytes at most
  return Buffer.from(plain).subarray(0, 180).toString('utf8').replaceAll('\uFFFD', '') || fallback.replaceAll(/[^A-Za-z0-9-]/g, '_');
}
