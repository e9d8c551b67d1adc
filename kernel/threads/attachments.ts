/** Data in messages: what is large is kept apart, and served back. */
import { createHash } from 'node:crypto';
import { isUuid, type Queryable, type Store, uuidv7 } from '../store/index.ts';
import { ThreadError } from './errors.ts';
import type { Attachment, MessagePart } from './types.ts';

/** One part's data, decoded; and all of one message. */
const PART_LONGEST = 32 * 1024 * 1024;
const MESSAGE_LONGEST = 64 * 1024 * 1024;
/** Below it, data stays in the message. */
const INLINE_LONGEST = 2048;

export interface NewAttachment {
  readonly name: string;
  readonly mimeType: string;
  readonly data: Buffer;
}

export interface Extracted {
  readonly attachments: readonly NewAttachment[];
  /** The parts with references to attachments of these ids, in the same order. */
  parts(ids: readonly string[]): readonly MessagePart[];
}

/** @throws ThreadError INVALID_BASE64_ATTACHMENT, TOO_LARGE naming the part */
export function extractAttachments(parts: readonly MessagePart[]): Extracted {
  const attachments: NewAttachment[] = [];
  /** By the part's place. */
  const moved = new Map<number, number>();
  let total = 0;
  parts.forEach((part, i) => {
    const source = part['source'] as { readonly type?: unknown; readonly media_type?: unknown; readonly data?: unknown } | undefined;
    if (typeof source !== 'object' || source === null || source.type !== 'base64') return;
    const field = `parts[${i}].source`;
    if (typeof source.data !== 'string') throw new ThreadError('INVALID_BASE64_ATTACHMENT', `${field}.data: expected a base64 string`);
    const data = decode(source.data, `${field}.data`);
    total += data.length;
    if (data.length > PART_LONGEST || total > MESSAGE_LONGEST)
      throw new ThreadError(
        'TOO_LARGE',
        `${field}.data: ${data.length} bytes; ${PART_LONGEST} are the most of one part, ${MESSAGE_LONGEST} of a message`,
      );
    if (data.length <= INLINE_LONGEST) return;
    moved.set(i, attachments.length);
    const mimeType = typeof source.media_type === 'string' ? source.media_type : 'application/octet-stream';
    attachments.push({ name: nameOf(part, mimeType, i), mimeType, data });
  });
  return {
    attachments,
    parts: (ids) =>
      parts.map((part, i) => {
        const n = moved.get(i);
        if (n === undefined) return part;
        const { source, ...rest } = part;
        const { data: _, ...kept } = source as { readonly data: unknown };
        const attachment = attachments[n] as NewAttachment;
        return {
          ...rest,
          source: { ...kept, type: 'attachment_ref', attachment_id: ids[n], name: attachment.name, size: attachment.data.length },
        };
      }),
  };
}

/** Buffer.from takes anything for base64: what does not come back the same is none. */
function decode(text: string, field: string): Buffer {
  const plain = text.replaceAll(/\s/g, '');
  const data = Buffer.from(plain, 'base64');
  const same = data.toString('base64').replace(/=+$/, '') === plain.replaceAll('-', '+').replaceAll('_', '/').replace(/=+$/, '');
  if (!same || plain === '') throw new ThreadError('INVALID_BASE64_ATTACHMENT', `${field}: not base64`);
  return data;
}

function nameOf(part: MessagePart, mimeType: string, i: number): string {
  const given = part['name'] ?? part['title'] ?? part['filename'];
  // a name, never a path
  if (typeof given === 'string' && given !== '') return given.replaceAll(/[/\\\0]/g, '_').slice(0, 255);
  return `${part.type}-${i + 1}.${(mimeType.split('/')[1] ?? 'bin').replaceAll(/[^a-z0-9]/gi, '').slice(0, 10) || 'bin'}`;
}

export async function storeAttachments(
  tx: Queryable,
  threadKey: string,
  of: { readonly messageId?: string; readonly executionId?: string },
  attachments: readonly (NewAttachment & { readonly id: string })[],
): Promise<void> {
  for (const { id, name, mimeType, data } of attachments) {
    await tx.query(
      `insert into attachments (thread_key, attachment_id, message_id, execution_id, name, mime_type, size, sha256, data)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
      [
        threadKey,
        id,
        of.messageId ?? null,
        of.executionId ?? null,
        name.toWellFormed().replaceAll('\0', '_'),
        mimeType,
        data.length,
        createHash('sha256').update(data).digest(),
        data,
      ],
    );
  }
}

/** @throws ThreadError TOO_LARGE */
export async function addAttachment(store: Store, threadKey: string, file: NewAttachment): Promise<Attachment> {
  if (file.data.length > PART_LONGEST)
    throw new ThreadError('TOO_LARGE', `the file has ${file.data.length} bytes; ${PART_LONGEST} are the most`);
  const id = uuidv7(store.now());
  await storeAttachments(store, threadKey, {}, [{ ...file, id }]);
  const { rows } = await store.query<Row>(`select ${COLUMNS} from attachments where attachment_id = $1`, [id]);
  return toView(rows[0] as Row);
}

interface Row {
  readonly id: string;
  readonly thread_key: string;
  readonly name: string;
  readonly mime_type: string;
  readonly size: number;
  readonly message_id: string | null;
  readonly execution_id: string | null;
  readonly created_at: number;
}

const COLUMNS = 'attachment_id as id, thread_key, name, mime_type, size, message_id, execution_id, created_at';

export async function listAttachments(store: Store, threadKey: string): Promise<readonly Attachment[]> {
  const { rows } = await store.query<Row>(`select ${COLUMNS} from attachments where thread_key = $1 order by attachment_id`, [threadKey]);
  return rows.map(toView);
}

/**
 * @param threadKey of whoever may read one thread alone: to it, any other's is not there
 * @throws ThreadError ATTACHMENT_NOT_FOUND
 */
export async function readAttachment(
  store: Store,
  attachmentId: string,
  threadKey?: string,
): Promise<Attachment & { readonly data: Buffer }> {
  const [row] = isUuid(attachmentId)
    ? (
        await store.query<Row & { readonly data: Buffer }>(
          `select ${COLUMNS}, data from attachments where attachment_id = $1 and ($2::text is null or thread_key = $2)`,
          [attachmentId, threadKey ?? null],
        )
      ).rows
    : [];
  if (row === undefined)
    throw new ThreadError('ATTACHMENT_NOT_FOUND', `there is no attachment ${JSON.stringify(attachmentId.slice(0, 100))}`);
  return { ...toView(row), data: row.data };
}

function toView(row: Row): Attachment {
  const { id, thread_key, name, mime_type, size, message_id, execution_id, created_at } = row;
  return { id, thread_key, name, mime_type, size, message_id, execution_id, created_at: new Date(created_at).toISOString() };
}
